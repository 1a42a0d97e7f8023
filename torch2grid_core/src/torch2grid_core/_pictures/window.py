"""A rectangle of a layout's cells, by several reductions at once; and back from a cell to the weights in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import as_float
from torch2grid_core._data.tensor import CHUNK_BYTES, FlatReader, LazyTensor
from torch2grid_core._pictures.axes import Cells, index_within, region_of
from torch2grid_core._pictures.blocks import Block, Curve, Dim, Rect
from torch2grid_core._pictures.cells import BlockCells, CurveCells, Reducers, WholeBlock
from torch2grid_core._pictures.layout import Layout
from torch2grid_core._pictures.reductions import Reducer, Room, reduction, to_float32

# first flat index, how many stretches, from one to the next, weights of a stretch → the weights of all, as stored
_Read = Callable[[int, int, int, int], Array]
_TAKEN = 1 << 18  # weights reduced at a time: more would leave the cache, and of fewer each part costs as much as its weights
_Reduced = Callable[[Reducers, Array, Room], Iterator[tuple[str, Reducer, Array]]]  # see ``Met.reduced``
_Part = tuple[Any, Array | int, Array, _Reduced]  # index in the window, what is added to the counts, weights, their reduction


@dataclass(frozen=True, eq=False)
class Window:
    """The cells of a rectangle.

    Args:
        planes: reduction → float32, (height, width): NaN where a weight of the cell is NaN, 0 where there is no weight.
        counts: weights per cell, int64, same shape.
        rectangle: (row, column, height, width) in the grid.
    """

    planes: Mapping[str, Array]
    counts: Array
    rectangle: Rect

    @property
    def empty(self) -> Array:
        """True where a cell holds no weight: neither a value nor NaN."""
        none: Array = self.counts == 0
        return none

    def __getstate__(self) -> dict[str, Any]:
        """Counts travel between processes in as few bytes as hold them: they are small, and 8 of the 24 bytes of a cell."""
        return {**vars(self), "counts": self.counts.astype(np.min_scalar_type(int(self.counts.max(initial=0))))}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update({**state, "counts": state["counts"].astype(np.int64)})


def raster_window(
    layout: Layout, tensors: Mapping[str, LazyTensor], rectangle: Rect, reductions: Sequence[str] = ("mean",)
) -> Window:
    """Return the cells of *layout* in *rectangle* (row, column, height, width), each by all of *reductions*.

    Of a contiguous tensor, only the rows that the rectangle needs are read; any other tensor is gathered. A tensor that is not
    among *tensors* stays empty. Checksums of records are not verified.

    Raises:
        ValueError: an unknown reduction, a rectangle that leaves the grid, or a tensor with another number of weights than its
            layout has.
        LoadError: the bytes are not there.
    """
    top, left, height, width = rectangle
    if min(rectangle) < 0 or top + height > layout.shape[0] or left + width > layout.shape[1]:
        raise ValueError(f"rectangle {rectangle} leaves the {layout.shape[0]}×{layout.shape[1]} cells of the grid")
    rules = {name: reduction(name) for name in reductions}
    totals = {name: np.full((height, width), rule.initial) for name, rule in rules.items()}
    counts = np.zeros((height, width), dtype=np.int64)
    readers: dict[str, _Read] = {}
    room = Room()
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
            for index, own, values, reduced in parts(block, layout, rectangle, readers[block.tensor]):
                counts[index] += own
                for name, rule, each in reduced(rules, values, room):
                    totals[name][index] = rule.ufunc(totals[name][index], each)
        planes = {name: to_float32(rule.finish(totals[name], counts)) for name, rule in rules.items()}
    for plane in planes.values():
        plane[counts == 0] = 0
    return Window(planes, counts, rectangle)


def _reader(tensor: LazyTensor) -> _Read:
    if not tensor.contiguous:
        whole = np.ascontiguousarray(tensor.numpy()).reshape(-1)

        def cut(start: int, count: int, step: int, length: int) -> Array:
            places = start + np.arange(count)[:, None] * step + np.arange(length)
            found: Array = whole[places].reshape(-1)
            return found

        return cut

    def read(start: int, count: int, step: int, length: int) -> Array:
        array, reader = np.empty(count * length, dtype=tensor.dtype), FlatReader(tensor)
        if step == length:
            reader.fill(start, array)
        else:
            reader.fill_rows(start, step, array.reshape(count, length))
        return array

    return read


def _of_block(block: Block | Curve, layout: Layout, rectangle: Rect, read: _Read) -> Iterator[_Part]:
    """The weights of the part of *block* that is in *rectangle*, as many at a time as stay in the cache; first, how many each
    cell has.
    """
    assert isinstance(block, Block)
    strides = [math.prod(length for length, _, _ in block.dims[axis + 1 :]) for axis in range(len(block.dims))]
    trimmed = _trimmed(block, layout.cell, rectangle)
    if trimmed is None:
        return
    first, row, column, dims = trimmed
    if not dims:
        strides, dims = [1], ((1, 0, 1),)
    inner = 1 + sum((length - 1) * stride for (length, _, _), stride in zip(dims[1:], strides[1:], strict=True))
    apart = 4 * inner < strides[0]  # little of each row is needed: it is read by itself
    step = inner if apart else strides[0]
    most = max(_TAKEN // max(math.prod(length for length, _, _ in dims[1:]), step // 8), 1)
    length, down, across = dims[0]
    every = BlockCells(Block("", 0, row, column, dims), layout.cell)
    index, kept = _met(every, rectangle)
    yield index, every.counts()[kept], np.empty(0), _nothing
    for digit in range(0, length, most):
        here = min(most, length - digit)
        part = Block("", 0, row + digit * down, column + digit * across, ((here, down, across), *dims[1:]))
        start = first + digit * strides[0]
        if apart:
            flat = read(start, here, strides[0], inner)
        else:
            flat = read(start, 1, (here - 1) * step + inner, (here - 1) * step + inner)
        shape, steps = [each[0] for each in part.dims], [stride * flat.itemsize for stride in (step, *strides[1:])]
        values = as_float(np.ndarray(shape, flat.dtype, flat.view(np.uint8).data, 0, steps)).reshape(-1)
        one = WholeBlock(part, layout.cell)
        index, kept = _met(one, rectangle)

        def reduced(
            rules: Reducers, values: Array, room: Room, one: WholeBlock = one, kept: Any = kept
        ) -> Iterator[tuple[str, Reducer, Array]]:
            for name, rule, each in one.reduced(rules, values, room):
                yield name, rule, each[kept]

        yield index, 0, values, reduced


def _nothing(rules: Reducers, values: Array, room: Room) -> Iterator[tuple[str, Reducer, Array]]:
    """What is made of no weights."""
    return iter(())


def _met(cells: BlockCells | WholeBlock, rectangle: Rect) -> tuple[Any, Any]:
    """The index of those of *cells* that *rectangle* has in it, and the one of them among *cells*."""
    top, left, height, width = rectangle
    rows, those_rows = _inside(cells.rows.cells, range(top, top + height))
    columns, those_columns = _inside(cells.columns.cells, range(left, left + width))
    shape = len(cells.rows.cells), len(cells.columns.cells)
    return region_of((height, width), rows, columns), region_of(shape, those_rows, those_columns)


def _inside(cells: Cells, window: range) -> tuple[slice | Array, slice | Array]:
    """Where those of *cells* that *window* has are in it, and which they are."""
    if isinstance(cells, range):
        first, last = (min(max(-(-(end - cells.start) // cells.step), 0), len(cells)) for end in (window.start, window.stop))
        return (index_within(cells[first:last], window), slice(first, last)) if first < last else (slice(0), slice(0))
    kept = np.flatnonzero((cells >= window.start) & (cells < window.stop))
    return cells[kept] - window.start, kept


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
            (met,) = cells.met(0, stop - start)
            values = as_float(read(start, 1, stop - start, stop - start))
            yield (rows[piece] - top, columns[piece] - left), cells.counts(), values, met.reduced


@dataclass(frozen=True)
class CellWeights:
    """The weights of one tensor in one cell: the lowest and the highest flat index, and how many there are."""

    tensor: str
    first: int
    last: int
    weights: int

    @property
    def is_run(self) -> bool:
        """True if they are all weights from *first* to *last*."""
        return self.last - self.first + 1 == self.weights


def weights_of_cell(layout: Layout, row: int, column: int) -> tuple[CellWeights, ...]:
    """Return which weights the cell at (*row*, *column*) of the reduced grid holds, by tensor; nothing for an empty cell.

    A block must be nested: each step at least as long as all smaller steps of that direction reach together, as in every
    ready-made layout. Weights of another block may be missed. The time depends on the number of blocks and on the rows and
    columns of a cell.

    Raises:
        IndexError: the cell is outside the grid.
    """
    if not (0 <= row < layout.shape[0] and 0 <= column < layout.shape[1]):
        raise IndexError(f"cell ({row}, {column}) is outside a grid of {layout.shape}")
    found: dict[str, CellWeights] = {}
    for block in layout.blocks:
        part = _on_curve(block, row, column) if isinstance(block, Curve) else _in_block(block, layout.cell, row, column)
        if part is not None:
            found[part.tensor] = _united(found[part.tensor], part) if part.tensor in found else part
    return tuple(found.values())


def _united(one: CellWeights, other: CellWeights) -> CellWeights:
    first, last = min(one.first, other.first), max(one.last, other.last)
    return CellWeights(one.tensor, first, last, one.weights + other.weights)


def _in_block(block: Block, cell: tuple[int, int], row: int, column: int) -> CellWeights | None:
    top, left, height, width = block.bounds()
    rows = range(max(row * cell[0], top), min((row + 1) * cell[0], top + height))
    columns = range(max(column * cell[1], left), min((column + 1) * cell[1], left + width))
    if not block.size or not rows or not columns:
        return None
    down = _offsets(np.arange(rows.start, rows.stop) - top, block, 1)
    across = _offsets(np.arange(columns.start, columns.stop) - left, block, 2)
    if not len(down) or not len(across):
        return None
    first, last = int(down.min() + across.min()), int(down.max() + across.max())
    return CellWeights(block.tensor, block.start + first, block.start + last, len(down) * len(across))


def _offsets(places: Array, block: Block, direction: int) -> Array:
    """What each place of one direction adds to the flat index; places that hold no weight are left out."""
    strides = [math.prod(length for length, _, _ in block.dims[axis + 1 :]) for axis in range(len(block.dims))]
    moves = [(abs(dim[direction]), dim[direction] < 0, dim[0], stride) for dim, stride in zip(block.dims, strides, strict=True)]
    offsets, left = np.zeros(len(places), dtype=np.int64), places.astype(np.int64)
    for step, backwards, length, stride in sorted(moves, key=lambda move: -move[0]):
        if step:
            digit = np.minimum(left // step, length - 1)
            left = left - digit * step
            offsets += (length - 1 - digit if backwards else digit) * stride
    found: Array = offsets[left == 0]
    return found


def _on_curve(curve: Curve, row: int, column: int) -> CellWeights | None:
    """Looks at every cell of the curve: for a cell or two, not for a whole grid."""
    cells = -(-curve.size // curve.step)
    rows, columns = curve.place(np.arange(curve.first, curve.first + cells, dtype=np.int64))
    hits = np.flatnonzero((np.asarray(rows) == row) & (np.asarray(columns) == column))
    if not len(hits):
        return None
    first = int(hits[0]) * curve.step
    last = min(int(hits[-1] + 1) * curve.step, curve.size) - 1
    return CellWeights(curve.tensor, curve.start + first, curve.start + last, last - first + 1)
