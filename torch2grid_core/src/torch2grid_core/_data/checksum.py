"""CRC-32 of bytes that were looked at in pieces. Method: ``crc32_combine`` of zlib, by matrices over GF(2)."""

from __future__ import annotations

from functools import lru_cache

_POLYNOMIAL = 0xEDB88320  # of CRC-32 (IEEE 802.3), its bits reversed
Matrix = tuple[int, ...]  # what each of the 32 bits becomes


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
