"""Tables of sines and cosines: positions, rotations, Fourier transforms. Their values repeat, and begin with zeros and ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from torch2grid_builtin._rules.texture import FlatTensor
from torch2grid_core import LazyTensor
from torch2grid_core.sources import as_float

Array = np.ndarray[Any, Any]

_ROWS = 8  # fewer do not show a wave
_WRONG = 0.05  # of a column's height, that a value may be away from what its neighbours say: float16 rounds
_READ = 1 << 26  # weights of a table that is looked at once more
_STEPS = (1, 2, 3)  # rows away, of the neighbours: the one beside may be a padding row of zeros


class Waves:
    """The columns of a tensor's last two dimensions that are waves: x[t − 1] + x[t + 1] is k · x[t] throughout."""

    def __init__(self, tensor: LazyTensor) -> None:
        self._width = tensor.shape[-1] if tensor.ndim else 1
        rows = tensor.size // max(self._width, 1)
        self._table = np.empty((0, self._width))
        if tensor.ndim < 2 or rows < _ROWS or tensor.size > _READ:
            self._fits = self._swings = np.zeros(self._width, bool)
            return
        self._table = as_float(FlatTensor(tensor).part(0, tensor.size)).astype(np.float64).reshape(rows, self._width)
        with np.errstate(all="ignore"):
            sizes = np.abs(self._table)
            # A sine's height is √2 times the median of its sizes; of a kernel, one large weight would make all others small.
            self._height = np.minimum(sizes.max(axis=0), 2 * np.median(sizes, axis=0))
            middle, beside = self._table[1:-1], self._table[:-2] + self._table[2:]
            factors = np.where(np.abs(middle) > 0.1 * self._height, beside / middle, np.nan)
            self._factor = np.clip(np.nan_to_num(_median(factors), nan=2.0), -2, 2)
            away = np.abs(beside - self._factor * middle)
            self._fits = np.quantile(away, 0.9, axis=0) <= _WRONG * self._height
            self._swings = self._fits & (np.ptp(self._table, axis=0) > 0.5 * self._height)

    @property
    def throughout(self) -> bool:
        """True where nearly all columns are waves, and half of them swing: equal rows are none."""
        return bool(self._fits.mean() > 0.9 and self._swings.mean() >= 0.5)

    def explain(self, first: int, last: int) -> bool:
        """True where the weights of flat index *first* to *last* are what the waves of their columns are there."""
        if not self._swings.mean() >= 1 / 8:
            return False
        rows, columns = np.divmod(np.arange(first, last), self._width)
        if not self._fits[columns].all():
            return False
        found, limit = np.zeros(len(rows), bool), _WRONG * self._height[columns]
        factor, before = self._factor[columns], np.full(len(rows), 2.0)
        factors = [factor]  # of neighbours one row away, two, three: those of Chebyshev's polynomials
        for _ in _STEPS[1:]:
            factors.append(factor * factors[-1] - before)
            before = factors[-2]
        for step, by in zip(_STEPS, factors, strict=True):
            for one, other, central in ((step, 2 * step, False), (-step, -2 * step, False), (-step, step, True)):
                here = (rows + min(one, other, 0) >= 0) & (rows + max(one, other, 0) < len(self._table))
                near = self._table[np.where(here, rows + one, 0), columns]
                far = self._table[np.where(here, rows + other, 0), columns]
                own = self._table[rows, columns]
                away = np.abs(near + far - by * own) if central else np.abs(by * near - far - own)
                found |= here & (away <= limit)
        return bool(found.all())


def _median(values: Array) -> Array:
    """Of each column, without NaN; NaN where there is nothing else."""
    ordered = np.sort(values, axis=0)  # NaN comes last
    counts = np.count_nonzero(~np.isnan(values), axis=0)
    middle: Array = ordered[np.maximum(counts - 1, 0) // 2, np.arange(values.shape[1])]
    return middle
