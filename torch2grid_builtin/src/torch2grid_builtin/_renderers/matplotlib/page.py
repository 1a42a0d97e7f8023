"""A page: its title, and its panels in columns, each measured before the figure is made to fit them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import FAINT, INK, LINE, MUTED, SERIES, Canvas, series_colors
from torch2grid_builtin._renderers.matplotlib.heatmap import SWATCH, HeatmapDrawing, ImageDrawing, ThumbnailDrawing, rgb
from torch2grid_builtin._renderers.matplotlib.lists import (
    BandDrawing,
    BarDrawing,
    BoxesDrawing,
    RidgesDrawing,
    TableDrawing,
    TextDrawing,
)
from torch2grid_builtin._renderers.matplotlib.panel import Drawing, Sizes
from torch2grid_builtin._renderers.matplotlib.planes import LineDrawing, ScatterDrawing, draw_names, rows_of_names
from torch2grid_builtin._renderers.matplotlib.plots import HistogramDrawing
from torch2grid_builtin._renderers.matplotlib.text import fit, literal, text_width, wrap
from torch2grid_builtin._renderers.series import shared_names
from torch2grid_core import Page, Style
from torch2grid_core.grids import colormap, default_map, signals
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Histogram, Image, Line, Ridges, Scatter, Table, Text

_MARGIN, _GAP = 24, 28
_LEAST_WIDTH = 360
_TITLES = (18.0, 16.0, 14.0)
_DRAWINGS: dict[type, Callable[[Any, Style, Sizes], Drawing]] = {
    Heatmap: HeatmapDrawing,
    Image: ImageDrawing,
    Histogram: HistogramDrawing,
    Line: LineDrawing,
    Scatter: ScatterDrawing,
    Bar: BarDrawing,
    Boxes: BoxesDrawing,
    Band: BandDrawing,
    Ridges: RidgesDrawing,
    Table: TableDrawing,
    Text: TextDrawing,
}


def drawing_of(panel: Any, style: Style, sizes: Sizes) -> Drawing:
    """The drawing of a panel; one of an unknown kind is drawn as its table."""
    for kind in type(panel).__mro__:
        if kind in _DRAWINGS:
            if kind is Heatmap and sizes.compact:
                return ThumbnailDrawing(panel, style, sizes)
            return _DRAWINGS[kind](panel, style, sizes)
    return TableDrawing(panel.as_table(), style, sizes)


def draw_page(page: Page, style: Style) -> Canvas:
    """The page on a canvas just large enough for it."""
    panels = page.panels or (Text("nothing to draw"),)
    wide, rest = panels[: page.wide], panels[page.wide :]
    names = shared_names(page)
    sizes, whole = (replace(Sizes.of(count), legend_apart=bool(names)) for count in (page.columns, 1))
    across = max(1, min(page.columns, len(rest)))
    rows = [[drawing_of(panel, style, whole)] for panel in wide]
    drawings = [drawing_of(panel, style, sizes) for panel in rest]
    rows += [drawings[start : start + across] for start in range(0, len(drawings), across)]
    widths = [max((row[column].width for row in rows[len(wide) :] if column < len(row)), default=0) for column in range(across)]
    gap = 16 if sizes.compact else _GAP
    inner = max(sum(widths) + gap * (across - 1), *(row[0].width for row in rows[: len(wide)]), _LEAST_WIDTH)
    if across == 1:
        widths = [inner]
    heading, size = _heading(page.title, inner) if page.frame is None else _heading_of_frame(page.title, inner)
    legend: _Legend | _Names | None = _Names(names, inner) if names else None
    if sizes.compact and any(isinstance(panel, Heatmap) for panel in rest):
        legend = _Legend(rest, style)
    heights = [max(each.height for each in row) for row in rows]
    top = _MARGIN + (round(len(heading) * size * LINE) + 14 if heading else 0)
    if page.frame is not None:
        top += _Progress.height
    top += legend.height if legend else 0
    canvas = Canvas(inner + 2 * _MARGIN, top + sum(heights) + gap * (len(rows) - 1) + _MARGIN)
    for index, line in enumerate(heading):
        canvas.text(_MARGIN, _MARGIN + index * size * LINE, line, size, INK, va="top", bold=True)
    if page.frame is not None:
        _Progress(*page.frame).draw(canvas, _MARGIN, top - _Progress.height - (legend.height if legend else 0), inner)
    if legend:
        legend.draw(canvas, _MARGIN, top - legend.height, inner)
    for index, (row, height) in enumerate(zip(rows, heights, strict=True)):
        left = _MARGIN
        for drawing, width in zip(row, [inner] if index < len(wide) else widths, strict=False):
            drawing.draw(canvas, left, top, width)
            left += width + gap
        top += height + gap
    return canvas


def _heading(title: str, width: int) -> tuple[list[str], float]:
    """The page's title as large as it fits on one line, else on up to three lines, whole wherever that is possible."""
    zoom = min(max(width / 1100, 1.0), 1.6)
    for size in (each * zoom for each in _TITLES):
        lines = wrap(title, width, size, bold=True, lines=1)
        if not lines or "…" not in lines[0] or "…" in title:
            return lines, size
    return wrap(title, width, size, bold=True, lines=3), size


