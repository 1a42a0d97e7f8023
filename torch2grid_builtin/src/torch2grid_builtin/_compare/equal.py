"""Whether two tensors are the same bit by bit, but for rounding to the narrower dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from torch2grid_core import LazyTensor
from torch2grid_core.sources import is_complex, is_floating

Array = np.ndarray[Any, Any]
_COUNT = 1 << 17  # weights at once
_FIRST = 1 << 10  # of them that mostly tell already


def bits(array: Array) -> Array:
    """The array as unsigned integers of its width, for comparisons that know neither NaN nor −0."""
    width = array.dtype.itemsize
    return np.ascontiguousarray(array).view(f"u{width}" if width <= 8 else "u8")


def same_bits(one: Array, two: Array) -> bool:
    """Equal bit by bit, of one dtype; NaN is NaN, whatever else its bits say."""
    first, second = bits(one), bits(two)
    if np.array_equal(first, second):
        return True
    if not (is_floating(one.dtype) or is_complex(one.dtype)):
        return False
    unlike = first != second
    if is_complex(one.dtype):
        return bool((np.isnan(one) & np.isnan(two))[unlike.reshape(len(one), -1).any(axis=1)].all())
    return bool((np.isnan(one[unlike]) & np.isnan(two[unlike])).all())


def roundings(one: np.dtype[Any], two: np.dtype[Any]) -> list[np.dtype[Any]]:
    """The dtypes to which one of the two may be rounded; none where their numbers are of different kinds."""
    kinds = [(is_floating(each), is_complex(each)) for each in (one, two)]
    if kinds[0] != kinds[1] or kinds[0] == (False, False):
        return []
    return [each for each, other in ((one, two), (two, one)) if each.itemsize <= other.itemsize]


def rounded_same(one: Array, two: Array) -> bool:
    """Equal bit by bit, or one is the other rounded."""
    if one.dtype == two.dtype:
        return same_bits(one, two)
    with np.errstate(all="ignore"):
        return any(same_bits(one.astype(to, copy=False), two.astype(to, copy=False)) for to in roundings(one.dtype, two.dtype))


def equal(one: LazyTensor, two: LazyTensor) -> bool:
    """True where two tensors hold the same, but for rounding. Reads no further than to what differs first."""
    if one.shape != two.shape:
        return False
    count = min(_FIRST, one.size)
    if one.contiguous and two.contiguous and not rounded_same(one.read(0, count), two.read(0, count)):
        return False
    chunks = zip(one.flat_chunks(_COUNT * one.dtype.itemsize), two.flat_chunks(_COUNT * two.dtype.itemsize), strict=True)
    return all(rounded_same(first, second) for (_, first), (_, second) in chunks)
