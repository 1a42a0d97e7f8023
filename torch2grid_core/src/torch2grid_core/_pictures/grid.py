"""A picture's numbers before they have colours."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._display import as_html, as_png, drawn_into
from torch2grid_core._pictures.blocks import Region
from torch2grid_core._pictures.layout import Layout
from torch2grid_core._pictures.regions import rectangles


@dataclass(frozen=True, eq=False)
class Grid:
    """The values of cells.

    Args:
        values: float32, (rows, columns); NaN where a weight of the cell is NaN, 0 where there is no weight.
        count: weights per cell, int64, same shape; 0 means no weight here. Give one number for all cells, or ``None`` for one
            weight per cell. Equal counts are one number in memory, which the array repeats, so it cannot be written to.
        reduce: how the weights of a cell became one value.
        cell: weights per cell as (rows, columns) of the full-size grid.
        regions: which cells belong to which tensor.
        quantity: what a value is ("weight", "|weight|", "share of range").
        largest: tensor name, flat index and value of the largest finite |weight|, where it was looked for.
        largest_cell: the (row, column) of the cell that it is in.
        layout: where every weight went, to tell which weights a cell holds (see ``weights_of_cell``); ``None`` where only the
            values are known.
        labels: names of modules, each with the rectangle of empty cells that is free for it.
        marks: texts at cells inside a tensor's, as in ``Layout``.
        notes: lines that every picture of the grid has below it.
        spread: the standard deviation of the weights inside their tensors, where it is known.
        limits: the colour limits that the values were scaled for, where they were.
    """

    values: Array
    count: Array | int | None = None
    reduce: str = "mean"
    cell: tuple[int, int] = (1, 1)
    regions: tuple[Region, ...] = field(default=())
    quantity: str = "weight"
    largest: tuple[str, int, float] | None = None
    largest_cell: tuple[int, int] | None = None
    layout: Layout | None = field(default=None, repr=False)
    labels: tuple[Region, ...] = field(default=())
    marks: tuple[Region, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    spread: float | None = None
    limits: tuple[float, float] | None = None

    _repr_html_, _repr_png_ = as_html, as_png

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.float32)
        if values.ndim != 2:
            raise ValueError(f"a grid has two dimensions, not {values.ndim}")
        count = np.asarray(1 if self.count is None else self.count, dtype=np.int64)
        if count.ndim and count.shape != values.shape:
            raise ValueError(f"values are {values.shape}, counts {count.shape}")
        if count.size and (count == count.flat[0]).all():
            count = np.broadcast_to(np.int64(count.flat[0]), values.shape)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "count", count)

    @property
    def counts(self) -> Array:
        """``count`` as the array that it always is after construction."""
        assert isinstance(self.count, np.ndarray)
        return self.count

    def __repr__(self) -> str:
        return f"<Grid of {self.shape[0]:,}×{self.shape[1]:,} cells, each: {self.cell_text()}>"

    def plot(self, ax: Any = None, *, colormap: str | None = None) -> Any:
        """Draw the cells into *ax*, your matplotlib axes, or into a new figure, and return the axes. See ``Page.plot``."""
        return drawn_into(self, ax, colormap)

    def __reduce__(self) -> tuple[Any, ...]:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.counts.size and not any(self.counts.strides):  # one number: a pickle would repeat it
            given["count"] = int(self.counts.flat[0])
        return Grid, tuple(given.values())

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) in cells."""
        rows, columns = self.values.shape
        return rows, columns

    @property
    def weights(self) -> int:
        """Number of weights that the grid holds."""
        return int(self.counts.sum())

    def drawn(self) -> Array:
        """Return the values of the cells that hold weights, 1-D float32."""
        values: Array = self.values[self.counts > 0]
        return values

    @property
    def noise(self) -> float | None:
        """Standard deviation of a cell's mean if its weights were independent around 0: σ/√n of a whole cell.

        ``None`` if cells hold one weight each, for other reductions, and where the spread is not known.
        """
        weights = self.cell[0] * self.cell[1]
        if self.reduce != "mean" or weights == 1 or self.spread is None:
            return None
        return self.spread / math.sqrt(weights)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The lines below a picture: the notes, and the noise of means."""
        if self.noise is None:
            return self.notes
        noise = f"noise of these means: σ/√n = {self.noise:.2g} (σ {self.spread:.3g}, n {math.prod(self.cell):,})"
        return (*self.notes, noise.replace("-", "−"))

    def cell_text(self) -> str:
        """Return what one cell is, as every picture says it: ``weight``, ``mean of 16×16 weights``."""
        rows, columns = self.cell
        if rows * columns == 1:
            return self.quantity
        one, space, rest = self.quantity.partition(" ")  # shares of range
        if not one.isascii():  # a symbol, as Δ, has no plural
            return f"{self.reduce} {self.quantity} per cell of {rows}×{columns} weights"
        return f"{self.reduce} of {rows}×{columns} {one}s{space}{rest}"


def sole_owners(grid: Grid, cell: tuple[int, int]) -> tuple[Array, tuple[Region, ...]]:
    """The weights of each cell of *grid* that stay where *cell* = (r, c) cells become one, and the regions of the fewer.

    Where several regions meet in one, it is the one's with a NaN or Inf there, else the smallest's, which it would hide.
    """
    if not grid.regions or not grid.values.size:
        return grid.counts, ()
    owner = np.full(grid.shape, len(grid.regions), dtype=np.int64)  # the last: cells of no region
    for number, region in enumerate(grid.regions):
        for row, column, height, width in region.rects:
            owner[row : row + height, column : column + width] = number
    sizes = np.bincount(owner.reshape(-1), weights=grid.counts.reshape(-1), minlength=len(grid.regions) + 1)
    names = len(sizes)
    rank = np.empty(names, dtype=np.int64)
    rank[np.argsort(sizes, kind="stable")] = np.arange(names)
    order = rank[owner]
    claim = np.where(np.isfinite(grid.values), order + names, order)
    claim[grid.counts == 0] = 2 * names
    rows, columns = (np.arange(0, side, step) for side, step in zip(grid.shape, cell, strict=True))
    best = np.minimum.reduceat(np.minimum.reduceat(claim, rows, axis=0), columns, axis=1)
    spread = np.repeat(np.repeat(best, cell[0], axis=0), cell[1], axis=1)[: grid.shape[0], : grid.shape[1]]
    won = np.where(best < 2 * names, np.argsort(rank)[best % names], names - 1)
    found = rectangles(won, nobody=len(grid.regions))
    left = tuple(Region(each.name, tuple(found[number])) for number, each in enumerate(grid.regions) if number in found)
    return np.where(order == spread % names, grid.counts, 0), left
