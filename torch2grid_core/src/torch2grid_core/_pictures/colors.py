"""Colours of cells: a few maps of our own, any of matplotlib's by name, and four colours that no map holds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._errors import UsageError
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.scale import ColorScale
from torch2grid_core._text import did_you_mean

# Beyond the limits, not a number, no weight: far from both default maps, and from each other, for colour-blind eyes too.
OVER = (255, 140, 0)
UNDER = (0, 190, 160)
NOT_FINITE = (255, 0, 220)
EMPTY = (196, 196, 196)

# Anchors from negative to positive. Lightness falls evenly from the middle, blue against red-brown: both survive
# deuteranopia, and a print in grey still shows size.
_DIVERGING = (
    "#0b2559",
    "#1f4e9e",
    "#4d83c4",
    "#93b8de",
    "#d3e2f0",
    "#fbfbfa",
    "#f5d9c8",
    "#e5a585",
    "#c96a4a",
    "#9c2f26",
    "#5c0a16",
)
_SEQUENTIAL = ("#fbfbf0", "#d8efae", "#97d6a6", "#58b6ab", "#3590a8", "#2a6b9c", "#2c4683", "#231f51")
DIVERGING, SEQUENTIAL = "t2g_diverging", "t2g_sequential"
_OWN = {DIVERGING: _DIVERGING, SEQUENTIAL: _SEQUENTIAL}
LEVELS = 256
_SLAB = 1 << 16  # cells painted at a time: their intermediates stay in the cache, and memory flat


@lru_cache(maxsize=32)
def colormap(name: str) -> Array:
    """The map *name* as uint8, (256, 3), read-only. Raises ``UsageError`` for a name that nobody knows.

    Our own two need numpy alone; any other name is looked up in matplotlib, where that is installed.
    """
    if name in _OWN:
        anchors = np.array([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in _OWN[name]], dtype=np.float64)
        place = np.linspace(0, len(anchors) - 1, LEVELS)
        table = np.stack([np.interp(place, np.arange(len(anchors)), anchors[:, i]) for i in range(3)], axis=1)
        table = np.rint(table).astype(np.uint8)
    else:
        table = _from_matplotlib(name)
    table.setflags(write=False)
    return table


def _from_matplotlib(name: str) -> Array:
    try:
        from matplotlib import colormaps
    except ImportError:
        raise UsageError(f"unknown colour map {name!r}: matplotlib is not installed; valid: {', '.join(_OWN)}") from None
    if name not in colormaps:
        raise UsageError(f"unknown colour map {name!r}{did_you_mean(name, [*colormaps, *_OWN])}")
    shares = np.linspace(0, 1, LEVELS)
    table: Array = np.rint(np.asarray(colormaps[name](shares))[:, :3] * 255).astype(np.uint8)
    return table


def default_map(scale: ColorScale) -> str:
    """The name of the map for a scale when none is asked for: diverging about 0, else sequential."""
    return DIVERGING if scale.diverging else SEQUENTIAL


def paint(grid: Grid, scale: ColorScale, name: str | None = None) -> Array:
    """The grid in colours: uint8, (rows, columns, 3).

    A value takes level ``floor(256 · fraction)`` of its map, so a colour tells the value within 1/512 of the range. Beyond
    the limits: ``OVER`` and ``UNDER``; NaN and ±Inf: ``NOT_FINITE``; no weight: ``EMPTY``. Raises ``UsageError`` for an
    unknown map.
    """
    table = colormap(name or default_map(scale))
    rows, columns = grid.shape
    rgb = np.empty((rows, columns, 3), dtype=np.uint8)
    slab = max(1, _SLAB // max(columns, 1))
    for start in range(0, rows, slab):
        part = slice(start, start + slab)
        _paint(grid.values[part], grid.counts[part], scale, table, rgb[part])
    return rgb


def _paint(values: Array, counts: Array, scale: ColorScale, table: Array, rgb: Array) -> None:
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore", over="ignore"):
        level = np.clip(scale.fraction(np.where(finite, values, 0.0)) * LEVELS, 0, LEVELS - 1).astype(np.uint8)
        over, under = values > scale.high, values < scale.low
    np.take(table, level, axis=0, out=rgb)
    rgb[over], rgb[under] = OVER, UNDER
    rgb[~finite] = NOT_FINITE
    rgb[counts == 0] = EMPTY
