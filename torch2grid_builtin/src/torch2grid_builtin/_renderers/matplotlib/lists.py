"""Bars, boxes and bands: one line of the list for each name, read from top to bottom like the layers of a network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import FAINT, INK, LINE, LOST, MARK, MUTED, RULE, SERIES, Canvas
from torch2grid_builtin._renderers.matplotlib.panel import Drawing, Scale, Sizes, draw_x, finite_range, padded
from torch2grid_builtin._renderers.matplotlib.text import fit, literal, text_width, wrap
from torch2grid_builtin._renderers.numbers import LARGEST, bent, number, unbent
from torch2grid_core import Style
from torch2grid_core.pages import Band, Bar, Boxes, Ridges, Table, Text

Array = np.ndarray[Any, Any]
_MOST_ROWS, _MOST_COLUMNS, _WIDEST = 400, 24, 420
_GAP = 22
_OVERLAP = 0.7  # how far the highest ridge reaches into the line above, in lines
_RIDGES = ("#8fb3d1", "#a9c5dc")


class ListDrawing(Drawing):
    """Names at the left, with what is wrong there, a level axis of values, a line of the list for each name."""

    bend = 0.0  # see ``Scale``
    least_pitch = 0.0

    def __init__(
        self, labels: tuple[str, ...], title: str, axis: str, sizes: Sizes, flags: Mapping[int, str], marks: int = 0
    ) -> None:
        self.sizes, self.axis, self.flags = sizes, axis, flags
        self.width = sizes.plot[0]
        self.title = sizes.title_lines(title, self.width)
        count = len(labels)
        self.pitch = 20.0 if count <= 60 else 15.0 if count <= 400 else max(6000 / count, 1.0)
        self.pitch = max(self.pitch, self.least_pitch)
        self.size = min(sizes.text, self.pitch / 1.2 if self.pitch >= 15 else 11.0)
        self.step = max(1, int(np.ceil(self.size * 1.25 / self.pitch)))  # where lines are thin, every so many is named
        room = min(self.width * 0.45, 330)
        self.labels = [
            self._label(label, flags.get(index, ""), room) if index % self.step == 0 else ""
            for index, label in enumerate(labels)
        ]
        self.names = max((text_width(label, self.size) for label in self.labels), default=0) + 10
        self.over = round(sizes.text * LINE) * min(marks, 3) + 4 if marks else 4
        self.under = 2 * round(sizes.text * LINE) + 14
        self.area = max(round(self.pitch * count), 20)
        self.height = self.heading + self.over + self.area + self.under

    def _label(self, label: str, flag: str, room: float) -> str:
        end = f" ({fit(flag, room / 2, self.size)})" if flag else ""
        return fit(label, room - text_width(end, self.size), self.size) + end if end else fit(label, room, self.size)

    @abstractmethod
    def limits(self) -> tuple[float, float]:
        """Least and greatest value of the axis."""

    @abstractmethod
    def plot(self, canvas: Canvas, across: Scale, middles: Array) -> None:
        """Draw the values at *middles*, the pixel of each name's line."""

    def marks(self) -> list[tuple[str, float]]:
        """Named levels."""
        return []

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        y = self.draw_title(canvas, left, top) + self.over
        start, stop, bottom, size = left + self.names, left + width - 24, y + self.area, self.sizes.text
        across = Scale(*self.limits(), start, stop, bend=self.bend)
        middles = y + (np.arange(len(self.labels)) + 0.5) * self.pitch
        draw_x(canvas, across, y, bottom, size, apart=90, grid=True)
        if across.low < 0 < across.high:
            zero = float(across(0.0))
            canvas.rule(zero, y, zero, bottom, RULE)
        self.plot(canvas, across, middles)
        for index, (middle, label) in enumerate(zip(middles, self.labels, strict=True)):
            color = LOST if index in self.flags else INK
            if label:
                canvas.text(start - 8, middle, label, self.size, color, ha="right", va="middle")
            if index in self.flags:
                canvas.rects([(start - 5, round(middle) - 2, 5, 5)], LOST)
        for index, (name, value) in enumerate(self.marks()):
            at = float(across(value))
            canvas.rule(at, y - self.over + 2, at, bottom, MARK, dashed=True)
            text = fit(f"{name} {number(value)}", 220, size)
            right = at + 6 + text_width(text, size) > left + width
            where = y - self.over + (index % 3) * round(size * LINE)
            canvas.text(at + (-4 if right else 4), where, text, size, MARK, ha="right" if right else "left", va="top")
        label = fit(self.axis, stop - start, size)
        canvas.text((start + stop) / 2, bottom + round(size * LINE) + 10, label, size, MUTED, ha="center", va="top")


