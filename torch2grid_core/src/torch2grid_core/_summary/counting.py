"""Comparisons with a threshold that round neither side."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._summary.buckets import FLOAT32_MAX, codes_of


@lru_cache(maxsize=64)
def code_of(threshold: float) -> int:
    """The bucket that holds both numbers just below and just above *threshold* (≥ 0)."""
    single = np.array([min(threshold, FLOAT32_MAX)], dtype=np.float64).astype(np.float32)
    return int(codes_of(single)[0])


def count_below(numbers: Array, threshold: float) -> int:
    """How many |numbers| are below *threshold*, without rounding either to the other's dtype."""
    if numbers.dtype.kind in "iu":
        if threshold > np.iinfo(numbers.dtype).max:
            least = int(np.iinfo(numbers.dtype).min)
            return len(numbers) - (int(np.count_nonzero(numbers == least)) if least and -least >= threshold else 0)
        bound = math.ceil(threshold)
        inside = numbers < bound
        if numbers.dtype.kind == "i":
            inside &= numbers > -bound
        return int(np.count_nonzero(inside))
    return int(np.count_nonzero(below(numbers, threshold)))


def below(numbers: Array, threshold: float) -> Array:
    """Where |numbers|, which are floating, are below *threshold*, without rounding either."""
    if numbers.dtype == np.float32:
        bound32 = np.float32(min(threshold, FLOAT32_MAX))
        if float(bound32) < threshold:  # |w| < t for no float32 between: compare with the next one
            bound32 = np.nextafter(bound32, np.float32(np.inf))
        return np.abs(numbers) < bound32
    return np.abs(numbers) < threshold
