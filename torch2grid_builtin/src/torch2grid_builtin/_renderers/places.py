"""Where in a tensor the cells of its picture are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from torch2grid_core import Grid
from torch2grid_core.grids import Block
from torch2grid_core.pages import Heatmap

Array = np.ndarray[Any, Any]


def stretches(panel: Heatmap, axis: int) -> tuple[tuple[int, range], ...]:
    """(first cell, indices of the weights from there on) of each stretch of the rows (axis 0) or the columns (1) of *panel*.

    There is one, but where matrices are side by side. The cells at an end hold no more weights than there are.
    """
    runs = (panel.row_runs, panel.column_runs)[axis]
    if runs:
        return runs
    grid, given = panel.grid, (panel.row_indices, panel.column_indices)[axis]
    count = grid.shape[axis] * grid.cell[axis]
    if grid.layout is not None:
        count = min((grid.layout.rows, grid.layout.columns)[axis], count)
    start, step = (0, 1) if given is None else (given.start, given.step)
    return ((0, range(start, start + count * step, step)),)


def first_index(panel: Heatmap, axis: int, cell: int, further: int = 0) -> int | None:
    """The index of the first weight of a *cell* along the rows (axis 0) or the columns (1), or of a *further* one in it.

    ``None`` between matrices, and past the last weight.
    """
    start, indices = max(
        (run for run in stretches(panel, axis) if run[0] <= cell), default=(0, range(0)), key=lambda run: run[0]
    )
    within = (cell - start) * panel.grid.cell[axis] + further
    return indices[within] if 0 <= within < len(indices) else None


def first_weights(grid: Grid, tensor: str) -> Array | None:
    """The flat index of the first weight in each cell, −1 where there is none; ``None`` where blocks do not say it."""
    layout = grid.layout
    if layout is None or layout.shape != grid.shape or layout.tensors != (tensor,):
        return None
    none = np.iinfo(np.int64).max
    found = np.full(layout.shape, none, dtype=np.int64)
    for block in layout.blocks:
        if not isinstance(block, Block):
            return None
        (rows, down), (columns, across) = (_along(block, side, layout.cell[side]) for side in (0, 1))
        here = np.ix_(rows, columns)
        found[here] = np.minimum(found[here], block.start + down[:, None] + across)
    return np.where(found == none, -1, found)


def _along(block: Block, side: int, step: int) -> tuple[Array, Array]:
    """The rows (side 0) or columns of cells that a block is in, and what the first weight there adds to its flat index."""
    places = np.array([(block.row, block.column)[side]], dtype=np.int64)
    flat = np.zeros(1, dtype=np.int64)
    stride = block.size
    for dim in block.dims:
        stride //= dim[0]
        if dim[1 + side]:
            digits = np.arange(dim[0], dtype=np.int64)
            places = (places[:, None] + digits * dim[1 + side]).reshape(-1)
            flat = (flat[:, None] + digits * stride).reshape(-1)
    cells, own = np.unique(places // step, return_inverse=True)
    least = np.full(len(cells), np.iinfo(np.int64).max)
    np.minimum.at(least, own, flat)
    return cells, least


def cell_indices(grid: Grid, about: Mapping[str, Any]) -> Array | None:
    """(dimensions of the whole tensor, rows, columns): the index of the first weight of each cell of a page's picture.

    about: what the page says of its tensor. ``None`` where row and column of a cell are that index, and where there is none.
    """
    tensor, shape = about.get("tensor"), about.get("shape")
    if not isinstance(tensor, str) or not isinstance(shape, (list, tuple)) or not shape:
        return None
    flat = first_weights(grid, tensor)
    if flat is None or math.prod(shape) <= int(flat.max(initial=-1)):
        return None
    digits: list[Array] = [np.asarray(each) for each in np.unravel_index(np.maximum(flat, 0), tuple(shape))]
    taken = about.get("taken")
    if isinstance(taken, (list, tuple)):
        left = iter(digits)
        digits = [
            next(left) * place[2] + place[0] if isinstance(place, (list, tuple)) else np.full(flat.shape, place)
            for place in taken
        ]
    places: list[Array] = list(np.indices(flat.shape))
    plain = len(digits) == 2 and all(
        np.array_equal(own[flat >= 0], (place * step)[flat >= 0])
        for own, place, step in zip(digits, places, grid.cell, strict=True)
    )
    return None if plain else np.stack(digits)
