"""The cells of one block or curve: where they are in the grid, and how weights that stream past become them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._pictures.axes import (
    NARROW,
    Axis,
    Piece,
    axis,
    index_within,
    reduce_columns,
    reduce_last,
    reduce_rows,
    region_of,
)
from torch2grid_core._pictures.blocks import Block, Curve
from torch2grid_core._pictures.reductions import Reducer, Room, prepared

_AT_ONCE = 1 << 16  # weights that go through all reductions before the next: as float64, they stay in the second-level cache
Reducers = Mapping[str, Reducer]


class Met(NamedTuple):
    """Some weights of a run that passes, and their cells.

    weights: which of the run. index: of the cells, in an array of ``shape``. reduced: reducers, weights, room → each,
    by its name, with what it makes of the weights of each cell, valid until the next is asked for.
    """

    weights: slice
    index: Any
    reduced: Callable[[Reducers, Array, Room], Iterator[tuple[str, Reducer, Array]]]

    def add(self, targets: Mapping[str, Array], reducers: Reducers, values: Array, room: Room) -> None:
        """Combine the weights of the run *values* into the *targets* of *reducers*, arrays of ``shape``."""
        for name, reducer, found in self.reduced(reducers, values[self.weights], room):
            cells = targets[name][self.index]
            if np.may_share_memory(cells, targets[name]):
                reducer.ufunc(cells, found, out=cells)
            else:
                targets[name][self.index] = reducer.ufunc(cells, found)


class BlockCells:
    """The cells of one block: distinct rows × distinct columns, each with a weight at least. shape: their number."""

    def __init__(self, block: Block, cell: tuple[int, int]) -> None:
        turned = _Turned(block)
        self.block, self.cell = block, cell
        self.rows: Axis = axis(turned.row, turned.row_dims, cell[0])
        self.columns: Axis = axis(turned.column, turned.column_dims, cell[1])
        self.shape: tuple[int, ...] = (len(self.rows.cells), len(self.columns.cells))

    def met(self, start: int, stop: int) -> Iterator[Met]:
        """Those weights of the run of flat indices *start* to *stop* that the block holds."""
        for part in self.block.cut(start, stop):
            one = WholeBlock(part, self.cell)
            rows, columns = index_within(one.rows.cells, self.rows.cells), index_within(one.columns.cells, self.columns.cells)
            yield Met(slice(part.start - start, part.stop - start), region_of(self.shape, rows, columns), one.reduced)

    def index(self, shape: tuple[int, ...]) -> Any:
        """The index that selects these cells, as *shape*, from a grid of that shape."""
        return region_of(
            shape, index_within(self.rows.cells, range(shape[0])), index_within(self.columns.cells, range(shape[1]))
        )

    def counts(self) -> Array:
        """Weights in each cell, int64, of *shape*."""
        return np.outer(self.rows.lengths(), self.columns.lengths())


class CurveCells:
    """The cells of one curve, in the order of its weights. shape: (their number,)."""

    def __init__(self, curve: Curve) -> None:
        self.block = curve
        self.shape: tuple[int, ...] = (-(-curve.size // curve.step),)

    def met(self, start: int, stop: int) -> Iterator[Met]:
        """As for a block."""
        low, high = max(start, self.block.start), min(stop, self.block.stop)
        if low >= high:
            return
        run = axis(low - self.block.start, [(high - low, 1)], self.block.step)

        def reduced(reducers: Reducers, values: Array, room: Room) -> Iterator[tuple[str, Reducer, Array]]:
            for name, reducer, each in _squared(prepared(reducers, values, room)):
                yield name, reducer, reduce_columns(reducer.ufunc, each[None], run)[0]

        yield Met(slice(low - start, high - start), index_within(run.cells, range(self.shape[0])), reduced)

    def index(self, shape: tuple[int, ...]) -> Any:
        """As for a block."""
        return self.block.place(np.arange(self.block.first, self.block.first + self.shape[0], dtype=np.int64))

    def counts(self) -> Array:
        """Weights in each cell, int64, of *shape*."""
        counts = np.full(self.shape, self.block.step, dtype=np.int64)
        counts[-1:] = self.block.size - (self.shape[0] - 1) * self.block.step
        return counts


def split(values: Array, cells: Sequence[BlockCells | CurveCells]) -> list[Array]:
    """The stretches of a 1-D array that belong to each of *cells* in turn, as views of their shapes."""
    views, place = [], 0
    for each in cells:
        size = math.prod(each.shape)
        views.append(values[place : place + size].reshape(each.shape))
        place += size
    return views


class _Turned:
    """A block as rows × columns: the place of its top left weight, its dims along each axis as (length, step > 0) by
    falling step, and the flips and the transposition that bring the array of its lengths there."""

    def __init__(self, block: Block) -> None:
        rows: list[tuple[int, int, int]] = []
        columns: list[tuple[int, int, int]] = []
        still: list[int] = []
        self.row, self.column = block.row, block.column
        flips = []
        for place, (length, row_step, column_step) in enumerate(block.dims):
            flips.append(slice(None, None, -1) if min(row_step, column_step) < 0 else slice(None))
            if length == 1:
                still.append(place)
            elif row_step:
                rows.append((abs(row_step), place, length))
                self.row += min(row_step, 0) * (length - 1)
            else:
                columns.append((abs(column_step), place, length))
                self.column += min(column_step, 0) * (length - 1)
        rows.sort(key=lambda each: -each[0])
        columns.sort(key=lambda each: -each[0])
        self.row_dims = [(length, step) for step, _, length in rows]
        self.column_dims = [(length, step) for step, _, length in columns]
        self.flips = tuple(flips)
        self.order = [place for _, place, _ in rows] + [place for _, place, _ in columns] + still


class WholeBlock:
    """All weights of a block as rows × columns. rows, columns: the cells that they fall into."""

    def __init__(self, block: Block, cell: tuple[int, int]) -> None:
        kept = _moves_of_cells(block, cell)
        # Every weight of the inner dimensions is in the cell of their first one.
        self._inner = math.prod(length for length, _, _ in block.dims[kept:])
        if kept < len(block.dims):
            block = Block(block.tensor, block.start, block.row, block.column, block.dims[:kept])
        self._turned, self._lengths = _Turned(block), [length for length, _, _ in block.dims]
        self.rows: Axis = axis(self._turned.row, self._turned.row_dims, cell[0])
        self.columns: Axis = axis(self._turned.column, self._turned.column_dims, cell[1])

    def reduced(self, reducers: Reducers, values: Array, room: Room) -> Iterator[tuple[str, Reducer, Array]]:
        """What each of *reducers* makes of all weights of each cell, valid until the next is asked for (see ``prepared``)."""
        pieces = self.rows.pieces if self.rows.order is None and self._inner == 1 else None
        if pieces is not None and self.columns.length >= NARROW and len(self.rows.cells) < self.rows.length:
            for name, rows in self._by_rows(reducers, self._matrix(values), pieces, room).items():
                yield name, reducers[name], reduce_columns(reducers[name].ufunc, rows, self.columns)
            return
        for name, reducer, each in _squared(prepared(reducers, values, room)):
            inner = each if self._inner == 1 else reduce_last(reducer.ufunc, each.reshape(-1, self._inner))
            rows = reduce_rows(reducer.ufunc, self._matrix(inner), self.rows)
            yield name, reducer, reduce_columns(reducer.ufunc, rows, self.columns)

    def _matrix(self, values: Array) -> Array:
        turned = values.reshape(self._lengths)[self._turned.flips].transpose(self._turned.order)
        return turned.reshape(self.rows.length, self.columns.length)

    def _by_rows(self, reducers: Reducers, matrix: Array, pieces: Sequence[Piece], room: Room) -> dict[str, Array]:
        """The weights of each row of cells, one of each column: a few rows at a time, by all *reducers*."""
        width, place = self.columns.length, 0
        found = {
            name: np.empty((len(self.rows.cells), width), np.float64 if each.ufunc is np.add else matrix.dtype)
            for name, each in reducers.items()
        }
        for start, stop, run in pieces:
            step = max(_AT_ONCE // (run * width), 1) * run
            for top in range(start, stop, step):
                some = matrix[top : min(top + step, stop)]
                count = len(some) // run
                for name, reducer, each in prepared(reducers, some, room):
                    each, cells = each.reshape(count, run, width), found[name][place : place + count]
                    if reducer.squared:
                        np.einsum("ijk,ijk->ik", each, each, out=cells)  # in half the time of the squares and their sum
                    else:
                        reducer.ufunc.reduce(each, axis=1, out=cells)
                place += count
        return found


def _squared(each: Iterator[tuple[str, Reducer, Array]]) -> Iterator[tuple[str, Reducer, Array]]:
    """What is ``prepared``, squared where it is to be."""
    for name, reducer, values in each:
        yield name, reducer, np.multiply(values, values, out=values) if reducer.squared else values


def _moves_of_cells(block: Block, cell: tuple[int, int]) -> int:
    """How many outer dimensions move by whole cells while all the inner ones together stay in one cell; else all of them.

    Such inner weights are one stretch of memory that becomes one cell, whatever way the block turns.
    """
    for kept, (length, row_step, column_step) in enumerate(block.dims):
        top, left, height, width = Block("", 0, block.row, block.column, block.dims[kept:]).bounds()
        inside = top // cell[0] == (top + height - 1) // cell[0] and left // cell[1] == (left + width - 1) // cell[1]
        if inside and height * width > 1:
            return kept
        if length > 1 and (row_step % cell[0] or column_step % cell[1]):
            break
    return len(block.dims)
