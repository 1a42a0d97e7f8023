"""``torch2grid compare``: what changed between two checkpoints, or over a whole run."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import click

from torch2grid_builtin._adapters.merging import merge
from torch2grid_builtin._compare.choosing import SameTensors
from torch2grid_builtin._compare.delta import RANK_SIZE, A, B
from torch2grid_builtin._compare.lineage import lineage_of, lineage_of_three, lineage_page
from torch2grid_builtin._compare.names_file import Named, read_names
from torch2grid_builtin._compare.order import checkpoints_in, in_order, short_names
from torch2grid_builtin._compare.pages import (
    PAIR_CELLS,
    DeltaAtlas,
    PairPages,
    chosen_line,
    comparison_table,
    of_change,
    overview_page,
    transformer_of,
)
from torch2grid_builtin._compare.series import Frames, Series, compare_many, is_recording, joint_series, recorded_series
from torch2grid_builtin._compare.series_pages import GRADIENTS, Quantity, series_pages
from torch2grid_builtin._compare.targets import Targets
from torch2grid_builtin._compare.two import Comparing, Tolerance
from torch2grid_builtin._transformers.flatten import Flatten
from torch2grid_core import (
    Checkpoint,
    Command,
    GridTransformer,
    NotDrawable,
    Page,
    PluginManager,
    Settings,
    Torch2GridError,
    UsageError,
    View,
    draw,
)
from torch2grid_core.commands import settings_options, spec_name, summary_line
from torch2grid_core.measures import executor_of, workers
from torch2grid_core.pages import Output, PageOrigin
from torch2grid_core.text import counted, human_count, json_text, visible, without_secrets

SAME, DIFFERENT, UNUSABLE = 0, 1, 2
FOLDERS = {"A": "a", "B": "b", "Δ": "delta"}  # of the views that are drawn of each
ANIMATED = ("gif", "html")  # what shows a series in motion


@dataclass(frozen=True)
class Asked:
    """The command line: options of this command's own and the settings."""

    stats: bool
    atlas: bool
    layers: bool
    everything: bool
    top: int
    tolerance: float
    ignore_dtype: bool
    rank_size: int
    merge: str
    names: str | None
    lineage: bool
    settings: Settings


class Compare(Command):
    """show what changed between checkpoints, or over a run"""

    name: ClassVar[str] = "compare"

    def build(self) -> click.Command:
        def run(manager: PluginManager, /, models: tuple[str, ...], **given: Any) -> int:
            try:
                settings = Settings.from_context(click.get_current_context(), tensor_cells=PAIR_CELLS)
                return compare(manager, models, Asked(**given, settings=settings))
            except Torch2GridError as error:
                error.exit_code = UNUSABLE  # 1 says that they differ
                raise

        return click.Command(
            self.name,
            callback=click.pass_obj(run),
            params=_params(),
            help="Compare checkpoints A and B: a table of what changed, most first, and Δ = B − A of the whole model as one "
            "picture. With three or more, or a folder: how the weights changed from each to the next. Tensors are matched by "
            "name. Of a training checkpoint, the model is compared. Exit code: 0 for the same weights, 1 for different ones, "
            "2 for a file that cannot be read or wrong usage.",
            context_settings={"help_option_names": ["-h", "--help"]},
        )


