"""Lines and points: diagrams between two axes of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import INK, LOST, MARK, MUTED, RULE, Canvas, series_colors
from torch2grid_builtin._renderers.matplotlib.panel import (
    Scale,
    Sizes,
    draw_names,
    draw_x,
    draw_y,
    finite_range,
    left_room,
    padded,
    rows_of_names,
)
from torch2grid_builtin._renderers.matplotlib.plots import Diagram
from torch2grid_builtin._renderers.matplotlib.text import fit, literal, text_width
from torch2grid_builtin._renderers.numbers import LARGEST, number
from torch2grid_core import Style
from torch2grid_core.pages import Line, Scatter

Array = np.ndarray[Any, Any]
_LEFT = 60  # pixels that the labels of y may take, right of which a legend begins
_NAMED_AMONG, _MOST_NAMES = 500, 40  # points among which names are looked at, and how many are tried


class Plane(Diagram):
    """What lies between two axes of numbers, each linear or logarithmic; marks as level lines, those of x as upright ones."""

    def __init__(self, panel: Line | Scatter, names: Sequence[str], sizes: Sizes) -> None:
        super().__init__(panel.title, sizes)
        self.panel: Any = panel
        self.names = [literal(name) for name in names]
        self.colors = series_colors(max(len(names), 1))
        self.rows = [] if sizes.legend_apart else self._rows()
        self.level_marks = [(literal(name), value) for name, value in panel.marks.items() if np.isfinite(value)]
        self.upright_marks = [(literal(name), value) for name, value in panel.xmarks.items() if _usable(value, panel.xlog)]
        self.over = (len(self.rows) * self.line + 6 if self.rows else 4) + self._marks_room()
        self.under += self.line + 6 if panel.xlabel and not sizes.compact else 0
        self.least_room = 0  # left of the plot area, where it stands below others

    def _room(self, up: Scale) -> int:
        return max(left_room(up, self.sizes.text) + (self.line if self.panel.ylabel else 0), self.least_room)

    def _marks_room(self) -> int:
        return 0 if self.sizes.compact else self.line * min(len(self.upright_marks), 2)

    def _axes(self, canvas: Canvas, left: int, top: int, width: int, x: Array, series: list[Array]) -> tuple[Scale, Scale, int]:
        """The scales of both axes, the upright one drawn with its label; and where the legend begins."""
        panel, size, bottom = self.panel, self.sizes.text, top + self.area
        up = self._up(series, top)
        start, stop = left + self._room(up), left + width - 10
        across = _scale([x], [value for _, value in self.upright_marks], panel.xlog, start, stop, share=0.01)
        draw_y(canvas, up, start, stop, size)
        if panel.ylabel:
            label = fit(panel.ylabel, self.area, size)
            canvas.text(left, (top + bottom) / 2, label, size, INK, ha="center", va="top", upright=True)
        return across, up, start

    def _up(self, series: list[Array], top: int) -> Scale:
        return _scale(series, [value for _, value in self.level_marks], self.panel.log, top + self.area, top)

    def _draw_marks(self, canvas: Canvas, across: Scale, up: Scale, top: int) -> None:
        """Lines across and upright, over the ticks; the names of upright ones above the plot, in two rows."""
        size, bottom, start, stop = self.sizes.text, top + self.area, across.start, across.stop
        for name, value in self.level_marks:
            if up.log and value <= 0:
                continue
            at = float(up(value))
            canvas.rule(start, at, stop, at, MARK, dashed=True)
            canvas.text(stop, at - 4, fit(f"{name} {number(value)}", (stop - start) / 2, size), size, MARK, ha="right")
        free = [-np.inf, -np.inf]
        for name, value in sorted(self.upright_marks, key=lambda mark: mark[1]):
            at = float(across(value))
            canvas.rule(at, top, at, bottom, MARK, dashed=True)
            text = fit(f"{name} {number(value)}", 220, size)
            wide = text_width(text, size)
            begin = min(max(at - wide / 2, start), stop - wide)  # the outer ones begin and end on the page
            row = next((row for row, taken in enumerate(free) if begin > taken + 8), None)
            if row is not None and not self.sizes.compact:
                free[row] = begin + wide
                canvas.text(begin, top - self.line * (row + 1), text, size, MARK, va="top")

    def _draw_legend(self, canvas: Canvas, start: int, y: float) -> None:
        draw_names(canvas, self.rows, self.colors, start, y, self.sizes.text)

    def _draw_xlabel(self, canvas: Canvas, across: Scale, bottom: int) -> None:
        if self.panel.xlabel and not self.sizes.compact:
            label = fit(self.panel.xlabel, across.stop - across.start, self.sizes.text)
            y = bottom + self.under - self.line - 2
            canvas.text((across.start + across.stop) / 2, y, label, self.sizes.text, INK, ha="center", va="top")

    def _rows(self) -> list[list[tuple[int, str]]]:
        """Which names share a line of the legend; none for a single series that the y label names."""
        if len(self.names) < 2 and (self.panel.ylabel or self.sizes.compact):
            return []
        return rows_of_names(self.names, self.width - _LEFT, self.sizes.text)


def _usable(value: float, log: bool) -> bool:
    return bool(np.isfinite(value)) and (value > 0 or not log)


def _scale(values: list[Array], marks: list[float], log: bool, start: float, stop: float, share: float = 0.04) -> Scale:
    """An axis that holds *values* and *marks*; linear where nothing is above 0."""
    if log and any(bool((each > 0).any()) for each in values):
        low, high = finite_range(*[each[each > 0] for each in values], [each for each in marks if each > 0])
        return Scale(low / 1.3 or low, min(max(high * 1.3, low * 2), LARGEST), start, stop, log=True)
    return Scale(*padded(*finite_range(*values, marks), share=share), start, stop)


def _shown(values: Array, scale: Scale) -> Array:
    return np.where(np.isfinite(values) & ((values > 0) | (not scale.log)), values, np.nan)


class ScatterDrawing(Plane):
    """Points, a colour for each group; their names beside them where they are few, else those farthest out."""

    def __init__(self, panel: Scatter, style: Style, sizes: Sizes) -> None:
        self.groups = {group: number for number, group in enumerate(dict.fromkeys(panel.groups))}
        super().__init__(panel, tuple(self.groups), sizes)
        self.finish()

    def plot(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        panel, size, bottom = self.panel, self.sizes.text, top + self.area
        x, y = np.asarray(panel.x, dtype=np.float64), np.asarray(panel.y, dtype=np.float64)
        known = np.isfinite(x) & np.isfinite(y)
        across, up, start = self._axes(canvas, left, top, width, x[known], [y[known]])
        draw_x(canvas, across, top, bottom, size, grid=True)
        self._draw_xlabel(canvas, across, bottom)
        self._draw_marks(canvas, across, up, top)
        at, high = across(_shown(x, across)), up(_shown(y, up))
        drawn = np.isfinite(at) & np.isfinite(high)
        of = np.array([self.groups[group] for group in panel.groups], np.int64) if panel.groups else np.zeros(len(x), int)
        for group in range(max(len(self.groups), 1)):
            mine = drawn & (of == group)
            canvas.dots(at[mine], high[mine], self.colors[group], 6 if drawn.sum() < 500 else 4)
        if panel.names and not self.sizes.compact:
            self._draw_names(canvas, across, at, high, drawn)
        self._draw_legend(canvas, start, top - self.over)

    def _draw_names(self, canvas: Canvas, across: Scale, at: Array, high: Array, drawn: Array) -> None:
        """Names that touch no other, those of the points farthest from the middle first."""
        size, places = self.sizes.text - 1, np.flatnonzero(drawn)
        middle = np.median(at[places]) if len(places) else 0, np.median(high[places]) if len(places) else 0
        far = np.hypot(at[places] - middle[0], high[places] - middle[1])
        taken: list[tuple[float, float, float, float]] = [
            (at[place] - 3, high[place] - 3, at[place] + 3, high[place] + 3) for place in places[:_NAMED_AMONG]
        ]
        for place in places[np.argsort(-far, kind="stable")][:_MOST_NAMES] if len(places) <= _NAMED_AMONG else ():
            text = fit(literal(self.panel.names[place]), 200, size)
            wide = text_width(text, size)
            begin = at[place] + 6 if at[place] + 6 + wide <= across.stop + 8 else at[place] - 6 - wide
            box = (begin, high[place] - size / 2 - 1, begin + wide, high[place] + size / 2 + 1)
            if all(box[2] < a or box[0] > c or box[3] < b or box[1] > d for a, b, c, d in taken):
                canvas.text(begin, high[place], text, size, MUTED, va="middle")
                taken.append(box)


class LineDrawing(Plane):
    """Series over a common x, named above the plot; flags as upright lines."""

    def __init__(self, panel: Line, style: Style, sizes: Sizes) -> None:
        super().__init__(panel, tuple(panel.y), sizes)
        self.ticks = [literal(each) for each in panel.xticks]
        self.turned = 0
        if self.ticks and max(text_width(each, sizes.text) for each in self.ticks) * len(self.ticks) > self.width * 0.8:
            self.turned = min(max(text_width(each, sizes.text) for each in self.ticks), 230)
            self.under += self.turned - self.line
        self.series = [np.asarray(values, dtype=np.float64) for values in panel.y.values()]
        self.finish()

    @property
    def room(self) -> int:
        """Pixels left of the plot area."""
        return self._room(self._up(self.series, 0))

    def plot(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        panel, series, bottom = self.panel, self.series, top + self.area
        x = np.asarray(panel.x, dtype=np.float64)
        across, up, start = self._axes(canvas, left, top, width, x, series)
        self._draw_ticks(canvas, across, x, top, bottom)
        self._draw_xlabel(canvas, across, bottom)
        self._draw_marks(canvas, across, up, top)
        places = across(_shown(x, across))
        for index, values in enumerate(series):
            heights = up(_shown(values, up))
            color = self.colors[index]
            canvas.line(places, heights, color, 2 if len(series) < 5 else 1.4)
            if len(x) <= 60:
                canvas.dots(places, heights, color, 5)
        self._draw_flags(canvas, across, x, top, bottom)
        self._draw_legend(canvas, start, top - self.over)

    def _draw_flags(self, canvas: Canvas, across: Scale, x: Array, top: int, bottom: int) -> None:
        """A dashed line at each place where something is wrong, and what it is, along the line where there is room."""
        size, free = self.sizes.text, -np.inf
        for place, text in sorted(self.panel.flags.items()):
            if not (0 <= place < len(x) and _usable(x[place], across.log)):
                continue
            at = float(across(x[place]))
            canvas.rule(at, top, at, bottom, LOST, dashed=True)
            canvas.rects([(round(at) - 3, bottom - 3, 7, 7)], LOST)
            if at >= free:
                canvas.text(at + 2, top + 4, fit(text, self.area - 12, size), size, LOST, ha="right", va="top", upright=True)
                free = at + size * 1.2

    def _draw_ticks(self, canvas: Canvas, across: Scale, x: Array, top: int, bottom: int) -> None:
        size = self.sizes.text
        if not self.ticks:
            draw_x(canvas, across, top, bottom, size)
        else:
            canvas.rule(across.start, bottom, across.stop, bottom, RULE)
            edge = -np.inf
            for at, text in zip(across(_shown(x, across)), self.ticks, strict=False):
                if np.isnan(at):
                    continue
                half = size * 0.6 if self.turned else text_width(text, size) / 2
                middle = at
                if not self.turned:  # the outer ones begin and end on the page
                    middle = min(max(at, across.start - 30 + half), across.stop + 20 - half)
                if middle - half < edge:
                    continue
                edge = middle + half + (0 if self.turned else 6)
                canvas.rule(at, bottom, at, bottom + 4, RULE)
                if self.turned:
                    label = fit(text, self.turned, size)
                    canvas.text(at - size * 0.5, bottom + 7, label, size, MUTED, ha="right", va="top", upright=True)
                else:
                    canvas.text(middle, bottom + 7, text, size, MUTED, ha="center", va="top")
