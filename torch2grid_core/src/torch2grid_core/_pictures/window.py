"""A rectangle of a layout's cells, by several reductions at once, from the weights in it alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import as_float
from torch2grid_core._data.tensor import CHUNK_BYTES, LazyTensor
from torch2grid_core._pictures.blocks import Block, Curve, Dim, Rect
from torch2grid_core._pictures.cells import BlockCells, CurveCells, reduce_block
from torch2grid_core._pictures.layout import Layout
from torch2grid_core._pictures.raster import reduction, to_float32

_Read = Callable[[int, int], Array]  # first and last flat index, the last not included → weights as floats


@dataclass(frozen=True, eq=False)
class Window:
    """The cells of a rectangle.

    planes: reduction → float32, (height, width): NaN where a weight of the cell is NaN, 0 where there is no weight. counts:
    int64, same shape, weights per cell.
    """

    planes: Mapping[str, Array]
    counts: Array

    @property
    def empty(self) -> Array:
        """True where a cell holds no weight: neither a value nor NaN."""
        none: Array = self.counts == 0
        return none


def raster_window(
    layout: Layout, tensors: Mapping[str, LazyTensor], rectangle: Rect, reductions: Sequence[str] = ("mean",)
) -> Window:
    """The cells of *layout* in *rectangle* (row, column, height, width), each by all of *reductions*.

    Of a contiguous tensor only the rows are read that the rectangle needs; another one is gathered. A tensor that is not among
    *tensors* stays empty. Record checksums are not verified. Raises ``ValueError`` for an unknown reduction, for a rectangle
    that leaves the grid, and for a tensor that has not as many weights as its layout; ``LoadError`` where the bytes are not
    there.
    """
    top, left, height, width = rectangle
    if min(rectangle) < 0 or top + height > layout.shape[0] or left + width > layout.shape[1]:
        raise ValueError(f"rectangle {rectangle} leaves the {layout.shape[0]}×{layout.shape[1]} cells of the grid")
    rules = {name: reduction(name) for name in reductions}
    totals = {name: np.full((height, width), rule.initial) for name, rule in rules.items()}
    counts = np.zeros((height, width), dtype=np.int64)
    readers: dict[str, _Read] = {}
    room = np.empty(0)  # used again, as in ``RasterPart``
    with np.errstate(all="ignore"):
        for block in layout.blocks_in(rectangle):
            tensor = tensors.get(block.tensor)
            if tensor is None:
                continue
            if block.tensor not in readers:
                if tensor.size != layout.weights_of(block.tensor):
                    raise ValueError(
                        f"{block.tensor!r} has {tensor.size} weights, its layout {layout.weights_of(block.tensor)}"
                    )
                readers[block.tensor] = _reader(tensor)
            parts = _of_curve if isinstance(block, Curve) else _of_block
            for index, own, values, reduce in parts(block, layout, rectangle, readers[block.tensor]):
                counts[index] += own
                room = room if len(room) >= len(values) else np.empty(len(values))
                for name, rule in rules.items():
                    totals[name][index] = rule.ufunc(
                        totals[name][index], reduce(rule.ufunc, rule.prepare(values, room[: len(values)]))
                    )
        planes = {name: to_float32(rule.finish(totals[name], counts)) for name, rule in rules.items()}
    for plane in planes.values():
        plane[counts == 0] = 0
    return Window(planes, counts)


def _reader(tensor: LazyTensor) -> _Read:
    if not tensor.contiguous:
        whole = np.ascontiguousarray(tensor.numpy()).reshape(-1)
        return lambda start, stop: as_float(whole[start:stop])

    def read(start: int, stop: int) -> Array:
        array = np.empty(stop - start, dtype=tensor.dtype)
        tensor.storage.read_into((tensor.offset + start) * tensor.dtype.itemsize, array.view(np.uint8).data)
        return as_float(array)

    return read


_Part = tuple[Any, Array, Array, Callable[[np.ufunc, Array], Array]]  # index in the window, counts, weights, their reduction


def _of_block(block: Block | Curve, layout: Layout, rectangle: Rect, read: _Read) -> Iterator[_Part]:
    """The weights of the part of *block* that is in *rectangle*, as many at a time as a chunk holds."""
    assert isinstance(block, Block)
    top, left, height, width = rectangle
    strides = [math.prod(length for length, _, _ in block.dims[axis + 1 :]) for axis in range(len(block.dims))]
    trimmed = _trimmed(block, layout.cell, rectangle)
    if trimmed is None:
        return
    first, row, column, dims = trimmed
    if not dims:
        strides, dims = [1], ((1, 0, 1),)
    inner = 1 + sum((length - 1) * stride for (length, _, _), stride in zip(dims[1:], strides[1:], strict=True))
    apart = 4 * inner < strides[0]  # little of each row: one read for each
    most = 1 if apart else max(CHUNK_BYTES // 4 // strides[0], 1)
    length, down, across = dims[0]
    for digit in range(0, length, most):
        here = min(most, length - digit)
        part = Block("", 0, row + digit * down, column + digit * across, ((here, down, across), *dims[1:]))
        start = first + digit * strides[0]
        flat = read(start, start + (here - 1) * strides[0] + inner)
        shape, steps = [each[0] for each in part.dims], [stride * flat.itemsize for stride in strides]
        values = np.ascontiguousarray(np.ndarray(shape, flat.dtype, flat.data, 0, steps)).reshape(-1)
        cells = BlockCells(part, layout.cell)
        rows, columns = np.asarray(cells.rows.cells), np.asarray(cells.columns.cells)
        in_rows, in_columns = (rows >= top) & (rows < top + height), (columns >= left) & (columns < left + width)
        kept = np.ix_(in_rows, in_columns)

        def reduce(ufunc: np.ufunc, values: Array, part: Block = part, kept: Any = kept) -> Array:
            reduced: Array = reduce_block(part, layout.cell, ufunc, values)[2][kept]
            return reduced

        yield np.ix_(rows[in_rows] - top, columns[in_columns] - left), cells.counts()[kept], values, reduce


def _trimmed(block: Block, cell: tuple[int, int], rectangle: Rect) -> tuple[int, int, int, tuple[Dim, ...]] | None:
    """First weight, its row and column, and dims of what may meet *rectangle*: each dim cut to the digits that can."""
    first, row, column = block.start, block.row, block.column
    dims = list(block.dims)
    for axis, (length, down, across) in enumerate(dims):
        stride = math.prod(each for each, _, _ in block.dims[axis + 1 :])
        others = (*dims[:axis], (1, 0, 0), *dims[axis + 1 :])
        bounds = Block("", 0, row, column, tuple(others)).bounds()
        side = 0 if down else 1
        step, low, reach = (down or across), bounds[side], bounds[side + 2]
        if length == 1 or not step:
            continue
        near, far = rectangle[side] * cell[side], (rectangle[side] + rectangle[side + 2]) * cell[side]
        # low + digit·step + reach > near and low + digit·step < far
        ends = ((near - low - reach + 1) / step, (far - 1 - low) / step)
        begin, end = max(math.ceil(min(ends)), 0), min(math.floor(max(ends)), length - 1)
        if begin > end:
            return None
        first, row, column = first + begin * stride, row + begin * down, column + begin * across
        dims[axis] = (end - begin + 1, down, across)
    return first, row, column, tuple(dims)


def _of_curve(curve: Block | Curve, layout: Layout, rectangle: Rect, read: _Read) -> Iterator[_Part]:
    """The weights of each run of cells of *curve* that is in *rectangle*."""
    assert isinstance(curve, Curve)
    top, left, height, width = rectangle
    rows, columns = (np.asarray(each) for each in CurveCells(curve).index(layout.shape))
    inside = np.flatnonzero((rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width))
    most = max(CHUNK_BYTES // 4 // curve.step, 1)
    for run in np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1):
        for piece in (run[place : place + most] for place in range(0, len(run), most)):
            start = curve.start + int(piece[0]) * curve.step
            stop = min(curve.start + (int(piece[-1]) + 1) * curve.step, curve.stop)
            cells = CurveCells(Curve("", 0, stop - start, 0, curve.step, curve.place))

            def reduce(ufunc: np.ufunc, values: Array, cells: CurveCells = cells) -> Array:
                return cells.reduced(ufunc, 0, values)[1]

            yield (rows[piece] - top, columns[piece] - left), cells.counts(), read(start, stop), reduce
