"""The drawing command: one model, or several, each into a folder of its own, and a table of what became of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from torch2grid_core._cli.console import say
from torch2grid_core._cli.drawing import Drawing
from torch2grid_core._data.steps import short_name
from torch2grid_core._engine.drawing import draw as draw_pages
from torch2grid_core._engine.workers import workers
from torch2grid_core._errors import NotDrawable, PluginError, Torch2GridError, UsageError
from torch2grid_core._guard import describe
from torch2grid_core._kinds.view import View
from torch2grid_core._output.files import stay_inside
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.page import Cell, Heatmap, Page, Table, table_lines
from torch2grid_core._pictures.scale import limits_of
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._settings import Settings
from torch2grid_core._summary.distribution import Distribution
from torch2grid_core._text import safe_filename, visible, without_secrets

_DEMO = "demo"  # a command that shows something without a model of one's own; it may be missing


def draw(manager: PluginManager, models: Sequence[str], settings: Settings) -> int:
    """Run the drawing command; the exit code. Raises ``Torch2GridError`` for a single model that fails."""
    if not models:
        demo = f", 'torch2grid {_DEMO}'" if _DEMO in manager.names("command") else ""
        raise UsageError(f"no model given; try 'torch2grid MODEL'{demo} or 'torch2grid --help'")
    if len(models) > 1 and settings.interactive:
        raise UsageError(f"--interactive takes one model, not {len(models)}")
    if len(models) > 1 and settings.output == "-":
        raise UsageError(f"--output - takes one model, not {len(models)}")
    manager.loaders(models[0], settings.loader or "")  # without one, that is what to say first
    drawing = Drawing(manager, settings)
    limits = None
    if settings.limits == "shared":
        limits = shared_limits(drawing, models)
    if len(models) == 1:
        drawing.one(models[0], settings.output, limits)
        return 0
    return Batch(drawing, models).run(limits)


@dataclass
class _Entry:
    """One model of a batch and what became of it."""

    model: str
    folder: str  # or a location
    result: str = "not started"
    files: int = 0
    tensors: int | None = None
    parameters: int | None = None
    seconds: float | None = None

    def row(self) -> tuple[Cell, ...]:
        return (visible(without_secrets(self.model), 60), self.result, self.files, self.tensors, self.parameters, self.seconds)


class Batch:
    """Each model into a folder of its own; one failure does not stop the rest, Ctrl-C keeps what is finished."""

    def __init__(self, drawing: Drawing, models: Sequence[str]) -> None:
        self.drawing = drawing
        given, taken = str(drawing.run.output), set[str]()
        root = Path(given)
        if root.suffix and drawing.output(given, drawing.run).file is not None:
            raise UsageError(f"--output {root} takes one picture, and there are {len(models)} models; give a folder")
        self.entries = []
        for model in models:
            stem, number = _stem(model), 1
            name = stem
            while name.casefold() in taken:
                number += 1
                name = f"{stem}_{number}"
            taken.add(name.casefold())
            self.entries.append(_Entry(model, f"{given.rstrip('/')}/{name}" if "://" in given else str(root / name)))

    def run(self, limits: tuple[float, float] | None) -> int:
        """Draw all; the exit code: 0, or 1 if any failed."""
        try:
            for entry in self.entries:
                self._one(entry, limits)
        finally:
            self._tell()
        return 1 if any(entry.result == "failed" for entry in self.entries) else 0

    def _one(self, entry: _Entry, limits: tuple[float, float] | None) -> None:
        started = time.perf_counter()
        entry.result = "interrupted"
        try:
            stay_inside(Path(entry.folder), Path(entry.folder).parent)
            drawn = self.drawing.one(entry.model, entry.folder, limits)
        except Torch2GridError as error:
            entry.result = "failed"
            if isinstance(error, PluginError) and error.kind == "executor":  # which the other models need, too
                raise
            self.drawing.manager.trace(error)
            told, model = str(error), without_secrets(entry.model)
            say(told if model in told else f"{model}: {told}")
        except Exception as error:  # a fault of ours or of a library must not cost the other models
            entry.result = "failed"
            self.drawing.manager.trace(error)
            say(f"{without_secrets(entry.model)}: internal error: {describe(error)}")
        else:
            entry.result = "drawn"
            entry.files, entry.tensors, entry.parameters = drawn.files, drawn.tensors, drawn.parameters
        entry.seconds = time.perf_counter() - started

    def _tell(self) -> None:
        columns = ("Model", "Result", "Files", "Tensors", "Parameters", "Seconds")
        formats = {"Files": ",d", "Tensors": ",d", "Parameters": ",d", "Seconds": ".1f"}
        if not self.drawing.quiet:
            for line in table_lines(Table(columns, tuple(entry.row() for entry in self.entries), formats=formats)):
                say(line)
        count = {
            result: sum(entry.result == result for entry in self.entries)
            for result in ("drawn", "failed", "interrupted", "not started")
        }
        told = [f"{count['drawn']} of {len(self.entries)} models drawn"]
        told += [f"{number} {result}" for result, number in count.items() if number and result != "drawn"]
        say(", ".join(told))


def _stem(model: str) -> str:
    """The folder for a model."""
    return safe_filename(short_name(model))


class _Cells:
    """The drawn cells of many pictures, counted: a few kilobytes, whatever their number. See ``scale.DrawnCells``."""

    def __init__(self) -> None:
        self._values, self._sizes = Distribution(), Distribution()

    def add(self, grid: Grid) -> None:
        drawn = grid.drawn()
        self._values.update(drawn)
        self._sizes.update(np.abs(drawn))

    def merge(self, other: _Cells) -> None:
        self._values.merge(other._values)
        self._sizes.merge(other._sizes)

    def __len__(self) -> int:
        return self._values.finite

    @property
    def min(self) -> float:
        return self._values.min

    @property
    def max(self) -> float:
        return self._values.max

    def quantile(self, share: float) -> float:
        return self._values.quantile(share)

    def size_quantile(self, share: float) -> float:
        return self._sizes.quantile(share)


def _counted(page: Page, view: View) -> tuple[Page, _Cells]:
    """The page without its panels, and the cells that its heatmaps draw."""
    cells = _Cells()
    for panel in page.panels:
        if isinstance(panel, Heatmap):
            cells.add(panel.grid)
    return replace(page, panels=()), cells


def _without_picture(view: View, error: NotDrawable) -> None:
    """A view that declines has no cells; the drawing pass says so."""


def shared_limits(drawing: Drawing, models: Sequence[str]) -> tuple[float, float] | None:
    """Limits that suit the cells of all *models* together, by the run's ``scale`` and ``clip``.

    A line on stderr tells of a model that cannot be read or drawn. ``None`` where no picture has cells.
    """
    cells = _Cells()
    for model in models:
        try:
            checkpoint = drawing.quietly_open(model).checkpoint
            jobs, opener = drawing.run.jobs, drawing.executor
            with workers(checkpoint, jobs, len(checkpoint), fork=True, opener=opener) as executor:
                for _, _, found in draw_pages(
                    checkpoint, drawing.views, drawing.run, prepare=_counted, executor=executor, declined=_without_picture
                ):
                    cells.merge(found)
        except Exception as error:  # the drawing pass tells more
            drawing.manager.trace(error)
            why = str(error) if isinstance(error, Torch2GridError) else describe(error)
            say(f"{without_secrets(model)}: the shared limits leave out what cannot be read or drawn of it: {why}")
    return limits_of(cells, drawing.run.scale, drawing.run.clip) if len(cells) else None
