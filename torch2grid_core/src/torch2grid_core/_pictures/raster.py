"""The raster: weights stream past in any order and become cells, in memory that depends on the picture alone."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import as_float
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._pictures.blocks import Block, Rect, Region
from torch2grid_core._pictures.cells import BlockCells, CurveCells, split
from torch2grid_core._pictures.grid import Grid, sole_owners
from torch2grid_core._pictures.layout import Layout, cells_of
from torch2grid_core._pictures.reductions import REDUCERS, Reducer, Room, reduction, to_float32
from torch2grid_core._pictures.regions import traced
from torch2grid_core._summary.not_finite import NotFiniteCount, counted_where_any

STRETCH = 1 << 18  # weights reduced at a time, at most


@dataclass(frozen=True, eq=False)
class PartResult:
    """What one ``RasterPart`` gathered: small, plain and picklable; parts of one tensor add up in ``assemble``.

    weights: how many were seen. values: float64, the combined weights of the cells of each block in turn, from *first* on;
    none of the others of all *cells* has any. sums: of the finite weights, where cells are means of several: how many there
    are, their sum and that of their squares. largest: flat index and value of the finite weight with the largest
    magnitude, the first of equals; ``None`` without any. not_finite: how many are NaN or Inf.
    """

    tensor: str
    reduce: str
    weights: int
    values: Array
    largest: tuple[int, float] | None
    not_finite: NotFiniteCount
    cells: int
    first: int = 0
    sums: tuple[int, float, float] = (0, 0.0, 0.0)

    def touched(self) -> PartResult:
        """The same without the cells at both ends that have no weight: what a piece of a large tensor sends."""
        places = np.flatnonzero(self.values != reduction(self.reduce).initial)
        start, stop = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)
        return replace(self, values=self.values[start:stop], first=self.first + start)


class RasterPart:
    """Reduces the weights of one tensor to the cells where *layout* puts them, as they stream past.

    Keeps one float64 for each cell of the tensor, nothing for the rest of the grid. Raises ``ValueError`` for an unknown
    reduction, and for a tensor that the layout does not place.
    """

    def __init__(self, layout: Layout, tensor: str, reduce: str) -> None:
        self.tensor, self.reduce, self.weights = tensor, reduce, 0
        self._rule = reduction(reduce)
        self._cells = cells_of(layout, tensor)
        if not self._cells:
            raise ValueError(f"the layout has no place for tensor {tensor!r}")
        self._starts = [each.block.start for each in self._cells]
        self._values = np.full(sum(math.prod(each.shape) for each in self._cells), self._rule.initial)
        self._targets = split(self._values, self._cells)
        self._largest: tuple[int, float] | None = None
        self._not_finite = NotFiniteCount()
        self._sums = (0, 0.0, 0.0) if reduce == "mean" and math.prod(layout.cell) > 1 else None
        self._in_cells = True  # all weights so far are finite: their sum is that of the cells

    def update(self, start: int, values: Array) -> None:
        """Take the weights with flat indices *start* and on: 1-D, float32 or float64 (see ``dtypes.as_float``).

        Chunks may come in any order and any size, but each weight once. Raises ``ValueError`` for weights without a place.
        """
        if values.dtype not in (np.float32, np.float64):
            values = as_float(values)
        if len(values) and (start < self._starts[0] or start + len(values) > self._cells[-1].block.stop):
            raise ValueError(f"weights {start}–{start + len(values)} of {self.tensor!r} have no place in the layout")
        room = Room()
        with np.errstate(all="ignore"):
            for first in range(0, len(values), STRETCH):
                self._take(start + first, values[first : first + STRETCH], room)
        self.weights += len(values)

    def _take(self, start: int, values: Array, room: Room) -> None:
        high, low = float(values.max()), float(values.min())  # NaN where one is
        self._largest = _larger(self._largest, start, values, high, low)
        self._not_finite = self._not_finite.merge(counted_where_any(values, high, low))
        if self._sums is not None:
            self._add_sums(values, math.isfinite(high) and math.isfinite(low))
        for index in range(max(bisect_right(self._starts, start) - 1, 0), len(self._cells)):
            if self._starts[index] >= start + len(values):
                break
            for met in self._cells[index].met(start, start + len(values)):
                met.add({self.reduce: self._targets[index]}, {self.reduce: self._rule}, values, room)

    def _add_sums(self, values: Array, all_finite: bool) -> None:
        assert self._sums is not None
        count, total, squares = self._sums
        finite = values if all_finite else values[np.isfinite(values)]
        if self._in_cells and not all_finite:
            self._in_cells, total = False, float(self._values.sum())
        if not self._in_cells:
            total += float(finite.sum())
        # float32 products and sums of half a million are exact enough for a spread.
        self._sums = count + len(finite), total, squares + float(np.dot(finite, finite))

    def result(self) -> PartResult:
        """What was gathered so far."""
        counted = self._largest, self._not_finite
        sums = self._sums or (0, 0.0, 0.0)
        if self._sums is not None and self._in_cells:
            sums = sums[0], float(self._values.sum()), sums[2]
        return PartResult(self.tensor, self.reduce, self.weights, self._values, *counted, len(self._values), sums=sums)


def _larger(best: tuple[int, float] | None, start: int, values: Array, high: float, low: float) -> tuple[int, float] | None:
    """*best* (flat index, value), or the finite weight of *values* that beats it: larger magnitude, then lower index.

    high, low: the largest and the least of *values*.
    """
    if math.isfinite(high) and math.isfinite(low):
        if best is not None and _rank((start, max(high, -low))) < _rank(best):
            return best  # it is smaller, or as large, and comes later
        places = [int(values.argmax())] if high >= -low else []
        index = min([*places, int(values.argmin())] if -low >= high else places)
    else:
        finite = np.isfinite(values)
        if not finite.any():
            return best
        index = int(np.argmax(np.where(finite, np.abs(values), -1)))
    found = (start + index, float(values[index]))
    return found if best is None or _rank(found) > _rank(best) else best


def _rank(found: tuple[int, float]) -> tuple[float, int]:
    return abs(found[1]), -found[0]


def assemble(
    layout: Layout,
    reduce: str,
    parts: Iterable[PartResult],
    scale: Mapping[str, tuple[float, float]] | None = None,
    quantity: str = "weight",
) -> Grid:
    """The grid of *layout* from the parts of its tensors. A tensor without any part stays empty (count 0).

    scale: tensor → (factor, offset); a reduced value becomes ``value * factor + offset``. The reductions ``absmax`` and
    ``rms`` are sizes: they become ``value * |factor|``, a size in the new unit, since an offset moves places, not sizes.
    Raises ``ValueError`` where the parts of a tensor do not hold each of its weights once, or belong to another layout.
    """
    rule = reduction(reduce)
    combined: dict[str, Array] = {}
    seen: dict[str, int] = {}
    sums: dict[str, tuple[int, float, float]] = {}
    largest: dict[str, tuple[int, float]] = {}
    narrow = np.zeros(layout.shape, dtype=np.float32)
    counts = np.zeros(layout.shape, dtype=np.int64)
    with np.errstate(all="ignore"):
        for part in parts:
            name, before = part.tensor, combined.get(part.tensor)
            if part.reduce != reduce or (before is not None and len(before) != part.cells):
                raise ValueError(f"the part of {name!r} belongs to another layout or reduction")
            if before is None and len(part.values) == part.cells:
                combined[name] = part.values
            else:
                combined[name] = np.full(part.cells, rule.initial) if before is None else before.copy()
                touched = combined[name][part.first : part.first + len(part.values)]
                rule.ufunc(touched, part.values, out=touched)
            seen[name] = seen.get(name, 0) + part.weights
            known = sums.get(name, (0, 0.0, 0.0))
            sums[name] = (known[0] + part.sums[0], known[1] + part.sums[1], known[2] + part.sums[2])
            if part.largest is not None:
                largest[name] = max(part.largest, largest.get(name, part.largest), key=_rank)
        for name, values in combined.items():
            cells = cells_of(layout, name)
            if len(values) != sum(math.prod(each.shape) for each in cells):
                raise ValueError(f"the part of {name!r} belongs to another layout or reduction")
            if seen[name] != layout.weights_of(name):
                raise ValueError(f"{seen[name]} weights of {name!r} were read, its layout has {layout.weights_of(name)}")
            placed = placed_in(counts, cells)
            for index, total in totals(placed, split(values, cells), counts, rule):
                finished = rule.finish(total, counts[index])
                if scale is not None and name in scale:
                    factor, offset = scale[name]
                    finished = finished * abs(factor) if rule.size else finished * factor + offset
                narrow[index] = to_float32(finished)
    # In the order of the layout, whichever part came first: of equal weights the first is named, and sums round alike.
    order = [name for name in layout.tensors if name in combined]
    best = max(((name, largest[name]) for name in order if name in largest), key=lambda entry: abs(entry[1][1]), default=None)
    found = None if best is None else (best[0], *best[1])
    where = None if found is None else layout.cell_of(*found[:2])
    return Grid(
        narrow,
        counts,
        reduce,
        layout.cell,
        traced(layout),
        quantity,
        found,
        where,
        layout,
        layout.labels,
        layout.marks,
        spread=_spread(sums[name] for name in order) if scale is None else None,
    )


def _spread(sums: Iterable[tuple[int, float, float]]) -> float | None:
    """The standard deviation of weights inside their tensors, from (finite weights, their sum, the sum of their squares)."""
    known = [(count, total, squares) for count, total, squares in sums if count]
    weights = sum(count for count, _, _ in known)
    if not weights:
        return None
    apart = sum(max(squares - total * total / count, 0.0) for count, total, squares in known)
    return math.sqrt(apart / weights) if math.isfinite(apart) else None


Placed = list[tuple[Any, Array]]  # of each block or curve: index into the grid, weights in each of its cells


def placed_in(counts: Array, cells: Sequence[BlockCells | CurveCells]) -> Placed:
    """Where the *cells* of one tensor are in a grid, of which *counts* are the weights of each cell: theirs are added."""
    placed = [(each.index(counts.shape), each.counts()) for each in cells]
    for index, own in placed:
        counts[index] += own
    return placed


def totals(placed: Placed, combined: Iterable[Array], counts: Array, rule: Reducer) -> Iterator[tuple[Any, Array]]:
    """(index into the grid, combined weights of these cells), each cell of one tensor once.

    combined: of each of *placed*, the weights of its cells. counts: of the grid, these among them (see ``placed_in``).
    """
    shared: list[tuple[Any, Array]] = []
    for (index, own), total in zip(placed, combined, strict=True):
        if np.array_equal(counts[index], own):
            yield index, total.copy()
        else:  # another block has weights in some of these cells
            shared.append((index, total))
    if shared:
        numbers = np.arange(counts.size).reshape(counts.shape)
        places, inverse = np.unique(np.concatenate([numbers[index].reshape(-1) for index, _ in shared]), return_inverse=True)
        totals = np.full(len(places), rule.initial)
        rule.ufunc.at(totals, inverse, np.concatenate([total.reshape(-1) for _, total in shared]))
        yield np.unravel_index(places, counts.shape), totals


def flat(array: Any) -> Array:
    plain = array.numpy() if isinstance(array, LazyTensor) else np.asarray(array)
    return as_float(np.ascontiguousarray(plain).reshape(-1))


def whole(layout: Layout, name: str, array: Any, reduce: str) -> PartResult:
    part = RasterPart(layout, name, reduce)
    part.update(0, flat(array))
    return part.result()


def reduce_array(array: Array | Grid, reduce: str, max_cells: int) -> Grid:
    """Return a 2-D array, or a grid, with at most *max_cells* cells per side: r×c old cells become one, each side as needed.

    An array holds one weight per cell. A grid keeps its regions and its empty cells, and the weights of its cells count. No
    cell mixes regions: it holds the weights of one, and leaves those of others out (see ``sole_owners``). Cells that hold
    several weights already are reduced in their own way again where that is known (the largest of largest magnitudes, the mean
    of means), because another reduction would be neither.

    Raises:
        ValueError: not two dimensions, or an unknown reduction.
    """
    rule = reduction(reduce)
    if isinstance(array, Grid):
        grid = array
    else:
        plain = as_float(np.asarray(array))
        if plain.ndim != 2:
            raise ValueError(f"a grid has two dimensions, not {plain.ndim}")
        if max(plain.shape) <= max_cells:
            return Grid(to_float32(plain), reduce=reduce)
        return _reduced_plain(plain, reduce, max_cells)
    if max(grid.shape) <= max_cells:
        return grid
    if grid.reduce in REDUCERS and int(grid.counts.max(initial=0)) > 1:
        reduce, rule = grid.reduce, REDUCERS[grid.reduce]
    layout = _shrunk(grid.shape, max_cells)
    counts, regions = sole_owners(grid, layout.cell)
    prepared = rule.prepare(grid.values.reshape(-1), Room()).reshape(grid.shape)
    prepared = prepared**2 if rule.squared else prepared
    prepared = prepared * counts if rule.ufunc is np.add else prepared.copy()
    prepared[counts == 0] = rule.initial
    total = _combine(layout, prepared.astype(np.float64), rule)
    weights = _combine(layout, counts.astype(np.float64), REDUCERS["mean"]).astype(np.int64)
    with np.errstate(all="ignore"):
        values = to_float32(rule.finish(total, weights))
    values[weights == 0] = 0
    r, c = layout.cell
    labels, marks = (
        tuple(Region(each.name, tuple(_shrink(rect, r, c) for rect in each.rects)) for each in named)
        for named in (grid.labels, grid.marks)
    )
    cell = (grid.cell[0] * r, grid.cell[1] * c)
    place = grid.largest_cell
    where = None if place is None or not counts[place] else (place[0] // r, place[1] // c)
    coarser = None
    if grid.layout is not None and all(isinstance(block, Block) for block in grid.layout.blocks):  # a curve counts its cells
        coarser = replace(grid.layout, cell=cell, regions=regions, labels=labels, marks=marks)
    known = (grid.quantity, grid.largest, where, coarser, labels, marks, grid.notes, grid.spread, grid.limits)
    return Grid(values, weights, reduce, cell, regions, *known)


def _shrunk(shape: tuple[int, ...], max_cells: int) -> Layout:
    rows, columns = shape
    cell = (max(-(-rows // max_cells), 1), max(-(-columns // max_cells), 1))
    return Layout(rows, columns, cell, (Block("", 0, 0, 0, ((rows, 1, 0), (columns, 0, 1))),))


def _reduced_plain(array: Array, reduce: str, max_cells: int) -> Grid:
    layout = _shrunk(array.shape, max_cells)
    grid = assemble(layout, reduce, [whole(layout, "", array, reduce)])
    return Grid(grid.values, grid.counts, reduce, grid.cell)


def _combine(layout: Layout, values: Array, rule: Reducer) -> Array:
    """What *values*, which are prepared already, combine to."""
    target, ready = np.full(layout.shape, rule.initial), replace(rule, prepare=lambda each, room: each, squared=False)
    with np.errstate(all="ignore"):
        for each in cells_of(layout, ""):
            for met in each.met(0, values.size):
                met.add({"": target}, {"": ready}, values.reshape(-1), Room())
    return target


def _shrink(rect: Rect, r: int, c: int) -> Rect:
    row, column, height, width = rect
    top, left = row // r, column // c
    return top, left, -(-(row + height) // r) - top, -(-(column + width) // c) - left
