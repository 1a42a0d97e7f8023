"""A window of a raster is that part of the whole raster, and costs the rows that it shows."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from tests.support.raster.reference import reduced

from torch2grid_builtin._transformers.atlas import Atlas
from torch2grid_builtin._transformers.flatten import Flatten, Spiral
from torch2grid_builtin._transformers.hilbert import Hilbert
from torch2grid_core import Layout, LazyTensor, NotDrawable
from torch2grid_core.grids import REDUCTIONS, Block, Window, matrix_layout, raster_window
from torch2grid_core.sources import BytesStorage

Array = np.ndarray[Any, Any]
SHAPES = {"conv": (24, 5, 3, 3), "dense": (40, 90), "bias": (40,), "one": ()}
TURNED = {
    "transposed": Layout(30, 50, (4, 4), (Block("w", 0, 0, 0, ((50, 0, 1), (30, 1, 0))),)),
    "mirrored": Layout(50, 30, (3, 4), (Block("w", 0, 49, 29, ((50, -1, 0), (30, 0, -1))),)),
    "tiles": Layout(18, 90, (3, 5), (Block("w", 0, 0, 0, ((6, 3, 0), (5, 0, 6), (5, 0, 1), (3, 1, 0))),)),
    "apart": Layout(60, 40, (7, 7), (Block("w", 0, 5, 3, ((50, 1, 0), (30, 0, 1))),)),
}


def lazy(name: str, array: Array, transposed: bool = False) -> LazyTensor:
    if transposed:
        strides = tuple(int(step) for step in np.cumprod([1, *array.shape[:-1]]))
        return LazyTensor(name, array.shape, array.dtype, BytesStorage(array.ravel(order="F").tobytes()), 0, strides)
    return LazyTensor(name, array.shape, array.dtype, BytesStorage(array.tobytes()))


def arrays(shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    made = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    first = next(iter(made.values()))
    first.reshape(-1)[[2, 70]] = np.nan, np.inf
    return made


def layouts() -> dict[str, tuple[Layout, dict[str, tuple[int, ...]]]]:
    found = {
        f"{each.name} {cells}": (each.layout(SHAPES, cells), SHAPES)
        for each in (Atlas(), Flatten(), Hilbert(), Spiral())
        for cells in (24, 64)
    }
    found["matrix"] = matrix_layout("w", (70, 33), 16), {"w": (70, 33)}
    found["vector"] = matrix_layout("w", (3001,), 16), {"w": (3001,)}
    return found | {name: (layout, {"w": (layout.weights_of("w"),)}) for name, layout in TURNED.items()}


LAYOUTS = layouts()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_windows_put_together_are_the_whole_raster(name: str, transposed: bool) -> None:
    layout, shapes = LAYOUTS[name]
    made = arrays(shapes)
    tensors = {key: lazy(key, array, transposed) for key, array in made.items()}
    planes = {reduce: np.full(layout.shape, -99, dtype=np.float32) for reduce in REDUCTIONS}
    counts = np.full(layout.shape, -99)
    high, wide = 7, 5
    for top, left in itertools.product(range(0, layout.shape[0], high), range(0, layout.shape[1], wide)):
        rectangle = (top, left, min(high, layout.shape[0] - top), min(wide, layout.shape[1] - left))
        window = raster_window(layout, tensors, rectangle, REDUCTIONS)
        place = np.s_[top : top + rectangle[2], left : left + rectangle[3]]
        counts[place] = window.counts
        np.testing.assert_array_equal(window.empty, window.counts == 0)
        for reduce, plane in window.planes.items():
            planes[reduce][place] = plane
    for reduce in REDUCTIONS:
        values, expected = reduced(layout, made, reduce)
        np.testing.assert_array_equal(counts, expected)
        np.testing.assert_allclose(planes[reduce], values, rtol=1e-6, atol=1e-7)
        assert np.isnan(planes[reduce]).any()


class Counted(BytesStorage):
    """Says what was read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.read: list[tuple[int, int]] = []

    def read_into(self, offset: int, target: memoryview) -> None:
        self.read.append((offset, len(target)))
        super().read_into(offset, target)


