"""Numbers on their way into a page: rounded, and in an order that compresses."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def planes(values: Array) -> bytes:
    """32-bit numbers byte by byte, the highest of all first: like bytes next to each other compress better."""
    big = np.ascontiguousarray(values).reshape(-1).view(np.uint32).astype(">u4")
    return np.ascontiguousarray(big.view(np.uint8).reshape(-1, 4).T).tobytes()


def rounded(values: Array, bits: int) -> Array:
    """float32 *values* to the nearest with so many mantissa bits; NaN and Inf stay, and nothing finite becomes Inf."""
    pattern = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    drop = 23 - bits
    mask = np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    up = ((pattern.astype(np.uint64) + (1 << (drop - 1))) & mask).astype(np.uint32).view(np.float32)
    down = (pattern & mask).view(np.float32)
    result: Array = np.where(np.isfinite(values), np.where(np.isfinite(up), up, down), values)
    return result
