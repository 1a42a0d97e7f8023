"""Mean and central moments that can be merged, in float64, for numbers of any size."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np

from torch2grid_core._array import Array

_ROW = 8192  # BLAS computes dot products up to 10,000 numbers in the calling thread
_BLOCK = 4 * _ROW  # two float64 arrays of it fit the second-level cache
_PLAIN = 200  # |x| within 2**±200: the fourth power of x, times any count, is a normal float64
SMALL = 4096  # so many numbers are summed as they are: a row of padding would cost more
_LOWEST = -1100  # the exponent of nothing but zeros: below that of every float64


class _Scratch(threading.local):
    """Two arrays of a block for each thread, zero-padded to whole rows, and a row of ones to add with."""

    def __init__(self) -> None:
        self.values = np.empty(2 * _BLOCK)  # brief moments need no second array, so their blocks are twice as long
        self.squares = np.empty(_BLOCK)
        self.ones = np.ones((_ROW, 1))


_scratch = _Scratch()


@dataclass(slots=True)
class Moments:
    """Count, mean, sums of the 2nd to 4th powers of the distance from the mean, and the sum of magnitudes.

    Everything is about x·2**-exponent, and exponent is 0 unless a |x| lies beyond 2**±200, so that 1e300 does not
    overflow and 1e-100 does not vanish. Blocks of 32,768 numbers are centred on their own mean and united by the
    formulas of Chan et al. (1979) and Pébay (SAND2008-6212): relative errors are about 1e-15 for the mean (of the mean
    |x|), 1e-12 for the standard deviation where it is above 1e-12 of the mean. Brief moments stop at the 2nd power: m3,
    m4 and l1 are NaN.
    """

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0
    l1: float = 0.0
    exponent: int = _LOWEST

    @classmethod
    def of(cls, numbers: Array, low: float, high: float, brief: bool = False) -> Moments:
        """The moments of finite real *numbers* (1-D, any dtype that casts to float64) between *low* and *high*."""
        exponent = _exponent(max(abs(low), abs(high)))
        if low == high:
            mean = math.ldexp(low, -exponent)
            return cls(len(numbers), mean, l1=len(numbers) * abs(mean), exponent=exponent)
        if len(numbers) <= SMALL and not exponent:
            return cls.of_each(numbers, np.zeros(1, np.intp), np.array([len(numbers)]), brief)[0]
        moments = cls(exponent=exponent)
        step, of_block = (2 * _BLOCK, _brief_block) if brief else (_BLOCK, _of_block)
        for start in range(0, len(numbers), step):
            moments.add(of_block(numbers[start : start + step], exponent))
        return moments

    @classmethod
    def of_sums(cls, count: int, low: float, high: float, total: float, squares: float) -> Moments | None:
        """Brief moments of numbers between *low* and *high*, from their sum and that of their squares.

        ``None`` where the sums do not tell them to the digits that are promised: there are numbers that are not finite or
        would be scaled, or the mean lies beyond the deviation.
        """
        largest = max(abs(low), abs(high))
        mean = total / count if count else math.nan
        if not (low < high and 2.0 ** -(_PLAIN + 1) <= largest < 2.0**_PLAIN) or not 2 * count * mean * mean <= squares:
            return None
        return cls(count, mean, squares - count * mean * mean, math.nan, math.nan, math.nan, 0)

    @classmethod
    def of_each(cls, numbers: Array, starts: Array, sizes: Array, brief: bool = False) -> list[Moments]:
        """The moments of each run of *numbers*, by where it starts and how long it is; they follow one another.

        No run is empty, and the numbers of none have to be scaled, or are all the same.
        """
        values = numbers.astype(np.float64)
        means = np.add.reduceat(values, starts) / sizes
        l1 = None if brief else np.add.reduceat(np.abs(values), starts).tolist()
        values -= np.repeat(means, sizes)
        powers = values * values
        sums = [np.add.reduceat(powers, starts).tolist()]
        for _ in range(0 if brief else 2):
            powers *= values
            sums.append(np.add.reduceat(powers, starts).tolist())
        m3, m4, l1 = (*sums[1:], l1) if l1 is not None else [[math.nan] * len(starts)] * 3
        figures = zip(sizes.tolist(), means.tolist(), sums[0], m3, m4, l1, [0] * len(starts), strict=True)
        return [cls(*each) for each in figures]

    @classmethod
    def of_counted(cls, values: Array, counts: Array) -> Moments:
        """The moments of finite float64 *values*, each *counts* times: two passes over the distinct values."""
        if not len(values):
            return cls()
        exponent = _exponent(float(np.abs(values).max()))
        scaled = np.ldexp(values, -exponent) if exponent else values
        weights = counts.astype(np.float64)
        count = int(counts.sum())
        mean = float((weights * scaled).sum()) / count
        distance = scaled - mean
        powers = []
        for _ in range(3):
            weights = weights * distance
            powers.append(weights)
        m2, m3, m4 = (float((power * distance).sum()) for power in powers)
        if len(values) == 1:
            mean, m2, m3, m4 = float(scaled[0]), 0.0, 0.0, 0.0
        return cls(count, mean, m2, m3, m4, float((counts * np.abs(scaled)).sum()), exponent)

    def add(self, other: Moments) -> None:
        """Take *other* in."""
        if other.count == 0:
            return
        if self.count == 0:
            self.count, self.mean, self.m2, self.m3, self.m4 = other.count, other.mean, other.m2, other.m3, other.m4
            self.l1, self.exponent = other.l1, other.exponent
            return
        exponent = max(self.exponent, other.exponent)
        mean_a, a2, a3, a4, l1_a = self._at(exponent)
        mean_b, b2, b3, b4, l1_b = other._at(exponent)
        na, nb = float(self.count), float(other.count)
        n = na + nb
        delta = mean_b - mean_a
        step = delta / n
        self.m4 = (
            a4
            + b4
            + delta * step**3 * na * nb * (na * na - na * nb + nb * nb)
            + 6 * step * step * (na * na * b2 + nb * nb * a2)
            + 4 * step * (na * b3 - nb * a3)
        )
        self.m3 = a3 + b3 + delta * step * step * na * nb * (na - nb) + 3 * step * (na * b2 - nb * a2)
        self.m2 = a2 + b2 + delta * step * na * nb
        self.mean = mean_a + step * nb
        self.l1 = l1_a + l1_b
        self.count += other.count
        self.exponent = exponent

    def _at(self, exponent: int) -> tuple[float, float, float, float, float]:
        shift = self.exponent - exponent
        if shift == 0:
            return self.mean, self.m2, self.m3, self.m4, self.l1
        return (
            math.ldexp(self.mean, shift),
            math.ldexp(self.m2, 2 * shift),
            math.ldexp(self.m3, 3 * shift),
            math.ldexp(self.m4, 4 * shift),
            math.ldexp(self.l1, shift),
        )

    def unscaled(self, value: float) -> float:
        """*value*, which is about the scaled numbers, for the numbers themselves; Inf where float64 ends."""
        try:
            return math.ldexp(value, self.exponent)
        except OverflowError:
            return math.copysign(math.inf, value)


def _exponent(largest: float) -> int:
    if largest == 0:
        return _LOWEST
    exponent = math.frexp(largest)[1]
    return exponent if abs(exponent) > _PLAIN else 0


def plain(lows: Array, highs: Array) -> Array:
    """Where numbers between *lows* and *highs* are finite, not all the same, and need no scaling."""
    largest = np.maximum(np.abs(lows), np.abs(highs))
    found: Array = (lows < highs) & (largest < 2.0**_PLAIN) & (largest >= 2.0 ** -(_PLAIN + 1))
    return found


def _widened(numbers: Array, exponent: int) -> tuple[int, Array]:
    """(rows, the scaled numbers as float64, zeros behind them to whole rows)."""
    rows = -(-len(numbers) // _ROW)
    values = _scratch.values[: rows * _ROW]
    values[: len(numbers)] = numbers
    values[len(numbers) :] = 0
    if exponent:
        np.ldexp(values, -exponent, out=values)
    return rows, values


def _brief_block(numbers: Array, exponent: int) -> Moments:
    count = len(numbers)
    rows, values = _widened(numbers, exponent)
    across, down = values.reshape(rows, 1, _ROW), values.reshape(rows, _ROW, 1)
    mean = float(np.matmul(across, _scratch.ones).sum()) / count
    m2 = float(np.matmul(across, down).sum())
    if 2 * count * mean * mean > m2:  # the mean lies beyond the deviation: subtracting its square would cost digits
        values -= mean
        values[count:] = 0
        m2 = float(np.matmul(across, down).sum())
    else:
        m2 -= count * mean * mean
    return Moments(count, mean, m2, math.nan, math.nan, math.nan, exponent)


def _of_block(numbers: Array, exponent: int) -> Moments:
    count = len(numbers)
    rows, values = _widened(numbers, exponent)
    squares, ones = _scratch.squares[: rows * _ROW], _scratch.ones
    across, magnitudes, down = values.reshape(rows, 1, _ROW), squares.reshape(rows, 1, _ROW), values.reshape(rows, _ROW, 1)
    np.abs(values, out=squares)
    l1 = float(np.matmul(magnitudes, ones).sum())
    mean = float(np.matmul(across, ones).sum()) / count
    values -= mean
    values[count:] = 0
    np.multiply(values, values, out=squares)
    m2 = float(np.matmul(magnitudes, ones).sum())
    m3 = float(np.matmul(magnitudes, down).sum())
    m4 = float(np.matmul(magnitudes, squares.reshape(rows, _ROW, 1)).sum())
    return Moments(count, mean, m2, m3, m4, l1, exponent)
