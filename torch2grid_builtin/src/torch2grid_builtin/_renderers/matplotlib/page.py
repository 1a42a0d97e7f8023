"""A page: its title, and its panels in columns, each measured before the figure is made to fit them."""

from __future__ import annotations

from torch2grid_builtin._renderers.matplotlib.canvas import INK, LINE, Canvas
from torch2grid_builtin._renderers.matplotlib.drawings import MARGIN as _MARGIN, SharedLegend, drawing_of, heading_of
from torch2grid_builtin._renderers.matplotlib.panel import Sizes
from torch2grid_builtin._renderers.matplotlib.sheets import draw_sheet
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
    sizes, whole = Sizes.of(page.columns), Sizes.of(1)
    across = max(1, min(page.columns, len(rest)))
    rows = [[drawing_of(panel, style, whole)] for panel in wide]
    drawings = [drawing_of(panel, style, sizes) for panel in rest]
    rows += [drawings[start : start + across] for start in range(0, len(drawings), across)]
    widths = [max((row[column].width for row in rows[len(wide) :] if column < len(row)), default=0) for column in range(across)]
    gap = 16 if sizes.compact else _GAP
    inner = max(sum(widths) + gap * (across - 1), *(row[0].width for row in rows[: len(wide)]), _LEAST_WIDTH)
    if across == 1:
        widths = [inner]
    heading, size = heading_of(page.title, inner)
    legend = SharedLegend(rest, style) if sizes.compact and any(isinstance(panel, Heatmap) for panel in rest) else None
    heights = [max(each.height for each in row) for row in rows]
    top = _MARGIN + (round(len(heading) * size * LINE) + 14 if heading else 0) + (legend.height if legend else 0)
    canvas = Canvas(inner + 2 * _MARGIN, top + sum(heights) + gap * (len(rows) - 1) + _MARGIN)
    for index, line in enumerate(heading):
        canvas.text(_MARGIN, _MARGIN + index * size * LINE, line, size, INK, va="top", bold=True)
    if legend:
        legend.draw(canvas, _MARGIN, top - legend.height, inner)
    for index, (row, height) in enumerate(zip(rows, heights, strict=True)):
        left = _MARGIN
        for drawing, width in zip(row, [inner] if index < len(wide) else widths, strict=False):
            drawing.draw(canvas, left, top, width)
            left += width + gap
        top += height + gap
    return canvas
