"""What both forms of ``torch2grid compare`` share: what the command line asks for, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from torch2grid_builtin._compare.recording import is_recording
from torch2grid_core import Checkpoint, GridTransformer, Page, PluginManager, Run, UsageError, View
from torch2grid_core.commands import summary_line
from torch2grid_core.pages import Output
from torch2grid_core.selection import select

ATLASES = ("atlas", "layer_separated", "flatten")  # the first that is installed draws Δ of the whole model
PAIR_CELLS = 512  # a side of each of the panels of one tensor


@dataclass(frozen=True)
class Asked:
    """The options of the command line; help for each is in ``commands/compare.py``."""

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
    plugin: str | None
    part: str
    filters: tuple[str, ...]
    include_buffers: bool
    raw: bool
    loader: str | None
    reduce: str
    colormap: str | None
    title: str
    jobs: int
    executor: str | None
    quiet: bool


def run_of(asked: Asked, transformer: GridTransformer) -> Run:
    """The settings of pictures."""
    return Run(
        transformer=transformer, reduce=asked.reduce, colormap=asked.colormap, title=asked.title, tensor_cells=PAIR_CELLS
    )


def animations(asked: Asked, names: Sequence[str], output: Output) -> list[str]:
    """The formats asked for that are among *names*, as files of their own. Raises ``UsageError`` where they have no folder."""
    found = [name for name in asked.formats if name in names]
    if found and (output.file is not None or asked.output == "-"):
        raise UsageError(f"--output {asked.output} takes no animation beside other output; give a folder")
    return found


def transformer_of(manager: PluginManager, plugin: str | None) -> GridTransformer:
    """The transformer *plugin*, or the one that suits a whole model best."""
    names = manager.names("transformer")
    usual = next((name for name in ATLASES if name in names), ATLASES[-1])
    transformer: GridTransformer = manager.create("transformer", plugin or usual)
    return transformer


def write_film(manager: PluginManager, name: str, frames: Sequence[Page], view: View, run: Run, asked: Asked) -> None:
    """All *frames* as one file of the format *name*, in the folder of pictures."""
    with Output(manager, Path(asked.output) / f"series_atlas.{name}", run, say=click.echo) as film:
        for page in frames:
            film.add(page, view)
    film.require_drawn()


def open_model(manager: PluginManager, model: str, asked: Asked) -> Checkpoint:
    """The tensors of one model that are compared; says on stderr what was left out."""
    started = time.perf_counter()
    filters = [manager.create("filter", spec) for spec in asked.filters]
    opened = manager.open(model, asked.loader or "", raw=asked.raw)
    selection = select(opened, asked.part, filters, asked.include_buffers or is_recording(opened))
    if not asked.quiet:
        click.echo(summary_line(selection, time.perf_counter() - started), err=True)
    return selection.checkpoint
