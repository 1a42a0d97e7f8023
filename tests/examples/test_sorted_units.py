"""The template's transformer on arrays: what its picture shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.tools import PROJECT

from torch2grid_core import Grid, NotDrawable, PluginManager

FILE = PROJECT / "examples" / "plugin_template" / "src" / "torch2grid_myplugin" / "transformer.py"


def sorted_units(**options: Any) -> Any:
    manager = PluginManager.discover(third_party=False, files=[str(FILE)])
    return manager.find("transformer", "sorted_units").create(options)


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


def test_each_band_is_sorted_and_holds_every_weight_of_its_tensor(tensors: dict[str, np.ndarray]) -> None:
    grid = sorted_units()(tensors)
    assert [region.name for region in grid.regions] == ["conv.weight", "fc.weight"]
    assert grid.shape == (4 + 1 + 6, 18)
    assert grid.weights == 4 * 18 + 6 * 5
    for i, name in enumerate(["conv.weight", "fc.weight"]):
        expected = np.linalg.norm(tensors[name].reshape(len(tensors[name]), -1), axis=1)
        np.testing.assert_allclose(norms(grid, i), np.sort(expected)[::-1], rtol=1e-5)


def test_weakest_first_turns_the_order_round(tensors: dict[str, np.ndarray]) -> None:
    assert np.all(np.diff(norms(sorted_units(weakest_first=True)(tensors), 0)) >= 0)


def test_a_unit_with_a_nan_is_kept_and_comes_last(tensors: dict[str, np.ndarray]) -> None:
    tensors["fc.weight"][0, 3] = np.nan
    for weakest_first in (False, True):
        grid = sorted_units(weakest_first=weakest_first)(tensors)
        np.testing.assert_array_equal(np.isnan(grid.values[-1]), [False] * 3 + [True] + [False] * 14)
        assert np.isnan(grid.values).sum() == 1


def test_a_model_of_vectors_only_is_declined() -> None:
    with pytest.raises(NotDrawable):
        sorted_units()({"bias": np.ones(3, np.float32)})
