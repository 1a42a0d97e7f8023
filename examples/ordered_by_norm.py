"""Matrices by the size of their weights, the largest first, and the rows of each by their norm: where weights go is measured.

torch2grid model.safetensors --load-plugin examples/ordered_by_norm.py
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from torch2grid_core import Layout, LayoutTransformer, Need
from torch2grid_core.grids import Block, drawable_sizes, flat_run, matrix_shape, weights_per_cell
from torch2grid_core.measures import Profile

Shapes = Mapping[str, tuple[int, ...]]
MOST = 20_000  # runs of weights that are moved: of more rows than that, neighbours stay together


class OrderedByNorm(LayoutTransformer):
    """matrices by RMS, the largest first, each in lines of its rows (output units) by norm; vectors are left out"""

    name = "ordered_by_norm"

    def choose(self, shapes: Shapes) -> Iterable[str]:
        return [name for name, shape in shapes.items() if min(matrix_shape(shape)) > 1]

    def needs(self, shapes: Shapes) -> Mapping[str, Need[Any]]:
        return {"rows": Profile()}

    def arrange(self, shapes: Shapes, max_cells: int | None, results: Mapping[str, Any]) -> Layout:
        sizes = drawable_sizes(shapes)
        squares = {name: squared(results["rows"][name].output_norm) for name in sizes}
        together = -(-sum(map(len, squares.values())) // MOST)
        width = math.isqrt(sum(sizes.values()) - 1) + 1
        per_cell = 1
        if max_cells is not None:
            width = min(width, max_cells)
            per_cell = -(-weights_per_cell(sizes.values(), max_cells) // width)
        blocks, regions, line = [], [], 0
        for name in sorted(sizes, key=lambda name: -squares[name].sum() / sizes[name]):
            height = -(-sizes[name] // (width * per_cell))
            blocks += in_lines(name, runs(squares[name], matrix_shape(shapes[name])[1], together), line, width * per_cell)
            regions.append(flat_run(name, sizes[name], (line, 0, height, width), cell=(1, per_cell))[1])
            line += height
        return Layout(line, width * per_cell, (1, per_cell), tuple(blocks), tuple(regions))


def squared(norms: Any) -> Any:
    """The squares of *norms*. A row with a NaN has no norm: it counts as infinite, and comes first, where it is seen."""
    with np.errstate(over="ignore"):
        return np.where(np.isnan(norms), np.inf, norms) ** 2


def runs(squares: Any, columns: int, together: int) -> Iterator[tuple[int, int]]:
    """(first weight, number of weights) of each group of rows, the group with the largest mean of *squares* first."""
    starts = np.arange(0, len(squares), together)
    lengths = np.diff(starts, append=len(squares))
    for group in np.argsort(-np.add.reduceat(squares, starts) / lengths, kind="stable"):
        yield int(starts[group]) * columns, int(lengths[group]) * columns


def in_lines(name: str, moved: Iterable[tuple[int, int]], line: int, width: int) -> Iterator[Block]:
    """Runs of a tensor's weights one after the other, in lines of *width* weights from *line* on."""
    place = 0
    for start, left in moved:
        while left:
            row, column = divmod(place, width)
            count = min(left, width - column)
            lines = left // width if column == 0 and left >= width else 1
            dims = ((lines, 1, 0), (width, 0, 1)) if lines > 1 else ((count, 0, 1),)
            yield Block(name, start, line + row, column, dims)
            taken = lines * width if lines > 1 else count
            start, left, place = start + taken, left - taken, place + taken
