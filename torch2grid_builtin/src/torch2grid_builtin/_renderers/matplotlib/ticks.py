"""Which indices stand along a side of a heatmap, and where: the same on pages and in axes of the caller's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from matplotlib.ticker import Formatter, Locator

from torch2grid_builtin._renderers.matplotlib.text import text_width
from torch2grid_builtin._renderers.places import first_index, stretches
from torch2grid_core.pages import Heatmap

_ACROSS, _DOWN, _LITTLE = 5.3, 3.8, 2.8  # sizes of the text from one tick to the next: along columns, rows, and few rows
_LOW = 17  # sizes of the text below which rows are few
_GAP = 1.0  # the same between the texts of matrices side by side, which have less room


def index_ticks(panel: Heatmap, axis: int, pixels: float, size: float) -> list[tuple[float, int]]:
    """(place in cells, index of the weight there) of each tick along the rows (axis 0) or the columns (1) of *panel*.

    pixels: of a cell along that side. size: of the text, in pixels. Ticks count round numbers of weights from the first of a
    stretch. Where several stretches count anew, one that has room for its first tick alone has none: a 0 at each says nothing.
    """
    step = panel.grid.cell[axis]
    weight, runs = pixels / step, stretches(panel, axis)
    if len(runs) == 1:
        apart = _ACROSS if axis else _LITTLE if pixels * panel.grid.shape[axis] < _LOW * size else _DOWN
        return list(_ticks(*runs[0], step, apart * size / weight))
    found: list[tuple[float, int]] = []
    for start, indices in runs:
        widest = max((text_width(str(each), size) for each in (*indices[:1], *indices[-1:])), default=0.0)
        room = (widest if axis else size) + _GAP * size
        ticks = list(_ticks(start, indices, step, room / weight))
        end = start - (-len(indices) // step) - 0.5 * room / pixels
        kept = [ticks[0], *(tick for tick in ticks[1:] if tick[0] <= end)] if ticks else []
        if len(kept) > 1 or len(indices) == 1:
            found += kept
    return found


def _ticks(start: int, indices: range, step: int, apart: float) -> Iterator[tuple[float, int]]:
    """Of a stretch of *indices* from cell *start* on, *step* weights a cell, at least *apart* weights from each other."""
    power = 10 ** max(math.floor(math.log10(max(apart, 1))), 0)
    every = next((power * each for each in (1, 2, 5, 10) if power * each >= apart), power * 10)
    return ((start + (place + 0.5) / step, indices[place]) for place in range(0, len(indices), every))


def coordinate(panel: Heatmap, axis: int, place: float) -> float:
    """Where *place*, in cells, is along an axis of the caller's: the index of a weight is in the middle of it.

    Where matrices side by side count anew, it is the weight's place in the picture.
    """
    (_, indices), *others = stretches(panel, axis)
    weights = place * panel.grid.cell[axis] - 0.5
    return weights if others else indices.start + weights * indices.step


def cell_at(panel: Heatmap, axis: int, value: float) -> float:
    """The place in cells of a coordinate: what ``coordinate`` was given."""
    start, end = coordinate(panel, axis, 0), coordinate(panel, axis, 1)
    return (value - start) / (end - start)


class IndexLocator(Locator):
    """The ticks of ``index_ticks`` on an axis of the caller's, as many as there is room for in what it shows."""

    apart = 1.0

    def __init__(self, panel: Heatmap, side: int) -> None:
        self.panel, self.side = panel, side

    def __call__(self) -> list[float]:
        axis: Any = self.axis
        low, high = sorted(axis.get_view_interval())
        box, cell = axis.axes.get_window_extent(), abs(self._at(1) - self._at(0))
        pixels = (box.width if self.side else box.height) * cell / ((high - low) or 1.0)
        size = self.apart * axis.get_major_ticks(1)[0].label1.get_fontsize() * axis.axes.figure.dpi / 72
        found = (self._at(place) for place, _ in index_ticks(self.panel, self.side, max(pixels, 1e-9), size))
        return [each for each in found if low <= each <= high]

    def _at(self, place: float) -> float:
        return coordinate(self.panel, self.side, place)


class IndexFormatter(Formatter):
    """The index of the weight at a place on an axis of the caller's."""

    def __init__(self, panel: Heatmap, side: int) -> None:
        self.panel, self.side = panel, side

    def __call__(self, value: float, place: int | None = None) -> str:
        if len(stretches(self.panel, self.side)) == 1:
            return str(round(value))
        cells = cell_at(self.panel, self.side, value)
        index = first_index(
            self.panel, self.side, math.floor(cells), round((cells % 1) * self.panel.grid.cell[self.side] - 0.5)
        )
        return "" if index is None else str(index)
