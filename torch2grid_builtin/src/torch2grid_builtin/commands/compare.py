"""``torch2grid compare``: what changed between two checkpoints, or over a whole run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import click

from torch2grid_builtin.compare.delta import RANK_SIZE
from torch2grid_builtin.compare.two import Comparing, Settings
from torch2grid_core import (
    Checkpoint,
    Command,
    GridTransformer,
    Output,
    PluginManager,
    Run,
    Torch2GridError,
    UsageError,
    View,
    colormap,
    select,
    summary_line,
    workers,
)

SAME, DIFFERENT, UNUSABLE = 0, 1, 2
ATLASES = ("atlas", "layer_separated", "flatten")  # the first that is installed draws Δ of the whole model
PAIR_CELLS = 512  # a side of each of the panels of one tensor


@dataclass(frozen=True)
class Words:
    """The words of the command line."""

    stats: bool
    atlas: bool
    layers: bool
    everything: bool
    top: int
    tolerance: float
    ignore_dtype: bool
    rank_size: int
    output: str
    formats: tuple[str, ...]
    plugin: str
    part: str
    filters: tuple[str, ...]
    include_buffers: bool
    loader: str
    reduce: str
    colors: str | None
    title: str
    jobs: int
    quiet: bool


class Compare(Command):
    """say and draw what changed between two checkpoints, or over a training run"""

    name: ClassVar[str] = "compare"

    def build(self) -> click.Command:
        def run(manager: PluginManager, /, models: tuple[str, ...], **given: Any) -> int:
            try:
                return compare(manager, models, Words(**given))
            except Torch2GridError as error:
                if "--debug" in sys.argv:
                    raise
                click.echo(f"torch2grid: {error}", err=True)
                return UNUSABLE

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
        click.Option(["--atlas"], is_flag=True, help="Δ of the whole model as one grid. This and the table are the default."),
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
        click.Option(["-o", "--output"], default="grids", show_default=True, metavar="DIR|FILE", help="Where pictures go."),
        click.Option(
            ["--format", "--export", "formats"],
            multiple=True,
            callback=_words,
            metavar="LIST",
            help="File formats, such as png,svg; json is the report on stdout; gif animates the whole model.",
        ),
        click.Option(["--plugin"], default="", metavar="NAME[:KEY=VALUE,…]", help="The grid transformer of the whole model."),
        click.Option(["--part"], default="", metavar="NAME", help="The part of training checkpoints; else the model."),
        click.Option(["--filter", "filters"], multiple=True, metavar="NAME[:KEY=VALUE,…]", help="Only what a filter keeps."),
        click.Option(["--include-buffers"], is_flag=True, help="Compare counters and index buffers too."),
        click.Option(["--loader"], default="", metavar="NAME", help="Read the files with this loader."),
        click.Option(
            ["--reduce"],
            type=click.Choice(["mean", "absmax", "rms", "min", "max"]),
            default="mean",
            show_default=True,
            help="What a cell of many weights shows.",
        ),
        click.Option(["--colormap", "colors"], metavar="NAME", help="Colours, by any matplotlib name."),
        click.Option(["--title"], default="", metavar="TEXT", help="A title of your own."),
        click.Option(["-j", "--jobs"], type=click.IntRange(0), default=0, metavar="N", help="Processes; 0 is one a core."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing but differences, errors and the paths written."),
    ]


def _words(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.strip().lower() for each in value for part in each.split(",") if part.strip())


def compare(manager: PluginManager, models: Sequence[str], words: Words) -> int:
    """Compare *models*; the exit code. Raises ``Torch2GridError`` where they cannot be compared."""
    if not models:
        raise UsageError("no checkpoints given; try 'torch2grid compare A B' or 'torch2grid compare --help'")
    if words.colors:
        colormap(words.colors)
    if len(models) != 2 or "gif" in words.formats:
        from torch2grid_builtin.commands.compare_series import compare_series

        return compare_series(manager, models, words)
    return compare_two(manager, models, words)


def run_of(words: Words, transformer: GridTransformer) -> Run:
    """The settings of pictures."""
    return Run(transformer=transformer, reduce=words.reduce, colormap=words.colors, title=words.title, tensor_cells=PAIR_CELLS)


def transformer_of(manager: PluginManager, words: Words) -> GridTransformer:
    """The transformer asked for, or the one that suits a whole model best."""
    names = manager.names("transformer")
    usual = next((name for name in ATLASES if name in names), ATLASES[-1])
    transformer: GridTransformer = manager.create("transformer", words.plugin or usual)
    return transformer


def open_model(manager: PluginManager, model: str, words: Words) -> Checkpoint:
    """The tensors of one model that are compared; says on stderr what was left out."""
    started = time.perf_counter()
    filters = [manager.create("filter", spec) for spec in words.filters]
    selection = select(manager.open(model, words.loader), words.part, filters, words.include_buffers)
    if not words.quiet:
        click.echo(summary_line(selection.checkpoint, selection.part, time.perf_counter() - started), err=True)
    return selection.checkpoint


def compare_two(manager: PluginManager, models: Sequence[str], words: Words) -> int:
    """The table, the pictures and the exit code of two."""
    from torch2grid_builtin.compare.pages import DeltaAtlas, PairPages, overview_page, table_page

    pictures = tuple(name for name in words.formats if name != "json")
    report = "json" in words.formats
    some = words.stats or words.atlas or words.layers or (report and not pictures)
    transformer = transformer_of(manager, words)
    run = run_of(words, transformer)
    output = Output(manager, words.output, run, formats=pictures, say=click.echo)
    comparing = Comparing(*(open_model(manager, model, words) for model in models))
    settings = Settings(words.tolerance, words.ignore_dtype, words.rank_size)
    views: list[View] = []
    if words.layers:
        views.append(PairPages(settings.need, comparing.names, words.everything))
    if words.atlas or not some:
        views.append(DeltaAtlas(transformer, comparing.names))
    drawn_later = []
    with output, workers(comparing.joint, words.jobs, len(comparing.joint) if words.layers else 0) as executor:
        output.for_views(views)

        def take(drawn: Any) -> None:
            drawn_later.append(drawn) if drawn.view.name == "delta_atlas" else output.take(drawn)

        comparison = comparing.compare(settings, views, take, run, executor=executor, prepare=output.prepare)
        table = table_page(comparison, comparing.names, words.top, words.everything)
        if report:
            click.echo(json.dumps(table.data, indent=2, ensure_ascii=False))
        elif words.stats or not some:
            text = Output(manager, words.output, run, say=click.echo)
            text.add(table, DeltaAtlas(transformer, comparing.names))
        moved = any(delta.changed for delta in comparison.deltas.values())
        if moved:  # nothing changed: there is nothing to see
            for drawn in drawn_later:
                output.take(drawn)
            overview = overview_page(comparison, comparing.names)
            if overview is not None and not some and output.file is None:
                output.add(overview, DeltaAtlas(transformer, comparing.names))
    return SAME if comparison.same else DIFFERENT
