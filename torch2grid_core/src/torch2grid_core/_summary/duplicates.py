"""Output units that say the same: candidates from their sketches, each read again before it is reported.

How much alike small units are by chance is known: a duplicate among nine weights says less than one among a thousand.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import as_float, is_floating
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._summary.stacks import stacks

DIMENSIONS = 16  # numbers a unit
_TILE = 1 << 14  # columns with signs of their own; the signs of a later tile are these times one row
_WIDE = 512  # weights: of wider units every other stripe of columns is projected
_STRIPES = 16
NARROW = 8  # units of fewer weights other than zero are nearly parallel by chance: only equal ones are reported
_STRETCH = 65.0  # squared distance of two projections by that of the vectors, exceeded once in ten million
_ROWS = 128  # compared at once
_SCREENED = 128  # looked at once, before any is compared
_FIRST = 10  # numbers of a sketch that are looked at before the others
_SLACK = 1.01  # for what float32 rounds
_MEET, _TOGETHER = 256, 1 << 20  # units of a small tensor that meet each other at once, and pairs of several tensors
_ROUNDED = 1e-4  # of a cosine of float32, at most
_READ_BYTES = 4 << 20
_KEPT_BYTES = 64 << 20  # of units that others are compared with
FALSE_ALARM = 1e-3  # pairs of one tensor that chance may be expected to report
SMALL = 64  # weights: units of fewer are small, so that a kernel of 7×7 is
_MOST = 1 << 24  # weights of a tensor that are looked at as a whole
_ROUNDING = 1e-6  # a cosine nearer to 1 is equality but for a factor and rounding


class Sketch:
    """The fixed random projection of each output unit of a tensor of *shape*, and its squared norm.

    A unit is an index of dimension 0, its weights one vector x of ``width`` numbers. The projection is x·S for a matrix S
    of random signs, ``width`` × 16 (Achlioptas 2003, "Database-friendly random projections"): the squared distance of two
    projections is 16 times that of the vectors on average, and above 65 times once in ten million. S depends on
    nothing: the same numbers in every run.

    Of units of more than 512 weights, every other stripe of columns is projected: half of two vectors is never farther apart
    than all of them, so no pair is missed, and those that only the other half tells apart are read again.

    ``units`` rows of 17 numbers are kept in float32 (float64 for float64 weights).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.units = shape[0]
        self.width = math.prod(shape[1:])
        self._spans = _spans(self.width)
        self._totals: Array | None = None
        self._squares: Array | None = None

    def update(self, start: int, values: Array) -> None:
        """Take the weights with the flat indices *start* and on (C order): a 1-D array of float32 or float64.

        Each weight once, in any order of chunks. Raises ``ValueError`` for indices outside the shape.
        """
        if start < 0 or start + len(values) > self.units * self.width:
            raise ValueError(f"weights {start}–{start + len(values)} of a tensor of {self.units * self.width}")
        if not len(values):
            return
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            place, row, column = 0, start // self.width, start % self.width
            while place < len(values):
                rows = 1 if column or len(values) - place < self.width else (len(values) - place) // self.width
                columns = min(self.width - column, len(values) - place) if rows == 1 else self.width
                self._take(row, column, values[place : place + rows * columns].reshape(rows, columns))
                place, row, column = place + rows * columns, row + rows, 0

    def _take(self, row: int, column: int, block: Array) -> None:
        """*block*: whole rows, or a part of one from *column*."""
        rows, columns = block.shape
        if self._totals is None or self._squares is None:
            self._totals = np.zeros((self.units, DIMENSIONS), block.dtype)
            self._squares = np.zeros(self.units, block.dtype)
        self._squares[row : row + rows] += np.matmul(block[:, None, :], block[:, :, None])[:, 0, 0]  # BLAS' dot products
        signs = _signs(min(_TILE, self.width), block.dtype.str)
        for begin, end in self._spans:
            start, stop = max(begin, column), min(end, column + columns)
            if start < stop:
                tile, first = divmod(start, _TILE)
                projected = block[:, start - column : stop - column] @ signs[first : first + stop - start]
                self._totals[row : row + rows] += projected * _tile_signs(tile) if tile else projected

    def points(self) -> tuple[Array, Array]:
        """The units that can be compared and their projections once scaled to length 1: indices (n,), float32 (n, 16).

        Left out are units of nothing but zeros, or with NaN or Inf, or whose squares leave the range of the dtype.
        """
        if self._totals is None or self._squares is None:
            return np.empty(0, np.int64), np.empty((0, DIMENSIONS), np.float32)
        tiny = np.finfo(self._squares.dtype).tiny
        with np.errstate(invalid="ignore"):
            known = np.flatnonzero(np.isfinite(self._squares) & (self._squares >= tiny))
        points = self._totals[known] / np.sqrt(self._squares[known])[:, None]
        finite = np.isfinite(points).all(axis=1)
        return known[finite], points[finite].astype(np.float32)