def _params() -> list[click.Parameter]:
    return [
        click.Argument(["models"], nargs=-1, metavar="A B..."),
        click.Option(["--stats"], is_flag=True, help="print the table"),
        click.Option(
            ["--atlas"], is_flag=True, help="Δ of the whole model as one grid; this, the table and an overview are the default"
        ),
        click.Option(["--layers"], is_flag=True, help="a page for each tensor that changed: A, B, Δ and histograms"),
        click.Option(["--all", "everything"], is_flag=True, help="list tensors that did not change, too"),
        click.Option(["--top"], type=click.IntRange(0), default=0, metavar="N", help="show at most N rows of each table"),
        click.Option(
            ["--tolerance"],
            type=click.FloatRange(0),
            default=0.0,
            metavar="T",
            help="count weights that differ by at most T as the same",
        ),
        click.Option(["--ignore-dtype"], is_flag=True, help="do not count another dtype, or rounding to it, as a difference"),
        click.Option(
            ["--merge"],
            default="",
            metavar="ADAPTER",
            help="merge this adapter into A before comparing; rounding by the merge does not count as a difference",
        ),
        click.Option(
            ["--rank-size"],
            type=click.IntRange(0),
            default=RANK_SIZE,
            show_default=True,
            metavar="N",
            help="find the rank of Δ in matrices of at most N weights",
        ),
        click.Option(
            ["--names"],
            type=click.Path(dir_okay=False),
            default=None,
            metavar="FILE",
            help="CSV file of old and new names; names of known libraries need none",
        ),
        click.Option(
            ["--lineage"],
            is_flag=True,
            help="say whether A and B were trained together; of three, whether C is a merge",
        ),
        *settings_options(
            view="a view, with options, drawn of A, of B and of Δ (repeatable)",
            output="where pictures go; FILE.html takes a report, FILE.gif the animation, FILE.csv the table, FILE.png Δ",
            format="formats, such as png,svg; csv is the table, json the report on stdout, gif the whole model in motion",
            plugin="the grid transformer of the whole model",
            part="part of training checkpoints to compare; the model unless given",
            filter="compare only what a filter keeps (repeatable)",
            include_buffers="compare counters and index buffers too",
            slice="compare only that part of each tensor",
            raw="compare what is stored, without decoders",
            loader="read the files with this loader",
            renderer="",
            listener="",
            reduce="",
            colormap="",
            title="",
            scale="",
            clip="",
            threshold="",
            max_cells="",
            tensor_cells="most cells per side of each panel of one tensor",
            jobs="",
            executor="",
            verbose="also list each tensor that was left out, and why",
            quiet="print only differences, errors and the paths of written files",
        ),
    ]


def compare(manager: PluginManager, models: Sequence[str], asked: Asked) -> int:
    """Compare *models*; the exit code. Raises ``Torch2GridError`` where they cannot be compared."""
    if not models:
        raise UsageError("no checkpoints given; try 'torch2grid compare A B' or 'torch2grid compare --help'")
    if asked.lineage:
        return compare_lineage(manager, models, asked)
    if len(models) != 2:
        if asked.merge:
            raise UsageError("--merge takes two checkpoints: the base, and the merged model")
        return compare_series(manager, models, asked)
    return compare_two(manager, models, asked)


def compare_two(manager: PluginManager, models: Sequence[str], asked: Asked) -> int:
    """The table, the pictures and the exit code of two."""
    transformer = transformer_of(manager, asked.settings)
    run = replace(asked.settings, transformer=transformer)
    sided = [manager.create("view", spec) for spec in asked.settings.view]
    targets = Targets(manager, asked.settings, run, ("gif",), chosen=asked.atlas or asked.layers, views=bool(sided))
    output = targets.pictures
    usual = targets.drawn and not (asked.stats or asked.atlas or asked.layers or sided)
    opener = executor_of(manager, asked.settings.executor)
    names = read_names(asked.names) if asked.names is not None else ()
    chosen = same_tensors(manager, asked, names)
    a, b = (open_model(manager, model, asked, chosen) for model in models)
    if asked.merge:
        a = _merged(manager, a, b, asked)
    comparing = Comparing(a, b, names)
    if comparing.translation is not None and not asked.settings.quiet:
        for line in comparing.translation.said:
            click.echo(f"names: {line}", err=True)
    output.origin = comparing.origin
    settings = Tolerance(asked.tolerance, asked.ignore_dtype, asked.rank_size)
    atlas = DeltaAtlas(transformer, comparing.names, comparing.quantised)
    views: list[View] = []
    if asked.layers:
        views.append(PairPages(settings.need, comparing.names, asked.everything, comparing.quantised))
    if asked.atlas or usual:
        views.append(atlas)
    film = Frames(transformer, (comparing.names.a, comparing.names.b), (A, B))
    if targets.films:
        views.append(film)
    drawn_later: list[tuple[Page, View, Any]] = []
    frames: list[Page] = []
    pages = len(comparing.joint) if asked.layers else 0

    def take(page: Page, view: View, made: Any) -> None:
        if view.name == "delta_atlas":
            drawn_later.append((page, view, made))
        elif view.name == "frames":
            frames.append(page)
        else:
            output.take(page, view, made)

    with output:
        output.for_views(views)
        with workers(comparing.joint, run.jobs, pages, fork=True, opener=opener) as executor:
            comparison = comparing.compare(settings, views, take, run, executor=executor, prepare=output.prepare)
        table = comparison_table(comparison, comparing.names, asked.top, asked.everything)
        nothing_moves = bool(targets.films) and not frames  # the table says why
        data = json_text(table.data, indent=2)
        targets.table(table, atlas, shown=asked.stats or usual or nothing_moves, data=data)
        if comparison.moved:  # nothing changed: there is nothing to see
            overview = overview_page(comparison, comparing.names)
            if overview is not None and usual and (output.file is None or targets.whole):
                output.add(overview, atlas)
            for drawn in drawn_later:
                output.take(*drawn)
            _tell_chosen(transformer if drawn_later or frames else None, comparing.joint, run)
        if sided:
            with nullcontext() if targets.views is output else targets.views:
                _draw_sides(comparing, sided, run, targets.views, opener)
        output.close()
        if frames:
            targets.film(frames, film)
        if output.file and (comparison.moved or not views):  # of what did not change, a file is not missed
            output.require_drawn()
    return SAME if comparison.same else DIFFERENT


