"""All weights in the order of the file, row after row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch2grid_core import Layout, LayoutTransformer
from torch2grid_core.grids import Block, Region, drawable_sizes, flat_run, weights_per_cell
from torch2grid_core.measures import Distribution

_Arm = tuple[int, int, int, int, int]  # first row, first column, row step, column step, cells
_Range = tuple[float, float]
_NO_WIDTH = 1e-300  # below it, the factor would not be a float64
_FAR = 1e140  # what the raster takes larger weights for


@dataclass(frozen=True)
class Flatten(LayoutTransformer):
    """All weights in the order of the file, row after row."""

    name = "flatten"
    file_order = True

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """A square of cells, each of k consecutive weights of one tensor; every tensor starts a new cell.

        Raises ``NotDrawable`` without weights, and for more tensors than *max_cells*² cells.
        """
        sizes = drawable_sizes(shapes)
        per_cell = 1 if max_cells is None else weights_per_cell(sizes.values(), max_cells**2)
        total = sum(-(-size // per_cell) for size in sizes.values())
        side = math.isqrt(total - 1) + 1
        blocks: list[Block] = []
        regions: list[Region] = []
        place = 0
        for name, size in sizes.items():
            run, region = flat_run(name, size, (0, 0, side, side), place, (1, per_cell))
            blocks += run
            regions.append(region)
            place += -(-size // per_cell)
        return Layout(side, side * per_cell, (1, per_cell), tuple(blocks), tuple(regions))


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


@dataclass(frozen=True)
class Normalized(Flatten):
    """All weights in order, scaled to [0, 1] between the smallest and the largest."""

    per: Literal["model", "tensor"] = field(
        default="model", metadata={"help": "whose smallest and largest weight become 0 and 1"}
    )

    name = "normalized"
    needs_summaries = True
    quantity = "share of range"

    def scale(self, summaries: Mapping[str, Distribution]) -> Mapping[str, tuple[float, float]] | None:
        """Finite extremes become 0 and 1. Where all finite weights are equal there is no range: they become 0.5.

        With ``rms`` and ``absmax``, which are sizes, a value is the size as a share of the range's width.
        """
        ranges = {name: (each.min, each.max) for name, each in summaries.items() if each.min <= each.max}
        if self.per == "model" and ranges:
            model = min(low for low, _ in ranges.values()), max(high for _, high in ranges.values())
            ranges = dict.fromkeys(ranges, model)
        return {name: _to_unit(each) for name, each in ranges.items()}


def _to_unit(extremes: _Range) -> tuple[float, float]:
    low, high = (min(max(each, -_FAR), _FAR) for each in extremes)
    width = high - low
    if width < _NO_WIDTH:
        return 0.0, 0.5
    return 1 / width, -low / width
