"""Back from a cell to the weights in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._pictures.blocks import Block, Curve
from torch2grid_core._pictures.layout import Layout


@dataclass(frozen=True)
class CellWeights:
    """The weights of one tensor in one cell: the lowest and the highest flat index, and how many there are."""

    tensor: str
    first: int
    last: int
    weights: int

    @property
    def is_run(self) -> bool:
        """True where they are all weights from *first* to *last*."""
        return self.last - self.first + 1 == self.weights


def weights_of_cell(layout: Layout, row: int, column: int) -> tuple[CellWeights, ...]:
    """Which weights the cell at (*row*, *column*) of the reduced grid holds, by tensor; nothing for an empty cell.

    A block must be nested: each step at least as long as all smaller steps of that direction reach together, as in every
    ready-made layout; weights of another block may be missed. Time goes by blocks and by the rows and columns of a cell.
    Raises ``IndexError`` outside the grid.
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
