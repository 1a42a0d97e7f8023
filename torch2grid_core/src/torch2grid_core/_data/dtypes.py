"""Number types by the names that PyTorch gives them, as numpy dtypes (``ml_dtypes`` for bfloat16, float8 and float4)."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

_NAMES = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
    "float4_e2m1fn": ml_dtypes.float4_e2m1fn,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint64": np.uint64,
    "uint32": np.uint32,
    "uint16": np.uint16,
    "uint8": np.uint8,
    "bool": np.bool_,
    "complex128": np.complex128,
    "complex64": np.complex64,
}
_FEW_HALVES, _HALVES_AT_ONCE = 1 << 10, 1 << 16  # numbers: below, one call is faster; at once, they stay in the cache
_HALVES_UP, _HALF_BITS = np.float32(2.0**112), np.int32(-0x70002000)  # sign, and the bits below three copies of it
_SUBNORMAL = np.full(1, 2.0**-130, np.float32)
BY_NAME: dict[str, np.dtype[Any]] = {name: np.dtype(scalar) for name, scalar in _NAMES.items()}


def dtype_named(name: str) -> np.dtype[Any] | None:
    """Return the dtype of numpy or ml_dtypes with this *name*, such as ``bfloat16``; ``None`` if none can be drawn."""
    return BY_NAME.get(name)


def is_complex(dtype: np.dtype[Any]) -> bool:
    """Return True for complex64 and complex128."""
    return dtype.kind == "c"


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Return True for every real floating type, those of ``ml_dtypes`` included (numpy gives them kind ``V`` or ``f``)."""
    return dtype.kind == "f" or (dtype.kind == "V" and dtype.name in BY_NAME)


def as_float(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return *array* in the smaller of float32 and float64 that can hold it for drawing; complex numbers by magnitude.

    bfloat16, float16, float8, bool and integers up to 16 bits become float32 exactly. Wider integers become float64 (exact up
    to 2**53). float32 and float64 are returned as they are, without a copy.
    """
    dtype = array.dtype
    if dtype.kind == "c":
        return magnitudes(array)
    if dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        return array
    with np.errstate(all="ignore"):
        if dtype == np.float16 and array.size >= _FEW_HALVES:
            return _from_halves(array.reshape(-1)).reshape(array.shape)
        return array.astype(np.float64 if dtype.kind in "iu" and dtype.itemsize > 2 else np.float32)


def _from_halves(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """float16, 1-D, as float32: what ``astype`` gives, which takes them one by one, seven times as long.

    The bits of a half, moved to where float32 has exponent and fraction, are a float32 that is 2**112 times too small, of
    subnormal numbers too. Infinities and NaN come out as 2**16 and more, and are left to ``astype``; so is all where this
    thread's processor takes subnormal numbers for 0, as a library may have told it to.
    """
    found = np.empty(array.shape, np.float32)
    exact = bool(np.multiply(_SUBNORMAL, _HALVES_UP)[0])
    for start in range(0, len(array), _HALVES_AT_ONCE):
        halves, part = array[start : start + _HALVES_AT_ONCE], found[start : start + _HALVES_AT_ONCE]
        if exact:
            bits = part.view(np.int32)
            np.left_shift(halves.view(np.int16), 13, out=bits, dtype=np.int32)
            np.bitwise_and(bits, _HALF_BITS, out=bits)
            np.multiply(part, _HALVES_UP, out=part)
        if not exact or part.max() >= 65536 or part.min() <= -65536:
            np.copyto(part, halves)
    return found


def bits_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the bits of floating numbers as unsigned integers of the machine's byte order.

    The result is a view if *array* has that order.
    """
    native = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    found: np.ndarray[Any, Any] = np.ascontiguousarray(native).view(f"u{array.dtype.itemsize}")
    return found


def sizes_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """|w| of floating numbers of 16 bits or more as unsigned integers, in the same order: the bits without that of the sign.

    Inf is beyond every finite number, NaN beyond Inf. As many bytes as the numbers have, and as exact.
    """
    bits = bits_of(array)
    found: np.ndarray[Any, Any] = bits & bits.dtype.type(np.iinfo(bits.dtype).max >> 1)
    return found


def has_sizes(dtype: np.dtype[Any]) -> bool:
    """Return True for real floating types of 2, 4 and 8 bytes, whose bits ``sizes_of`` puts in order."""
    return is_floating(dtype) and dtype.itemsize in (2, 4, 8)


def magnitudes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """|z| of complex numbers.

    NaN where either part is, where numpy has Inf for NaN+Inf·j; the largest number of the dtype where |z| exceeds it, so that
    what is finite stays so.
    """
    with np.errstate(all="ignore"):
        size: np.ndarray[Any, Any] = np.asarray(np.abs(array))
    if not np.isfinite(size).all():
        size[np.isnan(array)] = np.nan
        size[np.isinf(size) & np.isfinite(array)] = np.finfo(size.dtype).max
    return size
