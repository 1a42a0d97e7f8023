"""A record of an archive as a source, for the loader of what it holds."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._loaders.zip_archive import LOCAL
from torch2grid_core.sources import Source, SourceBase, Storage, unchecked

_HEAD = 4096


class RecordSource(SourceBase):
    """The bytes of a record as a source: checked as a whole before any of them is read, but for the first.

    A large zip archive in it is not, where each of its own records has a checksum. folder: what it lies in.
    """

    def __init__(self, archive: Source, name: str, storage: Storage, folder: Source | None = None) -> None:
        self.name = name.rpartition("/")[2]
        self.shown = f"{archive.shown}/{name}"
        self.size = storage.size
        self.identity = (archive.identity, name)
        self.folder = folder
        self._storage = storage
        if storage.size > limits.CHECKED_BESIDE and self.head.startswith(LOCAL):
            self._storage = unchecked(storage)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "folder": None}  # which reads no numbers

    @property
    def shippable(self) -> bool:
        """True where a pickled copy reads the same bytes in another process."""
        return self._storage.shippable

    @cached_property
    def head(self) -> bytes:
        """The first 4096 bytes, had without unpacking or checking the rest."""
        buffer = bytearray(min(_HEAD, self.size))
        unchecked(self._storage).read_into(0, memoryview(buffer))
        return bytes(buffer)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly *length* bytes from *offset*. Raises ``LoadError``."""
        self.inside(offset, length)
        buffer = bytearray(length)
        self._storage.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* from *offset*. Raises ``LoadError``."""
        self.inside(offset, len(buffer))
        self._storage.read_into(offset, buffer)
