"""The cells of one block or curve: where they are in the grid, and how weights that stream past become them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._pictures.axes import Axis, Cells, axis, index_within, reduce_columns, reduce_last, reduce_rows, region_of
from torch2grid_core._pictures.blocks import Block, Curve


class BlockCells:
    """The cells of one block: distinct rows × distinct columns, each with a weight at least. shape: their number."""

    def __init__(self, block: Block, cell: tuple[int, int]) -> None:
        turned = _Turned(block)
        self.block, self.cell = block, cell
        self.rows: Axis = axis(turned.row, turned.row_dims, cell[0])
        self.columns: Axis = axis(turned.column, turned.column_dims, cell[1])
        self.shape: tuple[int, ...] = (len(self.rows.cells), len(self.columns.cells))

    def add(self, target: Array, ufunc: np.ufunc, start: int, values: Array) -> None:
        """Combine those *values*, flat indices *start* and on, that the block holds into *target*, of *shape*."""
        for part in self.block.cut(start, start + len(values)):
            rows, columns, reduced = reduce_block(part, self.cell, ufunc, values[part.start - start : part.stop - start])
            index = region_of(self.shape, index_within(rows, self.rows.cells), index_within(columns, self.columns.cells))
            target[index] = ufunc(target[index], reduced)

    def index(self, shape: tuple[int, int]) -> Any:
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

    def add(self, target: Array, ufunc: np.ufunc, start: int, values: Array) -> None:
        """As for a block."""
        index, reduced = self.reduced(ufunc, start, values)
        target[index] = ufunc(target[index], reduced)

    def reduced(self, ufunc: np.ufunc, start: int, values: Array) -> tuple[slice | Array, Array]:
        """Which cells of *shape* those *values* are in that the curve holds, and what they combine to there."""
        low, high = max(start, self.block.start), min(start + len(values), self.block.stop)
        run = axis(low - self.block.start, [(high - low, 1)], self.block.step)
        reduced = reduce_columns(ufunc, values[None, low - start : high - start], run)[0]
        return index_within(run.cells, range(self.shape[0])), reduced

    def index(self, shape: tuple[int, int]) -> Any:
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


def reduce_block(block: Block, cell: tuple[int, int], ufunc: np.ufunc, values: Array) -> tuple[Cells, Cells, Array]:
    """The *values* of a whole block as (cell rows, cell columns, reduced values)."""
    kept = _moves_of_cells(block, cell)
    if kept < len(block.dims):
        inner = math.prod(length for length, _, _ in block.dims[kept:])
        values = reduce_last(ufunc, values.reshape(-1, inner))
        # Every weight of the inner dimensions is in the cell of their first one.
        block = Block(block.tensor, block.start, block.row, block.column, block.dims[:kept])
    turned = _Turned(block)
    rows, columns = axis(turned.row, turned.row_dims, cell[0]), axis(turned.column, turned.column_dims, cell[1])
    array = values.reshape([length for length, _, _ in block.dims])[turned.flips].transpose(turned.order)
    matrix = array.reshape(rows.length, columns.length)
    return rows.cells, columns.cells, reduce_columns(ufunc, reduce_rows(ufunc, matrix, rows), columns)


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
