"""How much alike small units are by chance: a duplicate among nine weights says less than one among a thousand."""

from __future__ import annotations

import math

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.tensor import LazyTensor

FALSE_ALARM = 1e-3  # pairs of one tensor that chance may be expected to report
SMALL = 64  # weights: units of fewer are small, so that a kernel of 7×7 is
_MOST = 1 << 24  # weights of a tensor that are looked at as a whole
_ROUNDING = 1e-6  # a cosine nearer to 1 is equality but for a factor and rounding


def is_small(tensor: LazyTensor) -> bool:
    """True where the units of *tensor* are small, or the kernels of single channels, which are much alike at any size."""
    depthwise = tensor.ndim >= 3 and tensor.shape[1] == 1
    return tensor.size <= _MOST and (tensor.size < SMALL * tensor.shape[0] or depthwise)


def dimensions(units: Array) -> float:
    """In how many dimensions the directions of *units* (n, k) spread, 1…k.

    The participation ratio of their second moments: 1 / (the mean squared cosine of two of them). It is k for directions
    without preference, and near 1 where all units vary one shape, as blurs or decays do. k for a single unit, which does
    not tell.
    """
    count, width = units.shape
    if count < 2:
        return float(width)
    length = np.abs(units).max(axis=1, keepdims=True)
    directions = (units / length).astype(np.float64)
    directions /= np.sqrt((directions**2).sum(axis=1, keepdims=True))
    moments = directions.T @ directions
    squared = float((moments**2).sum() - count) / (count * (count - 1))
    return min(max(1 / squared, 1.0), float(width)) if squared > 0 else float(width)


def chance_cosine(distinct: Array, units: int) -> float:
    """The cosine that chance lets two of *units* units exceed in one tensor of a thousand (``FALSE_ALARM``).

    distinct: (n, k), the units that repeat no other: they say in how many dimensions d units spread. Two random directions
    in d dimensions have a cosine above c with the probability ½·I(1 − c²; a, ½), a = (d − 1)/2 (the share of the
    sphere that a cap has; Li 2011, "Concise formulas for the area and volume of a hyperspherical cap"). That is about
    (1 − c²)^a / (2·a·B(a, ½)) near 1, and there are n·(n − 1)/2 pairs. Never above 1 − 10⁻⁶: a copy that was scaled is
    always told.
    """
    pairs = units * (units - 1) / 2
    exponent = max((dimensions(distinct) - 1) / 2, 1e-9)
    log_beta = math.lgamma(exponent) + math.lgamma(0.5) - math.lgamma(exponent + 0.5)
    log_x = (math.log(2 * FALSE_ALARM / pairs) + math.log(exponent) + log_beta) / exponent
    return min(math.sqrt(1 - math.exp(min(log_x, 0.0))), 1 - _ROUNDING)


def chance_equal(distinct: Array, units: int) -> float:
    """How many pairs of *units* units chance makes equal: binary, ternary and coarsely quantised units have few values.

    distinct: (n, k), the units that repeat no other. At each place, two of them have the same value in a share of cases;
    the product over all places is the probability that two units are equal, less that of both being zero throughout.
    """
    count = len(distinct)
    if count < 2:
        return 0.0
    same = zero = 1.0
    for values in distinct.T:
        counts = np.unique(values, return_counts=True)[1].astype(np.float64)
        zeros = float(np.count_nonzero(values == 0))
        same *= float((counts * (counts - 1)).sum()) / (count * (count - 1))
        zero *= zeros * (zeros - 1) / (count * (count - 1))
    return max(same - zero, 0.0) * units * (units - 1) / 2
