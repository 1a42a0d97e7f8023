"""Distributions of what was counted elsewhere: on another device, or in an earlier run."""

from __future__ import annotations

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._summary.buckets import CODES, Fineness, Points, unite
from torch2grid_core._summary.distribution import Distribution
from torch2grid_core._summary.moments import Moments


def counted_distribution(
    codes: Array,
    counts: Array,
    *,
    mean: float,
    std: float,
    low: float,
    high: float,
    zeros: int,
    nan: int = 0,
    posinf: int = 0,
    neginf: int = 0,
) -> Distribution:
    """Return the distribution of finite numbers that were counted by the upper 16 bits of their float32 patterns.

    Skewness, kurtosis and the sum of magnitudes come from the buckets, to about 0.4 %. So do quantiles, of few numbers, too.

    Args:
        codes: those bits, distinct, (n,).
        counts: how many numbers have them, (n,).
        mean: of the finite numbers.
        std: of the finite numbers.
        low: the least of the finite numbers.
        high: the greatest of the finite numbers.
        zeros: number of zeros.
        nan: number of NaN.
        posinf: number of +Inf.
        neginf: number of −Inf.

    Raises:
        ValueError: figures contradict one another.
    """
    codes, counts = np.asarray(codes), np.asarray(counts, dtype=np.int64)
    if codes.shape != counts.shape or codes.ndim != 1 or (counts < 0).any():
        raise ValueError("codes and counts are arrays of one length, counts 0 or more")
    if len(codes) and not (int(codes.min()) >= 0 and int(codes.max()) < CODES):
        raise ValueError("a code has 16 bits")
    codes, counts = unite(codes[counts > 0].astype(np.uint16), counts[counts > 0])
    total = int(counts.sum())
    if len(codes) and bool(((codes & np.uint16(0x7F80)) == 0x7F80).any()):
        raise ValueError("codes are of finite numbers")
    if min(zeros, nan, posinf, neginf) < 0 or zeros > total or (total and not low <= mean <= high):
        raise ValueError("the figures contradict one another")
    found = Distribution()
    found._count = total + nan + posinf + neginf
    found._zeros, found._nan, found._posinf, found._neginf = zeros, nan, posinf, neginf
    found._few = found._total = None
    if total:
        found._codes, found._counts = codes, counts
        found._fineness = Fineness.REAL
        found._min, found._max = float(low), float(high)
        points = Points(codes, counts, Fineness.REAL, found._min, found._max)
        moments = Moments.of_counted(points.value, np.diff(points.total, prepend=0))
        exponent = moments.exponent
        moments.mean = float(np.ldexp(mean, -exponent))
        moments.m2 = float(np.ldexp(std, -exponent)) ** 2 * total
        found._moments = moments
    return found