def _heading_of_frame(title: str, width: int) -> tuple[list[str], float]:
    """The title of a frame: one line of one size, so that nothing below it moves from frame to frame."""
    return ([fit(title, width, _TITLES[1], bold=True)] if title else []), _TITLES[1]


class _Progress:
    """How far a sequence has come: a rail with a mark on it."""

    height = 20

    def __init__(self, place: int, count: int) -> None:
        self.place, self.count = place, count

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        text = f"{self.place:,} of {self.count:,}"
        stop = left + width - text_width(f"{self.count:,} of {self.count:,}", 11) - 10
        step = (stop - left) / max(self.count, 1)
        canvas.rects([(left, top + 4, stop - left, 4)], FAINT)
        canvas.rects([(left, top + 4, round(step * self.place), 4)], SERIES[0])
        canvas.text(left + width, top + 6, text, 11, MUTED, ha="right", va="middle")


class _Names:
    """One legend for all diagrams of a page."""

    def __init__(self, names: tuple[str, ...], width: int) -> None:
        self.colors = series_colors(len(names))
        self.rows = rows_of_names([literal(name) for name in names], width, 12)
        self.height = len(self.rows) * round(12 * LINE) + 14

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        draw_names(canvas, self.rows, self.colors, left, top, 12)


class _Legend:
    """One colour bar for all small heatmaps of a page: each has its own limits, written below it."""

    height = 34

    def __init__(self, panels: tuple[Any, ...], style: Style) -> None:
        heatmaps = [panel for panel in panels if isinstance(panel, Heatmap)]
        maps = [(style.colormap or default_map(panel.scale), panel.scale.diverging) for panel in heatmaps]
        self.maps = list(dict.fromkeys(maps))[:2]
        marks = signals(self.maps[0][0], style.dark)
        self.swatches = [(rgb(marks.over), "above"), (rgb(marks.under), "below")]
        if any(not np.isfinite(panel.grid.drawn()).all() for panel in heatmaps):
            self.swatches.append((rgb(marks.not_finite), "NaN or Inf"))
        if any(bool((panel.grid.counts == 0).any()) for panel in heatmaps):
            self.swatches.append((rgb(marks.empty), "no weight"))

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        x, size = float(left), 11.0
        for name, diverging in self.maps:
            low, high = ("−limit", "limit") if diverging else ("low", "high")
            canvas.text(x, top + 7, low, size, MUTED, va="middle")
            x += text_width(low, size) + 6
            canvas.ramp(x, top, 128, 14, colormap(name) / 255.0, upright=False)
            x += 128 + 6
            canvas.text(x, top + 7, high, size, MUTED, va="middle")
            x += text_width(high, size) + 22
        for color, label in self.swatches:
            if x + SWATCH + text_width(label, size) > left + width:
                break
            canvas.rects([(math.floor(x), top + 1, SWATCH, SWATCH)], color)
            canvas.text(x + SWATCH + 5, top + 7, label, size, MUTED, va="middle")
            x += SWATCH + 5 + text_width(label, size) + 16
        note = fit("each picture has its own limits", max(left + width - x, 0), size)
        if note and "…" not in note:
            canvas.text(x, top + 7, note, size, MUTED, va="middle")
