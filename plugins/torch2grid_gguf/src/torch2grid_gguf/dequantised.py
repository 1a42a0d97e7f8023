"""Quantised blocks that read as float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from torch2grid_core.sources import DerivedNumbers, Storage


@dataclass(frozen=True)
class Dequantised(DerivedNumbers):
    """The float32 numbers of quantised blocks, computed when they are read.

    inner: the blocks as they are stored. kind: the number of the ggml type; block: weights of one block; width: its bytes.
    """

    inner: Storage
    kind: int
    block: int
    width: int
    step: ClassVar[int] = 1 << 16  # the intermediate arrays are several times as large

    @property
    def count(self) -> int:  # type: ignore[override]
        return self.inner.size // self.width * self.block

    def elements(self, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The weights *start* to *stop*, of whole blocks that are dequantised."""
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        first, last = start // self.block, -(-stop // self.block)
        raw = self.read(first * self.width, (last - first) * self.width)
        with np.errstate(all="ignore"):  # a block of a damaged file may overflow; its weights are then drawn as Inf or NaN
            values = dequantize(raw, GGMLQuantizationType(self.kind))
        found = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
        return found[start - first * self.block : stop - first * self.block]
