"""From values to a share of the colour map: limits that survive real tensors, and what lies beyond them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._pictures.choices import DEFAULT_CLIP as DEFAULT_CLIP, FORMER, ScaleKind as ScaleKind
from torch2grid_core._pictures.grid import Grid

_ROUNDING = 1e-6  # a value so much below 0, in units of the upper limit, is 0 that was calculated
_LARGEST = float(np.finfo(np.float32).max)
# A cell of the largest number stands for all beyond it: no limit has it.
_BELOW = float(np.nextafter(np.float32(_LARGEST), np.float32(0)))


@dataclass(frozen=True)
class ColorScale:
    """Limits and shape of a colour scale.

    Args:
        low: the value at the beginning of the colours.
        high: the value at their end.
        kind: linear, or asinh: linear near 0 and logarithmic beyond.
        over: share of the drawn, finite cells above the limits.
        under: share of the drawn, finite cells below the limits.
        bend: half-width of the linear middle of an asinh scale; 0: a thousandth of the larger limit.
    """

    low: float
    high: float
    kind: Literal["linear", "asinh"] = "linear"
    over: float = 0.0
    under: float = 0.0
    bend: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FORMER.get(self.kind, self.kind))

    @property
    def diverging(self) -> bool:
        """True if the limits are symmetric about 0, which is then the middle of the colours."""
        return self.low < 0 < self.high and math.isclose(-self.low, self.high, rel_tol=1e-6)

    @property
    def linear_threshold(self) -> float:
        """Half-width of the linear middle of an asinh scale: ``bend``, or a thousandth of the larger limit."""
        return self.bend or max(abs(self.low), abs(self.high)) * 1e-3

    def above(self, values: Array) -> Array:
        """Return where a value is above the limits. No float32 is above one that float32 cannot hold."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(values > self.high)

    def below(self, values: Array) -> Array:
        """Return where a value is below the limits. No float32 is below one that float32 cannot hold."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(values < self.low)

    def fraction(self, values: Array) -> Array:
        """Return the place of each value on the map as float64: 0 at *low*, 1 at *high*, outside for values beyond."""
        values = np.asarray(values, dtype=np.float64)
        low, high = self._bend(np.float64(self.low)), self._bend(np.float64(self.high))
        with np.errstate(invalid="ignore", over="ignore"):
            fraction: Array = (self._bend(values) - low) / (high - low)
        return fraction

    def value(self, fraction: Array) -> Array:
        """Return the inverse of ``fraction``."""
        low, high = self._bend(np.float64(self.low)), self._bend(np.float64(self.high))
        bent = low + np.asarray(fraction, dtype=np.float64) * (high - low)
        if not self._bent:
            return np.asarray(bent)
        return np.asarray(np.sinh(bent) * self.linear_threshold)

    @property
    def _bent(self) -> bool:
        # Limits so close that the logarithm tells them apart no more than to a few digits are as good as linear.
        return self.kind == "asinh" and abs(self.high - self.low) > 1e-6 * max(abs(self.low), abs(self.high))

    def _bend(self, values: Any) -> Any:
        # asinh is linear near 0 and logarithmic beyond, without the corner of a piecewise scale.
        return np.arcsinh(values / self.linear_threshold) if self._bent else values


def color_scale(
    grids: Grid | Iterable[Grid],
    kind: ScaleKind = "auto",
    clip: float = DEFAULT_CLIP,
    limits: tuple[float, float] | None = None,
) -> ColorScale:
    """Return one scale for one or more grids.

    A grid without variation gets limits around its value, never a zero range.

    Args:
        grids: what is drawn.
        kind: ``symmetric`` is ±q with q the *clip* quantile of the drawn cells' absolute values; ``minmax`` goes from the
            (1−clip) to the clip quantile of the values; ``asinh`` is symmetric, linear near 0 and logarithmic beyond; ``auto``
            is symmetric if a value is negative, else minmax from 0 or the low quantile, whichever is lower.
        clip: the quantile that the limits are taken from.
        limits: override the quantiles, as do the limits that all grids have.

    Raises:
        ValueError: the low limit is not below the high one.
    """
    kind = cast(ScaleKind, FORMER.get(kind, kind))
    given = [grids] if isinstance(grids, Grid) else list(grids)
    if limits is None and given and given[0].limits is not None and {grid.limits for grid in given} == {given[0].limits}:
        limits = given[0].limits
    drawn = [grid.drawn() for grid in given]
    values = np.concatenate(drawn) if drawn else np.empty(0, np.float32)
    finite = values[np.isfinite(values)]
    shape: Literal["linear", "asinh"] = "asinh" if kind == "asinh" else "linear"
    if limits is None:
        low, high = limits_of(_Drawn(finite), kind, clip) if finite.size else (-1.0, 1.0)
    else:
        low, high = limits
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise ValueError(f"limits {low:g},{high:g}: the first must be below the second, both finite")
    if finite.size == 0:
        return ColorScale(low, high, shape)
    scale = ColorScale(low, high, shape)
    return replace(scale, over=float(np.mean(scale.above(finite))), under=float(np.mean(scale.below(finite))))


class DrawnCells(Protocol):
    """The finite values of drawn cells, as far as limits need them: an array of them, or what was counted of many pictures."""

    @property
    def min(self) -> float:
        """The least value."""

    @property
    def max(self) -> float:
        """The greatest value."""

    def quantile(self, share: float) -> float:
        """The least value that at least *share* (0…1) of the values do not exceed."""

    def size_quantile(self, share: float) -> float:
        """The same of the absolute values."""


def limits_of(cells: DrawnCells, kind: ScaleKind, clip: float) -> tuple[float, float]:
    """The limits (low, high), low < high, that ``color_scale`` gives *cells*, of which there is one at least.

    Numbers beyond float32 are cells of its largest number: they are beyond the limits, since nothing is known of their place.
    """
    least, most = cells.min, cells.max
    negative = least < -_ROUNDING * most or (least < 0 and least < -_ROUNDING * cells.size_quantile(clip))
    if kind == "auto":
        kind = "symmetric" if negative else "minmax"
    if kind != "minmax":
        high = cells.size_quantile(clip) or max(abs(least), abs(most)) or 1.0
        return -min(high, _BELOW), min(high, _BELOW)
    low, high = cells.quantile(1 - clip), cells.quantile(clip)
    if not negative and low < 0.5 * high:
        low = min(least, 0.0)
    if not low < high:
        low, high = least, most
    if not low < high:
        margin = abs(low) * 0.5 or 1.0
        low, high = low - margin, high + margin
    return max(low, -_BELOW), min(high, _BELOW)


class _Drawn:
    """Cells in memory: float32, 1-D, finite, one at least."""

    def __init__(self, values: Array) -> None:
        self._values = values
        self.min, self.max = float(values.min()), float(values.max())

    def quantile(self, share: float) -> float:
        return _quantile(self._values, share)

    def size_quantile(self, share: float) -> float:
        return _quantile(np.abs(self._values), share)


def _quantile(values: Array, share: float) -> float:
    """The smallest value that at least *share* of the values do not exceed (the inverted CDF), by one partition."""
    place = min(max(math.ceil(len(values) * share) - 1, 0), len(values) - 1)
    return float(np.partition(values, place)[place])
