"""Every figure of a distribution against numpy in float64, on ordinary and on adversarial numbers."""

from __future__ import annotations

import pickle
from functools import reduce

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.summary.reference import EXACT, FLOAT8, LEVELS, THRESHOLDS, check, normal, of, wide

from torch2grid_core.measures import Distribution


@pytest.mark.parametrize("chunk", [None, 777, 20_000])
@pytest.mark.parametrize("dtype", [*EXACT, np.float16, np.float32, np.float64, np.int16, np.int32, np.int64, np.uint32])
def test_every_dtype_in_any_chunks(dtype, chunk):
    exact = dtype in EXACT or np.dtype(dtype).kind in "iu"
    check(normal(dtype), of(normal(dtype), chunk=chunk), exact=exact)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.int16, np.uint16])
def test_every_pattern_of_sixteen_bits(dtype):
    everything = np.arange(65536, dtype=np.uint16).view(dtype)
    check(everything, exact=dtype is ml_dtypes.bfloat16)
    check(np.tile(everything, 3), exact=dtype is ml_dtypes.bfloat16)


@pytest.mark.parametrize("dtype", [*FLOAT8, ml_dtypes.float8_e4m3, ml_dtypes.float8_e3m4, np.int8, np.uint8])
@pytest.mark.parametrize("repeats", [1, 33])
def test_every_pattern_of_eight_bits(dtype, repeats):
    everything = np.arange(256, dtype=np.uint8).view(dtype)
    check(np.append(np.tile(everything, repeats), everything[:1]), exact=True)


def test_float4():
    check(np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn), exact=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_narrow_distribution_far_from_zero(dtype):
    numbers = (1e4 + 1e-3 * np.random.default_rng(1).standard_normal(300_000)).astype(dtype)
    found = of(numbers, chunk=70_001)
    assert found.std == pytest.approx(float(np.std(numbers.astype(np.longdouble))), rel=1e-9)
    check(numbers, found)


def test_sorted_numbers_have_no_shift_that_fits_all():
    check(np.sort(normal(np.float32, 200_000) + np.float32(3)))
    check(np.concatenate([np.full(100_000, 5, np.float32), np.linspace(-1e-3, 1e-3, 100_000, dtype=np.float32)]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16, np.float16])
