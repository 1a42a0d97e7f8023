"""What is on a page as a figure of matplotlib, for svg and pdf: everything but the cells is vector, and text is text.

Only matplotlib's object interface is used: no pyplot, no settings changed for anyone else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from torch2grid_builtin._renderers.matplotlib.shapes import DPI, Boxes, Cells, Dots, Label, Polygon, Ramp, Shape, Stroke

Array = np.ndarray[Any, Any]


@lru_cache(maxsize=256)
def _font(family: str, size: float, bold: bool) -> FontProperties:
    return FontProperties(family=family, size=size * 72 / DPI, weight="bold" if bold else "normal")


class _Cells(Artist):
    """Cells of (row pixels, column pixels) each, put on the page as they are: never resampled, never smoothed."""

    def __init__(self, cells: Cells, height: int) -> None:
        super().__init__()
        opaque = np.full((*cells.rgb.shape[:2], 1), 255, np.uint8)
        self._rgba = np.ascontiguousarray(np.concatenate([cells.rgb, opaque], axis=2)[::-1])  # files count rows from below
        self._left, self._bottom = cells.left, height - cells.top - cells.rgb.shape[0] * cells.factor[0]
        self._factor = cells.factor

    def draw(self, renderer: Any) -> None:
        figure = self.get_figure(root=True)
        assert figure is not None
        gc = renderer.new_gc()
        zoom = figure.dpi / DPI
        high, wide = self._factor
        rows, columns = self._rgba.shape[:2]
        stretch = Affine2D().scale(columns * wide * zoom, rows * high * zoom)  # one pixel a cell, stretched when shown
        renderer.draw_image(gc, self._left * zoom, self._bottom * zoom, self._rgba, stretch)
        gc.restore()


def figure_of(width: int, height: int, shapes: Sequence[Shape], ground: Any, font: str) -> Figure:
    """A figure of *width* × *height* pixels, 100 to the inch. ground: its colour; font: a family."""
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=ground, edgecolor="none", linewidth=0)
    place = Affine2D().scale(1 / DPI, -1 / DPI).translate(0, height / DPI) + figure.dpi_scale_trans
    for shape in shapes:
        if isinstance(shape, Cells):
            cells = _Cells(shape, height)
            cells.set_zorder(1)
            figure.add_artist(cells)
            continue
        artist = _artist(shape.boxes() if isinstance(shape, Ramp) else shape, font)
        artist.set_transform(place)
        figure.add_artist(artist)
    return figure


def _artist(shape: Shape, font: str) -> Artist:
    if isinstance(shape, Label):
        return Text(
            shape.x,
            shape.y,
            shape.text,
            color=shape.color,
            fontproperties=_font(font, shape.size, shape.bold),
            horizontalalignment=shape.ha,
            verticalalignment="baseline",
            rotation=90 if shape.upright else 0,
            rotation_mode="anchor",
            parse_math=False,
            usetex=False,
            zorder=1,
        )
    if isinstance(shape, Stroke):
        wide = shape.width * 72 / DPI
        return Line2D(
            shape.x, shape.y, color=shape.color, linewidth=wide, linestyle="-", marker="", solid_joinstyle="round", zorder=1
        )
    if isinstance(shape, Dots):
        wide = shape.width * 72 / DPI
        return Line2D(
            shape.x,
            shape.y,
            linestyle="",
            marker="o",
            color=shape.color,
            markersize=wide,
            markeredgewidth=0,
            zorder=1,
            antialiased=True,
        )
    if isinstance(shape, Boxes):
        left, top, width, height = shape.box.T
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        points = np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)
        return _filled(points, shape.color, shape.alpha, smooth=False)
    assert isinstance(shape, Polygon)
    return _filled(np.stack([shape.x, shape.y], axis=1)[None], shape.color, shape.alpha, smooth=True)


def _filled(points: Array, color: Any, alpha: float | None, smooth: bool) -> PolyCollection:
    return PolyCollection(
        list(points), facecolors=color, edgecolors="none", linewidths=0, alpha=alpha, antialiaseds=smooth, zorder=1
    )
