"""Where weights go in a picture, declared once and streamed by the raster; and whether a layout keeps its promises."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._errors import NotDrawable
from torch2grid_core._pictures.axes import axis
from torch2grid_core._pictures.blocks import Block, Curve, Dim, Rect, Region
from torch2grid_core._pictures.cells import BlockCells, CurveCells
from torch2grid_core._pictures.layout_types import check_types

_MOST_DIMS = 5


@dataclass(frozen=True)
class Layout:
    """Where every weight of some tensors goes.

    Args:
        rows: of the full-size grid, in weights.
        columns: of the full-size grid, in weights.
        blocks: where the weights of each tensor go.
        cell: (r, c): r rows and c columns of the full-size grid become one cell. A cell holds weights of one tensor only.
        regions: the cells of each tensor (see ``Region``).
        labels: names of modules, each with the rectangle of empty cells that is kept free for it.
        marks: texts at cells inside a tensor's, where a part of it begins, such as ``Q`` of a fused projection or ``row 2000``
            of a band.
    """

    rows: int
    columns: int
    cell: tuple[int, int]
    blocks: tuple[Block | Curve, ...]
    regions: tuple[Region, ...] = ()
    labels: tuple[Region, ...] = ()
    marks: tuple[Region, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) in cells."""
        return -(-self.rows // self.cell[0]), -(-self.columns // self.cell[1])

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that it places, in order of first appearance."""
        return tuple(self._by_tensor)

    def blocks_of(self, tensor: str) -> tuple[Block | Curve, ...]:
        """Return the blocks and curves of one tensor, by their first weight; none if the tensor has no place here."""
        return self._by_tensor.get(tensor, ())

    def only(self, tensor: str) -> Layout:
        """Return the same grid with the blocks of one tensor, no regions and no labels: little to send to another process."""
        return Layout(self.rows, self.columns, self.cell, self.blocks_of(tensor))

    def weights_of(self, tensor: str) -> int:
        """Return the number of weights of one tensor that have a place."""
        return sum(block.size for block in self.blocks_of(tensor))

    def blocks_in(self, rectangle: Rect) -> tuple[Block | Curve, ...]:
        """Return the blocks and curves that may have weights in *rectangle* (row, column, height, width, in cells), in order.

        Each counts with the whole rectangle that it stays in.
        """
        top, left, height, width = rectangle
        bounds = self._bounds
        met = (bounds[:, 0] < top + height) & (bounds[:, 2] > top) & (bounds[:, 1] < left + width) & (bounds[:, 3] > left)
        return tuple(self.blocks[place] for place in np.flatnonzero(met).tolist())

    def refined(self, cell: tuple[int, int]) -> Layout:
        """Return the same picture in smaller cells: *cell*, whose sides divide those of the layout's own.

        Raises:
            NotDrawable: the layout has curves, or cells of one line, whose weights are in no rectangle that could be divided.
            ValueError: a side does not divide.
        """
        (r, c), (high, wide) = self.cell, cell
        if min(cell) < 1 or r % high or c % wide:
            raise ValueError(f"cells of {high}×{wide} do not divide those of {r}×{c}")
        if min(self.cell) == 1 < max(self.cell) or any(isinstance(block, Curve) for block in self.blocks):
            raise NotDrawable("only a layout of blocks in cells of rows and columns can be refined")
        finer = replace(self, cell=cell, regions=(), labels=(), marks=())
        (rows, columns), down, across = finer.shape, r // high, c // wide

        def larger(rect: Rect) -> Rect:
            top, left = rect[0] * down, rect[1] * across
            return top, left, min(rect[2] * down, rows - top), min(rect[3] * across, columns - left)

        regions, labels, marks = (
            tuple(Region(each.name, tuple(map(larger, each.rects))) for each in named)
            for named in (self.regions, self.labels, self.marks)
        )
        return replace(finer, regions=regions, labels=labels, marks=marks)

    def cell_of(self, tensor: str, index: int) -> tuple[int, int]:
        """Return (row, column) of the cell that holds the weight with flat index *index*.

        Raises:
            ValueError: the weight has no place.
        """
        for block in self.blocks_of(tensor):
            if not block.start <= index < block.stop:
                continue
            if isinstance(block, Curve):
                rows, columns = block.place(np.array([block.first + (index - block.start) // block.step], dtype=np.int64))
                return int(rows[0]), int(columns[0])
            one = next(block.cut(index, index + 1))
            return one.row // self.cell[0], one.column // self.cell[1]
        raise ValueError(f"weight {index} of {tensor!r} has no place in the layout")

    def validate(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None = None) -> Layout:
        """Return the layout itself, if every weight of tensors of these *shapes* has one place of its own inside the grid.

        Time and memory depend on the number of blocks and cells, not of weights.

        Raises:
            ValueError: says what is wrong: a block that leaves the grid or its tensor, weights without a place or with two, two
                weights in one place, two tensors in one cell, a region or label outside, more than *max_cells* cells per side.
        """
        _check(self, shapes, max_cells)
        return self

    @cached_property
    def _by_tensor(self) -> dict[str, tuple[Block | Curve, ...]]:
        found: dict[str, list[Block | Curve]] = {}
        for block in self.blocks:
            found.setdefault(block.tensor, []).append(block)
        return {name: tuple(sorted(blocks, key=lambda block: block.start)) for name, blocks in found.items()}

    @cached_property
    def _bounds(self) -> Array:
        """Of each block, in cells: first row and column, and the ones behind the last."""
        found = np.empty((len(self.blocks), 4), dtype=np.int64)
        for place, block in enumerate(self.blocks):
            if isinstance(block, Curve):
                rows, columns = map(np.asarray, CurveCells(block).index(self.shape))
                found[place] = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            else:
                (top, left, height, width), (r, c) = block.bounds(), self.cell
                found[place] = top // r, left // c, -(-(top + height) // r), -(-(left + width) // c)
        return found

    @cached_property
    def _hash(self) -> int:
        return hash((self.rows, self.columns, self.cell, self.blocks, self.regions, self.labels, self.marks))

    def __hash__(self) -> int:
        return self._hash  # a spiral has thousands of blocks, and layouts are keys of needs

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout, (self.rows, self.columns, self.cell, self.blocks, self.regions, self.labels, self.marks)


def cells_of(layout: Layout, tensor: str) -> list[BlockCells | CurveCells]:
    """The cells of each block and curve of one tensor, by their first weight."""
    blocks = layout.blocks_of(tensor)
    return [BlockCells(block, layout.cell) if isinstance(block, Block) else CurveCells(block) for block in blocks]


def _check(layout: Layout, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> None:
    """Raise ``ValueError`` for the first thing that is wrong; see ``Layout.validate``."""
    check_types(layout)
    _check_grid(layout, max_cells)
    facts: dict[tuple[Dim, ...], _Extent] = {}  # thousands of layers have a few forms
    for name in layout.tensors:
        if name not in shapes:
            raise ValueError(f"a block is of {name!r}, which is not one of the tensors")
        for block in layout.blocks_of(name):
            if isinstance(block, Block) and block.dims in facts and _is_inside(block, facts[block.dims], layout):
                continue
            _check_block(block, layout)
            if isinstance(block, Block):
                facts[block.dims] = _extent(block, layout.cell)
    for curve in {id(block.place): block for block in layout.blocks if isinstance(block, Curve)}.values():
        _check_pickles(curve)
    for name, shape in shapes.items():
        _check_coverage(layout, name, math.prod(shape), facts)
    blocks = [block for block in layout.blocks if isinstance(block, Block)]
    doubtful = _doubtful(layout, blocks, facts)
    _check_places(doubtful)
    _check_owners(layout, {id(block) for block in doubtful})
    for region in layout.regions:
        if not (region.rects or region.name in shapes or any(name.startswith(f"{region.name}.") for name in shapes)):
            raise ValueError(f"region {region.name!r} has no rectangles, and no tensor or module has that name")
    height, width = layout.shape
    for kind, regions in (("region", layout.regions), ("label", layout.labels), ("mark", layout.marks)):
        for region in regions:
            for row, column, rows, columns in region.rects:
                if min(row, column, rows, columns) < 0 or row + rows > height or column + columns > width:
                    raise ValueError(f"{kind} {region.name!r} leaves the {height}×{width} cells of the grid")


class _Extent(NamedTuple):
    """What follows from the dimensions of a block alone. bounds: as of a block that begins at (0, 0)."""

    size: int
    bounds: Rect
    nested: bool
    gapless: bool


def _extent(block: Block, cell: tuple[int, int]) -> _Extent:
    top, left, height, width = block.bounds()
    bounds = (top - block.row, left - block.column, height, width)
    return _Extent(block.size, bounds, _is_nested(block), _is_gapless(block, cell))


def _is_inside(block: Block, extent: _Extent, layout: Layout) -> bool:
    top, left, height, width = extent.bounds
    top, left = top + block.row, left + block.column
    return min(block.start, top, left) >= 0 and top + height <= layout.rows and left + width <= layout.columns


def _doubtful(layout: Layout, blocks: Sequence[Block], facts: Mapping[tuple[Dim, ...], _Extent]) -> list[Block]:
    """The blocks that might share a place or a cell, with themselves or with others; all of them beside curves.

    The cells of the others are in no rectangle of another block.
    """
    if len(blocks) < len(layout.blocks):
        return list(blocks)
    found = np.array([(block.row, block.column, *facts[block.dims].bounds) for block in blocks], dtype=np.int64)
    r, c = layout.cell
    top, left = found[:, 0] + found[:, 2], found[:, 1] + found[:, 3]
    bottom, right = -(-(top + found[:, 4]) // r), -(-(left + found[:, 5]) // c)
    top, left = top // r, left // c
    height, width = layout.shape
    # How many rectangles a cell is in: +1 from each upper left corner on, −1 from the cells behind it.
    crowd = np.zeros((height + 1, width + 1), dtype=np.int32)
    for rows, columns, sign in ((top, left, 1), (bottom, right, 1), (top, right, -1), (bottom, left, -1)):
        np.add.at(crowd, (rows, columns), sign)
    np.cumsum(crowd, axis=0, out=crowd)
    np.cumsum(crowd, axis=1, out=crowd)
    shared = crowd[:-1, :-1] > 1
    doubtful = ~np.array([facts[block.dims].nested for block in blocks])
    if shared.any():
        crowd[0] = 0
        crowd[:, 0] = 0
        np.cumsum(np.cumsum(shared, axis=0, dtype=np.int32), axis=1, out=crowd[1:, 1:])
        doubtful |= crowd[bottom, right] - crowd[top, right] - crowd[bottom, left] + crowd[top, left] > 0
    return [blocks[place] for place in np.flatnonzero(doubtful).tolist()]


def _check_grid(layout: Layout, max_cells: int | None) -> None:
    if min(layout.rows, layout.columns, *layout.cell) < 1:
        raise ValueError(f"a grid of {layout.rows}×{layout.columns} weights in cells of {layout.cell[0]}×{layout.cell[1]}")
    if max_cells is not None and max(layout.shape) > max_cells:
        raise ValueError(f"{layout.shape[0]}×{layout.shape[1]} cells, at most {max_cells} a side are allowed")


def _check_block(block: Block | Curve, layout: Layout) -> None:
    if isinstance(block, Curve):
        if min(block.size, block.step) < 1 or min(block.start, block.first) < 0:
            raise ValueError(f"a curve of {block.tensor!r} has no weights, or begins before the first")
        if block.step > math.prod(layout.cell):
            raise ValueError(f"a curve of {block.tensor!r} puts {block.step} weights in a cell of {math.prod(layout.cell)}")
        return
    if len(block.dims) > _MOST_DIMS or any(length < 1 for length, _, _ in block.dims):
        raise ValueError(f"a block of {block.tensor!r} has dimensions {block.dims}: at most {_MOST_DIMS}, none of them empty")
    for length, row_step, column_step in block.dims:
        if length > 1 and bool(row_step) == bool(column_step):
            raise ValueError(f"a dimension of a block of {block.tensor!r} has steps ({row_step}, {column_step}): one must be 0")
    top, left, height, width = block.bounds()
    if min(block.start, top, left) < 0 or top + height > layout.rows or left + width > layout.columns:
        raise ValueError(
            f"a block of {block.tensor!r} covers rows {top}–{top + height - 1}, columns {left}–{left + width - 1}"
            f" of a grid of {layout.rows}×{layout.columns}"
        )


def _check_pickles(curve: Curve) -> None:
    """Raise ``ValueError`` where no worker could get the curve."""
    try:
        pickle.dumps(curve.place)
    except Exception as error:
        what = f"the place of a curve of {curve.tensor!r} cannot be pickled ({' '.join(str(error).split())[:200]})"
        raise ValueError(f"{what}; give a function of a module, or a frozen dataclass with __call__") from error


def _check_coverage(layout: Layout, name: str, size: int, facts: Mapping[tuple[Dim, ...], _Extent]) -> None:
    place = 0
    for block in layout.blocks_of(name):
        if block.start != place:
            what = "have no place" if block.start > place else "have two places"
            low, high = sorted((place, block.start))
            raise ValueError(f"weights {low}–{high - 1} of {name!r} {what}")
        place = block.start + (facts[block.dims].size if isinstance(block, Block) else block.size)
    if place != size:
        raise ValueError(f"{name!r} has {size} weights, {place} have a place")


def _check_places(blocks: Sequence[Block]) -> None:
    """No two weights in one place of the full-size grid: none of one block, none of two blocks whose bounds meet."""
    if not blocks:
        return
    found = np.array([block.bounds() for block in blocks], dtype=np.int64)
    order = np.lexsort((found[:, 1], found[:, 0]))
    bounds, ordered = found[order], [blocks[index] for index in order.tolist()]
    tops, lefts = bounds[:, 0], bounds[:, 1]
    rights = lefts + bounds[:, 3]
    below = np.searchsorted(tops, tops + bounds[:, 2]).tolist()  # from there on, all begin below this one
    for index, block in enumerate(ordered):
        if not _is_nested(block) and block.size > _distinct(block, 0) * _distinct(block, 1):
            raise ValueError(f"a block of {block.tensor!r} puts two weights in one place")
        beside = slice(index + 1, below[index])
        met = np.flatnonzero((lefts[beside] < rights[index]) & (rights[beside] > lefts[index]))
        for other in (ordered[index + 1 + each] for each in met.tolist()):
            if _meet(block, other):
                raise ValueError(f"blocks of {block.tensor!r} and {other.tensor!r} put two weights in one place")


def _is_nested(block: Block) -> bool:
    """True where each step is longer than all smaller steps of its direction reach together: no place twice."""
    for side in (0, 1):
        reach = 0
        for length, step in reversed(_steps(block, side)):
            if step <= reach:
                return False
            reach += (length - 1) * step
    return True


def _is_gapless(block: Block, cell: tuple[int, int]) -> bool:
    """True where no step jumps over a cell: the block is in every cell of the rectangle that it stays in."""
    for side in (0, 1):
        reach = 0
        for length, step in reversed(_steps(block, side)):
            if step > reach + cell[side]:
                return False
            reach += (length - 1) * step
    return True


def _steps(block: Block, side: int) -> list[tuple[int, int]]:
    """Dims along rows (side 0) or columns (1) as (length, |step|), by falling step."""
    moving = [(dim[0], abs(dim[1 + side])) for dim in block.dims if dim[0] > 1 and dim[1 + side]]
    return sorted(moving, key=lambda each: -each[1])


def _places(block: Block, side: int) -> Array:
    return np.asarray(axis(block.bounds()[side], _steps(block, side), 1).cells, dtype=np.int64)


def _distinct(block: Block, side: int) -> int:
    return len(axis(block.bounds()[side], _steps(block, side), 1).cells)


def _meet(one: Block, other: Block) -> bool:
    return all(len(np.intersect1d(_places(one, side), _places(other, side), assume_unique=True)) for side in (0, 1))


def _check_owners(layout: Layout, doubtful: set[int]) -> None:
    """Cells of blocks belong to one tensor; a cell of a curve belongs to one place of one curve.

    doubtful: ids of the blocks that might not; curves always are.
    """
    if not doubtful and not any(isinstance(block, Curve) for block in layout.blocks):
        return
    owner = np.zeros(layout.shape, dtype=np.int32)
    for number, name in enumerate(layout.tensors, start=1):
        blocks = layout.blocks_of(name)
        cells = None
        for place, block in enumerate(blocks):
            if isinstance(block, Block) and id(block) not in doubtful:
                continue
            if isinstance(block, Block) and _is_gapless(block, layout.cell):
                (top, left, height, width), (r, c) = block.bounds(), layout.cell
                index: Any = np.s_[top // r : (top + height - 1) // r + 1, left // c : (left + width - 1) // c + 1]
            else:
                cells = cells or cells_of(layout, name)
                index = cells[place].index(layout.shape)
            if isinstance(block, Curve):
                _check_curve(name, index, owner, CurveCells(block).shape)
            elif np.any((found := owner[index]) & (found != number)):
                taken = layout.tensors[int(found[(found != 0) & (found != number)][0]) - 1]
                raise ValueError(f"{taken!r} and {name!r} share a cell; each cell holds weights of one tensor")
            owner[index] = number


def _check_curve(name: str, index: tuple[Array, Array], owner: Array, shape: tuple[int, ...]) -> None:
    rows, columns = index if isinstance(index, (tuple, list)) and len(index) == 2 else (None, None)
    if any(not isinstance(each, np.ndarray) or each.dtype.kind not in "iu" for each in (rows, columns)):
        raise ValueError(f"the place of a curve of {name!r} does not give two arrays of whole numbers, rows and columns")
    if not rows.shape == columns.shape == shape:
        told = f"the place of a curve of {name!r} gives arrays of the shapes {rows.shape} and {columns.shape}"
        raise ValueError(f"{told} for {shape[0]:,} cells")
    if min(rows.min(), columns.min()) < 0 or rows.max() >= owner.shape[0] or columns.max() >= owner.shape[1]:
        raise ValueError(f"a curve of {name!r} leaves the {owner.shape[0]}×{owner.shape[1]} cells of the grid")
    taken = owner[index].any()
    owner[index] = order = np.arange(1, len(rows) + 1, dtype=np.int32)
    if taken or not np.array_equal(owner[index], order):  # a cell that comes twice keeps its last number
        raise ValueError(f"a curve of {name!r} goes through a cell that holds other weights")
