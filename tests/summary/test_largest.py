"""The largest weights with their places: those that sorting everything gives, however the weights are cut and merged."""

from __future__ import annotations

import pickle
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.views.drawing import checkpoint_of

from torch2grid_core import measure
from torch2grid_core.measures import Largest, LargestWeights, NotFiniteCount, workers


def reference(values, count):
    """By |w| from the largest, equal ones by place."""
    places = [place for place in range(len(values)) if np.isfinite(values[place])]
    places = sorted(places, key=lambda place: (-abs(float(values[place])), place))[:count]
    lost = [place for place in range(len(values)) if not np.isfinite(values[place])]
    return places, lost


def assert_is(found, values, count):
    places, lost = reference(values, count)
    assert found.indices.tolist() == places
    np.testing.assert_array_equal(found.values, np.asarray(values, np.float64)[places])
    assert found.lost_indices.tolist() == lost[:count]
    np.testing.assert_array_equal(found.lost_values, np.asarray(values, np.float64)[lost[:count]])
    assert found.not_finite == NotFiniteCount(int(np.isnan(values).sum()), int(np.isinf(values).sum()))


numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 1e-40, 3e38, np.nan, np.inf, -np.inf])


@given(
    st.lists(numbers | st.floats(width=32), max_size=60),
    st.integers(1, 12),
    st.lists(st.integers(0, 60), max_size=4),
    st.randoms(use_true_random=False),
)
def test_any_cut_and_any_order_of_merging(listed, count, cuts, random):
    values = np.array(listed, np.float32)
    bounds = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    parts = []
    for start, stop in pairwise(bounds):
        part = LargestWeights(count)
        middle = (start + stop) // 2
        part.update(start, values[start:middle])
        part.update(middle, values[middle:stop])
        parts.append(pickle.loads(pickle.dumps(part)))
    random.shuffle(parts)
    whole = LargestWeights(count)
    for part in parts:
        whole.merge(part)
    assert_is(whole, values, count)
    assert_is(whole.first(max(1, count - 2)), values, max(1, count - 2))


def test_many_pieces_and_many_ties():
    values = np.random.default_rng(0).integers(-3, 4, 700_000).astype(np.float32)
    values[[5, 400_000, 699_999]] = [np.nan, np.inf, -9]
    found = LargestWeights(7)
    found.update(0, values)
    assert_is(found, values, 7)


@pytest.mark.parametrize("count", [1, 7, 40, 2000])
@pytest.mark.parametrize("kind", ["normal", "ties", "hardly any finite", "zeros", "short"])
def test_the_first_piece_of_a_tensor(kind, count):
    """Most of its weights are left out by the largest of each row of them: none of those wanted, and no NaN comes in."""
    values = np.random.default_rng(3).standard_normal(1100 if kind == "short" else 30_003).astype(np.float32)
    if kind == "ties":
        values = np.round(values)
    elif kind == "hardly any finite":
        values[np.arange(len(values)) % 9_000 > 2] = np.nan
        values[100:300] = np.inf
    elif kind == "zeros":
        values[:] = 0
    found = LargestWeights(count)
    found.update(0, values)
    assert_is(found, values, count)


def test_of_every_dtype_by_the_engine():
    whole = np.arange(-20, 20).reshape(4, 10)
    arrays = {
        "bf16": whole.astype(ml_dtypes.bfloat16),
        "f16": whole.astype(np.float16).T,  # not contiguous: indices are those of C order
        "f64": whole * 1e300,
        "i8": whole.astype(np.int8),
        "complex": whole + 1j * whole,
        "empty": np.empty((0, 3)),
        "scalar": np.float32(3),
    }
    checkpoint = checkpoint_of(arrays)
    found = {name: results["largest"] for name, results in measure(checkpoint, {"largest": Largest(3)})}
    for name, array in arrays.items():
        flat = np.asarray(array).reshape(-1)
        values = np.abs(flat) if np.iscomplexobj(flat) else flat.astype(np.float64)
        assert_is(found[name], values, 3)


def test_digits_do_not_depend_on_workers_and_needs_share_a_pass():
    rng = np.random.default_rng(1)
    arrays = {f"w{i}": rng.choice([-2.0, 1.0, 2.0, np.nan], size=(64, 300), p=[0.1, 0.7, 0.1, 0.1]) for i in range(6)}
    checkpoint = checkpoint_of(arrays)
    needs = {"few": Largest(2), "many": Largest(9)}
    here = dict(measure(checkpoint, needs))
    with workers(checkpoint, 3, 100) as executor:
        there = dict(measure(checkpoint, needs, executor=executor))
    for name, array in arrays.items():
        for results in (here[name], there[name]):
            assert_is(results["few"], array.reshape(-1), 2)
            assert_is(results["many"], array.reshape(-1), 9)


def test_counts_below_one_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Largest(0)


def test_it_shows_itself_in_a_line():
    found = LargestWeights(2)
    assert repr(found) == "<LargestWeights: 0, none is finite>"
    found.update(0, np.array([1.0, np.nan, -3.0]))
    assert repr(found) == "<LargestWeights: 2, -3 at 2; 1 NaN>"
