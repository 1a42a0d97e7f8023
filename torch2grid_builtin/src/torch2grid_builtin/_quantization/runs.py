"""What schemes of quantisation cost some rows of a matrix: the errors of all their parts, computed a column for each part."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_builtin._quantization.schemes import ROW, TENSOR, Extremes, Minifloat, Scheme, missed, scales_of
from torch2grid_core.measures import NotFiniteCount, count_not_finite

Array = np.ndarray[Any, Any]

PART = 16  # weights of which errors are summed up first: the shortest block, of which all others are multiples
_TILE = 2048  # such parts that are taken at a time
_LANES = 16  # parts are filled up to a multiple, so that no sum depends on how many there are
_TINIEST = 2.0**-120  # parts of smaller weights are taken for zeros
_CONVERTED = 2.0**100  # from this size on a part is converted to the narrower type and back, which takes longer


@dataclass(frozen=True)
class Cost:
    """Squared errors of each row, part and block of a run; of blocks also the squares of their weights, and their starts."""

    rows: Array
    parts: Array
    blocks: Array = field(default_factory=lambda: np.zeros(0))
    block_squares: Array = field(default_factory=lambda: np.zeros(0))
    starts: Array = field(default_factory=lambda: np.zeros(0, np.int64))


class Run:
    """Some rows of a matrix, the first of them *first*.

    They are turned: a column for each part of ``PART`` weights, so that what is done to each part goes along memory.
    A row is filled up to whole parts with zeros, which no scheme changes.
    """

    def __init__(self, first: int, values: Array) -> None:
        self.first, self.values = first, values
        rows, columns = values.shape
        self.rows, self.columns, self.per = rows, columns, -(-columns // PART)
        self.turned = _turned(values, self.per * PART)
        self.low, self.high = (ufunc.reduce(self.turned).astype(np.float64) for ufunc in (np.minimum, np.maximum))
        self.absmax = np.maximum(-self.low, self.high)
        self._known: dict[int, Extremes] = {}
        finite = bool(np.isfinite(self.absmax).all())
        self.not_finite = NotFiniteCount() if finite else count_not_finite(values.reshape(-1))
        self.inverse = np.where(self.absmax > _TINIEST, 1 / self.absmax, 0).astype(np.float32)
        self.squares = self._sums(self.turned, lambda part, columns: np.multiply(part, self.inverse[columns])) * self.absmax**2

    @property
    def squares_of_parts(self) -> Array:
        """Sums of the squares of the weights, (rows, parts)."""
        found: Array = self.squares[: self.rows * self.per].reshape(self.rows, self.per)
        return found

    def of_rows(self, parts: Array) -> Array:
        """Sums of figures of parts, by row."""
        found: Array = parts[: self.rows * self.per].reshape(self.rows, self.per).sum(axis=1)
        return found

    def cost(self, scheme: Scheme, of_tensor: float) -> Cost:
        """The errors of a scheme. of_tensor: max|w| of the whole tensor."""
        if scheme.flat and self.columns % scheme.block:
            return self._flat(scheme, of_tensor)
        grid = (self.rows, self.per)
        count = self.rows * self.per
        each = self.per if scheme.block in (ROW, TENSOR) else scheme.block // PART
        extremes = self._extremes(each)
        if scheme.block == TENSOR:
            extremes = replace(extremes, absmax=np.full((self.rows, 1), of_tensor))
        scales = scales_of(scheme, replace(extremes, of_tensor=of_tensor))
        scale, zero = (_spread(figures, each, grid, self.turned.shape[1]) for figures in (scales.scale, scales.zero))
        assert scale is not None
        errors = self._errors(scheme, self.turned, scale, zero)
        rows = self.of_rows(errors)
        if scheme.block in (ROW, TENSOR):
            return Cost(rows, errors[:count])
        blocks, squares = (_together(figures[:count].reshape(grid), each, np.add) for figures in (errors, self.squares))
        starts = (self.first + np.arange(self.rows))[:, None] * self.columns + np.arange(blocks.shape[1]) * scheme.block
        return Cost(rows, errors[:count], blocks.reshape(-1), squares.reshape(-1), starts.reshape(-1))

    def _extremes(self, each: int) -> Extremes:
        """Those of blocks of *each* parts."""
        found = self._known.get(each)
        if found is None:
            grid, count = (self.rows, self.per), self.rows * self.per
            of_parts = ((self.low, np.minimum), (self.high, np.maximum), (self.absmax, np.maximum))
            low, high, absmax = (_together(figures[:count].reshape(grid), each, ufunc) for figures, ufunc in of_parts)
            found = self._known[each] = Extremes(low, high, absmax, math.nan)
        return found

    def _flat(self, scheme: Scheme, of_tensor: float) -> Cost:
        """Blocks that go on from row to row, of rows that are no multiple of these: errors are turned back to be told apart."""
        size, each = self.values.size, scheme.block // PART
        length = -(-size // scheme.block) * scheme.block
        turned = _turned(self.values.reshape(1, -1), length)
        count = length // PART
        absmax = np.maximum(-np.minimum.reduce(turned), np.maximum.reduce(turned)).astype(np.float64)
        largest = _together(absmax[:count].reshape(1, count), each, np.maximum)
        scales = scales_of(scheme, Extremes(-largest, largest, largest, of_tensor))
        scale = _spread(scales.scale, each, (1, count), turned.shape[1])
        assert scale is not None

        def back(of_each: Array) -> Array:
            found: Array = (of_each * scale**2).T.reshape(-1)[:length]
            return found

        errors = np.empty_like(turned)
        self._errors(scheme, turned, scale, None, errors)
        squares = back(errors.astype(np.float64))
        weights = np.zeros(length)
        weights[:size] = np.square(self.values.reshape(-1), dtype=np.float64)
        of_rows = squares[:size].reshape(self.rows, self.columns)
        return Cost(
            of_rows.sum(axis=1),
            np.add.reduceat(of_rows, np.arange(0, self.columns, PART), axis=1).reshape(-1),
            squares.reshape(-1, scheme.block).sum(axis=1),
            weights.reshape(-1, scheme.block).sum(axis=1),
            self.first * self.columns + np.arange(length // scheme.block) * scheme.block,
        )

    def _errors(self, scheme: Scheme, turned: Array, scale: Array, zero: Array | None, of_each: Array | None = None) -> Array:
        """The squared error of each part. of_each: filled with those of each weight, beside the square of its scale."""
        inverse = (1 / scale).astype(np.float32)
        zeros = None if zero is None else zero.astype(np.float32)
        scaled, near = (np.empty((PART, min(_TILE, turned.shape[1])), np.float32) for _ in range(2))

        def differences(part: Array, columns: slice) -> Array:
            x, scratch = scaled[:, : part.shape[1]], near[:, : part.shape[1]]
            np.multiply(part, inverse[columns], out=x)
            if zeros is not None:
                np.add(x, zeros[columns], out=x)
            found = missed(scheme, x, scratch)
            if of_each is not None:
                np.multiply(found, found, out=of_each[:, columns])
            return found

        found: Array = self._sums(turned, differences) * scale**2
        return found

    def _sums(self, turned: Array, work: Callable[[Array, slice], Array]) -> Array:
        """Of each part the sum of the squares of what *work* makes of it, float64."""
        found = np.empty(turned.shape[1])
        for start in range(0, turned.shape[1], _TILE):
            columns = slice(start, min(start + _TILE, turned.shape[1]))
            part = work(turned[:, columns], columns)
            found[columns] = np.add.reduce(np.multiply(part, part))
        return found

    def narrowed(self, kind: Minifloat, dtype: np.dtype[Any]) -> tuple[Array, int, int]:
        """Squared errors of each part as *kind*, which is *dtype*, and how many weights become Inf and 0."""
        over = zeroed = 0
        near = np.empty((PART, min(_TILE, self.turned.shape[1])), np.float32)
        infinite, zero = np.float32(kind.becomes_infinite), np.float32(kind.becomes_zero)

        def differences(part: Array, columns: slice) -> Array:
            nonlocal over, zeroed
            scratch = near[:, : part.shape[1]]
            largest = float(self.absmax[columns].max())
            sizes = np.abs(part, out=scratch)
            zeroed += int(np.count_nonzero(sizes <= zero)) - int(np.count_nonzero(sizes == 0))
            beyond = sizes >= infinite if largest >= infinite else None
            if largest < _CONVERTED:
                kind.round(part, scratch)
            else:
                scratch[...] = part.astype(dtype)
            np.subtract(scratch, part, out=scratch)
            if beyond is not None:
                over += int(np.count_nonzero(beyond & np.isfinite(part)))
                scratch[beyond] = 0
            found: Array = np.multiply(scratch, self.inverse[columns], out=scratch)
            return found

        return self._sums(self.turned, differences) * self.absmax**2, over, zeroed


def _turned(values: Array, length: int) -> Array:
    """Rows of *values*, each filled up to *length* with zeros, as parts: a column for each."""
    rows, columns = values.shape
    if columns < length:
        padded = np.zeros((rows, length), np.float32)
        padded[:, :columns] = values
        values = padded
    count = rows * length // PART
    found = np.empty((PART, -(-count // _LANES) * _LANES), np.float32)
    found[:, count:] = 0
    found[:, :count] = values.reshape(count, PART).T
    return found


def _together(figures: Array, each: int, ufunc: np.ufunc) -> Array:
    """Figures of parts, (rows, parts), reduced to those of blocks of *each* parts; the last of a row may have fewer."""
    rows, parts = figures.shape
    if each == 1:
        return figures
    blocks = -(-parts // each)
    if blocks * each > parts:
        wider = np.zeros((rows, blocks * each), figures.dtype)
        wider[:, :parts] = figures
        figures = wider
    while each % 2 == 0:  # far faster than along the short side
        figures, each = ufunc(figures[:, ::2], figures[:, 1::2]), each // 2
    found: Array = ufunc.reduce(figures.reshape(rows, blocks, each), axis=2) if each > 1 else figures
    return found


def _spread(figures: Array | None, each: int, grid: tuple[int, int], length: int) -> Array | None:
    """Figures of blocks as those of their parts, and 1 for what fills up."""
    if figures is None:
        return None
    found = np.ones(length)
    count = grid[0] * grid[1]
    found[:count] = np.repeat(figures, each, axis=1)[:, : grid[1]].reshape(-1)
    return found
