"""Openers of locations: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from tests.support.testing.broken.registry import breaks

from torch2grid_core import SourceOpener
from torch2grid_core.sources import LocalSource


def locate_toy(folder: Path) -> list[str]:
    (folder / "x").write_bytes(bytes(range(250)) * 400)
    return [f"toy://{folder}", f"toy://{folder}/x"]


class GoodSource(SourceOpener):
    """toy://PATH: a local file"""

    name = "toy"
    schemes: ClassVar[Any] = ("toy",)
    source: ClassVar[type[LocalSource]] = LocalSource

    def open(self, location: str) -> LocalSource:
        return self.source(location.removeprefix("toy://"))


class _Shifts(LocalSource):
    def read_into(self, offset: int, buffer: memoryview) -> None:
        super().read_into(max(offset - 1, 0), buffer)


class _CutsShort(LocalSource):
    def read(self, offset: int, length: int) -> bytes:
        return super().read(min(max(offset, 0), self.size), max(min(length, self.size - max(offset, 0)), 0))


class _CarriesItsHead(LocalSource):
    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))


@breaks("source", "schemes")
class Shouts(GoodSource):
    schemes: ClassVar[Any] = ("TOY",)


@breaks("source", "source_reads_agree")
class Shifts(GoodSource):
    source = _Shifts


@breaks("source", "what_is_not_there")
class CutsShort(GoodSource):
    source = _CutsShort


@breaks("source", "source_pickles")
class CarriesItsHead(GoodSource):
    source = _CarriesItsHead
