"""What the raster promises beyond places: accuracy, numbers at the edge, scales, the largest weight, memory."""

from __future__ import annotations

import math
import pickle
import tracemalloc
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from tests.support.raster.reference import assert_same, reduced, streamed, streamed_part

from torch2grid_core import Grid, Layout
from torch2grid_core._pictures.raster import RasterPart, assemble
from torch2grid_core.grids import REDUCTIONS, Block, Region, flat_run, matrix_layout, reduce_array

Array = np.ndarray[Any, Any]
MAX32 = float(np.finfo(np.float32).max)


def one_cell(*weights: float, reduce: str, dtype: type = np.float64) -> float:
    array = np.array(weights, dtype=dtype)
    layout = Layout(1, len(array), (1, len(array)), (Block("w", 0, 0, 0, ((len(array), 0, 1),)),))
    return float(streamed(layout, {"w": array}, reduce).values[0, 0])


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_nan_makes_its_cell_nan_and_no_other(reduce: str) -> None:
    weights = np.arange(100, dtype=np.float32)
    weights[42] = np.nan
    layout = matrix_layout("w", (10, 10), 5)
    grid = streamed(layout, {"w": weights}, reduce)
    assert np.argwhere(np.isnan(grid.values)).tolist() == [[2, 1]]
    assert grid.largest == ("w", 99, 99.0)
    assert grid.largest_cell == (4, 4)


def test_infinite_weights_stay_infinite_and_finite_ones_never_become_so() -> None:
    assert one_cell(1.0, math.inf, reduce="mean") == math.inf
    assert math.isnan(one_cell(math.inf, -math.inf, reduce="mean"))
    assert one_cell(1.0, -math.inf, reduce="rms") == math.inf
    assert one_cell(1.0, -math.inf, reduce="absmax") == math.inf
    for reduce in REDUCTIONS:
        assert abs(one_cell(1e300, 1e308, 1.7e308, reduce=reduce)) == MAX32
    assert one_cell(-1e300, -1e300, reduce="mean") == -MAX32
    assert one_cell(-1e300, 5.0, reduce="min") == -MAX32
    assert one_cell(MAX32, MAX32, MAX32, reduce="mean", dtype=np.float32) == MAX32
    assert one_cell(MAX32, MAX32, reduce="rms", dtype=np.float32) == pytest.approx(MAX32, rel=1e-6)
    assert one_cell(1e-45, 1e-45, reduce="rms", dtype=np.float32) == pytest.approx(1e-45, rel=0.5)


def test_ten_million_weights_in_one_cell_are_added_accurately() -> None:
    weights = np.random.default_rng(5).normal(1e-3, 1, 10_000_000).astype(np.float32)
    layout = Layout(1, weights.size, (1, weights.size), (Block("w", 0, 0, 0, ((weights.size, 0, 1),)),))
    for reduce, expected in (
        ("mean", math.fsum(weights) / weights.size),
        ("rms", math.sqrt(float(np.dot(weights.astype(np.float64), weights.astype(np.float64))) / weights.size)),
    ):
        part = RasterPart(layout, "w", reduce)
        for start in range(0, weights.size, 262_144):
            part.update(start, weights[start : start + 262_144])
        grid = assemble(layout, reduce, [part.result()])
        assert float(grid.values[0, 0]) == pytest.approx(expected, rel=1e-6)
        assert grid.counts[0, 0] == 10_000_000


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_millions_of_weights_of_several_shapes(reduce: str) -> None:
    rng = np.random.default_rng(7)
    arrays = {
        "matrix": rng.standard_normal((1500, 1100)).astype(np.float32),
        "tall": rng.standard_normal((300_000, 3)).astype(np.float32),
        "kernels": rng.standard_normal((128, 96, 3, 3)),
        "vector": rng.standard_normal(777_777).astype(np.float32),
    }
    arrays["matrix"][700, 700] = arrays["vector"][-1] = np.nan
    for name, array in arrays.items():
        layout = matrix_layout(name, array.shape, 256).validate({name: array.shape}, 256)
        assert_same(streamed(layout, {name: array}, reduce), layout, {name: array}, reduce)