@lru_cache(maxsize=64)
def _spans(width: int) -> tuple[tuple[int, int], ...]:
    """Which columns of units of *width* weights are projected, from and to, none of them in two tiles."""
    step = -(-width // _STRIPES)
    stripes = range(0, width, 2 * step) if width > _WIDE else (0,)
    bounds = [(start, min(start + step, width) if width > _WIDE else width) for start in stripes]
    return tuple(
        (max(start, tile), min(stop, tile + _TILE))
        for start, stop in bounds
        for tile in range(start // _TILE * _TILE, stop, _TILE)
    )


@lru_cache(maxsize=2)
def _all_signs(columns: int) -> Array:
    """±1, float32 (columns, 16): sixteen bits of a well mixed column number (splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mixed = (np.arange(1, columns + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    bits = (mixed[:, None] >> np.arange(DIMENSIONS, dtype=np.uint64)) & np.uint64(1)
    signs: Array = (1 - 2 * bits.astype(np.float32)).astype(np.float32)
    return signs


@lru_cache(maxsize=8)
def _signs(columns: int, dtype: str) -> Array:
    return _all_signs(columns).astype(dtype)


@lru_cache(maxsize=64)
def _tile_signs(tile: int) -> Array:
    """The signs that a later tile's projections are multiplied with."""
    signs: Array = _all_signs(_TILE)[(tile * 7919) % _TILE]
    return signs


@dataclass(frozen=True)
class DuplicateGroup:
    """Units that repeat one another.

    Args:
        units: indices of dimension 0, increasing. Each of the others repeats the first.
        equal: those that equal the first weight for weight.
        cosine: the least cosine between the first and another.
    """

    units: tuple[int, ...]
    equal: tuple[int, ...]
    cosine: float


@dataclass(frozen=True)
class DuplicateUnits:
    """The duplicates among the output units of a tensor.

    Args:
        units: how many units there are.
        compared: False if they were not compared.
        groups: units that repeat one another.
    """

    units: int
    compared: bool
    groups: tuple[DuplicateGroup, ...] = ()

    @property
    def repeated(self) -> int:
        """Units that repeat an earlier one, each counted once."""
        return sum(len(group.units) - 1 for group in self.groups)


def has_rows(tensor: LazyTensor) -> bool:
    """True for real numbers in two or more dimensions, of which units can be compared. (Wide integers are indices.)"""
    if tensor.ndim < 2 or tensor.shape[0] < 2 or not (is_floating(tensor.dtype) or tensor.dtype == np.int8):
        return False
    return tensor.size // tensor.shape[0] >= (2 if tensor.dtype.itemsize >= 4 else NARROW)


def duplicate_units(tensor: LazyTensor, sketch: Sketch, cosine: float) -> DuplicateUnits:
    """The units of *tensor* that repeat an earlier one: equal, or with a greater cosine than *cosine*.

    sketch: of all weights of the tensor. Candidates are those whose sketches are near; only they are read again, in
    bounded memory. Each unit that repeats others is in one group: that of a unit which it equals, else that of one which it
    is near to. Units of nothing but zeros, or with NaN or Inf, are in no group; those of fewer than eight weights other than
    zero only where they are equal. What chance explains is left out where units are small (see ``coincidence``). A pair
    just above *cosine* is missed once in ten million.
    """
    known, points = sketch.points()
    reach = 2 * (1 - cosine) * _STRETCH + 1e-3  # float32 rounds: equal vectors are not quite at distance 0
    candidates = [known[rows] for rows in _near(points, reach)]
    groups = _groups(tensor, candidates, cosine)
    if groups and is_small(tensor):
        values = as_float(tensor.numpy().reshape(tensor.shape[0], -1)[known])
        repeated = {unit for group in groups for unit in group.units[1:]}
        distinct = values[[unit not in repeated for unit in known.tolist()]]
        least = max(cosine, chance_cosine(distinct, len(known)))
        if least > cosine:
            groups = _groups(tensor, candidates, least)
        if chance_equal(distinct, len(known)) > FALSE_ALARM:
            groups = [group for group in map(_without_equal, groups) if len(group.units) > 1]
    return DuplicateUnits(sketch.units, True, tuple(groups))


def are_unlike(shapes: Sequence[tuple[int, ...]], values: Array, cosine: float) -> list[bool]:
    """Of each of many small tensors, of *shapes*, one after the other in *values*: True where surely no unit repeats another.

    False says nothing. Those of one shape are looked at together: each unit meets each other.
    """
    found = [False] * len(shapes)
    for shape, places, stacked in stacks(shapes, values):
        if len(shape) < 2 or not 2 <= shape[0] <= _MEET:
            continue
        step = max(_TOGETHER // shape[0] ** 2, 1)
        for start in range(0, len(places), step):
            units = stacked[start : start + step].reshape(-1, shape[0], math.prod(shape[1:]))
            with np.errstate(all="ignore"):
                largest = np.abs(units).max(axis=2, keepdims=True)
                units = np.where((largest > 0) & np.isfinite(largest), units / largest, 0)
                length = np.sqrt(np.einsum("nij,nij->ni", units, units))[:, :, None]
                directions = np.where(length > 0, units / length, 0)
                cosines = np.matmul(directions, directions.transpose(0, 2, 1))
            cosines[:, np.arange(shape[0]), np.arange(shape[0])] = 0
            for place, most in zip(places[start : start + step], cosines.max(axis=(1, 2)).tolist(), strict=True):
                found[place] = most < cosine - _ROUNDED
    return found


def _groups(tensor: LazyTensor, candidates: Sequence[Array], cosine: float) -> list[DuplicateGroup]:
    found = (group for rows in candidates for group in _confirmed(tensor, rows, cosine))
    return sorted(found, key=lambda group: group.units)


def _without_equal(group: DuplicateGroup) -> DuplicateGroup:
    return replace(group, units=tuple(unit for unit in group.units if unit not in set(group.equal)), equal=())


def _near(points: Array, reach: float) -> list[Array]:
    """Sets of rows of *points* that hold every pair nearer than √*reach*; each set has two rows or more.

    Rows are sorted into bands by the coordinate that tells them apart best, and in each by the next best, so that each meets
    only those within reach there. One that is near to no leader becomes one; all that could share a partner (twice as far, by
    the triangle inequality) are united.
    """
    count = len(points)
    if not _are_any_near(points, reach):  # as in most tensors
        return []
    away = 2 * math.sqrt(reach)
    second, best = np.argsort(points.std(axis=0), kind="stable")[-2:]
    band = np.floor((points[:, best] - points[:, best].min()) / away).astype(np.int64)
    order = np.lexsort((points[:, second], band))
    points, band = points[order], band[order]
    along = np.ascontiguousarray(points[:, second])
    mine, theirs = _factors(points)
    leaders = np.empty(count, np.int64)
    kept = np.empty((count, DIMENSIONS + 2), np.float32)  # what the leaders are met with
    found = 0
    label = np.arange(count)
    starts = np.flatnonzero(np.diff(band, prepend=-2))
    before = now = slice(0, 0)  # the leaders of the band before, and of this one
    for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), count], strict=True):
        before = slice(now.start, found) if begin and band[begin] == band[begin - 1] + 1 else slice(found, found)
        now = slice(found, found)
        for start in range(begin, end, _ROWS):
            rows = np.arange(start, min(start + _ROWS, end))
            met = np.concatenate(
                [
                    each.start
                    + np.arange(*np.searchsorted(along[leaders[each]], (along[rows[0]] - away, along[rows[-1]] + away)))
                    for each in (before, slice(now.start, found))
                ]
            )
            distances = mine[rows] @ kept[met].T
            alone = rows
            if distances.size and distances.min() <= 4 * reach:
                _unite(label, rows, leaders[met], distances <= 4 * reach)
                alone = rows[~(distances <= reach).any(axis=1)]
            among = mine[rows] @ theirs[rows].T
            new = _leaders(alone, among[np.ix_(alone - start, alone - start)] <= reach)
            edges = among[:, new - start] <= 4 * reach
            edges[new - start, np.arange(len(new))] = False  # with itself
            _unite(label, rows, new, edges)
            leaders[found : found + len(new)] = new
            kept[found : found + len(new)] = theirs[new]
            found += len(new)
    shared = np.flatnonzero(np.bincount(label, minlength=count) > 1)
    return [np.sort(order[label == each]) for each in shared]


