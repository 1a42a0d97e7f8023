"""A sheet: small pictures in rows of layers and columns of kinds, the names of both beside them and not on each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, groupby
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import CURVES, FAINT, INK, LINE, LOST, MUTED, RULE, Canvas
from torch2grid_builtin._renderers.matplotlib.drawings import MARGIN, Heading, SharedLegend, drawing_of
from torch2grid_builtin._renderers.matplotlib.heatmap import cell_pixels, rgb
from torch2grid_builtin._renderers.matplotlib.panel import Drawing, Scale, Sizes, finite_range, padded
from torch2grid_builtin._renderers.matplotlib.regions import draw_lost, draw_marks
from torch2grid_builtin._renderers.matplotlib.text import fit, literal, text_width, wrap
from torch2grid_builtin._renderers.numbers import number, numbers, outline, over_bars
from torch2grid_core import Page, Style
from torch2grid_core.grids import default_map, paint, signals
from torch2grid_core.pages import Band, Heatmap, Histogram

Array = np.ndarray[Any, Any]
_SIZES = ((16, 112, 8), (40, 64, 6), (100, 40, 4), (1 << 60, 22, 3))  # rows up to which, pixels of a picture, between them
_TEXT, _MARK, _NAME = 10.5, 9.5, 200
_BETWEEN = 16  # pixels between panels with titles
_LEAST = 46  # pixels of a column, so that the head of one can be read
_WITHIN = 4  # pixels between columns that share a head
_APART, _PARTS = 12, 32  # and between heads, and parts of a table
_TALL, _SLENDER = 2600, 1.4  # pixels down from which a table is broken, if it is so many times as high as wide
_BEYOND, _AT_END = "#8e5ea2", 3  # bars of what lies beyond a histogram: colour, pixels across
_BAR = (0.35, 0.5, 0.63)
_SHADES = ((0.86, 0.9, 0.94), (0.66, 0.77, 0.86), (0.45, 0.61, 0.75))


class _Picture(Drawing):
    """A heatmap without a title."""

    def __init__(self, panel: Heatmap, style: Style, pixels: int) -> None:
        self.panel, self.style, self.title = panel, style, []
        rows, columns = panel.grid.shape
        high, wide = cell_pixels(rows, columns, pixels)
        longer = max(rows, columns, 1)
        if longer * max(high, wide) > 2 * pixels and rows > 1 < columns:
            high = wide = max(pixels // longer, 1)
        self.factor = (high, wide)
        if rows == 1:
            self.factor = (min(high, max(pixels // 8, 3)), wide)
        self.high, self.wide = rows * self.factor[0], columns * self.factor[1]
        self.width, self.height = self.wide, self.high

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        if self.panel.grid.values.size:
            panel, style = self.panel, self.style
            canvas.cells(left, top, paint(panel.grid, panel.scale, style.colormap, style.dark), self.factor)
            written = draw_marks(canvas, panel.grid, left, top, self.factor, _MARK, short=True)  # the column has the word
            lost = rgb(signals(style.colormap or default_map(panel.scale), style.dark).not_finite)
            draw_lost(canvas, panel.grid, left, top, self.factor, written, lost)


class _Bars(Drawing):
    """A histogram without axes: they are those of its column. most: the largest count there."""

    def __init__(self, panel: Histogram, pixels: int, most: float) -> None:
        self.panel, self.most, self.title = panel, most, []
        self.width, self.height = max(round(1.5 * pixels), _LEAST), max(round(0.55 * pixels), 14)

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        counts, edges = np.asarray(self.panel.counts, dtype=np.float64), np.asarray(self.panel.edges, dtype=np.float64)
        bottom, wide = top + self.height, width
        if counts.size:
            with np.errstate(divide="ignore"):
                share = np.log1p(counts) / math.log1p(self.most) if self.panel.log else counts / max(self.most, 1)
            across = Scale(float(edges[0]), float(edges[-1]), left, left + wide)
            x = np.repeat(across(edges), 2)[1:-1]
            y = bottom - np.repeat(share, 2) * (self.height - 1)
            canvas.polygon([left, *x.tolist(), left + wide], [bottom, *y.tolist(), bottom], _BAR)
            for values, color in zip(self.panel.curves.values(), cycle(CURVES), strict=False):
                curve = over_bars(values, self.panel.log)
                high = np.log1p(curve) / math.log1p(max(self.most, 1)) if self.panel.log else curve / max(self.most, 1)
                canvas.line(*outline(across(edges), bottom - np.minimum(high, 1) * (self.height - 1), bottom), color, 1.2)
            if edges[0] < 0 < edges[-1]:
                canvas.rule(float(across(0.0)), top, float(across(0.0)), bottom, FAINT)
        canvas.rule(left, bottom, left + wide, bottom, RULE)
        for count, at in ((self.panel.below, left - _AT_END - 1), (self.panel.above, left + wide + 1)):
            if count:
                most = max(self.most, 1.0)
                part = math.log1p(count) / math.log1p(most) if self.panel.log else count / most
                high = max(min(part, 1.0) * (self.height - 1), 3.0)
                canvas.rects([(at, bottom - high, _AT_END, high)], _BEYOND)
        if self.panel.nan:
            canvas.rects([(left, top, 4, self.height)], LOST)


class _Words(Drawing):
    """What stands where nothing can be drawn."""

    def __init__(self, text: str, pixels: int) -> None:
        self.text, self.title = literal(text), []
        self.width, self.height = max(round(1.5 * pixels), _LEAST), round(_TEXT * LINE)

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        canvas.text(left, top, fit(self.text, width, _TEXT), _TEXT, LOST, va="top")


class _Ribbon(Drawing):
    """Quantiles of one name beside those of the next, from left to right, each level: between two there is nothing."""

    ACROSS: ClassVar[int] = 252

    def __init__(self, panel: Band, sizes: Sizes) -> None:
        self.panel, self.sizes = panel, sizes
        self.width, self.area = self.ACROSS, 96
        self.title = sizes.title_lines(panel.title, self.width)
        self.height = self.heading + self.area + round(_TEXT * LINE) + 13

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        panel = self.panel
        y = self.draw_title(canvas, left, top) + 5
        order = np.argsort(panel.levels)
        values = np.asarray(panel.values, dtype=np.float64).reshape(len(panel.levels), len(panel.labels))[order]
        up = Scale(*padded(*finite_range(values)), y + self.area, y)
        ticks = up.ticks(26)
        texts = numbers(ticks)
        start = left + max((text_width(text, _TEXT) for text in texts), default=0) + 8
        edges = np.linspace(start + 3, left + self.width - 3, len(panel.labels) + 1)
        for at, text in zip(up(ticks), texts, strict=True):
            canvas.rule(start, at, left + self.width, at, FAINT)
            canvas.text(start - 6, at, text, _TEXT, MUTED, ha="right", va="middle")
        for place in range(len(order) // 2):
            self._between(canvas, edges, up(values[place]), up(values[-1 - place]), _SHADES[min(place, 2)])
        if len(order) % 2:
            middle = np.repeat(up(values[len(order) // 2]), 3)
            middle[2::3] = np.nan
            canvas.line(np.repeat(edges, 3)[2:-1], middle, INK, 1.2)
        for place in panel.flags:
            at = float(edges[place] + edges[place + 1]) / 2
            canvas.rule(at, y, at, y + self.area, LOST, dashed=True)
        if panel.labels:
            bottom, room = y + self.area + 5, (self.width - (start - left)) / 2 - 6
            canvas.text(start, bottom, fit(literal(panel.labels[0]), room, _TEXT), _TEXT, MUTED, va="top")
        if len(panel.labels) > 1:
            last = fit(literal(panel.labels[-1]), room, _TEXT)
            canvas.text(left + self.width, bottom, last, _TEXT, MUTED, ha="right", va="top")

    @staticmethod
    def _between(canvas: Canvas, edges: Array, low: Array, high: Array, color: Any) -> None:
        """Filled from *low* to *high* between two *edges* each, in pieces where a place has neither."""
        known = np.isfinite(low) & np.isfinite(high)
        for is_known, run in groupby(range(len(low)), key=lambda place: bool(known[place])):
            places = list(run)
            if is_known:
                at = np.repeat(edges[places[0] : places[-1] + 2], 2)[1:-1]
                lower, upper = (np.repeat(side[places], 2) for side in (low, high))
                canvas.polygon([*at, *at[::-1]], [*lower, *upper[::-1]], color)


def _flowing(panel: Any, style: Style) -> Drawing:
    return _Ribbon(panel, Sizes.of(4)) if isinstance(panel, Band) else drawing_of(panel, style, Sizes.of(4))


class _Flow:
    """Panels with titles, one beside the other."""

    def __init__(self, panels: Sequence[Any], style: Style) -> None:
        self.drawings = [_flowing(panel, style) for panel in panels]
        self.width = sum(each.width for each in self.drawings) + _BETWEEN * (len(self.drawings) - 1)
        self.height = max(each.height for each in self.drawings)

    def draw(self, canvas: Canvas, left: int, top: int) -> None:
        for each in self.drawings:
            each.draw(canvas, left, top, each.width)
            left += each.width + _BETWEEN


class _Heads:
    """The heads of columns side by side that share one: (texts, whether each is a name), and below it what tells them apart."""

    def __init__(self, columns: Sequence[int], page: Page, own: Mapping[int, int], within: int) -> None:
        names = [page.column_names[column] if column < len(page.column_names) else "" for column in columns]
        note = page.column_notes[columns[0]] if columns[0] < len(page.column_notes) else ""
        if len(kinds := _scale_kinds(page)) == 1:  # the legend says it of all
            note = ", ".join(part for part in note.split(", ") if part != kinds[0])
        self.columns, self.numbers = columns, list[str]()
        name = names[0]
        if (at := _differing(names[0], names[-1])) is not None:
            parts = name.split(".")
            name = ".".join([*parts[:at], "*", *parts[at + 1 :]])
            self.numbers = [each.split(".")[at] for each in names]
        taken = sum(own[column] for column in columns) + within * (len(columns) - 1)
        text = max(min(text_width(part, _TEXT), 118) for part in (*name.split("."), *note.split(", ")))
        self.wide = max(taken, math.ceil(text), _LEAST)
        self.lines = [(line, True) for line in wrap(literal(name), self.wide, _TEXT, lines=3)]
        self.lines += [(line, False) for line in wrap(literal(note), self.wide, _TEXT, lines=4)]


def _scale_kinds(page: Page) -> list[str]:
    """``linear`` or ``asinh``, or both, of the pictures on a page."""
    return sorted({panel.scale.kind for panel in page.panels if isinstance(panel, Heatmap)}, reverse=True)


def _differing(one: str, other: str) -> int | None:
    """Which part of two names is another number, where they are the same but for that."""
    pairs = list(zip(one.split("."), other.split("."), strict=False))
    found = [place for place, (a, b) in enumerate(pairs) if a != b]
    alike = one.count(".") == other.count(".") and len(found) == 1
    return found[0] if alike and all(part.isdecimal() for part in pairs[found[0]]) else None


def _sharing(page: Page, columns: Sequence[int]) -> list[list[int]]:
    """The *columns* in runs that share a head: their names are the same, or but for one number, and so is what they note."""

    def of(texts: Sequence[str], column: int) -> str:
        return texts[column] if column < len(texts) else ""

    found: list[list[int]] = []
    for column in columns:
        if found and column == found[-1][-1] + 1 and of(page.column_notes, column) == of(page.column_notes, found[-1][0]):
            first, name = of(page.column_names, found[-1][0]), of(page.column_names, column)
            at = _differing(first, name)
            if name and (name == first or at is not None) and len({at, *_places(page, found[-1])}) == 1:
                found[-1].append(column)
                continue
        found.append([column])
    return found


def _places(page: Page, run: Sequence[int]) -> set[int | None]:
    return {_differing(page.column_names[run[0]], page.column_names[column]) for column in run[1:]}


class _Table:
    """Rows with names, under the names of the columns and what they share: a column for each kind.

    A long one is in parts side by side, each under the names of all columns.
    """

    def __init__(self, page: Page, rows: Sequence[int], panels: dict[tuple[int, int], Any], style: Style) -> None:
        inside = set(rows)
        columns = sorted({column for row, column in panels if row in inside})
        runs = _sharing(page, columns)
        _, pixels, self.gap = next(each for each in _SIZES if max(len(rows), len(columns)) <= each[0])
        counts = _heights(page, panels, runs)
        self.names = {row: fit(literal(page.row_names[row]), _NAME, _TEXT) for row in rows}
        self.before = max(text_width(name, _TEXT) for name in self.names.values()) + 10
        self.drawings = {
            place: self._bare(panel, style, pixels, counts[place[1]]) for place, panel in panels.items() if place[0] in inside
        }
        self.own = {
            column: max(each.width for place, each in self.drawings.items() if place[1] == column) for column in columns
        }
        bars = any(isinstance(each, _Bars) for each in self.drawings.values())
        self.within = 2 * _AT_END + _WITHIN if bars else _WITHIN  # what is beyond bars is drawn beside them
        self.heads = [_Heads(run, page, self.own, self.within) for run in runs]
        self.line = round(_TEXT * LINE)
        self.over = self.line * max(len(head.lines) + bool(head.numbers) for head in self.heads) + 6
        self.high = {row: max(each.height for place, each in self.drawings.items() if place[0] == row) for row in rows}
        self.part = self.before + sum(head.wide for head in self.heads) + _APART * (len(self.heads) - 1)
        self.parts = self._in_parts()
        self.width = len(self.parts) * (self.part + _PARTS) - _PARTS
        self.height = self.over + max(map(self._down, self.parts))

    def _down(self, rows: Sequence[int]) -> int:
        """The pixels that *rows* take, one below the other."""
        return sum(self.high[row] for row in rows) + self.gap * (len(rows) - 1)

    def _in_parts(self) -> list[list[int]]:
        """The rows in parts about as high as each other, as many as keep the table from being much higher than wide."""
        rows, whole = list(self.high), self._down(list(self.high))
        count = next(each for each in range(1, len(rows) + 1) if whole / each <= max(_TALL, _SLENDER * each * self.part))
        size = math.ceil(len(rows) / count)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    @staticmethod
    def _bare(panel: Any, style: Style, pixels: int, most: float) -> Drawing:
        if isinstance(panel, Heatmap):
            return _Picture(panel, style, pixels)
        if isinstance(panel, Histogram):
            return _Bars(panel, pixels, most)
        return _Words(getattr(panel, "text", type(panel).__name__), pixels)

    def draw(self, canvas: Canvas, left: int, top: int) -> None:
        for place, rows in enumerate(self.parts):
            self._draw_part(canvas, rows, left + place * (self.part + _PARTS), top)

    def _draw_part(self, canvas: Canvas, rows: Sequence[int], left: float, top: int) -> None:
        starts: dict[int, tuple[float, float]] = {}  # of each column, where it begins, and its width
        x = left + self.before
        for head in self.heads:
            y = top + self.over - 6 - self.line * (len(head.lines) + bool(head.numbers))
            for text, is_name in head.lines:
                canvas.text(x, y, text, _TEXT, INK if is_name else MUTED, va="top")
                y += self.line
            across = x
            for place, column in enumerate(head.columns):
                if head.numbers:
                    room = self.own[column] + self.within
                    canvas.text(across, y, fit(head.numbers[place], room, _TEXT), _TEXT, MUTED, va="top")
                starts[column] = (across, head.wide if len(head.columns) == 1 else self.own[column])
                across += self.own[column] + self.within
            x += head.wide + _APART
        free = -math.inf
        y = top + self.over
        for row in rows:
            middle = y + self.high[row] / 2
            if middle >= free:
                canvas.text(left + self.before - 10, middle, self.names[row], _TEXT, MUTED, ha="right", va="middle")
                free = middle + self.line
            for column, (first, wide) in starts.items():
                if (drawing := self.drawings.get((row, column))) is not None:
                    down = y + (self.high[row] - drawing.height) // 2
                    drawing.draw(canvas, round(first), down, round(min(drawing.width, wide)))
            y += self.high[row] + self.gap


def _heights(page: Page, panels: Mapping[tuple[int, int], Any], runs: Sequence[Sequence[int]]) -> dict[int, float]:
    """Of each column the largest count of a histogram in it, and in those that share its head.

    In rows with names alone: a panel of no layer stands in no column.
    """
    counts: dict[int, float] = {}
    for (row, column), panel in panels.items():
        if page.row_names[row] and isinstance(panel, Histogram) and len(panel.counts):
            counts[column] = max(counts.get(column, 1.0), float(np.max(panel.counts)))
    most = {column: max(counts.get(each, 1.0) for each in run) for run in runs for column in run}
    return {**counts, **most}


def _tables(rows: Sequence[int], panels: Mapping[tuple[int, int], Any]) -> Iterator[list[int]]:
    """*rows* as tables: one that shares no column with those above it begins another."""
    found, used = list[int](), set[int]()
    for row in rows:
        own = {column for at, column in panels if at == row}
        if found and not own & used:
            yield found
            found, used = [], set()
        found.append(row)
        used |= own
    yield found


def _bands_said(page: Page) -> list[str]:
    """What the shades of bands and the lines are, in a line for each set of levels."""
    said = []
    for levels in dict.fromkeys(tuple(sorted(panel.levels)) for panel in page.panels if isinstance(panel, Band)):
        pairs = [(levels[place], levels[-1 - place]) for place in range(len(levels) // 2)]
        text = "quantiles " + ", ".join(f"{number(100 * low)}–{number(100 * high)} %" for low, high in pairs[::-1])
        if len(levels) % 2:
            middle = levels[len(levels) // 2]
            text += f"; dark line: {'median' if middle == 0.5 else f'{number(100 * middle)} %'}"
        said.append(text)
    if said and any(isinstance(panel, Histogram) for panel in page.panels):
        said[-1] += "; thin line in a histogram: 0"
        if any(panel.below or panel.above for panel in page.panels if isinstance(panel, Histogram)):
            said[-1] += "; purple at an end: weights beyond it"
    return said


def _filled(lines: Sequence[Sequence[Any]], wide: int) -> Iterator[Sequence[Any]]:
    """The panels of *lines*; where many lines of bands stand above a table *wide* pixels across, as many in each as fit."""
    for are_bands, run in groupby(lines, key=lambda line: all(isinstance(panel, Band) for panel in line)):
        some = list(run)
        across = (wide + _BETWEEN) // (_Ribbon.ACROSS + _BETWEEN)
        if not are_bands or across <= max(map(len, some)):
            yield from some
            continue
        bands = [panel for line in some for panel in line]
        yield from (bands[start : start + across] for start in range(0, len(bands), across))


def draw_sheet(page: Page, style: Style) -> Canvas:
    """The page on a canvas just large enough for it."""
    panels = dict(zip(page.places, page.panels, strict=True))
    used = sorted({row for row, _ in panels})
    runs = [
        (named, some)
        for named, run in groupby(used, key=lambda row: bool(page.row_names[row]))
        for some in (_tables(list(run), panels) if named else [list(run)])
    ]
    tables = {rows[0]: _Table(page, rows, panels, style) for named, rows in runs if named}
    wide = max((table.width for table in tables.values()), default=0)
    parts: list[_Flow | _Table] = []
    for named, rows in runs:
        if named:
            parts.append(tables[rows[0]])
        else:
            lines = [[panels[place] for place in sorted(panels) if place[0] == row] for row in rows]
            parts += [_Flow(line, style) for line in _filled(lines, wide)]
    inner = max(360, *(part.width for part in parts))
    heading = Heading(page.title, inner)
    heatmaps = any(isinstance(panel, Heatmap) for panel in page.panels)
    limits = "limits: at the head of each column" if any(page.row_names) else "each picture has its own limits"
    note = f"{limits}, {' or '.join(_scale_kinds(page))}"
    legend = SharedLegend(page.panels, style, inner, note) if heatmaps else None
    said = [line for text in _bands_said(page) for line in wrap(text, inner, _TEXT, lines=3)]
    line = round(_TEXT * LINE)
    above = (legend.height if legend else 0) + (line * len(said) + 8 if said else 0)
    top = MARGIN + heading.height + above
    canvas = Canvas(inner + 2 * MARGIN, top + sum(part.height for part in parts) + 22 * (len(parts) - 1) + MARGIN)
    heading.draw(canvas, MARGIN, MARGIN)
    if legend:
        legend.draw(canvas, MARGIN, top - above, inner)
    for index, text in enumerate(said):
        canvas.text(MARGIN, top - 8 - line * (len(said) - index), text, _TEXT, MUTED, va="top")
    for part in parts:
        part.draw(canvas, MARGIN, top)
        top += part.height + 22
    return canvas
