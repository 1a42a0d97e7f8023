"""Codes come out of their bytes as numpy's own bits say, by tables and by shifts alike."""

from __future__ import annotations

import numpy as np
import pytest

from torch2grid_builtin._decoders.unpacking import integers, unpack


@pytest.mark.parametrize("high_first", [False, True])
@pytest.mark.parametrize("minus", [0, 1, 8, 100, 127, 128, 200, "half", None])
@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_are_the_bits_of_the_stream(bits: int, minus: int | str | None, high_first: bool) -> None:
    if high_first and bits not in (1, 2, 4, 8):
        return  # codes that cross bytes have no order within one
    random = np.random.default_rng(bits)
    rows, columns = 5, 48
    data = random.integers(0, 256, (rows, columns * bits // 8)).astype(np.uint8)
    each = np.unpackbits(data, axis=1, bitorder="little").reshape(rows, columns, bits)
    codes = (each.astype(np.int64) << np.arange(bits)).sum(-1)
    if high_first:
        codes = codes.reshape(rows, -1, 8 // bits)[..., ::-1].reshape(rows, columns)
    if minus is None:  # numbers that are no integers
        values = tuple(random.normal(size=1 << bits).astype(np.float32).tolist())
    else:
        values = integers(bits, 1 << (bits - 1) if minus == "half" else int(minus))
    wanted = np.array(values, np.float32)[codes]
    whole, wide = np.empty((rows, columns), np.float32), np.full((rows, columns + 5), np.nan, np.float32)
    unpack(data, bits, values, whole, high_first)
    np.testing.assert_array_equal(whole, wanted)
    unpack(data, bits, values, wide[:, 2 : 2 + columns], high_first)  # rows that lie apart
    np.testing.assert_array_equal(wide[:, 2 : 2 + columns], wanted)
    assert np.isnan(wide[:, [0, 1, -3, -2, -1]]).all()
