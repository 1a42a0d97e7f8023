"""The built-in transformers on random models: every weight once, in its place, and the same picture when streamed small."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from tests.support.raster.reference import assert_same, full_size, streamed

from torch2grid_builtin._forms import flattened
from torch2grid_builtin._transformers.atlas import Atlas
from torch2grid_builtin._transformers.flatten import Flatten, Normalized, Spiral
from torch2grid_builtin._transformers.hilbert import Hilbert
from torch2grid_builtin._transformers.layer_separated import LayerSeparated
from torch2grid_builtin._transformers.layer_weighted import LayerWeighted
from torch2grid_core import Grid, Layout, LayoutTransformer, NotDrawable, UsageError
from torch2grid_core._plugins.options import build
from torch2grid_core.grids import REDUCTIONS, matrix_shape
from torch2grid_core.measures import Distribution

Array = np.ndarray[Any, Any]
MOST = 100_000

TRANSFORMERS = (
    Flatten(),
    Normalized(),
    Spiral(),
    Spiral(clockwise=False),
    LayerWeighted(),
    LayerWeighted(slack=0.0),
    LayerSeparated(),
    LayerSeparated(gap=0),
    Atlas(),
    Atlas(gap=0, names=False),
    Hilbert(),
)
every = pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)


@st.composite
def models(draw: st.DrawFn) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's tensors, 1 to 100,000 weights in all: kernels, long and flat matrices, vectors, scalars, empties."""
    length = st.one_of(st.integers(1, 9), st.integers(1, 120), st.integers(0, 4), st.integers(1, 20_000))
    shapes: dict[str, tuple[int, ...]] = {}
    total = 0
    for index in range(draw(st.integers(1, 12))):
        shape = tuple(draw(st.lists(length, max_size=4)))
        if total + math.prod(shape) <= MOST:
            total += math.prod(shape)
            shapes[f"layer{index}"] = shape
    if not total:
        shapes["one"] = ()
    return shapes


