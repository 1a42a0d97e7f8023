"""Loaders: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.testing.broken.registry import breaks

from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import BytesStorage, Range


def write_toy(folder: Path) -> list[Path]:
    (folder / "x.toy").write_bytes(b"TOY\n" + np.arange(600, dtype="<f4").tobytes())
    return [folder / "x.toy"]


class GoodLoader(Loader):
    """a header of four bytes, then float32"""

    name = "toy"

    def sniff(self, source: Any) -> int:
        return 2 if source.head[:4] == b"TOY\n" else 0

    def load(self, source: Any) -> Checkpoint:
        if source.size < 8 or source.size % 4 or not self.sniff(source):
            raise LoadError(source.shown, f"has {source.size} bytes", "fetch it again")
        return Checkpoint([self.tensor(source)], source=source.shown, format="toy")

    def tensor(self, source: Any) -> LazyTensor:
        return LazyTensor("w", ((source.size - 4) // 4,), np.dtype("<f4"), Range(source, 4))


@breaks("loader", "sniff_is_safe")
class SniffsByAssertion(GoodLoader):
    """raises for an empty file"""

    def sniff(self, source: Any) -> int:
        return 2 if source.head[0] == 84 else 0


@breaks("loader", "sniff_knows_its_own")
class SniffsByName(GoodLoader):
    """looks at the name"""

    def sniff(self, source: Any) -> int:
        return 2 if source.path.suffix == ".toy" else 0


@breaks("loader", "load_describes")
class ListShape(GoodLoader):
    """a shape that is a list, and no format"""

    def load(self, source: Any) -> Checkpoint:
        return Checkpoint([self.tensor(source)], source=source.shown)


class Forgetful:
    """A storage that answers a read in the middle with what is at the start."""

    shippable = True

    def __init__(self, inner: Any) -> None:
        self.inner, self.size = inner, inner.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.inner.read_into(0, buffer)


@breaks("loader", "reads_agree")
class ReadsTheStart(GoodLoader):
    """wrong bytes for every chunk but the first"""

    def tensor(self, source: Any) -> LazyTensor:
        return LazyTensor("w", ((source.size - 4) // 4,), np.dtype("<f4"), Forgetful(Range(source, 4)))


@breaks("loader", "deterministic")
class CountsItsLoads(GoodLoader):
    """other weights every time"""

    loads = itertools.count()

    def tensor(self, source: Any) -> LazyTensor:
        return LazyTensor("w", (2,), np.dtype("<f4"), BytesStorage(np.full(2, next(self.loads), "<f4")))


class Here:
    """A storage of this process that claims to work in any."""

    shippable = True

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def __reduce__(self) -> Any:
        return Here, (bytes(self.size),)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.data[offset : offset + len(buffer)]


@breaks("loader", "shipping")
class ShipsNothing(GoodLoader):
    """a pickled tensor that is all zeros"""

    def tensor(self, source: Any) -> LazyTensor:
        return LazyTensor("w", (600,), np.dtype("<f4"), Here(source.read(4, 2400)))


@breaks("loader", "damage_is_a_clear_error")
class TrustsTheSize(GoodLoader):
    """a cut file raises what numpy raises"""

    def load(self, source: Any) -> Checkpoint:
        values = np.frombuffer(source.read(4, source.size - 4), "<f4")
        return Checkpoint(
            [LazyTensor("w", values.shape, values.dtype, BytesStorage(values))], source=source.shown, format="toy"
        )
