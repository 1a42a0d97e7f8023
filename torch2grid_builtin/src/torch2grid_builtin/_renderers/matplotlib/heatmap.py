"""Heatmaps and images: each cell a whole number of pixels, at a whole pixel, in its own colour and no other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import FAINT, INK, LINE, MARK, MUTED, RULE, Canvas
from torch2grid_builtin._renderers.matplotlib.panel import Drawing, Sizes
from torch2grid_builtin._renderers.matplotlib.regions import (
    BandLabels,
    are_bands,
    draw_borders,
    draw_lost,
    draw_marks,
    draw_names,
    place_names,
    without_name,
)
from torch2grid_builtin._renderers.matplotlib.text import fit, literal, text_width, wrap
from torch2grid_builtin._renderers.matplotlib.ticks import index_ticks
from torch2grid_builtin._renderers.numbers import number, numbers, percent
from torch2grid_core import Grid, Style
from torch2grid_core.grids import ColorScale, Signals, colormap, default_map, paint, signals
from torch2grid_core.pages import Heatmap, Image, Marginal
from torch2grid_core.text import counted

_SLENDER, _ENOUGH = 12, 8  # a picture longer than 12:1 gets oblong cells, until it is at most 8:1
_GAP = 6
_NAMED, _BROAD = 64, 44  # rows that all have their names; pixels across a cell of a table in colours
_BAR = "#7f9bb3"
BAR, TIP, SWATCH = 16, 12, 12  # thickness of the bar, length of a tip, side of a swatch
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
LOG = "log₁₀ "  # before what a cell is the logarithm of
_POWERS = 6  # of ten on a bar, at most


def cell_pixels(rows: int, columns: int, least: int) -> tuple[int, int]:
    """(high, wide) pixels of a cell, so that the longer side has at least *least* pixels and neither side is a hair.

    A cell is at most an eighth of *least*: a handful of weights needs no poster.
    """
    longer = max(rows, columns, 1)
    factor = max(1, math.ceil(least / max(longer, 8)))
    long_side = longer * factor
    high = wide = factor
    if 0 < rows * factor * _SLENDER < long_side:
        high = math.ceil(long_side / _ENOUGH / rows)
    if 0 < columns * factor * _SLENDER < long_side:
        wide = math.ceil(long_side / _ENOUGH / columns)
    return high, wide


class HeatmapDrawing(Drawing):
    """A grid with ticks, region names, a colour bar, and what cannot be seen from the colours."""

    def __init__(self, panel: Heatmap, style: Style, sizes: Sizes) -> None:
        grid = panel.grid
        rows, columns = grid.shape
        self.factor = cell_pixels(rows, columns, sizes.cells)
        if panel.column_names:  # a table in colours: every row that is named has room for its name, where they are not many
            least = math.ceil(sizes.text * LINE) if rows <= _NAMED else 1
            self.factor = max(self.factor[0], least), max(self.factor[1], min(_BROAD, sizes.cells // max(columns, 1)))
        elif panel.row_names and rows <= _NAMED:
            high = max(self.factor[0], math.ceil(sizes.text * LINE))
            self.factor = high, high if 2 * self.factor[1] > high else self.factor[1]
        self.high, self.wide = rows * self.factor[0], columns * self.factor[1]
        sizes = sizes if panel.column_names else sizes.beside(max(self.high, self.wide))
        self.panel, self.sizes, self.style = panel, sizes, style
        size = sizes.text
        self.row_ticks = self._row_ticks()
        numbered = panel.columns and not panel.column_names
        self.column_ticks = index_ticks(panel, 1, self.factor[1], size) if numbered else []
        self.column_names = ColumnNames(panel, self.factor[1], size)
        self.bands = None
        if panel.labels and not panel.rows and are_bands(grid):
            self.bands = BandLabels(grid, self.high, self.factor[0], size - 1)
        self.before = self.bands.width if self.bands else 0
        if panel.rows or panel.row_names:
            widest = max((text_width(text, size) for _, text in self.row_ticks), default=0)
            self.before = max((round(size * LINE) + 6 if panel.rows else 0) + widest + 8, self.before)
        self.lost = signals(style.colormap or default_map(panel.scale), style.dark).not_finite
        self.marginals = Marginals(panel, size, self.lost)
        self.before = max(self.before, self.marginals.before)
        self.below = round(2 * size * LINE) + 10 if panel.columns else 0
        self.below += self.column_names.height - (round(size * LINE) if panel.columns else -10) if panel.column_names else 0
        self.bar: UprightBar | LevelBar
        legend = Legend.of(grid, panel.scale, literal(panel.label or grid.cell_text()), style, panel)
        upright = self.high >= UprightBar.LEAST
        self.bar = UprightBar(legend, self.high, size) if upright else LevelBar(legend, self.wide, size)
        if upright:
            self.width = self.before + self.wide + self.marginals.beside + 18 + self.bar.width
        else:
            self.width = self.before + max(self.wide + self.marginals.beside, self.bar.width)
        self.width = max(self.width, self.before + (text_width(fit(panel.columns, 400, size), size) if panel.columns else 0))
        self.names = place_names(grid, self.factor, size - 1) if panel.labels and not self.bands else None
        self.notes = self._notes()
        self.title = sizes.title_lines(panel.title, max(self.width, 320))
        self.width = max(self.width, max((text_width(line, sizes.title) for line in self.title), default=0))
        self.lines = [line for note in self.notes for line in wrap(note, self.width - self.before, size, lines=3)]
        self.height = self.heading + self.marginals.above + self.high + self.below
        if not upright:
            self.height += 14 + self.bar.height
        self.height += round(len(self.lines) * size * LINE) + 8 if self.lines else 0

    def _row_ticks(self) -> list[tuple[float, str]]:
        """Places in cells and their texts: given names as far as there is room, else indices of weights."""
        panel, size = self.panel, self.sizes.text
        if panel.row_names:
            kept: list[tuple[float, str]] = []
            for place, text in panel.ranked_row_names:
                if all(abs(place - other) * self.factor[0] >= size * LINE for other, _ in kept):
                    kept.append((place, fit(literal(text), 240, size)))
            return kept
        if not panel.rows:
            return []
        return [(place, str(index)) for place, index in index_ticks(panel, 0, self.factor[0], size)]

    def _notes(self) -> list[str]:
        notes, panel = [], self.panel
        if self.factor[0] != self.factor[1] and not panel.column_names:
            notes.append(f"cells drawn {self.factor[1]} × {self.factor[0]} pixels (wide × high)")
        if self.bands and self.bands.left_out:
            count, what = self.bands.left_out, self.bands.what
            notes.append(f"{count:,} smaller {what}s are not named" if count > 1 else f"1 smaller {what} is not named")
        if self.names and (missing := without_name(panel.grid, self.names, self.factor, self.sizes.text - 1)):
            notes.append(missing)
        return [*panel.grid.remarks, *notes, *([self.marginals.note] if self.marginals.note else [])]

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        panel, size = self.panel, self.sizes.text
        x, y = left + self.before, self.draw_title(canvas, left, top) + self.marginals.above
        if not panel.grid.values.size:
            canvas.text(x, y, "nothing here: the grid has no cells", size, MUTED, va="top")
            return
        canvas.cells(x, y, paint(panel.grid, panel.scale, self.style.colormap, self.style.dark), self.factor)
        _frame(canvas, x, y, self.wide, self.high)
        self.marginals.draw(canvas, x, y, self.factor)
        if panel.boundaries:
            draw_borders(canvas, panel.grid, x, y, self.factor)
        if self.bands:
            self.bands.draw(canvas, x, y)
        written = draw_names(canvas, panel.grid, self.names, x, y, self.factor, size - 1) if self.names else []
        marked = draw_marks(canvas, panel.grid, x, y, self.factor, size - 1, written)
        draw_lost(canvas, panel.grid, x, y, self.factor, [*written, *marked], rgb(self.lost))
        self._draw_ticks(canvas, left, x, y)
        bottom = y + self.high + self.below
        if isinstance(self.bar, UprightBar):
            self.bar.draw(canvas, x + self.wide + self.marginals.beside + 18, y)
        else:
            self.bar.draw(canvas, x, bottom + 14)
            bottom += 14 + self.bar.height
        for index, line in enumerate(self.lines):
            canvas.text(x, bottom + 6 + index * size * LINE, line, size, MUTED, va="top")

    def _draw_ticks(self, canvas: Canvas, left: int, x: int, y: int) -> None:
        panel, size = self.panel, self.sizes.text
        for place, text in self.row_ticks:
            at = y + place * self.factor[0]
            canvas.rule(x - 5, math.floor(at), x - 1, math.floor(at), RULE)
            canvas.text(x - 8, at, text, size, MUTED, ha="right", va="middle")
        if panel.rows:
            label = panel.rows
            if text_width(literal(label), size) > self.high:
                label = label.partition(" (")[0]  # what is explained matters more than how
            label = fit(label, max(self.high + self.below, 60), size)  # beside the numbers of columns there is room, too
            middle = y + max(self.high, text_width(label, size)) / 2
            canvas.text(left, middle, label, size, INK, ha="center", va="top", upright=True)
        for place, index in self.column_ticks:
            at = x + place * self.factor[1]
            canvas.rule(math.floor(at), y + self.high + 1, math.floor(at), y + self.high + 5, RULE)
            canvas.text(at, y + self.high + 7, str(index), size, MUTED, ha="center", va="top")
        self.column_names.draw(canvas, x, y + self.high, self.factor[1])
        if panel.columns:
            room = self.width - self.before
            label = fit(panel.columns, room, size)
            middle = x + max(self.wide, min(text_width(label, size), room)) / 2
            canvas.text(middle, y + self.high + self.below - 1 - size * LINE, label, size, INK, ha="center", va="top")


class ColumnNames:
    """Names below the columns: numbers as many as there is room for, others turned where they would touch."""

    def __init__(self, panel: Heatmap, wide: int, size: float) -> None:
        self.size = size
        self.names = [(place, literal(text)) for place, text in panel.column_names]
        widest = max((text_width(text, size) for _, text in self.names), default=0)
        apart = min((two - one for (one, _), (two, _) in itertools.pairwise(self.names)), default=math.inf) * wide
        self.turned = widest + 8 > apart and not all(_is_number(text) for _, text in self.names)
        if widest + 8 > apart and not self.turned:
            self.names = self.names[:: math.ceil((widest + 8) / apart)]
        self.longest = min(widest, 200)
        self.height = self.longest if self.turned else round(size * LINE)

    def draw(self, canvas: Canvas, left: int, top: int, wide: int) -> None:
        """left, top: the lower left corner of the cells, each *wide* pixels wide."""
        edge, size = -math.inf, self.size
        for place, text in self.names:
            at = left + place * wide
            half = size * LINE / 2 if self.turned else text_width(text, size) / 2 + 4
            if at - half < edge:
                continue
            edge = at + half
            canvas.rule(math.floor(at), top + 1, math.floor(at), top + 5, RULE)
            if self.turned:
                canvas.text(at - size * 0.5, top + 8, fit(text, self.longest, size), size, MUTED, "right", "top", upright=True)
            else:
                canvas.text(at, top + 7, text, size, MUTED, ha="center", va="top")


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace(",", "").isdecimal()


def _frame(canvas: Canvas, x: int, y: int, width: int, height: int) -> None:
    """A line around, outside the cells."""
    canvas.rects([(x - 1, y - 1, width + 2, 1), (x - 1, y + height, width + 2, 1)], RULE)
    canvas.rects([(x - 1, y, 1, height), (x + width, y, 1, height)], RULE)


class ThumbnailDrawing(Drawing):
    """A heatmap among many: a short name, the cells, and its limits in a line, under one legend for the page."""

    def __init__(self, panel: Heatmap, style: Style, sizes: Sizes) -> None:
        self.panel, self.sizes, self.style = panel, sizes, style
        rows, columns = panel.grid.shape
        self.factor = cell_pixels(rows, columns, sizes.cells)
        self.high, self.wide = rows * self.factor[0], columns * self.factor[1]
        self.width = max(self.wide + 2, sizes.cells + 24)
        self.title = sizes.title_lines(panel.title, self.width)
        self.line = round(sizes.text * LINE)
        self.captions = [*wrap(panel.label, self.width, sizes.text), *wrap(self._limits(), self.width, sizes.text)]
        self.height = self.heading + 4 + max(self.high, 1) + 4 + self.line * len(self.captions)

    def _limits(self) -> str:
        """Limits and the share of cells beyond them."""
        scale, grid = self.panel.scale, self.panel.grid
        if not grid.values.size:
            return "no weights"
        text = f"±{number(scale.high)}" if scale.diverging else f"{number(scale.low)} to {number(scale.high)}"
        drawn = grid.drawn()
        finite = np.isfinite(drawn)
        if not finite.all():
            return f"{text}, {percent(1 - float(finite.mean()))} NaN or Inf"
        beyond = float(np.mean(scale.above(drawn) | scale.below(drawn))) if drawn.size else 0.0
        return f"{text}, {percent(beyond)} beyond" if beyond else text

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        x, y = left + 1, self.draw_title(canvas, left, top) + 4
        if self.panel.grid.values.size:
            canvas.cells(x, y, paint(self.panel.grid, self.panel.scale, self.style.colormap, self.style.dark), self.factor)
            _frame(canvas, x, y, self.wide, self.high)
        for index, caption in enumerate(self.captions):
            canvas.text(left, y + self.high + 4 + index * self.line, caption, self.sizes.text, MUTED, va="top")


class ImageDrawing(Drawing):
    """Colours as they are, and a caption."""

    def __init__(self, panel: Image, style: Style, sizes: Sizes) -> None:
        self.panel, self.sizes = panel, sizes
        rows, columns = panel.rgb.shape[:2]
        self.factor = cell_pixels(rows, columns, sizes.cells)
        self.high, self.wide = rows * self.factor[0], columns * self.factor[1]
        self.width = max(self.wide, 0 if sizes.compact else 320)
        self.title = sizes.title_lines(panel.title, self.width)
        self.lines = wrap(panel.caption, self.width, sizes.text, lines=4) if panel.caption else []
        self.height = self.heading + self.high + round(len(self.lines) * sizes.text * LINE) + 8

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        y = self.draw_title(canvas, left, top)
        if self.panel.rgb.size:
            canvas.cells(left, y, np.asarray(self.panel.rgb, dtype=np.uint8), self.factor)
            _frame(canvas, left, y, self.wide, self.high)
        for index, line in enumerate(self.lines):
            canvas.text(left, y + self.high + 6 + index * self.sizes.text * LINE, line, self.sizes.text, MUTED, va="top")


class Marginals:
    """Bars above the columns and right of the rows, from 0 to the largest value, which is written at their end.

    above, beside: pixels that they take over and right of the heatmap; before: left of it. note: what they are. lost: the
    colour of a row or column with NaN or Inf.
    """

    def __init__(self, panel: Heatmap, size: float, lost: tuple[int, int, int]) -> None:
        self.panel, self.size, self.lost = panel, size, rgb(lost)
        self.long = round(3.6 * size)
        rows, columns = panel.row_marginal, panel.column_marginal
        self.above = self.long + _GAP if columns else round(size * LINE) if rows else 0
        self.beside = _GAP + self.long if rows else 0
        self.line = round(size * LINE)
        if columns and columns.names:
            self.above += self.line
        if rows and rows.names:
            self.beside += 4 + max(text_width(literal(text), size) for _, text in rows.names)
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
            if any(each and each.names for each in (rows, columns)):
                self.note += "; numbers at the bars: the indices of the largest"

    def draw(self, canvas: Canvas, left: int, top: int, factor: tuple[int, int]) -> None:
        """left, top: of the heatmap's cells, of *factor* = (high, wide) pixels each."""
        rows, columns = self.panel.row_marginal, self.panel.column_marginal
        if columns:
            self._bars(canvas, columns, left, top - _GAP, factor[1], upright=True)
            canvas.text(left - 6, top - _GAP - self.long, number(_largest(columns)), self.size, MUTED, ha="right", va="top")
            self._name_columns(canvas, columns, left, top - _GAP - self.long - 3, factor[1])
        if rows:
            start = left + self.panel.grid.shape[1] * factor[1] + _GAP
            self._bars(canvas, rows, start, top, factor[0], upright=False)
            canvas.text(start, top - 6, number(_largest(rows)), self.size, MUTED)
            self._name_rows(canvas, rows, start + self.long + 4, top, factor[0])

    def _name_columns(self, canvas: Canvas, marginal: Marginal, left: int, bottom: int, thick: int) -> None:
        """Above the bars."""
        wanted = [(left + place * thick, text_width(literal(text), self.size) / 2 + 3) for place, text in marginal.names]
        out = max((half for _, half in wanted), default=0.0)
        middles = in_order(wanted, left - out, left + len(marginal.values) * thick + out)
        for at, (_, text) in zip(middles, marginal.names, strict=False):
            canvas.text(at, bottom, literal(text), self.size, MARK, ha="center")

    def _name_rows(self, canvas: Canvas, marginal: Marginal, left: int, top: int, thick: int) -> None:
        """Beside the bars."""
        half = self.line / 2
        wanted = [(top + place * thick, half) for place, _ in marginal.names]
        middles = in_order(wanted, top - half, top + len(marginal.values) * thick + half)
        for at, (_, text) in zip(middles, marginal.names, strict=False):
            canvas.text(left, at, literal(text), self.size, MARK, va="middle")

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
            canvas.rects(np.stack([left + ill, top - self.long * one, thick * one, self.long * one], axis=1), self.lost)
        else:
            canvas.rects([(left - 1, top, 1, length)], FAINT)
            canvas.polygon(left + out, top + along, _BAR)
            canvas.rects(np.stack([left * one, top + ill, self.long * one, thick * one], axis=1), self.lost)


