"""Where a packing puts boxes: what tests of packings look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from torch2grid_builtin._transformers.packing import Box, Packing


def boxes_over(packing: Packing, boxes: Sequence[Box], gap: int) -> np.ndarray[Any, Any]:
    """How many of *boxes*, each with *gap* cells below and right of it, cover each cell.

    Raises ``ValueError`` for one outside.
    """
    taken = np.zeros((packing.height + gap, packing.width + gap), dtype=int)
    for (row, column), (height, width) in zip(packing.places, boxes, strict=True):
        if row + height > packing.height or column + width > packing.width:
            raise ValueError(f"a box of {height}×{width} at {row}, {column} leaves the packing")
        taken[row : row + height + gap, column : column + width + gap] += 1
    return taken
