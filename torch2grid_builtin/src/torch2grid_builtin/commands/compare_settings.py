"""What both forms of ``torch2grid compare`` share: what the command line asks for, and what follows from it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import click

from torch2grid_core import Checkpoint, GridTransformer, PluginManager, Run, select, summary_line

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
    loader: str | None
    reduce: str
    colormap: str | None
    title: str
    jobs: int
    quiet: bool


def run_of(asked: Asked, transformer: GridTransformer) -> Run:
    """The settings of pictures."""
    return Run(
        transformer=transformer, reduce=asked.reduce, colormap=asked.colormap, title=asked.title, tensor_cells=PAIR_CELLS
    )


def transformer_of(manager: PluginManager, asked: Asked) -> GridTransformer:
    """The transformer asked for, or the one that suits a whole model best."""
    names = manager.names("transformer")
    usual = next((name for name in ATLASES if name in names), ATLASES[-1])
    transformer: GridTransformer = manager.create("transformer", asked.plugin or usual)
    return transformer


def open_model(manager: PluginManager, model: str, asked: Asked) -> Checkpoint:
    """The tensors of one model that are compared; says on stderr what was left out."""
    started = time.perf_counter()
    filters = [manager.create("filter", spec) for spec in asked.filters]
    selection = select(manager.open(model, asked.loader or ""), asked.part, filters, asked.include_buffers)
    if not asked.quiet:
        click.echo(summary_line(selection.checkpoint, selection.part, time.perf_counter() - started), err=True)
    return selection.checkpoint
