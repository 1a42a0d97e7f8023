"""The largest singular value of a matrix, without the others."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def squared_norm(matrix: Array, start: Array, close: float = 1e-3, longest: int = 40) -> float:
    """‖matrix‖₂² by Lanczos' iteration on matrix·matrixᵀ from the unit vector *start*, all vectors kept orthogonal.

    It ends where the residual says that an eigenvalue is within *close*, as a share of it (Parlett, "The Symmetric Eigenvalue
    Problem", 4.5), or after *longest* steps. float32 or float64, as the matrix is.
    """
    longest = min(longest, len(start))
    vectors = np.empty((longest, len(start)), matrix.dtype)
    projected = np.zeros((longest, longest))
    step, norm, vector = 0, 0.0, start
    while step < longest:
        vectors[step] = vector
        known = vectors[: step + 1]
        image = matrix @ (matrix.T @ vector)
        along = known @ image
        projected[step, : step + 1] = projected[: step + 1, step] = along
        image -= along @ known
        image -= (known @ image) @ known  # once more, for what rounding left
        values, coordinates = np.linalg.eigh(projected[: step + 1, : step + 1])
        norm, left = float(values[-1]), float(np.linalg.norm(image))
        if left * abs(float(coordinates[-1, -1])) <= close * norm:
            break
        vector = image / matrix.dtype.type(left)
        step += 1
    return norm
