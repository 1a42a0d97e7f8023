"""What a tensor's weights are, in 64 hexadecimal digits: hashes of its blocks, and the hash of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from torch2grid_core import LazyTensor, Need
from torch2grid_core.measures import Chunk, Collector

BLOCK = 64 << 20  # bytes
ALGORITHM = "BLAKE3 of the BLAKE3 hashes of each 64 MiB of the decoded, little-endian bytes in C order"


@dataclass(frozen=True)
class Digest(Need[str]):
    """A hash of the decoded bytes of each tensor, 64 hexadecimal digits. Names, shapes and dtypes are not in it."""

    aligned: ClassVar[int] = BLOCK

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return _Blocks()

    def collectors(self, tensors: Sequence[LazyTensor], stored: Any) -> Sequence[Collector]:
        found, start = list[Collector](), 0
        for tensor in tensors:
            each = _Blocks()
            each.update(Chunk(tensor.name, 0, stored[start : start + tensor.size]))
            found.append(each)
            start += tensor.size
        return found


class _Blocks(Collector):
    """The hash of each block that was seen to its end, by number, and the one that is being read."""

    def __init__(self) -> None:
        self.blocks: dict[int, bytes] = {}
        self._hash: Any = None
        self._place = 0  # in bytes, where the next are

    def update(self, chunk: Chunk) -> None:
        from blake3 import blake3  # what few commands need

        stored = chunk.stored
        raw = stored.view(np.uint8).data if len(stored) else memoryview(b"")
        self._place = chunk.start * stored.itemsize
        while raw:
            if self._hash is None:
                self._hash = blake3()
            part = raw[: BLOCK - self._place % BLOCK]
            self._hash.update(part)
            self._place, raw = self._place + len(part), raw[len(part) :]
            if self._place % BLOCK == 0:
                self._close()

    def _close(self) -> None:
        if self._hash is not None:
            self.blocks[(self._place - 1) // BLOCK] = self._hash.digest()
            self._hash = None

    def merge(self, other: _Blocks) -> None:
        self._close()
        other._close()
        self.blocks.update(other.blocks)

    def result(self) -> str:
        from blake3 import blake3

        self._close()
        return blake3(b"".join(digest for _, digest in sorted(self.blocks.items()))).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        self._close()
        return {"blocks": self.blocks, "_hash": None, "_place": self._place}
