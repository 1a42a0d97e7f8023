"""Weights that are computed from codes, scales and zero points, any run of them, in bounded memory.

Composed tensors are matrices here: dimensions in front of the last one are rows. ``Codes`` read boxes of a matrix of codes,
``Grid`` the scales of its rows, and ``Weights`` puts both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch2grid_builtin._decoders.codes import Codes, Key, recent
from torch2grid_builtin._decoders.unpacking import Array, exponents
from torch2grid_core import LazyTensor, LoadError
from torch2grid_core.sources import DerivedStorage, Storage

STEP = 1 << 18  # weights whose codes are read at a time
TILE = 1 << 17  # weights that are computed at a time: codes, weights and scales stay in the cache together
_WHOLE = 1 << 21  # scales of a tensor, at most, that are read at once and kept


class Computed(Codes):
    """Numbers that are weights themselves, of which a scale was quantised once more: *rows* by *columns* of them."""

    def __init__(self, weights: Weights, rows: int, columns: int) -> None:
        self.weights, self.rows, self.columns = weights, rows, columns

    @property
    def parts(self) -> tuple[Storage, ...]:
        return tuple(self.weights.parts)

    def over(self, parts: Sequence[Storage]) -> Codes:
        found = copy(self)
        weights = self.weights.over(parts)
        assert isinstance(weights, Weights)
        found.weights = weights
        return found

    def fetch(self, r0: int, r1: int, c0: int, c1: int) -> Any:
        found = np.empty((r1 - r0, self.columns), np.float32)
        self.weights.read_into(r0 * self.columns * 4, found.reshape(-1).view(np.uint8).data)
        return found[:, c0:c1]

    def numbers(self, fetched: Any, r0: int, r1: int, c0: int, c1: int, out: Array) -> None:
        out[...] = fetched[r0:r1, c0:c1]


class Grid:
    """A number for each block of a matrix: scales, zero points, biases.

    Args:
        codes: of the blocks, (rows of blocks, columns of blocks).
        block: height and width of a block.
        inner: rows of each of the matrices that are stacked, where a block may not cross from one into the next.
        columns: number of the block column of each column, where that is not in order: act-order.
        exponents: the stored bytes are exponents of two (E8M0).
        plus: what is added to each. shrink: what each is divided by.
        by: a tensor of one number that each is divided by (NVFP4's global scale), or multiplied with.
    """

    def __init__(
        self,
        codes: Codes,
        block: tuple[int, int],
        *,
        inner: int = 0,
        columns: LazyTensor | None = None,
        exponents: bool = False,
        plus: float = 0.0,
        by: LazyTensor | None = None,
        divide: bool = True,
        shrink: float = 1.0,
    ) -> None:
        self.codes, self.block, self.inner, self.columns = codes, block, inner, columns
        self.exponents, self.plus, self.by, self.divide = exponents, plus, by, divide
        self.shrink = shrink
        self.key = Key()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "key"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.key = Key()

    @property
    def parts(self) -> tuple[Storage, ...]:
        more = [each.storage for each in (self.columns, self.by) if each is not None]
        return (*self.codes.parts, *more)

    def over(self, parts: Sequence[Storage]) -> Grid:
        found, count = copy(self), len(self.codes.parts)
        found.key, found.codes = Key(), self.codes.over(parts[:count])
        rest = iter(parts[count:])
        found.columns = None if self.columns is None else replace(self.columns, storage=next(rest))
        found.by = None if self.by is None else replace(self.by, storage=next(rest))
        return found

    def of_rows(self, r0: int, r1: int) -> Array:
        """The numbers of rows *r0* to *r1*, float32, a column for each block column; one row where they are all the same."""
        height, inner = self.block[0], self.inner
        if inner:
            rows = np.arange(r0, r1)
            index = rows // inner * -(-inner // height) + rows % inner // height
        elif height >= self.codes.rows and r0 // height == (r1 - 1) // height:
            index = np.array([r0 // height])
        elif height == 1:
            return self._read(r0, r1)
        else:
            index = np.arange(r0, r1) // height
        low = int(index[0])
        found: Array = self._read(low, int(index[-1]) + 1)[index - low]
        return found

    def block_columns(self, width: int) -> Array | None:
        """The block column of each column; ``None`` where they follow one another."""
        if self.columns is None:
            return None
        index = recent.get((self.key, "columns", width), lambda: self._block_columns(width))
        return index if len(index) else None

    def _block_columns(self, width: int) -> Array:
        """The same as it is kept: empty for ``None``."""
        stored = self.columns
        assert stored is not None
        index = np.asarray(stored.read(0, stored.size)).astype(np.int64)
        if np.array_equal(index, np.arange(width) // self.block[1]):
            return index[:0]
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= self.codes.columns:
            wrong = low if low < 0 else high
            raise LoadError(stored.name, f"names group {wrong} of {self.codes.columns}", "the file is damaged")
        return index

    def _read(self, r0: int, r1: int) -> Array:
        if self.codes.rows * self.codes.columns <= _WHOLE:
            return recent.get((self.key, "all"), lambda: self._compute(0, self.codes.rows))[r0:r1]
        return self._compute(r0, r1)

    def _compute(self, r0: int, r1: int) -> Array:
        codes, count = self.codes, self.codes.columns
        fetched = codes.fetch(r0, r1, 0, count)
        if self.exponents:
            found = exponents(fetched)
        else:
            found = np.empty((r1 - r0, count), np.float32)
            codes.numbers(fetched, 0, r1 - r0, 0, count, found)
        if self.plus:
            found += np.float32(self.plus)
        if self.shrink != 1:
            found /= np.float32(self.shrink)
        if self.by is not None:
            factor = np.float32(self.by.read(0, 1)[0])
            with np.errstate(all="ignore"):
                found = found / factor if self.divide else found * factor
        return found


@dataclass(frozen=True)
class Step:
    """What is done with each number by the grid's: ``subtract`` the zero point, ``multiply``, ``divide``, or ``add``."""

    how: str
    grid: Grid


_HOW: dict[str, Any] = {"subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "add": np.add}


class Weights(DerivedStorage):
    """float32 weights, in C order: the numbers of *codes*, on which *steps* are done one after the other.

    count: how many there are, where the last row of codes is not full.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, codes: Codes, steps: Sequence[Step], count: int | None = None) -> None:
        self.codes, self.steps = codes, tuple(steps)
        self.rows, self.columns = codes.rows, codes.columns
        self.count = self.rows * self.columns if count is None else count

    @property
    def parts(self) -> Sequence[Storage]:
        return [*self.codes.parts, *(part for step in self.steps for part in step.grid.parts)]

    def over(self, parts: Sequence[Storage]) -> Storage:
        found, place = copy(self), len(self.codes.parts)
        found.codes, steps = self.codes.over(parts[:place]), []
        for step in self.steps:
            last = place + len(step.grid.parts)
            steps.append(Step(step.how, step.grid.over(parts[place:last])))
            place = last
        found.steps = tuple(steps)
        return found

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.count * 4

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with bytes *offset* and on, of whole numbers. Raises ``LoadError`` where they are not there."""
        self.within(offset, buffer)
        out, place = np.frombuffer(buffer, np.float32), offset // 4
        while len(out):
            row, column = divmod(place, self.columns)
            if column or len(out) < self.columns or self.columns > STEP:  # a part of one row
                count = min(len(out), self.columns - column, STEP)
                self.fill(row, row + 1, column, column + count, out[:count].reshape(1, count))
            else:
                rows = max(min(len(out), STEP) // self.columns, 1)
                count = rows * self.columns
                self.fill(row, row + rows, 0, self.columns, out[:count].reshape(rows, self.columns))
            place, out = place + count, out[count:]

    def fill(self, r0: int, r1: int, c0: int, c1: int, out: Array) -> None:
        """Fill *out* with the box of rows *r0* to *r1*, columns *c0* to *c1*."""
        with np.errstate(all="ignore"):  # NaN and Inf are what the file says
            self._fill(r0, r1, c0, c1, out)

    def _fill(self, r0: int, r1: int, c0: int, c1: int, out: Array) -> None:
        first = c0 // self.codes.unit * self.codes.unit
        last = min(-(-c1 // self.codes.unit) * self.codes.unit, self.columns)
        fetched = self.codes.fetch(r0, r1, first, last)
        grids = [(step.grid.of_rows(r0, r1), step.grid.block_columns(self.columns)) for step in self.steps]
        across = min(c1 - c0, TILE)
        down = max(TILE // max(across, 1), 1)
        for row in range(0, r1 - r0, down):
            rows = slice(row, min(row + down, r1 - r0))
            for column in range(c0, c1, across):
                columns = slice(column, min(column + across, c1))
                part = out[rows, columns.start - c0 : columns.stop - c0]
                self.codes.numbers(fetched, rows.start, rows.stop, columns.start - first, columns.stop - first, part)
                for step, (grid, index) in zip(self.steps, grids, strict=True):
                    numbers = grid if len(grid) == 1 else grid[rows]
                    if index is not None:
                        _do(step.how, part, np.take(numbers, index[columns], axis=1, mode="clip"))
                    else:
                        _by_blocks(step.how, part, numbers, step.grid.block[1], columns.start)


def _do(how: str, part: Array, numbers: Array) -> None:
    _HOW[how](part, numbers, out=part)


def _by_blocks(how: str, part: Array, numbers: Array, width: int, column: int) -> None:
    """Do it with *part*, whose first column is *column*, by *numbers* of which each is for *width* columns."""
    if numbers.shape[1] == 1:
        _do(how, part, numbers)
        return
    if width == 1:
        _do(how, part, numbers[:, column : column + part.shape[1]])
        return
    last = column + part.shape[1]
    first_whole, last_whole = -(-column // width) * width, last // width * width
    if first_whole > last_whole:
        first_whole = last_whole = last
    for low, high in ((column, min(first_whole, last)), (max(last_whole, first_whole), last)):
        if low < high:  # within one block
            _do(how, part[:, low - column : high - column], numbers[:, low // width, None])
    if first_whole < last_whole:
        middle = part[:, first_whole - column : last_whole - column]
        blocks = middle.reshape(len(part), -1, width)  # a view: one dimension is split
        _do(how, blocks, numbers[:, first_whole // width : last_whole // width, None])


class Turned(DerivedStorage):
    """Stacked matrices of *inner* weights, each turned: its rows are the columns of *matrices*, which have *rows* rows each."""

    dtype = np.dtype(np.float32)

    def __init__(self, weights: Weights, rows: int) -> None:
        self.weights, self.height = weights, rows

    @property
    def parts(self) -> Sequence[Storage]:
        return self.weights.parts

    def over(self, parts: Sequence[Storage]) -> Storage:
        found = self.weights.over(parts)
        assert isinstance(found, Weights)
        return Turned(found, self.height)

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.weights.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with bytes *offset* and on, of whole numbers. Raises ``LoadError`` where they are not there."""
        self.within(offset, buffer)
        out, place = np.frombuffer(buffer, np.float32), offset // 4
        height, width = self.height, self.weights.columns
        while len(out):
            which, rest = divmod(place, height * width)
            column, row = divmod(rest, height)
            if row or len(out) < height:
                count = min(len(out), height - row)
                self._turn(which * height + row, count, column, 1, out[:count].reshape(1, count))
            else:
                columns = max(min(len(out) // height, width - column, max(STEP // height, 1)), 1)
                count = columns * height
                self._turn(which * height, height, column, columns, out[:count].reshape(columns, height))
            place, out = place + count, out[count:]

    def _turn(self, row: int, rows: int, column: int, columns: int, out: Array) -> None:
        across = max(min(columns, 256), 1)
        down = max(TILE // across, 1)
        for begin in range(column, column + columns, across):
            width = min(across, column + columns - begin)
            for top in range(0, rows, down):
                height = min(down, rows - top)
                box = np.empty((height, width), np.float32)
                self.weights.fill(row + top, row + top + height, begin, begin + width, box)
                out[begin - column : begin - column + width, top : top + height] = box.T
