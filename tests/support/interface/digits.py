"""The network of the demo as arrays and plain ways to lay it out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from tests.support.tools import DIGITS

Array = np.ndarray[Any, Any]
STATE = {name: tensor.numpy().astype(np.float64) for name, tensor in torch.load(DIGITS, weights_only=True).items()}
WEIGHTS = np.concatenate([array.reshape(-1) for array in STATE.values()])
SIDE = math.ceil(math.sqrt(len(WEIGHTS)))


def square(weights: Array) -> Array:
    """Row after row into the smallest square; NaN where none is left."""
    grid = np.full(SIDE * SIDE, np.nan)
    grid[: len(weights)] = weights
    return grid.reshape(SIDE, SIDE)


def spiral(weights: Array, clockwise: bool = True) -> Array:
    """From the centre out, one step at a time: the plain way to walk a spiral."""
    places = [(0, 0)]
    row = column = 0
    length = 1
    turns = [(0, 1), (1, 0), (0, -1), (-1, 0)] if clockwise else [(0, 1), (-1, 0), (0, -1), (1, 0)]
    direction = 0
    while len(places) < len(weights):
        for _ in range(2):
            for _ in range(length):
                row, column = row + turns[direction][0], column + turns[direction][1]
                places.append((row, column))
            direction = (direction + 1) % 4
        length += 1
    places = places[: len(weights)]
    rows, columns = (np.array([place[axis] for place in places]) for axis in (0, 1))
    grid = np.full((np.ptp(rows) + 1, np.ptp(columns) + 1), np.nan)
    grid[rows - rows.min(), columns - columns.min()] = weights
    return grid
