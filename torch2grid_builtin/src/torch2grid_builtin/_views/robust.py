"""How far numbers stick out among others, in units of a spread that a few of them cannot change.

z = (x − median) / spread. For normal numbers each of these spreads is the standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

from torch2grid_core.measures import Distribution

Array = np.ndarray[Any, Any]
_NORMAL = NormalDist()
_TAILS = (0.25, 0.05, 0.01, 0.0025)  # shares of the weights of a tensor on each side
_UPPER = (0.1, 0.02)  # and of units on the upper one
_ALIKE = 0.05  # units that differ by less than this share of their median do not stick out, however alike the others are
_LAYERS_ALIKE = 0.04  # and layers, whose figures are compared by ratio
_MILLION = 1_000_000
_RATE = 0.01  # of models in which a number is beyond the reach of its tail by chance
_FAR = 8  # times as many numbers lie beyond the second rank from which a tail is known as beyond the first
_TOGETHER = 7  # numbers that stick out together are told from a tail, and one of so many where these are more
_EXACT = 1024  # numbers, up to which all quantiles are known; those of more only as float32
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_LONGEST = 1000.0  # the z beyond which a number is an outlier, however long the tail
# By how much the MAD of so few normal numbers is too small on average (Croux and Rousseeuw 1992).
_FEW = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}


def largest_normal(count: int) -> float:
    """The |z| that the largest of *count* normal numbers exceeds half the time."""
    return _NORMAL.inv_cdf(1 - math.log(2) / (2 * max(count, 2)))


def limit(z: float, count: int) -> float:
    """Beyond what one of *count* numbers is an outlier: *z* among a million or fewer, more as the largest normal number."""
    return z * max(1.0, largest_normal(count) / largest_normal(_MILLION))


@dataclass(frozen=True)
class _Tail:
    """How the tail of many numbers is measured.

    beyond: numbers that the nearest rank has beyond it. share: one of so many may stick out, together with others. near: within
    the largest of so many the tail begins; what lies nearer to the median says nothing of it.
    """

    beyond: int
    share: int
    near: int

    def steady(self, count: int, shares: Sequence[float]) -> list[float]:
        """Those of *shares* of *count* numbers whose quantiles none that stick out move."""
        return [share for share in shares if count * share >= self.beyond + count // self.share]

    def are_others(self, count: int, zeros: int) -> bool:
        """True where most of *count* numbers are 0, and the others are too many to stick out: they are judged among themselves.

        So are the weights that pruning left. A few that alone were changed are not: they stand beside zeros without a spread.
        """
        few = max(1, min(_TOGETHER, count // (8 * self.near)), count // self.share)
        return 2 * zeros >= count and count - zeros > few


_WEIGHTS, _UNITS = _Tail(8, 500, 16), _Tail(4, 64, 4)


def spread_of_weights(found: Distribution, tensors: int = 1) -> tuple[float, float, float]:
    """(median, spread, reach) of the finite weights of one of so many tensors that are compared.

    The spread is the largest of the distances from the median to the quantiles of ``_TAILS`` on either side, each in units of
    the same distance of a standard normal distribution: a long tail widens it, weights that stand alone do not. Where most
    weights are 0, it is that of the others, and 0 where these are few. Where all but a few have one other value, it is 5 % of
    that. The reach is that of the longer tail: the distance from the median that a weight of any of the tensors is beyond in
    one model of a hundred.
    """
    count = found.finite
    if count > _EXACT and found.absmax and not _LEAST <= found.absmax <= _MOST:
        return found.mean, found.std, 0.0  # no quantile is known, and a few weights widen this
    number = count - found.zeros if _WEIGHTS.are_others(count, found.zeros) else count
    tails = _WEIGHTS.steady(number, _TAILS) or [_TAILS[0]]
    rate = _RATE / (2 * tensors)
    ranks, steps = _tests(_WEIGHTS, number, rate)
    behind = _WEIGHTS.beyond + 2 * number // _WEIGHTS.share  # the rank behind all that may stick out
    last = [behind, _FAR * behind] if _FAR * behind <= number // _WEIGHTS.near else []
    levels = np.concatenate((np.multiply(tails, number), ranks.reshape(-1) - 0.5, np.subtract(last, 0.5))) / count
    median, *ends = found.quantiles([0.5, *levels, *(1 - levels)])
    sides = np.abs(np.reshape(ends, (2, -1)) - median)
    near, inner, outer = np.split(sides, [len(tails), len(tails) + ranks.size], axis=1)
    spread = float((near / [_NORMAL.inv_cdf(1 - tail) for tail in tails]).max()) or _ALIKE * abs(float(median))
    reaches = [max(_reach(side.reshape(ranks.shape), steps) for side in inner), _LONGEST * spread]
    if last:
        steps = np.array(math.log(behind / rate) / math.log(_FAR))
        reaches.append(float(_extrapolated(outer[:, 0], outer[:, 1], steps).max()))
    return float(median), spread, min(reaches)


def z_of(numbers: Array, median: float, spread: float) -> Array:
    """(numbers − median) / spread; where the spread is 0, ±Inf of what is not the median."""
    away = numbers - median
    if spread:
        found: Array = away / spread
    else:
        found = np.where(away == 0, 0.0, np.copysign(math.inf, away))
    return found


def z_of_units(sizes: Array) -> tuple[float, Array]:
    """(median, z of each) of *sizes* (|max| or norm of rows or columns, 1-D); z is 0 of those that are not finite.

    The spread is the largest of 1.4826·MAD, the distances from the median to the quantiles of ``_UPPER`` in units of the
    normal distribution, and 5 % of the median. Where half of *sizes* are 0, both are of the others, and 0 where these are
    few.
    """
    median, spread = _median_and_spread(_of_units(sizes))
    known = np.isfinite(sizes)
    return median, z_of(sizes if known.all() else np.where(known, sizes, median), median, spread)


def reach_of_units(sizes: Array, matrices: int = 1) -> float:
    """The z, as ``z_of_units`` counts it, that a unit of any of so many *matrices* is beyond in one model of a hundred.

    Both |max| and norm are looked at, of rows and of columns: four figures of each matrix.
    """
    values = _of_units(sizes)
    median, spread = _median_and_spread(values)
    ranks, steps = _tests(_UNITS, len(values), _RATE / (4 * matrices))
    if not spread or not (reach := _reach(values[-ranks], steps)):
        return 0.0
    return min((reach - median) / spread, _LONGEST)


def _of_units(sizes: Array) -> Array:
    """The finite ones, sorted; those other than 0 where most are 0, and these are not few."""
    values = np.sort(sizes[np.isfinite(sizes)])
    zeros = int(np.searchsorted(values, 0.0, side="right"))
    return values[zeros:] if _UNITS.are_others(len(values), zeros) else values


def _median_and_spread(values: Array) -> tuple[float, float]:
    if not len(values):
        return 0.0, 0.0
    median = _quantile(values, 0.5)
    spread = max(1.4826 * _quantile(np.sort(np.abs(values - median)), 0.5), _ALIKE * median)
    for tail in _UNITS.steady(len(values), _UPPER):
        spread = max(spread, (_quantile(values, 1 - tail) - median) / _NORMAL.inv_cdf(1 - tail))
    return median, spread


@lru_cache(maxsize=256)
def _tests(tail: _Tail, count: int, rate: float) -> tuple[Array, Array]:
    """What tells how far a *tail* of *count* numbers reaches: its largest is beyond that with the probability *rate*.

    How many numbers stick out of it is not known. So each number of them is tried, from one on: the least of them is tested
    against the tail of the others, which is measured between two ranks and lognormal.

    Returns:
        The ranks from the top of the least that sticks out and of the two, int64, (3, tests), and how many times as far as from
        the second of these to the first it is from the first to where the tail ends, by ratio, (tests,). Both are empty where
        there are too few numbers.
    """
    most = max(count // tail.share, min(_TOGETHER, count // (2 * tail.near)))
    ranks, steps = list[tuple[int, int, int]](), list[float]()
    apart = 0  # of the others
    while apart < max(most, 1):
        others, beyond = count - apart, tail.beyond + apart // _FAR
        far = min(beyond * _FAR, others // tail.near)
        near = min(beyond, far // 2)
        if near < (2 if apart else 1):  # the first of the others is the one that is tested
            break
        z_near, z_far, z = (_NORMAL.inv_cdf(1 - each / others) for each in (near, far, rate))
        ranks.append((apart + 1, apart + near, apart + far))
        steps.append((z - z_near) / (z_near - z_far))
        apart += max(apart // (2 * _FAR), 1)  # what is left of those between two tests lies beyond the nearest rank
    return np.array(ranks, dtype=np.int64).reshape(-1, 3).T, np.array(steps)


def _reach(numbers: Array, steps: Array) -> float:
    """How far the tail reaches whose *numbers* at the ranks of ``_tests`` these are, (3, tests); 0 where there are none.

    Where several stick out together, that is the reach of the others (Rosner's order of tests, 1983: from the most to one).
    """
    reaches = _extrapolated(numbers[1], numbers[2], steps)
    together = np.flatnonzero(numbers[0] > reaches)
    return float(reaches[together[-1] if len(together) else 0]) if len(reaches) else 0.0


def _extrapolated(near: Array, far: Array, steps: Array) -> Array:
    """*near*, and so many *steps* on as it is from *far* to it, by ratio; 0 where *far* is."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found: Array = np.where(far > 0, near * (near / far) ** steps, 0.0)
    return found


def _quantile(ordered: Array, level: float) -> float:
    """That of sorted numbers, linear between them, as ``numpy.quantile`` has it, in a tenth of its time for a few hundred."""
    place = (len(ordered) - 1) * level
    before = math.floor(place)
    low, high = float(ordered[before]), float(ordered[min(before + 1, len(ordered) - 1)])
    return low + (high - low) * (place - before)


def z_of_siblings(values: Sequence[float], least: float = 0.0) -> tuple[float, list[float]]:
    """(median, z of each) of figures of layers, none negative, by their logarithms: half counts as much as double.

    The spread of the logarithms is 1.4826·MAD, corrected for few numbers, and at least 0.04 or *least*. Figures of 0, fewer
    than half, are −Inf. Where half or more are 0, these have a z of 0; of the others, one, or one in eight, is Inf, and more
    than that are compared with one another alone.
    """
    given = np.asarray(values, dtype=np.float64)
    others = np.flatnonzero(given)
    if 2 * len(others) <= len(given):
        scores, median = np.zeros(len(given)), 0.0
        if len(others) <= max(1, len(given) // _FAR):
            scores[others] = math.inf
        else:
            median, scores[others] = z_of_siblings(given[others].tolist(), least)
        return median, scores.tolist()
    median = float(np.median(given))
    with np.errstate(divide="ignore"):
        logs = np.log(given / median)
    distances = np.abs(logs)
    correction = _FEW.get(len(given), len(given) / (len(given) - 0.8))
    mad = float(np.median(distances))
    spread = max(1.4826 * correction * (mad if math.isfinite(mad) else 0.0), least, _LAYERS_ALIKE)
    return median, [float(each) for each in logs / spread]
