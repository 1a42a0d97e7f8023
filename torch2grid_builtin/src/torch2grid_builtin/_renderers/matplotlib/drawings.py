"""The drawing of each kind of panel, and what stands above the panels of a page."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import MUTED, Canvas
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


def heading_of(title: str, width: int) -> tuple[list[str], float]:
    """The page's title as large as it fits on one line, else on up to three lines, whole wherever that is possible."""
    zoom = min(max(width / 1100, 1.0), 1.6)
    for size in (each * zoom for each in _TITLES):
        lines = wrap(title, width, size, bold=True, lines=1)
        if not lines or "…" not in lines[0] or "…" in title:
            return lines, size
    return wrap(title, width, size, bold=True, lines=3), size


def heading_of_frame(title: str, width: int) -> tuple[list[str], float]:
    """The title of a frame: one line of one size, so that nothing below it moves from frame to frame."""
    return ([fit(title, width, _TITLES[1], bold=True)] if title else []), _TITLES[1]


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
