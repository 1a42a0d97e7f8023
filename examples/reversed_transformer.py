"""A transformer in a file, no hook, no package: ``torch2grid model.pth --load-plugin examples/reversed_transformer.py``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from torch2grid_core import Grid, GridTransformer


class Reversed(GridTransformer):
    """all weights backwards: the last weight of the last tensor first, row after row"""

    name = "reversed"

    def transform(self, tensors: Mapping[str, Any]) -> Grid:
        weights = np.concatenate([array.ravel() for array in tensors.values()])[::-1]
        side = math.ceil(math.sqrt(weights.size))
        values, count = np.zeros(side * side, np.float32), np.zeros(side * side, np.int64)
        values[: weights.size], count[: weights.size] = weights, 1
        return Grid(values.reshape(side, side), count.reshape(side, side))
