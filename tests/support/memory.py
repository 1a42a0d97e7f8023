"""A store of bytes in memory where each read costs a request: what loaders meet behind a network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from torch2grid_core import LoadError, SourceOpener, hookimpl
from torch2grid_core.sources import SourceBase

STORE: dict[str, bytes] = {}  # address → content
REQUESTS: list[tuple[str, str]] = []  # (what was asked, of which address)
_NEAR = 64 << 10  # ranges so near to each other are one request


class MemorySource(SourceBase):
    """``memory://ADDRESS``. A folder is whatever other addresses begin with."""

    def __init__(self, address: str) -> None:
        self.address, self.name, self.shown = address, address.rpartition("/")[2], f"memory://{address}"
        self.is_folder = address not in STORE
        REQUESTS.append(("look", address))
        if self.is_folder and not self.entries:
            raise LoadError(self.shown, "is not there", "check the address")
        self.size = 0 if self.is_folder else len(STORE[address])
        self.identity = hash(STORE.get(address))
        self._blocks: list[tuple[int, bytes]] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_blocks": []}

    @property
    def entries(self) -> tuple[str, ...]:  # type: ignore[override]
        inside = f"{self.address}/"
        return tuple(sorted({each[len(inside) :].partition("/")[0] for each in STORE if each.startswith(inside)}))

    @property
    def folder(self) -> MemorySource | None:  # type: ignore[override]
        above = self.address.rpartition("/")[0]
        return MemorySource(above) if above else None

    def child(self, name: str) -> MemorySource:
        return MemorySource(f"{self.address}/{name}")

    def read(self, offset: int, length: int) -> bytes:
        self.inside(offset, length)
        for start, block in self._blocks:
            if start <= offset and offset + length <= start + len(block):
                return block[offset - start : offset - start + length]
        return self._request(offset, length)

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        start = end = -1
        for offset, size in sorted(ranges):
            if start >= 0 and offset > end + _NEAR:
                self._blocks.append((start, self._request(start, end - start)))
                start = -1
            start, end = (offset, offset + size) if start < 0 else (start, max(end, offset + size))
        if start >= 0:
            self._blocks.append((start, self._request(start, end - start)))

    def _request(self, offset: int, length: int) -> bytes:
        REQUESTS.append((f"{offset}+{length}", self.address))
        return STORE[self.address][offset : offset + length]


class MemoryOpener(SourceOpener):
    """memory://ADDRESS: bytes that a test put there"""

    name = "memory"
    schemes: ClassVar[tuple[str, ...]] = ("memory",)

    def open(self, location: str) -> MemorySource:
        return MemorySource(location.removeprefix("memory://"))


class Plugin:
    @hookimpl
    def torch2grid_sources(self) -> list[type]:
        return [MemoryOpener]
