"""Sixteen million float32 weights into a million cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from torch2grid_builtin.transformers.hilbert import Hilbert
from torch2grid_builtin.transformers.spiral import Spiral
from torch2grid_core import Block, Layout, matrix_layout
from torch2grid_core.pictures.raster import RasterPart, assemble

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