class BarDrawing(ListDrawing):
    """A value for each name, written beside its bar where lines are not too thin."""

    def __init__(self, panel: Bar, style: Style, sizes: Sizes) -> None:
        self._marks = [(literal(name), float(value)) for name, value in panel.marks.items() if np.isfinite(value)]
        super().__init__(panel.labels, panel.title, _axis(panel.ylabel, panel.bend), sizes, panel.flags, len(self._marks))
        self.bend = panel.bend
        self.values = np.asarray(panel.values, dtype=np.float64)

    def marks(self) -> list[tuple[str, float]]:
        return self._marks

    def limits(self) -> tuple[float, float]:
        low, high = finite_range(self.values, [0.0], [value for _, value in self._marks])
        if self.bend and high > low:  # an eighth of the axis more, whatever that is there
            low, high = (float(unbent(1.12 * bent(end, self.bend), self.bend)) for end in (low, high))
            return max(low, -LARGEST), min(high, LARGEST)
        return max(low * 1.12, -LARGEST), min(high * 1.12, LARGEST) if high > low else low + 1.0

    def plot(self, canvas: Canvas, across: Scale, middles: Array) -> None:
        zero, ends = float(across(0.0)), across(self.values)
        thick = max(self.pitch * 0.68, 1)
        known = np.isfinite(self.values)
        boxes = np.stack([np.minimum(zero, ends), middles - thick / 2, np.abs(ends - zero), 0 * ends + thick], axis=1)
        canvas.rects(boxes[known], SERIES[0])
        for value, end, middle, label in zip(self.values, ends, middles, self.labels, strict=True):
            if not label:
                continue
            if not np.isfinite(value):
                canvas.text(zero + 5, middle, number(value), self.size, MARK, va="middle")
            elif value >= 0:
                text, start = number(value), float(end)
                for at in sorted(float(across(mark)) for _, mark in self._marks):
                    if start <= at < start + 8 + text_width(text, self.size):
                        start = at  # behind the line, which would strike the number through
                canvas.text(start + 5, middle, text, self.size, MUTED, va="middle")
            else:
                canvas.text(end - 5, middle, number(value), self.size, MUTED, ha="right", va="middle")


