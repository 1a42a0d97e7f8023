"""All weights in the order of the file, row after row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch2grid_core import Layout, LayoutTransformer
from torch2grid_core.grids import Block, Region, drawable_sizes, flat_run, weights_per_cell


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