def test_subnormal_numbers(dtype):
    least = float(ml_dtypes.finfo(dtype).smallest_subnormal)
    numbers = (np.random.default_rng(2).integers(-9, 10, 20_000) * least).astype(dtype)
    assert (numbers != 0).any()
    check(numbers, of(numbers, (0.0, 4 * least)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_one_outlier_among_millions(dtype):
    numbers = normal(dtype, 2_000_000)
    numbers[1_234_567] = 1e30
    found = of(numbers, chunk=1 << 18)
    assert found.max == float(np.asarray(1e30, dtype))
    assert found.quantile(0.999999) < 1
    check(numbers, found, exact=dtype is ml_dtypes.bfloat16)


@pytest.mark.parametrize(
    "dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float16, np.float32, np.float64, np.complex64]
)
@pytest.mark.parametrize("count", [1, 3, 10_001])
def test_all_nan(dtype, count):
    numbers = np.full(count, np.nan).astype(dtype)
    found = of(numbers)
    assert (found.count, found.nan, found.finite) == (count, count, 0)
    check(numbers, found)


@pytest.mark.parametrize("dtype", [*EXACT, np.float32, np.float64, np.int64, np.complex64])
def test_nothing(dtype):
    check(np.empty(0, dtype))
    check(np.empty((3, 0, 2), dtype))
    check(np.empty(0), Distribution())


def test_nan_and_inf_among_numbers():
    for dtype in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16):
        for count in (100, 30_000):
            numbers = normal(dtype, count)
            numbers[[3, 50]] = np.nan
            numbers[7], numbers[[8, 99]] = np.inf, -np.inf
            check(numbers, exact=dtype is ml_dtypes.bfloat16)


@pytest.mark.parametrize("scale", [1e300, 1e308, 1e-60, 1e-100, 1e-300])
def test_float64_beyond_float32(scale):
    numbers = np.random.default_rng(3).uniform(-1, 1, 50_000) * scale
    found = of(numbers, (0.0, 0.5 * scale), chunk=9_999)
    assert found.count == found.finite == 50_000
    assert (found.min, found.max) == (numbers.min(), numbers.max())
    assert found.near_zero(0.5 * scale) == (np.abs(numbers) < 0.5 * scale).sum()
    reduced = numbers.astype(np.longdouble) / np.longdouble(scale)
    assert found.mean / scale == pytest.approx(float(reduced.mean()), rel=1e-9)
    assert found.std / scale == pytest.approx(float(reduced.std()), rel=1e-9)
    assert found.rms / scale == pytest.approx(float(np.sqrt((reduced**2).mean())), rel=1e-9)
    centred = reduced - reduced.mean()
    assert found.kurtosis == pytest.approx(float((centred**4).mean() / (centred**2).mean() ** 2 - 3), rel=1e-6)
    assert np.isfinite(found.quantiles(LEVELS)).all()
    counts, below, above = found.histogram(np.linspace(-1, 1, 11) * scale)
    assert counts.sum() + below + above == 50_000


def test_tiny_and_huge_together():
    numbers = np.concatenate([np.zeros(10), np.full(10, 1e-100), np.full(10, 3.0), np.full(10, 1e200), [-1e300]])
    found = reduce(Distribution.merge, [of(part, ()) for part in np.split(numbers, [10, 20, 30, 40])], Distribution())
    assert found.mean == pytest.approx((1e201 - 1e300) / 41, rel=1e-12)
    assert found.absmax == 1e300
    assert found.l2 == pytest.approx(1e300, rel=1e-12)
    assert found.quantile(0.6) == 3.0
    assert found.quantile(0.4) == 1e-100
    assert found.quantile(0) == -1e300


def test_large_integers():
    numbers = np.random.default_rng(4).integers(-(2**63), 2**63 - 1, 20_000)
    numbers[:4] = -(2**63), 2**63 - 1, 0, 300
    found = of(numbers, (0.5, 300.5, 2.0**62, 2.0**63, 1e30))
    assert found.zeros == 1
    assert found.near_zero(300.5) == 2
    assert found.near_zero(2.0**62) == sum(abs(int(number)) < 2**62 for number in numbers)
    assert found.near_zero(2.0**63) == 19_999
    assert found.near_zero(1e30) == 20_000
    check(numbers, of(numbers, ()))
    check(np.array([2**64 - 1, 0, 5], np.uint64), exact=False)


def test_whole_numbers_up_to_256_are_exact():
    check(np.arange(-256, 257), exact=True)
    found = of(np.append(np.repeat(np.arange(250, 257), 3), 1000))
    np.testing.assert_array_equal(found.quantiles([0.1, 0.5, 0.9]), [250, 253, 256])


def test_complex_numbers_by_magnitude():
    generator = np.random.default_rng(5)
    numbers = generator.standard_normal(20_000) + 1j * generator.standard_normal(20_000)
    check(numbers.astype(np.complex128))
    numbers[5] = complex(np.nan, np.inf)
    numbers[6] = complex(np.inf, 1)
    found = of(numbers)
    assert (found.nan, found.posinf) == (1, 1)


def test_thresholds_are_compared_without_rounding():
    just = np.float32(1e-6)  # a little less than 1e-6
    assert float(just) < 1e-6
    numbers = np.array([just, -just, np.nextafter(just, np.float32(1)), 0], np.float32)
    assert of(numbers).near_zero(1e-6) == 3
    assert of(np.tile(numbers, 5000)).near_zero(1e-6) == 15_000
    assert of(np.array([3, -3, 4]), (3.5, 3.0)).near_zero(3.5) == 2
    with pytest.raises(KeyError):
        of(numbers).near_zero(1e-5)
    with pytest.raises(ValueError, match="thresholds"):
        Distribution((-1.0,))


def test_what_bfloat16_holds_is_exact_in_any_dtype():
    numbers = normal(ml_dtypes.bfloat16)
    assert of(numbers.astype(np.float32)).exact
    check(numbers.astype(np.float32), exact=True)
    check(np.ones(5000, np.float32), exact=True)
    check(np.full(5000, 1 / 3, np.float32), exact=True)
    assert not of(np.float32([1 / 3, 1])).exact
    assert not of(np.array([1 + 1e-12, 1])).exact


def test_byte_order_strides_and_shape_do_not_matter():
    numbers = normal(np.float32, 6000).reshape(60, 100)
    check(numbers.astype(">f4"))
    check(numbers[::2, 1::3])
    check(numbers.T)
    check(np.float32(3.25), exact=True)


@pytest.mark.parametrize("wrong", [np.array(["a"]), np.array([object()]), np.zeros(2, "V4"), np.zeros(2, [("a", "f4")])])
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(TypeError, match="dtype"):
        Distribution().update(wrong)


BRIEF = ("count", "finite", "zeros", "nan", "posinf", "neginf", "min", "max", "absmax", "mean", "std", "l2", "rms")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, *EXACT, np.int32, np.complex64])
def test_a_brief_distribution_has_the_same_figures_and_few_bytes(dtype):
    values = (normal(np.float64, 300_000) * 40).astype(dtype)
    values[:1000] = 0
    if np.dtype(dtype).kind not in "iub":
        with np.errstate(invalid="ignore"):
            values[[5, 70_000]], values[9] = np.array([np.nan, np.inf]).astype(dtype)
    whole, brief = of(values, chunk=77_777), Distribution(THRESHOLDS, brief=True)
    for start in range(0, len(values), 99_999):
        brief.update(values[start : start + 99_999])
    for figure in BRIEF:
        np.testing.assert_allclose(getattr(brief, figure), getattr(whole, figure), rtol=1e-11, err_msg=figure)
    assert [brief.near_zero(each) for each in THRESHOLDS] == [whole.near_zero(each) for each in THRESHOLDS]
    assert len(pickle.dumps(brief)) < 1500
    for figure in ("l1", "skewness", "kurtosis", "exact"):
        with pytest.raises(ValueError, match="brief"):
            getattr(brief, figure)
    with pytest.raises(ValueError, match="brief"):
        brief.histogram([0, 1])


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.int8])
def test_histograms_of_exact_numbers_are_numpys(dtype):
    numbers = normal(dtype, 30_000)
    edges = np.linspace(float(wide(numbers).min()) * 0.8, float(wide(numbers).max()) * 0.9, 38)
    edges = np.unique(np.append(edges, 0))
    counts, below, above = of(numbers).histogram(edges)
    np.testing.assert_array_equal(counts, np.histogram(wide(numbers), edges)[0])
    assert (below, above) == ((wide(numbers) < edges[0]).sum(), (wide(numbers) > edges[-1]).sum())


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, np.int64])
def test_histograms_of_few_numbers_are_numpys(dtype):
    numbers = np.append(np.random.default_rng(0).normal(0, 20, 500), np.round(np.random.default_rng(1).normal(0, 4, 400)))
    if dtype == np.float64:
        numbers = np.append(numbers, [1e200, -1e200, 3e39])
    numbers = numbers.astype(dtype)
    for edges in (np.arange(-9.0, 10), np.linspace(-11, 13, 30), np.linspace(0, max(float(wide(numbers).max()), 30), 20)):
        counts, below, above = of(numbers).histogram(edges)
        np.testing.assert_array_equal(counts, np.histogram(wide(numbers), edges)[0])
        assert (below, above) == ((wide(numbers) < edges[0]).sum(), (wide(numbers) > edges[-1]).sum())


