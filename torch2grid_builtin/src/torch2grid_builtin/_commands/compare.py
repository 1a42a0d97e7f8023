"""``torch2grid compare``: what changed between two checkpoints, or over a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import click

from torch2grid_builtin._commands.compare_settings import (
    PAIR_CELLS,
    Asked,
    animations,
    open_model,
    run_of,
    transformer_of,
    write_film,
)
from torch2grid_builtin._compare.delta import RANK_SIZE, A, B
from torch2grid_builtin._compare.two import Comparing, Tolerance
from torch2grid_core import Command, Page, PluginManager, Settings, Torch2GridError, UsageError, View
from torch2grid_core.commands import settings_options
from torch2grid_core.measures import executor_of, workers
from torch2grid_core.pages import Output
from torch2grid_core.text import json_text

SAME, DIFFERENT, UNUSABLE = 0, 1, 2


class Compare(Command):
    """say and draw what changed between two checkpoints, or over a training run"""

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
            "picture. With three and more, or a folder: how the weights went from each to the next. Tensors are matched by "
            "name; of a training checkpoint, the model is compared. Exit code: 0 the same, 1 different, 2 for a file that "
            "cannot be read and for wrong usage.",
            context_settings={"help_option_names": ["-h", "--help"]},
        )


def _params() -> list[click.Parameter]:
    return [
        click.Argument(["models"], nargs=-1, metavar="A B..."),
        click.Option(["--stats"], is_flag=True, help="The table."),
        click.Option(
            ["--atlas"], is_flag=True, help="Δ of the whole model as one grid. This, the table and an overview are the default."
        ),
        click.Option(["--layers"], is_flag=True, help="A page for each tensor that changed: A, B, Δ and histograms."),
        click.Option(["--all", "everything"], is_flag=True, help="Tensors that did not change too."),
        click.Option(["--top"], type=click.IntRange(0), default=0, metavar="N", help="At most so many rows of each table."),
        click.Option(
            ["--tolerance"],
            type=click.FloatRange(0),
            default=0.0,
            metavar="T",
            help="Weights that differ by up to T are the same.",
        ),
        click.Option(["--ignore-dtype"], is_flag=True, help="Another dtype, and rounding to it, is no difference."),
        click.Option(
            ["--rank-size"],
            type=click.IntRange(0),
            default=RANK_SIZE,
            show_default=True,
            metavar="N",
            help="Weights of the largest matrix whose rank of Δ is looked for.",
        ),
        *settings_options(
            output="Where pictures go.",
            format="File formats, such as png,svg; json is the report on stdout; gif animates the whole model.",
            plugin="The grid transformer of the whole model.",
            part="The part of training checkpoints; else the model.",
            filter="Compare only what a filter keeps (repeatable).",
            include_buffers="Compare counters and index buffers too.",
            raw="Compare what is stored, without decoders.",
            loader="Read the files with this loader.",
            reduce="",
            colormap="",
            title="",
            scale="",
            clip="",
            threshold="",
            max_cells="",
            tensor_cells="Cells a side of each panel of one tensor, at most.",
            jobs="",
            executor="",
            verbose="Say more: each tensor that was left out, and why.",
            quiet="Say nothing but differences, errors and the paths written.",
        ),
    ]


def compare(manager: PluginManager, models: Sequence[str], asked: Asked) -> int:
    """Compare *models*; the exit code. Raises ``Torch2GridError`` where they cannot be compared."""
    if not models:
        raise UsageError("no checkpoints given; try 'torch2grid compare A B' or 'torch2grid compare --help'")
    if len(models) != 2:
        from torch2grid_builtin._commands.compare_series import compare_series

        return compare_series(manager, models, asked)
    return compare_two(manager, models, asked)


def compare_two(manager: PluginManager, models: Sequence[str], asked: Asked) -> int:
    """The table, the pictures and the exit code of two."""
    from torch2grid_builtin._compare.pages import DeltaAtlas, PairPages, comparison_table, overview_page
    from torch2grid_builtin._compare.series import Frames

    pictures = tuple(name for name in asked.settings.format if name not in ("json", "gif"))
    report = "json" in asked.settings.format
    some = asked.stats or asked.atlas or asked.layers or (bool(asked.settings.format) and not pictures)
    transformer = transformer_of(manager, asked.settings)
    run = run_of(asked, transformer)
    output = Output(manager, asked.settings.output, run, formats=pictures, say=click.echo)
    animated = animations(asked, ("gif",), output)
    opener = executor_of(manager, asked.settings.executor)
    comparing = Comparing(*(open_model(manager, model, asked) for model in models))
    settings = Tolerance(asked.tolerance, asked.ignore_dtype, asked.rank_size)
    views: list[View] = []
    if asked.layers:
        views.append(PairPages(settings.need, comparing.names, asked.everything))
    if asked.atlas or not some:
        views.append(DeltaAtlas(transformer, comparing.names))
    film = Frames(transformer, (comparing.names.a, comparing.names.b), (A, B))
    if animated:
        views.append(film)
    drawn_later: list[tuple[Page, View, Any]] = []
    frames: list[Page] = []
    pages = len(comparing.joint) if asked.layers else 0
    with output, workers(comparing.joint, run.jobs, pages, fork=True, opener=opener) as executor:
        output.for_views(views)

        def take(page: Page, view: View, made: Any) -> None:
            if view.name == "delta_atlas":
                drawn_later.append((page, view, made))
            elif view.name == "frames":
                frames.append(page)
            else:
                output.take(page, view, made)

        comparison = comparing.compare(settings, views, take, run, executor=executor, prepare=output.prepare)
        table = comparison_table(comparison, comparing.names, asked.top, asked.everything)
        if report:
            click.echo(json_text(table.data, indent=2))
        elif asked.stats or not some or (animated and not frames):  # nothing to animate: the table says why
            text = Output(manager, asked.settings.output, run, say=click.echo)
            text.add(table, DeltaAtlas(transformer, comparing.names))
        moved = any(delta.changed for delta in comparison.deltas.values())
        if moved:  # nothing changed: there is nothing to see
            for drawn in drawn_later:
                output.take(*drawn)
            overview = overview_page(comparison, comparing.names)
            if overview is not None and not some and output.file is None:
                output.add(overview, DeltaAtlas(transformer, comparing.names))
    for name in animated if frames else ():
        write_film(manager, name, frames, film, run, asked)
    if output.file and (moved or not views):  # of what did not change, a file is not missed
        output.require_drawn()
    return SAME if comparison.same else DIFFERENT
