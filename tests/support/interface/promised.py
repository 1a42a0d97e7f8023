"""The transformer file that the interface promises to run: it knows nothing of layouts, and loops over every weight."""

COLUMN_MAJOR = """
import numpy as np
from torch2grid.plugins.base import TransformerPlugin

class ColumnMajor(TransformerPlugin):
    @property
    def name(self) -> str:
        return "column_major"

    @property
    def description(self) -> str:
        return "weights down the columns"

    def preprocess(self, tensors: dict) -> dict:
        return {k: v for k, v in tensors.items() if "weight" in k}

    def transform(self, tensors: dict) -> np.ndarray:
        values = []
        for _, arr in tensors.items():
            if arr is not None:
                values.extend(arr.flatten())
        side = int(np.ceil(np.sqrt(len(values))))
        grid = np.zeros((side, side))
        for i, v in enumerate(values[: side * side]):
            grid[i % side, i // side] = v
        return grid
"""