def test_histograms_of_float32():
    numbers = np.append(normal(np.float32, 100_000), np.zeros(5000, np.float32))
    aligned = (np.arange(-40, 41) + 0.5) / 256  # bfloat16 numbers: they cut no bucket
    counts, below, above = of(numbers).histogram(aligned)
    np.testing.assert_array_equal(counts, np.histogram(numbers, aligned)[0])
    assert (below, above) == ((numbers < aligned[0]).sum(), (numbers > aligned[-1]).sum())
    edges = np.linspace(-0.2, 0.2, 101)
    counts, below, above = of(numbers).histogram(edges)
    expected = np.histogram(numbers, edges)[0]
    assert counts.sum() + below + above == len(numbers)
    assert counts[50] == pytest.approx(expected[50], abs=20)  # the zeros are in the bar that begins at 0
    assert np.abs(counts - expected).sum() < 0.03 * len(numbers)


def test_histogram_edges_are_checked():
    found = of(normal(np.float32, 100))
    for edges in ([1.0], [1.0, 1.0], [2.0, 1.0], [[0.0, 1.0]]):
        with pytest.raises(ValueError, match="edges"):
            found.histogram(np.array(edges))
    with pytest.raises(ValueError, match="levels"):
        found.quantiles([1.5])
    counts, below, above = of(np.array([1.0, 2.0, 3.0])).histogram(np.array([1.0, 2.0, 3.0]))
    assert (counts.tolist(), below, above) == ([1, 2], 0, 0)


