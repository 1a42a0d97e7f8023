"""Sixteen million float32 weights into a million cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from torch2grid_builtin._transformers.flatten import Spiral
from torch2grid_builtin._transformers.hilbert import Hilbert
from torch2grid_core import Layout, LazyTensor
from torch2grid_core._pictures.raster import RasterPart, assemble
from torch2grid_core.grids import Block, matrix_layout, raster_window
from torch2grid_core.sources import BytesStorage, as_float

Array = np.ndarray[Any, Any]
SIDE, CELLS, CHUNK = 4096, 1024, 1 << 18
SHAPES = {"weight": (SIDE, SIDE)}
WEIGHTS = np.random.default_rng(0).standard_normal(SIDE * SIDE, dtype=np.float32)
LAYOUTS: dict[str, Callable[[], Layout]] = {
    "matrix": lambda: matrix_layout("weight", (SIDE, SIDE), CELLS),
    "spiral": lambda: Spiral().layout(SHAPES, CELLS),
    "hilbert": lambda: Hilbert().layout(SHAPES, CELLS),
}


def drawn(layout: Layout, reduce: str) -> Array:
    """The cells of *layout*, by our raster, from chunks of a megabyte."""
    part = RasterPart(layout, "weight", reduce)
    for start in range(0, WEIGHTS.size, CHUNK):
        part.update(start, WEIGHTS[start : start + CHUNK])
    return assemble(layout, reduce, [part.result()]).values


@pytest.mark.parametrize("way", ["ours", "reshape, mean of axes"])
@pytest.mark.benchmark(group="matrix to blocks, mean")
def test_mean(benchmark: Any, way: str) -> None:
    square = WEIGHTS.reshape(CELLS, SIDE // CELLS, CELLS, SIDE // CELLS)
    layout = LAYOUTS["matrix"]()
    cells = benchmark((lambda: drawn(layout, "mean")) if way == "ours" else (lambda: square.mean((1, 3))))
    np.testing.assert_allclose(cells, square.mean((1, 3), dtype=np.float64), atol=1e-5)


@pytest.mark.parametrize("way", ["ours", "reshape, max of abs"])
@pytest.mark.benchmark(group="matrix to blocks, absmax")
def test_absmax(benchmark: Any, way: str) -> None:
    square = WEIGHTS.reshape(CELLS, SIDE // CELLS, CELLS, SIDE // CELLS)
    layout = LAYOUTS["matrix"]()
    cells = benchmark((lambda: drawn(layout, "absmax")) if way == "ours" else (lambda: np.abs(square).max((1, 3))))
    np.testing.assert_array_equal(cells, np.abs(square).max((1, 3)))


@pytest.mark.parametrize("way", ["ours", "reshape, reductions of axes"])
@pytest.mark.parametrize("names", [("mean",), ("mean", "rms", "min", "max")])
def test_large_cells(benchmark: Any, names: tuple[str, ...], way: str) -> None:
    """From the stored bytes: converted, and then reduced; numpy has all of them as float32 at once, 180 MB.

    One reduction by the streaming raster, four by a window of all cells.
    """
    benchmark.group = f"bfloat16, 4096×11008, to cells of 16×16: {', '.join(names)}"
    rows, columns, cell = 4096, 11008, 16
    stored = np.tile(WEIGHTS[: rows * columns // 4].astype(ml_dtypes.bfloat16), 4).reshape(rows, columns)
    tensor = LazyTensor("weight", stored.shape, stored.dtype, BytesStorage(stored.tobytes()))
    layout = Layout(rows, columns, (cell, cell), (Block("weight", 0, 0, 0, ((rows, 1, 0), (columns, 0, 1))),))

    def ours() -> Array:
        if len(names) > 1:
            return raster_window(layout, {"weight": tensor}, (0, 0, *layout.shape), names).planes["mean"]
        part = RasterPart(layout, "weight", "mean")
        for start, chunk in tensor.flat_chunks():
            part.update(start, as_float(chunk))
        return assemble(layout, "mean", [part.result()]).values

    def plain() -> Array:
        cells = stored.astype(np.float32).reshape(rows // cell, cell, columns // cell, cell)
        mean: Array = cells.mean((1, 3))
        if len(names) > 1:
            np.sqrt((cells**2).mean((1, 3))), cells.min((1, 3)), cells.max((1, 3))
        return mean

    found = benchmark(ours if way == "ours" else plain)
    np.testing.assert_allclose(found, plain(), atol=1e-5)


@pytest.mark.parametrize("way", ["ours", "bincount, places given"])
@pytest.mark.parametrize("curve", ["spiral", "hilbert"])
def test_curve(benchmark: Any, curve: str, way: str) -> None:
    """numpy is told the cell of each weight: an array of 128 MB here, of 9 GB for a billion weights, made at no cost."""
    benchmark.group = f"{curve}, mean"
    layout = LAYOUTS[curve]()
    cells = layout.rows // layout.cell[0] * (layout.columns // layout.cell[1])
    places = _places(layout)

    def plain() -> Array:
        sums, counts = np.bincount(places, WEIGHTS, cells), np.bincount(places, minlength=cells)
        return np.divide(sums, counts, out=np.zeros(cells), where=counts > 0)

    found = benchmark((lambda: drawn(layout, "mean").reshape(-1)) if way == "ours" else plain)
    np.testing.assert_allclose(found, plain(), atol=1e-5)


def _places(layout: Layout) -> Array:
    """The number of the cell that each weight goes to, int64."""
    found = np.empty(WEIGHTS.size, np.int64)
    across = layout.columns // layout.cell[1]
    for block in layout.blocks:
        if isinstance(block, Block):
            rows, columns = block.positions()
            found[block.start : block.stop] = (rows // layout.cell[0] * across + columns // layout.cell[1]).reshape(-1)
        else:
            rows, columns = block.place(block.first + np.arange(block.size) // block.step)
            found[block.start : block.stop] = rows * across + columns
    return found
