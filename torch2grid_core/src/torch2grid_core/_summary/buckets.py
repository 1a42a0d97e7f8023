"""Counts by the upper 16 bits of the float32 pattern: 65,536 buckets, which are the bfloat16 numbers.

A bucket's code is the pattern. Buckets are kept as a sorted array of the occupied codes and one of their counts. The bits
say sign, exponent and seven bits of the fraction, so a bucket is 1/128 of a power of two wide. A threshold inside a bucket is
compared with the numbers themselves, and neither is rounded.
"""

from __future__ import annotations

import enum
import math
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import sizes_of

CODES = 65_536
SIGN = 0x8000
FLOAT32_MAX = float(np.finfo(np.float32).max)
_UPPER = 1 if sys.byteorder == "little" else 0


class Fineness(enum.IntEnum):
    """What the numbers of a distribution are, which tells where in its bucket a number lies. Ordered: the coarsest wins."""

    EXACT = 0  # bfloat16 numbers: the bucket's edge next to zero
    INTEGER = 1  # whole numbers: the edge up to 256, anywhere beyond
    REAL = 2


def codes_of(numbers: Array) -> Array:
    """The codes of float32 *numbers* (contiguous): a strided uint16 view."""
    return numbers.view(np.uint16)[_UPPER::2]


def has_lower_bits(numbers: Array) -> bool:
    """True where one of float32 *numbers* (contiguous) is not a bfloat16 number."""
    lower = numbers.view(np.uint16)[1 - _UPPER :: 2]
    return bool(lower[:256].any()) or bool(lower.any())


def lower_bits(numbers: Array) -> Array:
    """Where float32 *numbers* (contiguous) are no bfloat16 numbers."""
    found: Array = numbers.view(np.uint16)[1 - _UPPER :: 2] != 0
    return found


def float_of(codes: Array) -> Array:
    """The float64 numbers whose float32 patterns are the magnitudes of *codes* followed by 16 zero bits; Inf stays Inf."""
    patterns = (codes & np.uint16(SIGN - 1)).astype(np.uint32) << np.uint32(16)
    return patterns.view(np.float32).astype(np.float64)


def pack(dense: Array) -> tuple[Array, Array]:
    """Sorted occupied codes (uint16) and their counts (int64) of a counter of 65,536."""
    codes = np.flatnonzero(dense != 0)
    return codes.astype(np.uint16), dense[codes]


def unite(codes: Array, counts: Array) -> tuple[Array, Array]:
    """The same counts with each code once, sorted."""
    if len(codes) < 2:
        return codes, counts
    order = np.argsort(codes, kind="stable")
    codes, counts = codes[order], counts[order]
    first = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    return codes[first], np.add.reduceat(counts, first)


class Points:
    """The buckets in order of value, as float64 arrays of one entry a bucket.

    low, high: the edges between which the numbers lie, equal where they are all one number. value: what stands for them.
    total: how many numbers there are up to and with the bucket (int64).
    """

    def __init__(self, codes: Array, counts: Array, fineness: Fineness, least: float, most: float) -> None:
        negative = codes >= SIGN
        order = np.concatenate((np.flatnonzero(negative)[::-1], np.flatnonzero(~negative)))
        codes, counts, negative = codes[order], counts[order].astype(np.int64), negative[order]
        near = float_of(codes)  # the edge next to zero
        far = np.minimum(float_of(codes + np.uint16(1)), FLOAT32_MAX)
        if fineness is Fineness.REAL:
            middle = np.where(near == 0, 0.0, near + (far - near) / 2)
            far = np.where(near == 0, 0.0, far)  # zeros; what is smaller than 2**-133 counts as zero
        else:
            single = near < 256 if fineness is Fineness.INTEGER else np.ones(len(near), bool)
            middle = np.where(single, near, near + np.floor((far - near - 1) / 2))
            far = np.where(single, near, far)
        far = np.where(codes & np.uint16(SIGN - 1) == 0x7F7F, np.maximum(far, max(abs(least), abs(most))), far)
        if fineness is Fineness.EXACT:
            far = near
        self.value = np.clip(np.where(negative, -middle, middle), least, most) + 0.0
        self.low = np.clip(np.where(negative, -far, near), least, most) + 0.0  # + 0.0: no negative zero
        self.high = np.clip(np.where(negative, -near, far), least, most) + 0.0
        self.total = np.cumsum(counts)
        self._before = self.total - counts
        self._counts = counts.astype(np.float64)

    def below(self, edges: Array, *, included: bool = False) -> Array:
        """How many numbers are less than each of *edges* (or equal, where *included*), int64.

        The numbers of a bucket that an edge cuts are taken as evenly spread over it.
        """
        place = np.searchsorted(self.low, edges, side="right" if included else "left") - 1
        inside = np.maximum(place, 0)
        width = self.high[inside] - self.low[inside]
        with np.errstate(invalid="ignore", over="ignore"):
            share = np.where(width > 0, (edges - self.low[inside]) / np.where(width > 0, width, 1), 1.0)
        found = self._before[inside] + np.rint(np.clip(share, 0.0, 1.0) * self._counts[inside]).astype(np.int64)
        result: Array = np.where(place < 0, 0, found)
        return result


@lru_cache(maxsize=64)
def code_of(threshold: float) -> int:
    """The bucket that holds both numbers just below and just above *threshold* (≥ 0)."""
    single = np.array([min(threshold, FLOAT32_MAX)], dtype=np.float64).astype(np.float32)
    return int(codes_of(single)[0])


@lru_cache(maxsize=64)
def least_size(threshold: float, dtype: np.dtype[Any]) -> int:
    """The least of ``sizes_of`` numbers of a floating *dtype* whose |w| is not below *threshold* (≥ 0), without rounding."""
    with np.errstate(all="ignore"):
        near = int(sizes_of(np.array([threshold]).astype(dtype))[0])

    def is_below(size: int) -> bool:
        number = np.array([size], f"u{dtype.itemsize}").view(dtype.newbyteorder("="))
        return float(number.astype(np.float64)[0]) < threshold

    while near and not is_below(near - 1):
        near -= 1
    while is_below(near):
        near += 1
    return near


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
