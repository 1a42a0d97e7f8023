"""What a set of weights is like, in one pass and a few kilobytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import add
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import BY_NAME, bits_of, magnitudes
from torch2grid_core._display import as_html
from torch2grid_core._summary.buckets import (
    CODES,
    FLOAT32_MAX,
    SIGN,
    Fineness,
    Points,
    below,
    code_of,
    codes_of,
    count_below,
    has_lower_bits,
    least_size,
    lower_bits,
    pack,
    unite,
)
from torch2grid_core._summary.figures import Figures
from torch2grid_core._summary.moments import SMALL, Moments, plain

_PIECE = 1 << 20  # bytes taken at once: what is computed from them stays in the cache
_FEW = 4096  # so many weights are cheaper to sort than to count in 65,536 buckets
_BUCKETS = "buckets"  # the pending counter holds bucket codes, not the patterns of a dtype
_BFLOAT16 = BY_NAME["bfloat16"]
_TOGETHER = 1 << 16  # weights of small sets that are counted together: what is computed from them stays in the cache
_KEPT = 1024  # so many weights are kept as they are
_NO_CODES, _NO_COUNTS, _NO_VALUES = np.empty(0, np.uint16), np.empty(0, np.int64), np.empty(0, np.float32)
_spare: list[Array] = []  # zeroed counters for the next distribution; append and pop are atomic


@lru_cache(maxsize=64)
def _checked(thresholds: tuple[float, ...]) -> tuple[float, ...]:
    if any(not threshold >= 0 for threshold in map(float, thresholds)):
        raise ValueError(f"thresholds {thresholds}: each must be 0 or more")
    return tuple(dict.fromkeys(map(float, thresholds)))


class Distribution(Figures):
    """The mergeable summary of a set of weights: counts, moments, extremes, quantiles, histograms.

    ``update`` takes weights of any dtype (complex ones by magnitude), ``merge`` another distribution; neither needs a
    range known beforehand. Every figure but ``count``, ``nan``, ``posinf`` and ``neginf`` is about the finite weights; a
    figure of nothing is NaN, a sum of nothing 0.

    thresholds: the near-zero thresholds that will be asked for. brief: only the counts, ``min``, ``max``, ``absmax``,
    ``mean``, ``std``, ``l2`` and ``rms``, for half the time and a few bytes; the other figures raise ``ValueError``.

    How exact each figure is, against the same computed in float64 from the stored numbers:

    - exact: ``count``, ``finite``, ``zeros``, ``nan``, ``posinf``, ``neginf``, ``near_zero`` (|w| < threshold, compared without
      rounding either), ``min``, ``max``, ``absmax`` (integers beyond 2**53 and long doubles to the nearest float64), and
      the ``mean`` of integers (to the nearest float64);
    - ``mean``, ``l1``, ``l2``, ``rms``: a relative 1e-12 (the mean: of the mean |w|); ``std`` (of the population): 1e-9 where
      it is above 1e-9 of the mean; ``skewness``, ``kurtosis``: 1e-6 of themselves or of 1, there. No square overflows or
      vanishes, whatever the exponents;
    - quantiles (inverted CDF, ranks exact): exact for up to 1,024 weights, for bfloat16, float8, float4, bool, 8-bit integers,
      integers up to 256 and any numbers that are bfloat16 numbers; elsewhere within 0.4 % of the value, or 2**-133 of it where
      that is more, and rounded to five digits.
      float64 beyond float32's range is counted in the end buckets: there a quantile only lies between the largest float32
      and ``max``. The 0 and 1 quantiles are ``min`` and ``max``;
    - ``histogram``: exact for up to 1,024 weights, and where they are bfloat16 numbers. Elsewhere each edge may misplace
      weights of the one bucket that it cuts, and an edge that is a bfloat16 number cuts none (weights equal to a negative one
      count as below it).

    Merging in any grouping gives the same counts and quantiles; moments differ by rounding alone.

    Weights are counted by the upper 16 bits of their float32 pattern; 16-bit and narrower dtypes by their own patterns, from
    which the moments follow at the end. While updates come in, a counter of 512 KiB is held; ``settle`` gives it back, and
    so do merging, pickling and the reading of any figure. Not to be updated from two threads at once.
    """

    __slots__ = (
        "_brief",
        "_codes",
        "_count",
        "_counts",
        "_few",
        "_fineness",
        "_max",
        "_min",
        "_moments",
        "_nan",
        "_near",
        "_neginf",
        "_pending",
        "_posinf",
        "_thresholds",
        "_total",
        "_zeros",
    )

    def __init__(self, thresholds: Sequence[float] = (), brief: bool = False) -> None:
        self._brief = brief
        self._thresholds = _checked(tuple(thresholds))
        self._near: tuple[int, ...] = (0,) * len(self._thresholds)  # how many are below each
        self._count = self._zeros = self._nan = self._posinf = self._neginf = 0
        self._codes, self._counts = _NO_CODES, _NO_COUNTS
        self._fineness = Fineness.EXACT
        self._min, self._max = math.inf, -math.inf
        self._moments = Moments()
        self._few: Array | None = None if brief else _NO_VALUES  # the finite weights, where they are few enough to keep
        self._total: int | None = 0  # their sum, where all of them are integers
        self._pending: tuple[Any, Array] | None = None

    @classmethod
    def of_each(
        cls, numbers: Array, sizes: Sequence[int], thresholds: Sequence[float] = (), brief: bool = False
    ) -> list[Distribution]:
        """Return the distributions of sets of weights that lie one after the other in *numbers* (1-D).

        Each is what ``update`` of its weights alone gives. Small sets are counted together, in a tenth of the time.

        Args:
            numbers: the weights of all sets.
            sizes: of the sets, none of them empty.
            thresholds: see ``Distribution``.
            brief: see ``Distribution``.
        """
        lengths, found = np.asarray(sizes, np.intp), list[Distribution]()
        ends = np.cumsum(lengths)
        while len(found) < len(lengths):
            first, begin = len(found), int(ends[len(found)] - lengths[len(found)])
            last = max(int(np.searchsorted(ends, begin + _TOGETHER, side="right")), first + 1)
            found += cls._group(numbers[begin : int(ends[last - 1])], lengths[first:last], thresholds, brief)
        return found

    @classmethod
    def _group(cls, numbers: Array, sizes: Array, thresholds: Sequence[float], brief: bool) -> list[Distribution]:
        found = [cls(thresholds, brief) for _ in sizes]
        starts = np.cumsum(sizes) - sizes
        alone: Iterable[int] = range(len(found))
        real = numbers.astype(np.float32) if brief and numbers.dtype == _BFLOAT16 else numbers
        if real.dtype in (np.float32, np.float64) and real.dtype.isnative and sizes.max() <= SMALL:
            with np.errstate(all="ignore"):
                alone = cls._count_together(found, real, starts, sizes)
        for place in alone:
            found[place].update(numbers[starts[place] : starts[place] + sizes[place]])
        return found

    @classmethod
    def _count_together(cls, found: Sequence[Distribution], real: Array, starts: Array, sizes: Array) -> list[int]:
        """Count sets of float32 or float64 *real* at once; the places of those that were left out, as they need more care."""
        thresholds, brief = found[0].thresholds, found[0]._brief
        lows, highs = np.minimum.reduceat(real, starts), np.maximum.reduceat(real, starts)
        usual = plain(lows.astype(np.float64), highs.astype(np.float64))
        moments = Moments.of_each(real, starts, sizes, brief)
        zeros = _counts_of(real == 0, starts)
        near = [_counts_of(below(real, threshold), starts) for threshold in thresholds]
        figures = zip(found, usual.tolist(), sizes.tolist(), lows.tolist(), highs.tolist(), moments, zeros, strict=True)
        for place, (each, known, size, low, high, moment, zero) in enumerate(figures):
            if known:
                each._count, each._min, each._max, each._moments, each._zeros = size, low, high, moment, zero
                each._near = tuple(counts[place] for counts in near)
                each._total = None
        if not brief:
            single = real if real.dtype == np.float32 else np.clip(real, -FLOAT32_MAX, FLOAT32_MAX).astype(np.float32)
            inexact = np.logical_or.reduceat(lower_bits(single) | (single != real), starts).tolist()
            keys = np.repeat(np.arange(len(sizes), dtype=np.uint32) << np.uint32(16), sizes) | codes_of(single)
            keys, counts = np.unique(keys, return_counts=True)
            codes, bounds = keys.astype(np.uint16), np.searchsorted(keys >> np.uint32(16), np.arange(len(sizes) + 1)).tolist()
            for place, each in enumerate(found):
                if usual[place]:
                    own = slice(bounds[place], bounds[place + 1])
                    each._codes, each._counts = codes[own], counts[own]
                    each._keep(real[starts[place] : starts[place] + sizes[place]])
                    each._coarsen(Fineness.REAL if inexact[place] else Fineness.EXACT)
        return np.flatnonzero(~usual).tolist()

    # --- taking weights in

    def update(self, weights: Array) -> None:
        """Count *weights*: any shape; any real, integer, bool or complex dtype. Raises ``TypeError`` for another."""
        array = np.asarray(weights)
        dtype = array.dtype
        if dtype.kind not in "biufcV" or (dtype.kind == "V" and dtype.name.startswith(("void", "record"))) or dtype.names:
            raise TypeError(f"{dtype} is not a dtype of weights")
        array = array.reshape(-1)
        widened = self._brief and dtype == _BFLOAT16  # cheaper as float32 than counting patterns, and as exact
        step = _PIECE // max(2 * dtype.itemsize if widened else dtype.itemsize, 2)
        for start in range(0, len(array), step):
            piece = np.ascontiguousarray(array[start : start + step])
            if not dtype.isnative:
                piece = piece.astype(dtype.newbyteorder("="))
            self._count += len(piece)
            with np.errstate(all="ignore"):
                if widened:
                    self._add_wide(piece.astype(np.float32))
                elif dtype.itemsize <= 2:
                    self._add_narrow(piece)
                else:
                    self._add_wide(piece)

    def _take_summed(self, numbers: Array, sizes: Array, total: float, squares: float) -> None:
        """As ``update`` with floating *numbers* of which others know the ``sizes_of``, the sum, or NaN, and that of squares."""
        low, high = _extremes(numbers) if len(numbers) else (math.nan, math.nan)
        moments = Moments.of_sums(len(numbers), low, high, total, squares) if self._brief else None
        if moments is None:
            self.update(numbers)
            return
        self._count += len(numbers)
        self._take_extremes(low, high)
        self._moments.add(moments)
        self._add_total(None)
        bounds = [1, *(least_size(each, numbers.dtype) for each in self._thresholds)]  # below 1 is 0
        zeros, *near = _counts_below(sizes, bounds)
        self._zeros += zeros
        self._add_near(near)

    def _add_narrow(self, piece: Array) -> None:
        """Weights of 8 or 16 bits: their patterns are counted, everything else is done once, in ``settle``."""
        width = np.dtype(f"u{piece.dtype.itemsize}")
        patterns = piece.view(width)
        if len(patterns) < _FEW:
            self._take_patterns(piece.dtype, *np.unique(patterns, return_counts=True))
            return
        if width.itemsize == 1:  # two at a time: the 256×256 pairs are counted in half the steps
            if len(patterns) % 2:
                self._take_patterns(piece.dtype, patterns[-1:], np.ones(1, np.int64))
            patterns = patterns[: len(patterns) // 2 * 2].view(np.uint16)
        counter = self._counter(piece.dtype)
        counter += np.bincount(patterns, minlength=CODES)

    def _take_patterns(self, dtype: np.dtype[Any], patterns: Array, counts: Array) -> None:
        """Weights of a narrow *dtype* by their distinct *patterns*."""
        single = patterns.view(dtype).astype(np.float32)  # exact for every dtype of 16 bits
        finite = np.isfinite(single)
        if not finite.all():
            self._take_nonfinite(single, counts)
            single, counts = single[finite], counts[finite]
        if not len(single):
            return
        values = single.astype(np.float64)
        self._zeros += int(counts[values == 0].sum())
        self._add_near(int(counts[np.abs(values) < threshold].sum()) for threshold in self._thresholds)
        self._take_extremes(float(values.min()), float(values.max()))
        if has_lower_bits(single):
            self._coarsen(Fineness.INTEGER if dtype.kind in "iu" else Fineness.REAL)
        self._moments.add(Moments.of_counted(values, counts))
        self._add_total(int(values.astype(np.int64) @ counts) if dtype.kind in "biu" else None)
        if not self._brief:
            self._keep(single, counts)
            self._take_codes(codes_of(single), counts)

    def _add_wide(self, piece: Array) -> None:
        """Weights of more than 16 bits, as float32 or float64."""
        real = magnitudes(piece) if piece.dtype.kind == "c" else piece
        if real.dtype != np.float32:
            real = real.astype(np.float64, copy=False)
        low, high = float(real.min()), float(real.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            self._take_nonfinite(real, None)
            real = piece = real[np.isfinite(real)]
            if not len(real):
                return
            low, high = float(real.min()), float(real.max())
        self._take_extremes(low, high)
        self._moments.add(Moments.of(real, low, high, self._brief))
        self._add_total(_sum_of(piece) if piece.dtype.kind in "iu" else None)
        if self._brief:
            self._count_small(piece, real, None)
            return
        single = real if real.dtype == np.float32 else np.clip(real, -FLOAT32_MAX, FLOAT32_MAX).astype(np.float32)
        self._keep(real)
        if self._fineness is not Fineness.REAL and (has_lower_bits(single) or not np.array_equal(single, real)):
            self._coarsen(Fineness.INTEGER if piece.dtype.kind in "iu" else Fineness.REAL)
        codes = codes_of(single)
        if len(codes) < _FEW:
            self._take_codes(*np.unique(codes, return_counts=True))
            self._count_small(piece, real, None)
        else:
            counts = np.bincount(codes, minlength=CODES)
            counter = self._counter(_BUCKETS)
            counter += counts
            self._count_small(piece, real, counts)

    def _count_small(self, piece: Array, real: Array, counts: Array | None) -> None:
        """Zeros and what is below the thresholds: by the buckets, and by the weights where a bucket does not decide it."""
        if counts is None and self._thresholds and piece.dtype.kind not in "iu":
            few = real[np.flatnonzero(below(real, max(self._thresholds)))]  # each of the others is looked at once
            self._zeros += int(np.count_nonzero((few if max(self._thresholds) else real) == 0))
            if len(few):
                self._add_near(count_below(few, threshold) for threshold in self._thresholds)
            return
        if counts is None or counts[0] or counts[SIGN]:
            self._zeros += int(np.count_nonzero(real == 0))
        found = []
        for threshold in self._thresholds:
            code = code_of(threshold)
            if counts is None or counts[code] or counts[SIGN + code]:
                found.append(count_below(piece if piece.dtype.kind in "iu" else real, threshold))
            else:
                found.append(int(counts[:code].sum()) + int(counts[SIGN : SIGN + code].sum()))
        self._add_near(found)

    def _add_total(self, total: int | None) -> None:
        self._total = None if self._total is None or total is None else self._total + total

    def _keep(self, values: Array, counts: Array | None = None) -> None:
        """Keep finite *values*, each once or *counts* times, as long as there are few."""
        if self._few is None:
            return
        if len(self._few) + (len(values) if counts is None else int(counts.sum())) > _KEPT:
            self._few = None
        else:
            self._few = np.concatenate((self._few, values if counts is None else np.repeat(values, counts)))

    def _add_near(self, counts: Iterable[int]) -> None:
        self._near = tuple(map(add, self._near, counts))

    def _take_nonfinite(self, values: Array, counts: Array | None) -> None:
        def number(found: Array) -> int:
            return int(np.count_nonzero(found) if counts is None else counts[found].sum())

        self._nan += number(np.isnan(values))
        self._posinf += number(values == np.inf)
        self._neginf += number(values == -np.inf)

    def _take_extremes(self, low: float, high: float) -> None:
        self._min, self._max = min(self._min, low), max(self._max, high)

    def _take_codes(self, codes: Array, counts: Array) -> None:
        counts = np.concatenate((self._counts, counts.astype(np.int64, copy=False)))
        self._codes, self._counts = unite(np.concatenate((self._codes, codes)), counts)

    def _coarsen(self, fineness: Fineness) -> None:
        self._fineness = max(self._fineness, fineness)

    def _counter(self, key: Any) -> Array:
        if self._pending is not None and self._pending[0] != key:
            self.settle()
        if self._pending is None:
            try:
                self._pending = (key, _spare.pop())
            except IndexError:
                self._pending = (key, np.zeros(CODES, np.int64))
        return self._pending[1]

    def settle(self) -> Distribution:
        """Return itself, with the counter folded into the sparse buckets and given back."""
        if self._pending is not None:
            (key, counter), self._pending = self._pending, None
            if key is _BUCKETS:
                self._take_codes(*pack(counter))
            else:
                if key.itemsize == 1:
                    pairs = counter.reshape(256, 256)
                    single = pairs.sum(axis=0) + pairs.sum(axis=1)
                    patterns = np.flatnonzero(single).astype(np.uint8)
                    counts = single[patterns]
                else:
                    patterns, counts = pack(counter)
                with np.errstate(all="ignore"):
                    self._take_patterns(key, patterns, counts)
            counter.fill(0)
            if len(_spare) < 8:
                _spare.append(counter)
        return self

    def merge(self, other: Distribution) -> Distribution:
        """Take *other* in and return itself. *other* stays as it is.

        What only one of them has is dropped: a threshold, or the figures that a brief one lacks.
        """
        self.settle()
        other.settle()
        self._count += other._count
        self._zeros, self._nan = self._zeros + other._zeros, self._nan + other._nan
        self._posinf, self._neginf = self._posinf + other._posinf, self._neginf + other._neginf
        if self._thresholds != other._thresholds:
            self._near = tuple(self.near_zero(each) for each in self._thresholds if each in other._thresholds)
            self._thresholds = tuple(each for each in self._thresholds if each in other._thresholds)
        self._add_near(map(other.near_zero, self._thresholds))
        self._take_extremes(other._min, other._max)
        self._coarsen(other._fineness)
        self._moments.add(other._moments)
        self._add_total(other._total)
        if other._few is None:
            self._few = None
        else:
            self._keep(other._few)
        self._brief = self._brief or other._brief
        if self._brief:
            self._codes, self._counts = self._codes[:0], self._counts[:0]
        else:
            self._take_codes(other._codes, other._counts)
        return self

    def __getstate__(self) -> tuple[Any, ...]:
        self.settle()
        narrow = len(self._counts) and int(self._counts.max()) < 1 << 32
        counts = self._counts.astype(np.uint32) if narrow else self._counts
        return (counts, *(getattr(self, name) for name in self.__slots__ if name != "_counts"))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._counts, *rest = state
        for name, value in zip((name for name in self.__slots__ if name != "_counts"), rest, strict=True):
            setattr(self, name, value)

    def __repr__(self) -> str:
        figures = f"mean {self.mean:.4g}, std {self.std:.4g}, {self.min:.4g} … {self.max:.4g}"
        return f"<Distribution of {self.count:,} weight{'' if self.count == 1 else 's'}: {figures}>"

    _repr_html_ = as_html

    def _sorted(self) -> Points:
        self.settle()
        return Points(self._codes, self._counts, self._fineness, self._min, self._max)  # not kept: six numbers a bucket


def _sum_of(whole: Array) -> int:
    """The sum of integers of more than 16 bits, exactly: of their upper and lower halves apart, as no such sum overflows."""
    half = 4 * whole.dtype.itemsize
    upper, lower = whole >> whole.dtype.type(half), whole & whole.dtype.type((1 << half) - 1)
    total: int = (int(upper.sum(dtype=np.int64)) << half) + int(lower.sum(dtype=np.int64))
    return total


def _counts_of(mask: Array, starts: Array) -> list[int]:
    """How many are true in each run of *mask*."""
    if not mask.any():
        return [0] * len(starts)
    return np.add.reduceat(mask, starts, dtype=np.intp).tolist()  # type: ignore[no-any-return]


def _counts_below(sizes: Array, bounds: Sequence[int]) -> list[int]:
    """How many of *sizes*, which are unsigned, are below each of *bounds*.

    Most are below none. So eight at a time are looked at, and only where one is below the greatest bound, each by itself.
    """
    whole = len(sizes) // 8 * 8
    rows = sizes[:whole].reshape(-1, 8)
    near = np.flatnonzero((sizes[:whole] < max(bounds)).view(np.uint64) != 0)
    parts = rows[near], sizes[whole:]
    return [sum(int(np.count_nonzero(part < bound)) for part in parts) for bound in bounds]


def _extremes(numbers: Array) -> tuple[float, float]:
    """The least and the greatest of floating *numbers*, NaN where one of them is, from their bits: these rise with |w|.

    As signed integers, the greatest are numbers above zero; as unsigned ones, those below it.
    """
    bits = bits_of(numbers)
    signed = bits.view(f"i{bits.dtype.itemsize}")
    highest, lowest = int(signed.max()), int(bits.max())
    sign = 1 << (8 * bits.dtype.itemsize - 1)
    found = [lowest if lowest >= sign else int(signed.min()), highest if highest >= 0 else int(bits.min())]
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        low, high = np.array(found, bits.dtype).view(numbers.dtype.newbyteorder("=")).astype(np.float64).tolist()
    return low, high