def _draw_sides(comparing: Comparing, views: Sequence[View], run: Settings, output: Output, opener: Any) -> None:
    """Draw *views* of A, of B and of Δ, each into a folder of its own. Raises ``NotDrawable`` where one has nothing of any."""
    sides = {"A": comparing.a, "B": comparing.b, "Δ": comparing.joint}
    declined: dict[str, list[tuple[str, NotDrawable]]] = {view.name: [] for view in views}
    idle = dict.fromkeys(view.name for view in views)
    for letter, checkpoint in sides.items():
        if not checkpoint:
            continue
        origin = comparing.origin if letter == "Δ" else PageOrigin.of(checkpoint)
        with workers(checkpoint, run.jobs, len(checkpoint), fork=True, opener=opener) as executor:
            for page, view, _ in draw(
                checkpoint,
                views,
                run,
                executor=executor,
                origin=origin,
                declined=lambda view, error, letter=letter: declined[view.name].append((letter, error)),  # type: ignore[misc]
            ):
                folder = f"{FOLDERS[letter]}/{page.folder}".rstrip("/")
                page = of_change(page) if letter == "Δ" else page
                output.add(replace(page, folder=folder, title=f"{letter}: {page.title}"), view)
                idle.pop(view.name, None)
    for name, found in declined.items():
        if found and name in idle:
            raise found[0][1]
        for letter, error in found if not run.quiet else ():
            click.echo(f"{letter}: {error}", err=True)
    for name in idle if not run.quiet else ():
        click.echo(f"{name}: nothing to draw in A, B and Δ", err=True)


