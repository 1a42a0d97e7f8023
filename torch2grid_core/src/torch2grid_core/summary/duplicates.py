"""Output units that say the same: candidates from their sketches, each read again before it is reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch2grid_core.data.dtypes import as_float, is_floating
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.summary.sketch import DIMENSIONS, Sketch

Array = np.ndarray[Any, Any]

NARROW = 8  # units of fewer weights are nearly parallel by chance: only equal ones are reported
_STRETCH = 65.0  # squared distance of two projections by that of the vectors, exceeded once in ten million
_ROWS = 512  # compared at once
_READ_BYTES = 4 << 20
_KEPT_BYTES = 64 << 20  # of units that others are compared with


@dataclass(frozen=True)
class DuplicateGroup:
    """Units that say the same. units: indices of dimension 0, increasing; the others are compared with the first.

    equal: those that equal the first weight for weight. cosine: the least cosine between the first and another.
    """

    units: tuple[int, ...]
    equal: tuple[int, ...]
    cosine: float


@dataclass(frozen=True)
class DuplicateUnits:
    """The duplicates among the output units of a tensor. units: how many there are; compared: False where they were not."""

    units: int
    compared: bool
    groups: tuple[DuplicateGroup, ...] = ()

    @property
    def repeated(self) -> int:
        """Units that repeat an earlier one."""
        return sum(len(group.units) - 1 for group in self.groups)


def has_rows(tensor: LazyTensor) -> bool:
    """True for real numbers in two or more dimensions, of which units can be compared. (Wide integers are indices.)"""
    if tensor.ndim < 2 or tensor.shape[0] < 2 or not (is_floating(tensor.dtype) or tensor.dtype == np.int8):
        return False
    return tensor.size // tensor.shape[0] >= (2 if tensor.dtype.itemsize >= 4 else NARROW)


def duplicate_units(tensor: LazyTensor, sketch: Sketch, cosine: float) -> DuplicateUnits:
    """The groups of units of *tensor* that are equal, or whose *cosine* with the first of the group is greater.

    sketch: of all weights of the tensor. Candidates are those whose sketches are near; only they are read again, in
    bounded memory. Units of nothing but zeros, or with NaN or Inf, are in no group; those of fewer than eight weights
    only where they are equal. A pair just above *cosine* is missed once in ten million.
    """
    known, points = sketch.points()
    reach = 2 * (1 - cosine) * _STRETCH + 1e-3  # float32 rounds: equal vectors are not quite at distance 0
    groups: list[DuplicateGroup] = []
    for rows in _near(points, reach):
        groups += _confirmed(tensor, known[rows], cosine)
    return DuplicateUnits(sketch.units, True, tuple(sorted(groups, key=lambda group: group.units)))


def _near(points: Array, reach: float) -> list[Array]:
    """Sets of rows of *points* that hold every pair nearer than √*reach*; each set has two rows or more.

    Rows are sorted by the coordinate that tells them apart best, so that each meets only those within reach there. One that
    is near to no leader becomes one; all that could share a partner (twice as far, by the triangle inequality) are united.
    """
    count = len(points)
    if count < 2:
        return []
    coordinate = int(np.argmax(points.std(axis=0)))
    order = np.argsort(points[:, coordinate], kind="stable")
    points = points[order]
    along = np.ascontiguousarray(points[:, coordinate])
    squares = np.einsum("ij,ij->i", points, points)[:, None]
    ones = np.ones_like(squares)
    mine, theirs = np.hstack([points, squares, ones]), np.hstack([-2 * points, ones, squares])  # products are distances
    leaders = np.empty(count, np.int64)
    kept = np.empty((count, DIMENSIONS + 2), np.float32)  # what the leaders are met with
    found = 0
    label = np.arange(count)
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        first = int(np.searchsorted(along[leaders[:found]], along[start] - 2 * np.sqrt(reach)))
        distances = mine[rows] @ kept[first:found].T
        alone = rows
        if distances.size and distances.min() <= 4 * reach:
            _unite(label, rows, leaders[first:found], distances <= 4 * reach)
            alone = rows[~(distances <= reach).any(axis=1)]
        new = _leaders(alone, mine, theirs, reach)
        edges = mine[rows] @ theirs[new].T <= 4 * reach
        edges[new - start, np.arange(len(new))] = False  # with itself
        _unite(label, rows, new, edges)
        leaders[found : found + len(new)] = new
        kept[found : found + len(new)] = theirs[new]
        found += len(new)
    shared = np.flatnonzero(np.bincount(label, minlength=count) > 1)
    return [np.sort(order[label == each]) for each in shared]


def _leaders(rows: Array, mine: Array, theirs: Array, reach: float) -> Array:
    """The rows that are left when each has taken those near it that come later."""
    near = mine[rows] @ theirs[rows].T <= reach
    np.fill_diagonal(near, False)
    free = np.ones(len(rows), bool)
    for place in np.flatnonzero(near.any(axis=1)):
        if free[place]:
            free[place + 1 :] &= ~near[place, place + 1 :]
    return rows[free]


def _unite(label: Array, rows: Array, leaders: Array, edges: Array) -> None:
    """Give the rows and leaders that *edges* (rows × leaders) join one label."""
    for place in np.flatnonzero(edges.any(axis=1)):
        joined = np.unique(np.append(label[leaders[edges[place]]], label[rows[place]]))
        if len(joined) > 1:
            label[np.isin(label, joined[1:])] = joined[0]


def _confirmed(tensor: LazyTensor, rows: Array, cosine: float) -> Iterator[DuplicateGroup]:
    """The groups among *rows*, by the weights themselves.

    Units that others are compared with are kept in memory up to a bound; where there are more, the rest is read again.
    """
    width = tensor.size // tensor.shape[0]
    room = max(_KEPT_BYTES // (width * (4 + tensor.dtype.itemsize)), 1)
    step = max(_READ_BYTES // (width * 4), 1)
    whole = None if tensor.contiguous else tensor.numpy().reshape(tensor.shape[0], width)
    waiting = rows
    while len(waiting):
        capacity = min(room, len(waiting))
        directions, stored = np.empty((capacity, width), np.float32), np.empty((capacity, width), tensor.dtype)
        first: list[int] = []
        members: list[list[tuple[int, float, bool]]] = []
        later = []
        for start in range(0, len(waiting), step):
            part = waiting[start : start + step]
            raw = _read(tensor, part, width) if whole is None else whole[part]
            unit = _directions(raw)
            for row, values, direction in zip(part.tolist(), raw, unit, strict=True):
                cosines = directions[: len(first)] @ direction
                place = _match(cosines, cosine, stored, values)
                if place is not None:
                    members[place].append((row, float(cosines[place]), bool((stored[place] == values).all())))
                elif len(first) < capacity:
                    directions[len(first)], stored[len(first)] = direction, values
                    first.append(row)
                    members.append([])
                else:
                    later.append(row)
        for leader, others in zip(first, members, strict=True):
            if others:
                least = 1.0 if all(equal for *_, equal in others) else min(1.0, min(each for _, each, _ in others))
                units = (leader, *(row for row, *_ in others))
                yield DuplicateGroup(units, tuple(row for row, _, equal in others if equal), least)
        waiting = np.array(later, np.int64)


def _match(cosines: Array, cosine: float, stored: Array, values: Array) -> int | None:
    """The place of the first kept unit that *values* repeats."""
    for place in np.flatnonzero(cosines > cosine):
        if len(values) >= NARROW or (stored[place] == values).all():
            return int(place)
    return None


def _directions(raw: Array) -> Array:
    """Rows scaled to length 1, float32. Scaled by their largest weight first, so that no square overflows."""
    values = as_float(raw)
    with np.errstate(all="ignore"):
        values = values / np.abs(values).max(axis=1, keepdims=True)
        length = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
        direction: Array = (values / length[:, None]).astype(np.float32)
    return direction


def _read(tensor: LazyTensor, rows: Sequence[int] | Array, width: int) -> Array:
    """The stored numbers of some units of a contiguous tensor, (len(rows), width)."""
    found = np.empty((len(rows), width), tensor.dtype)
    for place, row in enumerate(rows):
        found[place] = replace(tensor, shape=(width,), strides=None, offset=tensor.offset + int(row) * width).numpy()
    return found