def numbered(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Arrays in which every weight of the model has a number of its own, 1 and on, exact in float32."""
    arrays, place = {}, 1
    for name, shape in shapes.items():
        size = math.prod(shape)
        arrays[name] = np.arange(place, place + size, dtype=np.float32).reshape(shape)
        place += size
    return arrays


def drawn(transformer: LayoutTransformer, arrays: Mapping[str, Array]) -> Grid:
    grid = transformer(arrays)
    assert isinstance(grid, Grid)
    return grid


@every
@settings(max_examples=settings().max_examples // 5)
@given(shapes=models())
def test_the_full_size_grid_holds_every_weight_once_where_the_layout_says(
    transformer: LayoutTransformer, shapes: dict[str, tuple[int, ...]]
) -> None:
    arrays = numbered(shapes)
    layout = transformer.layout(shapes, None).validate(shapes)
    values, counts = full_size(layout, arrays)
    assert layout.cell == (1, 1)
    assert counts.max() == 1
    assert np.array_equal(np.sort(values[counts > 0]), np.arange(1, counts.sum() + 1))
    grid = drawn(transformer, arrays)
    np.testing.assert_array_equal(grid.counts, counts)
    if not transformer.needs_summaries:
        np.testing.assert_array_equal(grid.values, values)
        assert grid.largest is not None
        assert grid.largest[2] == counts.sum()


@every
@settings(max_examples=settings().max_examples // 5)
@given(shapes=models(), side=st.integers(12, 90), reduce=st.sampled_from(REDUCTIONS), seed=st.integers(0, 2**31))
@example(
    shapes={"layer0": (1, 37, 2, 13)}, side=12, reduce="mean", seed=0
)  # a row of kernels, much longer than any of its sides
def test_streamed_and_reduced_is_the_reduction_of_the_full_size_grid(
    transformer: LayoutTransformer, shapes: dict[str, tuple[int, ...]], side: int, reduce: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for array in arrays.values():
        array[rng.random(array.shape) < 0.001] = np.nan
    layout = transformer.layout(shapes, side).validate(shapes, side)
    grid = streamed(layout, arrays, reduce, seed)
    assert_same(grid, layout, arrays, reduce)
    # The same from the full-size grid of the layout, cell by cell, without asking which block a weight is of.
    values, counts = full_size(layout, arrays)
    height, width = layout.cell
    for row, column in rng.integers(0, layout.shape, size=(20, 2)):
        window = np.s_[row * height : (row + 1) * height, column * width : (column + 1) * width]
        weights = values[window][counts[window] > 0]
        assert grid.counts[row, column] == weights.size
        if weights.size:
            expected = {
                "mean": np.mean,
                "absmax": lambda each: np.max(np.abs(each)),
                "rms": lambda each: np.sqrt(np.mean(each**2)),
                "min": np.min,
                "max": np.max,
            }[reduce](weights)
            np.testing.assert_allclose(grid.values[row, column], expected, rtol=1e-6, atol=1e-9)


@every
@settings(max_examples=settings().max_examples // 5)
@given(shapes=models(), side=st.one_of(st.none(), st.integers(12, 90)))
@example(shapes={"a scalar": (), "beside it": (2, 3)}, side=None)
def test_regions_cover_the_cells_of_their_tensor_and_no_others(
    transformer: LayoutTransformer, shapes: dict[str, tuple[int, ...]], side: int | None
) -> None:
    layout = transformer.layout(shapes, side)
    assert [region.name for region in layout.regions] == [name for name, shape in shapes.items() if math.prod(shape)]
    for number, region in enumerate(layout.regions, start=1):
        marked = np.zeros(layout.shape, dtype=int)
        for row, column, height, width in region.rects:
            marked[row : row + height, column : column + width] += 1
        ones = {name: np.full(shape, number, dtype=np.float32) for name, shape in shapes.items() if name == region.name}
        np.testing.assert_array_equal(marked, streamed(layout.only(region.name), ones, "max").counts > 0)


@settings(max_examples=settings().max_examples // 5)
@given(shapes=models())
def test_flatten_is_the_weights_in_order(shapes: dict[str, tuple[int, ...]]) -> None:
    grid = drawn(Flatten(), numbered(shapes))
    total = grid.weights
    side = math.ceil(math.sqrt(total))
    assert grid.shape == (side, side)
    np.testing.assert_array_equal(grid.values.reshape(-1)[:total], np.arange(1, total + 1))


@pytest.mark.parametrize("clockwise", [True, False])
@settings(max_examples=settings().max_examples // 5)
@given(total=st.one_of(st.integers(1, 200), st.integers(1, 20_000)))
def test_spiral_walks_from_the_centre_out(clockwise: bool, total: int) -> None:
    grid = drawn(Spiral(clockwise=clockwise), numbered({"a": (total // 2,), "b": (total - total // 2,)}))
    side = grid.shape[0]
    row = column = (side - 1) // 2
    if not clockwise:
        row = side - 1 - row
    heading, seen = (0, 1), {(row, column)}
    for number in range(1, total + 1):
        assert grid.values[row, column] == number
        # Turn as soon as the cell on that hand is free: that is what a spiral does.
        turned = (heading[1], -heading[0]) if clockwise else (-heading[1], heading[0])
        if number > 1 and (row + turned[0], column + turned[1]) not in seen:
            heading = turned
        row, column = row + heading[0], column + heading[1]
        seen.add((row, column))
    assert max(abs(row - side / 2), abs(column - side / 2)) <= side / 2 + 1


@settings(max_examples=settings().max_examples // 5)
@given(shapes=models(), per=st.sampled_from(["model", "tensor"]), seed=st.integers(0, 2**31))
def test_normalized_is_the_place_in_the_range(shapes: dict[str, tuple[int, ...]], per: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(rng.normal(), 2, shape).astype(np.float32) for name, shape in shapes.items()}
    grid = drawn(Normalized(per=per), arrays)
    flat = [array.reshape(-1).astype(np.float64) for array in arrays.values() if array.size]
    ranges = [(each.min(), each.max()) for each in flat]
    if per == "model":
        ranges = [(min(low for low, _ in ranges), max(high for _, high in ranges))] * len(flat)
    expected = [
        (each - low) / (high - low) if high > low else np.full_like(each, 0.5)
        for each, (low, high) in zip(flat, ranges, strict=True)
    ]
    np.testing.assert_allclose(grid.values.reshape(-1)[: grid.weights], np.concatenate(expected), atol=2e-7)
    assert grid.quantity == "share of range"


def test_normalized_ignores_what_is_not_finite_and_survives_any_range() -> None:
    grid = drawn(Normalized(), {"w": np.array([1.0, np.nan, 3.0, np.inf, 2.0])})
    np.testing.assert_array_equal(grid.values.reshape(-1)[:5], np.array([0, np.nan, 1, np.inf, 0.5], dtype=np.float32))
    grid = drawn(Normalized(), {"w": np.array([-1.7e308, 0.0, 1.7e308])})
    np.testing.assert_allclose(grid.values.reshape(-1)[:3], [0, 0.5, 1])
    grid = drawn(Normalized(per="tensor"), {"nan": np.full(3, np.nan), "same": np.full(2, 7.0), "w": np.array([2.0, 4.0])})
    np.testing.assert_array_equal(grid.values.reshape(-1)[:7], [np.nan] * 3 + [0.5, 0.5, 0, 1])


@settings(max_examples=settings().max_examples // 5)
@given(shapes=models())
def test_layer_separated_keeps_each_form(shapes: dict[str, tuple[int, ...]]) -> None:
    arrays = numbered(shapes)
    grid = drawn(LayerSeparated(), arrays)
    for region in grid.regions:
        array, rects = arrays[region.name], region.rects
        parts = [grid.values[row : row + height, column : column + width] for row, column, height, width in rects]
        rows, columns = matrix_shape(flattened(region.name, array.shape))
        if min(rows, columns) == 1:
            np.testing.assert_array_equal(np.concatenate([part.reshape(-1) for part in parts]), array.reshape(-1))
        else:
            joined = np.concatenate(parts, axis=0 if rows > columns else 1)
            np.testing.assert_array_equal(joined, array.reshape(rows, columns))
        if max(rows, columns) <= 8 * min(rows, columns):
            assert len(parts) == 1
    touching = [
        (one, other)
        for one in grid.regions
        for other in grid.regions
        if one.name != other.name and any(_adjacent(a, b) for a in one.rects for b in other.rects)
    ]
    assert not touching


def _adjacent(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    down = one[0] <= other[0] + other[2] and other[0] <= one[0] + one[2]
    across = one[1] <= other[1] + other[3] and other[1] <= one[1] + one[3]
    return down and across


def gpt2_like() -> dict[str, tuple[int, ...]]:
    width, shapes = 96, {"wte.weight": (6282, 96), "wpe.weight": (128, 96)}
    for index in range(4):
        for name, shape in {
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "attn.c_attn.weight": (width, 3 * width),
            "attn.c_attn.bias": (3 * width,),
            "attn.c_proj.weight": (width, width),
            "mlp.c_fc.weight": (width, 4 * width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (4 * width, width),
        }.items():
            shapes[f"h.{index}.{name}"] = shape
    return shapes


def test_layer_weighted_gives_area_by_size_in_compact_patches() -> None:
    shapes = gpt2_like()
    weighted, flat = LayerWeighted().layout(shapes, 256), Flatten().layout(shapes, 256)
    share = sum(math.prod(shape) for shape in shapes.values()) / (256 * 256)
    rows_of: dict[str, list[float]] = {"weighted": [], "flat": []}
    for kind, layout in (("weighted", weighted), ("flat", flat)):
        for region in layout.regions:
            cells = sum(height * width for _, _, height, width in region.rects)
            weights = math.prod(shapes[region.name])
            assert abs(cells - weights / share) <= 0.1 * weights / share + 1
            if weights >= 9000:  # a matrix: how far from square are its bounds?
                height = max(row + rows for row, _, rows, _ in region.rects) - min(row for row, *_ in region.rects)
                width = max(left + span for _, left, _, span in region.rects) - min(left for _, left, *_ in region.rects)
                rows_of[kind].append(max(height / width, width / height))
    assert max(rows_of["weighted"]) < 4
    assert np.median(rows_of["flat"]) > 10
    assert weighted.shape[0] == weighted.shape[1] > 250


@every
@pytest.mark.parametrize(("side", "reduce"), [(64, "absmax"), (200, "rms"), (512, "mean")])
def test_a_million_weights_fill_the_grid(transformer: LayoutTransformer, side: int, reduce: str) -> None:
    rng = np.random.default_rng(side)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in gpt2_like().items()}
    layout = transformer.layout(gpt2_like(), side).validate(gpt2_like(), side)
    grid = streamed(layout, arrays, reduce)
    assert grid.weights > 1_000_000
    assert_same(grid, layout, arrays, reduce)
    separate = transformer.name in ("layer_separated", "atlas")  # whose cells are squares of whole weights
    assert max(layout.shape) > (0.7 if separate else 0.8) * side
    assert np.mean(grid.counts > 0) > (0.5 if separate else 0.9)


@every
def test_nothing_to_draw_is_said(transformer: LayoutTransformer) -> None:
    for shapes in ({}, {"empty": (0, 7)}):
        with pytest.raises(NotDrawable, match="no weights"):
            transformer.layout(shapes, 100)
    with pytest.raises(NotDrawable, match="10 tensors do not fit"):
        transformer.layout({f"t{index}": (5,) for index in range(10)}, 3)


@pytest.mark.parametrize("transformer", [each for each in TRANSFORMERS if each == type(each)()], ids=repr)
def test_thousands_of_tensors_are_laid_out_quickly(transformer: LayoutTransformer) -> None:
    shapes = {f"t{index}": (index % 7 + 1, index % 13 + 1) if index % 3 else (index % 11,) for index in range(2000)}
    layout: Layout = transformer.layout(shapes, 512).validate(shapes, 512)
    assert sum(block.size for block in layout.blocks) == sum(math.prod(shape) for shape in shapes.values())


def test_options_come_from_the_command_line() -> None:
    assert build(Spiral, {"clockwise": "false"}, "transformer 'spiral'") == Spiral(clockwise=False)
    assert build(Normalized, {"per": "tensor"}, "transformer 'normalized'") == Normalized(per="tensor")
    with pytest.raises(UsageError, match="one of model, tensor"):
        build(Normalized, {"per": "row"}, "transformer 'normalized'")
    with pytest.raises(UsageError, match=r"slack must be a share from 0 to 0\.5"):
        build(LayerWeighted, {"slack": "2"}, "transformer 'layer_weighted'")
    with pytest.raises(UsageError, match="gap must be a number of cells"):
        build(LayerSeparated, {"gap": "-1"}, "transformer 'layer_separated'")


def test_normalized_scales_from_summaries() -> None:
    low, high = Distribution(), Distribution()
    low.update(np.array([-1.0, 0.0]))
    high.update(np.array([1.0, 3.0]))
    assert Normalized().scale({"a": low, "b": high}) == {"a": (0.25, 0.25), "b": (0.25, 0.25)}
    assert Normalized(per="tensor").scale({"a": low, "b": high}) == {"a": (1.0, 1.0), "b": (0.5, -0.5)}
    assert Flatten().scale({"a": low}) is None