def test_convolution_tiles_and_transposes_are_one_block_each() -> None:
    kernels = np.random.default_rng(2).standard_normal((6, 4, 3, 5)).astype(np.float32)
    tiles = Block("k", 0, 0, 0, ((6, 4, 0), (4, 0, 6), (3, 1, 0), (5, 0, 1)))  # a gap of one between tiles
    layout = Layout(23, 23, (1, 1), (tiles,)).validate({"k": kernels.shape})
    grid = streamed(layout, {"k": kernels}, "mean")
    for out in range(6):
        for channel in range(4):
            tile = grid.values[4 * out : 4 * out + 3, 6 * channel : 6 * channel + 5]
            np.testing.assert_array_equal(tile, kernels[out, channel])
    assert grid.weights == kernels.size
    coarse = Layout(24, 24, (4, 6), (tiles,)).validate({"k": kernels.shape})
    for reduce in REDUCTIONS:
        assert_same(streamed(coarse, {"k": kernels}, reduce), coarse, {"k": kernels}, reduce)
    turned = Layout(7, 5, (1, 1), (Block("w", 0, 0, 0, ((5, 0, 1), (7, 1, 0))),))
    matrix = np.arange(35, dtype=np.float32).reshape(5, 7)
    np.testing.assert_array_equal(streamed(turned, {"w": matrix}, "max").values, matrix.T)


def test_the_largest_weight_is_found_whatever_the_order() -> None:
    weights = np.zeros(1000, dtype=np.float32)
    weights[[7, 300, 900]] = 5.0, -9.0, 9.0
    weights[[1, 2]] = np.nan, np.inf
    layout = matrix_layout("w", (1000,), 8)
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert streamed_part(layout, "w", weights, "mean", rng).largest == (300, -9.0)
    assert streamed_part(layout, "w", np.full(1000, np.nan), "mean", rng).largest is None
    assert streamed_part(layout, "w", np.zeros(1000), "mean", rng).largest == (0, 0.0)


def test_parts_of_several_tensors_tell_the_same_whichever_comes_first() -> None:
    rng = np.random.default_rng(4)
    weights = {name: rng.standard_normal(64).astype(np.float32) * 0.1 for name in "abcd"}
    for name, value in (("b", -9.0), ("c", 9.0), ("d", 9.0)):
        weights[name][5] = value
    dims = ((64, 0, 1),)
    layout = Layout(4, 64, (1, 4), tuple(Block(name, 0, row, 0, dims) for row, name in enumerate(weights)))
    parts = []
    for name, values in weights.items():
        part = RasterPart(layout, name, "mean")
        part.update(0, values)
        parts.append(part.result())
    found = [assemble(layout, "mean", order) for order in permutations(parts)]
    assert {each.largest for each in found} == {("b", 5, -9.0)}
    assert {each.spread for each in found} == {found[0].spread}
    assert all(np.array_equal(each.values, found[0].values) for each in found)


def test_parts_of_one_tensor_add_up_and_travel() -> None:
    weights = np.random.default_rng(3).standard_normal((40, 50)).astype(np.float32)
    layout = matrix_layout("w", (40, 50), 16)
    for reduce in REDUCTIONS:
        first, second = RasterPart(layout.only("w"), "w", reduce), RasterPart(layout, "w", reduce)
        first.update(0, weights.reshape(-1)[:777])
        second.update(777, weights.reshape(-1)[777:])
        results = [pickle.loads(pickle.dumps(part.result())) for part in (first, second)]
        assert_same(assemble(layout, reduce, results), layout, {"w": weights}, reduce)
    with pytest.raises(ValueError, match="1223 weights of 'w' were read, its layout has 2000"):
        assemble(layout, "max", [second.result()])
    with pytest.raises(ValueError, match="another layout or reduction"):
        assemble(layout, "min", [second.result()])


