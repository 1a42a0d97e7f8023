"""How far numbers stick out among others, in units of a spread that a few of them cannot change.

z = (x − median) / spread. For normal numbers each of these spreads is the standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from torch2grid_core.measures import Distribution

Array = np.ndarray[Any, Any]
_NORMAL = NormalDist()
_TAILS = (0.25, 0.05, 0.01, 0.001)  # shares of the weights of a tensor on each side
_UPPER = (0.1, 0.02)  # and of units on the upper one
_BEYOND = 8  # numbers that a quantile has beyond it, so that no few of them move it
_UNITS, _UNITS_BEYOND = 8, 4  # one of so many units may stick out; so many are beyond a quantile
_ALIKE = 0.05  # units that differ by less than this share of their median do not stick out, however alike the others are
_LAYERS_ALIKE = 0.04  # and layers, whose figures are compared by ratio
_MILLION = 1_000_000
_RATE = 0.01  # of models in which a number is beyond the reach of its tail by chance
_FAR = 8  # times as many numbers lie beyond the second rank from which a tail is known as beyond the first
# By how much the MAD of so few normal numbers is too small on average (Croux and Rousseeuw 1992).
_FEW = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}


def largest_normal(count: int) -> float:
    """The |z| that the largest of *count* normal numbers exceeds half the time."""
    return _NORMAL.inv_cdf(1 - math.log(2) / (2 * max(count, 2)))


def limit(z: float, count: int) -> float:
    """Beyond what one of *count* numbers is an outlier: *z* among a million or fewer, more as the largest normal number."""
    return z * max(1.0, largest_normal(count) / largest_normal(_MILLION))


def spread_of_weights(found: Distribution, tensors: int = 1) -> tuple[float, float, float]:
    """(median, spread, reach) of the finite weights of one of so many tensors that are compared.

    The spread is the largest of the distances from the median to the quantiles of ``_TAILS`` on either side, each in units of
    the same distance of a standard normal distribution: a long tail widens it, a few weights that stand alone do not.
    Where all of these are 0, as in a tensor that is nearly all zeros, the RMS of the others. The reach is that of the longer
    tail: the distance from the median that a weight of any of the tensors is beyond in one model of a hundred.
    """
    count = found.finite
    others = count - found.zeros  # than 0, where that is the median
    tails = [tail for tail in _TAILS if count * tail >= _BEYOND] or [_TAILS[0]]
    ranks = {number: _ranks(number, _BEYOND, 16) for number in (count, others)}
    levels = [*tails, *((rank - 0.5) / count for pair in ranks.values() for rank in pair or ())]
    median, *ends = found.quantiles([0.5, *levels, *(1 - level for level in levels)]).tolist()
    sides = [[abs(end - median) for end in side] for side in (ends[: len(levels)], ends[len(levels) :])]
    units = [_NORMAL.inv_cdf(1 - tail) for tail in tails]
    spread = max(end / unit for side in sides for end, unit in zip(side, units, strict=False))
    if not median:
        spread = spread or found.rms * math.sqrt(count / max(others, 1))
        count = others
    spread = spread or found.std
    if (pair := ranks[count]) is None:
        return median, spread, 0.0
    place = levels.index((pair[0] - 0.5) / found.finite, len(tails))
    reach = max(_reach(side[place], side[place + 1], pair, count, _RATE / (2 * tensors)) for side in sides)
    return median, spread, reach


def z_of_units(sizes: Array) -> Array:
    """z of each of *sizes* (|max| or norm of rows or columns, 1-D); 0 of those that are not finite.

    The spread is the largest of 1.4826·MAD, the distances from the median to the quantiles of ``_UPPER`` in units of the
    normal distribution, and 5 % of the median. Where more than half of *sizes* are 0, it is that of the others.
    """
    values = _of_units(sizes)
    if not len(values):
        return np.zeros(len(sizes))
    median, spread = _median_and_spread(values)
    known = np.isfinite(sizes)
    found: Array = ((sizes if known.all() else np.where(known, sizes, median)) - median) / (spread or 1.0)
    return found


def reach_of_units(sizes: Array, matrices: int = 1) -> float:
    """The z, as ``z_of_units`` counts it, that a unit of any of so many *matrices* is beyond in one model of a hundred.

    Both |max| and norm are looked at, of rows and of columns: four figures of each matrix. Where several units stick out
    together, the reach is that of the others (Rosner's order of tests, 1983: from the most of them to one).
    """
    values = _of_units(sizes)
    found = 0.0
    for several in range(min(_BEYOND, len(values) // _UNITS)):
        others = values[: len(values) - several]
        if (ranks := _ranks(len(others), _UNITS_BEYOND, 4)) is None:
            break
        near, far = (float(others[-rank]) for rank in ranks)
        reach = _reach(near, far, ranks, len(others), _RATE / (4 * matrices))
        if not several or others[-1] > reach:
            found = reach
    if not found:
        return 0.0
    median, spread = _median_and_spread(values)
    return (found - median) / spread


def _of_units(sizes: Array) -> Array:
    """The finite ones, sorted; those other than 0 where more than half are 0."""
    values = np.sort(sizes[np.isfinite(sizes)])
    return values if len(values) and _quantile(values, 0.5) > 0 else values[values > 0]


def _median_and_spread(values: Array) -> tuple[float, float]:
    median = _quantile(values, 0.5)
    spread = max(1.4826 * _quantile(np.sort(np.abs(values - median)), 0.5), _ALIKE * median)
    for tail in _UPPER:
        if len(values) * tail >= _UNITS_BEYOND:
            spread = max(spread, (_quantile(values, 1 - tail) - median) / _NORMAL.inv_cdf(1 - tail))
    return median, spread


def _ranks(count: int, near: int, share: int) -> tuple[int, int] | None:
    """The two ranks from the top between which a tail of *count* numbers is measured; ``None`` where they are too few.

    The second is within the largest 1/*share* of the numbers, as what lies nearer to the median says nothing of the tail.
    """
    far = min(near * _FAR, count // share)
    return None if far < 2 else (min(near, far // 2), far)


def _reach(near: float, far: float, ranks: tuple[int, int], count: int, rate: float) -> float:
    """What the largest of *count* numbers exceeds with probability *rate*, where their tail is lognormal.

    near, far: the numbers at *ranks* from the top, which give the tail; those beyond do not move it. 0 where there are too few.
    """
    if not far > 0:
        return 0.0
    z_near, z_far, z = (_NORMAL.inv_cdf(1 - beyond / count) for beyond in (*ranks, rate))
    return near * math.exp(math.log(near / far) / (z_near - z_far) * (z - z_near))


def _quantile(ordered: Array, level: float) -> float:
    """That of sorted numbers, linear between them, as ``numpy.quantile`` has it, in a tenth of its time for a few hundred."""
    place = (len(ordered) - 1) * level
    before = math.floor(place)
    low, high = float(ordered[before]), float(ordered[min(before + 1, len(ordered) - 1)])
    return low + (high - low) * (place - before)


def z_of_siblings(values: Sequence[float], least: float = 0.0) -> tuple[float, list[float]]:
    """(median, z of each) of positive figures of layers, by their logarithms: half counts as much as double.

    The spread of the logarithms is 1.4826·MAD, corrected for few numbers, and at least 0.04 or *least*. A figure of 0 among
    others that have a median is −Inf; where that is 0, too, each z is 0.
    """
    given = np.asarray(values, dtype=np.float64)
    median = float(np.median(given))
    if median <= 0:
        return median, [0.0] * len(given)
    with np.errstate(divide="ignore"):
        logs = np.log(given / median)
    distances = np.abs(logs)
    correction = _FEW.get(len(given), len(given) / (len(given) - 0.8))
    mad = float(np.median(distances))
    spread = max(1.4826 * correction * (mad if math.isfinite(mad) else 0.0), least, _LAYERS_ALIKE)
    return median, [float(each) for each in logs / spread]
