"""The drawing command: from words on the line to files, with one summary line."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.engine import Engine, workers
from torch2grid_core.errors import Torch2GridError, UsageError
from torch2grid_core.kinds.view import View
from torch2grid_core.output import Output
from torch2grid_core.pictures.colors import colormap
from torch2grid_core.pictures.page import Heatmap, Page
from torch2grid_core.plugins.manager import PluginManager
from torch2grid_core.run import Run
from torch2grid_core.selection import Selection, select
from torch2grid_core.text import human_count, safe_filename, visible

DEFAULT_VIEW, DEFAULT_TRANSFORMER = "grid", "flatten"


def draw(manager: PluginManager, models: Sequence[str], **given: Any) -> int:
    """Run the drawing command; the exit code. Raises ``Torch2GridError`` for a single model that fails."""
    if not models:
        raise UsageError("no model given; try 'torch2grid MODEL', 'torch2grid demo' or 'torch2grid --help'")
    if len(models) == 1:
        draw_one(manager, models[0], given["output"], given)
        return 0
    if given["interactive"]:
        raise UsageError(f"--interactive takes one model, not {len(models)}")
    return _batch(manager, models, given)


def _batch(manager: PluginManager, models: Sequence[str], given: dict[str, Any]) -> int:
    """Each model into a folder of its own; one failure does not stop the rest."""
    failed = []
    taken: Counter[str] = Counter()
    for model in models:
        stem = safe_filename(Path(model).name.partition(".")[0] or Path(model).name)
        taken[stem.casefold()] += 1
        folder = stem if taken[stem.casefold()] == 1 else f"{stem}_{taken[stem.casefold()]}"
        try:
            draw_one(manager, model, str(Path(given["output"]) / folder), given)
        except Torch2GridError as error:
            if isinstance(error, UsageError):
                raise
            say(str(error))
            failed.append(model)
    say(f"{len(models) - len(failed)} of {len(models)} models drawn" + (f", {len(failed)} failed" if failed else ""))
    return 1 if failed else 0


def draw_one(manager: PluginManager, model: str, output: str, given: dict[str, Any]) -> None:
    """Open one model, draw its pages below *output*, and say on stderr what it was."""
    started = time.perf_counter()
    tell = _silent if given["quiet"] else say
    manager.loaders(model, given["loader"] or "")  # without one, that is what to say first
    views, run = views_and_run(manager, given)
    destination = open_output(manager, output, run, given)  # a wrong format ends the run before the file is read
    selection = open_selection(manager, model, given, tell)
    if given["interactive"]:
        _interact(manager, selection.checkpoint, output, given)
        return
    preview = _Preview(run)
    if sys.stderr.isatty() and not given["quiet"]:
        destination.shown = preview.look
    _pass(selection.checkpoint, views, destination, run, given["jobs"])
    tell(summary_line(selection.checkpoint, selection.part, time.perf_counter() - started))
    preview.show()


def _pass(checkpoint: Checkpoint, views: Sequence[View], destination: Output, run: Run, jobs: int) -> None:
    """One run of the engine into *destination*, in as many processes as it is worth."""
    destination.for_views(views)
    pages = len(checkpoint) if any(type(view).tensor_pages is not View.tensor_pages for view in views) else 0
    with destination, workers(checkpoint, jobs, pages) as executor:
        Engine(executor).run(checkpoint, views, destination.take, run, destination.prepare)


def open_output(manager: PluginManager, output: str, run: Run, given: dict[str, Any]) -> Output:
    """Where this run's pages go."""
    return Output(manager, output, run, formats=given["formats"], renderer=given["renderer"] or "", say=click.echo)


def open_selection(manager: PluginManager, model: str, given: dict[str, Any], tell: Callable[[str], None]) -> Selection:
    """The tensors of *model* that this run is about; remarks go to *tell*."""
    checkpoint = manager.open(model, given["loader"] or "")
    selection = select(checkpoint, given["part"], filters_of(manager, given), given["include_buffers"])
    for line in [*_remarks(checkpoint), *selection.remarks]:
        tell(line)
    return selection


def _interact(manager: PluginManager, checkpoint: Checkpoint, output: str, given: dict[str, Any]) -> None:
    from torch2grid_core.cli.menu import Menu

    def draw_chosen(names: Sequence[str], views: Sequence[str]) -> None:
        instances, run = views_and_run(manager, {**given, "views": views})
        destination = open_output(manager, output, run, given)
        _pass(checkpoint.select(names), instances, destination, run, given["jobs"])

    views = [*dict.fromkeys(given["views"])] or ["layers"]
    Menu(checkpoint, draw_chosen, views, list(manager.names("view"))).run()