def test_wrong_calls_are_refused() -> None:
    layout = matrix_layout("w", (4, 5))
    with pytest.raises(ValueError, match="unknown reduction 'median'; valid: mean, absmax, rms, min, max"):
        RasterPart(layout, "w", "median")
    with pytest.raises(ValueError, match="no place for tensor 'v'"):
        RasterPart(layout, "v", "mean")
    with pytest.raises(ValueError, match="weights 15–25 of 'w' have no place"):
        RasterPart(layout, "w", "mean").update(15, np.zeros(10, dtype=np.float32))


def test_a_scale_moves_places_and_stretches_sizes() -> None:
    weights = np.linspace(-3, 5, 64, dtype=np.float32)
    layout = matrix_layout("w", (8, 8), 4)
    for reduce in REDUCTIONS:
        plain, counts = reduced(layout, {"w": weights}, reduce)
        grid = streamed(layout, {"w": weights}, reduce, scale={"w": (-2.0, 10.0)}, quantity="place")
        expected = plain * 2 if reduce in ("absmax", "rms") else plain * -2 + 10
        np.testing.assert_allclose(grid.values, expected, rtol=1e-6)
        assert grid.quantity == "place"
        np.testing.assert_array_equal(grid.counts, counts)


def test_a_scale_is_applied_once_to_a_cell_of_two_blocks() -> None:
    blocks = (Block("w", 0, 0, 0, ((3, 0, 1),)), Block("w", 3, 1, 0, ((3, 0, 1),)))
    layout = Layout(2, 3, (2, 1), blocks).validate({"w": (6,)})
    grid = streamed(layout, {"w": np.arange(6.0)}, "mean", scale={"w": (10.0, 1.0)})
    np.testing.assert_array_equal(grid.values, [[16.0, 26.0, 36.0]])
    np.testing.assert_array_equal(grid.counts, [[2, 2, 2]])


