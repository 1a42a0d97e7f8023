"""All weights in order along a Hilbert curve: what is near in the model is near in the picture."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from torch2grid_core import Layout, LayoutTransformer
from torch2grid_core.grids import Curve, Rect, Region, drawable_sizes, weights_per_cell

Array = np.ndarray[Any, Any]
_Path = tuple[Array, Array]  # column and row of each cell of a walk


@dataclass(frozen=True)
class Hilbert(LayoutTransformer):
    """All weights in order along a curve that stays local: neighbours in the model are neighbours in the picture.

    Hilbert's curve, in squares whose side is a power of two; elsewhere its generalisation to any rectangle by J. Červený,
    "gilbert" (github.com/jakubcerveny/gilbert, 2018), so that no part of the picture stays empty.
    """

    name = "hilbert"

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """A square of cells, each of k consecutive weights of one tensor; every tensor starts a new cell.

        The curve begins in the upper left corner and ends in the upper right one. Raises ``NotDrawable`` as ``flatten`` does.
        """
        sizes = drawable_sizes(shapes)
        per_cell = 1 if max_cells is None else weights_per_cell(sizes.values(), max_cells**2)
        cells = [-(-size // per_cell) for size in sizes.values()]
        side = math.isqrt(sum(cells) - 1) + 1
        place = Walk(side, side)
        firsts = np.concatenate(([0], np.cumsum(cells))).tolist()
        curves = tuple(
            Curve(name, 0, size, first, per_cell, place) for (name, size), first in zip(sizes.items(), firsts, strict=False)
        )
        rects = _rects(side, side, firsts)
        regions = tuple(Region(name, tuple(own)) for name, own in zip(sizes, rects, strict=True))
        return Layout(side, side * per_cell, (1, per_cell), curves, regions)


@dataclass(frozen=True)
class Walk:
    """A walk through all cells of a grid, each step to a neighbour (one of an odd grid may go across a corner)."""

    rows: int
    columns: int

    def __call__(self, index: Array) -> tuple[Array, Array]:
        """(row, column) of the cells with these numbers along the walk."""
        columns, rows = _walked(self.columns, self.rows)
        return rows[index].astype(np.int64), columns[index].astype(np.int64)


@lru_cache(maxsize=2)
def _walked(width: int, height: int) -> _Path:
    kind = np.dtype(np.int16 if max(width, height) < 1 << 15 else np.int32)
    return _path(width, height, kind, {})


def _path(width: int, height: int, kind: np.dtype[Any], known: dict[tuple[int, int], _Path]) -> _Path:
    """The walk from the upper left to the upper right corner. All parts of one size share one array."""
    if (width, height) in known:
        return known[width, height]
    if height == 1 or width == 1:
        along, still = np.arange(width * height, dtype=kind), np.zeros(width * height, dtype=kind)
        found = (along, still) if height == 1 else (still, along)
    else:
        columns, rows = [], []
        for part in _parts(width, height):
            u, v = _path(part.width, part.height, kind, known)
            columns.append(part.column + (part.along[0] * u if part.along[0] else part.across[0] * v))
            rows.append(part.row + (part.along[1] * u if part.along[1] else part.across[1] * v))
        found = np.concatenate(columns), np.concatenate(rows)
    known[width, height] = found
    return found


class _Part(NamedTuple):
    """A part of a walk: its size, its first cell, and the steps (column, row) along its width and across."""

    width: int
    height: int
    column: int
    row: int
    along: tuple[int, int] = (1, 0)
    across: tuple[int, int] = (0, 1)

    def inside(self, outer: _Part) -> _Part:
        """The same part in the coordinates of the one that *outer* is in."""
        along, across = (
            (x * outer.along[0] + y * outer.across[0], x * outer.along[1] + y * outer.across[1])
            for x, y in (self.along, self.across)
        )
        column = outer.column + self.column * outer.along[0] + self.row * outer.across[0]
        row = outer.row + self.column * outer.along[1] + self.row * outer.across[1]
        return _Part(self.width, self.height, column, row, along, across)

    def rect(self) -> Rect:
        across = (self.width - 1) * self.along[0] + (self.height - 1) * self.across[0]
        down = (self.width - 1) * self.along[1] + (self.height - 1) * self.across[1]
        return self.row + min(down, 0), self.column + min(across, 0), abs(down) + 1, abs(across) + 1


def _parts(width: int, height: int) -> tuple[_Part, ...]:
    """The two or three walks that make the walk through a rectangle of at least 2×2 cells.

    Each begins beside the end of the one before, provided that the first ones have an even length.
    """
    wide, high = width // 2, height // 2
    if 2 * width > 3 * height:
        wide += wide % 2 if width > 2 else 0
        return _Part(wide, height, 0, 0), _Part(width - wide, height, wide, 0)
    high += high % 2 if height > 2 else 0
    return (
        _Part(high, wide, 0, 0, (0, 1), (1, 0)),
        _Part(width, height - high, 0, high),
        _Part(high, width - wide, width - 1, high - 1, (0, -1), (-1, 0)),
    )


def _halves(part: _Part) -> tuple[_Part, ...]:
    """A straight walk of at least two cells cut in the middle."""
    wide, high = part.width // 2, part.height // 2
    if part.width > 1:
        return _Part(wide, 1, 0, 0), _Part(part.width - wide, 1, wide, 0)
    return _Part(1, high, 0, 0), _Part(1, part.height - high, 0, high)


def _rects(rows: int, columns: int, firsts: Sequence[int]) -> list[list[Rect]]:
    """The rectangles between each of *firsts*, numbers of cells along the walk, and the next one."""
    found: list[list[Rect]] = [[] for _ in firsts[1:]]
    waiting = [(0, _Part(columns, rows, 0, 0))]
    while waiting:
        start, part = waiting.pop()
        stop = start + part.width * part.height
        owner = bisect_right(firsts, start) - 1
        if owner == len(found):  # behind the last tensor
            continue
        if stop <= firsts[owner + 1]:
            found[owner].append(part.rect())
            continue
        for each in _parts(part.width, part.height) if min(part.width, part.height) > 1 else _halves(part):
            waiting.append((start, each.inside(part)))
            start += each.width * each.height
    return found
