"""``torch2grid compare`` with many checkpoints, a folder of them, or a recording of gradients."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import click

from torch2grid_builtin._commands.compare_settings import Asked, animations, open_model, run_of, transformer_of, write_film
from torch2grid_builtin._compare.folder import checkpoints_in
from torch2grid_builtin._compare.order import in_order
from torch2grid_builtin._compare.recording import is_recording, recorded_series
from torch2grid_builtin._compare.series import Frames, Series, compare_many, joint_series
from torch2grid_builtin._compare.series_pages import GRADIENTS, Quantity, moved_most, ridges_page, series_table, trends_page
from torch2grid_builtin._transformers.flatten import Flatten
from torch2grid_core import Checkpoint, Page, PluginManager, Settings, UsageError, View
from torch2grid_core.measures import executor_of, workers
from torch2grid_core.pages import Output
from torch2grid_core.text import human_count, json_text, visible

DONE = 0
ANIMATED = ("gif", "html")


def compare_series(manager: PluginManager, models: Sequence[str], asked: Asked) -> int:
    """Draw how the weights went from checkpoint to checkpoint; the exit code. Raises ``Torch2GridError``."""
    transformer = transformer_of(manager, asked.settings)
    run = run_of(asked, transformer)
    pictures = tuple(name for name in asked.settings.format if name not in ("json", *ANIMATED))
    output = Output(manager, asked.settings.output, run, formats=pictures, say=click.echo)
    if output.file is not None:
        raise UsageError(f"--output {asked.settings.output} takes one picture, and a series has several; give a folder")
    animated = animations(asked, ANIMATED, output)
    opener = executor_of(manager, asked.settings.executor)
    found = _opened(manager, models, asked)
    if len(found) == 1 and is_recording(found[0]):
        return _recorded(manager, found[0], run, asked)
    if len(found) < 2:
        raise UsageError(f"{models[0]} is one checkpoint; a comparison takes two or more, or a folder of them")
    ordered = in_order(found)
    if not asked.settings.quiet:
        click.echo(f"{len(found)} checkpoints, {ordered.said}: {', '.join(ordered.labels)}", err=True)
    views: list[View] = [Frames(transformer, ordered.labels)] if animated or asked.atlas else []
    frames: list[Page] = []
    joint = joint_series(ordered)
    with output, workers(joint[0], asked.settings.jobs, fork=True, opener=opener) as executor:
        series = compare_many(ordered, views, lambda page, *_: frames.append(page), run, executor=executor, joint=joint)
        for first in series.firsts:
            if not asked.settings.quiet:
                click.echo(first.text, err=True)
        title = f"{len(found)} checkpoints, {ordered.said}"
        view = Frames(transformer, ordered.labels)
        _write(series, Quantity(), title, output, asked, view, animated)
        if asked.atlas and (pictures or not animated):
            for page in frames:
                output.add(page, view)
    for name in animated:
        write_film(manager, name, frames, view, run, asked)
    if series.left_out and not asked.settings.quiet:
        names = ", ".join(f"{visible(name)} ({why})" for name, why in list(series.left_out.items())[:3])
        click.echo(f"{len(series.left_out)} tensors are not in all of them: {names}", err=True)
    return DONE


def _recorded(manager: PluginManager, checkpoint: Checkpoint, run: Settings, asked: Asked) -> int:
    """The pages of a recording of gradients, of which no format is an animation."""
    series, title = recorded_series(checkpoint)
    pictures = [name for name in asked.settings.format if name != "json"]
    with Output(manager, asked.settings.output, run, formats=pictures, say=click.echo) as output:
        _write(series, GRADIENTS, title, output, asked, Frames(Flatten(), series.ordered.labels))
    return DONE


def _write(
    series: Series, said: Quantity, title: str, output: Output, asked: Asked, view: View, animated: Sequence[str] = ()
) -> None:
    """The table and the pictures that *asked* names; with none, all but a page for each tensor.

    animated: formats that are written elsewhere. Where nothing but these and JSON is asked for, nothing else is written.
    """
    nothing_else = bool(asked.settings.format) and not set(asked.settings.format) - {"json", *animated}
    table = series_table(series, said, asked.settings.title or title)
    if "json" in asked.settings.format:
        click.echo(json_text(table.data, indent=2))
    elif asked.stats or not (asked.layers or nothing_else):
        text = Output(output.manager, output.folder, output.run, say=click.echo)
        text.add(table, view)
    if not asked.layers and (asked.stats or nothing_else):
        return
    output.add(trends_page(series, said, asked.settings.title or title), view)
    names = list(series.tracks) if asked.layers else moved_most(series)
    for name in names:
        output.add(ridges_page(series, name, said), view)


def _opened(manager: PluginManager, models: Sequence[str], asked: Asked) -> list[Checkpoint]:
    """Every checkpoint named, and those in the folders named."""
    found: list[Checkpoint] = []
    for model in models:
        if len(models) > 1 or not os.path.isdir(model):
            found.append(open_model(manager, model, asked))
        else:
            found += _in_folder(manager, model, asked)
    return found


def _in_folder(manager: PluginManager, folder: str, asked: Asked) -> list[Checkpoint]:
    """The checkpoints in a folder; says on stderr how many there are."""
    quiet = replace(asked, settings=replace(asked.settings, quiet=True, verbose=False))
    found, left = checkpoints_in(folder, lambda path: open_model(manager, path, quiet))
    if not asked.settings.quiet:
        weights = human_count(found[-1].parameters)
        others = f", {left} other files" if left else ""
        click.echo(f"{visible(folder)}: {len(found)} checkpoints of {weights} weights{others}", err=True)
    return found