def filters_of(manager: PluginManager, given: dict[str, Any]) -> list[Any]:
    """The filters asked for, by ``--filter`` or by a flag of their own, in the order of the line."""
    return [
        manager.create("filter", name) if value is None else manager.create_by_flag(name, value)
        for name, value in given["filters"]
    ]


def views_and_run(manager: PluginManager, given: dict[str, Any]) -> tuple[list[Any], Run]:
    """The views asked for (the default one where none is) and the settings they follow."""
    specs = list(dict.fromkeys(given["views"])) or [_default(manager, "view", DEFAULT_VIEW)]
    views = [manager.create("view", spec) for spec in specs]
    spec = given["plugin"] or _only_loaded_transformer(manager)
    name = spec.partition(":")[0] if spec else ""
    transformer = manager.create("transformer", spec or _default(manager, "transformer", DEFAULT_TRANSFORMER))
    if given["colormap"]:
        colormap(given["colormap"])  # an unknown name ends the run before the file is read
    return views, Run(
        transformer=transformer,
        transformer_name=name.rpartition("/")[2],
        limits=given["limits"] if isinstance(given["limits"], tuple) else None,
        **{key: given[key] for key in ("reduce", "scale", "clip", "threshold", "title", "colormap", "max_cells")},
    )


def _default(manager: PluginManager, kind: str, name: str) -> str:
    """The usual one of a kind, or the only one there is."""
    names = manager.names(kind)
    if name in names or len(names) != 1:
        return name
    return next(iter(names))


def _only_loaded_transformer(manager: PluginManager) -> str:
    """The transformer of the ``--load-plugin`` files, if they bring exactly one."""
    brought = [each for record in manager.records if record.is_file for each in record.provides("transformer")]
    return brought[0].name if len(brought) == 1 else ""


def _remarks(checkpoint: Checkpoint) -> list[str]:
    lines = [f"note: {note}" for note in checkpoint.notes]
    lines += [f"not run: {text}" for text in checkpoint.not_run[:10]]
    if len(checkpoint.not_run) > 10:
        lines.append(f"not run: {len(checkpoint.not_run) - 10} more")
    return lines


def summary_line(checkpoint: Checkpoint, part: str, seconds: float) -> str:
    """``model.pth: torch-zip, 8 tensors, 21,418 parameters, float32, part model, 2 skipped (bookkeeping), 0.3 s``."""
    names = checkpoint.dtypes
    dtypes = ", ".join(f"{name} ({count})" if len(names) > 1 else name for name, count in names.items())
    pieces = [
        checkpoint.format,
        f"{len(checkpoint)} tensor{'s' if len(checkpoint) != 1 else ''}",
        f"{human_count(checkpoint.parameters)} parameters",
        dtypes,
    ]
    if part:
        pieces.append(f"part {visible(part)}")
    if checkpoint.skipped:
        reasons = Counter(skip.reason for skip in checkpoint.skipped)
        told = ", ".join(f"{count} {visible(reason, 60)}" for reason, count in reasons.most_common(3))
        pieces.append(f"{len(checkpoint.skipped)} skipped ({told})")
    if checkpoint.aliases:
        pieces.append(f"{len(checkpoint.aliases)} tied")
    pieces.append(f"{seconds:.1f} s")
    return f"{visible(checkpoint.source)}: " + ", ".join(pieces)


class _Preview:
    """Keeps the first overview's heatmap, for a small picture under the summary line."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.heatmap: Heatmap | None = None

    def look(self, page: Page) -> None:
        heatmaps = [panel for panel in page.panels if isinstance(panel, Heatmap)]
        if self.heatmap is None and heatmaps and not page.folder:
            self.heatmap = heatmaps[0]

    def show(self) -> None:
        if self.heatmap is None:
            return
        from torch2grid_core.pictures.halfblocks import half_blocks

        size = shutil.get_terminal_size((80, 24))
        color = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        lines = half_blocks(
            self.heatmap.grid, self.heatmap.scale, min(size.columns - 1, 64), min(size.lines - 4, 16), color, self.run.colormap
        )
        print("\n".join(lines), file=sys.stderr)


def _silent(line: str) -> None:
    """For ``--quiet``."""


def say(line: str) -> None:
    """One line for the person, on stderr."""
    print(visible(line, limit=2000), file=sys.stderr)
