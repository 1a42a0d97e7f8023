"""A page to draw on in whole pixels: text that fits, lines, rectangles and cells, saved as png, svg or pdf.

Everything is placed by its pixel (100 to the inch, x to the right, y down), so that a page is laid out before it exists
and a cell is exactly as many pixels as was decided. A png, jpg or webp is painted straight into its pixels, a hundred small
texts in milliseconds; svg and pdf are made of the same shapes by matplotlib.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, Literal

import matplotlib
import numpy as np

from torch2grid_builtin._renderers.matplotlib.look import Look, zoomed
from torch2grid_builtin._renderers.matplotlib.shapes import Boxes, Cells, Color, Dots, Label, Polygon, Ramp, Shape, Stroke
from torch2grid_builtin._renderers.matplotlib.text import font_in_use
from torch2grid_core.grids import colormap, encode_png

Array = np.ndarray[Any, Any]

INK, MUTED, RULE, FAINT, MARK = "#1f2328", "#5b6470", "#9aa3ad", "#e4e7eb", "#9c2f26"
LOST = "#c4009e"  # as NaN and Inf are in heatmaps, dark enough to read
SERIES = ("#2a6b9c", "#cf5a34", "#37a05a", "#8a48b8", "#c79300", "#2f343b", "#de5d9e", "#3fb6d0")
CURVES = tuple(SERIES[place] for place in (1, 5, 4, 3, 6))  # over bars, which are as blue as the first of the series
LINE = 1.35  # height of a line of text, in units of its size
_ASCENT, _MIDDLE = 0.95, 0.365  # of DejaVu Sans: from the top of a line to its baseline, and half a capital's height
PLAIN = Look()
_SAVING = threading.Lock()  # svg and pdf take their font handling from settings that the whole process shares


def series_colors(count: int) -> list[Color]:
    """Colours of so many series, no two of them alike: those that are easily told apart, or of more a ramp."""
    if count <= len(SERIES):
        return [*SERIES[:count]]
    ramp = colormap("viridis")[np.linspace(0, 230, count).astype(int)] / 255.0
    return [(float(red), float(green), float(blue)) for red, green, blue in ramp]


class Canvas:
    """A white page of *width* × *height* pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.shapes: list[Shape] = []

    def figure(self, look: Look = PLAIN, transparent: bool = False) -> Any:
        """The page as a figure of matplotlib, made anew at each call."""
        from torch2grid_builtin._renderers.matplotlib.figure import figure_of

        ground = "none" if transparent else tuple(part / 255 for part in look.ground)
        return figure_of(self.width, self.height, look.dressed(self.shapes), ground, look.font)

    def size(self, look: Look = PLAIN) -> tuple[int, int]:
        """Width and height of the page in pixels. Raises ``UsageError`` where they are too many."""
        zoom = look.zoom(self.width, self.height)
        return round(self.width * zoom), round(self.height * zoom)

    def pixels(self, look: Look = PLAIN, transparent: bool = False) -> Array:
        """The page as uint8 (rows, columns, 3), or with a fourth channel, how much of a pixel is covered, if *transparent*."""
        from torch2grid_builtin._renderers.matplotlib.paint import paint_page

        width, height = self.size(look)
        shapes = zoomed(look.dressed(self.shapes), look.zoom(self.width, self.height))
        with font_in_use(look.font):
            if not transparent:
                return paint_page(width, height, shapes, look.ground)
            on_white, on_black = (paint_page(width, height, shapes, (shade,) * 3).astype(np.float32) for shade in (255, 0))
        cover = 1 - (on_white - on_black).max(axis=2, keepdims=True).clip(0, 255) / 255
        color = np.divide(on_black, cover, out=np.zeros_like(on_black), where=cover > 0)
        return np.asarray(np.rint(np.concatenate([color.clip(0, 255), cover * 255], axis=2)).astype(np.uint8))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 12,
        color: Color = INK,
        ha: Literal["left", "center", "right"] = "left",
        va: Literal["top", "middle", "baseline"] = "baseline",
        bold: bool = False,
        upright: bool = False,
    ) -> None:
        """One line of text, as it is (see ``fit`` and ``literal``). upright: turned to read from below to above."""
        drop = {"top": _ASCENT, "middle": _MIDDLE, "baseline": 0.0}[va] * size
        x, y = (x + drop, y) if upright else (x, y + drop)
        self.shapes.append(Label(x, y, text, size, color, ha, bold, upright))

    def line(self, x: Sequence[float] | Array, y: Sequence[float] | Array, color: Color = INK, width: float = 1.5) -> None:
        """A line through points, *width* pixels wide. NaN interrupts it."""
        self.shapes.append(Stroke(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), color, width))

    def dots(self, x: Sequence[float] | Array, y: Sequence[float] | Array, color: Color = INK, size: float = 4) -> None:
        """A dot of *size* pixels at each point."""
        self.shapes.append(Dots(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), color, size))

    def rects(self, boxes: Iterable[Sequence[float]] | Array, color: Color | Array, alpha: float | None = None) -> None:
        """Filled rectangles ``(left, top, width, height)`` with sharp edges. color: one, or one a rectangle, (n, 3)."""
        box = np.asarray(list(boxes) if not isinstance(boxes, np.ndarray) else boxes, dtype=np.float64).reshape(-1, 4)
        if len(box):
            self.shapes.append(Boxes(box, color, alpha))

    def polygon(self, x: Sequence[float] | Array, y: Sequence[float] | Array, color: Color, alpha: float | None = None) -> None:
        """A filled polygon."""
        self.shapes.append(Polygon(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), color, alpha))

    def rule(self, x1: float, y1: float, x2: float, y2: float, color: Color = RULE, dashed: bool = False) -> None:
        """A level or upright line one pixel wide; dashed: four pixels on, three off."""
        level = y1 == y2
        start, stop = (min(x1, x2), max(x1, x2)) if level else (min(y1, y2), max(y1, y2))
        pieces = [(at, min(at + 4, stop)) for at in np.arange(start, stop, 7)] if dashed else [(start, stop)]
        if level:
            self.rects([(a, round(y1), b - a, 1) for a, b in pieces], color)
        else:
            self.rects([(round(x1), a, 1, b - a) for a, b in pieces], color)

    def ramp(self, left: float, top: float, width: float, height: float, colors: Array, *, upright: bool) -> None:
        """A rectangle in *colors*, (n, 3) of 0…1, from below to above, or from left to right."""
        self.shapes.append(Ramp(left, top, width, height, colors, upright))

    def cells(self, left: int, top: int, rgb: Array, factor: tuple[int, int]) -> None:
        """Cells as uint8 (rows, columns, 3), each *factor* = (high, wide) pixels, from the whole pixel (left, top) on."""
        if rgb.size:
            self.shapes.append(Cells(left, top, rgb, factor))

    def save(self, target: BinaryIO, format: str, title: str, look: Look = PLAIN, transparent: bool = False) -> None:
        """Write the page as png, svg or pdf. The same page gives the same bytes: no dates, no random ids."""
        if format == "png":
            target.write(encode_png(self.pixels(look, transparent), title, look.dpi))
            return
        settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "torch2grid", "pdf.fonttype": 42, "pdf.compression": 6}
        with _SAVING, matplotlib.rc_context(settings):
            if format == "svg":
                from matplotlib.backends.backend_svg import FigureCanvasSVG

                canvas: Any = FigureCanvasSVG(self.figure(look, transparent))
                canvas.print_svg(target, metadata={"Date": None, "Title": title})
            elif format == "pdf":
                from matplotlib.backends.backend_pdf import FigureCanvasPdf

                canvas = FigureCanvasPdf(self.figure(look, transparent))
                canvas.print_pdf(target, metadata={"CreationDate": None, "Title": title})
            else:
                raise ValueError(f"no format {format!r}; png, svg and pdf are")


def save_book(canvases: Iterable[Canvas], target: BinaryIO, title: str, look: Look = PLAIN, transparent: bool = False) -> None:
    """Write the canvases as the pages of one pdf, each of its own size; they are asked for one at a time."""
    from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages

    settings: Any = {"pdf.fonttype": 42, "pdf.compression": 6}
    with PdfPages(target, metadata={"CreationDate": None, "Title": title}) as book:
        for each in canvases:
            with _SAVING, matplotlib.rc_context(settings):
                canvas: Any = FigureCanvasPdf(each.figure(look, transparent))
                canvas.print_pdf(book)
