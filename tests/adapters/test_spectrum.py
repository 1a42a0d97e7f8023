"""Singular values of a change from the core of its pair: those that numpy finds of the dense matrix."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_builtin._adapters.product import Product
from torch2grid_builtin._adapters.spectrum import ChangeFigures, norm_of, singular_values
from torch2grid_core import LazyTensor
from torch2grid_core.sources import BytesStorage


def held(array: np.ndarray[Any, Any]) -> LazyTensor:
    return LazyTensor("x", array.shape, array.dtype, BytesStorage(np.ascontiguousarray(array).view(np.uint8).reshape(-1)))


def product(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any], scale: float) -> Product:
    return Product(held(left), held(right), scale)


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 20),
    st.floats(-64, 64, allow_subnormal=False),
    st.sampled_from([np.float32, np.float16, np.float64, ml_dtypes.bfloat16]),
    st.sampled_from(["normal", "few", "decaying", "zero", "equal"]),
    st.integers(0, 99),
)
def test_they_are_those_of_the_dense_matrix(
    rows: int, columns: int, rank: int, scale: float, dtype: Any, kind: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    left, right = random.normal(0, 1, (rows, rank)), random.normal(0, 1, (rank, columns))
    if kind == "few":
        left[:, 1:] = left[:, :1]
    elif kind == "decaying":
        right *= (10.0 ** -np.arange(rank))[:, None]
    elif kind == "zero":
        left[:] = 0
    elif kind == "equal":
        right[:] = 1
    left, right = left.astype(dtype), right.astype(dtype)
    dense = scale * (left.astype(np.float64) @ right.astype(np.float64))
    wanted = np.linalg.svd(dense, compute_uv=False)
    values, lost = singular_values(product(left, right, scale))
    assert values is not None
    assert not lost
    assert len(values) == min(rows, columns, rank)
    within = 1e-6 * max(float(wanted[0]), 1e-30)
    np.testing.assert_allclose(values, wanted[: len(values)], rtol=0, atol=within)
    assert np.all(wanted[len(values) :] <= within)
    assert np.sqrt((values**2).sum()) == pytest.approx(np.linalg.norm(dense), rel=1e-9, abs=1e-30)


@pytest.mark.parametrize("size", [1e-30, 1e-18, 1e18])
def test_sizes_far_from_1_are_kept(size: float) -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(0, size, (30, 4)).astype(np.float32), random.normal(0, size, (4, 20)).astype(np.float32)
    values, _ = singular_values(product(left, right, 2.0))
    wanted = 2 * np.linalg.svd((left.astype(np.float64) / size) @ (right.astype(np.float64) / size), compute_uv=False)[:4]
    assert values is not None
    np.testing.assert_allclose(values / size / size, wanted, rtol=1e-9)


def test_tall_factors_are_taken_in_bands() -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(0, 1, (300_000, 5)).astype(np.float32), random.normal(0, 1, (5, 40)).astype(np.float32)
    values, _ = singular_values(product(left, right, 0.5))
    gram = 0.25 * right.T.astype(np.float64) @ (left.T.astype(np.float64) @ left) @ right
    assert values is not None
    np.testing.assert_allclose(values**2, np.linalg.eigvalsh(gram)[::-1][:5], rtol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_not_finite_has_no_singular_values_and_is_counted(bad: float, side: int) -> None:
    random = np.random.default_rng(0)
    factors = [random.normal(0, 1, (30, 4)).astype(np.float32), random.normal(0, 1, (4, 20)).astype(np.float32)]
    factors[side][2, 3] = bad
    values, lost = singular_values(product(*factors, 1.0))
    assert values is None
    assert (lost.nan, lost.inf) == ((1, 0) if np.isnan(bad) else (0, 1))


def test_figures_of_spikes_and_of_ranks_that_are_not_used() -> None:
    figures = ChangeFigures(np.array([10.0, 1.0, 0.05, 0.0]), norm=10.05, base=100.0)
    assert figures.used(0.01) == 2
    assert figures.top == pytest.approx(100 / 101.0025)
    assert figures.relative == pytest.approx(0.1005)
    nothing = ChangeFigures(np.zeros(4), norm=0.0, base=0.0)
    assert (nothing.used(0.01), nothing.top) == (0, None)


def test_a_norm_is_that_of_all_numbers() -> None:
    array = np.random.default_rng(0).normal(0, 1, (300, 1000)).astype(np.float32)
    assert norm_of(held(array)) == pytest.approx(np.linalg.norm(array.astype(np.float64)), rel=1e-12)
