"""A figure to draw on in whole pixels: text that fits, lines, rectangles and cells, saved as png, svg or pdf.

Everything is placed by its pixel (100 to the inch, x to the right, y down), so that a page is laid out before it exists
and a cell is exactly as many pixels as was decided. Only matplotlib's object interface is used: no pyplot, no settings
changed for anyone else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, BinaryIO, Literal

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from torch2grid_core import encode_png, visible

Array = np.ndarray[Any, Any]
Color = str | tuple[float, float, float]

DPI = 100
FAMILY = "DejaVu Sans"  # comes with matplotlib: the same picture on every machine
INK, MUTED, RULE, FAINT = "#1f2328", "#5b6470", "#9aa3ad", "#e4e7eb"
SERIES = ("#2a6b9c", "#c96a4a", "#3a9a76", "#8e5ea2", "#b58900", "#5b6470", "#c2467d", "#17829b")
LINE = 1.35  # height of a line of text, in units of its size
_ASCENT, _MIDDLE = 0.95, 0.365  # of DejaVu Sans: from the top of a line to its baseline, and half a capital's height
_SAVING = threading.Lock()  # svg and pdf take their font handling from settings that the whole process shares


@lru_cache(maxsize=256)
def _font(size: float, bold: bool) -> FontProperties:
    return FontProperties(family=FAMILY, size=size * 72 / DPI, weight="bold" if bold else "normal")


@lru_cache(maxsize=2)
def _characters(bold: bool) -> frozenset[int]:
    return frozenset(get_font(findfont(_font(12, bold))).get_charmap())


def literal(text: str, bold: bool = False, limit: int = 200) -> str:
    """*text* as one line that the font can show: hidden characters and those without a glyph as escapes."""
    shown = visible(text, limit)
    if shown.isascii():
        return shown
    known = _characters(bold)
    return "".join(
        char if ord(char) in known else f"\\u{ord(char):04x}" if ord(char) < 65536 else f"\\U{ord(char):08x}" for char in shown
    )


@lru_cache(maxsize=8192)
def text_width(text: str, size: float = 12, bold: bool = False) -> int:
    """Pixels from the left to the right end of *text*, rounded up."""
    font = get_font(findfont(_font(size, bold)))
    font.set_size(size * 72 / DPI, DPI)
    font.set_text(text, 0.0, flags=LoadFlags.NO_HINTING)
    return int(np.ceil(font.get_width_height()[0] / 64 * 1.02)) + 1


def fit(text: str, width: float, size: float = 12, bold: bool = False) -> str:
    """*text*, made literal, with its middle left out (…) where it is wider than *width* pixels; the end says most."""
    text = literal(text, bold)
    if text_width(text, size, bold) <= width:
        return text
    low, high = 0, len(text) - 1
    while low < high:
        keep = (low + high + 1) // 2
        if text_width(_without_middle(text, keep), size, bold) <= width:
            low = keep
        else:
            high = keep - 1
    return _without_middle(text, low)


def _without_middle(text: str, keep: int) -> str:
    tail = keep - keep // 3
    return text[: keep // 3] + "…" + (text[-tail:] if tail else "")


def wrap(text: str, width: float, size: float = 12, bold: bool = False, lines: int = 2) -> list[str]:
    """*text*, made literal, on at most *lines* lines; broken at spaces, else after ``. / _ -``; the last is fitted."""
    rest = literal(text, bold, limit=2000).strip()
    found: list[str] = []
    while rest and len(found) < lines - 1 and text_width(rest, size, bold) > width:
        low, high = 1, len(rest)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if text_width(rest[:middle], size, bold) <= width else (low, middle - 1)
        at = _break(rest, low)
        found.append(rest[:at].rstrip())
        rest = rest[at:].lstrip()
    if rest:
        found.append(fit(rest, width, size, bold))
    return found


def _break(text: str, limit: int) -> int:
    space = text.rfind(" ", limit // 3, limit + 1)
    if space > 0:
        return space
    for joints in ("./", "_-"):
        joint = max(text.rfind(char, limit // 3, limit) for char in joints)
        if joint > 0:
            return joint + 1
    return max(limit, 1)


class _Cells(Artist):
    """Cells of (row pixels, column pixels) each, put on the page as they are: never resampled, never smoothed."""

    def __init__(self, rgb: Array, left: int, bottom: int, factor: tuple[int, int]) -> None:
        super().__init__()
        opaque = np.full((*rgb.shape[:2], 1), 255, np.uint8)
        self._rgba = np.ascontiguousarray(np.concatenate([rgb, opaque], axis=2)[::-1])  # renderers count rows from below
        self._left, self._bottom, self._factor = left, bottom, factor

    def draw(self, renderer: Any) -> None:
        figure = self.get_figure(root=True)
        assert figure is not None
        gc = renderer.new_gc()
        zoom = figure.dpi / DPI
        rows, columns = self._factor
        if renderer.option_scale_image():  # svg and pdf keep one pixel a cell and stretch it when shown
            height, width = self._rgba.shape[:2]
            stretch = Affine2D().scale(width * columns * zoom, height * rows * zoom)
            renderer.draw_image(gc, self._left * zoom, self._bottom * zoom, self._rgba, stretch)
        else:
            pixels = self._rgba if rows == 1 else np.repeat(self._rgba, rows, axis=0)
            pixels = pixels if columns == 1 else np.repeat(pixels, columns, axis=1)
            renderer.draw_image(gc, self._left, self._bottom, pixels)
        gc.restore()


class Canvas:
    """A white page of *width* × *height* pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white", edgecolor="none", linewidth=0)
        self._place = Affine2D().scale(1 / DPI, -1 / DPI).translate(0, height / DPI) + self.figure.dpi_scale_trans

    def _add(self, artist: Artist) -> None:
        artist.set_transform(self._place)
        self.figure.add_artist(artist)

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
        made = Text(
            x,
            y,
            text,
            color=color,
            fontproperties=_font(size, bold),
            horizontalalignment=ha,
            verticalalignment="baseline",
            rotation=90 if upright else 0,
            rotation_mode="anchor",
            parse_math=False,
            usetex=False,
            zorder=1,
        )
        self._add(made)

    def line(self, x: Sequence[float] | Array, y: Sequence[float] | Array, color: Color = INK, width: float = 1.5) -> None:
        """A line through points, *width* pixels wide. NaN interrupts it."""
        made = Line2D(
            x, y, color=color, linewidth=width * 72 / DPI, linestyle="-", marker="", solid_joinstyle="round", zorder=1
        )
        self._add(made)

    def dots(self, x: Sequence[float] | Array, y: Sequence[float] | Array, color: Color = INK, size: float = 4) -> None:
        """A dot at each point."""
        made = Line2D(
            x,
            y,
            linestyle="",
            marker="o",
            color=color,
            markersize=size * 72 / DPI,
            markeredgewidth=0,
            zorder=1,
            antialiased=True,
        )
        self._add(made)

    def rects(self, boxes: Iterable[Sequence[float]] | Array, color: Color | Array, alpha: float | None = None) -> None:
        """Filled rectangles ``(left, top, width, height)`` with sharp edges. color: one, or one a rectangle."""
        box = np.asarray(list(boxes) if not isinstance(boxes, np.ndarray) else boxes, dtype=np.float64).reshape(-1, 4)
        if not len(box):
            return
        left, top, width, height = box.T
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        self._polygons(np.stack([np.stack(corner, axis=1) for corner in corners], axis=1), color, alpha, smooth=False)

    def polygon(self, x: Sequence[float] | Array, y: Sequence[float] | Array, color: Color, alpha: float | None = None) -> None:
        """A filled polygon."""
        self._polygons(np.stack([np.asarray(x, float), np.asarray(y, float)], axis=1)[None], color, alpha, smooth=True)

    def _polygons(self, points: Array, color: Any, alpha: float | None, smooth: bool) -> None:
        made = PolyCollection(
            list(points), facecolors=color, edgecolors="none", linewidths=0, alpha=alpha, antialiaseds=smooth, zorder=1
        )
        self._add(made)

    def rule(self, x1: float, y1: float, x2: float, y2: float, color: Color = RULE, dashed: bool = False) -> None:
        """A level or upright line one pixel wide; dashed: four pixels on, three off."""
        level = y1 == y2
        start, stop = (min(x1, x2), max(x1, x2)) if level else (min(y1, y2), max(y1, y2))
        pieces = [(at, min(at + 4, stop)) for at in np.arange(start, stop, 7)] if dashed else [(start, stop)]
        if level:
            self.rects([(a, round(y1), b - a, 1) for a, b in pieces], color)
        else:
            self.rects([(round(x1), a, 1, b - a) for a, b in pieces], color)

    def cells(self, left: int, top: int, rgb: Array, factor: tuple[int, int]) -> None:
        """Cells as uint8 (rows, columns, 3), each *factor* = (high, wide) pixels, from the whole pixel (left, top) on."""
        if rgb.size:
            made = _Cells(rgb, left, self.height - top - rgb.shape[0] * factor[0], factor)
            made.set_zorder(1)
            self.figure.add_artist(made)

    def save(self, target: BinaryIO, format: str, title: str) -> None:
        """Write the page. The same page gives the same bytes: no dates, no random ids."""
        if format == "png":
            self._save_png(target, title)
            return
        settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "torch2grid", "pdf.fonttype": 42, "pdf.compression": 6}
        with _SAVING, matplotlib.rc_context(settings):
            if format == "svg":
                from matplotlib.backends.backend_svg import FigureCanvasSVG

                canvas: Any = FigureCanvasSVG(self.figure)
                canvas.print_svg(target, metadata={"Date": None, "Title": title})
            elif format == "pdf":
                from matplotlib.backends.backend_pdf import FigureCanvasPdf

                canvas = FigureCanvasPdf(self.figure)
                canvas.print_pdf(target, metadata={"CreationDate": None, "Title": title})
            else:
                raise ValueError(f"no format {format!r}; png, svg and pdf are")

    def _save_png(self, target: BinaryIO, title: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas: Any = FigureCanvasAgg(self.figure)
        canvas.draw()
        target.write(encode_png(np.asarray(canvas.buffer_rgba())[:, :, :3], title, DPI))


def save_book(canvases: Iterable[Canvas], target: BinaryIO, title: str) -> None:
    """Write the canvases as the pages of one pdf, each of its own size; they are asked for one at a time."""
    from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages

    settings: Any = {"pdf.fonttype": 42, "pdf.compression": 6}
    with PdfPages(target, metadata={"CreationDate": None, "Title": title}) as book:
        for each in canvases:
            with _SAVING, matplotlib.rc_context(settings):
                canvas: Any = FigureCanvasPdf(each.figure)
                canvas.print_pdf(book)
