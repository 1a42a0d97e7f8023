"""The layout of one tensor's own picture: a matrix, a matrix for each expert of a stack, with marks where parts begin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch2grid_builtin._forms import Stack, fused_parts, matrix_name, stacked
from torch2grid_core import Layout
from torch2grid_core.grids import Block, Region, is_vector, matrix_layout


def matrix_of(name: str, shape: tuple[int, ...], max_cells: int | None, across: int | None = None) -> Layout:
    """``matrix_layout``, but a stack of matrices as a matrix each, in rows, and Q, K and V of a fused projection marked.

    across: matrices of a stack in a row; ``None`` for as many as make about a square.
    """
    stack = stacked(name, shape)
    if stack is not None:
        return _stack_layout(name, stack, max_cells, across or abreast([stack]))
    layout = matrix_layout(name, shape, max_cells)
    axis, parts = fused_parts(name, shape)
    if not parts or is_vector(shape):
        return layout
    rows, columns = layout.shape
    step = layout.cell[axis]
    marks = []
    for letter, first, end in parts:
        start, stop = first // step, -(-end // step)
        rect = (0, start, rows, stop - start) if axis else (start, 0, stop - start, columns)
        marks.append(Region(letter, (rect,)))
    return replace(layout, marks=tuple(marks))


def abreast(stacks: Sequence[Stack]) -> int:
    """How many matrices in a row make the pictures of *stacks*, all of as many matrices, about squares on average."""
    (count,) = {stack.count for stack in stacks}
    form = math.exp(sum(math.log(stack.rows / stack.columns) for stack in stacks) / len(stacks))
    return min(max(round(math.sqrt(count * form)), 1), count)


def _stack_layout(name: str, stack: Stack, max_cells: int | None, across: int) -> Layout:
    """All matrices of a stack, a cell apart, *across* of them in a row."""
    down = -(-stack.count // across)
    gap = 1 if max_cells is None or max_cells >= 8 * max(across, down) else 0
    room = 1 << 30 if max_cells is None else max_cells
    high, wide = (
        max(-(-length // max((room - (count - 1) * gap) // count, 1)), 1)
        for length, count in ((stack.rows, down), (stack.columns, across))
    )
    height, width = -(-stack.rows // high), -(-stack.columns // wide)
    if max_cells is not None and max(down * (height + gap), across * (width + gap)) - gap > max_cells:  # too many to be apart
        return matrix_layout(name, (stack.count * stack.rows, stack.columns), max_cells)
    blocks, rects, marks = [], [], []
    for index, place in enumerate(stack.indices):
        row, column = (index // across) * (height + gap), (index % across) * (width + gap)
        start = index * stack.rows * stack.columns
        blocks.append(Block(name, start, row * high, column * wide, ((stack.rows, 1, 0), (stack.columns, 0, 1))))
        rects.append((row, column, height, width))
        marks.append(Region(matrix_name(name, place), (rects[-1],)))
    shape = (down * (height + gap) - gap) * high, (across * (width + gap) - gap) * wide
    return Layout(*shape, (high, wide), tuple(blocks), (Region(name, tuple(rects)),), marks=tuple(marks))
