"""A transformer: one grid of the whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch2grid_core import Grid, GridTransformer
from torch2grid_core.grids import Region

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SortedUnits(GridTransformer):
    """each layer's output units, sorted by norm

    Every tensor of two or more dimensions is a band of the picture, a row for each output unit (a matrix's row, a
    convolution's filter), sorted by Euclidean norm. A layer whose rows fade from strong to faint has units to prune;
    one of even rows uses them all. Biases and other vectors are left out. A unit with a NaN comes last.
    """

    name = "sorted_units"  # no annotation: with one, a dataclass would make it an option

    weakest_first: bool = field(default=False, metadata={"help": "put the units of the smallest norm on top"})

    def can_handle(self, tensors: Mapping[str, Any]) -> bool:
        return any(array.ndim >= 2 and array.size for array in tensors.values())

    def transform(self, tensors: Mapping[str, Any]) -> Grid:
        bands = {name: self._sorted(array) for name, array in tensors.items() if array.ndim >= 2 and array.size}
        rows = sum(len(band) for band in bands.values()) + len(bands) - 1  # one empty row between two bands
        values = np.zeros((rows, max(band.shape[1] for band in bands.values())), dtype=np.float32)
        count = np.zeros(values.shape, dtype=np.int64)  # 0: no weight here, drawn in a colour of its own
        regions, row = [], 0
        for name, band in bands.items():
            height, width = band.shape
            values[row : row + height, :width] = band
            count[row : row + height, :width] = 1
            regions.append(Region(name, ((row, 0, height, width),)))
            row += height + 1
        return Grid(values, count, regions=tuple(regions))

    def _sorted(self, array: Array) -> Array:
        units = array.reshape(len(array), -1)
        norms = np.sqrt(np.sum(np.square(units, dtype=np.float64), axis=1))
        order = np.argsort(norms if self.weakest_first else -norms, kind="stable")  # NaN last either way
        ordered: Array = units[order]
        return ordered
