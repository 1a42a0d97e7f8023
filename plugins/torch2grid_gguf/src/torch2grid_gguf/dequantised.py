"""Quantised blocks that read as float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_core import LoadError, Storage

_STRETCH = 1 << 16  # weights dequantised at a time: the intermediate arrays are several times as large


@dataclass(frozen=True)
class Dequantised:
    """The float32 numbers of quantised blocks, computed when they are read.

    inner: the blocks as they are stored. kind: the number of the ggml type; block: weights of one block; width: its bytes.
    """

    inner: Storage
    kind: int
    block: int
    width: int

    @property
    def size(self) -> int:
        return self.inner.size // self.width * self.block * 4

    @property
    def shippable(self) -> bool:
        return self.inner.shippable

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset < 0 or offset + len(buffer) > self.size:
            raise LoadError("GGUF tensor", f"bytes {offset}–{offset + len(buffer)} of {self.size} asked for")
        span = self.block * 4  # bytes that one block becomes
        first, last = offset // span, -(-(offset + len(buffer)) // span)
        step = max(_STRETCH // self.block, 1)
        for start in range(first, last, step):
            values = self._blocks(start, min(start + step, last)).view(np.uint8)
            low, high = max(offset, start * span), min(offset + len(buffer), start * span + len(values))
            buffer[low - offset : high - offset] = values[low - start * span : high - start * span].data

    def _blocks(self, first: int, last: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The weights of some blocks, 1-D."""
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        raw = np.empty((last - first) * self.width, np.uint8)
        self.inner.read_into(first * self.width, raw.data)
        with np.errstate(all="ignore"):  # a block of a damaged file may overflow; its weights are then drawn as Inf or NaN
            values = dequantize(raw, GGMLQuantizationType(self.kind))
        return np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
