"""Histograms, and what all diagrams over a level axis of numbers share."""

from __future__ import annotations

import math
from abc import abstractmethod
from itertools import cycle, islice, product
from typing import Any

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import CURVES, INK, LINE, MARK, MUTED, RULE, Canvas
from torch2grid_builtin._renderers.matplotlib.panel import (
    Drawing,
    Scale,
    Sizes,
    draw_names,
    draw_x,
    draw_y,
    left_room,
    rows_of_names,
)
from torch2grid_builtin._renderers.matplotlib.text import fit, literal, text_width
from torch2grid_builtin._renderers.numbers import numbers, outline, over_bars, percent
from torch2grid_core import Style
from torch2grid_core.pages import Histogram

Array = np.ndarray[Any, Any]
_BEYOND = "#8e5ea2"
_BARS = "#4a80aa"


class Diagram(Drawing):
    """A plot area with room for labels around it. Subclasses fill it."""

    def __init__(self, title: str, sizes: Sizes) -> None:
        self.sizes = sizes
        self.width = sizes.plot[0]
        self.area = sizes.plot[1]  # height of the plot area
        self.title = sizes.title_lines(title, self.width)
        self.over = 0  # between title and plot area
        self.under = round(sizes.text * LINE) + (4 if sizes.compact else 12)

    def finish(self) -> None:
        """Sum up the height, once ``over`` and ``under`` are known."""
        self.height = self.heading + self.over + self.area + self.under

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        self.plot(canvas, left, self.draw_title(canvas, left, top) + self.over, width)

    @abstractmethod
    def plot(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        """The plot area and what belongs to it, its upper left corner at (left, top)."""

    @property
    def line(self) -> int:
        """Pixels from one line of text to the next."""
        return round(self.sizes.text * LINE)


def _value_scale(high: float, low: float, log: bool, top: float, bottom: float) -> Scale:
    """An upright axis from 0, or from just under the least positive value where it is logarithmic."""
    if log and high > 0:
        return Scale(low, max(high * 1.3, low * 2.5), bottom, top, log=True)
    return Scale(0.0, high * 1.05 if high > 0 else 1.0, bottom, top)


class HistogramDrawing(Diagram):
    """Bars between edges; what lies outside them as a striped bar at each end, and as named counts, as NaN is; marks as
    upright lines; curves, named above the plot; a box of figures."""

    def __init__(self, panel: Histogram, style: Style, sizes: Sizes) -> None:
        super().__init__(panel.title, sizes)
        self.panel = panel
        self.facts = [f"{literal(key)} {literal(value)}" for key, value in panel.summary.items()]
        self.beyond = self._beyond()
        self.box = 0
        if self.facts and not sizes.compact:
            keys = max(text_width(literal(key), sizes.text) for key in panel.summary)
            values = max(text_width(literal(value), sizes.text) for value in panel.summary.values())
            self.keys, self.box = keys, min(keys + values + 40, 300)
        self.marks = [(literal(name), value) for name, value in panel.marks.items() if np.isfinite(value)]
        self.colors = [*islice(cycle(CURVES), len(panel.curves))]
        self.legend: list[list[tuple[int, str]]] = []
        if sizes.compact:
            self.captions = self._captions()
            self.under += self.line * len(self.captions)
        else:
            self.captions = []
            names = [literal(name) for name in panel.curves]
            self.legend = rows_of_names(names, self.width - self.box - 16, sizes.text, self.width)
            self.over = self.line * (min(len(self.marks), 2) + len(self.legend)) + 4 + (4 if self.legend else 0)
            self.under += self.line + 6 + (self.line + 4 if self.beyond else 0)
            self.area = max(self.area, self.line * len(self.facts) + 24 - self.over)
        self.finish()

    def _beyond(self) -> str:
        panel = self.panel
        total = int(np.sum(panel.counts)) + panel.below + panel.above + panel.nan
        parts = []
        ends = [(panel.below, "below the range"), (panel.above, "above the range")]
        for count, name in ends if self.sizes.compact else [*ends, (panel.nan, "NaN")]:
            if count and self.sizes.compact:
                parts.append(f"{count:,} {name.split()[0]}")
            elif count:
                parts.append(f"{count:,} {name} ({percent(count / total)})")
        return ", ".join(parts) if self.sizes.compact else " · ".join(parts)

    def _captions(self) -> list[str]:
        lines: list[str] = []
        first = [f"NaN {self.panel.nan:,}"] if self.panel.nan else []  # only so many lines fit
        first += [self.beyond] if self.beyond else []
        first += [literal(name) for name in self.panel.curves]
        for fact in (*first, *self.facts):
            joined = f"{lines[-1]} · {fact}" if lines else fact
            if lines and text_width(joined, self.sizes.text) <= self.width:
                lines[-1] = joined
            else:
                lines.append(fit(fact, self.width, self.sizes.text))
        return lines[:3]

    def plot(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        panel, size = self.panel, self.sizes.text
        counts, edges = np.asarray(panel.counts, dtype=np.float64), np.asarray(panel.edges, dtype=np.float64)
        bottom = top + self.area
        curves = [over_bars(values, panel.log) for values in panel.curves.values()]
        peaks = [float(np.nanmax(values)) for values in curves if not np.isnan(values).all()]
        high = float(max(counts.max() if counts.size else 0, panel.below, panel.above, *peaks))
        up = _value_scale(high, 0.8, panel.log, top, bottom)
        room = 2 if self.sizes.compact else left_room(up, size) + round(size * LINE)
        start, stop = left + room, left + width - (self.box + 16 if self.box else 8)
        outer = 8 if self.sizes.compact else 18  # thickness of the bars beyond the ends
        outer_start, outer_stop = start, stop
        start, stop = start + (outer + 5 if panel.below else 0), stop - (outer + 5 if panel.above else 0)
        low_x, high_x = (float(edges[0]), float(edges[-1])) if edges.size > 1 and edges[0] < edges[-1] else (0.0, 1.0)
        across = Scale(low_x, high_x, start, stop)
        if not self.sizes.compact:
            draw_y(canvas, up, outer_start, outer_stop, size, whole=True)
            kind = "count, log scale" if panel.log else "count"
            canvas.text(left, (top + bottom) / 2, kind, size, INK, ha="center", va="top", upright=True)
            label = fit(panel.xlabel, stop - start, size)
            canvas.text((start + stop) / 2, bottom + self.line + 12, label, size, INK, ha="center", va="top")
        for count, at in ((panel.below, outer_start), (panel.above, outer_stop - outer)):
            if count:
                self._beyond_bar(canvas, at, outer, float(_log_tops(up, np.array(count)) if panel.log else up(count)), bottom)
        if counts.size and counts.max() > 0:
            xs, tops = np.repeat(across(edges), 2)[1:-1], np.repeat(up(counts) if not panel.log else _log_tops(up, counts), 2)
            canvas.polygon([xs[0], *xs, xs[-1]], [bottom, *tops, bottom], _BARS)
        if self.sizes.compact:
            canvas.rule(start, bottom, stop, bottom, RULE)
            if edges.size > 1:
                low_text, high_text = numbers([low_x, high_x])
                canvas.text(start, bottom + 4, low_text, size, MUTED, va="top")
                canvas.text(stop, bottom + 4, high_text, size, MUTED, ha="right", va="top")
        else:
            draw_x(canvas, across, top, bottom, size, apart=90)
            for count, at, ha in ((panel.below, outer_start, "left"), (panel.above, outer_stop, "right")):
                if count:
                    word = "below" if ha == "left" else "above"
                    canvas.text(at, bottom + 12 + self.line, word, size, _BEYOND, ha=ha, va="top")  # type: ignore[arg-type]
        for color, values in zip(self.colors, curves, strict=True) if counts.size else ():
            heights = _log_tops(up, values) if panel.log else up(values)
            canvas.line(*outline(across(edges), np.where(np.isnan(values), np.nan, heights), bottom), color, 2)
        draw_names(canvas, self.legend, self.colors, left, top - self.over, size)
        self._marks(canvas, across, top, bottom)
        if self.beyond and not self.sizes.compact:
            text = fit(self.beyond, left + width - start, size)
            canvas.text(start, bottom + 2 * self.line + 18, text, size, _BEYOND, va="top")
        for index, caption in enumerate(self.captions):
            canvas.text(left, bottom + self.under - self.line * (len(self.captions) - index), caption, size, MUTED, va="top")
        if self.box:
            self._box(canvas, left + width - self.box, top - self.over)

    def _beyond_bar(self, canvas: Canvas, left: float, width: int, top: float, bottom: int) -> None:
        """Striped, so that it is not taken for a bar of the same axis."""
        canvas.rects([(left, top, width, bottom - top)], _BEYOND, alpha=0.35)
        stripes = np.arange(bottom - 3, top, -6)
        canvas.rects([(left, at, width, 3) for at in stripes], _BEYOND, alpha=0.6)

    def _marks(self, canvas: Canvas, across: Scale, top: int, bottom: int) -> None:
        """Dashed lines, and the name of each beside it: on one of two rows, where it covers no other and no line crosses it."""
        size, rows = self.sizes.text, min(len(self.marks), 2)
        within = [(*mark, index) for index, mark in enumerate(self.marks) if across.low <= mark[1] <= across.high]
        if self.sizes.compact:
            for _, value, _ in within:
                at = float(across(value))
                canvas.rule(at, top, at, bottom, MARK, dashed=True)
            return
        middle = -math.inf  # from there on, a name is on the right where it may be
        if len(within) > 2:  # the outer ones first: their names stand outside
            middle = sum(value for _, value, _ in within) / len(within)
            within.sort(key=lambda mark: -abs(mark[1] - middle))
        lines: list[float] = []
        written: list[tuple[float, float, float]] = []
        for text, value, index in within:
            at, name = float(across(value)), fit(text, 160, size)
            long = text_width(name, size)
            choices = []
            for turn, left in product(range(rows), (False, True)):
                y = top - self.line * (rows - (index + turn) % 2) - 4
                first, last = (at - 4 - long, at - 4) if left else (at + 4, at + 4 + long)
                covers = any(y == other and first < stop + 4 and start < last + 4 for other, start, stop in written)
                crossed = any(min(first, at) < other < max(last, at) for other in lines)
                outside = first < across.start or last > across.stop
                choices.append(((covers, outside, crossed, turn, left == (value >= middle)), left, y, first))
            _, left, y, first = min(choices)
            lines.append(at)
            written.append((y, first, first + long))
            canvas.rule(at, y + 2, at, bottom, MARK, dashed=True)
            canvas.text(at + (-4 if left else 4), y, name, size, MARK, ha="right" if left else "left", va="top")

    def _box(self, canvas: Canvas, left: int, top: int) -> None:
        size, line = self.sizes.text, self.line
        high = line * len(self.facts) + 16
        canvas.rects([(left, top, self.box, high)], "#f5f6f8")
        for index, (key, value) in enumerate(self.panel.summary.items()):
            y = top + 8 + index * line
            canvas.text(left + 10, y, fit(key, self.box / 2, size), size, MUTED, va="top")
            room = self.box - 30 - min(self.keys, self.box / 2)
            canvas.text(left + self.box - 10, y, fit(value, room, size), size, INK, ha="right", va="top")


def _log_tops(scale: Scale, counts: Array) -> Array:
    return np.where(counts > 0, scale(np.maximum(counts, scale.low)), scale.start)
