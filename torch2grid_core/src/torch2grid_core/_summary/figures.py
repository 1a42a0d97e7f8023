"""The figures of a distribution, read from what its updates kept, and where a weight is that they tell of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import as_float
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._summary.buckets import Fineness, Points
from torch2grid_core._summary.moments import Moments
from torch2grid_core._summary.not_finite import ALL_FINITE, NotFiniteCount

_DIGITS = 5


class Figures(ABC):
    """The figures of a ``Distribution``, which says how exact each of them is."""

    __slots__ = ()

    _brief: bool
    _codes: Array
    _count: int
    _counts: Array
    _few: Array | None
    _fineness: Fineness
    _max: float
    _min: float
    _moments: Moments
    _nan: int
    _near: tuple[int, ...]
    _neginf: int
    _posinf: int
    _thresholds: tuple[float, ...]
    _total: int | None
    _zeros: int

    @abstractmethod
    def settle(self) -> Figures:
        """Return itself, with everything that was counted folded in."""

    @abstractmethod
    def _sorted(self) -> Points:
        """The buckets in order of value."""

    def _not_brief(self) -> None:
        if self._brief:
            raise ValueError("a brief distribution has only counts, extremes, mean, std, norm and RMS")

    @property
    def count(self) -> int:
        """Number of weights, NaN and Inf included."""
        return self._count

    @property
    def finite(self) -> int:
        """Number of weights that are neither NaN nor Inf."""
        return self.settle()._moments.count

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The near-zero thresholds that were counted."""
        return self._thresholds

    @property
    def zeros(self) -> int:
        """Number of weights that are 0 or −0."""
        return self.settle()._zeros

    @property
    def nan(self) -> int:
        """Number of NaN."""
        return self.settle()._nan

    @property
    def posinf(self) -> int:
        """Number of +Inf."""
        return self.settle()._posinf

    @property
    def neginf(self) -> int:
        """Number of −Inf."""
        return self.settle()._neginf

    @property
    def not_finite(self) -> NotFiniteCount:
        """Number of NaN, and of +Inf and −Inf together."""
        nan, inf = self.settle()._nan, self._posinf + self._neginf
        return NotFiniteCount(nan, inf) if nan or inf else ALL_FINITE

    def near_zero(self, threshold: float) -> int:
        """Return the number of weights with |w| < *threshold*, one of ``thresholds``. Raises ``KeyError`` for another."""
        try:
            return self.settle()._near[self._thresholds.index(float(threshold))]
        except ValueError as error:
            raise KeyError(threshold) from error

    @property
    def exact(self) -> bool:
        """True if every weight is a bfloat16 number, so that quantiles and histograms are exact."""
        self._not_brief()
        return self.settle()._fineness is Fineness.EXACT

    @property
    def min(self) -> float:
        """The least weight."""
        return self._min if self.finite else math.nan

    @property
    def max(self) -> float:
        """The greatest weight."""
        return self._max if self.finite else math.nan

    @property
    def absmax(self) -> float:
        """The greatest |w|."""
        return max(abs(self._min), abs(self._max)) if self.finite else math.nan

    @property
    def mean(self) -> float:
        moments = self.settle()._moments
        if moments.count and self._total is not None:
            return self._total / moments.count
        return moments.unscaled(moments.mean) if moments.count else math.nan

    @property
    def std(self) -> float:
        """Standard deviation of the population: the root of the mean squared distance from the mean."""
        moments = self.settle()._moments
        return moments.unscaled(math.sqrt(max(moments.m2, 0.0) / moments.count)) if moments.count else math.nan

    @property
    def l1(self) -> float:
        """Sum of |w|."""
        self._not_brief()
        moments = self.settle()._moments
        return moments.unscaled(moments.l1) if moments.count else 0.0

    @property
    def l2(self) -> float:
        """Root of the sum of squares."""
        moments = self.settle()._moments
        return moments.unscaled(math.sqrt(moments.m2 + moments.count * moments.mean**2)) if moments.count else 0.0

    @property
    def rms(self) -> float:
        """Root of the mean of squares."""
        moments = self.settle()._moments
        return moments.unscaled(math.sqrt(moments.m2 / moments.count + moments.mean**2)) if moments.count else math.nan

    @property
    def skewness(self) -> float:
        """Third standardised moment, of the population: 0 for a symmetric distribution; NaN for a constant."""
        self._not_brief()
        moments = self.settle()._moments
        return math.sqrt(moments.count) * moments.m3 / moments.m2**1.5 if moments.m2 > 0 else math.nan

    @property
    def kurtosis(self) -> float:
        """Excess kurtosis, of the population: 0 for a normal distribution, −1.2 for a uniform one; NaN for a constant."""
        self._not_brief()
        moments = self.settle()._moments
        return moments.count * moments.m4 / moments.m2**2 - 3 if moments.m2 > 0 else math.nan

    def quantile(self, level: float) -> float:
        """Return the least weight that at least the share *level* (0…1) of the finite weights do not exceed."""
        return float(self.quantiles([level])[0])

    def quantiles(self, levels: Iterable[float]) -> Array:
        """Return ``quantile`` of each level, float64; NaN if there is no finite weight. Raises ``ValueError`` outside 0…1."""
        self._not_brief()
        wanted = np.asarray(list(levels), dtype=np.float64)
        if not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueError(f"quantile levels are between 0 and 1, not {wanted.tolist()}")
        count = self.finite
        if not count:
            return np.full(len(wanted), np.nan)
        rank = np.clip(np.ceil(wanted * count), 1, count).astype(np.int64)
        if self._few is not None:
            kept: Array = np.sort(self._few)[rank - 1].astype(np.float64)
            return kept
        points = self._sorted()
        found = points.value[np.searchsorted(points.total, rank)]
        if self._fineness is Fineness.REAL:
            found = np.clip(_rounded(found), self._min, self._max)
        return np.where(rank == 1, self._min, np.where(rank == count, self._max, found))

    def histogram(self, edges: Array) -> tuple[Array, int, int]:
        """Count weights between *edges* as ``numpy.histogram`` does (the last edge belongs to the last bar).

        Returns:
            int64 counts, (n,) for n+1 edges, and how many finite weights lie below the first and above the last edge.

        Raises:
            ValueError: the edges do not increase.
        """
        self._not_brief()
        bounds = np.asarray(edges, dtype=np.float64)
        if bounds.ndim != 1 or len(bounds) < 2 or not (np.diff(bounds) > 0).all():
            raise ValueError("a histogram takes two or more increasing edges")
        count = self.finite
        if not count:
            return np.zeros(len(bounds) - 1, np.int64), 0, 0
        if self._few is not None:
            kept = np.sort(self._few.astype(np.float64))
            below = np.searchsorted(kept, bounds)
            below[-1] = np.searchsorted(kept, bounds[-1], side="right")
            return np.diff(below), int(below[0]), count - int(below[-1])
        points = self._sorted()
        below = points.below(bounds)
        below[-1] = points.below(bounds[-1:], included=True)[0]
        return np.diff(below), int(below[0]), count - int(below[-1])


def _rounded(numbers: Array) -> Array:
    """*numbers* to as many digits as of a bucket's are known, and one more."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(numbers))))
        found = np.rint(numbers * scale) / scale
    return np.where(np.isfinite(found), found, numbers)


def first_index(tensor: LazyTensor, test: Callable[[Array], Array]) -> tuple[int, ...] | None:
    """Return the index of the first weight (in C order) for which *test* is true; ``None`` if there is none.

    The tensor is read from the start until the first one is found.

    Args:
        tensor: to read.
        test: function of weights (1-D, float32 or float64; complex ones by magnitude, NaN if either part is) to bool of the
            same length, such as ``numpy.isnan``.

    Raises:
        LoadError: bytes cannot be read.
    """
    for start, chunk in tensor.flat_chunks():
        values = as_float(chunk)
        found = np.flatnonzero(test(values))
        if len(found):
            return tuple(int(each) for each in np.unravel_index(start + int(found[0]), tensor.shape))
    return None
