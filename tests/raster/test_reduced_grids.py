"""Arrays and grids that are made smaller, and the full-size grids of arrays in memory: exact values, counts and marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.raster.test_blocks import Serpentine
from tests.support.raster.reference import streamed

from torch2grid_core import Grid, Layout, LayoutTransformer
from torch2grid_core._pictures.raster import PartResult, RasterPart, assemble
from torch2grid_core._pictures.reductions import to_float32
from torch2grid_core.grids import REDUCTIONS, Block, Curve, Region, matrix_layout, reduce_array

MAX32 = float(np.finfo(np.float32).max)
LABELS = (Region("text", ((3, 5, 4, 6), (0, 0, 1, 1))),)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_a_grid_that_is_reduced_is_the_grid_of_larger_cells(reduce: str) -> None:
    """For as many weights in every cell, the order of reductions does not matter."""
    weights = np.random.default_rng(1).standard_normal((12, 30)).astype(np.float32)
    fine = replace(matrix_layout("w", (12, 30), 15), cell=(1, 2), regions=(Region("w", ((0, 0, 12, 15),)),), labels=LABELS)
    grid = streamed(fine, {"w": weights}, reduce, quantity="share of range")
    small = reduce_array(grid, "mean", 5)  # cells of several weights are reduced in their own way
    coarse = Layout(
        *(12, 30, (3, 6), fine.blocks),
        (Region("w", ((0, 0, 4, 5),)),),
        (Region("text", ((1, 1, 2, 3), (0, 0, 1, 1))),),  # rows 3–6 of 12 are rows 1–2 of 4, columns 5–10 of 15 are 1–3 of 5
    )
    direct = streamed(coarse, {"w": weights}, reduce, quantity="share of range")
    np.testing.assert_allclose(small.values, direct.values, rtol=1e-6)
    np.testing.assert_array_equal(small.counts, direct.counts)
    assert (small.reduce, small.cell, small.quantity) == (reduce, (3, 6), "share of range")
    assert (small.layout, small.regions, small.labels) == (coarse, coarse.regions, coarse.labels)
    assert (small.largest, small.largest_cell) == (direct.largest, direct.largest_cell)
    marks = [number for mark in (*small.regions, *small.labels) for rect in mark.rects for number in rect]
    assert all(type(number) is int for number in (*marks, *(small.largest_cell or ())))


def test_a_grid_of_two_weights_a_cell_is_reduced_in_its_own_way() -> None:
    values, two = np.array([[1.0, 5.0, 3.0]]), np.full((1, 3), 2)
    for reduce, expected in (("mean", [[3.0, 3.0]]), ("max", [[5.0, 3.0]]), ("absmax", [[5.0, 3.0]]), ("min", [[1.0, 3.0]])):
        small = reduce_array(Grid(values, two, reduce), "rms", 2)
        np.testing.assert_array_equal(small.values, expected)
        np.testing.assert_array_equal(small.counts, [[4, 2]])
        assert small.reduce == reduce
        assert small.layout is None
        assert small.largest_cell is None
    own = reduce_array(Grid(values, two, "median"), "max", 2)
    assert (own.reduce, own.values.tolist()) == ("max", [[5.0, 3.0]])
    once = reduce_array(Grid(values, None, "mean"), "max", 2)
    assert (once.reduce, once.values.tolist()) == ("max", [[5.0, 3.0]])


def test_empty_cells_stay_empty_and_the_grid_that_is_reduced_stays_as_it_was() -> None:
    values = np.array([[2.0, 7.0, 0.0, 0.0], [4.0, 7.0, 0.0, 0.0]], dtype=np.float32)
    counts = np.array([[1, 0, 0, 0], [1, 0, 0, 0]])
    for reduce, expected in (("min", 2.0), ("max", 4.0), ("mean", 3.0)):
        grid = Grid(values.copy(), counts)
        small = reduce_array(grid, reduce, 2)
        np.testing.assert_array_equal(small.values, [[2.0, 0.0], [4.0, 0.0]])
        np.testing.assert_array_equal(small.counts, [[1, 0], [1, 0]])
        np.testing.assert_array_equal(grid.values, values)
        assert float(reduce_array(grid, reduce, 1).values[0, 0]) == expected
    nothing = reduce_array(Grid(np.zeros((4, 0), dtype=np.float32)), "max", 2)
    assert nothing.shape == (2, 0)
    assert reduce_array(Grid(np.zeros((3, 3)), np.zeros((3, 3)), "min"), "max", 1).weights == 0


def test_numbers_at_the_edge_are_reduced_without_a_warning() -> None:
    grid = reduce_array(Grid(np.array([[np.inf, -np.inf, np.nan, 1.0, MAX32, MAX32]])), "mean", 3)
    np.testing.assert_array_equal(grid.values, np.float32([[np.nan, np.nan, MAX32]]))
    grid = reduce_array(Grid(np.array([[np.inf, -np.inf, np.nan, 1.0]])), "max", 2)
    np.testing.assert_array_equal(grid.values, np.float32([[np.inf, np.nan]]))
    narrow = to_float32(np.array([1e300, -1e300, np.inf, -np.inf, np.nan, 1e-300, 0.5]))
    assert narrow.dtype == np.float32
    np.testing.assert_array_equal(narrow, np.float32([MAX32, -MAX32, np.inf, -np.inf, np.nan, 0, 0.5]))


def test_a_grid_of_a_curve_has_no_coarser_layout() -> None:
    layout = Layout(4, 4, (1, 1), (Curve("w", 0, 16, 0, 1, Serpentine(4)),)).validate({"w": (16,)})
    grid = streamed(layout, {"w": np.arange(16.0)}, "mean")
    np.testing.assert_array_equal(grid.values[1], [7, 6, 5, 4])
    small = reduce_array(grid, "mean", 2)
    assert small.layout is None
    np.testing.assert_array_equal(
        small.values, np.array([[0 + 1 + 7 + 6, 2 + 3 + 5 + 4], [8 + 9 + 15 + 14, 10 + 11 + 13 + 12]]) / 4
    )


def test_an_array_is_reduced_only_as_far_as_it_must_be() -> None:
    array = np.arange(15, dtype=np.int64).reshape(3, 5)
    for most, cell in ((5, (1, 1)), (4, (1, 2)), (2, (2, 3)), (1, (3, 5))):
        grid = reduce_array(array, "max", most)
        assert (grid.cell, grid.reduce) == (cell, "max")
    assert (reduce_array(array, "rms", 9).reduce, reduce_array(array, "rms", 9).weights) == ("rms", 15)
    np.testing.assert_array_equal(reduce_array(array, "max", 2).values, [[7, 9], [12, 14]])
    np.testing.assert_array_equal(reduce_array(array, "max", 2).counts, [[6, 4], [3, 2]])
    assert reduce_array(array, "max", 2).layout is None  # its layout would name no tensor
    with pytest.raises(ValueError, match="unknown reduction 'median'"):
        reduce_array(array, "median", 9)


class Shifted(LayoutTransformer):
    """Each tensor on a row of its own, as shares of its largest."""

    name = "shifted"
    needs_summaries = True
    quantity = "share of range"

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        assert max_cells is None
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        blocks = tuple(Block(name, 0, row, 0, ((size, 0, 1),)) for row, (name, size) in enumerate(sizes.items()))
        return Layout(len(sizes), max(sizes.values()), (1, 1), blocks)

    def scale(self, summaries: Mapping[str, Any]) -> Mapping[str, tuple[float, float]]:
        return {name: (1 / summary.max, float(summary.count)) for name, summary in summaries.items()}


def test_arrays_in_memory_are_drawn_at_full_size() -> None:
    tensors: dict[str, Any] = {"a": np.array([[1, 2], [4, 8]], dtype=np.int32), "z": np.array([3j, -4.0, 0.0])}
    grid = Shifted().transform(tensors)
    np.testing.assert_allclose(grid.values, [[4.125, 4.25, 4.5, 5.0], [3.75, 4.0, 3.0, 0.0]])
    np.testing.assert_array_equal(grid.counts, [[1, 1, 1, 1], [1, 1, 1, 0]])
    assert (grid.quantity, grid.reduce, grid.largest, grid.largest_cell) == ("share of range", "mean", ("a", 3, 8.0), (0, 3))

    class Plain(Shifted):
        """The same without a scale."""

        needs_summaries = False

    turned = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(Plain().transform({"a": turned}).values, [[0, 1, 2, 3, 4, 5]])

    class Wrong(Plain):
        """A grid that its weights leave."""

        def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
            return replace(super().layout(shapes, max_cells), columns=1)

    with pytest.raises(ValueError, match="covers rows 0–0"):
        Wrong().transform({"a": turned})


def test_the_largest_weight_of_several_tensors_and_parts() -> None:
    blocks = (Block("v", 0, 0, 0, ((4, 0, 1),)), Block("w", 0, 1, 0, ((4, 0, 1),)))
    layout = Layout(2, 4, (1, 2), blocks)

    def part(name: str, start: int, *weights: float) -> PartResult:
        found = RasterPart(layout, name, "max")
        found.update(start, np.array(weights))
        return found.result()

    grid = assemble(layout, "max", [part("w", 2, 0.5, -7.0), part("v", 0, 1.0, -6.0, 2.0, 6.0), part("w", 0, 7.0, 3.0)])
    assert grid.largest == ("w", 0, 7.0)  # of equals, the first of its tensor
    assert grid.largest_cell == (1, 0)
    grid = assemble(layout, "max", [part("w", 0, 1.0, 2.0, 3.0, 3.0), part("v", 0, -4.0, 4.0, 0.0, 0.0)])
    assert grid.largest == ("v", 0, -4.0)
    nothing = assemble(layout, "max", [part("v", 0, *[np.nan] * 4)])
    assert (nothing.largest, nothing.largest_cell) == (None, None)
    empty = assemble(layout, "mean", [])
    assert (empty.weights, empty.quantity, empty.layout) == (0, "weight", layout)


@pytest.mark.parametrize(
    ("weights", "largest"),
    [
        ([0.0, 5.0, -5.0, 5.0], (1, 5.0)),
        ([0.0, -5.0, 5.0, -5.0], (1, -5.0)),
        ([1.0, 2.0, -3.0], (2, -3.0)),
        ([1.0, 4.0, -3.0], (1, 4.0)),
        ([np.inf, 1.0, -3.0], (2, -3.0)),
        ([-np.inf, 1.0, -3.0], (2, -3.0)),
        ([np.nan, 0.0, -0.0], (1, 0.0)),
        ([np.nan, np.inf], None),
        ([-2.0], (0, -2.0)),
    ],
)
def test_the_largest_finite_weight_and_of_equals_the_first(weights: list[float], largest: tuple[int, float] | None) -> None:
    layout = matrix_layout("w", (1, len(weights)), 1)
    for dtype in (np.float32, np.float64):
        part = RasterPart(layout, "w", "max")
        part.update(0, np.array(weights, dtype=dtype))
        assert part.result().largest == largest
        for order in (range(len(weights)), reversed(range(len(weights)))):
            single = RasterPart(layout, "w", "max")
            for index in order:
                single.update(index, np.array(weights[index : index + 1], dtype=dtype))
            assert single.result().largest == largest


def test_no_sum_of_finite_weights_overflows() -> None:
    for reduce, expected in (("rms", MAX32), ("mean", -MAX32), ("absmax", MAX32), ("max", 0.0), ("min", -MAX32)):
        part = RasterPart(matrix_layout("w", (1, 4), 1), "w", reduce)
        part.update(0, np.array([-1.7e308, -1.7e308, -1e300, 0.0]))
        assert float(assemble(matrix_layout("w", (1, 4), 1), reduce, [part.result()]).values[0, 0]) == expected


def test_parts_of_another_layout_are_refused() -> None:
    layout, other = matrix_layout("w", (4, 4), 2), matrix_layout("w", (4, 4), 4)

    def part(where: Layout, start: int, stop: int, reduce: str = "mean") -> PartResult:
        found = RasterPart(where, "w", reduce)
        found.update(start, np.zeros(stop - start))
        return found.result()

    for parts in ([part(other, 0, 16)], [part(layout, 0, 8), part(other, 8, 16)], [part(layout, 0, 16, "max")]):
        with pytest.raises(ValueError, match="the part of 'w' belongs to another layout or reduction"):
            assemble(layout, "mean", parts)
    with pytest.raises(ValueError, match="24 weights of 'w' were read, its layout has 16"):
        assemble(layout, "mean", [part(layout, 0, 16), part(layout, 8, 16)])


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.int64, np.complex128, np.bool_])
def test_weights_of_any_dtype_may_be_streamed(dtype: Any) -> None:
    weights = np.array([1, 0, 1, 1, 0, 1]).astype(dtype)
    part = RasterPart(matrix_layout("w", (2, 3), 1), "w", "mean")
    part.update(0, weights[:4])
    part.update(4, weights[4:])
    part.update(9, weights[:0])  # nothing may be anywhere
    assert part.result().values.tolist() == [4.0]
    assert (part.result().weights, part.result().largest) == (6, (0, 1.0))
    for start in (-1, 1):
        with pytest.raises(ValueError, match="have no place"):
            part.update(start, weights)


@given(st.data())
def test_no_cell_mixes_tensors_and_none_hides_a_nan(data: st.DataObject) -> None:
    """Columns of three tensors side by side, of any widths: each value of the smaller grid is that of one of them."""
    widths = data.draw(st.lists(st.integers(1, 6), min_size=3, max_size=3))
    ends = np.cumsum(widths)
    values = np.concatenate([np.full((5, width), float(10**place)) for place, width in enumerate(widths)], axis=1)
    lost = data.draw(st.integers(0, 4)), data.draw(st.integers(0, int(ends[-1]) - 1))
    values[lost] = np.nan
    starts = ends - widths
    marks = zip("abc", starts.tolist(), widths, strict=True)
    regions = tuple(Region(name, ((0, start, 5, width),)) for name, start, width in marks)
    small = reduce_array(Grid(values, reduce="mean", regions=regions), "mean", data.draw(st.integers(1, 8)))
    named = np.full(small.shape, "", dtype=object)
    for region in small.regions:
        for row, column, height, width in region.rects:
            assert (named[row : row + height, column : column + width] == "").all()
            named[row : row + height, column : column + width] = region.name
    r, c = small.cell
    for (row, column), name in np.ndenumerate(named):
        start, width = dict(zip("abc", zip(starts, widths, strict=True), strict=True))[name]
        block = values[row * r : (row + 1) * r, max(column * c, start) : min((column + 1) * c, start + width)]
        np.testing.assert_equal(small.values[row, column], np.float32(block.mean()))
        assert small.counts[row, column] == block.size
    assert np.isnan(small.values[lost[0] // r, lost[1] // c])
