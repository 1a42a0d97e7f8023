"""Heatmaps and images: each cell a whole number of pixels, at a whole pixel, in its own colour and no other."""

from __future__ import annotations

import math

import numpy as np

from torch2grid_builtin._renderers.matplotlib.axes import index_ticks
from torch2grid_builtin._renderers.matplotlib.canvas import INK, LINE, MUTED, RULE, Canvas
from torch2grid_builtin._renderers.matplotlib.colorbar import Legend, LevelBar, UprightBar
from torch2grid_builtin._renderers.matplotlib.marginals import Marginals
from torch2grid_builtin._renderers.matplotlib.panel import Drawing, Sizes, draw_title, title_height, title_lines
from torch2grid_builtin._renderers.matplotlib.regions import BandLabels, are_bands, draw_borders, draw_names
from torch2grid_builtin._renderers.matplotlib.text import fit, literal, text_width, wrap
from torch2grid_builtin._renderers.numbers import number, percent
from torch2grid_core import Style
from torch2grid_core.grids import paint
from torch2grid_core.pages import Heatmap, Image

_SLENDER, _ENOUGH = 12, 8  # a picture longer than 12:1 gets oblong cells, until it is at most 8:1


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
        self.high, self.wide = rows * self.factor[0], columns * self.factor[1]
        sizes = sizes.beside(max(self.high, self.wide))
        self.panel, self.sizes, self.style = panel, sizes, style
        size = sizes.text
        self.row_ticks = self._row_ticks(rows)
        self.column_ticks = index_ticks(columns * grid.cell[1], self.wide, 64 * size / 12) if panel.columns else []
        self.bands = None
        if panel.labels and not panel.rows and are_bands(grid):
            self.bands = BandLabels(grid, self.high, self.factor[0], size - 1)
        self.before = self.bands.width if self.bands else 0
        if panel.rows:
            widest = max((text_width(text, size) for _, text in self.row_ticks), default=0)
            self.before = round(size * LINE) + 6 + widest + 8
        self.marginals = Marginals(panel, size)
        self.before = max(self.before, self.marginals.before)
        self.below = round(2 * size * LINE) + 10 if panel.columns else 0
        self.bar: UprightBar | LevelBar
        legend = Legend.of(grid, panel.scale, literal(panel.label or grid.cell_text()), style.colormap)
        upright = self.high >= UprightBar.LEAST
        self.bar = UprightBar(legend, self.high, size) if upright else LevelBar(legend, self.wide, size)
        if upright:
            self.width = self.before + self.wide + self.marginals.beside + 18 + self.bar.width
        else:
            self.width = self.before + max(self.wide + self.marginals.beside, self.bar.width)
        self.width = max(self.width, self.before + (text_width(fit(panel.columns, 400, size), size) if panel.columns else 0))
        self.notes = self._notes()
        self.title = title_lines(panel.title, max(self.width, 320), sizes)
        self.width = max(self.width, max((text_width(line, sizes.title) for line in self.title), default=0))
        self.lines = [line for note in self.notes for line in wrap(note, self.width - self.before, size, lines=3)]
        self.height = title_height(self.title, sizes) + self.marginals.above + self.high + self.below
        if not upright:
            self.height += 14 + self.bar.height
        self.height += round(len(self.lines) * size * LINE) + 8 if self.lines else 0

    def _row_ticks(self, rows: int) -> list[tuple[float, str]]:
        """Places in cells and their texts: given names as far as there is room, else indices of weights."""
        panel, size, step = self.panel, self.sizes.text, self.panel.grid.cell[0]
        if panel.row_names:
            kept: list[tuple[float, str]] = []
            for place, text in panel.row_names:
                if not kept or (place - kept[-1][0]) * self.factor[0] >= size * LINE:
                    kept.append((place, fit(literal(text), 240, size)))
            return kept
        if not panel.rows:
            return []
        ticks = index_ticks(rows * step, self.high, (34 if self.high < 200 else 46) * size / 12)
        return [((tick + 0.5) / step, str(tick)) for tick in ticks]

    def _notes(self) -> list[str]:
        notes = []
        if self.factor[0] != self.factor[1]:
            notes.append(f"cells drawn {self.factor[1]} × {self.factor[0]} pixels (wide × high)")
        if self.bands and self.bands.left_out:
            notes.append(f"{self.bands.left_out:,} smaller {self.bands.what} are not named")
        return [*notes, self.marginals.note] if self.marginals.note else notes

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        panel, size = self.panel, self.sizes.text
        draw_title(canvas, self.title, left, top, self.sizes)
        x, y = left + self.before, top + title_height(self.title, self.sizes) + self.marginals.above
        if not panel.grid.values.size:
            canvas.text(x, y, "nothing here: the grid has no cells", size, MUTED, va="top")
            return
        canvas.cells(x, y, paint(panel.grid, panel.scale, self.style.colormap), self.factor)
        _frame(canvas, x, y, self.wide, self.high)
        self.marginals.draw(canvas, x, y, self.factor)
        if panel.boundaries:
            draw_borders(canvas, panel.grid, x, y, self.factor)
        if self.bands:
            self.bands.draw(canvas, x, y)
        elif panel.labels:
            draw_names(canvas, panel.grid, x, y, self.factor, size - 1)
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
        panel, size, cell_columns = self.panel, self.sizes.text, self.panel.grid.cell[1]
        for place, text in self.row_ticks:
            at = y + place * self.factor[0]
            canvas.rule(x - 5, math.floor(at), x - 1, math.floor(at), RULE)
            canvas.text(x - 8, at, text, size, MUTED, ha="right", va="middle")
        if panel.rows:
            label, room = panel.rows, max(self.high, 60)
            if text_width(literal(label), size) > room:
                label = label.partition(" (")[0]  # what is explained matters more than how
            canvas.text(left, y + self.high / 2, fit(label, room, size), size, INK, ha="center", va="top", upright=True)
        for tick in self.column_ticks:
            at = x + (tick + 0.5) / cell_columns * self.factor[1]
            canvas.rule(math.floor(at), y + self.high + 1, math.floor(at), y + self.high + 5, RULE)
            canvas.text(at, y + self.high + 7, str(tick), size, MUTED, ha="center", va="top")
        if panel.columns:
            room = self.width - self.before
            label = fit(panel.columns, room, size)
            middle = x + max(self.wide, min(text_width(label, size), room)) / 2
            canvas.text(middle, y + self.high + 9 + size * LINE, label, size, INK, ha="center", va="top")


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
        self.title = wrap(panel.title, self.width, sizes.title, lines=2) if panel.title else []
        self.line = round(sizes.text * LINE)
        self.captions = [*wrap(panel.label, self.width, sizes.text), *wrap(self._limits(), self.width, sizes.text)]
        self.height = title_height(self.title, sizes) + 4 + max(self.high, 1) + 4 + self.line * len(self.captions)

    def _limits(self) -> str:
        """Limits and the share of cells beyond them."""
        scale, grid = self.panel.scale, self.panel.grid
        if not grid.values.size:
            return "no weights"
        text = f"±{number(scale.high)}" if scale.diverging else f"{number(scale.low)} to {number(scale.high)}"
        drawn = grid.drawn()
        finite = np.isfinite(drawn)
        if not finite.all():
            return f"{text}, {percent(1 - float(finite.mean()))} NaN or Inf".replace(" %", "\u00a0%")
        beyond = float(np.mean((drawn > scale.high) | (drawn < scale.low))) if drawn.size else 0.0
        return f"{text}, {percent(beyond)} beyond".replace(" %", "\u00a0%") if beyond else text

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        draw_title(canvas, self.title, left, top, self.sizes)
        x, y = left + 1, top + title_height(self.title, self.sizes) + 4
        if self.panel.grid.values.size:
            canvas.cells(x, y, paint(self.panel.grid, self.panel.scale, self.style.colormap), self.factor)
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
        self.title = title_lines(panel.title, self.width, sizes)
        self.lines = wrap(panel.caption, self.width, sizes.text, lines=4) if panel.caption else []
        self.height = title_height(self.title, sizes) + self.high + round(len(self.lines) * sizes.text * LINE) + 8

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        draw_title(canvas, self.title, left, top, self.sizes)
        y = top + title_height(self.title, self.sizes)
        if self.panel.rgb.size:
            canvas.cells(left, y, np.asarray(self.panel.rgb, dtype=np.uint8), self.factor)
            _frame(canvas, left, y, self.wide, self.high)
        for index, line in enumerate(self.lines):
            canvas.text(left, y + self.high + 6 + index * self.sizes.text * LINE, line, self.sizes.text, MUTED, va="top")
