"""CRC-32 of large buffers, beside zlib's."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from torch2grid_core._data import crc

_SIZES = (0, 1, 91_638, 91_639, 91_640, 91_643, 141_600, 3 * 91_639 - 1, 3 * 91_639, 366_557, 1 << 20, (1 << 20) + 7, 5_000_003)


@pytest.mark.parametrize("pays", [False, True])
@pytest.mark.parametrize("size", _SIZES)
def test_it_is_that_of_zlib(size: int, pays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crc, "_pays", lambda: pays)
    data = np.random.default_rng(size).bytes(size)
    for value in (0, 1, 0xFFFFFFFF, 0xDEADBEEF):
        assert crc.crc32(data, value) == zlib.crc32(data, value)
    zeros = bytes(size)
    assert crc.crc32(zeros) == zlib.crc32(zeros)


@pytest.mark.parametrize("size", [91_643, 141_599, 141_600, 141_601, 400_000, 1_234_567])
def test_folding_alone_is_that_of_zlib(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    for value in (0, 0x12345678, 0xFFFFFFFF):
        assert crc._folded(memoryview(data), value) == zlib.crc32(data, value)


def test_every_bit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crc, "_pays", lambda: True)
    generator, data = np.random.default_rng(0), bytearray(np.random.default_rng(1).bytes(400_000))
    whole = crc.crc32(data)
    for place in [0, 3, 4, len(data) - 1, *generator.integers(0, len(data), 40).tolist()]:
        data[place] ^= 1 << (place % 8)
        assert crc.crc32(data) == zlib.crc32(data) != whole
        data[place] ^= 1 << (place % 8)


def test_any_buffer_will_do_and_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crc, "_pays", lambda: True)
    numbers = np.random.default_rng(2).standard_normal(200_000)
    before, raw = numbers.copy(), numbers.tobytes()
    for each in (numbers, raw, bytearray(raw), memoryview(raw), numbers.view(np.uint8)):
        assert crc.crc32(each) == zlib.crc32(raw)
    assert (numbers == before).all()


def test_parts_in_a_row_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crc, "_pays", lambda: True)
    data = np.random.default_rng(3).bytes(3_000_000)
    value = 0
    for start in range(0, len(data), 700_000):
        value = crc.crc32(data[start : start + 700_000], value)
    assert value == zlib.crc32(data)
