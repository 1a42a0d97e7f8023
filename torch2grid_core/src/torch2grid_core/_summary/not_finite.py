"""How many weights are no numbers: NaN and Inf, counted while they stream past."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from torch2grid_core._array import Array

_PIECE = 1 << 18  # weights looked at at once: what the cache holds


@dataclass(frozen=True)
class NotFiniteCount:
    """How many of some weights are NaN, and how many +Inf or −Inf. It is true if there are any."""

    nan: int = 0
    inf: int = 0

    def __bool__(self) -> bool:
        return bool(self.nan or self.inf)

    def merge(self, other: NotFiniteCount) -> NotFiniteCount:
        """Return the count of these weights and those of *other* together."""
        return NotFiniteCount(self.nan + other.nan, self.inf + other.inf) if other else self

    @property
    def text(self) -> str:
        """``3 NaN``, ``2 Inf``, ``3 NaN, 2 Inf``; empty where there are none."""
        return ", ".join(f"{count:,} {what}" for count, what in ((self.nan, "NaN"), (self.inf, "Inf")) if count)


ALL_FINITE = NotFiniteCount()


def count_not_finite(values: Array) -> NotFiniteCount:
    """Return the count of NaN and Inf in *values*: 1-D, float32 or float64 (see ``dtypes.as_float``).

    It takes two comparisons per weight where all are finite: the largest and the least of any that are not finite are not
    finite either.
    """
    found = ALL_FINITE
    for start in range(0, len(values), _PIECE):
        piece = values[start : start + _PIECE]
        found = found.merge(counted_where_any(piece, float(piece.max()), float(piece.min())))
    return found


def counted_where_any(values: Array, high: float, low: float) -> NotFiniteCount:
    """The count of *values* whose largest and least are known: only where one of these is not finite is there any."""
    if math.isfinite(high) and math.isfinite(low):
        return ALL_FINITE
    return NotFiniteCount(int(np.count_nonzero(np.isnan(values))), int(np.count_nonzero(np.isinf(values))))
