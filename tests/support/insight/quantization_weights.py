"""Fixed weights of which the libraries' errors are stored: numpy's ``RandomState`` gives the same numbers in every version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def _as_half(weights: Array) -> Array:
    """float32 that float16 holds: bitsandbytes takes nothing else for INT8."""
    return weights.astype(np.float16).astype(np.float32)


def normal() -> Array:
    return _as_half(np.random.RandomState(1).standard_normal((96, 256)) * 0.02)


def heavy() -> Array:
    """Long tails, as attention has them."""
    return _as_half(np.random.RandomState(2).standard_t(3, (64, 384)) * 0.02)


def trained() -> Array:
    """Rows of different sizes, two outlier columns, a dead row, and a block of zeros."""
    state = np.random.RandomState(3)
    weights = state.standard_normal((48, 512)) * 0.02 * np.exp(state.standard_normal((48, 1)))
    weights[:, [7, 300]] *= 12
    weights[5] = 0
    weights[9, 128:256] = 0
    return _as_half(weights)


def ties() -> Array:
    """Multiples of a power of two: many lie in the middle between two numbers of a scheme."""
    return _as_half(np.random.RandomState(4).randint(-60, 61, (32, 256)) / 64.0)


def odd() -> Array:
    """Rows that are no multiple of any block."""
    return _as_half(np.random.RandomState(5).standard_normal((33, 100)) * 0.05)


WEIGHTS: dict[str, Callable[[], Array]] = {each.__name__: each for each in (normal, heavy, trained, ties, odd)}
