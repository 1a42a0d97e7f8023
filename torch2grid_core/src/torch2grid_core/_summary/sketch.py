"""A few numbers for each output unit of a tensor, taken in the pass, from which nearly equal units can be told."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from torch2grid_core._array import Array

DIMENSIONS = 16  # numbers a unit
_TILE = 1 << 14  # columns with signs of their own; the signs of a later tile are these times one row


class Sketch:
    """The fixed random projection of each output unit of a tensor of *shape*, and its squared norm.

    A unit is an index of dimension 0, its weights one vector x of ``width`` numbers. The projection is x·S for a matrix S
    of random signs, ``width`` × 16 (Achlioptas 2003, "Database-friendly random projections"): the squared distance of two
    projections is 16 times that of the vectors on average, and above 65 times once in ten million. S depends on
    nothing: the same numbers in every run.

    ``units`` rows of 17 numbers are kept in float32 (float64 for float64 weights).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.units = shape[0]
        self.width = math.prod(shape[1:])
        self._totals: Array | None = None
        self._squares: Array | None = None

    def update(self, start: int, values: Array) -> None:
        """Take the weights with the flat indices *start* and on (C order): a 1-D array of float32 or float64.

        Each weight once, in any order of chunks. Raises ``ValueError`` for indices outside the shape.
        """
        if start < 0 or start + len(values) > self.units * self.width:
            raise ValueError(f"weights {start}–{start + len(values)} of a tensor of {self.units * self.width}")
        if not len(values):
            return
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            place, row, column = 0, start // self.width, start % self.width
            while place < len(values):
                rows = 1 if column or len(values) - place < self.width else (len(values) - place) // self.width
                columns = min(self.width - column, len(values) - place) if rows == 1 else self.width
                self._take(row, column, values[place : place + rows * columns].reshape(rows, columns))
                place, row, column = place + rows * columns, row + rows, 0

    def _take(self, row: int, column: int, block: Array) -> None:
        """*block*: whole rows, or a part of one from *column*."""
        rows, columns = block.shape
        if self._totals is None or self._squares is None:
            self._totals = np.zeros((self.units, DIMENSIONS), block.dtype)
            self._squares = np.zeros(self.units, block.dtype)
        self._squares[row : row + rows] += np.einsum("ij,ij->i", block, block)
        place = 0
        while place < columns:
            tile, first = divmod(column + place, _TILE)
            step = min(_TILE - first, columns - place)
            signs = _signs(min(_TILE, self.width), block.dtype.str)[first : first + step]
            projected = block[:, place : place + step] @ signs
            self._totals[row : row + rows] += projected * _tile_signs(tile) if tile else projected
            place += step

    def points(self) -> tuple[Array, Array]:
        """The units that can be compared and their projections once scaled to length 1: indices (n,), float32 (n, 16).

        Left out are units of nothing but zeros, or with NaN or Inf, or whose squares leave the range of the dtype.
        """
        if self._totals is None or self._squares is None:
            return np.empty(0, np.int64), np.empty((0, DIMENSIONS), np.float32)
        tiny = np.finfo(self._squares.dtype).tiny
        with np.errstate(invalid="ignore"):
            known = np.flatnonzero(np.isfinite(self._squares) & (self._squares >= tiny))
        points = self._totals[known] / np.sqrt(self._squares[known])[:, None]
        finite = np.isfinite(points).all(axis=1)
        return known[finite], points[finite].astype(np.float32)


@lru_cache(maxsize=2)
def _all_signs(columns: int) -> Array:
    """±1, float32 (columns, 16): sixteen bits of a well mixed column number (splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mixed = (np.arange(1, columns + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    bits = (mixed[:, None] >> np.arange(DIMENSIONS, dtype=np.uint64)) & np.uint64(1)
    signs: Array = (1 - 2 * bits.astype(np.float32)).astype(np.float32)
    return signs


@lru_cache(maxsize=8)
def _signs(columns: int, dtype: str) -> Array:
    return _all_signs(columns).astype(dtype)


@lru_cache(maxsize=64)
def _tile_signs(tile: int) -> Array:
    """The signs that a later tile's projections are multiplied with."""
    signs: Array = _all_signs(_TILE)[(tile * 7919) % _TILE]
    return signs
