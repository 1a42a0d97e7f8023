"""Distributions of arrays, and every figure of one against numpy in float64."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from torch2grid_core.measures import Distribution

LEVELS = (0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999, 1)
FLOAT8 = [
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e4m3fnuz,
    ml_dtypes.float8_e5m2,
    ml_dtypes.float8_e5m2fnuz,
    ml_dtypes.float8_e8m0fnu,
]
EXACT = [ml_dtypes.bfloat16, *FLOAT8, np.int8, np.uint8, np.bool_]
THRESHOLDS = (0.0, 1e-6, 0.015625, 0.1)


def of(array, thresholds=THRESHOLDS, chunk=None):
    distribution = Distribution(thresholds)
    flat = np.asarray(array).reshape(-1)
    for start in range(0, len(flat), chunk or max(len(flat), 1)):
        distribution.update(flat[start : start + (chunk or len(flat))])
    return distribution


def wide(array):
    """The stored numbers in float64; complex ones by magnitude."""
    flat = np.asarray(array).reshape(-1)
    with np.errstate(all="ignore"):
        return np.abs(flat.astype(np.complex128)) if flat.dtype.kind == "c" else flat.astype(np.float64)


def check(array, distribution=None, *, exact=False, rel=1e-9):
    """All figures of *array* by *distribution* against float64 (extended precision for the reference's own sums)."""
    found = of(array) if distribution is None else distribution
    values = wide(array)
    finite = values[np.isfinite(values)]
    assert found.count == len(values)
    assert found.finite == len(finite)
    assert (found.nan, found.posinf, found.neginf) == (
        np.isnan(values).sum(),
        np.isposinf(values).sum(),
        np.isneginf(values).sum(),
    )
    assert found.zeros == (finite == 0).sum()
    for threshold in found.thresholds:
        assert found.near_zero(threshold) == (np.abs(finite) < threshold).sum()
    if not len(finite):
        for figure in ("mean", "std", "min", "max", "absmax", "rms", "skewness", "kurtosis"):
            assert math.isnan(getattr(found, figure))
        assert (found.l1, found.l2) == (0, 0)
        assert np.isnan(found.quantiles(LEVELS)).all()
        return
    assert (found.min, found.max, found.absmax) == (finite.min(), finite.max(), np.abs(finite).max())
    long = finite.astype(np.longdouble)
    mean = long.mean()
    distance = long - mean
    size = float(np.abs(long).mean())
    assert abs(found.mean - float(mean)) <= 1e-12 * size
    if np.asarray(array).dtype.kind in "biu":
        assert found.mean == sum(map(int, np.asarray(array).reshape(-1))) / len(values)
    assert found.l1 == pytest.approx(float(np.abs(long).sum()), rel=1e-12)
    assert found.l2 == pytest.approx(float(np.sqrt((long * long).sum())), rel=1e-12)
    assert found.rms == pytest.approx(float(np.sqrt((long * long).mean())), rel=1e-12)
    variance = (distance**2).mean()
    if finite.min() == finite.max():
        assert found.std == 0
        assert math.isnan(found.skewness)
        assert math.isnan(found.kurtosis)
    else:
        assert found.std == pytest.approx(float(np.sqrt(variance)), rel=rel)
        assert found.skewness == pytest.approx(float((distance**3).mean() / variance ** np.longdouble(1.5)), rel=1e-6, abs=1e-6)
        assert found.kurtosis == pytest.approx(float((distance**4).mean() / variance**2 - 3), rel=1e-6, abs=1e-6)
    expected = np.quantile(finite, LEVELS, method="inverted_cdf")
    if exact or len(finite) <= 1024:
        np.testing.assert_array_equal(found.quantiles(LEVELS), expected)
    else:
        assert (np.abs(found.quantiles(LEVELS) - expected) <= np.maximum(0.004 * np.abs(expected), 2.0**-133)).all()


def normal(dtype, count=50_000, scale=0.05, seed=0):
    numbers = np.random.default_rng(seed).standard_normal(count) * scale
    dtype = np.dtype(dtype)
    if dtype.kind in "iub":
        numbers = np.clip(np.rint(numbers * 1000), -128 if dtype.kind == "i" else 0, 127)
    return np.abs(numbers).astype(dtype) if dtype == ml_dtypes.float8_e8m0fnu else numbers.astype(dtype)
