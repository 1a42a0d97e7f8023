"""Which tensor has a cell of fewer, where cells of several would become one: a cell never mixes tensors."""

from __future__ import annotations

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._pictures.blocks import Rect, Region
from torch2grid_core._pictures.grid import Grid


def sole_owners(grid: Grid, cell: tuple[int, int]) -> tuple[Array, tuple[Region, ...]]:
    """The weights of each cell of *grid* that stay where *cell* = (r, c) cells become one, and the regions of the fewer.

    Where several regions meet in one, it is the one's with a NaN or Inf there, else the smallest's, which it would hide.
    """
    if not grid.regions or not grid.values.size:
        return grid.counts, ()
    owner = np.full(grid.shape, len(grid.regions), dtype=np.int64)  # the last: cells of no region
    for number, region in enumerate(grid.regions):
        for row, column, height, width in region.rects:
            owner[row : row + height, column : column + width] = number
    sizes = np.bincount(owner.reshape(-1), weights=grid.counts.reshape(-1), minlength=len(grid.regions) + 1)
    names = len(sizes)
    rank = np.empty(names, dtype=np.int64)
    rank[np.argsort(sizes, kind="stable")] = np.arange(names)
    order = rank[owner]
    claim = np.where(np.isfinite(grid.values), order + names, order)
    claim[grid.counts == 0] = 2 * names
    rows, columns = (np.arange(0, side, step) for side, step in zip(grid.shape, cell, strict=True))
    best = np.minimum.reduceat(np.minimum.reduceat(claim, rows, axis=0), columns, axis=1)
    spread = np.repeat(np.repeat(best, cell[0], axis=0), cell[1], axis=1)[: grid.shape[0], : grid.shape[1]]
    won = np.where(best < 2 * names, np.argsort(rank)[best % names], names - 1)
    return np.where(order == spread % names, grid.counts, 0), _regions(grid, won)


def _regions(grid: Grid, won: Array) -> tuple[Region, ...]:
    """The rectangles of each region in *won*, the number of the region of each cell: runs of a row, and like ones below."""
    found: dict[int, list[Rect]] = {}
    open_: dict[tuple[int, int, int], int] = {}  # (region, column, width) → its first row
    nobody = len(grid.regions)
    for row in range(len(won) + 1):
        runs: set[tuple[int, int, int]] = set()
        if row < len(won):
            starts = np.flatnonzero(np.diff(won[row], prepend=-1))
            for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), won.shape[1]], strict=True):
                if won[row, start] != nobody:
                    runs.add((int(won[row, start]), start, stop - start))
        for run in [each for each in open_ if each not in runs]:
            top = open_.pop(run)
            found.setdefault(run[0], []).append((top, run[1], row - top, run[2]))
        for run in runs - open_.keys():
            open_[run] = row
    return tuple(Region(each.name, tuple(sorted(found[number]))) for number, each in enumerate(grid.regions) if number in found)