def _factors(points: Array) -> tuple[Array, Array]:
    """Two matrices whose rows' products are the squared distances of *points*."""
    squares = np.einsum("ij,ij->i", points, points)[:, None]
    ones = np.ones_like(squares)
    return np.hstack([points, squares, ones]), np.hstack([-2 * points, ones, squares])


def _are_any_near(points: Array, reach: float) -> bool:
    """False where no two of *points* are nearer than √*reach*: each meets only those within reach along one coordinate."""
    if len(points) < 2:
        return False
    points = points[:, np.argsort(-points.std(axis=0), kind="stable")]
    points = points[np.argsort(points[:, 0])]
    along, most = points[:, 0].copy(), _SLACK * reach
    factors = [_factors(points[:, :_FIRST]), _factors(points)]
    scratch = np.empty(min(_SCREENED, len(points)) * len(points), points.dtype)
    for start in range(0, len(points), _SCREENED):
        stop = min(start + _SCREENED, len(points))
        last = int(np.searchsorted(along, along[stop - 1] + math.sqrt(most), side="right"))
        for mine, theirs in factors:  # by their first numbers, most are too far away already
            distances = scratch[: (stop - start) * (last - start)].reshape(stop - start, last - start)
            np.matmul(mine[start:stop], theirs[start:last].T, out=distances)
            np.fill_diagonal(distances, np.inf)  # of each from itself
            if distances.min() > most:
                break
        else:
            return True
    return False


