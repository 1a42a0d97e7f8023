"""Units' |max| and norms against numpy, however the weights are cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_core.measures import UnitProfile


def check(values, profile):
    full = values.astype(np.float64)
    rows = full.reshape(values.shape[0], int(np.prod(values.shape[1:]))) if values.ndim else full.reshape(1, 1)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(profile.output_absmax, np.abs(rows).max(axis=1, initial=0))
        np.testing.assert_allclose(profile.output_norm, np.sqrt((rows**2).sum(axis=1)), rtol=1e-12)
        if values.ndim < 2:
            assert profile.input_absmax is None
            assert profile.input_norm is None
            return
        columns = np.moveaxis(full, 1, 0).reshape(values.shape[1], int(np.prod(values.shape[:1] + values.shape[2:])))
        np.testing.assert_array_equal(profile.input_absmax, np.abs(columns).max(axis=1, initial=0))
        np.testing.assert_allclose(profile.input_norm, np.sqrt((columns**2).sum(axis=1)), rtol=1e-12)


SHAPES = st.one_of(
    st.lists(st.integers(0, 9), max_size=5).map(tuple),
    st.sampled_from([(5, 300), (300, 5), (3, 2, 100), (40, 1, 3, 3), (1, 50), (50, 1), (7, 3, 65)]),
)


@given(shape=SHAPES, data=st.data())
def test_any_shape_in_any_chunks(shape, data):
    size = int(np.prod(shape))
    values = np.random.default_rng(0).standard_normal(size).astype(np.float32).reshape(shape)
    if size and data.draw(st.booleans()):
        values.reshape(-1)[data.draw(st.integers(0, size - 1))] = np.nan
    cuts = sorted({0, size, *data.draw(st.lists(st.integers(0, size), max_size=6))})
    parts = list(itertools.pairwise(cuts))
    straight, left, right = UnitProfile(shape), UnitProfile(shape), UnitProfile(shape)
    for number, (start, stop) in enumerate(reversed(parts)):
        chunk = values.reshape(-1)[start:stop]
        straight.update(start, chunk)
        (left if number % 2 else right).update(start, chunk)
    check(values, straight)
    check(values, left.merge(right))


@pytest.mark.parametrize("shape", [(3, 100_003), (100_003, 3), (64, 33, 7, 7), (200_000,), (2, 3, 40_001)])
def test_tensors_of_many_pieces(shape):
    values = np.random.default_rng(1).standard_normal(int(np.prod(shape))).reshape(shape)
    profile = UnitProfile(shape)
    for start in range(0, values.size, 77_777):
        profile.update(start, values.reshape(-1)[start : start + 77_777])
    check(values, profile)


def test_infinite_and_extreme_weights():
    values = np.array([[np.inf, 1.0, 0.0], [1e200, 1e-200, -0.0], [-np.inf, np.nan, 2.0]])
    profile = UnitProfile(values.shape)
    profile.update(0, values.reshape(-1))
    np.testing.assert_array_equal(profile.output_absmax, [np.inf, 1e200, np.nan])
    np.testing.assert_array_equal(profile.input_absmax, [np.inf, np.nan, 2.0])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="of a tensor of 6"):
        UnitProfile((2, 3)).update(4, np.zeros(3))
    with pytest.raises(ValueError, match="shapes"):
        UnitProfile((2, 3)).merge(UnitProfile((3, 2)))
