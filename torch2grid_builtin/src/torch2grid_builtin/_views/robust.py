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
_BEYOND = 8  # weights that a quantile has beyond it, so that no few of them move it
_UNITS_BEYOND = 4
_ALIKE = 0.05  # units that differ by less than this share of their median do not stick out, however alike the others are
_LAYERS_ALIKE = 0.04  # and layers, whose figures are compared by ratio
_MILLION = 1_000_000
# By how much the MAD of so few normal numbers is too small on average (Croux and Rousseeuw 1992).
_FEW = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}


def largest_normal(count: int) -> float:
    """The |z| that the largest of *count* normal numbers exceeds half the time."""
    return _NORMAL.inv_cdf(1 - math.log(2) / (2 * max(count, 2)))


def limit(z: float, count: int) -> float:
    """Beyond what one of *count* numbers is an outlier: *z* among a million or fewer, more as the largest normal number."""
    return z * max(1.0, largest_normal(count) / largest_normal(_MILLION))


def spread_of_weights(found: Distribution) -> tuple[float, float]:
    """(median, spread) of the finite weights of a tensor.

    The spread is the largest of the distances from the median to the quantiles of ``_TAILS`` on either side, each in units of
    the same distance of a standard normal distribution: a long tail widens it, a few weights that stand alone do not.
    The std where all of these are 0, as in a tensor that is nearly all zeros.
    """
    tails = [tail for tail in _TAILS if found.finite * tail >= _BEYOND] or [_TAILS[0]]
    median, *ends = found.quantiles([0.5, *tails, *(1 - tail for tail in tails)]).tolist()
    units = [_NORMAL.inv_cdf(1 - tail) for tail in tails]
    spread = max(abs(end - median) / unit for end, unit in zip(ends, (*units, *units), strict=True))
    return median, spread or found.std


def z_of_units(sizes: Array) -> Array:
    """z of each of *sizes* (|max| or norm of rows or columns, 1-D); 0 of those that are not finite.

    The spread is the largest of 1.4826·MAD, the distances from the median to the quantiles of ``_UPPER`` in units of the
    normal distribution, and 5 % of the median; where the median is 0, of √(π/2) times the mean distance from it.
    """
    known = np.isfinite(sizes)
    if not (whole := bool(known.all())) and not known.any():
        return np.zeros(len(sizes))
    values = np.sort(sizes if whole else sizes[known])
    median = _quantile(values, 0.5)
    distances = np.abs(values - median)
    spread = max(1.4826 * _quantile(np.sort(distances), 0.5), _ALIKE * abs(median))
    for tail in _UPPER:
        if len(values) * tail >= _UNITS_BEYOND:
            spread = max(spread, (_quantile(values, 1 - tail) - median) / _NORMAL.inv_cdf(1 - tail))
    spread = spread or math.sqrt(math.pi / 2) * float(distances.mean())
    found: Array = ((sizes if whole else np.where(known, sizes, median)) - median) / (spread or 1.0)
    return found


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
