"""A transformer that streams: it says where weights go, and torch2grid moves them, so that a model may have any size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch2grid_core import Layout, LayoutTransformer
from torch2grid_core.grids import Block, Region, drawable_sizes, flat_run, weights_per_cell


@dataclass(frozen=True)
class Shelves(LayoutTransformer):
    """every tensor on a shelf of its own, the full width of the picture"""

    name = "shelves"

    largest_first: bool = field(default=False, metadata={"help": "put the largest tensors on top"})

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        sizes = drawable_sizes(shapes)  # without the empty ones; NotDrawable where nothing is left
        width = math.isqrt(sum(sizes.values()) - 1) + 1
        per_cell = 1
        if max_cells is not None:  # a cell holds several weights, of one tensor
            width = min(width, max_cells)
            per_cell = math.ceil(weights_per_cell(sizes.values(), max_cells) / width)
        blocks: list[Block] = []
        regions: list[Region] = []
        row = 0
        for name in sorted(sizes, key=lambda name: -sizes[name]) if self.largest_first else sizes:
            height = math.ceil(sizes[name] / per_cell / width)
            run, region = flat_run(name, sizes[name], (row, 0, height, width), cell=(1, per_cell))
            blocks += run
            regions.append(region)
            row += height
        return Layout(row, width * per_cell, (1, per_cell), tuple(blocks), tuple(regions))