class BoxesDrawing(ListDrawing):
    """Quartiles as a box with the median in it, and whiskers."""

    def __init__(self, panel: Boxes, style: Style, sizes: Sizes) -> None:
        super().__init__(panel.labels, panel.title, panel.ylabel, sizes, panel.flags)
        self.values = np.asarray(panel.values, dtype=np.float64).reshape(5, len(panel.labels))

    def limits(self) -> tuple[float, float]:
        return padded(*finite_range(self.values))

    def plot(self, canvas: Canvas, across: Scale, middles: Array) -> None:
        known = np.isfinite(self.values).all(axis=0)
        low, first, middle, third, high = across(self.values[:, known])
        at, thick = np.round(middles[known]), max(round(self.pitch * 0.6), 1)
        one = np.ones_like(low)
        canvas.rects(np.stack([low, at, high - low, one], axis=1), MUTED)
        if thick > 4:
            canvas.rects(np.stack([low, at - thick // 4, one, one * (thick // 2)], axis=1), MUTED)
            canvas.rects(np.stack([high - 1, at - thick // 4, one, one * (thick // 2)], axis=1), MUTED)
        canvas.rects(np.stack([first, at - thick // 2, np.maximum(third - first, 1), one * thick], axis=1), "#8fb3d1")
        canvas.rects(np.stack([middle - 1, at - thick // 2, 2 * one, one * thick], axis=1), INK)
        for place, label in zip(middles[~known], np.asarray(self.labels, dtype=object)[~known], strict=True):
            if label:
                canvas.text(across.start + 6, place, "no values", self.size, MARK, va="middle")


class BandDrawing(ListDrawing):
    """Quantiles of each name as nested bars: the wider the share, the lighter; the middle level as a line across."""

    def __init__(self, panel: Band, style: Style, sizes: Sizes) -> None:
        super().__init__(panel.labels, panel.title, _axis(panel.ylabel, panel.bend), sizes, panel.flags)
        self.bend = panel.bend
        order = np.argsort(panel.levels)
        self.levels = [panel.levels[index] for index in order]
        self.values = np.asarray(panel.values, dtype=np.float64).reshape(len(panel.levels), len(panel.labels))[order]
        self.ends = panel.limits
        self.key = round(sizes.text * LINE) + 6
        self.over += self.key
        self.height += self.key

    def limits(self) -> tuple[float, float]:
        return self.ends or padded_as(*finite_range(self.values), self.bend)

    def plot(self, canvas: Canvas, across: Scale, middles: Array) -> None:
        pairs = [(index, len(self.levels) - 1 - index) for index in range(len(self.levels) // 2)]
        shades = [(0.84 - 0.6 * (index + 1) / (len(pairs) + 1)) for index in range(len(pairs))]
        key: list[tuple[Any, str]] = []
        thick = self.pitch * 0.8 if self.pitch >= 15 else self.pitch  # names too close for bars of their own make a ribbon
        for (low, high), shade in zip(pairs, shades, strict=True):
            color = tuple(1 - (1 - channel) * (1.1 - shade) for channel in (0.16, 0.42, 0.61))
            known = np.isfinite(self.values[low]) & np.isfinite(self.values[high])
            self._bars(canvas, across(self.values[low]), across(self.values[high]), middles, thick, known, color)
            key.append((color, f"{number(self.levels[low] * 100)}–{number(self.levels[high] * 100)} %"))
        if len(self.levels) % 2:
            middle = self.values[len(self.levels) // 2]
            at = across(middle) - 1
            self._bars(canvas, at, at + 2, middles, thick, np.isfinite(middle), INK)
            key.append((INK, "median" if self.levels[len(self.levels) // 2] == 0.5 else "middle level"))
        wanted = sum(35 + text_width(text, self.sizes.text) for _, text in key)
        x = max(min(across.start, across.stop - wanted), across.start - self.names)
        y, size = middles[0] - self.pitch / 2 - self.key if len(middles) else 0, self.sizes.text
        for color, text in key:
            if x + 17 + text_width(text, size) > across.stop + 20:
                break
            canvas.rects([(round(x), round(y) + 2, 12, 12)], color)
            canvas.text(x + 17, y, text, size, MUTED, va="top")
            x += 35 + text_width(text, size)

    @staticmethod
    def _bars(canvas: Canvas, low: Array, high: Array, middles: Array, thick: float, known: Array, color: Any) -> None:
        """Level bars from *low* to *high* pixels, each at least one wide."""
        boxes = np.stack([low, middles - thick / 2, np.maximum(high - low, 1), np.full_like(low, thick)], axis=1)
        canvas.rects(boxes[known], color)


class RidgesDrawing(ListDrawing):
    """Filled outlines, each on the line of its label and over the one above, all to one scale."""

    least_pitch = 30.0

    def __init__(self, panel: Ridges, style: Style, sizes: Sizes) -> None:
        super().__init__(panel.labels, panel.title, _axis(panel.xlabel, panel.bend), sizes, panel.flags)
        self.bend = panel.bend
        self.edges = np.asarray(panel.edges, dtype=np.float64)
        self.shares = np.asarray(panel.shares, dtype=np.float64).reshape(len(panel.labels), max(len(panel.edges) - 1, 0))
        self.highest = float(np.nanmax(self.shares, initial=0.0)) or 1.0
        extra = round(self.pitch * _OVERLAP)
        self.over += extra
        self.height += extra

    def limits(self) -> tuple[float, float]:
        low, high = finite_range(self.edges)
        return (low, high) if low < high else padded(low, high)

    def plot(self, canvas: Canvas, across: Scale, middles: Array) -> None:
        if len(self.edges) < 2:
            return
        x = np.repeat(across(self.edges), 2)[1:-1]
        for line, (middle, shares) in enumerate(zip(middles, self.shares, strict=True)):
            base = round(float(middle + self.pitch * 0.4))
            canvas.rule(across.start, base, across.stop, base, FAINT)
            if not np.isfinite(shares).any():
                continue
            tops = base - np.repeat(np.nan_to_num(shares), 2) / self.highest * self.pitch * (1 + _OVERLAP)
            canvas.polygon([x[0], *x, x[-1]], [base, *tops, base], _RIDGES[line % 2], 0.85)
            seen = np.repeat(np.nan_to_num(shares) > 0, 2)
            canvas.line(x, np.where(seen, tops, np.nan), SERIES[0], 1)


def _axis(label: str, bend: float) -> str:
    """What stands below an axis: what is on it, and that it is bent."""
    return f"{label}, asinh axis (linear within ±{number(bend, 2)})" if bend else label


def padded_as(low: float, high: float, bend: float) -> tuple[float, float]:
    """``padded`` on a bent axis, which has most of its length within the limits already."""
    if not bend or not low < high:
        return padded(low, high)
    return max(low * (0.9 if low > 0 else 1.1), -LARGEST), min(high * (1.1 if high > 0 else 0.9), LARGEST)


class TableDrawing(Drawing):
    """Rows under bold names; numbers at the right of their column. What does not fit a picture is counted below."""

    def __init__(self, panel: Table, style: Style, sizes: Sizes) -> None:
        self.sizes = sizes
        size = sizes.text
        names = panel.columns[:_MOST_COLUMNS]
        formats = {name: spec for name, spec in panel.formats.items() if name in names}
        first = Table(names, tuple(row[:_MOST_COLUMNS] for row in panel.rows[:_MOST_ROWS]), formats=formats)
        self.names = [fit(name, _WIDEST, size, bold=True) for name in names]
        self.rows = [[fit(text, _WIDEST, size) for text in row] for row in first.texts()]
        self.right = [
            any(isinstance(row[index], (int, float)) for row in first.rows)
            and all(row[index] is None or isinstance(row[index], (int, float)) for row in first.rows)
            for index in range(len(names))
        ]
        self.wide = [
            max([text_width(name, size, True), *(text_width(row[index], size) for row in self.rows)])
            for index, name in enumerate(self.names)
        ]
        left_out = []
        if len(panel.rows) > _MOST_ROWS:
            left_out.append(f"{len(panel.rows) - _MOST_ROWS:,} more rows")
        if len(panel.columns) > _MOST_COLUMNS:
            left_out.append(f"{len(panel.columns) - _MOST_COLUMNS:,} more columns")
        self.left_out = "… and " + ", ".join(left_out) if left_out else "" if self.rows else "no rows"
        self.width = max(sum(self.wide) + _GAP * max(len(self.wide) - 1, 0), text_width(self.left_out, size), 120)
        self.title = sizes.title_lines(panel.title, max(self.width, 320))
        self.width = max(self.width, max((text_width(line, sizes.title) for line in self.title), default=0))
        self.line = round(size * 1.6)
        self.height = self.heading + self.line * (len(self.rows) + 1 + bool(self.left_out)) + 8

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        size = self.sizes.text
        y = self.draw_title(canvas, left, top)
        self._row(canvas, left, y, self.names, bold=True)
        canvas.rule(left, y + self.line, left + sum(self.wide) + _GAP * max(len(self.wide) - 1, 0), y + self.line, RULE)
        y += self.line + 4
        for row in self.rows:
            self._row(canvas, left, y, row)
            y += self.line
        if self.left_out:
            canvas.text(left, y, self.left_out, size, MUTED, va="top")

    def _row(self, canvas: Canvas, left: float, top: float, texts: list[str], bold: bool = False) -> None:
        for text, wide, right in zip(texts, self.wide, self.right, strict=True):
            at, ha = (left + wide, "right") if right else (left, "left")
            canvas.text(at, top, text, self.sizes.text, INK, ha=ha, va="top", bold=bold)  # type: ignore[arg-type]
            left += wide + _GAP


class TextDrawing(Drawing):
    """Lines of text, wrapped at the width of a diagram."""

    def __init__(self, panel: Text, style: Style, sizes: Sizes) -> None:
        self.sizes = sizes
        room, size = sizes.plot[0], sizes.text
        self.title = sizes.title_lines(panel.title, room)
        lines: list[str] = []
        source = panel.text.splitlines()
        for text in source[:_MOST_ROWS]:
            lines += wrap(text, room, size, lines=20) or [""]
        if len(source) > _MOST_ROWS:
            lines.append(f"… and {len(source) - _MOST_ROWS:,} more lines")
        self.lines = [literal(line, limit=4000) for line in lines]
        every = [text_width(line, size) for line in self.lines] + [text_width(line, sizes.title) for line in self.title]
        self.width = max([*every, 60])
        self.height = self.heading + round(len(self.lines) * size * LINE) + 4

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        y = self.draw_title(canvas, left, top)
        for index, line in enumerate(self.lines):
            canvas.text(left, y + index * self.sizes.text * LINE, line, self.sizes.text, INK, va="top")
