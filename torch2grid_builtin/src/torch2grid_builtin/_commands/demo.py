"""``torch2grid demo``: a small network, untrained and trained, side by side on one scale.

The checkpoints come with this package. In the repository, ``examples/train_digits.py`` trained the two on 8×8 digits, and
``examples/make_hostile_demo.py`` made the hostile one, whose only harm would be an empty file.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, ClassVar

import click

from torch2grid_builtin._views.conv import kernel_layout
from torch2grid_core import (
    Checkpoint,
    Command,
    Grid,
    GridTransformer,
    Need,
    Page,
    PluginManager,
    Settings,
    Torch2GridError,
    measure,
)
from torch2grid_core.commands import settings_options, summary_line
from torch2grid_core.measures import Raster, Transformed
from torch2grid_core.pages import Output, PageOrigin
from torch2grid_core.selection import Selection

STAGES = ("untrained", "trained")
WITNESS = "torch2grid-was-here"  # the empty file that the hostile checkpoint's call would leave in the working folder
KERNELS = "conv1.weight"  # of the first convolution: 16 kernels of 3×3
ALSO = ("layer_separated",)  # transformers to draw with beside the default, where they are installed


class Demo(Command):
    """draw a small trained network, untrained and trained side by side"""

    name: ClassVar[str] = "demo"

    def build(self) -> click.Command:
        def run(manager: PluginManager, /, hostile: bool) -> None:
            show = draw_hostile if hostile else draw_demo
            show(manager, Settings.from_context(click.get_current_context()))

        return click.Command(
            self.name,
            callback=click.pass_obj(run),
            params=[
                *settings_options("plugin", "output", "format", "colormap", "listener"),
                click.Option(
                    ["--hostile"],
                    is_flag=True,
                    help="draw a checkpoint that holds a call to os.system, and show that the call is not made",
                ),
            ],
            help="Draw a network that reads handwritten digits (9,258 weights), untrained and trained, side by side on one "
            "scale. Prints the path of each file written.",
            context_settings={"help_option_names": ["-h", "--help"]},
        )


def draw_demo(manager: PluginManager, run: Settings) -> None:
    """Write the pictures of the demo, their paths to stdout, and one summary line to stderr.

    Without a ``plugin`` it draws with the usual transformers, and the kernels of the first convolution. Raises
    ``UsageError`` for an unknown name, ``PluginError`` for a transformer that fails.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        data = files("torch2grid_builtin") / "data"
        paths = [stack.enter_context(as_file(data / f"digits_{stage}.pth")) for stage in STAGES]
        checkpoints = [manager.open(str(path)) for path in paths]
        origin = PageOrigin.of(*checkpoints)
        destination = stack.enter_context(Output(manager, run.output, run, formats=run.format, say=click.echo, origin=origin))
        one_file = destination.file is not None
        specs = [run.plugin] if run.plugin else _usual(manager)[: 1 if one_file else None]
        transformers = [(spec, _transformer(manager, run, spec)) for spec in specs]
        for spec, transformer in transformers:
            name = str(transformer.name)
            need: Need[Grid] = Transformed(transformer, run.reduce, run.max_cells)
            file = f"demo_grid_{name}" if spec else "demo_grid"
            destination.add(side_by_side(checkpoints, need, run, file, f"all weights, {name}"))
        if not run.plugin and not one_file:
            kernels = kernel_layout(KERNELS, checkpoints[0][KERNELS].shape, run.tensor_cells)
            need = Raster(kernels.layout, run.reduce)
            what = "kernels of the first convolution"
            destination.add(side_by_side(checkpoints, need, run, "demo_kernels", what, outlined=False))
    click.echo(summary_line(Selection(checkpoints[-1]), time.perf_counter() - started), err=True)


def draw_hostile(manager: PluginManager, run: Settings) -> None:
    """Draw a checkpoint with a call in its pickle; say on stderr what was not run, and that it left no trace.

    Raises ``Torch2GridError`` where the file that the call would create is there afterwards
    and was not there before.
    """
    started = time.perf_counter()
    witness = Path(WITNESS)
    before = witness.exists()
    with ExitStack() as stack:
        path = stack.enter_context(as_file(files("torch2grid_builtin") / "data" / "hostile_demo.pth"))
        checkpoint = manager.open(str(path))
        origin = PageOrigin.of(checkpoint)
        destination = stack.enter_context(Output(manager, run.output, run, formats=run.format, say=click.echo, origin=origin))
        need = Transformed(_transformer(manager, run, run.plugin), run.reduce, run.max_cells)
        panel = run.heatmap(_grid(checkpoint, need), boundaries=True, labels=True)
        destination.add(Page("demo_hostile", "A hostile checkpoint, drawn and not run", (panel,)))
    click.echo(summary_line(Selection(checkpoint), time.perf_counter() - started), err=True)
    for call in checkpoint.not_run:
        click.echo(f"not run: {call}", err=True)
    if before:
        click.echo(f"there was a file {WITNESS} here before: remove it and run again to see that none appears", err=True)
    elif witness.exists():
        raise Torch2GridError(f"a file {WITNESS} appeared: something ran the code of the checkpoint; please report this")
    else:
        click.echo(f"no file {WITNESS} appeared here: nothing in the checkpoint was run", err=True)


def _transformer(manager: PluginManager, run: Settings, spec: Any) -> GridTransformer:
    transformer: GridTransformer = manager.with_transformer(replace(run, plugin=spec)).transformer
    return transformer


def _usual(manager: PluginManager) -> list[str | None]:
    """The transformers without ``--plugin``: the only one that ``--load-plugin`` brings, or ``None`` for the default."""
    installed, loaded = manager.names("transformer"), manager.given("transformer")
    return [*loaded] if len(loaded) == 1 else [None, *(name for name in ALSO if name in installed)]


def _grid(checkpoint: Checkpoint, need: Need[Grid]) -> Grid:
    return dict(measure(checkpoint, {"grid": need}))[None]["grid"]  # type: ignore[no-any-return]


def side_by_side(
    checkpoints: Sequence[Checkpoint], need: Need[Grid], run: Settings, name: str, what: str, outlined: bool = True
) -> Page:
    """One page with the grid that *need* is of each checkpoint, all with the colour limits of all grids together.

    outlined: with the regions' outlines and names.
    """
    grids = [_grid(checkpoint, need) for checkpoint in checkpoints]
    heatmaps = [run.heatmap(grid, boundaries=outlined, labels=outlined) for grid in grids]
    shared = run.color_scale(*grids)
    run = replace(run, limits=(shared.low, shared.high))  # the shares beyond them are each panel's own
    panels = tuple(
        replace(heatmap, scale=run.color_scale(heatmap.grid), title=stage)
        for stage, heatmap in zip(STAGES, heatmaps, strict=True)
    )
    return Page(name, f"A network that reads digits: {what}", panels, columns=len(panels))
