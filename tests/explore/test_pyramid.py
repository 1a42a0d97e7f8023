"""Levels above the cells of a pass: each cell is of one tensor, of all its weights where it is alone, and hides no NaN."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from hypothesis import given, strategies as st
from tests.raster.test_window import lazy
from tests.support.explore import SOURCE

from torch2grid_builtin._transformers.atlas import Atlas
from torch2grid_core import Checkpoint, Layout, measure
from torch2grid_core.measures import Planes

sys.path.insert(0, str(SOURCE))
from torch2grid_explore import pyramid as module
from torch2grid_explore.pyramid import PLANES, Pyramid

Array = np.ndarray[Any, Any]


def filled(layout: Layout, made: dict[str, Array], order: list[str]) -> Pyramid:
    found = Pyramid(layout)
    tensors = Checkpoint({name: lazy(name, array) for name, array in made.items()})
    windows = {str(key): results["planes"] for key, results in measure(tensors, {"planes": Planes(layout, PLANES)})}
    for name in order:
        found.put(name, windows[name])
    return found


def cells_of(layout: Layout, made: dict[str, Array], cell: int) -> dict[tuple[int, int], dict[str, list[float]]]:
    """The weights of each cell, by tensor, one by one."""
    found: dict[tuple[int, int], dict[str, list[float]]] = {}
    fine = layout.refined((1, 1)) if layout.cell != (1, 1) else layout
    for name, array in made.items():
        for index, value in enumerate(array.reshape(-1).tolist()):
            row, column = fine.cell_of(name, index)
            found.setdefault((row // cell, column // cell), {}).setdefault(name, []).append(value)
    return found


shapes = st.dictionaries(
    st.sampled_from(["a.weight", "a.bias", "b.weight", "b.bias", "c"]),
    st.lists(st.integers(1, 14), min_size=1, max_size=2).map(tuple),
    min_size=1,
)


@given(shapes, st.sampled_from([1, 2, 4]), st.randoms(use_true_random=False), st.integers(0, 2**32 - 1))
def test_a_coarser_cell_is_of_one_tensor_and_hides_no_nan(
    sides: dict[str, tuple[int, ...]], cell: int, random: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    made = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in sides.items()}
    if seed % 2:
        next(iter(made.values())).reshape(-1)[0] = np.nan
    layout = Atlas(cell=cell).layout(sides, None)
    order = list(made)
    random.shuffle(order)
    before, module._COARSEST = module._COARSEST, 2
    try:
        found = filled(layout, made, order)
    finally:
        module._COARSEST = before
    assert max(found.shapes[-1]) <= 2
    sizes = {name: array.size for name, array in made.items()}
    for number in range(len(found.shapes)):
        level = found.level(number)
        whole = found.window(number, (0, 0, *level.shape))
        assert np.array_equal(whole.counts, level.counts)
        assert all(np.array_equal(whole.planes[name], level.planes[name], equal_nan=True) for name in PLANES)
        expected = cells_of(layout, made, level.cell[0])
        assert {tuple(place) for place in np.argwhere(level.counts > 0).tolist()} == set(expected)
        for place, held in expected.items():
            owner = found.tensors[level.owners[place]]
            weights = np.array(held[owner], dtype=np.float64)
            lost = [name for name, values in held.items() if not np.isfinite(values).all()]
            assert owner in (lost or held)
            if not lost and len(held) > 1:
                assert sizes[owner] == min(sizes[name] for name in held)
            with np.errstate(all="ignore"):
                truth = (weights.mean(), np.sqrt(np.square(weights).mean()), weights.min(), weights.max())
            if len(held) == 1:  # of several, what was left to a smaller one below is not counted again
                assert level.counts[place] == len(weights)
                for name, value in zip(PLANES, truth, strict=True):
                    np.testing.assert_allclose(level.planes[name][place], value, rtol=1e-5, atol=1e-6)
            else:
                assert 1 <= level.counts[place] <= len(weights)
                if not lost:
                    low, high = (np.float32(value) for value in truth[2:])
                    assert low <= level.planes["min"][place] <= level.planes["max"][place] <= high
            if lost:
                assert not np.isfinite(level.planes["mean"][place])


def test_what_is_not_yet_read_is_empty_and_the_rest_is_there() -> None:
    sides = {"a.weight": (20, 30), "b.weight": (10, 40)}
    made = {name: np.ones(shape, dtype=np.float32) for name, shape in sides.items()}
    layout = Atlas(cell=2).layout(sides, None)
    found = filled(layout, made, ["a.weight"])
    window = found.window(0, (0, 0, *layout.shape))
    assert found.filled == {"a.weight"}
    assert int(window.counts.sum()) == 600
    assert (window.planes["mean"][window.counts > 0] == 1).all()
    assert not window.planes["mean"][window.counts == 0].any()


@given(shapes, st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=12), st.integers(0, 2**32 - 1))
def test_looking_in_between_changes_nothing(
    sides: dict[str, tuple[int, ...]], looks: list[tuple[int, bool]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    made = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in sides.items()}
    layout = Atlas(cell=1).layout(sides, None)
    before, module._COARSEST = module._COARSEST, 2
    try:
        at_once, looked_at = filled(layout, made, list(made)), Pyramid(layout)
    finally:
        module._COARSEST = before
    tensors = Checkpoint({name: lazy(name, array) for name, array in made.items()})
    for key, results in measure(tensors, {"planes": Planes(layout, PLANES)}):
        looked_at.put(str(key), results["planes"])
        for number, settled in looks:
            level = number % len(looked_at.shapes)
            height, width = looked_at.shapes[level]
            looked_at.window(level, (number % height, number % width, 1, 1))
            if settled:
                looked_at.settle()
    for level in range(len(at_once.shapes)):
        one, other = at_once.level(level), looked_at.level(level)
        assert np.array_equal(one.counts, other.counts)
        assert np.array_equal(one.owners[one.counts > 0], other.owners[one.counts > 0])
        assert all(np.array_equal(one.planes[name], other.planes[name]) for name in PLANES)
