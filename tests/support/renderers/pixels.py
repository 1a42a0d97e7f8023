"""Reading pictures back: the cells of a heatmap from the pixels of a PNG, through the colour map."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from torch2grid_builtin._renderers.matplotlib.renderer import Matplotlib
from torch2grid_core import Page, Style
from torch2grid_core.grids import ColorScale, colormap, default_map, signals

FRAME = (0x9A, 0xA3, 0xAD)  # the line around a heatmap, outside its cells


def rendered(page: Page, format: str = "png", style: Style | None = None) -> bytes:
    target = io.BytesIO()
    Matplotlib().render(page, target, style or Style(), format)
    return target.getvalue()


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def framed(png: bytes) -> np.ndarray[Any, Any]:
    """The pixels inside the largest frame."""
    return max(all_framed(png), key=lambda inside: inside.shape[0] * inside.shape[1])


def all_framed(png: bytes) -> list[np.ndarray[Any, Any]]:
    """The pixels inside each frame, from left to right in the order of their upper edges; fails where there is none."""
    shown = pixels(png)
    line = (shown == FRAME).all(axis=2)
    found = {}
    rows = np.flatnonzero(line.sum(axis=1) >= 8)
    for top in rows:
        columns = np.flatnonzero(line[top])
        for run in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
            left, right = int(run[0]), int(run[-1])
            if right - left < 8 or top + 1 >= len(line) or not (line[top + 1, left] and line[top + 1, right]):
                continue
            down = np.flatnonzero(~(line[top:, left] & line[top:, right]))
            bottom = top + (int(down[0]) if down.size else len(line) - top) - 1
            if line[bottom, left : right + 1].all():
                found[int(top), left] = shown[top + 1 : bottom, left + 1 : right]
    assert found, "no heatmap in the picture"
    return [found[place] for place in sorted(found)]


def cells_of(png: bytes, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """One colour per cell, (rows, columns, 3); fails where a cell's pixels differ or are not a whole number."""
    inside = framed(png)
    high, wide = inside.shape[0] // shape[0], inside.shape[1] // shape[1]
    assert (high * shape[0], wide * shape[1]) == inside.shape[:2]
    blocks = inside.reshape(shape[0], high, shape[1], wide, 3)
    assert (blocks == blocks[:, :1, :, :1]).all(), "a cell has more than one colour"
    return blocks[:, 0, :, 0]


def inverted(colors: np.ndarray[Any, Any], scale: ColorScale, name: str | None = None) -> np.ndarray[Any, Any]:
    """The values that the colours stand for: the middle of each level, ±inf beyond the limits, NaN for no number."""
    levels = scale.value((np.arange(256) + 0.5) / 256).tolist()
    table = dict(zip(map(tuple, colormap(name or default_map(scale)).tolist()), levels, strict=True))
    marks = signals(name or default_map(scale))
    values = np.empty(colors.shape[:2])
    for place in np.ndindex(values.shape):
        color = tuple(colors[place].tolist())
        if color == marks.over:
            values[place] = np.inf
        elif color == marks.under:
            values[place] = -np.inf
        elif color in (marks.not_finite, marks.empty):
            values[place] = np.nan
        else:
            values[place] = table[color]
    return values
