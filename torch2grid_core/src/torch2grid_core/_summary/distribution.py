"""What a set of weights is like, in one pass and a few kilobytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import BY_NAME, magnitudes
from torch2grid_core._display import as_html
from torch2grid_core._summary.buckets import CODES, FLOAT32_MAX, SIGN, Fineness, Points, codes_of, has_lower_bits, pack, unite
from torch2grid_core._summary.counting import code_of, count_below
from torch2grid_core._summary.figures import Figures
from torch2grid_core._summary.moments import Moments

_PIECE = 1 << 20  # bytes taken at once: what is computed from them stays in the cache
_FEW = 4096  # so many weights are cheaper to sort than to count in 65,536 buckets
_BUCKETS = "buckets"  # the pending counter holds bucket codes, not the patterns of a dtype
_BFLOAT16 = BY_NAME["bfloat16"]
_spare: list[Array] = []  # zeroed counters for the next distribution; append and pop are atomic


class Distribution(Figures):
    """The mergeable summary of a set of weights: counts, moments, extremes, quantiles, histograms.

    ``update`` takes weights of any dtype (complex ones by magnitude), ``merge`` another distribution; neither needs a
    range known beforehand. Every figure but ``count``, ``nan``, ``posinf`` and ``neginf`` is about the finite weights; a
    figure of nothing is NaN, a sum of nothing 0.

    thresholds: the near-zero thresholds that will be asked for. brief: only the counts, ``min``, ``max``, ``absmax``,
    ``mean``, ``std``, ``l2`` and ``rms``, for half the time and a few bytes; the other figures raise ``ValueError``.

    How exact each figure is, against the same computed in float64 from the stored numbers:

    - exact: ``count``, ``finite``, ``zeros``, ``nan``, ``posinf``, ``neginf``, ``near_zero`` (|w| < threshold, compared without
      rounding either), ``min``, ``max``, ``absmax`` (integers beyond 2**53 and long doubles to the nearest float64);
    - ``mean``, ``l1``, ``l2``, ``rms``: a relative 1e-12 (the mean: of the mean |w|); ``std`` (of the population): 1e-9 where
      it is above 1e-9 of the mean; ``skewness``, ``kurtosis``: 1e-6 of themselves or of 1, there. No square overflows or
      vanishes, whatever the exponents;
    - quantiles (inverted CDF, ranks exact): exact for bfloat16, float8, float4, bool, 8-bit integers, integers up to 256
      and any numbers that are bfloat16 numbers; elsewhere within 0.4 % of the value, or 2**-133 of it where that is more.
      float64 beyond float32's range is counted in the end buckets: there a quantile only lies between the largest float32
      and ``max``. The 0 and 1 quantiles are ``min`` and ``max``;
    - ``histogram``: exact where quantiles are; elsewhere each edge may misplace weights of the one bucket that it cuts, and
      an edge that is a bfloat16 number cuts none (weights equal to a negative one count as below it).

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
        "_extra",
        "_fineness",
        "_max",
        "_min",
        "_moments",
        "_near",
        "_pending",
    )

    def __init__(self, thresholds: Sequence[float] = (), brief: bool = False) -> None:
        self._brief = brief
        self._near = {float(threshold): 0 for threshold in thresholds}
        if any(not threshold >= 0 for threshold in self._near):
            raise ValueError(f"thresholds {tuple(thresholds)}: each must be 0 or more")
        self._count = 0
        self._codes: Array = np.empty(0, np.uint16)
        self._counts: Array = np.empty(0, np.int64)
        self._extra = {"zeros": 0, "nan": 0, "posinf": 0, "neginf": 0}
        self._fineness = Fineness.EXACT
        self._min, self._max = math.inf, -math.inf
        self._moments = Moments()
        self._pending: tuple[Any, Array] | None = None

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
        self._extra["zeros"] += int(counts[values == 0].sum())
        for threshold in self._near:
            self._near[threshold] += int(counts[np.abs(values) < threshold].sum())
        self._take_extremes(float(values.min()), float(values.max()))
        if has_lower_bits(single):
            self._coarsen(Fineness.INTEGER if dtype.kind in "iu" else Fineness.REAL)
        self._moments.add(Moments.of_counted(values, counts))
        if not self._brief:
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
        if self._brief:
            self._count_small(piece, real, None)
            return
        single = real if real.dtype == np.float32 else np.clip(real, -FLOAT32_MAX, FLOAT32_MAX).astype(np.float32)
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
        if counts is None or counts[0] or counts[SIGN]:
            self._extra["zeros"] += int(np.count_nonzero(real == 0))
        for threshold in self._near:
            code = code_of(threshold)
            if counts is None or counts[code] or counts[SIGN + code]:
                self._near[threshold] += count_below(piece if piece.dtype.kind in "iu" else real, threshold)
            else:
                self._near[threshold] += int(counts[:code].sum()) + int(counts[SIGN : SIGN + code].sum())

    def _take_nonfinite(self, values: Array, counts: Array | None) -> None:
        for key, found in (("nan", np.isnan(values)), ("posinf", values == np.inf), ("neginf", values == -np.inf)):
            self._extra[key] += int(np.count_nonzero(found) if counts is None else counts[found].sum())

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
        """Itself, with the counter folded into the sparse buckets and given back."""
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
        """Take *other* in and return itself; *other* stays as it is.

        What only one of them has is dropped: a threshold, or the figures that a brief one lacks.
        """
        self.settle()
        other.settle()
        self._count += other._count
        for key, count in other._extra.items():
            self._extra[key] += count
        self._near = {each: count + other._near[each] for each, count in self._near.items() if each in other._near}
        self._take_extremes(other._min, other._max)
        self._coarsen(other._fineness)
        self._moments.add(other._moments)
        self._brief = self._brief or other._brief
        if self._brief:
            self._codes, self._counts = self._codes[:0], self._counts[:0]
        else:
            self._take_codes(other._codes, other._counts)
        return self

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        state = {name: getattr(self, name) for name in self.__slots__}
        if len(self._counts) and int(self._counts.max()) < 1 << 32:
            state["_counts"] = self._counts.astype(np.uint32)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        figures = f"mean {self.mean:.4g}, std {self.std:.4g}, {self.min:.4g} … {self.max:.4g}"
        return f"<Distribution of {self.count:,} weights: {figures}>"

    _repr_html_ = as_html

    def _sorted(self) -> Points:
        self.settle()
        return Points(self._codes, self._counts, self._fineness, self._min, self._max)  # not kept: six numbers a bucket
