"""``--limits shared``: one colour scale for every picture of a run, found by a pass before the pictures are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from torch2grid_core._cli.console import say
from torch2grid_core._cli.drawing import Drawing
from torch2grid_core._engine.drawing import draw
from torch2grid_core._engine.workers import workers
from torch2grid_core._errors import NotDrawable, Torch2GridError
from torch2grid_core._guard import describe
from torch2grid_core._kinds.view import View
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.page import Heatmap, Page
from torch2grid_core._pictures.scale import limits_of
from torch2grid_core._summary.distribution import Distribution


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
                for _, _, found in draw(
                    checkpoint, drawing.views, drawing.run, prepare=_counted, executor=executor, declined=_without_picture
                ):
                    cells.merge(found)
        except Exception as error:  # the drawing pass tells more
            drawing.manager.trace(error)
            why = str(error) if isinstance(error, Torch2GridError) else describe(error)
            say(f"{model}: the shared limits leave out what cannot be read or drawn of it: {why}")
    return limits_of(cells, drawing.run.scale, drawing.run.clip) if len(cells) else None
