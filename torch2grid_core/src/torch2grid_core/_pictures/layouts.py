"""Ready-made layouts, and the parts that authors of layout transformers build theirs from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from torch2grid_core._errors import NotDrawable
from torch2grid_core._pictures.blocks import Block, Rect, Region
from torch2grid_core._pictures.layout import Layout

_ONE_ROW = 64  # a vector of so many weights is one row; a longer one is folded


def drawable_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return the number of weights of each tensor that has any. Raises ``NotDrawable`` if none has."""
    sizes = {name: size for name, shape in shapes.items() if (size := math.prod(shape))}
    if not sizes:
        raise NotDrawable("there are no weights to draw")
    return sizes


def weights_per_cell(sizes: Iterable[int], cells: int) -> int:
    """Return the smallest k for which tensors of these *sizes*, in whole cells of k weights each, take at most *cells* cells.

    Raises:
        NotDrawable: there are more tensors than cells.
    """
    each = np.array([size for size in sizes if size], dtype=np.int64)
    if len(each) > cells:
        raise NotDrawable(f"{len(each):,} tensors do not fit {cells:,} cells, one at least for each; allow more cells")
    if not len(each):
        return 1
    low, high = max(-(-int(each.sum()) // cells), 1), int(each.max())
    while low < high:
        middle = (low + high) // 2
        if int((-(-each // middle)).sum()) <= cells:
            high = middle
        else:
            low = middle + 1
    return low


def flat_run(
    name: str, size: int, rect: Rect, first: int = 0, cell: tuple[int, int] = (1, 1)
) -> tuple[tuple[Block, ...], Region]:
    """Return blocks and region of one tensor in a rectangle: r·c consecutive weights per cell, row after row of cells.

    Weights go line by line inside a cell. The last cell may hold fewer.

    Args:
        name: of the tensor.
        size: number of its weights.
        rect: (row, column, height, width) in cells.
        first: the number of the cell in it that takes the first weights.
        cell: (r, c) of the layout.

    Raises:
        ValueError: the weights do not fit.
    """
    top, left, height, width = rect
    per_cell = cell[0] * cell[1]
    cells = -(-size // per_cell)
    if first < 0 or first + cells > height * width:
        raise ValueError(f"{cells} cells of {name!r} do not fit {height}×{width} from cell {first}")
    blocks: list[Block] = []
    rects: list[Rect] = []
    place, stop = first, first + cells
    while place < stop:
        row, column = divmod(place, width)
        rows = (stop - place) // width if column == 0 else 0
        span = width if rows else min(width - column, stop - place)
        rects.append((top + row, left + column, max(rows, 1), span))
        start = (place - first) * per_cell
        place += max(rows, 1) * span
        weights = min((place - first) * per_cell, size) - start
        blocks += _in_cells(name, start, weights, top + row, left + column, span, cell)
    return tuple(blocks), Region(name, tuple(rects))


def _in_cells(name: str, start: int, weights: int, row: int, column: int, width: int, cell: tuple[int, int]) -> list[Block]:
    """*weights* in cells from (row, column) of the grid of cells, *width* cells a row; the last cell may be partly filled."""
    high, wide = cell
    row, column = row * high, column * wide
    blocks: list[Block] = []

    def put(count: int, row: int, column: int, *dims: tuple[int, int, int]) -> None:
        nonlocal start
        if count:
            blocks.append(Block(name, start, row, column, dims))
            start += count

    if high == 1:  # consecutive cells are consecutive weights
        rows, rest = divmod(weights, width * wide)
        put(rows * width * wide, row, column, (rows, 1, 0), (width * wide, 0, 1))
        put(rest, row + rows, column, (rest, 0, 1))
        return blocks
    inside = ((high, 1, 0), (wide, 0, 1))
    full, rest = divmod(weights, high * wide)
    rows, more = divmod(full, width)
    put(rows * width * high * wide, row, column, (rows, high, 0), (width, 0, wide), *inside)
    put(more * high * wide, row + rows * high, column, (more, 0, wide), *inside)
    row, column = row + rows * high, column + more * wide
    lines, rest = divmod(rest, wide)
    put(lines * wide, row, column, (lines, 1, 0), (wide, 0, 1))
    put(rest, row + lines, column, (rest, 0, 1))
    return blocks


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the 2-D form of a tensor, (rows, columns): rows are output units (the first dimension), columns all the rest.

    A vector is one row; a scalar is 1×1.
    """
    if len(shape) < 2:
        return 1, math.prod(shape)
    return shape[0], math.prod(shape[1:])


def is_vector(shape: tuple[int, ...]) -> bool:
    """Return True if at most one side of the 2-D form is longer than 1, so that a picture can only show the order."""
    return min(matrix_shape(shape)) <= 1


def vector_columns(cells: int) -> int:
    """Return the length of a row, in cells, of a wrapped vector.

    It is the whole of a short vector, else a power of two that makes a wide strip.
    """
    if cells <= _ONE_ROW:
        return max(cells, 1)
    return 1 << math.ceil(math.log2(1.5 * math.sqrt(cells)))


def label_rows(side: int) -> int:
    """Return how many rows of cells a line of text takes in a whole picture of about *side* cells per side.

    Renderers draw a picture of fewer than 500 cells larger, and write larger beside or in a large one.
    """
    pixels = max(-(-500 // max(side, 8)), 1)  # for each cell
    return math.ceil(18 * min(max(side * pixels / 1000, 1.0), 1.7) / pixels)


def matrix_layout(name: str, shape: tuple[int, ...], max_cells: int | None = 1024) -> Layout:
    """Return the layout of one tensor's own picture, at most *max_cells* cells per side (``None``: one weight per cell).

    A matrix keeps its form: rows are output units, columns the rest, and each side is reduced as far as it must be. A vector is
    wrapped into a strip, row after row, each cell consecutive weights.

    Raises:
        NotDrawable: the tensor has no weights.
    """
    size = drawable_sizes({name: shape})[name]
    if is_vector(shape):
        per_cell = 1 if max_cells is None else -(-size // max_cells**2)
        cells = -(-size // per_cell)
        width = vector_columns(cells) if max_cells is None else min(vector_columns(cells), max_cells)
        height = -(-cells // width)
        blocks, region = flat_run(name, size, (0, 0, height, width), cell=(1, per_cell))
        return Layout(height, width * per_cell, (1, per_cell), blocks, (region,))
    rows, columns = matrix_shape(shape)
    cell = (1, 1) if max_cells is None else (-(-rows // max_cells), -(-columns // max_cells))
    blocks = (Block(name, 0, 0, 0, ((rows, 1, 0), (columns, 0, 1))),)
    region = Region(name, ((0, 0, -(-rows // cell[0]), -(-columns // cell[1])),))
    return Layout(rows, columns, cell, blocks, (region,))
