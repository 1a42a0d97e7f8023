"""Norms, distances and directions of the rows of an embedding or a head, and which of them look as if never trained."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch2grid_core import LazyTensor, Need
from torch2grid_core.measures import NotFiniteCount, count_not_finite
from torch2grid_core.sources import as_float

Array = np.ndarray[Any, Any]

_BAND = 1 << 21  # weights that are taken at a time
_SKETCH = 128  # numbers that stand for a row while rows are compared with each other
_COMPARED = 2048  # rows that all are compared with
_ALIKE = (
    (0.9, 3),
    (0.75, 4),
    (0.6, 10),
    (0.45, 20),
)  # cosines of rows that may have been moved together, and how many at least
_TRIED = 200  # rows, most of them in a group that was tried before
_FEWEST = 3
_KEPT = 4096  # rows whose mean says where the unused ones lie
_AWAY = 5.0  # spreads of the group's middle, up to which a row belongs to it
_CLEAR = 7.0  # spreads up to which there is next to nothing
_GAP = 2.0  # spreads between a tight group of small rows and the next row
_TIGHT = 1.5  # times the spread of random rows
_SEVERAL = 8  # rows of such a group
_LEAST = 1e-150  # of a norm, below which squares are lost
_SEED = 20_240_508

NOT_FINITE, ZERO, EQUAL, SMALL, TOGETHER = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class TokenRows:
    """Of the rows of one tensor, float64 unless said.

    norms: ‖E_i‖. distances: ‖E_i − mean‖. unused: 1 − cos of E_i − mean and where the unused rows lie, ``None`` where no such
    place is known. why: uint8, 0 or why a row looks unused. twin: of a row that another one equals, the first of these, else
    −1. limits: by why, the largest norm, or cosine distance, of those rows.
    """

    norms: Array
    distances: Array
    unused: Array | None
    why: Array
    twin: Array
    not_finite: NotFiniteCount
    limits: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Vocabulary(Need[TokenRows]):
    """The ``TokenRows`` of a tensor whose rows are tokens. known: rows that are known to be unused. It reads three times."""

    known: tuple[int, ...] = ()

    def compute(self, tensors: Mapping[str, LazyTensor]) -> TokenRows:
        (tensor,) = tensors.values()
        with np.errstate(all="ignore"):
            return _Rows(tensor, self.known).result()


class _Rows:
    def __init__(self, tensor: LazyTensor, known: tuple[int, ...]) -> None:
        self.tensor = tensor
        self.count, self.width = tensor.shape
        self.known = np.array([row for row in known if row < self.count], np.int64)
        sketch = min(_SKETCH, self.width)
        rng = np.random.default_rng(_SEED)
        self.signs = np.eye(self.width) if sketch == self.width else rng.standard_normal((self.width, sketch))
        self.norms, self.sketches = np.empty(self.count), np.empty((self.count, sketch), np.float32)
        self.twin = np.full(self.count, -1, np.int64)
        seen: dict[bytes, int] = {}
        total, self.not_finite = np.zeros(self.width), NotFiniteCount()
        for start, band in self._bands():
            stop = start + len(band)
            self.norms[start:stop] = _lengths(band)
            finite = np.isfinite(self.norms[start:stop])
            total += band[finite].sum(axis=0)
            self.sketches[start:stop] = band @ self.signs
            if not finite.all():
                self.not_finite = self.not_finite.merge(count_not_finite(band.reshape(-1)))
            for row, values in enumerate(band.astype(np.float32), start):
                first = seen.setdefault(hashlib.blake2b(values.tobytes(), digest_size=16).digest(), row)
                if first != row:
                    self.twin[row] = self.twin[first] = first
        self.finite = np.isfinite(self.norms)
        self.mean = total / max(int(self.finite.sum()), 1)

    def _bands(self) -> Iterator[tuple[int, Array]]:
        step = max(_BAND // self.width, 1)
        for start in range(0, self.count, step):
            yield start, as_float(self.tensor.view((slice(start, start + step),)).numpy()).astype(np.float64)

    def result(self) -> TokenRows:
        why = np.zeros(self.count, np.uint8)
        zero = self.norms == 0
        limits: dict[int, float] = {}
        judged = self.finite & ~zero
        small = self._small(judged)
        if small.any():
            limits[SMALL] = float(self.norms[small].max())
        distances, unused, together = self._along(judged)
        if together.any():
            assert unused is not None
            limits[TOGETHER] = float(unused[together].max())
        for which, reason in (
            (together, TOGETHER),
            (small, SMALL),
            (self.twin >= 0, EQUAL),
            (zero, ZERO),
            (~self.finite, NOT_FINITE),
        ):
            why[which] = reason
        return TokenRows(self.norms, distances, unused, why, self.twin, self.not_finite, limits)

    def _small(self, judged: Array) -> Array:
        """Rows of the size that initialisation or weight decay left, beside larger ones."""
        sizes = np.where(judged, np.log(self.norms), np.inf)
        smallest = np.argsort(sizes, kind="stable")[: max(4, self.count // 1000)]
        found, noise = np.zeros(self.count, bool), 1 / math.sqrt(2 * self.width)
        for seeds in (self.known[judged[self.known]], smallest):
            found |= _group(sizes, seeds, noise)
        return found if found.any() else _below_gap(sizes, noise)

    def _along(self, judged: Array) -> tuple[Array, Array | None, Array]:
        """Distances to the mean, cosine distances to where the unused rows lie, and which rows lie there."""
        none = np.zeros(self.count, bool)
        known = self.known[judged[self.known]]
        measured: tuple[Array, Array] | None = None
        for is_known in (True, False):
            members = known if is_known else self._alike(judged)
            if len(members) < _FEWEST:
                continue
            first = self._measured(members)
            found = self._near(first[1], judged, members)
            if found.any():  # once more from the mean of all of them
                distances, unused = self._measured(np.flatnonzero(found))
                return distances, unused, self._near(unused, judged, np.flatnonzero(found))
            measured = first if is_known else measured
        if measured is not None:
            return *measured, none
        return self._measured(None)[0], None, none

    def _near(self, unused: Array, judged: Array, members: Array) -> Array:
        angles = np.where(judged, _stretched(unused), np.inf)
        return _group(angles, members, math.sqrt(2 / self.width))

    def _measured(self, members: Array | None) -> tuple[Array, Array]:
        """Distances to the mean, and cosine distances to the mean of *members*, both seen from the mean of all rows."""
        direction = np.zeros(self.width)
        if members is not None:
            chosen = members[:: -(-len(members) // _KEPT)]
            for row in chosen.tolist():
                away = as_float(self.tensor.view((slice(row, row + 1),)).numpy()).astype(np.float64)[0] - self.mean
                direction += away / (np.linalg.norm(away) or 1.0)
            direction /= np.linalg.norm(direction) or 1.0
        distances, unused = np.empty(self.count), np.empty(self.count)
        for start, band in self._bands():
            stop = start + len(band)
            away = band - self.mean
            distances[start:stop] = _lengths(away)
            unused[start:stop] = 1 - away @ direction / distances[start:stop]
        return distances, unused

    def _alike(self, judged: Array) -> Array:
        """A group of rows that lie together, by their sketches, seen from the mean, the tightest first; empty where none is."""
        away = self.sketches - (self.mean @ self.signs).astype(np.float32)
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        away[~judged | ~np.isfinite(away).all(axis=1)] = 0
        every = np.flatnonzero(judged)
        if len(every) < 2 * _FEWEST:
            return every[:0]
        step = -(-len(every) // _COMPARED)
        ends = every[-64:]  # tables are filled up at their end
        smallest = every[np.argsort(self.norms[every], kind="stable")[:64]]
        asked = np.unique(np.concatenate([every[::step], ends, smallest]))
        counts = np.zeros((len(_ALIKE), len(asked)), np.int64)
        for start in range(0, len(asked), 256):
            cosines = away @ away[asked[start : start + 256]].T
            for place, (alike, _) in enumerate(_ALIKE):
                counts[place, start : start + 256] = (cosines > alike).sum(axis=0)
        counts[counts > self.count / 2] = 0
        noise = math.sqrt(2 / away.shape[1])
        for (alike, fewest), found in zip(_ALIKE, counts, strict=True):
            found[found < fewest] = 0
            taken = np.zeros(self.count, bool)
            for row in asked[np.argsort(-found, kind="stable")[: np.count_nonzero(found)]][:_TRIED].tolist():
                if taken[row]:
                    continue
                members = away @ away[row] > alike
                taken |= members
                direction = away[members].mean(axis=0)
                apart = 1 - away @ (direction / (np.linalg.norm(direction) or 1.0))
                group = _group(np.where(judged, _stretched(apart), np.inf), np.flatnonzero(members), noise)
                if group.sum() >= fewest:
                    return np.flatnonzero(group)
        return every[:0]


def _lengths(rows: Array) -> Array:
    """The norm of each row; no square of a finite number leaves the range of float64."""
    found: Array = np.linalg.norm(rows, axis=1)
    far = np.flatnonzero((found == math.inf) | (found < _LEAST))
    if len(far):
        largest = np.abs(rows[far]).max(axis=1)
        known = (largest > 0) & (largest < math.inf)
        found[far[known]] = largest[known] * np.linalg.norm(rows[far[known]] / largest[known, None], axis=1)
    return found


def _stretched(apart: Array) -> Array:
    """Cosine distances, 0 to 2, so that spreads of tight and loose groups are like each other: ln(d/(2 − d))."""
    kept = np.clip(apart, 1e-12, 2 - 1e-12)
    found: Array = np.log(kept / (2 - kept))
    return found


def _below_gap(values: Array, noise: float) -> Array:
    """The smallest *values*, where they spread as little as random rows do and nothing is near above; empty where not."""
    ordered = np.sort(values[np.isfinite(values)])
    for last in np.flatnonzero(np.diff(ordered) >= _GAP * noise).tolist():
        group = ordered[: last + 1]
        middle = float(np.median(group))
        spread = max(1.4826 * float(np.median(np.abs(group - middle))), noise)
        tight = spread <= _TIGHT * noise and group[-1] - middle <= _AWAY * spread
        if _SEVERAL <= len(group) <= len(ordered) / 2 and tight and ordered[last + 1] - group[-1] >= _GAP * spread:
            return np.asarray(values <= group[-1])
    return np.zeros(len(values), bool)


def _group(values: Array, seeds: Array, noise: float) -> Array:
    """Which *values* are those of *seeds* and what is like these, where that is a group apart from larger ones.

    It grows to ``_AWAY`` spreads from its middle until nothing more is in there. noise: the least spread. Empty where half of
    the values and more would be in it, or where it ends in the midst of others.
    """
    none = np.zeros(len(values), bool)
    known = np.isfinite(values)
    if len(seeds) < _FEWEST or known.sum() < 2 * _FEWEST:
        return none
    found = none.copy()
    found[seeds] = True
    found &= known
    for _ in range(50):
        middle = float(np.median(values[found]))
        spread = max(1.4826 * float(np.median(np.abs(values[found] - middle))), noise)
        more = known & (values <= middle + _AWAY * spread)
        if np.array_equal(more, found):
            break
        found = more
    between = int((known & ~found & (values <= middle + _CLEAR * spread)).sum())
    if found.sum() > known.sum() / 2 or between > 0.02 * found.sum() or found.sum() < _FEWEST:
        return none
    return found