@pytest.mark.parametrize(("rectangle", "most"), [((10, 0, 2, 64), 32 * 1024 * 4), ((10, 5, 2, 3), 32 * 48 * 4)])
def test_only_what_the_rectangle_needs_is_read(rectangle: tuple[int, int, int, int], most: int) -> None:
    weights = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    storage = Counted(weights.tobytes())
    tensor = LazyTensor("w", weights.shape, weights.dtype, storage)
    top, left, height, width = rectangle
    layout = matrix_layout("w", weights.shape, 64)
    window = raster_window(layout, {"w": tensor}, rectangle, ("mean", "max"))
    cells = weights.reshape(64, 16, 64, 16)[top : top + height, :, left : left + width]
    np.testing.assert_allclose(window.planes["mean"], cells.mean((1, 3), dtype=np.float64), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(window.planes["max"], cells.max((1, 3)))
    assert 0 < sum(length for _, length in storage.read) <= most


@pytest.mark.parametrize("cell", [(1, 1), (2, 6), (4, 3), (8, 12)])
def test_a_refined_layout_reduced_again_is_the_coarse_one(cell: tuple[int, int]) -> None:
    layout = matrix_layout("w", (64, 96), 8)
    assert layout.cell == (8, 12)
    weights = np.random.default_rng(1).standard_normal((64, 96)).astype(np.float32)
    finer = layout.refined(cell).validate({"w": (64, 96)})
    whole = {
        each: raster_window(each, {"w": lazy("w", weights)}, (0, 0, *each.shape)).planes["mean"] for each in (layout, finer)
    }
    down, across = 8 // cell[0], 12 // cell[1]
    again = whole[finer].reshape(8, down, 8, across).mean((1, 3), dtype=np.float64)
    np.testing.assert_allclose(again, whole[layout], rtol=1e-5, atol=1e-7)
    assert finer.regions[0].rects == ((0, 0, *finer.shape),)


def test_what_has_no_finer_picture_declines() -> None:
    for layout in (LAYOUTS["vector"][0], Hilbert().layout(SHAPES, 24)):
        with pytest.raises(NotDrawable, match="layout of blocks"):
            layout.refined((1, 1))
    with pytest.raises(ValueError, match="do not divide"):
        TURNED["tiles"].refined((2, 5))


@pytest.mark.parametrize("name", LAYOUTS)
def test_blocks_of_a_rectangle(name: str) -> None:
    layout, _ = LAYOUTS[name]
    assert layout.blocks_in((0, 0, *layout.shape)) == layout.blocks
    for row, column in itertools.product(range(0, layout.shape[0], 3), range(0, layout.shape[1], 3)):
        met = layout.blocks_in((row, column, 1, 1))
        for block in layout.blocks:
            if isinstance(block, Block):
                top, left, height, width = block.bounds()
                (r, c) = layout.cell
                inside = top // r <= row <= (top + height - 1) // r and left // c <= column <= (left + width - 1) // c
                assert (block in met) == inside


def test_wrong_windows_are_errors() -> None:
    layout = matrix_layout("w", (70, 33), 16)
    tensor = lazy("w", np.zeros((70, 33), np.float32))
    for rectangle in ((0, 0, 17, 2), (-1, 0, 1, 1), (0, 10, 1, 9)):
        with pytest.raises(ValueError, match="leaves the"):
            raster_window(layout, {"w": tensor}, rectangle)
    with pytest.raises(ValueError, match="valid: mean"):
        raster_window(layout, {"w": tensor}, (0, 0, 1, 1), ("median",))
    with pytest.raises(ValueError, match="has 9 weights"):
        raster_window(layout, {"w": lazy("w", np.zeros(9, np.float32))}, (0, 0, 1, 1))
    assert raster_window(layout, {}, (0, 0, 2, 2)).empty.all()


@pytest.mark.parametrize("most", [0, 1, 255, 256, 70_000, 2**40])
def test_a_window_travels_between_processes_as_it_is(most: int) -> None:
    counts = np.array([[0, most]], dtype=np.int64)
    window = Window({"mean": np.array([[0, 1]], np.float32)}, counts, (3, 4, 1, 2))
    found = pickle.loads(pickle.dumps(window))
    assert found.counts.dtype == np.int64
    assert np.array_equal(found.counts, counts)
    assert np.array_equal(found.planes["mean"], window.planes["mean"])
    assert found.rectangle == window.rectangle
