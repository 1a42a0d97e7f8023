"""Whether a layout keeps its promises: every weight once, in a place of its own, inside the grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from torch2grid_core.pictures.axes import axis
from torch2grid_core.pictures.cells import cells_of
from torch2grid_core.pictures.layout import Block, Curve, Layout

Array = np.ndarray[Any, Any]

_MOST_DIMS = 5


def check(layout: Layout, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> None:
    """Raise ``ValueError`` for the first thing that is wrong; see ``Layout.validate``."""
    _check_grid(layout, max_cells)
    for name in layout.tensors:
        if name not in shapes:
            raise ValueError(f"a block is of {name!r}, which is none of the tensors")
        for block in layout.blocks_of(name):
            _check_block(block, layout)
    for name, shape in shapes.items():
        _check_coverage(layout, name, math.prod(shape))
    _check_places([block for block in layout.blocks if isinstance(block, Block)])
    _check_owners(layout)
    height, width = layout.shape
    for region in layout.regions:
        for row, column, rows, columns in region.rects:
            if min(row, column, rows, columns) < 0 or row + rows > height or column + columns > width:
                raise ValueError(f"region {region.name!r} leaves the {height}×{width} cells of the grid")


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


def _check_coverage(layout: Layout, name: str, size: int) -> None:
    place = 0
    for block in layout.blocks_of(name):
        if block.start != place:
            what = "have no place" if block.start > place else "have two places"
            low, high = sorted((place, block.start))
            raise ValueError(f"weights {low}–{high - 1} of {name!r} {what}")
        place = block.stop
    if place != size:
        raise ValueError(f"{name!r} has {size} weights, {place} have a place")


def _check_places(blocks: Sequence[Block]) -> None:
    """No two weights in one place of the full-size grid: none of one block, none of two blocks whose bounds meet."""
    ordered = sorted(blocks, key=lambda block: block.bounds()[:2])
    bounds = np.array([block.bounds() for block in ordered], dtype=np.int64).reshape(-1, 4)
    tops, lefts = bounds[:, 0], bounds[:, 1]
    rights = lefts + bounds[:, 3]
    for index, block in enumerate(ordered):
        if math.prod(length for length, _, _ in block.dims) > _distinct(block, 0) * _distinct(block, 1):
            raise ValueError(f"a block of {block.tensor!r} puts two weights in one place")
        stop = int(np.searchsorted(tops, tops[index] + bounds[index, 2]))  # the next ones begin below this one
        beside = np.flatnonzero((lefts[index + 1 : stop] < rights[index]) & (rights[index + 1 : stop] > lefts[index]))
        for other in (ordered[index + 1 + int(each)] for each in beside):
            if _meet(block, other):
                raise ValueError(f"blocks of {block.tensor!r} and {other.tensor!r} put two weights in one place")


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


def _check_owners(layout: Layout) -> None:
    """Cells of blocks belong to one tensor; a cell of a curve belongs to one place of one curve."""
    owner = np.zeros(layout.shape, dtype=np.int32)
    for number, name in enumerate(layout.tensors, start=1):
        for each in cells_of(layout, name):
            index = each.index(layout.shape)
            if isinstance(each.block, Curve):
                rows, columns = index
                if min(rows.min(), columns.min()) < 0 or rows.max() >= owner.shape[0] or columns.max() >= owner.shape[1]:
                    raise ValueError(f"a curve of {name!r} leaves the {owner.shape[0]}×{owner.shape[1]} cells of the grid")
                flat = rows * owner.shape[1] + columns
                if len(np.unique(flat)) < len(flat) or owner[index].any():
                    raise ValueError(f"a curve of {name!r} goes through a cell that holds other weights")
            elif np.any((found := owner[index]) & (found != number)):
                taken = layout.tensors[int(found[(found != 0) & (found != number)][0]) - 1]
                raise ValueError(f"{taken!r} and {name!r} share a cell; each cell holds weights of one tensor")
            owner[index] = number
