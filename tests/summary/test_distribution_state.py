"""A distribution as an object: in threads, in pickles, as text, and with more weights than 32 bits count."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest

from torch2grid_core._summary.moments import Moments
from torch2grid_core.measures import Distribution


def of(array: np.ndarray, **options: bool) -> Distribution:
    found = Distribution(**options)
    found.update(array)
    return found


@pytest.mark.parametrize("brief", [False, True])
def test_threads_do_not_disturb_each_other(brief: bool) -> None:
    arrays = [np.random.default_rng(seed).standard_normal(70_000) + seed for seed in range(8)]
    alone = [Moments.of(array, float(array.min()), float(array.max()), brief) for array in arrays]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            together = list(pool.map(lambda array: of(array, brief=brief), arrays))
            for moments, found, array in zip(alone, together, arrays, strict=True):
                assert found.mean == pytest.approx(moments.mean, rel=1e-13)
                assert found.std == pytest.approx(float(array.std()), rel=1e-12)
                assert found.rms == pytest.approx(float(np.sqrt((array**2).mean())), rel=1e-12)


@pytest.mark.parametrize("doublings", [31, 32, 33, 34, 40])
def test_more_weights_than_32_bits_count(doublings: int) -> None:
    found = of(np.array([1.0, 2.0, 2.0], dtype=np.float32))
    for _ in range(doublings):
        found.merge(pickle.loads(pickle.dumps(found)))
    again = pickle.loads(pickle.dumps(found))
    for each in (found, again):
        assert each.count == each.finite == 3 << doublings
        assert each.quantiles([0.3, 0.34]).tolist() == [1.0, 2.0]
        assert each.histogram(np.array([0.5, 1.5, 2.5]))[0].tolist() == [1 << doublings, 2 << doublings]
        assert each.mean == pytest.approx(5 / 3, rel=1e-12)
        assert each.std == pytest.approx((2 / 9) ** 0.5, rel=1e-12)


def test_it_says_what_it_is() -> None:
    found = of(np.arange(2000, dtype=np.int16) - 1000)
    assert repr(found) == "<Distribution of 2,000 weights: mean -0.5, std 577.4, -1000 … 999>"
    assert "2,000" in found._repr_html_()


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.int64])
@pytest.mark.parametrize("repeats", [1, 3000])
def test_quantiles_of_whole_numbers_are_whole(dtype: type, repeats: int) -> None:
    numbers = np.repeat(np.array([256, 300, 301, 1000, 1001, 1007, 30_000], dtype=dtype), repeats)
    found = of(numbers)
    assert not found.exact
    levels = [0, 0.2, 0.42, 0.6, 0.7, 0.8, 1]
    if repeats == 1:
        assert found.quantiles(levels).tolist() == [256, 300, 301, 1001, 1001, 1007, 30_000]
    else:  # from 256 on a bucket holds two whole numbers, from 512 on four; the lower one of the middle stands for them
        assert found.quantiles(levels).tolist() == [256, 300, 300, 1001, 1001, 1005, 30_000]


def test_narrow_integers_are_exact_where_they_are_bfloat16_numbers() -> None:
    for numbers, exact in (([255, 256, 258], True), ([255, 257], False), ([-256, 1024], True), ([-257], False)):
        assert of(np.array(numbers, dtype=np.int16)).exact == exact
        assert of(np.array(numbers, dtype=np.int64)).exact == exact


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.int8, np.int16, np.float32])
@pytest.mark.parametrize("count", [4095, 4096, 4097])
def test_few_and_many_weights_are_counted_alike(dtype: type, count: int) -> None:
    numbers = (np.arange(count) % 101 - 50).astype(dtype)
    found = of(numbers)
    assert (found.count, found.zeros, found.min, found.max) == (count, np.count_nonzero(numbers == 0), -50, 50)
    expected = np.histogram(numbers.astype(np.float64), np.arange(-50, 52))[0]
    assert found.histogram(np.arange(-50, 52))[0].tolist() == expected.tolist()
    assert found.mean == pytest.approx(numbers.astype(np.float64).mean(), abs=1e-12)


def test_many_may_count_at_once() -> None:
    """Each holds a counter of its own until it is read, more of them than are kept for the next."""
    numbers = np.linspace(-1, 1, 5000, dtype=np.float32)
    several = [of(numbers + np.float32(index)) for index in range(12)]
    for index, found in enumerate(several):
        assert found.quantile(0.5) == pytest.approx(index, rel=0.004, abs=0.001)
        assert found.histogram(np.array([-2.0, index, 99.0]))[0].sum() == 5000
    assert of(numbers).quantile(0.75) == pytest.approx(0.5, rel=0.004)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(("value", "figure"), [(np.inf, "posinf"), (-np.inf, "neginf"), (np.nan, "nan")])
@pytest.mark.parametrize("brief", [False, True])
def test_one_number_that_is_not_finite_is_counted_apart(dtype: type, value: float, figure: str, brief: bool) -> None:
    found = of(np.array([1.0, value, 4.0], dtype=dtype), brief=brief)
    others = {"posinf", "neginf", "nan"} - {figure}
    assert (getattr(found, figure), [getattr(found, other) for other in others]) == (1, [0, 0])
    assert (found.count, found.finite, found.min, found.max, found.mean, found.std) == (3, 2, 1, 4, 2.5, 1.5)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("repeats", [1, 3000])
def test_numbers_in_the_bucket_of_a_threshold_are_compared_one_by_one(sign: int, repeats: int) -> None:
    found = Distribution((0.1, 0.2, 0.05))
    found.update(np.tile(np.float32([0.0999, 0.1001, 5.0]) * np.float32(sign), repeats))
    assert [found.near_zero(threshold) for threshold in (0.1, 0.2, 0.05)] == [repeats, 2 * repeats, 0]
