"""Tensors as the arrays that a plain transformer gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import as_float
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._summary.not_finite import NotFiniteCount, count_not_finite


class ArrayMapping(Mapping[str, Array]):
    """Tensors as float32 arrays, each read when it is touched and forgotten after: what a plain transformer gets.

    not_finite: how many weights are NaN or Inf in each tensor that was touched and holds any.
    """

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self._tensors = dict(tensors)
        self.not_finite: dict[str, NotFiniteCount] = {}

    def __getitem__(self, name: str) -> Array:
        values = as_float(self._tensors[name].numpy())
        if count := count_not_finite(values.reshape(-1)):
            self.not_finite[name] = count
        limit = np.finfo(np.float32).max
        if values.dtype == np.float64:  # beyond float32's range stays the largest float32, never Inf
            values = np.where(np.isfinite(values), np.clip(values, -limit, limit), values)
        return np.array(values, dtype=np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