@given(
    values=hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e4, 1e4, width=32)),
    repeats=st.sampled_from([1, 1025]),
    level=st.floats(0, 1),
)
def test_any_quantile_is_within_its_error(values, repeats, level):
    values = np.repeat(values, repeats)
    rank = np.clip(np.ceil(level * len(values)), 1, len(values))  # numpy rounds n·q − 1: take the rank itself
    expected = np.sort(values.astype(np.float64))[int(rank) - 1]
    found = of(values).quantile(level)
    if repeats == 1:
        assert found == expected
    else:
        assert abs(found - expected) <= max(0.004 * abs(expected), 2.0**-133)


def test_no_more_digits_of_a_quantile_are_printed_than_are_known():
    many = np.random.default_rng(0).standard_normal(2000).astype(np.float32) * np.float32(0.02)
    assert all(len(f"{each!r}".lstrip("-0.")) <= 5 for each in of(many).quantiles(np.linspace(0.01, 0.99, 99)).tolist())
    few = np.sort(many[:1024].astype(np.float64))
    assert of(many[:1024]).quantile(0.5) == few[511]


def test_a_counter_is_given_back_clean():
    first = Distribution()
    first.update(normal(np.float32, 20_000))
    assert first.settle() is first
    second = of(normal(np.float16, 20_000, seed=8))
    check(normal(np.float16, 20_000, seed=8), second)
    first.update(normal(np.float32, 20_000, seed=9))
    check(np.concatenate([normal(np.float32, 20_000), normal(np.float32, 20_000, seed=9)]), first)


@pytest.mark.parametrize(("mean", "std"), [(1e4, 1e-3), (1.0, 1e-6), (-3.0, 2.9), (0.0, 1e-3), (0.5, 0.5), (1e-30, 1e-35)])
def test_a_brief_std_is_as_exact_whatever_the_mean(mean, std):
    values = mean + std * normal(np.float64, 300_001)
    brief = Distribution(brief=True)
    for start in range(0, len(values), 100_000):
        brief.update(values[start : start + 100_000])
    assert brief.std == pytest.approx(values.astype(np.longdouble).std().astype(float), rel=1e-9)
    assert brief.mean == pytest.approx(values.mean(), abs=1e-12 * np.abs(values).mean())