def _leaders(rows: Array, near: Array) -> Array:
    """The *rows* that are left when each has taken those near it that come later. near: rows × rows."""
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

    Each row is compared with every earlier one, first with those that repeat no other: most find theirs there. The
    directions that rows are compared with are kept in memory up to a bound; where there are more, the rest is read again.
    """
    width = tensor.size // tensor.shape[0]
    room = max(_KEPT_BYTES // (width * 4), 1)
    step = max(_READ_BYTES // (width * 4), 1)
    whole = None if tensor.contiguous else tensor.numpy().reshape(tensor.shape[0], width)
    first_of: dict[bytes, int] = {}  # digest of the weights → the first row that has them
    members: dict[int, list[tuple[int, float, bool]]] = {}  # row → rows that repeat it
    repeats: set[int] = set()
    waiting = rows
    while len(waiting):
        leaders, others = _Kept(room, width, len(waiting)), _Kept(room, width, len(waiting))
        later = []
        for start in range(0, len(waiting), step):
            part = waiting[start : start + step]
            raw = _read(tensor, part, width) if whole is None else whole[part]
            for row, values, direction in zip(part.tolist(), as_float(raw) + 0.0, _directions(raw), strict=True):
                first = first_of.setdefault(hashlib.blake2b(values.tobytes(), digest_size=16).digest(), row)
                if first != row:
                    members.setdefault(first, []).append((row, 1.0, True))
                    continue  # whatever is near to this row is near to the first one, too
                if np.count_nonzero(values) < NARROW:
                    continue
                if row not in repeats:
                    found = leaders.match(direction, cosine) or others.match(direction, cosine)
                    if found is not None:
                        members.setdefault(found[0], []).append((row, found[1], False))
                        repeats.add(row)
                if len(leaders) + len(others) < room:
                    (others if row in repeats else leaders).keep(row, direction)
                else:
                    later.append(row)
        waiting = np.array(later, np.int64)
    for row, found_rows in members.items():
        repeated = sorted(found_rows)
        least = 1.0 if all(equal for *_, equal in repeated) else min(1.0, min(each for _, each, _ in repeated))
        yield DuplicateGroup(
            (row, *(each for each, *_ in repeated)), tuple(each for each, _, equal in repeated if equal), least
        )


class _Kept:
    """Directions of units that later ones are compared with; *most* of them, of *width* numbers each."""

    def __init__(self, room: int, width: int, most: int) -> None:
        self.rows: list[int] = []
        self._most = min(room, most)
        self._directions = np.empty((0, width), np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, row: int, direction: Array) -> None:
        """Add one; the room doubles as it is needed."""
        if len(self.rows) == len(self._directions):
            larger = np.empty((min(max(2 * len(self.rows), 16), self._most), len(direction)), np.float32)
            larger[: len(self.rows)] = self._directions
            self._directions = larger
        self._directions[len(self.rows)] = direction
        self.rows.append(row)

    def match(self, direction: Array, cosine: float) -> tuple[int, float] | None:
        """The first that was kept with a greater cosine, and that cosine."""
        cosines = self._directions[: len(self.rows)] @ direction
        near = np.flatnonzero(cosines > cosine)
        return (self.rows[near[0]], float(cosines[near[0]])) if len(near) else None


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


def is_small(tensor: LazyTensor) -> bool:
    """True where the units of *tensor* are small, or the kernels of single channels, which are much alike at any size."""
    depthwise = tensor.ndim >= 3 and tensor.shape[1] == 1
    return tensor.size <= _MOST and (tensor.size < SMALL * tensor.shape[0] or depthwise)


def dimensions(units: Array) -> float:
    """In how many dimensions the directions of *units* (n, k) spread, 1…k.

    The participation ratio of their second moments: 1 / (the mean squared cosine of two of them). It is k for directions
    without preference, and near 1 where all units vary one shape, as blurs or decays do. k for a single unit, which does
    not tell.
    """
    count, width = units.shape
    if count < 2:
        return float(width)
    length = np.abs(units).max(axis=1, keepdims=True)
    directions = (units / length).astype(np.float64)
    directions /= np.sqrt((directions**2).sum(axis=1, keepdims=True))
    moments = directions.T @ directions
    squared = float((moments**2).sum() - count) / (count * (count - 1))
    return min(max(1 / squared, 1.0), float(width)) if squared > 0 else float(width)


def chance_cosine(distinct: Array, units: int) -> float:
    """The cosine that chance lets two of *units* units exceed in one tensor of a thousand (``FALSE_ALARM``).

    distinct: (n, k), the units that repeat no other: they say in how many dimensions d units spread. Two random directions
    in d dimensions have a cosine above c with the probability ½·I(1 − c²; a, ½), a = (d − 1)/2 (the share of the
    sphere that a cap has; Li 2011, "Concise formulas for the area and volume of a hyperspherical cap"). That is about
    (1 − c²)^a / (2·a·B(a, ½)) near 1, and there are n·(n − 1)/2 pairs. Never above 1 − 10⁻⁶: a copy that was scaled is
    always told.
    """
    pairs = units * (units - 1) / 2
    exponent = max((dimensions(distinct) - 1) / 2, 1e-9)
    log_beta = math.lgamma(exponent) + math.lgamma(0.5) - math.lgamma(exponent + 0.5)
    log_x = (math.log(2 * FALSE_ALARM / pairs) + math.log(exponent) + log_beta) / exponent
    return min(math.sqrt(1 - math.exp(min(log_x, 0.0))), 1 - _ROUNDING)


def chance_equal(distinct: Array, units: int) -> float:
    """How many pairs of *units* units chance makes equal: binary, ternary and coarsely quantised units have few values.

    distinct: (n, k), the units that repeat no other. At each place, two of them have the same value in a share of cases;
    the product over all places is the probability that two units are equal, less that of both being zero throughout.
    """
    count = len(distinct)
    if count < 2:
        return 0.0
    same = zero = 1.0
    for values in distinct.T:
        counts = np.unique(values, return_counts=True)[1].astype(np.float64)
        zeros = float(np.count_nonzero(values == 0))
        same *= float((counts * (counts - 1)).sum()) / (count * (count - 1))
        zero *= zeros * (zeros - 1) / (count * (count - 1))
    return max(same - zero, 0.0) * units * (units - 1) / 2
