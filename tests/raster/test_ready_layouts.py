"""The ready-made layouts, weight by weight, against what their docstrings say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_core import Layout, NotDrawable
from torch2grid_core._pictures.layouts import is_vector, matrix_shape, vector_columns, weights_per_cell
from torch2grid_core.grids import Block, Region, drawable_sizes, flat_run, label_rows, matrix_layout

RUNS = st.tuples(
    st.integers(1, 120),  # weights
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 9)),  # top, left, width
    st.integers(0, 12),  # first
    st.tuples(st.integers(1, 4), st.integers(1, 4)),  # cell
)


def places(blocks: tuple[Block, ...], size: int) -> list[tuple[int, int]]:
    """(row, column) of each weight, by the blocks."""
    found: list[Any] = [None] * size
    for block in blocks:
        rows, columns = (each.reshape(-1) for each in np.broadcast_arrays(*block.positions()))
        for index in range(block.size):
            assert found[block.start + index] is None
            found[block.start + index] = (int(rows[index]), int(columns[index]))
    return found


@given(RUNS)
def test_a_flat_run_goes_cell_by_cell_and_line_by_line_inside_a_cell(run: tuple[Any, ...]) -> None:
    size, (top, left, width), first, (r, c) = run
    cells = -(-size // (r * c))
    height = -(-(first + cells) // width)
    blocks, region = flat_run("w", size, (top, left, height, width), first, (r, c))
    expected = []
    for weight in range(size):
        cell, inside = divmod(weight, r * c)
        row, column = divmod(first + cell, width)
        expected.append(((top + row) * r + inside // c, (left + column) * c + inside % c))
    assert places(blocks, size) == expected
    assert [block.start for block in blocks] == sorted(block.start for block in blocks)
    covered = [(a + i, b + j) for a, b, h, w in region.rects for i in range(h) for j in range(w)]
    assert covered == [(top + (first + cell) // width, left + (first + cell) % width) for cell in range(cells)]
    assert region.name == "w"
    assert {block.tensor for block in blocks} == {"w"}
    assert len(region.rects) <= 3, "a line that begins within, whole lines, a line that ends within"
    beyond = first + height * width
    with pytest.raises(ValueError, match=f"{cells} cells of 'w' do not fit {height}×{width} from cell {beyond}"):
        flat_run("w", size, (top, left, height, width), beyond, (r, c))


def test_a_flat_run_of_whole_lines_is_one_block() -> None:
    assert flat_run("w", 12, (1, 0, 3, 4)) == (
        (Block("w", 0, 1, 0, ((3, 1, 0), (4, 0, 1))),),
        Region("w", ((1, 0, 3, 4),)),
    )
    with pytest.raises(ValueError, match="from cell -1"):
        flat_run("w", 2, (0, 0, 2, 2), -1)


@given(st.lists(st.integers(0, 400), max_size=8), st.integers(1, 40))
def test_the_fewest_weights_a_cell_that_fit(sizes: list[int], cells: int) -> None:
    drawn = [size for size in sizes if size]
    if len(drawn) > cells:
        with pytest.raises(NotDrawable, match=f"{len(drawn)} tensors do not fit {cells} cells"):
            weights_per_cell(sizes, cells)
        return
    fits = (k for k in range(1, 402) if sum(-(-size // k) for size in sizes) <= cells)
    assert weights_per_cell(iter(sizes), cells) == next(fits)


def test_what_can_be_drawn() -> None:
    assert drawable_sizes({"a": (2, 3), "none": (4, 0), "scalar": ()}) == {"a": 6, "scalar": 1}
    with pytest.raises(NotDrawable, match="no weights to draw"):
        drawable_sizes({"none": (0,)})


@pytest.mark.parametrize(
    ("shape", "matrix", "vector"),
    [
        ((), (1, 1), True),
        ((7,), (1, 7), True),
        ((1, 7), (1, 7), True),
        ((7, 1, 1), (7, 1), True),
        ((2, 7), (2, 7), False),
        ((7, 2), (7, 2), False),
        ((4, 3, 5, 2), (4, 30), False),
        ((0, 3), (0, 3), True),
    ],
)
def test_the_two_dimensions_of_a_shape(shape: tuple[int, ...], matrix: tuple[int, int], vector: bool) -> None:
    assert matrix_shape(shape) == matrix
    assert is_vector(shape) == vector


def test_a_long_vector_is_a_strip_of_a_power_of_two() -> None:
    assert [vector_columns(cells) for cells in (0, 1, 2, 64, 65, 113, 114, 455, 456, 10**6, 10**8)] == [
        *(1, 1, 2, 64),  # one row
        *(16, 16, 32, 32, 64, 2048, 16384),  # 1.5·√cells, or up to twice that
    ]


def test_labels_are_as_high_as_a_line_of_text_in_the_finished_picture() -> None:
    rows = [label_rows(side) for side in (1, 8, 50, 100, 166, 250, 499, 500, 510, 1000, 1100, 1500, 1700, 1750, 4096)]
    assert rows == [1, 1, 2, 4, 5, 9, 9, 18, 18, 18, 20, 27, 31, 31, 31]


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        (
            (1025, 2049),
            {},
            Layout(
                *(1025, 2049, (2, 3)),
                (Block("w", 0, 0, 0, ((1025, 1, 0), (2049, 0, 1))),),
                (Region("w", ((0, 0, 513, 683),)),),
            ),
        ),
        (
            (5, 3, 3),
            {"max_cells": None},
            Layout(5, 9, (1, 1), (Block("w", 0, 0, 0, ((5, 1, 0), (9, 0, 1))),), (Region("w", ((0, 0, 5, 9),)),)),
        ),
        (
            (2, 2),
            {"max_cells": 1},
            Layout(2, 2, (2, 2), (Block("w", 0, 0, 0, ((2, 1, 0), (2, 0, 1))),), (Region("w", ((0, 0, 1, 1),)),)),
        ),
        (
            (70,),
            {"max_cells": 8},  # two weights a cell, 35 cells, at most eight a row
            Layout(
                *(5, 16, (1, 2)),
                (Block("w", 0, 0, 0, ((4, 1, 0), (16, 0, 1))), Block("w", 64, 4, 0, ((1, 1, 0), (6, 0, 1)))),
                (Region("w", ((0, 0, 4, 8), (4, 0, 1, 3))),),
            ),
        ),
    ],
)
def test_a_matrix_keeps_its_form_and_a_vector_is_folded(shape: tuple[int, ...], options: Any, expected: Layout) -> None:
    layout = matrix_layout("w", shape, **options)
    assert layout == expected
    assert all(isinstance(number, int) for rect in layout.regions[0].rects for number in rect)


def test_the_default_is_at_most_1024_cells_a_side() -> None:
    assert matrix_layout("w", (1024, 1025)).cell == (1, 2)
    assert math.prod(matrix_layout("w", (2**21,)).shape) <= 1024**2
