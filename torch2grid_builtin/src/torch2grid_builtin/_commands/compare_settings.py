"""What both forms of ``torch2grid compare`` share: what the command line asks for, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from torch2grid_builtin._compare.recording import is_recording
from torch2grid_core import Checkpoint, GridTransformer, Page, PluginManager, Settings, UsageError, View
from torch2grid_core.commands import summary_line
from torch2grid_core.pages import Output
from torch2grid_core.selection import select
from torch2grid_core.text import visible

ATLASES = ("atlas", "layer_separated")  # the first that is installed draws Δ of the whole model
PAIR_CELLS = 512  # a side of each of the panels of one tensor


@dataclass(frozen=True)
class Asked:
    """The command line: options of this command's own, whose help is in ``commands/compare.py``, and the settings."""

    stats: bool
    atlas: bool
    layers: bool
    everything: bool
    top: int
    tolerance: float
    ignore_dtype: bool
    rank_size: int
    settings: Settings


def run_of(asked: Asked, transformer: GridTransformer) -> Settings:
    """The settings of pictures."""
    return replace(asked.settings, transformer=transformer)


def animations(asked: Asked, names: Sequence[str], output: Output) -> list[str]:
    """The formats asked for that are among *names*, as files of their own. Raises ``UsageError`` where they have no folder."""
    found = [name for name in asked.settings.format if name in names]
    if found and (output.file is not None or asked.settings.output == "-"):
        raise UsageError(f"--output {asked.settings.output} takes no animation beside other output; give a folder")
    return found


def transformer_of(manager: PluginManager, settings: Settings) -> GridTransformer:
    """The transformer that is asked for, or the one that suits a whole model best."""
    names = manager.names("transformer")
    spec = settings.plugin or next((name for name in ATLASES if name in names), None)
    transformer: GridTransformer = manager.with_transformer(replace(settings, plugin=spec)).transformer
    return transformer


def write_film(manager: PluginManager, name: str, frames: Sequence[Page], view: View, run: Settings, asked: Asked) -> None:
    """All *frames* as one file of the format *name*, in the folder of pictures."""
    with Output(manager, Path(asked.settings.output) / f"series_atlas.{name}", run, say=click.echo) as film:
        for page in frames:
            film.add(page, view)
    film.require_drawn()


def open_model(manager: PluginManager, model: str, asked: Asked) -> Checkpoint:
    """The tensors of one model that are compared; says on stderr what was left out."""
    started = time.perf_counter()
    filters = [manager.create("filter", spec) for spec in asked.settings.filter]
    opened = manager.open(model, asked.settings.loader or "", raw=asked.settings.raw)
    selection = select(opened, asked.settings.part, filters, asked.settings.include_buffers or is_recording(opened))
    for skip in selection.checkpoint.skipped if asked.settings.verbose else ():
        click.echo(f"skipped {visible(skip.name)}: {visible(skip.reason)} ({skip.by})", err=True)
    if not asked.settings.quiet:
        click.echo(summary_line(selection, time.perf_counter() - started), err=True)
    return selection.checkpoint
