"""The largest weights of a tensor and where they are, and where it is not finite, kept while they stream past."""

from __future__ import annotations

import math

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._summary.not_finite import NotFiniteCount, counted_where_any

_PIECE = 1 << 18  # weights looked at at once: what the cache holds
_ROW = 1 << 9  # weights of which the largest is looked up before single ones are


class LargestWeights:
    """The *count* weights of a tensor with the greatest |w|, with their places, and the first that are NaN or Inf.

    ``numpy.unravel_index`` turns a flat index into an index for each dimension.

    Args:
        count: how many weights to keep.

    Attributes:
        indices: int64, (n,), flat (C order), by |w| from the largest, equal ones by place. n is *count*, or the number of
            finite weights if there are fewer.
        values: float64, (n,), the weights there, complex ones by magnitude.
        lost_indices: flat indices of the first *count* NaN and Inf, by place.
        lost_values: the values there.
        not_finite: how many NaN and Inf there are in all.

    Raises:
        ValueError: *count* is below 1.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"the {count} largest weights: at least 1")
        self.count = count
        self.indices, self.values = np.empty(0, np.int64), np.empty(0)
        self.lost_indices, self.lost_values = np.empty(0, np.int64), np.empty(0)
        self.not_finite = NotFiniteCount()

    def update(self, start: int, values: Array) -> None:
        """Take the weights from flat index *start* on: float32 or float64, 1-D, each weight once, in C order."""
        for first in range(0, len(values), _PIECE):
            self._take(start + first, values[first : first + _PIECE])

    def _take(self, start: int, values: Array) -> None:
        high, low = float(values.max()), float(values.min())
        if not (math.isfinite(high) and math.isfinite(low)):
            self.not_finite = self.not_finite.merge(counted_where_any(values, high, low))
            finite = np.isfinite(values)
            room = self.count - len(self.lost_indices)
            lost = np.flatnonzero(~finite)[: max(room, 0)]
            self.lost_indices = np.concatenate((self.lost_indices, start + lost))
            self.lost_values = np.concatenate((self.lost_values, values[lost].astype(np.float64)))
            sizes = np.where(finite, np.abs(values), -1)
        elif max(high, -low) <= self._least:
            return  # most pieces: two comparisons for each weight are all that they cost
        else:
            sizes = np.abs(values)
        least = self._least
        places = np.flatnonzero(sizes >= _bound(sizes, self.count) if least < 0 else sizes > least)
        if len(places) > self.count:
            places = places[_largest(sizes[places], self.count)]
        self._add(start + places, values[places].astype(np.float64))

    @property
    def _least(self) -> float:
        """What a later weight has to exceed; below every |w| as long as there is room."""
        return abs(float(self.values[-1])) if len(self.values) == self.count else -0.5

    def _add(self, indices: Array, values: Array) -> None:
        indices, values = np.concatenate((self.indices, indices)), np.concatenate((self.values, values))
        order = np.lexsort((indices, -np.abs(values)))[: self.count]
        self.indices, self.values = indices[order], values[order]

    def merge(self, other: LargestWeights) -> LargestWeights:
        """Take in *other*, of other weights of the same tensor, and return itself."""
        self._add(other.indices, other.values)
        indices = np.concatenate((self.lost_indices, other.lost_indices))
        order = np.argsort(indices, kind="stable")[: self.count]
        self.lost_values = np.concatenate((self.lost_values, other.lost_values))[order]
        self.lost_indices = indices[order]
        self.not_finite = self.not_finite.merge(other.not_finite)
        return self

    def first(self, count: int) -> LargestWeights:
        """Return the *count* largest of these; itself if it holds no more."""
        if count >= self.count:
            return self
        found = LargestWeights(count)
        found.indices, found.values = self.indices[:count], self.values[:count]
        found.lost_indices, found.lost_values = self.lost_indices[:count], self.lost_values[:count]
        found.not_finite = self.not_finite
        return found

    def __repr__(self) -> str:
        largest = f"{self.values[0]:.4g} at {int(self.indices[0]):,}" if len(self.values) else "none is finite"
        return f"<LargestWeights: {len(self.values):,}, {largest}{'; ' + self.not_finite.text if self.not_finite else ''}>"


def _bound(sizes: Array, count: int) -> float:
    """What none of the *count* largest of *sizes* is below, 0 or more: *count* of its rows hold one that is not.

    The first piece of a tensor has no other bound. To sort all of its weights takes several times as long as all else.
    """
    rows = sizes[: len(sizes) // _ROW * _ROW].reshape(-1, _ROW).max(axis=1)
    return max(float(np.partition(rows, len(rows) - count)[len(rows) - count]), 0.0) if len(rows) > count else 0.0


def _largest(sizes: Array, count: int) -> Array:
    """The places of the *count* largest of *sizes*, which are more; of equal ones the first."""
    least = np.partition(sizes, len(sizes) - count)[len(sizes) - count]
    above = np.flatnonzero(sizes > least)
    return np.concatenate((above, np.flatnonzero(sizes == least)[: count - len(above)]))
