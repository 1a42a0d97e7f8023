"""Size of each output and input unit of a tensor, in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._summary.stacks import stacks

_OF_OUTPUTS = ("output_absmax", "_output_squares")
_PIECE = 1 << 16  # weights taken at once: as float64 they stay in the second-level cache
_NARROW = 64  # kernels of up to so many weights are reduced place by place, longer ones along their length


class UnitProfile:
    """|max| and L2 norm of each unit of a tensor of *shape*.

    An output unit is an index of dimension 0 (a row, a filter). An input unit is an index of dimension 1, over dimension 0 and
    the kernel (a column, an input channel). Tensors of one dimension have output units only; a scalar is one unit. (A
    transposed convolution stores its inputs first; a grouped one counts inputs within a group.)

    A NaN weight makes both figures of its units NaN. |max| is exact. Norms are sums of squares in float64, with a relative
    error below 1e-12 for |w| between 1e-150 and 1e150, and Inf or 0 beyond. Memory: four numbers per unit.

    Attributes:
        output_absmax, output_norm: float64, (shape[0],).
        input_absmax, input_norm: float64, (shape[1],), or ``None``.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(int(length) for length in shape)
        self._inputs = self.shape[1] if len(self.shape) > 1 else 1
        self._kernel = math.prod(self.shape[2:])
        outputs = self.shape[0] if self.shape else 1
        self.size = outputs * self._inputs * self._kernel
        self.output_absmax = np.zeros(outputs)
        self._output_squares = np.zeros(outputs)
        self._input_absmax = np.zeros(self._inputs)
        self._input_squares = np.zeros(self._inputs)

    @classmethod
    def of_each(cls, shapes: Sequence[tuple[int, ...]], values: Array) -> list[UnitProfile]:
        """Return the profiles of many small tensors of *shapes*, whose weights stand in *values* one after the other."""
        found = [cls(shape) for shape in shapes]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for _, places, stacked in stacks(shapes, values):
                own = found[places[0]]
                sizes = np.abs(stacked.astype(np.float64)).reshape(len(places), -1, own._inputs, own._kernel)
                squares = sizes * sizes
                largest, sums = sizes.max(axis=3), np.add.reduce(squares, axis=3)
                figures = largest.max(axis=2), np.add.reduce(sums, axis=2), largest.max(axis=1), np.add.reduce(sums, axis=1)
                for place, *each in zip(places, *figures, strict=True):
                    one = found[place]
                    one.output_absmax, one._output_squares, one._input_absmax, one._input_squares = each
        return found

    def __repr__(self) -> str:
        inputs = f", {self._inputs:,} input units" if len(self.shape) > 1 else ""
        return f"<UnitProfile: {len(self.output_absmax):,} output units{inputs}>"

    @property
    def output_norm(self) -> Array:
        """L2 norm of each output unit."""
        return np.sqrt(self._output_squares)

    @property
    def input_absmax(self) -> Array | None:
        """|max| of each input unit; ``None`` for tensors of fewer than two dimensions."""
        return self._input_absmax if len(self.shape) > 1 else None

    @property
    def input_norm(self) -> Array | None:
        """L2 norm of each input unit; ``None`` for tensors of fewer than two dimensions."""
        return np.sqrt(self._input_squares) if len(self.shape) > 1 else None

    def update(self, start: int, values: Array) -> None:
        """Take the weights from flat index *start* on (C order): a 1-D real array, in chunks of any length.

        Give each weight once; the chunks may come in any order. Raises ``ValueError`` for indices outside the shape.
        """
        self._update_and_sum(start, values)

    def _update_and_sum(
        self, start: int, values: Array, sizes: Array | None = None, dtype: np.dtype[Any] | None = None
    ) -> tuple[float, float]:
        """As ``update``; the sum of the weights, NaN where nothing here needs it, and that of their squares.

        sizes: ``sizes_of`` the weights as they are stored, in *dtype*, where somebody computed them.
        """
        if start < 0 or start + len(values) > self.size:
            raise ValueError(f"weights {start}–{start + len(values)} of a tensor of {self.size}")
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if self._kernel == 1 and values.dtype.kind == "f":
                if sizes is None:
                    sizes, dtype = np.abs(values), values.dtype
                self._take_largest(start, sizes, dtype or values.dtype)
                return self._take_squares(start, values)
            pieces = range(0, len(values), _PIECE)
            return math.nan, sum((self._take_kernels(start + first, values[first : first + _PIECE]) for first in pieces), 0.0)

    def _take_largest(self, start: int, sizes: Array, dtype: np.dtype[Any]) -> None:
        """|max| of units whose weights' *sizes* are numbers of *dtype*, or their bits."""

        def numbers(found: Array) -> Array:
            return (found if found.dtype.kind == "f" else found.view(dtype.newbyteorder("="))).astype(np.float64)

        for row, column, rows, columns, begin in _rectangles(start, len(sizes), self._inputs):
            cells = sizes[begin : begin + rows * columns].reshape(rows, columns)
            largest = map(numbers, _reduced(cells, np.maximum))
            self._keep_largest(slice(row, row + rows), slice(column, column + columns), *largest)

    def _keep_largest(self, outputs: slice, inputs: slice, of_outputs: Array, of_inputs: Array) -> None:
        np.maximum(self.output_absmax[outputs], of_outputs, out=self.output_absmax[outputs])
        np.maximum(self._input_absmax[inputs], of_inputs, out=self._input_absmax[inputs])

    def _take_squares(self, start: int, values: Array) -> tuple[float, float]:
        """The sums of squares of the units; the sum of all weights, and of all squares."""
        total = sum_of_squares = 0.0
        scratch = np.empty(min(_PIECE, len(values)))
        ones = np.ones(min(_PIECE, len(values)))  # a product with ones is the fastest sum
        for row, column, rows, columns, begin in _blocks(start, len(values), self._inputs):
            flat = scratch[: rows * columns]
            block, across, down = flat.reshape(rows, columns), ones[:columns], ones[:rows]
            np.copyto(flat, values[begin : begin + rows * columns])
            total += float(np.add.reduce(block @ across))
            np.multiply(flat, flat, out=flat)
            of_outputs = block @ across
            self._output_squares[row : row + rows] += of_outputs
            self._input_squares[column : column + columns] += down @ block
            sum_of_squares += float(np.add.reduce(of_outputs))
        return total, sum_of_squares

    def _take_kernels(self, start: int, values: Array) -> float:
        """Weights of units that have a kernel, or of a dtype whose |max| is no number of it; the sum of their squares."""
        sum_of_squares = 0.0
        group, largest, squares = _by_kernel(start, np.abs(values.astype(np.float64)), self._kernel)
        for row, column, rows, columns, begin in _rectangles(group, len(largest), self._inputs):
            absmax = largest[begin : begin + rows * columns].reshape(rows, columns)
            square = squares[begin : begin + rows * columns].reshape(rows, columns)
            outputs, inputs = slice(row, row + rows), slice(column, column + columns)
            squares_of = _reduced(square, np.add)
            self._keep_largest(outputs, inputs, *_reduced(absmax, np.maximum))
            self._output_squares[outputs] += squares_of[0]
            self._input_squares[inputs] += squares_of[1]
            sum_of_squares += float(squares_of[0].sum())
        return sum_of_squares

    def __getstate__(self) -> dict[str, Any]:
        """Of output units, those between the first and the last that have weights: a piece of a large tensor sees few."""
        units = np.flatnonzero(self.output_absmax)
        start, stop = (int(units[0]), int(units[-1]) + 1) if len(units) else (0, 0)
        cut = {name: (start, vars(self)[name][start:stop]) for name in _OF_OUTPUTS}
        return {**vars(self), **cut}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for name in _OF_OUTPUTS:
            start, part = state[name]
            whole = vars(self)[name] = np.zeros(self.shape[0] if self.shape else 1)
            whole[start : start + len(part)] = part

    def merge(self, other: UnitProfile) -> UnitProfile:
        """Take in *other*, the profile of other weights of the same tensor, and return itself."""
        if self.shape != other.shape:
            raise ValueError(f"profiles of shapes {self.shape} and {other.shape}")
        np.maximum(self.output_absmax, other.output_absmax, out=self.output_absmax)
        np.maximum(self._input_absmax, other._input_absmax, out=self._input_absmax)
        self._output_squares += other._output_squares
        self._input_squares += other._input_squares
        return self


