"""What chance makes of small units: the stated rate of false alarms, measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betainc
from scipy.stats import binom
from tests.summary.test_duplicates import found_in

from torch2grid_core._summary.duplicates import FALSE_ALARM, chance_cosine, chance_equal, dimensions

GENERATOR = np.random.default_rng(5)
BEGIN = GENERATOR.bit_generator.state


@pytest.fixture(autouse=True)
def same_numbers_in_each_test():
    GENERATOR.bit_generator.state = BEGIN


def _normal(count, width):
    return GENERATOR.standard_normal((count, width))


def _blurs(count, width):
    side = int(width**0.5)
    row, column = np.mgrid[:side, :side] - (side - 1) / 2
    centre, spread = GENERATOR.normal(0, 0.5, (2, count, 1, 1)), GENERATOR.uniform(0.7, 2, (count, 1, 1))
    shapes = np.exp(-((row - centre[0]) ** 2 + (column - centre[1]) ** 2) / 2 / spread**2)
    return (GENERATOR.choice([-1, 1], (count, 1, 1)) * shapes + 0.05 * GENERATOR.standard_normal(shapes.shape)).reshape(
        count, -1
    )


def _deltas(count, width):
    values = 0.05 * _normal(count, width)
    values[:, width // 2] += GENERATOR.standard_normal(count)
    return values


# Where no direction is preferred, and where few directions matter, or all units have one shape in common.
KINDS = {
    "normal": _normal,
    "decaying": lambda count, width: _normal(count, width) * np.arange(1.0, width + 1) ** -2,
    "of low rank": lambda count, width: _normal(count, 3) @ _normal(3, width) + 0.02 * _normal(count, width),
    "around one shape": lambda count, width: 1 + 0.05 * _normal(count, width),
    "blurs": _blurs,
    "deltas": _deltas,
}


def _pairs(values, cosine):
    directions = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.argwhere(np.tril(directions @ directions.T, -1) > cosine)


@pytest.mark.parametrize("kind", KINDS)
def test_false_alarms_are_as_rare_as_stated(kind):
    """One tensor in a thousand: of the 500 of each kind here, as many as that rate explains (with 99.9 % confidence)."""
    alarms = tensors = alone = 0
    for count, width, times in ((16, 9, 300), (64, 9, 150), (64, 49, 40), (512, 9, 10)):
        for _ in range(times):
            values = KINDS[kind](count, width).astype(np.float32)
            alone += len(_pairs(values, 0.999)) > 0
            alarms += found_in(values.reshape(count, 1, -1)).repeated > 0
            tensors += 1
    assert alarms <= binom.ppf(0.999, tensors, FALSE_ALARM), (alarms, alone, tensors)
    if kind != "normal":
        assert alone > 0.05 * tensors  # what a cosine of 0.999 would report by itself


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [9, 49])
def test_copies_among_small_units_are_found_whatever_they_are_like(kind, width):
    values = KINDS[kind](128, width).astype(np.float32)
    values[100] = values[3]
    values[90] = values[7] * 2.5
    found = {(group.units[0], other) for group in found_in(values.reshape(128, 1, -1)).groups for other in group.units[1:]}
    assert {(3, 100), (7, 90)} <= found


@pytest.mark.parametrize("width", [3, 5, 9, 20])
@pytest.mark.parametrize("units", [16, 500])
def test_the_bound_is_that_of_random_directions(width, units):
    values = _normal(4000, width)
    assert dimensions(values) == pytest.approx(width, rel=0.05)
    cosine = chance_cosine(values, units)
    expected = units * (units - 1) / 2 * 0.5 * betainc((width - 1) / 2, 0.5, 1 - cosine**2)
    if cosine < 1 - 1e-6:
        assert 0.5 * FALSE_ALARM < expected < 2.5 * FALSE_ALARM
    assert dimensions(values[:1]) == width  # one unit does not tell
    assert dimensions(np.outer(_normal(50, 1)[:, 0], values[0])) == pytest.approx(1)


@pytest.mark.parametrize(("values", "width", "units"), [([-1, 1], 9, 300), ([-1, 0, 1], 6, 200)])
def test_equal_pairs_of_few_values(values, width, units):
    counts = []
    for _ in range(200):
        _, repeats = np.unique(GENERATOR.choice(values, (units, width)), axis=0, return_counts=True)
        counts.append((repeats * (repeats - 1) / 2).sum())
    distinct = GENERATOR.choice(values, (4000, width))
    assert chance_equal(distinct, units) == pytest.approx(np.mean(counts), rel=0.15)
    assert chance_equal(_normal(300, width), units) == 0


def test_units_of_few_weights_other_than_zero_are_compared_for_equality_alone():
    values = np.zeros((200, 400), np.float32)
    values[np.arange(200), GENERATOR.integers(0, 20, 200)] = _normal(200, 1)[:, 0]  # parallel to many others
    assert found_in(values).repeated == 0
    values[150] = values[20]
    assert [group.units for group in found_in(values).groups] == [(20, 150)]
