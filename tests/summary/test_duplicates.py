"""Duplicate units: what was planted is found whatever the shape, dtype and chunks, and nothing else is."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import chi2
from tests.support.views.drawing import checkpoint_of

from torch2grid_core import measure
from torch2grid_core._summary import duplicates
from torch2grid_core._summary.duplicates import DIMENSIONS, Sketch, _all_signs
from torch2grid_core.measures import Duplicates, DuplicateUnits


def found_in(array, need=None, name="layer.weight"):
    ((_, results),) = measure(checkpoint_of({name: array}), {"found": need or Duplicates()})
    result = results["found"]
    assert isinstance(result, DuplicateUnits)
    return result


def groups_of(array, **options):
    return [group.units for group in found_in(array, Duplicates(**options)).groups]


def rows_of(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def by_force(array, cosine=0.999):
    """Pairs of rows with a greater cosine, in float64."""
    rows = array.reshape(len(array), -1).astype(np.float64)
    with np.errstate(all="ignore"):
        unit = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))
        near = unit @ unit.T > cosine
    return {(i, j) for i, j in itertools.combinations(range(len(rows)), 2) if near[i, j]}


DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.int8]


@given(
    shape=st.sampled_from([(40, 9), (7, 64), (600, 33), (24, 3, 3, 3), (33, 5, 1), (5, 2000), (3, 40_000)]),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
def test_planted_copies_are_found_and_nothing_else(shape, dtype, data):
    values = (rows_of(*shape, dtype=np.float64) * 20).astype(dtype)
    if values.reshape(len(values), -1).shape[1] < (2 if values.dtype.itemsize >= 4 else 8):
        return
    rows = list(range(shape[0]))
    first, second = data.draw(st.permutations(rows))[:2] if len(rows) < 50 else data.draw(st.sampled_from([(3, 555), (599, 0)]))
    values[second] = values[first]
    result = found_in(values)
    assert result.compared
    assert [group.units for group in result.groups] == [tuple(sorted((first, second)))]
    assert result.groups[0].equal == (max(first, second),)
    assert result.groups[0].cosine == 1
    assert result.repeated == 1


@given(width=st.integers(8, 300), noise=st.floats(0, 0.1), seed=st.integers(0, 1000))
def test_near_duplicates_against_every_pair(width, noise, seed):
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((60, width))
    values[30:] = values[generator.integers(0, 30, 30)] * generator.uniform(0.1, 9, (30, 1))
    values[30:] += noise * generator.standard_normal((30, width))
    values = values.astype(np.float32)
    expected = by_force(values)
    clear = by_force(values, 0.9991), by_force(values, 0.9989)
    if clear[0] != clear[1]:
        return  # a pair on the line, where float32 may say either
    result = found_in(values)
    assert {(group.units[0], other) for group in result.groups for other in group.units[1:]} <= expected
    repeats = sorted(other for group in result.groups for other in group.units[1:])
    if width >= 64:  # each unit that is near to an earlier one, once; of small units chance may explain some
        assert repeats == sorted({max(pair) for pair in expected})
        assert result.repeated == len(repeats)
    assert len(set(repeats)) == len(repeats)


def test_a_unit_that_is_near_to_an_earlier_one_but_not_to_its_first_is_counted():
    angles = np.arange(5) * 0.04  # each near to the next one alone: cos 0.04 is above 0.999, cos 0.08 below
    first, second = np.linalg.qr(rows_of(200, 2, dtype=np.float64))[0].T
    values = np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second
    result = found_in(values.astype(np.float32))
    assert [group.units for group in result.groups] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert result.repeated == 4 == len({max(pair) for pair in by_force(values)})


def test_equal_units_are_in_the_group_of_those_that_they_equal():
    values = rows_of(12, 100)
    values[5] = values[2] * 3
    values[[7, 9]] = values[5]
    found = found_in(values).groups
    assert [(group.units, group.equal) for group in found] == [((2, 5), ()), ((5, 7, 9), (7, 9))]


def test_many_copies_of_few_rows_are_few_groups():
    values = rows_of(9, 130)[np.arange(2000) % 9]
    groups = groups_of(values)
    assert groups == [tuple(range(first, 2000, 9)) for first in range(9)]


def test_what_is_not_compared():
    values = np.repeat(rows_of(20, 40), 2, axis=0)
    values[0:2] = 0
    values[2:4, 1] = np.nan
    values[4:6, 0] = np.inf
    assert groups_of(values) == [(row, row + 1) for row in range(6, 40, 2)]
    assert found_in(values, Duplicates(max_units=39)) == DuplicateUnits(40, False)
    for other in (values[:, 0], values[:1], np.float32(3), np.ones((4, 4), np.int64), np.ones((4, 4), bool), np.ones((0, 4))):
        assert not found_in(other).compared
    narrow = rows_of(300, 3)
    assert groups_of(narrow) == []  # nearly parallel by chance, never equal
    narrow[7] = narrow[3]
    assert groups_of(narrow) == [(3, 7)]


def test_strided_and_extreme_tensors():
    values = rows_of(64, 50, dtype=np.float64) * 1e140
    values[9] = values[2] * 1e-180
    assert groups_of(values) == [(2, 9)]
    checkpoint = checkpoint_of({"layer.weight": np.ascontiguousarray(values.T)})
    from dataclasses import replace

    turned = replace(checkpoint["layer.weight"], shape=(64, 50), strides=(1, 64))
    found = dict(measure(checkpoint.with_tensors([turned]), {"found": Duplicates()}))
    assert [group.units for group in found["layer.weight"]["found"].groups] == [(2, 9)]


def test_confirming_in_little_memory_changes_nothing(monkeypatch):
    values = rows_of(300, 100)
    values += 30  # every pair has a cosine above 0.99: all are candidates
    values[200:] = values[:100]
    expected = groups_of(values, cosine=0.99999)
    assert expected == [(row, row + 200) for row in range(100)]
    first, second = np.linalg.qr(rows_of(100, 2, dtype=np.float64))[0].T
    angles = np.random.default_rng(1).permutation(60)[:, None] * 0.03
    chain = (np.cos(angles) * first + np.sin(angles) * second).astype(np.float32)
    chained = sorted(unit for group in groups_of(chain) for unit in group[1:])
    assert chained == sorted({max(pair) for pair in by_force(chain)})
    monkeypatch.setattr(duplicates, "_KEPT_BYTES", 100 * 4 * 17)
    monkeypatch.setattr(duplicates, "_READ_BYTES", 100 * 4 * 13)
    assert groups_of(values, cosine=0.99999) == expected
    assert sorted(unit for group in groups_of(chain) for unit in group[1:]) == chained


@pytest.mark.parametrize("shape", [(11, 257), (3, 40_000), (1000, 8)])
def test_the_sketch_is_the_projection_however_it_is_cut(shape):
    values = rows_of(*shape, dtype=np.float64)
    whole, cut = Sketch(shape), Sketch(shape)
    whole.update(0, values.reshape(-1))
    for start in reversed(range(0, values.size, 777)):
        cut.update(start, values.reshape(-1)[start : start + 777])
    rows, points = whole.points()
    np.testing.assert_array_equal(rows, np.arange(shape[0]))
    np.testing.assert_allclose(cut.points()[1], points, rtol=1e-4, atol=1e-5)
    if shape[1] <= 16_384:
        direct = values @ _all_signs(shape[1]) / np.sqrt((values**2).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(points, direct, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="of a tensor of"):
        whole.update(values.size, np.zeros(1))


def test_the_signs_are_balanced_and_the_reach_is_what_the_docstring_says():
    signs = _all_signs(16_384)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert np.abs(signs.mean(axis=0)).max() < 0.03
    assert np.abs(signs.T @ signs / len(signs) - np.eye(DIMENSIONS)).max() < 0.04
    assert chi2.sf(duplicates._STRETCH, DIMENSIONS) < 1e-7
