"""Two laws that eigenvalues are held against: a power law for their tail, Marchenko and Pastur's for independent weights."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

RELIABLE = 50  # eigenvalues; of fewer, an exponent says little
STEEPEST = 8.0  # an exponent above is that of no power law
_TRACY_WIDOM = 2.0234  # the 99 % quantile of Tracy and Widom's law of order 1 (Johnstone 2001, table 1)
_STEPS = 4096


@dataclass(frozen=True)
class PowerLaw:
    """p(λ) ∝ λ^−alpha from *least* on.

    alpha: the exponent. error: its standard error, (alpha − 1)/√tail. least: λ_min, the smallest eigenvalue of the tail.
    tail: how many eigenvalues are in it. distance: Kolmogorov and Smirnov's, between the tail and the law.
    """

    alpha: float
    error: float
    least: float
    tail: int
    distance: float


def power_law(eigenvalues: Array) -> PowerLaw | None:
    """The power law of the upper tail: the one whose distance from the tail that it begins is least.

    For each eigenvalue x as the beginning, α = 1 + n/Σ ln(λ/x) over the n eigenvalues from x on, the estimate of greatest
    likelihood (Clauset, Shalizi and Newman 2009, equations 3.1 and 3.9).

    Args:
        eigenvalues: positive, 1-D, in any order.

    Returns:
        The law; ``None`` where fewer than two eigenvalues differ.
    """
    values = np.sort(np.asarray(eigenvalues, np.float64))
    count = len(values)
    if count < 2 or values[0] == values[-1]:
        return None
    logs = np.log(values / math.sqrt(float(values[0])) / math.sqrt(float(values[0])))  # of two that all but agree, not 0
    sizes = count - np.arange(count - 1)
    sums = np.cumsum(logs[::-1])[::-1][:-1] - sizes * logs[:-1]
    with np.errstate(divide="ignore"):
        slopes = sizes / sums  # alpha − 1
    best, found = math.inf, 0
    for start, slope in enumerate(slopes.tolist()):
        if not math.isfinite(slope):
            continue  # the rest is one number
        size = count - start
        law = -np.expm1(slope * (logs[start] - logs[start:]))
        distance = float(np.abs(law - np.arange(size) / size).max())
        if distance < best:
            best, found = distance, start
    if best == math.inf:
        return None
    slope, size = float(slopes[found]), count - found
    return PowerLaw(1 + slope, slope / math.sqrt(size), float(values[found]), size, best)


@dataclass(frozen=True)
class Bulk:
    """Marchenko and Pastur's law, as weights that are independent would have it.

    std: of such weights. low, edge: √λ₋ = std·(√N − √M) and √λ₊ = std·(√N + √M), the singular values where the bulk begins
    and ends. spikes: how many eigenvalues are beyond it by more than chance explains once in a hundred such matrices.
    """

    std: float
    low: float
    edge: float
    spikes: int


def bulk(eigenvalues: Array, long: int, short: int) -> Bulk | None:
    """The law whose median is that of the *eigenvalues* of WᵀW, and what stands out of it.

    The median is moved little by a few large eigenvalues (Gavish and Donoho 2014, section III.D). The margin beyond the edge
    is Tracy and Widom's, (√N + √M)·(1/√N + 1/√M)^⅓ times its 99 % quantile (Johnstone 2001).

    Args:
        eigenvalues: all of them, zeros too, 1-D, in any order.
        long, short: N and M, the longer and the shorter side of the matrix.

    Returns:
        The law; ``None`` where more than half of the eigenvalues are zero.
    """
    median = float(np.median(eigenvalues))
    if not median > 0:
        return None
    variance = median / (long * _median(short / long))
    root = math.sqrt(long) + math.sqrt(short)
    beyond = variance * root * (root + (long**-0.5 + short**-0.5) ** (1 / 3) * _TRACY_WIDOM)
    std = math.sqrt(variance)
    return Bulk(std, std * (math.sqrt(long) - math.sqrt(short)), std * root, int(np.count_nonzero(eigenvalues > beyond)))


def density(singular: Array, found: Bulk) -> Array:
    """The density of *singular* values by the law *found*: that of λ = σ², turned to σ."""
    places, low = np.asarray(singular, np.float64) / found.edge, found.low / found.edge
    inside = np.clip((1 - places**2) * (places**2 - low**2), 0, None)
    small = ((1 - low) / (1 + low)) ** 2  # M/N
    scale = (1 + low) ** 2 / 4  # N·std², of λ₊
    with np.errstate(divide="ignore", invalid="ignore"):
        found_density = np.sqrt(inside) / (math.pi * small * scale * places)
    return np.where(inside > 0, found_density / found.edge, 0.0)


@functools.lru_cache(64)
def _median(ratio: float) -> float:
    """The median of Marchenko and Pastur's law of *ratio* M/N for weights of variance 1/N."""
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    angles = (np.arange(_STEPS) + 0.5) * (math.pi / _STEPS)
    places = (low + high) / 2 - (high - low) / 2 * np.cos(angles)
    shares = np.cumsum(np.sin(angles) ** 2 / places)  # the density times the step, up to a factor
    return float(np.interp(0.5, shares / shares[-1], places))