def compare_lineage(manager: PluginManager, models: Sequence[str], asked: Asked) -> int:
    """The evidence of shared training between two, or of what the third is beside two others; the exit code."""
    if len(models) not in (2, 3):
        raise UsageError("--lineage takes two checkpoints, or three: A, B, and C, which may be a merge of both")
    if asked.stats or asked.atlas or asked.layers or asked.merge or asked.settings.view:
        raise UsageError("--lineage cannot be combined with --stats, --atlas, --merge or views; run compare again for those")
    names = read_names(asked.names) if asked.names is not None else ()
    targets = Targets(manager, asked.settings, asked.settings)
    opener = executor_of(manager, asked.settings.executor)
    chosen = same_tensors(manager, asked, names)
    opened = [open_model(manager, model, asked, chosen) for model in models]
    settings = Tolerance(asked.tolerance, asked.ignore_dtype, asked.rank_size)
    compared = []
    for one, other in ((0, 1), (0, 2), (1, 2))[: 1 if len(models) == 2 else 3]:
        comparing = Comparing(opened[one], opened[other], names)
        with workers(comparing.joint, asked.settings.jobs, fork=True, opener=opener) as executor:
            compared.append(comparing.compare(settings, run=asked.settings, executor=executor))
    mixed = None
    if len(models) == 2:
        found = lineage_of(compared[0])
    else:
        ab, ac, bc = compared
        found, mixed = lineage_of_three(ab, ac, bc)
    called = short_names([each.source for each in opened])
    title = ", ".join(f"{letter}: {visible(name)}" for letter, name in zip("ABC", called, strict=False))
    page = lineage_page(found, title, mixed)
    with targets.pictures:
        targets.table(page, PairPages(settings.need, comparing.names), shown=True, data=json_text(page.data, indent=2))
        targets.pictures.close()
    return SAME if all(each.same for each in compared) else DIFFERENT


def _merged(manager: PluginManager, base: Checkpoint, other: Checkpoint, asked: Asked) -> Checkpoint:
    """*base* with the adapter that is asked for, as it is compared with *other*; says on stderr how."""
    merged = merge(base, manager.open(asked.merge)).beside(other)
    if not asked.settings.quiet:
        for note in merged.notes:
            click.echo(f"{visible(asked.merge)}: {visible(note, limit=2000)}", err=True)
    return merged


def _tell_chosen(transformer: GridTransformer | None, joint: Checkpoint, run: Settings) -> None:
    """Say on stderr of how many tensors the pictures by *transformer* are, where it chose them."""
    line = "" if transformer is None or run.quiet else chosen_line(transformer, joint, run)
    if line:
        click.echo(line, err=True)


def same_tensors(manager: PluginManager, asked: Asked, names: Sequence[Named] = ()) -> SameTensors:
    """What chooses the tensors of each model by the filters that are asked for."""
    return SameTensors([manager.create("filter", spec) for spec in asked.settings.filter], names)


def open_model(manager: PluginManager, model: str, asked: Asked, chosen: SameTensors) -> Checkpoint:
    """The tensors of one model that are compared; says on stderr what was left out."""
    started = time.perf_counter()
    opened = manager.open(model, asked.settings.loader or "", raw=asked.settings.raw)
    selection = chosen.select(opened, asked.settings, is_recording(opened))
    for skip in selection.checkpoint.skipped if asked.settings.verbose else ():
        click.echo(f"skipped {visible(skip.name)}: {visible(skip.reason)} ({skip.by})", err=True)
    if not asked.settings.quiet:
        for note in () if asked.settings.slice else selection.checkpoint.notes_at_a_glance:  # a row costs a row
            click.echo(f"{visible(without_secrets(model))}: note: {visible(note, limit=2000)}", err=True)
        click.echo(summary_line(selection, time.perf_counter() - started), err=True)
    return selection.checkpoint


