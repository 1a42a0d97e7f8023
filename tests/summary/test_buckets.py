"""Buckets and thresholds, number by number: every bfloat16 pattern, every edge, against plain Python and numpy."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from torch2grid_core._data.dtypes import magnitudes
from torch2grid_core._summary.buckets import (
    CODES,
    Fineness,
    Points,
    code_of,
    codes_of,
    count_below,
    float_of,
    has_lower_bits,
    pack,
    unite,
)

FINITE = {"allow_nan": False, "allow_infinity": False}
MAX32 = float(np.finfo(np.float32).max)
EVERY = np.arange(CODES, dtype=np.uint16)


def test_codes_are_the_bfloat16_numbers() -> None:
    numbers = EVERY.view(ml_dtypes.bfloat16).astype(np.float32)
    finite = np.isfinite(numbers)
    np.testing.assert_array_equal(codes_of(numbers)[finite], EVERY[finite])
    np.testing.assert_array_equal(float_of(EVERY[finite]), np.abs(numbers[finite].astype(np.float64)))
    assert float_of(np.uint16([0x7F80, 0xFF80])).tolist() == [math.inf, math.inf]
    assert float_of(EVERY[:2]).dtype == np.float64


@pytest.mark.parametrize("place", [0, 5, 255, 256, 257, 999])
def test_a_number_between_two_codes_is_seen_anywhere(place: int) -> None:
    numbers = np.full(1000, 1.5, dtype=np.float32)
    assert has_lower_bits(numbers) is False
    numbers[place] = np.float32(1.5) + np.float32(2**-23)
    assert has_lower_bits(numbers) is True


@given(st.lists(st.tuples(st.integers(0, CODES - 1), st.integers(1, 1000)), max_size=30))
def test_counts_of_one_code_are_united(entries: list[tuple[int, int]]) -> None:
    codes, counts = np.array([code for code, _ in entries], np.uint16), np.array([count for _, count in entries], np.int64)
    total: dict[int, int] = {}
    for code, count in entries:
        total[code] = total.get(code, 0) + count
    found, number = unite(codes, counts)
    assert dict(zip(found.tolist(), number.tolist(), strict=True)) == total
    assert found.tolist() == sorted(total)
    dense = np.zeros(CODES, np.int64)
    np.add.at(dense, codes, counts)
    packed, number = pack(dense)
    assert (packed.tolist(), number.tolist()) == (sorted(total), [total[code] for code in sorted(total)])
    assert (packed.dtype, number.dtype) == (np.uint16, np.int64)


def points(numbers: list[float], fineness: Fineness) -> Points:
    array = np.array(numbers)
    codes, counts = np.unique(codes_of(np.clip(array, -MAX32, MAX32).astype(np.float32)), return_counts=True)
    return Points(codes, counts, fineness, float(array.min()), float(array.max()))


def test_buckets_of_exact_numbers_are_points_in_order() -> None:
    found = points([3.0, -0.5, -2.0, 0.0, -2.0, 0.5], Fineness.EXACT)
    assert found.value.tolist() == [-2.0, -0.5, 0.0, 0.5, 3.0]
    assert found.low.tolist() == found.high.tolist() == found.value.tolist()
    assert found.total.tolist() == [2, 3, 4, 5, 6]
    assert not np.signbit(points([-0.0, -1.0], Fineness.EXACT).value[1])


def test_buckets_of_real_numbers_reach_to_the_next_code() -> None:
    found = points([-8.0, -1.0, 0.0, 1.0, 1.0, 8.0], Fineness.REAL)
    assert found.low.tolist() == [-8.0, -1.0078125, 0.0, 1.0, 8.0]
    assert found.high.tolist() == [-8.0, -1.0, 0.0, 1.0078125, 8.0]
    assert found.value.tolist() == [-8.0, -1.00390625, 0.0, 1.00390625, 8.0]
    assert found.total.tolist() == [1, 2, 3, 5, 6]


def test_buckets_of_whole_numbers_are_exact_to_256() -> None:
    found = points([-1030.0, -256.0, 1.0, 255.0, 256.0, 512.0, 1024.0, 5000.0], Fineness.INTEGER)
    # from 256 on a bucket holds 2, from 512 on 4, from 1024 on 8 whole numbers
    assert found.low.tolist() == [-1030.0, -258.0, 1.0, 255.0, 256.0, 512.0, 1024.0, 4992.0]
    assert found.high.tolist() == [-1024.0, -256.0, 1.0, 255.0, 258.0, 516.0, 1032.0, 5000.0]
    assert found.value.tolist() == [-1027.0, -256.0, 1.0, 255.0, 256.0, 513.0, 1027.0, 5000.0]


def test_what_is_beyond_float32_is_in_the_last_bucket() -> None:
    edge = float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    for most in (1e300, MAX32):
        for sign in (1, -1):
            found = points([sign * most, 0.0], Fineness.REAL)
            last = -1 if sign > 0 else 0
            assert sorted((abs(found.low[last]), abs(found.high[last]))) == [edge, most]
    exact = points([edge, -edge, 0.0], Fineness.EXACT)
    assert (exact.low.tolist(), exact.high.tolist()) == ([-edge, 0.0, edge], [-edge, 0.0, edge])


def test_how_many_are_below_an_edge() -> None:
    exact = points([-2.0, -2.0, 0.0, 1.0, 3.0], Fineness.EXACT)
    edges = np.array([-3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 3.0, 4.0])
    assert exact.below(edges).tolist() == [0, 0, 2, 2, 3, 3, 4, 5]
    assert exact.below(edges, included=True).tolist() == [0, 2, 2, 3, 3, 4, 5, 5]
    assert exact.below(edges).dtype == np.int64
    cut = Points(np.uint16([0x3F80]), np.array([100]), Fineness.REAL, 0.0, 2.0)  # a hundred numbers from 1 to 1 + 2**-7
    assert cut.below(1 + np.array([-1, 0, 1, 2, 3, 4, 5]) / 512).tolist() == [0, 0, 25, 50, 75, 100, 100]
    whole = points([1.0, 300.0, 5000.0], Fineness.REAL)
    assert whole.below(np.array([0.5, 2.0, 4000.0, 4992.0, 1e9])).tolist() == [0, 1, 2, 2, 3]


@given(
    st.sampled_from([np.int8, np.uint8, np.int16, np.int64, np.uint64, np.float32, np.float64]).flatmap(
        lambda dtype: hnp.arrays(dtype, st.integers(1, 20), elements=FINITE if dtype().dtype.kind == "f" else {})
    ),
    st.data(),
)
def test_a_threshold_rounds_neither_side(numbers: np.ndarray, data: st.DataObject) -> None:
    plain = [number.item() for number in numbers]
    near = st.sampled_from(plain).map(lambda number: min(abs(float(number)), 1e300))
    threshold = data.draw(near | near.map(lambda value: math.nextafter(value, math.inf)) | st.floats(0, 300) | st.just(0.0))
    expected = sum(abs(number) < threshold for number in plain)
    assert count_below(numbers, threshold) == expected


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.uint8, np.uint64])
def test_thresholds_about_the_ends_of_an_integer_dtype(dtype: type) -> None:
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    numbers = np.array([low, low + 1, 0, 0, 1, high - 1, high], dtype=dtype)
    for threshold in (0.0, 0.5, 1.0, 1.5, *(high + float(more) for more in (-1, 0, 1, 2)), 2.0**64, 1e30, math.inf):
        assert count_below(numbers, threshold) == sum(abs(int(number)) < threshold for number in numbers), threshold


def test_thresholds_between_two_float32_and_beyond_them() -> None:
    below, above = np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(0))  # float32 0.1 lies above 0.1
    numbers = np.array([above, -above, below, -below, MAX32], dtype=np.float32)
    assert count_below(numbers, 0.1) == 2
    assert count_below(numbers, float(below)) == 2
    assert count_below(numbers, math.nextafter(float(below), 1)) == 4
    assert count_below(numbers, MAX32) == 4
    with np.errstate(over="ignore"):  # as updates do
        assert count_below(numbers, math.nextafter(MAX32, math.inf)) == count_below(numbers, 1e300) == 5


@pytest.mark.parametrize("threshold", [0.0, 1e-6, 0.015625, 0.1, 1.0, 300.5, 1e30, 1e300])
def test_the_bucket_of_a_threshold_holds_what_is_just_beside_it(threshold: float) -> None:
    code = code_of(threshold)
    bound = min(threshold, MAX32)
    sides = np.array([math.nextafter(bound, 0), math.nextafter(bound, math.inf) if bound < MAX32 else MAX32])
    singles = np.array([np.float32(bound)], dtype=np.float32)
    assert code == codes_of(singles)[0]
    assert {int(each) for each in codes_of(sides.astype(np.float32))} == {code}


def test_the_size_of_a_complex_number_that_is_partly_nan_is_nan() -> None:
    numbers = np.array([3 + 4j, complex(np.nan, np.inf), complex(np.inf, np.nan), complex(np.inf, 1), -2])
    np.testing.assert_array_equal(magnitudes(numbers), [5, np.nan, np.nan, np.inf, 2])