def in_order(wanted: Sequence[tuple[float, float]], low: float, high: float) -> list[float]:
    """Middles of texts between *low* and *high* that do not meet, near the places *wanted* and in the order of these.

    wanted: (middle, half of the length) of each, the most important first. Where not all have room, the last have none.
    """
    count = len(wanted)
    while count and sum(2 * half for _, half in wanted[:count]) > high - low:
        count -= 1
    ranks = sorted(range(count), key=lambda rank: wanted[rank][0])
    starts = list(itertools.accumulate((2 * wanted[rank][1] for rank in ranks), initial=0.0))  # were all close together
    groups: list[list[float]] = []  # how far each is from there, at best; those that would meet have one distance
    for rank, start in zip(ranks, starts, strict=False):
        middle, half = wanted[rank]
        groups.append([middle - half - start])
        while len(groups) > 1 and math.fsum(groups[-2]) / len(groups[-2]) > math.fsum(groups[-1]) / len(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    moved = [min(max(math.fsum(group) / len(group), low), high - starts[-1]) for group in groups for _ in group]
    found = dict(zip(ranks, (by + start for by, start in zip(moved, starts, strict=False)), strict=True))
    return [found[rank] + wanted[rank][1] for rank in range(count)]


def _largest(marginal: Marginal) -> float:
    """The largest finite |value|, 0 without one."""
    values = np.abs(np.asarray(marginal.values, dtype=np.float64))
    finite = values[np.isfinite(values)]
    largest = float(finite.max()) if finite.size else 0.0
    return largest if math.isfinite(largest) else 0.0


def rgb(color: tuple[int, int, int]) -> tuple[float, float, float]:
    """A colour of 0…255 as matplotlib takes it."""
    return color[0] / 255, color[1] / 255, color[2] / 255


@dataclass(frozen=True)
class Legend:
    """What a colour bar has to say about one grid."""

    scale: ColorScale
    label: str
    map: str
    marks: Signals
    above: str
    below: str
    swatches: tuple[tuple[tuple[int, int, int], str], ...]
    steady: bool = False
    most: int = 0  # cells that may be NaN

    @classmethod
    def of(cls, grid: Grid, scale: ColorScale, label: str, style: Style, panel: Heatmap) -> Legend:
        """The legend of *grid*, whose colour map is the one that suits the scale where *style* names none."""
        name = style.colormap or default_map(scale)
        marks = signals(name, style.dark)
        steady = panel.steady
        drawn = grid.counts > 0
        finite = np.isfinite(grid.values)
        above = int(np.count_nonzero(drawn & finite & scale.above(grid.values)))
        below = int(np.count_nonzero(drawn & finite & scale.below(grid.values)))
        bad = int(np.count_nonzero(drawn & ~finite))
        whole = max(int(np.count_nonzero(drawn & finite)), 1)
        swatches = []
        if bad or steady:
            swatches.append((marks.not_finite, f"NaN or Inf: {counted(bad, 'cell')}" if bad else ""))
        if not drawn.all():
            swatches.append((marks.empty, "no figure" if panel.column_names else "no weight"))
        return cls(
            scale,
            label,
            name,
            marks,
            f"{percent(above / whole)} above" if above or steady else "",
            f"{percent(below / whole)} below" if below or steady else "",
            tuple(swatches),
            steady,
            int(np.count_nonzero(drawn)),
        )

    def ticks(self) -> list[tuple[float, str]]:
        """Where on the bar which value stands: at its quarters, and of logarithms at powers of ten or round numbers."""
        if self.of_logarithms and (found := _powers(self.scale.low, self.scale.high)):
            return found
        values = self.scale.value(np.array(_SHARES))
        values[np.abs(np.array(_SHARES) - self.scale.fraction(np.zeros(1))) < 1e-9] = 0.0  # what rounding leaves of 0
        return list(zip(_SHARES, numbers(values.tolist()), strict=True))

    @property
    def of_logarithms(self) -> bool:
        """True where the cells are logarithms: the bar names the numbers."""
        return self.label.startswith(LOG) and self.scale.kind == "linear"

    @property
    def title(self) -> str:
        """What a cell is, and how the scale is bent."""
        if self.of_logarithms and _powers(self.scale.low, self.scale.high):
            name, semicolon, rest = self.label.removeprefix(LOG).partition(";")
            return f"{name}, log scale{semicolon}{rest}"
        return self.label + (", asinh scale" if self.scale.kind == "asinh" else "")


def _powers(low: float, high: float) -> list[tuple[float, str]]:
    """(share, text) of the powers of ten from 10**low to 10**high, of fewer than two also of their multiples by 2 and 5; of
    nothing that a float64 does not hold."""
    if not -300 < low < high < 300:
        return []
    exponents = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    step = max(-(-len(exponents) // _POWERS), 1)
    found = [(float(each), 10.0**each) for each in exponents[::step]]
    if len(found) < 2:
        every = (times * 10.0**each for each in range(math.floor(low), math.ceil(high) + 1) for times in (1, 2, 5))
        found = [(math.log10(each), each) for each in every if low - 1e-9 <= math.log10(each) <= high + 1e-9]
    if len(found) < 2:
        return []
    return [((place - low) / (high - low), number(value)) for place, value in found]


class UprightBar:
    """A colour bar beside a heatmap that is at least ``LEAST`` pixels high."""

    LEAST, MOST = 200, 440

    def __init__(self, legend: Legend, height: int, text: float) -> None:
        self.legend, self.text = legend, text
        self.height = min(height, round(self.MOST * text / 12))
        self.beside = BAR + 18 + max(text_width(each, text) for _, each in legend.ticks())
        widths = [BAR + 8 + text_width(each, text) for each in (legend.above, legend.below)]
        widths += [BAR + 8 + text_width(">99.9 % above", text)] if legend.steady else []
        widths += [SWATCH + 6 + text_width(each, text) for _, each in legend.swatches]
        widths += [SWATCH + 6 + text_width(f"NaN or Inf: {legend.most:,} cells", text)] if legend.steady else []
        self.width = max(self.beside + round(text * LINE), *widths)

    def draw(self, canvas: Canvas, left: int, top: int) -> None:
        legend, line = self.legend, round(self.text * LINE) + 2
        start = top + (line + 3 if legend.above else 0)
        stop = (
            top + self.height - len(legend.swatches) * line - (8 if legend.swatches else 0) - (line + 2 if legend.below else 0)
        )
        canvas.ramp(left, start, BAR, stop - start, colormap(legend.map) / 255.0, upright=True)
        if legend.above:
            canvas.polygon([left, left + BAR, left + BAR / 2], [start - 2, start - 2, start - 2 - TIP], rgb(legend.marks.over))
            canvas.text(left + BAR + 8, start - 6 - TIP / 2, legend.above, self.text, INK, va="middle")
        if legend.below:
            canvas.polygon([left, left + BAR, left + BAR / 2], [stop + 2, stop + 2, stop + 2 + TIP], rgb(legend.marks.under))
            canvas.text(left + BAR + 8, stop + 6 + TIP / 2, legend.below, self.text, INK, va="middle")
        for share, text in legend.ticks():
            at = stop - share * (stop - start)
            canvas.rule(left + BAR, min(at, stop - 1), left + BAR + 4, min(at, stop - 1), RULE)
            nudge = {0.0: -self.text * 0.4, 1.0: self.text * 0.4}.get(share, 0.0)
            canvas.text(left + BAR + 8, at + nudge, text, self.text, MUTED, va="middle")
        label = fit(legend.title, stop - start, self.text)
        canvas.text(left + self.beside, (start + stop) / 2, label, self.text, INK, ha="center", va="top", upright=True)
        _swatches(canvas, legend, left, top + self.height - len(legend.swatches) * line, self.text, stacked=True)


class LevelBar:
    """A colour bar below a heatmap too low for an upright one."""

    def __init__(self, legend: Legend, width: int, text: float) -> None:
        self.legend, self.text = legend, text
        widest = max(text_width(each, text) for _, each in legend.ticks())
        self.bar = max(min(width - 2 * TIP, round(420 * text / 12)), 5 * (widest + 14), 200)
        self.line = round(text * LINE) + 2
        beyond = " · ".join(filter(None, (legend.below, legend.above)))
        shown = [SWATCH + 6 + text_width(each, text) for _, each in legend.swatches]
        if legend.steady:  # the picture is as wide whatever there is to say
            shown[0] = SWATCH + 6 + text_width(f"NaN or Inf: {legend.most:,} cells", text)
        self.beyond = beyond
        self.extra = bool(beyond or shown)
        parts = [*shown, text_width(beyond, text)] if beyond else shown
        self.width = max(
            self.bar + 2 * TIP + widest, text_width(fit(legend.title, 600, text), text), sum(parts) + 18 * len(parts)
        )
        self.height = self.line + BAR - 2 + 6 + self.line + (self.line + 4 if self.extra else 0)

    def draw(self, canvas: Canvas, left: int, top: int) -> None:
        legend, line = self.legend, self.line
        canvas.text(left + TIP, top, fit(legend.title, self.width - TIP, self.text), self.text, INK, va="top")
        high, start, y = BAR - 2, left + TIP, top + line
        canvas.ramp(start, y, self.bar, high, colormap(legend.map) / 255.0, upright=False)
        middle, stop = y + high / 2, start + self.bar
        if legend.below:
            canvas.polygon([start - 2, start - 2, start - 2 - TIP + 2], [y, y + high, middle], rgb(legend.marks.under))
        if legend.above:
            canvas.polygon([stop + 2, stop + 2, stop + TIP], [y, y + high, middle], rgb(legend.marks.over))
        for share, text in legend.ticks():
            at = start + share * self.bar
            canvas.rule(min(at, stop - 1), y + high, min(at, stop - 1), y + high + 4, RULE)
            ha = {0.0: "left", 1.0: "right"}.get(share, "center")
            canvas.text(at, y + high + 6, text, self.text, MUTED, ha=ha, va="top")  # type: ignore[arg-type]
        if self.extra:
            below = y + high + 8 + line
            if self.beyond:
                canvas.text(start, below, self.beyond, self.text, INK, va="top")
                start += text_width(self.beyond, self.text) + 18
            _swatches(canvas, legend, start, below, self.text, stacked=False)


def _swatches(canvas: Canvas, legend: Legend, left: float, top: float, text: float, *, stacked: bool) -> None:
    line = round(text * LINE) + 2
    for color, label in legend.swatches:
        if label:  # else the place of one that another frame may have
            canvas.rects([(round(left), round(top) + 1, SWATCH, SWATCH)], rgb(color))
        canvas.text(left + SWATCH + 6, top + 1 + SWATCH / 2, label, text, INK, va="middle")
        if stacked:
            top += line
        else:
            left += SWATCH + 6 + text_width(label, text) + 18
