"""Codes of one to eight bits out of the bytes that they are packed in, as float32, by tables or by shifts.

A table maps sixteen bits (twelve where codes of three or six bits cross bytes) to the numbers of all the codes in them, so that
one look-up yields several weights. Codes of 1, 2, 4 and 8 bits that stand for integers are spread over bytes by shifts of
whole words, and these are converted: that takes two thirds of the time, and leaves the cache to the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, Any]

# float4 of one sign, two exponent and one mantissa bit, by code: the numbers of the OCP microscaling formats, version 1.0.
FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)

# float6 of one sign, two exponent and three mantissa bits, likewise.
FP6 = tuple(sign * size for sign in (1.0, -1.0) for size in (
    *(place / 8 for place in range(8)), *((1 + place / 8) * 2.0**power for power in range(3) for place in range(8))
))  # fmt: skip

_INDEX_BITS = {1: 8, 2: 8, 3: 12, 4: 16, 6: 12, 8: 16}
_ITEMS: dict[int, np.dtype[Any]] = {
    8: np.dtype(np.complex64),
    16: np.dtype(np.complex128),
    32: np.dtype("V32"),
}  # copied as one


def integers(bits: int, minus: int = 0) -> tuple[float, ...]:
    """The numbers of the codes of *bits* bits: themselves, less *minus*."""
    return tuple(float(code - minus) for code in range(1 << bits))


@lru_cache(maxsize=16)
def _table(bits: int, values: tuple[float, ...], high_first: bool) -> Array:
    """For each index the float32 numbers of its codes, in the order of the weights, as items that are copied whole."""
    width = _INDEX_BITS[bits]
    index = np.arange(1 << width)
    count = width // bits
    places = [place * bits for place in range(count)]
    if high_first:  # within each byte
        per = 8 // bits
        places = [places[place // per * per + per - 1 - place % per] for place in range(count)]
    numbers = np.array(values, np.float32)
    found = np.stack([numbers[(index >> place) & ((1 << bits) - 1)] for place in places], axis=1)
    found = np.ascontiguousarray(found)
    table: Array = found.view(_ITEMS[found.shape[1] * 4]).reshape(-1)
    return table


@lru_cache(maxsize=16)
def _minus(bits: int, values: tuple[float, ...]) -> int | None:
    """What is taken off each code to get its number; ``None`` where that is not one integer for all that fits a byte."""
    minus = -int(values[0]) if values and values[0] == int(values[0]) else -1
    possible = (0, 128) if bits == 8 else range(128)
    return minus if minus in possible and values == integers(bits, minus) else None


# Bits of a code → the word that a byte is spread over, and the shifts and masks that do it, the first code in the lowest byte.
_SPREAD: dict[int, tuple[str, tuple[tuple[int, int], ...]]] = {
    1: ("<u8", ((28, 0x0000000F0000000F), (14, 0x0003000300030003), (7, 0x0101010101010101))),
    2: ("<u4", ((12, 0x000F000F), (6, 0x03030303))),
    4: ("<u2", ((4, 0x0F0F),)),
}


def _spread(data: Array, bits: int, high_first: bool) -> Array:
    """The codes in *data*, a byte each."""
    if bits == 8:
        return data
    kind, steps = _SPREAD[bits]
    words = data.astype(kind)
    shifted = np.empty_like(words)
    for shift, mask in steps:
        np.left_shift(words, words.dtype.type(shift), out=shifted)
        np.bitwise_or(words, shifted, out=words)
        np.bitwise_and(words, words.dtype.type(mask), out=words)
    return (words.byteswap(inplace=True) if high_first else words).view(np.uint8)


def unit(bits: int) -> int:
    """How many codes fill whole bytes, and whole indices of the table: what is unpacked begins and ends at a multiple."""
    return {1: 8, 2: 4, 3: 8, 4: 4, 6: 4, 8: 2}.get(bits, 8)


def unpack(data: Array, bits: int, values: tuple[float, ...], out: Array, high_first: bool = False) -> None:
    """Fill *out*, float32 of shape (rows, codes), with the numbers of the codes in *data*.

    Args:
        data: uint8 of shape (rows, bytes): of each row a stream of codes, the first in the lowest bits.
        bits: of a code, 1 to 8.
        values: the number of each code.
        out: a multiple of ``unit(bits)`` columns; its rows may lie apart.
        high_first: the first code of each byte stands in its highest bits; for codes that do not cross bytes.
    """
    rows, count = out.shape
    if not out.size:
        return
    data = np.ascontiguousarray(data[:, : count * bits // 8])
    minus = _minus(bits, values) if bits in (1, 2, 4, 8) else None
    if minus is not None:
        codes = _spread(data, bits, high_first)
        if minus == 128:
            codes = (codes ^ np.uint8(128)).view(np.int8)
        elif minus:
            codes = codes.view(np.int8) - np.int8(minus)
        out[...] = codes.reshape(out.shape)
        return
    if bits not in _INDEX_BITS:
        _unpack_any(data, bits, np.array(values, np.float32), out)
        return
    width = _INDEX_BITS[bits]
    if width == 16:
        index = data.view("<u2")
    elif width == 12:
        three = data.reshape(rows, -1, 3).astype(np.uint16)
        index = np.empty((rows, three.shape[1], 2), np.uint16)
        np.bitwise_or(three[..., 0], (three[..., 1] & 15) << 8, out=index[..., 0])
        np.bitwise_or(three[..., 1] >> 4, three[..., 2] << 4, out=index[..., 1])
        index = index.reshape(rows, -1)
    else:
        index = data
    table = _table(bits, values, high_first)
    if out.flags.c_contiguous and out.flags.aligned:
        np.take(table, index, out=out.view(table.dtype).reshape(index.shape), mode="clip")
    else:
        out[...] = np.take(table, index, mode="clip").view(np.float32).reshape(out.shape)


def _unpack_any(data: Array, bits: int, numbers: Array, out: Array) -> None:
    """Codes of five and seven bits: eight of them lie in as many bytes as they have bits."""
    rows, count = out.shape
    groups = data.reshape(rows, count // 8, bits).astype(np.uint16)
    mask = (1 << bits) - 1
    for place in range(8):
        byte, shift = divmod(place * bits, 8)
        code = groups[..., byte] >> shift
        if shift + bits > 8:
            code = code | (groups[..., byte + 1] << (8 - shift))
        out[:, place::8] = numbers[code & mask]


def field_reader(bits: int, shift: int) -> Callable[[Array], Array]:
    """A function from packed words to their field of *bits* bits at *shift*, as integers of the words' type."""

    def read(words: Array) -> Array:
        kind: Any = words.dtype.type
        found: Array = (words >> kind(shift)) & kind((1 << bits) - 1)
        return found

    return read


