"""Pictures in a terminal, read back from their escapes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_core import Grid
from torch2grid_core.grids import EMPTY, NOT_FINITE, character_cells, color_scale, half_blocks, paint


def colors(line):
    """(upper, lower) colour of each character; the lower one ``None`` where it is the terminal's own."""
    found, upper, lower = [], None, None
    for codes, block in re.findall(r"\x1b\[([\d;]+)m|(▀)", line):
        if block:
            found.append((upper, lower))
        elif codes != "0":
            numbers = [int(code) for code in codes.split(";")]
            upper, lower = tuple(numbers[2:5]), tuple(numbers[7:10]) or None
    return found


@given(st.integers(1, 40), st.integers(1, 90), st.integers(1, 70), st.integers(1, 20), st.booleans())
def test_pictures_fit_their_room(rows, columns, width, lines, color):
    grid = Grid(np.random.default_rng(0).standard_normal((rows, columns)))
    shown = half_blocks(grid, color_scale(grid), width, lines, color)
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in shown]
    assert 1 <= len(plain) <= lines
    assert len({len(line) for line in plain}) == 1
    assert 1 <= len(plain[0]) <= width
    if color:
        assert all(line.endswith("\x1b[0m") for line in shown)
        assert set("".join(plain)) == {"▀"}


def test_colours_are_those_of_the_cells():
    values, count = np.random.default_rng(1).standard_normal((5, 7)), np.ones((5, 7), int)
    values[1, 2], count[4, 6] = np.nan, 0
    grid = Grid(values, count)
    scale = color_scale(grid)
    rgb = paint(grid, scale)
    shown = [colors(line) for line in half_blocks(grid, scale, 7, 3, True)]
    assert len(shown) == 3
    for row, line in enumerate(shown):
        for column, (upper, lower) in enumerate(line):
            assert upper == tuple(rgb[2 * row, column])
            assert lower == (tuple(rgb[2 * row + 1, column]) if row < 2 else None)
    assert shown[0][2][1] == NOT_FINITE
    assert shown[2][6][0] == EMPTY


@pytest.mark.parametrize("reduce", ["mean", "absmax", "rms", "min", "max"])
def test_what_does_not_fit_is_reduced_like_the_grid(reduce):
    rng = np.random.default_rng(2)
    values, count = rng.standard_normal((8, 12)), rng.integers(0, 5, (8, 12))
    values = np.abs(values) if reduce in ("absmax", "rms") else values
    values[count == 0] = 0
    count[:4, :4] = 0
    grid = Grid(values, count, reduce)
    scale = color_scale(grid)
    how = {
        "mean": lambda v, n: (v * n).sum() / n.sum(),
        "rms": lambda v, n: np.sqrt((v**2 * n).sum() / n.sum()),
        "min": lambda v, n: v.min(),
        "max": lambda v, n: v.max(),
        "absmax": lambda v, n: v.max(),
    }[reduce]
    wanted = np.zeros((2, 3))
    number = np.zeros((2, 3), int)
    for row, column in np.ndindex(2, 3):
        part = np.s_[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        there = grid.counts[part] > 0
        number[row, column] = grid.counts[part].sum()
        if there.any():
            wanted[row, column] = how(grid.values[part][there].astype(float), grid.counts[part][there])
    rgb = paint(Grid(wanted, number), scale)
    (line,) = half_blocks(grid, scale, 3, 1, True)
    assert [pair[0] for pair in colors(line)] == [tuple(color) for color in rgb[0].tolist()]
    assert [pair[1] for pair in colors(line)] == [tuple(color) for color in rgb[1].tolist()]


def test_shades_tell_size_nan_and_emptiness():
    values = np.array([[0.0, 0.3, 0.6, -1.0, np.nan, 0.0]] * 2)
    count = np.ones((2, 6), int)
    count[:, 5] = 0
    (line,) = half_blocks(Grid(values, count), color_scale(Grid(values, count), limits=(-1, 1)), 6, 1, False)
    assert line == "·░▒█! "
    (line,) = half_blocks(Grid(np.array([[0.0, 1.0]] * 2)), color_scale(Grid(np.array([[0.0, 1.0]]))), 2, 1, False)
    assert line == "·█"


def test_small_grids_are_enlarged_by_a_whole_factor():
    grid = Grid(np.arange(4.0).reshape(2, 2))
    shown = [colors(line) for line in half_blocks(grid, color_scale(grid), 9, 4, True)]
    assert (len(shown), len(shown[0])) == (4, 8)
    assert len({pair for line in shown for pair in line}) == 4


def test_no_cells_and_no_room():
    assert half_blocks(Grid(np.zeros((0, 3))), color_scale(Grid(np.zeros((1, 1)))), 10, 5, True) == []
    for width, rows in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match="no room"):
            half_blocks(Grid(np.zeros((1, 1))), color_scale(Grid(np.zeros((1, 1)))), width, rows, True)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 70), st.integers(1, 20), st.booleans())
def test_what_a_character_stands_for_is_what_it_does(rows, columns, width, lines, color):
    grid = Grid(np.random.default_rng(0).standard_normal((rows, columns)))
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in half_blocks(grid, color_scale(grid), width, lines, color)]
    down, across = character_cells((rows, columns), width, lines)
    assert down == 2 * across
    assert (len(plain) - 1) * down < rows <= len(plain) * down
    assert (len(plain[0]) - 1) * across < columns <= len(plain[0]) * across
