"""Blocks and curves: where a flat range of weights goes in a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from torch2grid_core._array import Array

Rect = tuple[int, int, int, int]  # row, column, height, width, in cells
Dim = tuple[int, int, int]  # length, row step, column step


@dataclass(frozen=True)
class Region:
    """The cells that hold one tensor or module: a name and rectangles (more than one where a flat run wraps).

    In a ``Layout`` the rectangles may be left out. They are then those of the cells that hold weights of the tensor of that
    name, or of all tensors of the module, whatever shape they have.
    """

    name: str
    rects: tuple[Rect, ...] = ()


@dataclass(frozen=True)
class Block:
    """A flat (C order) range of one tensor seen as up to five dimensions, each moving along rows or along columns.

    Weight ``start + i`` goes to ``(row, column) + Σ digit·step`` with the digits of *i* in the mixed radix of the lengths.
    Rectangles, transposes, convolution tiles and the sides of a spiral are each one block.

    Args:
        tensor: its name.
        start: flat index of the first weight.
        row: of that weight in the full-size grid.
        column: of that weight in the full-size grid.
        dims: ``(length, row step, column step)``, outermost first; one of the two steps is 0.
    """

    tensor: str
    start: int
    row: int
    column: int
    dims: tuple[Dim, ...]

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(length for length, _, _ in self.dims)

    @property
    def stop(self) -> int:
        """Flat index after the last weight."""
        return self.start + self.size

    def cut(self, start: int, stop: int) -> Iterator[Block]:
        """Yield the weights of flat range *start*…*stop* as blocks: at most two per dimension, and one in the middle."""
        low, high = max(start, self.start) - self.start, min(stop, self.stop) - self.start
        if low < high:
            yield from _cut(self, low, high)

    def positions(self) -> tuple[Array, Array]:
        """Return the row and column of each weight in the full-size grid, int64, broadcastable to the shape of the lengths."""
        rows = np.full((1,) * len(self.dims), self.row, dtype=np.int64)
        columns = np.full((1,) * len(self.dims), self.column, dtype=np.int64)
        for axis, (length, row_step, column_step) in enumerate(self.dims):
            digits = np.arange(length, dtype=np.int64).reshape([-1 if i == axis else 1 for i in range(len(self.dims))])
            if row_step:
                rows = rows + digits * row_step
            if column_step:
                columns = columns + digits * column_step
        return rows, columns

    def bounds(self) -> Rect:
        """Return the rectangle (row, column, height, width) of the full-size grid that the block stays in."""
        top, left, height, width = self.row, self.column, 1, 1
        for length, row_step, column_step in self.dims:
            down, across = (length - 1) * row_step, (length - 1) * column_step
            if length and down:
                top, height = top + min(down, 0), height + abs(down)
            if length and across:
                left, width = left + min(across, 0), width + abs(across)
        return top, left, height, width


def _cut(block: Block, low: int, high: int) -> Iterator[Block]:
    if low == 0 and high == block.size:
        yield block
        return
    (_, row_step, column_step), inner = block.dims[0], block.dims[1:]
    width = math.prod(each for each, _, _ in inner)

    def slab(first: int, count: int) -> Block:
        place = (block.row + first * row_step, block.column + first * column_step)
        return Block(block.tensor, block.start + first * width, *place, ((count, row_step, column_step), *inner))

    first, last = low // width, (high - 1) // width
    if first == last and inner:
        one = slab(first, 1)
        yield from _cut(Block(one.tensor, one.start, one.row, one.column, inner), low - first * width, high - first * width)
        return
    full_from, full_to = -(-low // width), high // width
    if low < full_from * width:
        one = slab(first, 1)
        yield from _cut(Block(one.tensor, one.start, one.row, one.column, inner), low - first * width, width)
    if full_from < full_to:
        yield slab(full_from, full_to - full_from)
    if full_to * width < high:
        one = slab(full_to, 1)
        yield from _cut(Block(one.tensor, one.start, one.row, one.column, inner), 0, high - full_to * width)


@dataclass(frozen=True)
class Curve:
    """A flat range of one tensor along a curve of cells. Each cell takes *step* weights in turn; the last may take fewer.

    In the full-size grid, the weights of a cell lie in it line by line. Curves are compared by the identity of *place*. Pass a
    module-level function or a frozen dataclass with ``__call__``, so that it pickles and two equal layouts are equal.

    Args:
        tensor: its name.
        start: flat index of the range's first weight.
        size: number of weights.
        step: weights per cell.
        place: vectorised function of the cell index along the curve (int64), to (row, column) of the cell in the reduced grid.
        first: index along the curve of the range's first cell.
    """

    tensor: str
    start: int
    size: int
    first: int
    step: int
    place: Callable[[Array], tuple[Array, Array]]

    @property
    def stop(self) -> int:
        """Flat index after the last weight."""
        return self.start + self.size
