"""The raster's reference: one weight at a time in effect, all in float64, from what the layout says and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from torch2grid_core import Grid, Layout
from torch2grid_core._pictures.raster import PartResult, RasterPart, assemble
from torch2grid_core.grids import Block

Array = np.ndarray[Any, Any]


def cell_numbers(layout: Layout, name: str, size: int) -> Array:
    """For each weight of a tensor, the number of its cell in row-major order; -1 where it has none."""
    cells = np.full(size, -1, dtype=np.int64)
    for block in layout.blocks:
        if block.tensor != name:
            continue
        if isinstance(block, Block):
            rows, columns = np.broadcast_arrays(*block.positions())
            found = (rows // layout.cell[0]) * layout.shape[1] + columns // layout.cell[1]
        else:
            along = block.first + np.arange(block.size) // block.step
            rows, columns = block.place(along)
            found = rows * layout.shape[1] + columns
        assert np.all(cells[block.start : block.stop] == -1), "two places for one weight"
        cells[block.start : block.stop] = found.reshape(-1)
    return cells


def full_size(layout: Layout, arrays: Mapping[str, Array]) -> tuple[Array, Array]:
    """Values (float64) and counts of the full-size grid, by the positions of every weight."""
    values, counts = np.zeros((layout.rows, layout.columns)), np.zeros((layout.rows, layout.columns), dtype=np.int64)
    for block in layout.blocks:
        if isinstance(block, Block):
            rows, columns = np.broadcast_arrays(*block.positions())
        else:  # line by line inside each cell of the curve
            along = np.arange(block.size)
            rows, columns = block.place(block.first + along // block.step)
            down, across = np.divmod(along % block.step, layout.cell[1])
            rows, columns = rows * layout.cell[0] + down, columns * layout.cell[1] + across
        weights = np.asarray(arrays[block.tensor]).reshape(-1)[block.start : block.stop]
        np.add.at(counts, (rows.reshape(-1), columns.reshape(-1)), 1)
        values[rows.reshape(-1), columns.reshape(-1)] = weights
    return values, counts


def reduced(layout: Layout, arrays: Mapping[str, Array], reduce: str) -> tuple[Array, Array]:
    """Values (float64; 0 where empty) and counts of the cells."""
    total = layout.shape[0] * layout.shape[1]
    values, counts = np.zeros(total), np.zeros(total, dtype=np.int64)
    with np.errstate(all="ignore"):
        for name, array in arrays.items():
            weights = np.asarray(array, dtype=np.float64).reshape(-1)
            if not weights.size:
                continue
            cells = cell_numbers(layout, name, weights.size)
            order = np.argsort(cells, kind="stable")
            weights, cells = weights[order], cells[order]
            starts = np.concatenate(([0], np.flatnonzero(np.diff(cells)) + 1))
            number = np.diff(starts, append=len(cells))
            if reduce == "mean":
                found = np.add.reduceat(weights, starts) / number
            elif reduce == "rms":
                found = np.sqrt(np.add.reduceat(weights**2, starts) / number)
            elif reduce == "absmax":
                found = np.maximum.reduceat(np.abs(weights), starts)
            else:
                found = {"min": np.minimum, "max": np.maximum}[reduce].reduceat(weights, starts)
            assert not counts[cells[starts]].any(), "a cell of two tensors"
            values[cells[starts]], counts[cells[starts]] = found, number
    return values.reshape(layout.shape), counts.reshape(layout.shape)


def chunks(size: int, rng: np.random.Generator, most: int = 8) -> Iterator[tuple[int, int]]:
    """(start, stop) of some chunks that cover *size* weights, in any order."""
    cuts = np.unique(np.concatenate(([0, size], rng.integers(0, size + 1, size=int(rng.integers(0, most))))))
    pairs = [(int(low), int(high)) for low, high in pairwise(cuts)]
    rng.shuffle(pairs)
    yield from pairs


def streamed_part(layout: Layout, name: str, array: Array, reduce: str, rng: np.random.Generator) -> PartResult:
    """One tensor streamed in random chunks."""
    part, flat = RasterPart(layout, name, reduce), np.asarray(array).reshape(-1)
    for low, high in chunks(flat.size, rng):
        part.update(low, flat[low:high])
    return part.result()


def streamed(layout: Layout, arrays: Mapping[str, Array], reduce: str, seed: int = 0, **options: Any) -> Grid:
    """All tensors streamed in random chunks and assembled."""
    rng = np.random.default_rng(seed)
    parts = (streamed_part(layout, name, array, reduce, rng) for name, array in arrays.items() if np.size(array))
    return assemble(layout, reduce, parts, **options)


def assert_same(grid: Grid, layout: Layout, arrays: Mapping[str, Array], reduce: str) -> None:
    """The grid holds what the reference says: counts exactly, sizes and extremes to float32, sums to 1e-6 of the mean |w|."""
    values, counts = reduced(layout, arrays, reduce)
    np.testing.assert_array_equal(grid.counts, counts)
    np.testing.assert_array_equal(np.isnan(grid.values), np.isnan(values))
    scale = np.abs(values)
    if reduce == "mean":  # a mean near zero is known to within the rounding of what was added up
        scale = np.maximum(scale, 1e-10 * reduced(layout, arrays, "rms")[0])
    with np.errstate(invalid="ignore"):
        wrong = ~(np.isnan(values) | (np.abs(grid.values.astype(np.float64) - values) <= 1e-6 * scale + 1e-45))
        wrong &= grid.values != values  # infinities
    assert not wrong.any(), (np.argwhere(wrong)[:5], grid.values[wrong][:5], values[wrong][:5])
