"""An ordered treemap: every tensor a patch of its own, as large as its share of the weights."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from torch2grid_core import Layout, LayoutTransformer
from torch2grid_core.grids import Block, Rect, Region, drawable_sizes, flat_run, weights_per_cell


@dataclass(frozen=True)
class LayerWeighted(LayoutTransformer):
    """Every tensor a patch with area in proportion to its size, neighbours in the model side by side (a treemap).

    An ordered treemap in whole cells, after Bederson, Shneiderman and Wattenberg, "Ordered and quantum treemaps: making
    effective use of 2D space to display hierarchies" (ACM Transactions on Graphics 21, 2002).
    """

    slack: float = field(default=0.02, metadata={"help": "share of empty cells that keeps patches rectangular, 0 to 0.5"})

    name = "layer_weighted"

    def __post_init__(self) -> None:
        if not 0 <= self.slack <= 0.5:
            raise ValueError("slack must be a share from 0 to 0.5")

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """A square of cells, each of k consecutive weights of one tensor, row after row inside its patch.

        Tensors of a few cells may share a patch, one after the other. Raises ``NotDrawable`` as ``flatten`` does.
        """
        sizes = drawable_sizes(shapes)
        names = list(sizes)
        if max_cells is None:
            per_cell = 1
        else:
            room = max(int(max_cells**2 / (1 + self.slack)), min(len(sizes), max_cells**2))
            per_cell = weights_per_cell(sizes.values(), room)
        needs = [-(-size // per_cell) for size in sizes.values()]
        side = math.isqrt(math.ceil(sum(needs) * (1 + self.slack)) - 1) + 1
        if max_cells is not None:
            side = min(side, max_cells)
        blocks: list[Block] = []
        regions: list[Region] = []
        for first, last, rect in _patches(needs, side):
            place = 0
            for index in range(first, last):
                run, region = flat_run(names[index], sizes[names[index]], rect, place, (1, per_cell))
                blocks += run
                regions.append(region)
                place += needs[index]
        return Layout(side, side * per_cell, (1, per_cell), tuple(blocks), tuple(regions))


def _patches(needs: Sequence[int], side: int) -> Iterator[tuple[int, int, Rect]]:
    """(first, last, rectangle) for stretches of tensors in order, one tensor each where its share of cells allows."""
    sums = [0, *accumulate(needs)]
    waiting: list[tuple[int, int, Rect]] = [(0, len(needs), (0, 0, side, side))]
    while waiting:
        first, last, rect = waiting.pop()
        halves = _halves(sums, first, last, rect) if last - first > 1 else None
        if halves is None:
            yield first, last, rect
        else:
            waiting += reversed(halves)


def _halves(sums: Sequence[int], first: int, last: int, rect: Rect) -> list[tuple[int, int, Rect]] | None:
    """The stretch cut in two of about equal need, side by side along the longer side of its rectangle.

    ``None`` where whole rows or columns of cells would give a half far more than its share: such tensors share the patch.
    """
    row, column, height, width = rect
    total = sums[last] - sums[first]
    above = bisect_left(sums, sums[first] + total / 2, first + 1, last - 1)
    middle = min(max(above - 1, first + 1), above, key=lambda each: abs(2 * (sums[each] - sums[first]) - total))
    need = sums[middle] - sums[first]
    long, across = max(height, width), min(height, width)
    least, most = -(-need // across), long - -(-(total - need) // across)
    if least > most:
        return None
    cut = min(max(round(long * need / total), least), most)
    fair = height * width / total
    for share, cells in ((need, cut * across), (total - need, (long - cut) * across)):
        if cells > 1.5 * fair * share + 1:
            return None
    if height > width:
        one, other = (row, column, cut, width), (row + cut, column, height - cut, width)
    else:
        one, other = (row, column, height, cut), (row, column + cut, height, width - cut)
    return [(first, middle, one), (middle, last, other)]
