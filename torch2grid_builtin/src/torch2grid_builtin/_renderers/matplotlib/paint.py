"""What is on a page as pixels: rectangles, text and cells put straight into the picture, curves by matplotlib's rasteriser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

from torch2grid_builtin._renderers.matplotlib.shapes import Boxes, Cells, Dots, Label, Polygon, Ramp, Shape, Stroke
from torch2grid_builtin._renderers.matplotlib.text import text_pixels

Array = np.ndarray[Any, Any]
_SMALL = 1 << 13  # pixels up to which blending all of them beats finding those that need it


def paint_page(width: int, height: int, shapes: Sequence[Shape], ground: tuple[int, int, int] = (255, 255, 255)) -> Array:
    """The page as uint8 (rows, columns, 3): the ground, and each shape over those before it."""
    page = np.empty((height, width, 3), dtype=np.uint8)
    page[...] = ground
    for shape in shapes:
        if isinstance(shape, Label):
            _words(page, shape)
        elif isinstance(shape, Boxes):
            _boxes(page, shape)
        elif isinstance(shape, Ramp):
            _ramp(page, shape)
        elif isinstance(shape, Cells):
            _cells(page, shape)
        else:
            _curve(page, shape)
    return page


@lru_cache(maxsize=64)
def _rgb(color: Any) -> Array:
    found: Array = np.rint(np.array(to_rgb(color)) * 255).astype(np.uint8)
    found.setflags(write=False)
    return found


def _blend(page: Array, left: int, top: int, cover: Array, color: Array) -> None:
    """Put *color*, one or one a pixel, over the page as far as *cover*, uint8, says; what is outside is cut off."""
    rows, columns = cover.shape
    first, above = max(-left, 0), max(-top, 0)
    target = page[top + above : max(top + rows, 0), left + first : max(left + columns, 0)]
    if not target.size:
        return
    part = cover[above : above + target.shape[0], first : first + target.shape[1]]
    if color.ndim > 1:
        color = color[above : above + target.shape[0], first : first + target.shape[1]]
    if part.size < _SMALL:
        weight = part[:, :, None].astype(np.uint16)
        target[...] = (target * (255 - weight) + color * weight + 127) // 255
        return
    np.copyto(target, color, where=(part == 255)[:, :, None])
    edge = np.nonzero((part > 0) & (part < 255))
    weight = part[edge][:, None].astype(np.uint16)
    target[edge] = (target[edge] * (255 - weight) + (color[edge] if color.ndim > 1 else color) * weight + 127) // 255


def _words(page: Array, words: Label) -> None:
    if not words.text:
        return
    cover, rise = text_pixels(words.text, words.size, words.bold)
    along = {"left": 0.0, "center": 0.5, "right": 1.0}[words.ha] * (cover.shape[1] - 1)
    if words.upright:  # reads from below to above
        _blend(page, round(words.x) - rise, round(words.y + along) - cover.shape[1], np.rot90(cover), _rgb(words.color))
    else:
        _blend(page, round(words.x - along), round(words.y) - rise, cover, _rgb(words.color))


def _edges(start: Array, length: Array) -> Array:
    """The pixels whose centres are in each stretch: (n, 2), first and behind the last."""
    edges = np.ceil(np.stack([start, start + length], axis=1) - 0.5)
    return np.asarray(np.maximum(edges, 0).astype(np.int64))


def _boxes(page: Array, boxes: Boxes) -> None:
    """A pixel belongs to a rectangle that holds its centre."""
    left, top, width, height = boxes.box.T
    columns, rows = _edges(left, width), _edges(top, height)
    if not isinstance(boxes.color, (str, tuple)):
        colors = np.rint(np.asarray(boxes.color) * 255).astype(np.uint8)
        for (x0, x1), (y0, y1), each in zip(columns.tolist(), rows.tolist(), colors, strict=True):
            _fill(page[y0:y1, x0:x1], each, boxes.alpha)
        return
    color = _rgb(boxes.color)
    if len(columns) > 4 and (columns == columns[0]).all() and boxes.alpha is None:  # dashes
        page[_places(rows, page.shape[0]), columns[0, 0] : columns[0, 1]] = color
    elif len(columns) > 4 and (rows == rows[0]).all() and boxes.alpha is None:
        page[rows[0, 0] : rows[0, 1], _places(columns, page.shape[1])] = color
    else:
        for (x0, x1), (y0, y1) in zip(columns.tolist(), rows.tolist(), strict=True):
            _fill(page[y0:y1, x0:x1], color, boxes.alpha)


def _fill(target: Array, color: Array, alpha: float | None) -> None:
    if alpha is None:
        target[...] = color
    else:
        target[...] = np.rint(target * (1 - alpha) + color * alpha)


def _places(stretches: Array, limit: int) -> Array:
    """The pixels of all stretches, those below *limit*."""
    lengths = stretches[:, 1] - stretches[:, 0]
    ends = np.cumsum(lengths)
    places = np.arange(int(ends[-1])) + np.repeat(stretches[:, 0] - (ends - lengths), lengths)
    return np.asarray(places[places < limit])


def _ramp(page: Array, ramp: Ramp) -> None:
    """As its rectangles would be, each over the one before."""
    colors = np.rint(ramp.colors * 255).astype(np.uint8)
    ((x0, x1),) = _edges(np.array([ramp.left]), np.array([ramp.width]))
    ((y0, y1),) = _edges(np.array([ramp.top]), np.array([ramp.height]))
    length = y1 - y0 if ramp.upright else x1 - x0
    from_start = (np.arange(length) + 0.5) / max(ramp.height if ramp.upright else ramp.width, 1)
    level = np.minimum((from_start * len(colors)).astype(np.int64), len(colors) - 1)
    page[y0:y1, x0:x1] = colors[level][::-1, None] if ramp.upright else colors[level]


def _cells(page: Array, cells: Cells) -> None:
    high, wide = cells.factor
    rgb = cells.rgb if high == 1 else np.repeat(cells.rgb, high, axis=0)
    rgb = rgb if wide == 1 else np.repeat(rgb, wide, axis=1)
    page[cells.top : cells.top + rgb.shape[0], cells.left : cells.left + rgb.shape[1]] = rgb


def _curve(page: Array, shape: Stroke | Dots | Polygon) -> None:
    """Drawn on a patch as large as the shape, by the rasteriser that matplotlib uses for everything."""
    x, y = shape.x, shape.y
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return
    room = 2 + (0 if isinstance(shape, Polygon) else math.ceil(shape.width))
    left, top = math.floor(x[known].min()) - room, math.floor(y[known].min()) - room
    width, height = math.ceil(x[known].max()) + room - left, math.ceil(y[known].max()) + room - top
    left, width = max(left, 0), min(left + width, page.shape[1]) - max(left, 0)
    top, height = max(top, 0), min(top + height, page.shape[0]) - max(top, 0)
    if width <= 0 or height <= 0:
        return
    patch = _rasterised(shape, np.stack([x - left, top + height - y], axis=1), width, height)
    _blend(page, left, top, patch[:, :, 3], patch[:, :, :3])


def _rasterised(shape: Stroke | Dots | Polygon, points: Array, width: int, height: int) -> Array:
    """RGBA, uint8, of *points* with y upwards."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D, IdentityTransform

    renderer: Any = RendererAgg(width, height, 72)  # type: ignore[no-untyped-call]  # a point is a pixel
    gc = renderer.new_gc()
    color = (*to_rgb(shape.color), 1.0)
    if isinstance(shape, Stroke):
        gc.set_foreground(color)
        gc.set_linewidth(shape.width)
        gc.set_joinstyle("round")
        path = Path(points)
        path.should_simplify = False
        renderer.draw_path(gc, path, IdentityTransform())
    elif isinstance(shape, Dots):
        gc.set_linewidth(0)
        round_ = Affine2D().scale(shape.width / 2)
        renderer.draw_markers(gc, Path.unit_circle(), round_, Path(points), IdentityTransform(), color)
    else:
        gc.set_linewidth(0)
        path = Path(points, closed=False)
        path.should_simplify = False
        gc.set_alpha(1.0 if shape.alpha is None else shape.alpha)
        renderer.draw_path(gc, path, IdentityTransform(), (*color[:3], gc.get_alpha()))
    return np.asarray(renderer.buffer_rgba())
