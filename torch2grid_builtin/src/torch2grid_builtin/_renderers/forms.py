"""Regions of any form, which follow from where the weights are: which these are, how thick, and where a name has room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from torch2grid_core import Grid
from torch2grid_core.grids import Rect

Array = np.ndarray[Any, Any]
_COARSE = 64  # a side of the map in which room for a name is looked for


def of_any_form(grid: Grid) -> set[str]:
    """Names of the regions whose rectangles were not given but traced: many, a row or a few high."""
    return set() if grid.layout is None else {region.name for region in grid.layout.regions if not region.rects}


def thickness(rects: Sequence[Rect], factor: tuple[float, float]) -> float:
    """Pixels across a region of any form, as those across a long strip of its area and its outline."""
    high, wide = factor
    covered = np.pad(_covered(rects)[2], 1)
    upright = np.count_nonzero(covered[:, 1:] != covered[:, :-1]) * high
    outline = (upright + np.count_nonzero(covered[1:] != covered[:-1]) * wide) * np.pi / 4  # slanting lines go in steps
    return float(2 * np.count_nonzero(covered) * high * wide / outline) if outline else 0.0


def roomiest(rects: Sequence[Rect]) -> Rect:
    """A large rectangle inside the cells of *rects*, of any form: the largest of a coarse map of them; of height 0 for none."""
    if not rects:
        return 0, 0, 0, 0
    top, left, covered = _covered(rects)
    down, wide = (max(-(-side // _COARSE), 1) for side in covered.shape)
    whole = np.logical_and.reduceat(covered, np.arange(0, covered.shape[0], down), axis=0)
    whole = np.logical_and.reduceat(whole, np.arange(0, covered.shape[1], wide), axis=1)
    row, column, height, width = _largest(whole)
    rows, columns = min(height * down, covered.shape[0] - row * down), min(width * wide, covered.shape[1] - column * wide)
    return top + row * down, left + column * wide, rows, columns


def _largest(covered: Array) -> Rect:
    """The largest rectangle of True: of each row, the heights of the columns that end there, as far as each one reaches."""
    best, area = (0, 0, 0, 0), 0
    heights = [0] * covered.shape[1]
    for row, line in enumerate(covered.tolist()):
        heights = [height + 1 if each else 0 for height, each in zip(heights, line, strict=True)]
        open_: list[tuple[int, int]] = []  # (first column, height), rising
        for column, height in enumerate([*heights, 0]):
            first = column
            while open_ and open_[-1][1] >= height:
                first, tall = open_.pop()
                if (found := tall * (column - first)) > area:
                    best, area = (row - tall + 1, first, tall, column - first), found
            if height:
                open_.append((first, height))
    return best


def _covered(rects: Sequence[Rect]) -> tuple[int, int, Array]:
    """First row, first column, and which cells from there on are in one of *rects*."""
    if not rects:
        return 0, 0, np.zeros((0, 0), dtype=bool)
    top, left = min(rect[0] for rect in rects), min(rect[1] for rect in rects)
    bottom, right = max(rect[0] + rect[2] for rect in rects), max(rect[1] + rect[3] for rect in rects)
    covered = np.zeros((bottom - top, right - left), dtype=bool)
    for row, column, height, width in rects:
        covered[row - top : row - top + height, column - left : column - left + width] = True
    return top, left, covered
