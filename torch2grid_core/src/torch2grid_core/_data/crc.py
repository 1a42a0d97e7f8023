"""CRC-32 (IEEE 802.3) of large buffers, and of two runs of bytes in a row."""

from __future__ import annotations

import sys
import time
import zlib
from functools import lru_cache
from typing import Any

import numpy as np

_POLYNOMIAL = 0xEDB88320  # its bits reversed
Matrix = tuple[int, ...]  # what each of the 32 bits becomes
# x^91639 + x^41678 + 1 is a multiple of the polynomial, the trinomial of the lowest degree that is one. Its eighth power has
# three terms of eight times the degree: a byte may be left out, as far as a CRC-32 is concerned, if it is added (XOR) to the
# bytes 91639 - 41678 and 91639 places behind it.
_FAR, _NEAR = 91_639, 91_639 - 41_678
_WORTH = 3 * _FAR  # bytes from which on that is faster
_STEPS = 8  # of _NEAR bytes that are kept before the last of them are moved to the front


def crc32(data: Any, value: int = 0) -> int:
    """``zlib.crc32`` of an object with the buffer protocol; where zlib uses no instructions for it, in half the time."""
    raw = memoryview(data)
    return _folded(raw, value) if raw.nbytes >= _WORTH and _pays() else zlib.crc32(raw, value)


def _folded(data: memoryview, value: int) -> int:
    """The CRC-32 of at least ``_FAR`` bytes: those of the last that stay when all others are added to what lies behind."""
    numbers = np.frombuffer(data, np.uint8)
    rest = len(numbers) - _FAR
    added = np.empty(_FAR + _STEPS * _NEAR, np.uint8)  # the bytes that are left out, as they are when their turn comes
    added[:_FAR] = 0
    at = _FAR
    for start in range(0, rest, _NEAR):
        size = min(_NEAR, rest - start)
        if at + size > len(added):
            added[:_FAR] = added[at - _FAR : at]
            at = _FAR
        part = added[at : at + size]
        np.bitwise_xor(numbers[start : start + size], added[at - _NEAR : at - _NEAR + size], out=part)
        np.bitwise_xor(part, added[at - _FAR : at - _FAR + size], out=part)
        if not start:  # the register begins with its bits turned, which is the same as to turn those of the first four bytes
            part[:4] ^= np.frombuffer((value ^ 0xFFFFFFFF).to_bytes(4, "little"), np.uint8)
        at += size
    left = numbers[rest:] ^ added[at - _FAR : at]
    left[:_NEAR] ^= added[at - _NEAR : at]
    return zlib.crc32(left.data, 0xFFFFFFFF)  # which makes it begin with 0


@lru_cache(maxsize=1)
def _pays() -> bool:
    """True where folding is faster than this machine's zlib, some of which use its instructions for it."""
    # What others do meanwhile must not decide; Windows counts a thread's time in steps that are too long.
    clock = time.perf_counter if sys.platform == "win32" else time.thread_time
    data, taken = memoryview(bytes(1 << 20)), []
    for work in (zlib.crc32, _folded):
        times = []
        for _ in range(2):
            started = clock()
            work(data, 0)
            times.append(clock() - started)
        taken.append(min(times))
    return taken[1] < taken[0]


def crc32_combine(first: int, second: int, length: int) -> int:
    """The CRC-32 of two runs of bytes in a row, from that of each and the *length* of the second in bytes."""
    power = 0
    while length:
        if length & 1:
            first = _times(_zero_bytes(power), first)
        length >>= 1
        power += 1
    return first ^ second


@lru_cache(maxsize=64)
def _zero_bytes(power: int) -> Matrix:
    """What 2**power bytes of zeros make of a CRC-32."""
    if power:
        half = _zero_bytes(power - 1)
        return tuple(_times(half, each) for each in half)
    bit: Matrix = (_POLYNOMIAL, *(1 << place for place in range(31)))
    for _ in range(3):
        bit = tuple(_times(bit, each) for each in bit)
    return bit


def _times(matrix: Matrix, bits: int) -> int:
    found = 0
    for column in matrix:
        if not bits:
            break
        if bits & 1:
            found ^= column
        bits >>= 1
    return found
