"""How many directions a change has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_BLOCK, _STEPS = 8, 3  # 32 directions: LoRA of rank 16 and more is found whole
_SMALL = 96
_SHARE = 0.999
_LEAST, _MOST = 1e-12, 1e12
_LONGEST, _CLOSE = 40, 1e-3  # steps towards the spectral norm, and how far ‖Δ‖₂² may be off, as a share of it


@dataclass(frozen=True)
class Rank:
    """stable: ‖Δ‖_F² / ‖Δ‖₂², at most the rank, and 1 where one direction is all; to 1 %.

    directions: the fewest singular directions that hold 99.9 % of ‖Δ‖_F², ``None`` where 32 do not.
    """

    stable: float
    directions: int | None


def rank_of(delta: Array, largest: float) -> Rank | None:
    """The rank of a float32 matrix whose largest |value| is *largest*; ``None`` for a matrix of zeros.

    Of a matrix with more than 96 rows and columns, directions come from block Krylov iteration (Musco & Musco, NeurIPS 2015)
    from 8 fixed random vectors, three steps: a dozen reads of the matrix. Where these directions do not tell the spectral norm
    yet, as they do not in noise, Lanczos' iteration goes on from the first of them: two reads a step, about 15 steps.
    """
    if not largest:
        return None
    matrix = delta
    if not _LEAST < largest < _MOST:  # its square would not be a float32
        matrix = (delta.astype(np.float64) / largest).astype(np.float32)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    whole = float(np.vdot(matrix, matrix))
    if min(matrix.shape) <= _SMALL:
        wide = matrix.astype(np.float64)
        values = np.linalg.eigvalsh(wide @ wide.T)[::-1]
        whole, norm = float(values.sum()), float(values[0])
    else:
        values, first = _krylov(matrix)
        norm = _squared_norm(matrix, first)
    held = np.cumsum(np.maximum(values, 0.0)) >= _SHARE * whole
    return Rank(max(whole / norm, 1.0), int(held.argmax()) + 1 if held.any() and whole else None)


def rank_of_complex(delta: Array, largest: float) -> Rank | None:
    """The same of a complex64 matrix X + iY, by [[X, −Y], [Y, X]], which has each singular value twice."""
    real, imaginary = delta.real, delta.imag
    found = rank_of(np.block([[real, -imaginary], [imaginary, real]]), largest)
    if found is None:
        return None
    return Rank(max(found.stable / 2, 1.0), None if found.directions is None else (found.directions + 1) // 2)


def _krylov(matrix: Array) -> tuple[Array, Array]:
    """The largest squared singular values, falling, of the span of 32 vectors; and the left vector of the first."""
    block = matrix @ np.random.default_rng(0).standard_normal((matrix.shape[1], _BLOCK), dtype=np.float32)
    blocks = [np.linalg.qr(block)[0]]
    for _ in range(_STEPS):
        blocks.append(np.linalg.qr(matrix @ (matrix.T @ blocks[-1]))[0])
    basis = np.linalg.qr(np.concatenate(blocks, axis=1))[0]
    inside = (basis.T @ matrix).astype(np.float64)
    values, vectors = np.linalg.eigh(inside @ inside.T)
    return values[::-1], basis @ vectors[:, -1].astype(np.float32)


def _squared_norm(matrix: Array, start: Array) -> float:
    """‖matrix‖₂² by Lanczos' iteration on matrix·matrixᵀ from the unit vector *start*, all vectors kept orthogonal.

    It ends where the residual says that an eigenvalue is within 0.1 % (Parlett, "The Symmetric Eigenvalue Problem", 4.5).
    """
    vectors = np.empty((_LONGEST, len(start)), np.float32)
    projected = np.zeros((_LONGEST, _LONGEST))
    step, norm, vector = 0, 0.0, start
    while step < min(_LONGEST, len(start)):
        vectors[step] = vector
        known = vectors[: step + 1]
        image = matrix @ (matrix.T @ vector)
        along = known @ image
        projected[step, : step + 1] = projected[: step + 1, step] = along
        image -= along @ known
        image -= (known @ image) @ known  # once more, for what rounding left
        values, coordinates = np.linalg.eigh(projected[: step + 1, : step + 1])
        norm, left = float(values[-1]), float(np.linalg.norm(image))
        if left * abs(float(coordinates[-1, -1])) <= _CLOSE * norm:
            break
        vector = image / np.float32(left)
        step += 1
    return norm
