"""Singular values of a matrix: all of them from its square, the largest alone, and what is computed of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_SMALLEST = 1e-280
_LOOKED = 4  # steps of an iteration from one look at the residual to the next
_LITTLE = 1e-4  # of the largest eigenvalue: less may be rounding, and is no direction


def norm_of(values: Array) -> float:
    """‖W‖_F = √Σσ², of singular values, largest first; no square leaves the range of float64."""
    top = float(values[0])
    return top * math.sqrt(stable_rank_of(values) or 0.0)


def stable_rank_of(values: Array) -> float | None:
    """‖W‖²_F/‖W‖²₂ = Σσ²/σ₁²; ``None`` of zeros."""
    top = float(values[0])
    return float(((values / top) ** 2).sum()) if top else None


def of_squares(squares: Array) -> Array | None:
    """σ, largest first, of a matrix whose smaller product with itself is *squares*.

    ``None`` where that is not finite, or so small that float64 may have rounded squares to zero.
    """
    largest = float(np.diagonal(squares).max())  # NaN where one is
    if not _SMALLEST < largest < math.inf:
        return None
    squares = np.divide(squares, largest, out=squares)
    found = np.linalg.eigvalsh(squares, UPLO="U")[::-1]
    return np.sqrt(np.clip(found, 0, None)) * math.sqrt(largest)


@np.errstate(invalid="ignore")  # kernels of BLAS compute with what lies beside their rows, and throw it away
def squared_norm(matrix: Array, start: Array, close: float = 1e-3, longest: int = 40) -> tuple[float, bool]:
    """‖matrix‖₂², and whether it is known, by Lanczos' iteration on matrix·matrixᵀ from the unit vector *start*.

    All vectors are kept orthogonal. It ends where the residual says that an eigenvalue is within *close*, as a share of it
    (Parlett, "The Symmetric Eigenvalue Problem", 4.5), or after *longest* steps, where it is not known as closely. The
    residual is looked at every few steps, and where nothing is left to go on with: the eigenvalues of what was projected take
    longer than a step. float32 or float64, as the matrix is.
    """
    longest = min(longest, len(start))
    vectors = np.zeros((longest, len(start)), matrix.dtype)  # kernels of BLAS look at what lies beside their rows, too
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
        left = float(np.linalg.norm(image))
        step += 1
        if step % _LOOKED == 0 or step == longest or left <= _LITTLE * float(projected.diagonal().max()):
            values, coordinates = np.linalg.eigh(projected[:step, :step])
            norm = float(values[-1])
            if left * abs(float(coordinates[-1, -1])) <= close * norm:
                return norm, True
        vector = image / matrix.dtype.type(left)
    return norm, False
