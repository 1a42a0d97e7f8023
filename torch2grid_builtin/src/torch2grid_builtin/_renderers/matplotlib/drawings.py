"""The drawing of each kind of panel, and what stands above the panels of a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from torch2grid_core.grids import Signals, colormap, default_map, signals
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
    """One colour bar for all small heatmaps of a page: each has its own limits, written below it.

    Of what is beyond the limits, NaN or no weight, that which occurs is named: once, or beside each map where a colour map has
    colours of its own for it. What does not fit *width* pixels goes onto further lines.
    """

    LINE, SIZE = 20, 11.0

    def __init__(
        self, panels: tuple[Any, ...], style: Style, width: int, note: str = "each picture has its own limits"
    ) -> None:
        heatmaps = [panel for panel in panels if isinstance(panel, Heatmap)]
        of: dict[tuple[str, bool], list[Heatmap]] = {}
        for panel in heatmaps:
            of.setdefault((style.colormap or default_map(panel.scale), panel.scale.diverging), []).append(panel)
        own = {each: _signals_in(members, signals(each[0], style.dark)) for each, members in of.items()}
        swatches = list(dict.fromkeys(swatch for found in own.values() for swatch in found))
        alike = len({label for _, label in swatches}) == len(swatches)
        items: list[_Ramp | _Swatch | _Note] = []
        for each, found in own.items():
            items += [_Ramp(*each), *([] if alike else [_Swatch(rgb(color), label) for color, label in found])]
        items += [_Swatch(rgb(color), label) for color, label in swatches] if alike else []
        self.lines: list[list[tuple[float, _Ramp | _Swatch | _Note]]] = [[]]
        x = 0.0
        for item in (*items, _Note(note, width)):
            if x + item.width > width and self.lines[-1]:
                self.lines.append([])
                x = 0.0
            self.lines[-1].append((x, item))
            x += item.width + item.after
        self.height = 14 + self.LINE * len(self.lines)

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        for line, items in enumerate(self.lines):
            for x, item in items:
                item.draw(canvas, left + x, top + line * self.LINE)


def _signals_in(panels: Sequence[Heatmap], marks: Signals) -> list[tuple[tuple[int, int, int], str]]:
    """The colours of *marks* that are seen in one of *panels*, with what they mean."""
    shown = [(panel, panel.grid.drawn()) for panel in panels]
    finite = [(panel.scale, drawn[np.isfinite(drawn)]) for panel, drawn in shown]
    seen = {
        (marks.over, "above"): any(bool(scale.above(values).any()) for scale, values in finite),
        (marks.under, "below"): any(bool(scale.below(values).any()) for scale, values in finite),
        (marks.not_finite, "NaN or Inf"): any(not np.isfinite(drawn).all() for _, drawn in shown),
        (marks.empty, "no weight"): any(bool((panel.grid.counts == 0).any()) for panel in panels),
    }
    return [swatch for swatch, is_seen in seen.items() if is_seen]


class _Ramp:
    """A colour map between the names of its ends."""

    after = 22

    def __init__(self, name: str, diverging: bool) -> None:
        self.name, self.ends = name, ("−limit", "limit") if diverging else ("low", "high")
        low, high = (text_width(end, SharedLegend.SIZE) for end in self.ends)
        self.before, self.width = low + 6, low + 6 + 128 + 6 + high

    def draw(self, canvas: Canvas, x: float, top: int) -> None:
        size = SharedLegend.SIZE
        canvas.text(x, top + 7, self.ends[0], size, MUTED, va="middle")
        canvas.ramp(x + self.before, top, 128, 14, colormap(self.name) / 255.0, upright=False)
        canvas.text(x + self.before + 134, top + 7, self.ends[1], size, MUTED, va="middle")


class _Swatch:
    """A colour and what it means."""

    after = 16

    def __init__(self, color: tuple[float, float, float], label: str) -> None:
        self.color, self.label = color, label
        self.width = SWATCH + 5 + text_width(label, SharedLegend.SIZE)

    def draw(self, canvas: Canvas, x: float, top: int) -> None:
        canvas.rects([(math.floor(x), top + 1, SWATCH, SWATCH)], self.color)
        canvas.text(x + SWATCH + 5, top + 7, self.label, SharedLegend.SIZE, MUTED, va="middle")


class _Note:
    """What is said of all pictures."""

    after = 0

    def __init__(self, text: str, room: float) -> None:
        self.text = fit(text, room, SharedLegend.SIZE)
        self.width = text_width(self.text, SharedLegend.SIZE)

    def draw(self, canvas: Canvas, x: float, top: int) -> None:
        canvas.text(x, top + 7, self.text, SharedLegend.SIZE, MUTED, va="middle")
