"""A scale for pictures of which one is much larger than the others, so that all of them can be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from torch2grid_core import Grid, Settings
from torch2grid_core.grids import ColorScale

_PALE = 5.0  # times the limit of the usual tensor, from which limits leave it pale
_STRAIGHT = 5.0  # the part of its limit within which a bent scale is linear
_CELLS = 1 << 14  # of a grid, that are looked at: its limit is only compared with others


def readable(run: Settings, grids: Sequence[Grid], scale: ColorScale) -> ColorScale:
    """*scale* of all cells of *grids*, an asinh one where most cells are of tensors that would be pale on it.

    A large head, or one layer that exploded, has other limits than the rest: on an asinh scale of its limits both are seen.
    A scale or limits that were asked for stay.
    """
    if run.scale != "auto" or run.limits is not None or scale.kind != "linear" or any(grid.limits for grid in grids):
        return scale
    found = []
    for grid in grids:
        cells = grid.drawn()
        step = len(cells) // _CELLS | 1  # odd, so that it does not go along a column
        sizes = np.abs(cells[::step])
        sizes = sizes[np.isfinite(sizes)]
        if number := np.count_nonzero(sizes):
            place = max(math.ceil(len(sizes) * run.clip) - 1, 0)
            found.append((float(np.partition(sizes, place)[place]) or float(sizes.max()), number * step))
    if not found:
        return scale
    limits, numbers = np.array(sorted(found)).T
    usual = float(limits[np.searchsorted(np.cumsum(numbers), numbers.sum() / 2)])
    if max(abs(scale.low), abs(scale.high)) <= _PALE * usual:
        return scale
    return replace(scale, kind="asinh", bend=usual / _STRAIGHT)
