"""A value for each row and column, as bars beside a heatmap: each exactly as thick as the cells that it is about."""

from __future__ import annotations

import math

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import FAINT, LINE, MUTED, Canvas
from torch2grid_builtin._renderers.matplotlib.colorbar import rgb
from torch2grid_builtin._renderers.matplotlib.text import literal, text_width
from torch2grid_builtin._renderers.numbers import number
from torch2grid_core.grids import NOT_FINITE
from torch2grid_core.pages import Heatmap, Marginal

_GAP = 6
_BAR = "#7f9bb3"


class Marginals:
    """Bars above the columns and right of the rows, from 0 to the largest value, which is written at their end.

    above, beside: pixels that they take over and right of the heatmap; before: left of it. note: what they are.
    """

    def __init__(self, panel: Heatmap, size: float) -> None:
        self.panel, self.size = panel, size
        self.long = round(3.6 * size)
        rows, columns = panel.row_marginal, panel.column_marginal
        self.above = self.long + _GAP if columns else round(size * LINE) if rows else 0
        self.beside = _GAP + self.long if rows else 0
        self.before = 0
        self.note = ""
        if rows:
            self.beside = max(self.beside, _GAP + text_width(number(_largest(rows)), size))
        if columns:
            self.before = text_width(number(_largest(columns)), size) + 8
        sides = {side: literal(each.label) for side, each in (("row", rows), ("column", columns)) if each}
        if sides:
            labels = list(dict.fromkeys(sides.values()))
            whose = [" and ".join(side for side in sides if sides[side] == label) for label in labels]
            every = " and ".join(f"{label} of each {who}" for label, who in zip(labels, whose, strict=True))
            self.note = f"bars: {every}{' of cells' if max(panel.grid.cell) > 1 else ''}, from 0"

    def draw(self, canvas: Canvas, left: int, top: int, factor: tuple[int, int]) -> None:
        """left, top: of the heatmap's cells, of *factor* = (high, wide) pixels each."""
        rows, columns = self.panel.row_marginal, self.panel.column_marginal
        if columns:
            self._bars(canvas, columns, left, top - _GAP, factor[1], upright=True)
            canvas.text(left - 6, top - _GAP - self.long, number(_largest(columns)), self.size, MUTED, ha="right", va="top")
        if rows:
            start = left + self.panel.grid.shape[1] * factor[1] + _GAP
            self._bars(canvas, rows, start, top, factor[0], upright=False)
            canvas.text(start, top - 6, number(_largest(rows)), self.size, MUTED)

    def _bars(self, canvas: Canvas, marginal: Marginal, left: int, top: int, thick: int, *, upright: bool) -> None:
        """One outline for all bars. left, top: where the first begins; upright: bars of columns, else of rows."""
        values = np.abs(np.asarray(marginal.values, dtype=np.float64))
        most = _largest(marginal)
        known = np.isfinite(values)
        with np.errstate(over="ignore"):
            sizes = np.where(known, values, 0) / (most or 1.0) * self.long
        along = np.repeat(np.arange(len(values) + 1) * thick, 2)[1:-1]
        out = np.repeat(sizes, 2)
        length = len(values) * thick
        along, out = np.array([0, *along, length]), np.array([0, *out, 0])
        ill = np.flatnonzero(~known) * thick
        one = np.ones(len(ill))
        if upright:
            canvas.rects([(left, top, length, 1)], FAINT)
            canvas.polygon(left + along, top - out, _BAR)
            canvas.rects(np.stack([left + ill, top - self.long * one, thick * one, self.long * one], axis=1), rgb(NOT_FINITE))
        else:
            canvas.rects([(left - 1, top, 1, length)], FAINT)
            canvas.polygon(left + out, top + along, _BAR)
            canvas.rects(np.stack([left * one, top + ill, self.long * one, thick * one], axis=1), rgb(NOT_FINITE))


def _largest(marginal: Marginal) -> float:
    """The largest finite |value|, 0 without one."""
    values = np.abs(np.asarray(marginal.values, dtype=np.float64))
    finite = values[np.isfinite(values)]
    largest = float(finite.max()) if finite.size else 0.0
    return largest if math.isfinite(largest) else 0.0
