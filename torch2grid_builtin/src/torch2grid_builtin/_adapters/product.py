"""Numbers of low rank: bands of rows of a product of two thin matrices, of which no more is held than is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from torch2grid_builtin._decoders.codes import Key, Recent
from torch2grid_core import LazyTensor
from torch2grid_core.sources import DerivedStorage, Storage, as_float

Array = np.ndarray[Any, Any]
BAND = 1 << 18  # weights that are computed at a time: 2 MB of float64
_FACTOR = 1 << 20  # numbers of a factor that are read at a time, and kept where they are all

_recent = Recent(8 << 20)


class Product(DerivedStorage):
    """float32 numbers in C order: scale · left · right, of a matrix *left* (rows, rank) and a matrix *right* (rank, columns).

    Each number is computed in the same tile whatever is asked for, so that it is the same to the last bit in every read.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, left: LazyTensor, right: LazyTensor, scale: float) -> None:
        self.left, self.right, self.scale = left, right, scale
        self.rows, self.columns, self.rank = left.shape[0], right.shape[1], right.shape[0]
        self.across = max(min(self.columns, BAND, _FACTOR // max(self.rank, 1)), 1)
        self.down = max(min(self.rows, BAND // self.across, _FACTOR // max(self.rank, 1)), 1)
        self.key = Key()

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.left, self.right, self.scale))

    @property
    def parts(self) -> Sequence[Storage]:
        """The storages of both factors."""
        return (self.left.storage, self.right.storage)

    def over(self, parts: Sequence[Storage]) -> Storage:
        found = copy(self)
        found.left, found.right = replace(self.left, storage=parts[0]), replace(self.right, storage=parts[1])
        found.key = Key()
        return found

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.rows * self.columns * 4

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with bytes *offset* and on, of whole numbers. Raises ``LoadError`` where they are not there."""
        self.within(offset, buffer)
        out, place = np.frombuffer(buffer, np.float32), offset // 4
        while len(out):
            row, column = divmod(place, self.columns)
            across = column // self.across * self.across
            tile = self._tile(row // self.down * self.down, across)
            top = row % self.down
            if tile.shape[1] == self.columns:  # whole rows: all that is left of the tile
                part = tile.reshape(-1)[top * self.columns + column :][: len(out)]
            else:
                part = tile[top, column - across :][: len(out)]
            out[: len(part)] = part
            place, out = place + len(part), out[len(part) :]

    def _tile(self, row: int, column: int) -> Array:
        return _recent.get((self.key, row, column), lambda: self._compute(row, column))

    def _compute(self, row: int, column: int) -> Array:
        bottom, end = min(row + self.down, self.rows), min(column + self.across, self.columns)
        left = _numbers(self.left.view((slice(row, bottom), slice(None))))
        if end - column == self.columns and self.right.size <= _FACTOR:
            right = _recent.get((self.key, "right"), lambda: _numbers(self.right))
        else:
            right = _numbers(self.right.view((slice(None), slice(column, end))))
        with np.errstate(all="ignore"):  # NaN and Inf are what the file says
            found: Array = (left @ right * self.scale).astype(np.float32)
        return found

    def factors(self) -> tuple[Array, Array]:
        """*left* and *right* as float64."""
        return _numbers(self.left), _numbers(self.right)


def _numbers(tensor: LazyTensor) -> Array:
    # read as a pass does: a record's checksum is checked
    return as_float(np.ascontiguousarray(tensor.numpy())).astype(np.float64)


def column_norms(tensor: LazyTensor, rows: int, columns: int, by_row: bool) -> Array:
    """The norm of each row, or of each column, of a *tensor* that is seen as a matrix, float64. It is read once, in bands."""
    squares = np.zeros(rows if by_row else columns)
    for start, chunk in tensor.flat_chunks():
        values, place = as_float(chunk).astype(np.float64) ** 2, start
        while len(values):
            row, column = divmod(place, columns)
            if column or len(values) < columns:
                count = min(columns - column, len(values))
                if by_row:
                    squares[row] += values[:count].sum()
                else:
                    squares[column : column + count] += values[:count]
            else:
                whole = values[: len(values) // columns * columns].reshape(-1, columns)
                count = whole.size
                if by_row:
                    squares[row : row + len(whole)] += whole.sum(axis=1)
                else:
                    squares += whole.sum(axis=0)
            place, values = place + count, values[count:]
    found: Array = np.sqrt(squares)
    return found


class Scaled(DerivedStorage):
    """DoRA's change of a weight, float32: (W + ΔV) · m / ‖W + ΔV‖ − W, of each row or each column.

    *joined* is W + ΔV, float32, *base* W and *magnitude* m. by_row: there is a norm for each row, else for each column.
    The norms are measured in a pass of their own when the first numbers are asked for.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        base: LazyTensor,
        joined: LazyTensor,
        magnitude: LazyTensor,
        shape: tuple[int, int],
        by_row: bool,
        product: Product,
    ) -> None:
        self.base, self.joined, self.magnitude, self.shape, self.by_row = base, joined, magnitude, shape, by_row
        self.product, self.key = product, Key()

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.base, self.joined, self.magnitude, self.shape, self.by_row, self.product))

    @property
    def parts(self) -> Sequence[Storage]:
        """The storages that it is computed from."""
        return (self.base.storage, self.joined.storage, self.magnitude.storage)

    def over(self, parts: Sequence[Storage]) -> Storage:
        found = copy(self)
        found.base, found.joined = replace(self.base, storage=parts[0]), replace(self.joined, storage=parts[1])
        found.magnitude, found.key = replace(self.magnitude, storage=parts[2]), Key()
        return found

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.shape[0] * self.shape[1] * 4

    def factor(self) -> Array:
        """m / ‖W + ΔV‖ of each row or column, float64."""
        return _recent.get((self.key, "factor"), self._measured)

    def _measured(self) -> Array:
        norms = column_norms(self.joined, *self.shape, self.by_row)
        with np.errstate(all="ignore"):
            found: Array = as_float(np.asarray(self.magnitude)).astype(np.float64).reshape(-1) / norms
        return found

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with bytes *offset* and on, of whole numbers. Raises ``LoadError`` where they are not there."""
        self.within(offset, buffer)
        out, place, factor = np.frombuffer(buffer, np.float32), offset // 4, self.factor()
        for start in range(0, len(out), BAND):
            count = min(BAND, len(out) - start)
            flat = np.arange(place + start, place + start + count)
            each = factor[flat // self.shape[1] if self.by_row else flat % self.shape[1]]
            joined = self.joined.read(place + start, place + start + count).astype(np.float64)
            base = as_float(self.base.read(place + start, place + start + count)).astype(np.float64)
            with np.errstate(all="ignore"):
                out[start : start + count] = joined * each - base
