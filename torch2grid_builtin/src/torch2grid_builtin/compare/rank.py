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


@dataclass(frozen=True)
class Rank:
    """stable: ‖Δ‖_F² / ‖Δ‖₂², at most the rank, and 1 where one direction is all; exact where 32
    directions hold all, else up to a tenth too high.

    directions: the fewest singular directions that hold 99.9 % of ‖Δ‖_F², ``None`` where 32 do not.
    """

    stable: float
    directions: int | None


def rank_of(delta: Array, largest: float) -> Rank | None:
    """The rank of a float32 matrix whose largest |value| is *largest*; ``None`` for a matrix of zeros.

    The spectral norm of a larger matrix comes from block Krylov iteration (Musco & Musco, NeurIPS 2015) from 8 fixed random
    directions, three steps: a dozen reads of the matrix.
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
        whole = float(values.sum())
    else:
        values = _krylov(matrix)
    values = np.maximum(values, 0.0)
    held = np.cumsum(values) >= _SHARE * whole
    return Rank(max(whole / float(values[0]), 1.0), int(held.argmax()) + 1 if held.any() and whole else None)


def _krylov(matrix: Array) -> Array:
    """The largest squared singular values, falling; of the span of 32 vectors."""
    block = matrix @ np.random.default_rng(0).standard_normal((matrix.shape[1], _BLOCK), dtype=np.float32)
    blocks = [np.linalg.qr(block)[0]]
    for _ in range(_STEPS):
        blocks.append(np.linalg.qr(matrix @ (matrix.T @ blocks[-1]))[0])
    basis = np.linalg.qr(np.concatenate(blocks, axis=1))[0]
    inside = (basis.T @ matrix).astype(np.float64)
    return np.asarray(np.linalg.eigvalsh(inside @ inside.T)[::-1])
