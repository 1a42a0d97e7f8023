"""The drawing of each kind of panel, and what stands above the panels of a page."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import INK, LINE, MUTED, Canvas
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
from torch2grid_builtin._renderers.matplotlib.planes import LineDrawing, ScatterDrawing
from torch2grid_builtin._renderers.matplotlib.plots import HistogramDrawing
from torch2grid_builtin._renderers.matplotlib.text import fit, text_width, wrap
from torch2grid_core import Style
from torch2grid_core.grids import colormap, default_map, signals
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Histogram, Image, Line, Ridges, Scatter, Table, Text

MARGIN = 24
_TITLES, _SUBTITLE = (18.0, 16.0, 14.0), 12.5
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


class Heading:
    """The page's title as large as it fits on one line, else on up to three; and below it, small, what follows its first " · ".

    steady: each on one line of one size, so that nothing below moves from frame to frame.
    """

    def __init__(self, title: str, width: int, steady: bool = False) -> None:
        title, _, rest = title.partition(" · ")
        zoom = 1.0 if steady else min(max(width / 1100, 1.0), 1.6)
        if steady:
            self.size = _TITLES[1]
            self.lines = [fit(title, width, self.size, bold=True)] if title else []
        else:
            for self.size in (each * zoom for each in _TITLES):
                self.lines = wrap(title, width, self.size, bold=True, lines=1)
                if not self.lines or "…" not in self.lines[0] or "…" in title:
                    break
            else:
                self.lines = wrap(title, width, self.size, bold=True, lines=3)
        self.small = _SUBTITLE * zoom
        self.rest = wrap(rest, width, self.small, lines=1 if steady else 3) if rest else []
        self.height = round(len(self.lines) * self.size * LINE + len(self.rest) * self.small * LINE)
        self.height += (14 if self.lines else 0) + (2 if self.rest else 0)

    def draw(self, canvas: Canvas, left: int, top: float) -> None:
        for line in self.lines:
            canvas.text(left, top, line, self.size, INK, va="top", bold=True)
            top += self.size * LINE
        for line in self.rest:
            canvas.text(left, top + 2, line, self.small, MUTED, va="top")
            top += self.small * LINE


class SharedLegend:
    """One colour bar for all small heatmaps of a page: each has its own limits, written below it."""

    height = 34

    def __init__(self, panels: tuple[Any, ...], style: Style, note: str = "each picture has its own limits") -> None:
        self.note = note
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
        note = fit(self.note, max(left + width - x, 0), size)
        if note and "…" not in note:
            canvas.text(x, top + 7, note, size, MUTED, va="middle")
