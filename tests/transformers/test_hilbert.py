"""The curve that keeps neighbours near: every cell once, step by step, and the same curve as Hilbert's in its squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_builtin._transformers.hilbert import Hilbert, Walk
from torch2grid_core import Grid


@given(rows=st.integers(1, 70), columns=st.integers(1, 70))
def test_a_walk_goes_through_every_cell_of_any_rectangle(rows: int, columns: int) -> None:
    down, across = Walk(rows, columns)(np.arange(rows * columns))
    assert np.array_equal(np.sort(down * columns + across), np.arange(rows * columns))
    steps = np.abs(np.diff(down)) + np.abs(np.diff(across))
    assert np.count_nonzero(steps != 1) <= 1  # one step across a corner, where an odd rectangle needs it
    assert steps.max(initial=1) <= 2


@pytest.mark.parametrize("side", [1, 2, 3, 7, 16, 33, 100, 255])
def test_a_walk_through_a_square_never_jumps(side: int) -> None:
    down, across = Walk(side, side)(np.arange(side * side))
    assert np.all(np.abs(np.diff(down)) + np.abs(np.diff(across)) == 1)


@pytest.mark.parametrize("level", [1, 2, 4])
def test_aligned_stretches_are_squares(level: int) -> None:
    """As on Hilbert's own curve: 4^m cells that begin at a multiple of 4^m are a square of 2^m."""
    down, across = (each.reshape(-1, 4**level) for each in Walk(64, 64)(np.arange(64 * 64)))
    for places in (down, across):
        assert np.all(places.max(axis=1) - places.min(axis=1) == 2**level - 1)
        assert np.all(places.min(axis=1) % 2**level == 0)


def test_neighbours_in_the_model_are_near_in_the_picture() -> None:
    shapes = {"a": (300, 200), "b": (100, 400)}
    grid = Hilbert()({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    assert isinstance(grid, Grid)
    down, across = Walk(*grid.shape)(np.arange(100_000))
    apart = np.hypot(down[1000:] - down[:-1000], across[1000:] - across[:-1000])
    assert apart.mean() < 1.5 * 1000**0.5  # a row would be 1000 away, or a few rows
    assert grid.weights == 100_000
    assert np.mean(grid.counts > 0) > 0.99  # no corner stays empty


def test_the_picture_is_full_at_any_size() -> None:
    for weights in (100, 1000, 4097, 17_000, 70_000):
        for most in (None, 32, 100):
            layout = Hilbert().layout({"a": (weights,)}, most).validate({"a": (weights,)}, most)
            cells = layout.shape[0] * layout.shape[1]
            assert layout.blocks[0].size / layout.cell[1] > 0.75 * cells - 1
