"""Distributions merged, pickled and read between updates are what one over all weights is."""

from __future__ import annotations

import copy
import pickle
from functools import reduce

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.summary.reference import LEVELS, THRESHOLDS, check, normal, of, wide

from torch2grid_core.measures import Distribution


def same(left, right):
    assert left.count == right.count
    np.testing.assert_array_equal(left.quantiles(LEVELS), right.quantiles(LEVELS))
    edges = np.linspace(-1, 1, 33)
    assert [np.asarray(each).tolist() for each in left.histogram(edges)] == [
        np.asarray(each).tolist() for each in right.histogram(edges)
    ]
    for figure in ("zeros", "nan", "posinf", "neginf", "finite"):
        assert getattr(left, figure) == getattr(right, figure)
    assert [left.near_zero(t) for t in left.thresholds] == [right.near_zero(t) for t in right.thresholds]
    for figure in ("min", "max"):
        np.testing.assert_equal(getattr(left, figure), getattr(right, figure))
    for figure in ("mean", "std", "l1", "l2"):
        assert getattr(left, figure) == pytest.approx(
            getattr(right, figure), rel=1e-9, abs=1e-12 * (right.absmax or 1), nan_ok=True
        )


DTYPES = st.sampled_from(
    [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, np.int16, np.int64, np.bool_]
)


@given(
    parts=st.lists(st.tuples(DTYPES, hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e4, 1e4))), max_size=7),
    data=st.data(),
)
def test_merging_in_any_grouping(parts, data):
    arrays = [values.astype(dtype) for dtype, values in parts]
    straight = Distribution(THRESHOLDS)
    for array in arrays:
        straight.update(array)
    piles = [of(array) for array in arrays] or [Distribution(THRESHOLDS)]
    while len(piles) > 1:
        left = piles.pop(data.draw(st.integers(0, len(piles) - 1)))
        right = piles.pop(data.draw(st.integers(0, len(piles) - 1)))
        piles.append(left.merge(pickle.loads(pickle.dumps(right))))
    same(piles[0], straight)


@given(
    dtype=st.sampled_from([np.int64, np.uint64, np.int32, np.uint32, np.int16, np.uint8, np.bool_]),
    brief=st.booleans(),
    chunk=st.integers(1, 50),
    data=st.data(),
)
def test_the_mean_of_integers_is_exact(dtype, brief, chunk, data):
    """However they cancel, and in whatever parts they come."""
    limits = np.iinfo(dtype) if dtype is not np.bool_ else None
    element = (
        st.booleans()
        if limits is None
        else st.sampled_from([limits.min, limits.max, 0, 1, 3]) | st.integers(limits.min, limits.max)
    )
    numbers = data.draw(st.lists(element, min_size=1, max_size=120))
    whole = Distribution(brief=brief)
    for start in range(0, len(numbers), chunk):
        part = Distribution(brief=brief)
        part.update(np.array(numbers[start : start + chunk], dtype=dtype))
        whole.merge(pickle.loads(pickle.dumps(part)))
    assert whole.mean == sum(map(int, numbers)) / len(numbers)


def test_the_mean_of_integers_that_cancel():
    assert of(np.array([2**62, -(2**62), 3], dtype=np.int64)).mean == 1.0
    many = np.resize(np.array([2**62, -(2**62), 3], dtype=np.int64), 3 * 400_000)
    assert of(many).mean == 1.0


def test_merging_large_parts_of_mixed_dtypes():
    parts = [normal(np.float32, 30_000, seed=1), normal(ml_dtypes.bfloat16, 30_001, seed=2), normal(np.float16, 29_999, seed=3)]
    straight = Distribution(THRESHOLDS)
    for part in parts:
        straight.update(part)
    forward = reduce(Distribution.merge, [of(part) for part in parts])
    backward = reduce(Distribution.merge, [of(part) for part in reversed(parts)])
    same(forward, straight)
    same(backward, straight)
    check(np.concatenate([wide(part) for part in parts]), straight)


def test_merging_keeps_what_both_have():
    few, many = of(normal(np.float32, 500), (0.1, 0.5)), of(normal(np.float32, 700, seed=1), (0.5, 0.7))
    expected = few.near_zero(0.5) + many.near_zero(0.5)
    few.merge(many)
    assert few.thresholds == (0.5,)
    assert few.near_zero(0.5) == expected
    assert few.merge(Distribution((0.5,), brief=True)).count == 1200
    with pytest.raises(ValueError, match="brief"):
        few.quantile(0.5)


def test_merging_leaves_the_other_as_it_was():
    other = of(normal(np.float32, 20_000))
    before = copy.copy(pickle.loads(pickle.dumps(other)))
    of(normal(np.float32, 20_000, seed=9)).merge(other)
    same(other, before)


def test_a_pickle_is_small():
    assert len(pickle.dumps(of(normal(np.float32, 1_000_000)))) < 50_000
    assert len(pickle.dumps(of(normal(ml_dtypes.bfloat16, 1_000_000)))) < 50_000


def test_reading_between_updates_changes_nothing():
    numbers = normal(np.float16, 60_000)
    found = Distribution(THRESHOLDS)
    for part in np.array_split(numbers, 5):
        found.update(part)
        assert found.quantile(0.5) == pytest.approx(0, abs=0.01)
    same(found, of(numbers))
