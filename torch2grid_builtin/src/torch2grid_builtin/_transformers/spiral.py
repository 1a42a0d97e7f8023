"""All weights in order, wound from the centre outwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch2grid_core import Layout, LayoutTransformer
from torch2grid_core.grids import Block, Region, drawable_sizes, weights_per_cell

_Arm = tuple[int, int, int, int, int]  # first row, first column, row step, column step, cells


@dataclass(frozen=True)
class Spiral(LayoutTransformer):
    """All weights in order, wound from the centre outwards."""

    clockwise: bool = field(default=True, metadata={"help": "which way the spiral winds on the screen"})

    name = "spiral"

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """A square of cells, each of k consecutive weights of one tensor; every tensor starts a new cell.

        The first cell is in the middle, the second to its right. Raises ``NotDrawable`` as ``flatten`` does.
        """
        sizes = drawable_sizes(shapes)
        per_cell = 1 if max_cells is None else weights_per_cell(sizes.values(), max_cells**2)
        total = sum(-(-size // per_cell) for size in sizes.values())
        side = math.isqrt(total - 1) + 1
        blocks: list[Block] = []
        regions: list[Region] = []
        arms = _arms(side, self.clockwise)
        arm, taken = next(arms), 0
        for name, size in sizes.items():
            rects = []
            start = 0
            while start < size:
                if taken == arm[-1]:
                    arm, taken = next(arms), 0
                row, column, row_step, column_step, length = arm
                row, column = row + taken * row_step, column + taken * column_step
                cells = min(length - taken, -(-(size - start) // per_cell))
                rects.append(
                    (
                        row + min(row_step, 0) * (cells - 1),
                        column + min(column_step, 0) * (cells - 1),
                        cells if row_step else 1,
                        cells if column_step else 1,
                    )
                )
                full = min(cells, (size - start) // per_cell)
                if full:
                    along = (full, row_step, column_step * per_cell)
                    blocks.append(Block(name, start, row, column * per_cell, (along, (per_cell, 0, 1))))
                    start += full * per_cell
                if full < cells:  # the last cell of the tensor, partly filled
                    row, column = row + full * row_step, column + full * column_step
                    blocks.append(Block(name, start, row, column * per_cell, ((size - start, 0, 1),)))
                    start = size
                taken += cells
            regions.append(Region(name, tuple(rects)))
        return Layout(side, side * per_cell, (1, per_cell), tuple(blocks), tuple(regions))


def _arms(side: int, clockwise: bool) -> Iterator[_Arm]:
    """The straight sides of a spiral of cells that fills side × side, each ending before the corner of the next one."""
    row = column = (side - 1) // 2
    if not clockwise:
        row = side - 1 - row
    down = 1 if clockwise else -1
    steps = ((0, 1), (down, 0), (0, -1), (-down, 0))
    left = side * side
    for number in range(2 * side):
        row_step, column_step = steps[number % 4]
        length = min(number // 2 + 1, left)
        if length:
            yield row, column, row_step, column_step, length
        row, column, left = row + length * row_step, column + length * column_step, left - length