@lru_cache(maxsize=16)
def _bytes_table(dtype: np.dtype[Any]) -> Array:
    single = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)
    index = np.arange(1 << 16)
    table: Array = np.stack([single[index & 255], single[index >> 8]], axis=1).view(np.complex64).reshape(-1)
    return table


def convert(codes: Array, out: Array) -> None:
    """Fill *out*, float32, with *codes* of the same shape: integers, or floating numbers of any width."""
    if codes.dtype.kind == "V" and codes.dtype.itemsize == 1 and codes.shape[-1] % 2 == 0 and out.flags.c_contiguous:
        with np.errstate(all="ignore"):
            table = _bytes_table(codes.dtype)
        index = np.ascontiguousarray(codes).view(np.uint8).view("<u2")
        np.take(table, index, out=out.view(table.dtype).reshape(index.shape), mode="clip")
    else:
        with np.errstate(all="ignore"):
            out[...] = codes.astype(np.float32)


@lru_cache(maxsize=1)
def _exponents() -> Array:
    with np.errstate(all="ignore"):
        found: Array = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    return found


def exponents(codes: Array) -> Array:
    """2**(code − 127) of each byte, float32; 255 is NaN: E8M0 of the OCP microscaling formats."""
    found: Array = np.take(_exponents(), codes.view(np.uint8))
    return found


def stream(words: Array) -> Array:
    """*words* of any width, (rows, words), as the bytes that they are on a little-endian machine, (rows, bytes)."""
    words = np.ascontiguousarray(words)
    return words.astype(words.dtype.newbyteorder("<"), copy=False).view(np.uint8)
