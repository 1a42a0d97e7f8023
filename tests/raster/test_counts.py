"""Counts that are all equal are one number, in memory and in a pickle."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from torch2grid_core import Grid
from torch2grid_core.grids import Region, reduce_array


@pytest.mark.parametrize("count", [None, 1, np.ones((512, 256), np.int64), np.full((512, 256), 9), 9])
def test_equal_counts_are_one_number(count: np.ndarray | int | None) -> None:
    values = np.random.default_rng(0).standard_normal((512, 256), dtype=np.float32)
    grid = Grid(values, count, "rms", (3, 3), (Region("w", ((0, 0, 512, 256),)),))
    number = 1 if count is None else int(np.max(count))
    assert (grid.counts.dtype, grid.counts.shape, grid.counts.base.nbytes) == (np.int64, (512, 256), 8)
    assert grid.weights == number * values.size
    assert grid.drawn().size == values.size
    packed = pickle.dumps(grid)
    assert len(packed) < values.nbytes + 2000
    for again in (pickle.loads(packed), copy.deepcopy(grid)):
        assert again.counts.base.nbytes == 8
        np.testing.assert_array_equal(again.counts, grid.counts)
        np.testing.assert_array_equal(again.values, values)
        assert (again.reduce, again.cell, again.regions) == (grid.reduce, grid.cell, grid.regions)
    assert reduce_array(grid, "rms", 128).weights == grid.weights


def test_other_counts_stay_as_they_are() -> None:
    counts = np.arange(12).reshape(3, 4)
    grid = Grid(np.zeros((3, 4), np.float32), counts)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(grid)).counts, counts)
    assert Grid(np.zeros((0, 4), np.float32)).weights == 0
    with pytest.raises(ValueError, match="counts"):
        Grid(np.zeros((3, 4), np.float32), np.ones((4, 3)))