def _reduced(cells: Array, ufunc: np.ufunc) -> tuple[Array, Array]:
    """*cells* (2-D) reduced along the rows and along the columns; narrow ones column by column, which numpy does faster."""
    rows, columns = cells.shape
    if columns == 1:
        return cells[:, 0], ufunc.reduce(cells, axis=0)
    if columns > _NARROW or rows <= columns:
        return ufunc.reduce(cells, axis=1), ufunc.reduce(cells, axis=0)
    of_rows = cells[:, 0].copy()
    for column in range(1, columns):
        ufunc(of_rows, cells[:, column], out=of_rows)
    return of_rows, np.array([ufunc.reduce(cells[:, column]) for column in range(columns)])


def _by_kernel(start: int, sizes: Array, kernel: int) -> tuple[int, Array, Array]:
    """The first group's index, and |max| and sum of squares of each group of *kernel* weights (the outer ones may be cut)."""
    if kernel == 1:
        return start, sizes, sizes * sizes
    head = min(-start % kernel, len(sizes))
    whole = (len(sizes) - head) // kernel
    tail = len(sizes) - head - whole * kernel
    body = sizes[head : head + whole * kernel].reshape(whole, kernel)
    if kernel <= _NARROW and whole:
        largest, squares = body[:, 0].copy(), body[:, 0] * body[:, 0]
        for place in range(1, kernel):
            np.maximum(largest, body[:, place], out=largest)
            squares += body[:, place] * body[:, place]
    else:
        largest, squares = body.max(axis=1), np.einsum("ij,ij->i", body, body)
    parts = [(largest, squares)]
    if head:
        parts.insert(0, _one(sizes[:head]))
    if tail:
        parts.append(_one(sizes[len(sizes) - tail :]))
    return start // kernel, np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _one(sizes: Array) -> tuple[Array, Array]:
    return sizes.max(keepdims=True), (sizes * sizes).sum(keepdims=True)


def _blocks(first: int, count: int, width: int) -> Iterator[tuple[int, int, int, int, int]]:
    """The same range as ``_rectangles``, in blocks that a piece holds: of whole rows, or of a part of one."""
    for row, column, rows, columns, begin in _rectangles(first, count, width):
        height, length = max(_PIECE // columns, 1), min(columns, _PIECE)
        for top in range(0, rows, height):
            for left in range(0, columns, length):
                size = min(height, rows - top), min(length, columns - left)
                yield row + top, column + left, *size, begin + top * columns + left


def _rectangles(first: int, count: int, width: int) -> list[tuple[int, int, int, int, int]]:
    """The flat range of *count* cells from *first* in rows of *width*: (row, column, rows, columns, place in the range)."""
    found = []
    place = 0
    if count and first % width:
        columns = min(width - first % width, count)
        found.append((first // width, first % width, 1, columns, 0))
        place = columns
    rows = (count - place) // width
    if rows:
        found.append(((first + place) // width, 0, rows, width, place))
        place += rows * width
    if place < count:
        found.append(((first + place) // width, 0, 1, count - place, place))
    return found