def compare_series(manager: PluginManager, models: Sequence[str], asked: Asked) -> int:
    """Draw how the weights went from checkpoint to checkpoint; the exit code. Raises ``Torch2GridError``."""
    if asked.names is not None:
        raise UsageError("--names is for two checkpoints; those of a series have one set of names")
    transformer = transformer_of(manager, asked.settings)
    run = replace(asked.settings, transformer=transformer)
    targets = Targets(manager, asked.settings, run, ANIMATED, chosen=asked.atlas or asked.layers)
    output = targets.pictures
    _check_one_file(targets)
    opener = executor_of(manager, asked.settings.executor)
    found = _opened(manager, models, asked)
    recorded = len(found) == 1 and is_recording(found[0])
    if len(found) < 2 and not recorded:
        raise UsageError(f"{models[0]} is one checkpoint; a comparison takes two or more, or a folder of them")
    if asked.settings.view:
        name = spec_name(asked.settings.view[0])
        raise UsageError(f"view {name!r} is drawn of two checkpoints and of Δ, not of a series; compare two of these")
    if recorded:
        return _recorded(manager, found[0], run, asked)
    ordered = in_order(found)
    if not asked.settings.quiet:
        click.echo(f"{len(found)} checkpoints: {', '.join(ordered.labels)}", err=True)
    view = Frames(transformer, ordered.labels)
    in_report = targets.whole and output.prepare.formats[0] in ANIMATED
    views: list[View] = [view] if targets.films or asked.atlas or in_report else []
    frames: list[Page] = []
    joint = joint_series(ordered)
    output.origin = PageOrigin.of(*ordered.checkpoints)
    with output:
        with workers(joint[0], asked.settings.jobs, fork=True, opener=opener) as executor:
            series = compare_many(ordered, views, lambda page, *_: frames.append(page), run, executor=executor, joint=joint)
        if not asked.settings.quiet:
            for first in (*series.firsts, *series.explosions):
                click.echo(first.text, err=True)
        _write(series, Quantity(), "", targets, asked, view)
        if in_report or (asked.atlas and targets.drawn):
            for page in frames:
                output.add(page, view)
        output.close()
        targets.film(frames, view)
        _tell_chosen(transformer if frames else None, joint[0], run)
    if series.left_out and not asked.settings.quiet:
        names = ", ".join(f"{visible(name)} ({why})" for name, why in list(series.left_out.items())[:3])
        click.echo(f"{counted(len(series.left_out), 'tensor')} not in all of them: {names}", err=True)
    return SAME


def _check_one_file(targets: Targets) -> None:
    """Raise ``UsageError`` for a file that takes one picture."""
    file = targets.pictures.file
    if file is not None and not (targets.whole or targets.only_table):
        raise UsageError(f"--output {file} takes one picture, and a series has several; give a folder, or FILE.html")


def _recorded(manager: PluginManager, checkpoint: Checkpoint, run: Settings, asked: Asked) -> int:
    """The pages of a recording of gradients, of which no format is an animation."""
    series, title = recorded_series(checkpoint)
    targets = Targets(manager, asked.settings, run, chosen=asked.atlas or asked.layers)
    _check_one_file(targets)
    if targets.whole and targets.pictures.prepare.formats == ("gif",):
        raise UsageError(f"--output {targets.pictures.file} takes an animation, and a recording of gradients has none")
    targets.pictures.origin = PageOrigin.of(checkpoint)
    with targets.pictures:
        _write(series, GRADIENTS, title, targets, asked, Frames(Flatten(), series.ordered.labels))
    return SAME


def _write(series: Series, said: Quantity, title: str, targets: Targets, asked: Asked, view: View) -> None:
    """The table and the pictures that *asked* names; with none, all but a page for each tensor."""
    pages = series_pages(series, said, asked.settings.title or title, asked.layers)
    table = next(pages)
    shown = asked.stats or (targets.drawn and not asked.layers)
    targets.table(table, view, shown=shown, data=json_text(table.data, indent=2))
    if asked.layers or (targets.drawn and not asked.stats):
        for page in pages:
            targets.pictures.add(page, view)


def _opened(manager: PluginManager, models: Sequence[str], asked: Asked) -> list[Checkpoint]:
    """Every checkpoint named, and those in the folders named."""
    found: list[Checkpoint] = []
    chosen = same_tensors(manager, asked)
    for model in models:
        if len(models) > 1 or not os.path.isdir(model):
            found.append(open_model(manager, model, asked, chosen))
        else:
            found += _in_folder(manager, model, asked, chosen)
    return found


def _in_folder(manager: PluginManager, folder: str, asked: Asked, chosen: SameTensors) -> list[Checkpoint]:
    """The checkpoints in a folder; says on stderr how many there are."""
    quiet = replace(asked, settings=replace(asked.settings, quiet=True, verbose=False))
    found, left = checkpoints_in(folder, lambda path: open_model(manager, path, quiet, chosen))
    if not asked.settings.quiet:
        weights = human_count(found[-1].parameters)
        others = f", {left} other files" if left else ""
        click.echo(f"{visible(folder)}: {len(found)} checkpoints of {weights} weights{others}", err=True)
    return found