def test_a_tensor_without_a_part_stays_empty() -> None:
    blocks = (Block("v", 0, 0, 0, ((3, 0, 1),)), Block("w", 0, 1, 0, ((3, 0, 1),)))
    grid = streamed(Layout(2, 3, (1, 1), blocks), {"w": np.ones(3)}, "min")
    np.testing.assert_array_equal(grid.counts, [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(grid.values, [[0, 0, 0], [1, 1, 1]])


def test_memory_follows_the_cells_of_the_tensor() -> None:
    """A ring of thin sides around a large grid costs its own cells, and streaming costs a few chunks."""
    side = 4096
    sides = (
        Block("w", 0, 0, 0, ((side, 0, 1),)),
        Block("w", side, 1, side - 1, ((side - 1, 1, 0),)),
        Block("w", 2 * side - 1, side - 1, side - 2, ((side - 1, 0, -1),)),
    )
    layout = Layout(side, side, (1, 1), sides)
    weights = np.ones(3 * side - 2, dtype=np.float32)
    tracemalloc.start()
    try:
        part = RasterPart(layout, "w", "mean")
        part.update(0, weights)
        ring = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        large = RasterPart(matrix_layout("w", (4096, 4096), 512), "w", "rms")
        chunk = np.ones(1 << 22, dtype=np.float32)
        before = tracemalloc.get_traced_memory()[0]
        for start in range(0, 1 << 24, 1 << 22):
            large.update(start, chunk)
        streaming = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert ring < 2 << 20
    assert streaming < 12 << 20
    assert part.result().values.size == 3 * side - 2


def test_an_array_is_reduced_by_the_same_rules() -> None:
    array = np.random.default_rng(4).standard_normal((130, 47))
    array[100, 40] = np.nan
    for reduce in REDUCTIONS:
        grid = reduce_array(array, reduce, 30)
        layout = Layout(130, 47, (5, 2), (Block("", 0, 0, 0, ((130, 1, 0), (47, 0, 1))),))
        assert grid.cell == (5, 2)
        assert_same(grid, layout, {"": array}, reduce)
    assert reduce_array(array, "mean", 130).cell == (1, 1)
    np.testing.assert_array_equal(reduce_array(np.eye(3, dtype=np.int64), "mean", 8).values, np.eye(3))
    assert float(reduce_array(np.full((2, 2), 1e300), "mean", 8).values[0, 0]) == MAX32
    with pytest.raises(ValueError, match="two dimensions, not 3"):
        reduce_array(np.zeros((2, 2, 2)), "mean", 8)


def test_a_grid_is_reduced_with_its_counts_and_regions() -> None:
    values = np.array([[2.0, 4.0, 7.0], [6.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    count = np.array([[1, 3, 1], [1, 0, 0], [2, 0, 0]])
    regions = (Region("w", ((0, 0, 2, 3), (2, 0, 1, 1))),)
    grid = Grid(values, count, "mean", (1, 3), regions, largest=("w", 4, 7.0), largest_cell=(0, 2))
    half = reduce_array(grid, "max", 2)
    assert half.reduce == "mean"
    assert half.cell == (2, 6)
    np.testing.assert_allclose(half.values, [[20 / 5, 7], [-1, 0]], rtol=1e-7)
    np.testing.assert_array_equal(half.counts, [[5, 1], [2, 0]])
    assert half.regions == (Region("w", ((0, 0, 1, 2), (1, 0, 1, 1))),)
    assert half.largest == ("w", 4, 7.0)
    assert half.largest_cell == (0, 1)
    sparse = Grid(values, (count > 0).astype(int))
    np.testing.assert_allclose(reduce_array(sparse, "min", 2).values, [[2, 7], [-1, 0]])
    np.testing.assert_allclose(reduce_array(sparse, "rms", 2).values, [[math.sqrt(56 / 3), 7], [1, 0]], rtol=1e-6)
    assert reduce_array(grid, "max", 3) is grid


@pytest.mark.parametrize(
    ("shape", "max_cells", "cells", "cell"),
    [
        ((20, 10), 1024, (20, 10), (1, 1)),
        ((2048, 3000), 1024, (1024, 1000), (2, 3)),
        ((8, 3, 3, 3), 1024, (8, 27), (1, 1)),
        ((), 1024, (1, 1), (1, 1)),
        ((64,), 1024, (1, 64), (1, 1)),
        ((768,), 1024, (12, 64), (1, 1)),
        ((1, 768), 1024, (12, 64), (1, 1)),
        ((768, 1, 1), 1024, (12, 64), (1, 1)),
        ((10_000_000,), 1024, (977, 1024), (1, 10)),
        ((10_000_000,), 7, (7, 7), (1, 204_082)),
        ((10_000_000,), None, (1221, 8192), (1, 1)),
    ],
)
def test_a_tensor_keeps_its_form(
    shape: tuple[int, ...], max_cells: int | None, cells: tuple[int, int], cell: tuple[int, int]
) -> None:
    layout = matrix_layout("w", shape, max_cells).validate({"w": shape}, max_cells)
    assert layout.shape == cells
    assert layout.cell == cell
    covered = sum(height * width for _, _, height, width in layout.regions[0].rects)
    assert covered == -(-math.prod(shape) // math.prod(cell)) or len(shape) > 1


def test_a_flat_run_fills_cells_of_several_lines() -> None:
    weights = np.arange(100, dtype=np.float32)
    blocks, region = flat_run("w", 100, (1, 2, 6, 4), 3, (2, 3))
    layout = Layout(14, 18, (2, 3), blocks, (region,)).validate({"w": (100,)})
    grid = streamed(layout, {"w": weights}, "min")
    numbers = np.flatnonzero(grid.counts[1:, 2:6].reshape(-1))
    np.testing.assert_array_equal(numbers, np.arange(3, 20))  # 17 cells of six weights, from the fourth cell
    np.testing.assert_array_equal(grid.values[1:, 2:6].reshape(-1)[3:20], np.arange(0, 100, 6))
    assert grid.counts[1:, 2:6].reshape(-1)[19] == 4
    inside = np.zeros(grid.shape, dtype=bool)
    for row, column, height, width in region.rects:
        inside[row : row + height, column : column + width] = True
    np.testing.assert_array_equal(inside, grid.counts > 0)
    with pytest.raises(ValueError, match="17 cells of 'w' do not fit 4×4 from cell 0"):
        flat_run("w", 100, (0, 0, 4, 4), cell=(2, 3))
