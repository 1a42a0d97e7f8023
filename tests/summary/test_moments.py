"""Moments against sums in extended precision, at the lengths and exponents where the way they are computed changes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from torch2grid_core._summary.moments import Moments

BLOCK = 32_768  # numbers that are centred together


def check(found: Moments, numbers: np.ndarray, brief: bool = False) -> None:
    """*found* about *numbers*, whose powers must be within float64 as they are."""
    long = numbers.astype(np.longdouble)
    away = long - long.mean()
    m2, m3, m4 = (float((away**power).sum()) for power in (2, 3, 4))
    count, scale = len(long), found.exponent
    assert found.count == count
    assert abs(found.unscaled(found.mean) - float(long.mean())) <= 4e-15 * float(np.abs(long).mean())
    assert math.ldexp(found.m2, 2 * scale) == pytest.approx(m2, rel=1e-11)
    if brief:
        assert all(math.isnan(value) for value in (found.m3, found.m4, found.l1))
        return
    assert math.ldexp(found.m3, 3 * scale) == pytest.approx(m3, rel=1e-9, abs=1e-11 * count * (m2 / count) ** 1.5)
    assert math.ldexp(found.m4, 4 * scale) == pytest.approx(m4, rel=1e-10)
    assert found.unscaled(found.l1) == pytest.approx(float(np.abs(long).sum()), rel=1e-13)


def of(numbers: np.ndarray, brief: bool = False) -> Moments:
    return Moments.of(numbers, float(numbers.min()), float(numbers.max()), brief)


def skewed(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(2.0, count) - 1


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize("length", [2, 3, 8191, 8192, 8193, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1, 163_847])
def test_any_length(length: int, brief: bool) -> None:
    of(np.arange(3.0 * BLOCK) + 7)  # what an earlier call left behind must not be seen
    for numbers in (skewed(length), skewed(length).astype(np.float32) + np.float32(50), np.arange(length) % 7 - 3):
        check(of(numbers, brief), numbers, brief)
    assert of(skewed(length), brief).exponent == 0


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0, 1e300, -1e-300])
def test_one_number_many_times(value: float) -> None:
    found = of(np.full(70_000, value))
    assert (found.count, found.m2, found.m3, found.m4) == (70_000, 0, 0, 0)
    assert found.unscaled(found.mean) == value
    assert found.unscaled(found.l1) == pytest.approx(70_000 * abs(value), rel=1e-15)
    counted = Moments.of_counted(np.array([value]), np.array([70_000]))
    assert (counted.count, counted.m2, counted.m3, counted.m4) == (70_000, 0, 0, 0)
    assert counted.unscaled(counted.mean) == value
    assert counted.unscaled(counted.l1) == pytest.approx(70_000 * abs(value), rel=1e-15)


@pytest.mark.parametrize(
    ("largest", "exponent"),
    [
        *((0.0, -1100), (1.0, 0), (2.0**199, 0), (2.0**200, 201)),
        *((2.0**-201, 0), (2.0**-202, -201), (1.7e308, 1024), (5e-324, -1073)),
    ],
)
def test_numbers_are_scaled_beyond_200_powers_of_two_alone(largest: float, exponent: int) -> None:
    for sign in (1, -1):
        assert of(np.full(3, sign * largest)).exponent == exponent
        assert Moments.of_counted(np.array([0.0, sign * largest]), np.array([1, 1])).exponent == exponent
        if largest:
            found = of(np.array([0.0, sign * largest, 0.0]))
            assert (found.exponent, found.count) == (exponent, 3)
            assert found.unscaled(found.mean) == pytest.approx(sign * largest / 3, rel=1e-15, abs=5e-324)


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize("scale", [2.0**900, 2.0**-900])
def test_huge_and_tiny_numbers_are_as_exact(scale: float, brief: bool) -> None:
    numbers = skewed(40_000)
    found = of(numbers * scale, brief)
    shift = found.exponent - round(math.log2(scale))
    check(replace(found, exponent=shift), numbers, brief)


def test_counted_numbers_are_the_numbers_so_many_times() -> None:
    values, counts = np.array([-3.0, 0.0, 0.25, 7.5]), np.array([5, 1, 300, 2])
    check(Moments.of_counted(values, counts), np.repeat(values, counts))
    huge = Moments.of_counted(values * 2.0**900, counts)
    check(replace(huge, exponent=huge.exponent - 900), np.repeat(values, counts))
    nothing = Moments.of_counted(np.empty(0), np.empty(0, np.int64))
    assert nothing == Moments(0, 0, 0, 0, 0, 0, -1100)


@pytest.mark.parametrize("scale", [1.0, 2.0**300])
def test_parts_of_any_size_add_up(scale: float) -> None:
    """Of a different mean, spread and exponent each; the exponent of the whole is that of the larger one."""
    small, large = skewed(3000, 1), skewed(500, 2) * 3 + 40
    both = np.concatenate((small, large * scale)) / scale
    for first, second in ((small, large * scale), (large * scale, small)):
        found = of(first)
        other = of(second)
        before = replace(other)
        found.add(other)
        assert other == before
        assert found.exponent == max(of(first).exponent, of(second).exponent)
        check(replace(found, exponent=found.exponent - round(math.log2(scale))), both)


def test_parts_of_a_distant_mean_add_up() -> None:
    kinds = ((900, 1, -5), (50, 3, 8), (2000, 0.1, 1), (1, 1, 30))
    parts = [skewed(count, count) * spread + mean for count, spread, mean in kinds]
    found = Moments()
    for part in parts:
        found.add(of(part))
    check(found, np.concatenate(parts))


def test_nothing_adds_nothing() -> None:
    some, same = of(skewed(100)), of(skewed(100))
    some.add(Moments())
    assert some == same
    nothing = Moments()
    nothing.add(same)
    assert nothing == same
    assert nothing is not same


def test_what_float64_cannot_hold_is_infinite() -> None:
    assert Moments(exponent=1024).unscaled(0.5) == 2.0**1023
    assert Moments(exponent=1024).unscaled(1.5) == math.inf
    assert Moments(exponent=1024).unscaled(-1.5) == -math.inf


def test_a_mean_far_beyond_the_deviation_keeps_its_digits_in_brief() -> None:
    for mean in (0.0, 0.6, 0.8, 3.0, 1e5):
        numbers = np.random.default_rng(3).standard_normal(70_000) + mean
        check(of(numbers, True), numbers, True)
