"""Blocks, curves and layouts: what they hold, how they are cut, and which layouts are refused."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.raster.reference import assert_same, cell_numbers, streamed

from torch2grid_core import Layout
from torch2grid_core.grids import REDUCTIONS, Block, Curve, Region

Array = np.ndarray[Any, Any]


def twice(index: Array) -> tuple[Array, Array]:
    return index // 4, index % 2


@st.composite
def layouts_of_one_block(draw: st.DrawFn) -> Layout:
    """A block of up to five dimensions that goes anywhere: nested steps with gaps along both axes, in any order and sense."""
    count = draw(st.integers(0, 5))
    lengths = draw(st.lists(st.integers(1, 6), min_size=count, max_size=count))
    along_rows = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    nesting = draw(st.permutations(range(count)))
    reach, steps = [1, 1], [0] * count
    for index in nesting:
        side = 0 if along_rows[index] else 1
        steps[index] = reach[side] + draw(st.integers(0, 2))
        reach[side] = steps[index] * lengths[index]
    place, dims = [draw(st.integers(0, 4)), draw(st.integers(0, 4))], []
    size = list(place)
    for length, step, rows in zip(lengths, steps, along_rows, strict=True):
        side = 0 if rows else 1
        size[side] += (length - 1) * step
        if draw(st.booleans()):
            place[side] += (length - 1) * step
            step = -step
        dims.append((length, step, 0) if rows else (length, 0, step))
    cell = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    return Layout(size[0] + 1, size[1] + 1, cell, (Block("w", 0, place[0], place[1], tuple(dims)),))


@given(layouts_of_one_block(), st.data())
def test_a_cut_block_holds_its_range_in_the_same_places(layout: Layout, data: st.DataObject) -> None:
    block = layout.blocks[0]
    assert isinstance(block, Block)
    rows, columns = (each.reshape(-1) for each in np.broadcast_arrays(*block.positions()))
    low = data.draw(st.integers(0, block.size))
    high = data.draw(st.integers(low, block.size))
    place, parts = low, list(block.cut(low, high))
    assert len(parts) <= 2 * len(block.dims) + 1
    for part in parts:
        assert part.start == place
        found = [each.reshape(-1) for each in np.broadcast_arrays(*part.positions())]
        np.testing.assert_array_equal(found[0], rows[part.start : part.stop])
        np.testing.assert_array_equal(found[1], columns[part.start : part.stop])
        place = part.stop
    assert place == max(low, high)


@given(layouts_of_one_block())
def test_bounds_are_the_extremes_of_the_places(layout: Layout) -> None:
    block = layout.blocks[0]
    assert isinstance(block, Block)
    rows, columns = block.positions()
    top, left, height, width = block.bounds()
    assert layout.cell_of("w", block.size - 1) == (rows.flat[-1] // layout.cell[0], columns.flat[-1] // layout.cell[1])
    assert (top, top + height - 1) == (rows.min(), rows.max())
    assert (left, left + width - 1) == (columns.min(), columns.max())


@given(layouts_of_one_block(), st.sampled_from(REDUCTIONS), st.integers(0, 2**31), st.booleans())
def test_any_block_streamed_is_its_reference(layout: Layout, reduce: str, seed: int, wide: bool) -> None:
    layout.validate({"w": (layout.weights_of("w"),)})
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal(layout.weights_of("w")).astype(np.float64 if wide else np.float32)
    weights[rng.random(len(weights)) < 0.05] = np.nan
    assert_same(streamed(layout, {"w": weights}, reduce, seed), layout, {"w": weights}, reduce)


@dataclass(frozen=True)
class Serpentine:
    """Rows of *width* cells, every other one backwards: a curve that pickles."""

    width: int

    def __call__(self, index: Array) -> tuple[Array, Array]:
        rows, columns = index // self.width, index % self.width
        return rows, np.where(rows % 2, self.width - 1 - columns, columns)


def curves(sizes: dict[str, int], step: int, width: int) -> Layout:
    blocks, first = [], 0
    for name, size in sizes.items():
        blocks.append(Curve(name, 0, size, first, step, Serpentine(width)))
        first += -(-size // step)
    rows = -(-first // width)
    return Layout(rows, width * step, (1, step), tuple(blocks))


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(1, 9),
    st.sampled_from(REDUCTIONS),
    st.integers(0, 2**31),
)
def test_any_curve_streamed_is_its_reference(counts: list[int], step: int, width: int, reduce: str, seed: int) -> None:
    sizes = {f"t{index}": count for index, count in enumerate(counts)}
    layout = curves(sizes, step, width).validate({name: (size,) for name, size in sizes.items()})
    assert pickle.loads(pickle.dumps(layout)) == layout
    rng = np.random.default_rng(seed)
    arrays = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    arrays["t0"][0] = np.nan
    assert_same(streamed(layout, arrays, reduce, seed), layout, arrays, reduce)
    for name, size in sizes.items():
        found = [layout.cell_of(name, index) for index in range(size)]
        assert [row * layout.shape[1] + column for row, column in found] == cell_numbers(layout, name, size).tolist()


def one(*dims: tuple[int, int, int], row: int = 0, column: int = 0, start: int = 0, tensor: str = "w") -> Block:
    return Block(tensor, start, row, column, dims)


ROW_OF_4 = (4, 0, 1)
SHAPES = {"w": (8,), "v": (4,), "empty": (0, 3)}
V = one(ROW_OF_4, row=2, tensor="v")


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ((one((2, 1, 0), ROW_OF_4, row=2), V), "covers rows 2–3"),
        ((one((2, 1, 0), ROW_OF_4, column=-1), V), "covers rows 0–1, columns -1–2"),
        ((one(ROW_OF_4), V), "'w' has 8 weights, 4 have a place"),
        ((one(ROW_OF_4, start=4), V), "weights 0–3 of 'w' have no place"),
        ((one(ROW_OF_4), one(ROW_OF_4, start=2, row=1), V), "weights 2–3 of 'w' have two places"),
        ((one((2, 1, 0), ROW_OF_4),), "'v' has 4 weights, 0 have a place"),
        ((one((2, 1, 0), ROW_OF_4), one(ROW_OF_4, row=1, tensor="v")), "blocks of 'w' and 'v' put two weights in one place"),
        ((one((2, 0, 1), ROW_OF_4), V), "puts two weights in one place"),
        ((one((2, 1, 0), (4, 1, 1)), V), "one must be 0"),
        ((one((2, 1, 0), (4, 0, 0)), V), "one must be 0"),
        ((one((2, 1, 0), ROW_OF_4, (0, 1, 0)), V), "none of them empty"),
        ((one(*[(1, 0, 0)] * 4, (2, 1, 0), ROW_OF_4), V), "at most 5"),
        ((one((2, 1, 0), ROW_OF_4), V, one(ROW_OF_4, tensor="x")), "'x', which is not one of the tensors"),
    ],
)
def test_a_wrong_layout_is_refused(blocks: tuple[Block, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Layout(3, 5, (1, 1), blocks).validate(SHAPES)


def test_a_cell_holds_one_tensor_only() -> None:
    blocks = (one((2, 1, 0), ROW_OF_4), V)
    Layout(3, 4, (1, 2), blocks).validate(SHAPES)
    Layout(3, 4, (2, 2), blocks).validate(SHAPES)
    with pytest.raises(ValueError, match="'w' and 'v' share a cell"):
        Layout(3, 4, (3, 2), blocks).validate(SHAPES)


def test_interleaved_blocks_share_bounds_but_no_place() -> None:
    even, odd = one((4, 2, 0), (2, 0, 1)), one((4, 2, 0), (1, 0, 1), row=1, tensor="v")
    Layout(8, 2, (1, 1), (even, odd)).validate(SHAPES)
    with pytest.raises(ValueError, match="share a cell"):
        Layout(8, 2, (2, 1), (even, odd)).validate(SHAPES)


def test_too_many_cells_and_regions_outside_are_refused() -> None:
    blocks = (one((2, 1, 0), ROW_OF_4), V)
    with pytest.raises(ValueError, match="3×4 cells, at most 3 a side"):
        Layout(3, 4, (1, 1), blocks).validate(SHAPES, 3)
    with pytest.raises(ValueError, match="region 'w' leaves the 3×4 cells"):
        Layout(3, 4, (1, 1), blocks, (Region("w", ((0, 0, 2, 5),)),)).validate(SHAPES)
    with pytest.raises(ValueError, match="in cells of 0×1"):
        Layout(3, 4, (0, 1), blocks).validate(SHAPES)


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        (Curve("w", 0, 8, 0, 2, Serpentine(1)), "leaves the 2×2 cells"),
        (Curve("w", 0, 8, 0, 2, twice), "goes through a cell"),
        (Curve("w", 0, 8, 0, 2, lambda index: (index // 2, index % 2)), "cannot be pickled"),
        (Curve("w", 0, 8, 0, 3, Serpentine(2)), "puts 3 weights in a cell of 2"),
        (Curve("w", 0, 8, 0, 0, Serpentine(2)), "has no weights"),
    ],
)
def test_a_wrong_curve_is_refused(curve: Curve, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Layout(2, 4, (1, 2), (curve,)).validate({"w": (8,)})


def test_layouts_are_values() -> None:
    blocks = (one((2, 1, 0), ROW_OF_4), V)
    layout, again = Layout(3, 4, (1, 1), blocks), Layout(3, 4, (1, 1), blocks)
    assert layout == again
    assert hash(layout) == hash(again)
    assert layout.only("v") == Layout(3, 4, (1, 1), (V,))
    assert pickle.loads(pickle.dumps(layout)) == layout
    assert layout.tensors == ("w", "v")
    assert layout.blocks_of("empty") == ()
    with pytest.raises(ValueError, match="weight 4 of 'v' has no place"):
        layout.cell_of("v", 4)
