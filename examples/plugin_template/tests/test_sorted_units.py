"""The transformer on arrays, and found by torch2grid as an installed plugin."""

from __future__ import annotations

import numpy as np
import pytest

from torch2grid_core import Grid, NotDrawable, PluginManager
from torch2grid_myplugin.sorted_units import SortedUnits


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "conv.weight": random.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "conv.bias": random.normal(size=4).astype(np.float32),
        "fc.weight": random.normal(size=(6, 5)).astype(np.float32),
    }


def norms(grid: Grid, region: int) -> np.ndarray:
    ((row, column, height, width),) = grid.regions[region].rects
    return np.linalg.norm(grid.values[row : row + height, column : column + width], axis=1)


def test_each_band_is_sorted_and_holds_every_weight_of_its_tensor(tensors):
    grid = SortedUnits()(tensors)
    assert [region.name for region in grid.regions] == ["conv.weight", "fc.weight"]
    assert grid.shape == (4 + 1 + 6, 18)
    assert grid.weights == 4 * 18 + 6 * 5
    for i, name in enumerate(["conv.weight", "fc.weight"]):
        expected = np.linalg.norm(tensors[name].reshape(len(tensors[name]), -1), axis=1)
        np.testing.assert_allclose(norms(grid, i), np.sort(expected)[::-1], rtol=1e-5)


def test_weakest_first_turns_the_order_round(tensors):
    grid = SortedUnits(weakest_first=True)(tensors)
    assert np.all(np.diff(norms(grid, 0)) >= 0)


def test_a_unit_with_a_nan_is_kept_and_comes_last(tensors):
    tensors["fc.weight"][0, 3] = np.nan
    for weakest_first in (False, True):
        grid = SortedUnits(weakest_first=weakest_first)(tensors)
        np.testing.assert_array_equal(np.isnan(grid.values[-1]), [False] * 3 + [True] + [False] * 14)
        assert np.isnan(grid.values).sum() == 1


def test_a_model_of_vectors_only_is_declined():
    with pytest.raises(NotDrawable):
        SortedUnits()({"bias": np.ones(3, np.float32)})


def test_torch2grid_finds_it_and_sets_its_option():
    manager = PluginManager.discover()
    found = manager.find("transformer", "sorted_units")
    assert found.record.distribution == "torch2grid-myplugin"
    assert manager.create("transformer", "sorted_units:weakest_first=true") == SortedUnits(weakest_first=True)
