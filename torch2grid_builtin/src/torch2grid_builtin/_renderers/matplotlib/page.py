"""A page: its title, and its panels in columns, each measured before the figure is made to fit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch2grid_builtin._renderers.matplotlib.canvas import FAINT, LINE, MUTED, SERIES, Canvas, series_colors
from torch2grid_builtin._renderers.matplotlib.drawings import (
    MARGIN as _MARGIN,
    Heading,
    SharedLegend,
    drawing_of,
)
from torch2grid_builtin._renderers.matplotlib.panel import Drawing, Sizes, draw_names, rows_of_names
from torch2grid_builtin._renderers.matplotlib.planes import LineDrawing
from torch2grid_builtin._renderers.matplotlib.sheets import draw_sheet
from torch2grid_builtin._renderers.matplotlib.text import literal, text_width
from torch2grid_builtin._renderers.series import shared_names
from torch2grid_core import Page, Style
from torch2grid_core.pages import Heatmap, Text

_GAP = 28
_LEAST_WIDTH = 360


def draw_page(page: Page, style: Style) -> Canvas:
    """The page on a canvas just large enough for it."""
    if page.places and page.panels:
        return draw_sheet(page, style)
    panels = page.panels or (Text("nothing to draw"),)
    wide, rest = panels[: page.wide], panels[page.wide :]
    names = shared_names(page)
    sizes, whole = (replace(Sizes.of(count), legend_apart=bool(names)) for count in (page.columns, 1))
    across = max(1, min(page.columns, len(rest)))
    rows = [[drawing_of(panel, style, whole)] for panel in wide]
    drawings = _beside(rest, style, sizes, across)
    lines = [each for each in drawings if isinstance(each, LineDrawing)] if names else []
    for each in lines:  # of one legend, and mostly of one x: they begin one below the other
        each.least_room = max(line.room for line in lines)
    rows += [drawings[start : start + across] for start in range(0, len(drawings), across)]
    widths = [max((row[column].width for row in rows[len(wide) :] if column < len(row)), default=0) for column in range(across)]
    gap = 16 if sizes.compact else _GAP
    inner = max(sum(widths) + gap * (across - 1), *(row[0].width for row in rows[: len(wide)]), _LEAST_WIDTH)
    if across == 1:
        widths = [inner]
    heading = Heading(page.title, inner, steady=page.frame is not None)
    legend: SharedLegend | _Names | None = _Names(names, inner) if names else None
    if sizes.compact and any(isinstance(panel, Heatmap) for panel in rest):
        legend = SharedLegend(rest, style, inner)
    heights = [max(each.height for each in row) for row in rows]
    top = _MARGIN + heading.height
    if page.frame is not None:
        top += _Progress.height
    top += legend.height if legend else 0
    canvas = Canvas(inner + 2 * _MARGIN, top + sum(heights) + gap * (len(rows) - 1) + _MARGIN)
    heading.draw(canvas, _MARGIN, _MARGIN)
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


def _beside(panels: Sequence[Any], style: Style, sizes: Sizes, across: int) -> list[Drawing]:
    """Panels in so many columns; lines of text are as wide as the pictures of their column allow."""
    drawings = [drawing_of(panel, style, sizes) for panel in panels]
    for index, panel in enumerate(panels):
        pictures = [
            drawings[other].width for other in range(index % across, len(panels), across) if not isinstance(panels[other], Text)
        ]
        if isinstance(panel, Text) and pictures and max(pictures) < drawings[index].width:
            drawings[index] = drawing_of(panel, style, replace(sizes, plot=(max(pictures), sizes.plot[1])))
    return drawings


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
