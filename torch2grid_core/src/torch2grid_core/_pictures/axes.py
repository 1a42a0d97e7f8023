"""One axis of a block in cells: which stretch of its positions falls into which cell, and how stretches are reduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_core._array import Array

Cells = range | Array  # ascending cell indices, a range wherever they are evenly spaced
Piece = tuple[int, int, int]  # positions start…stop in runs of equal length

# Below these lengths a loop over the run's elements, each step a strided vector operation, beats one reduction a run.
_SUM_LOOP, _EXTREME_LOOP, _FOLD = 8, 24, 128
_PIECES = 8  # stretches of equal runs up to which each is reduced in one go
NARROW = 24  # columns below which rows are reduced on a transposed copy


@dataclass(frozen=True, eq=False)
class Axis:
    """Positions 0…length-1 along one axis, cut into runs of one cell each.

    cells: of the runs, ascending and distinct. pieces: stretches of runs of equal length, or ``None`` where runs are
    irregular; then starts: first position of each run. order: permutation that brings the positions into runs, if needed.
    """

    length: int
    cells: Cells
    pieces: tuple[Piece, ...] | None = None
    starts: Array | None = None
    order: Array | None = None

    def lengths(self) -> Array:
        """Number of positions in each run, int64."""
        if self.pieces is not None:
            return np.concatenate([np.full((stop - start) // run, run, dtype=np.int64) for start, stop, run in self.pieces])
        assert self.starts is not None
        return np.diff(self.starts, append=self.length).astype(np.int64)


def axis(origin: int, dims: Sequence[tuple[int, int]], cell: int) -> Axis:
    """The axis of positions ``origin + Σ digit·step``. dims: (length, step > 0), by falling step; cell: positions a cell."""
    merged: list[tuple[int, int]] = []
    for length, step in dims:
        if merged and merged[-1][1] == length * step:
            merged[-1] = (merged[-1][0] * length, step)
        else:
            merged.append((length, step))
    if not merged:
        return Axis(1, range(origin // cell, origin // cell + 1), ((0, 1, 1),))
    if len(merged) == 1:
        length, step = merged[0]
        if step % cell == 0:
            stride = step // cell
            return Axis(length, range(origin // cell, origin // cell + (length - 1) * stride + 1, stride), ((0, length, 1),))
        if cell % step == 0:
            return _even(origin, length, step, cell)
    return _general(origin, merged, cell)


def _even(origin: int, length: int, step: int, cell: int) -> Axis:
    """Evenly spaced positions, several a cell: a shorter run at each end, equal runs between."""
    run = cell // step
    first = min(-((origin - (origin // cell + 1) * cell) // step), length)
    place = first if first != run else 0
    pieces = [(0, place, place)] if place else []
    full = (length - place) // run * run
    if full:
        pieces.append((place, place + full, run))
        place += full
    if place < length:
        pieces.append((place, length, length - place))
    return Axis(length, range(origin // cell, (origin + (length - 1) * step) // cell + 1), tuple(pieces))


def _general(origin: int, dims: Sequence[tuple[int, int]], cell: int) -> Axis:
    positions = np.full(1, origin, dtype=np.int64)
    for length, step in dims:
        positions = (positions[:, None] + np.arange(length, dtype=np.int64) * step).reshape(-1)
    cells, order = positions // cell, None
    if np.any(cells[1:] < cells[:-1]):
        order = np.argsort(cells, kind="stable")
        cells = cells[order]
    starts = np.concatenate(([0], np.flatnonzero(cells[1:] != cells[:-1]) + 1))
    runs = np.diff(starts, append=len(cells))
    changes = np.flatnonzero(runs[1:] != runs[:-1]) + 1
    if len(changes) < _PIECES:
        bounds = [0, *starts[changes].tolist(), len(cells)]
        lengths = runs[[0, *changes.tolist()]].tolist()
        pieces = tuple(zip(bounds[:-1], bounds[1:], lengths, strict=True))
        return Axis(len(cells), compact(cells[starts]), pieces, None, order)
    return Axis(len(cells), compact(cells[starts]), None, starts, order)


def compact(cells: Array) -> Cells:
    """Ascending distinct indices as a ``range`` where they are evenly spaced."""
    stride = int(cells[1] - cells[0]) if len(cells) > 1 else 1
    if np.all(np.diff(cells) == stride):
        return range(int(cells[0]), int(cells[-1]) + 1, stride)
    return cells


def index_within(cells: Cells, frame: Cells) -> slice | Array:
    """Where *cells*, each of which *frame* holds, are in *frame*."""
    if isinstance(frame, range):
        if isinstance(cells, range) and (len(cells) == 1 or cells.step % frame.step == 0):
            first = (cells.start - frame.start) // frame.step
            stride = cells.step // frame.step if len(cells) > 1 else 1
            return slice(first, first + (len(cells) - 1) * stride + 1, stride)
        return (np.asarray(cells, dtype=np.int64) - frame.start) // frame.step
    return np.searchsorted(frame, np.asarray(cells, dtype=np.int64))


def region_of(shape: tuple[int, ...], rows: slice | Array, columns: slice | Array) -> Any:
    """The index that selects *rows* × *columns* of a 2-D array of that *shape*."""
    if isinstance(rows, slice) and isinstance(columns, slice):
        return rows, columns
    height, width = shape
    return np.ix_(
        np.arange(height)[rows] if isinstance(rows, slice) else rows,
        np.arange(width)[columns] if isinstance(columns, slice) else columns,
    )


def reduce_columns(ufunc: np.ufunc, values: Array, columns: Axis) -> Array:
    """*values* (rows, positions) reduced to (rows, runs)."""
    if columns.order is not None:
        values = values.take(columns.order, axis=1)
    if columns.pieces is None:
        assert columns.starts is not None
        return np.asarray(ufunc.reduceat(values, columns.starts, axis=1))
    if len(columns.cells) == columns.length:
        return values
    rows = len(values)
    if len(columns.pieces) == 1:
        return reduce_last(ufunc, values.reshape(rows, -1, columns.pieces[0][2]))
    result, place = np.empty((rows, len(columns.cells)), dtype=values.dtype), 0
    for start, stop, run in columns.pieces:
        count = (stop - start) // run
        result[:, place : place + count] = reduce_last(ufunc, values[:, start:stop].reshape(rows, count, run))
        place += count
    return result


def reduce_rows(ufunc: np.ufunc, values: Array, rows: Axis) -> Array:
    """*values* (positions, columns) reduced to (runs, columns)."""
    if len(rows.cells) == rows.length and rows.order is None:
        return values
    width = values.shape[1]
    if width < NARROW or rows.pieces is None:
        # numpy reduces along the first axis in steps of one row, which is slow where a row is short or runs are uneven.
        return reduce_columns(ufunc, np.ascontiguousarray(values.T), rows).T
    if rows.order is not None:
        values = values.take(rows.order, axis=0)
    result, place = np.empty((len(rows.cells), width), dtype=values.dtype), 0
    for start, stop, run in rows.pieces:
        count = (stop - start) // run
        ufunc.reduce(values[start:stop].reshape(count, run, width), axis=1, out=result[place : place + count])
        place += count
    return result


def reduce_last(ufunc: np.ufunc, values: Array) -> Array:
    """*values* (…, run) reduced to (…), in at least one dimension."""
    run = values.shape[-1]
    if run == 1:
        return np.asarray(values[..., 0])
    if ufunc is np.add and run > _SUM_LOOP:
        return np.asarray(np.einsum("...i->...", values))  # one vectorised sum a run, at a third of np.sum's cost
    if ufunc is not np.add and run >= _FOLD:
        return np.asarray(ufunc.reduce(values, axis=-1))
    shape = values.shape[:-1]
    if values.flags.c_contiguous:
        values = values.reshape(-1, run)  # in one dimension numpy goes through them at once, and by a faster loop
    if ufunc is not np.add:
        while values.shape[-1] > _EXTREME_LOOP:  # overlapping halves: an extreme may see a weight twice
            half = (values.shape[-1] + 1) // 2
            values = ufunc(values[..., :half], values[..., -half:])
    result = ufunc(values[..., 0], values[..., 1])
    for place in range(2, values.shape[-1]):
        ufunc(result, values[..., place], out=result)
    return np.asarray(result).reshape(shape)
