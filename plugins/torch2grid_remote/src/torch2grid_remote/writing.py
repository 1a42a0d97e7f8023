"""A prefix of a bucket as a place to write to: each object is there when all of it has arrived, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from functools import partial
from pathlib import Path
from typing import Any

from torch2grid_core import LoadError, Torch2GridError
from torch2grid_remote.addresses import inside
from torch2grid_remote.files import NotThere
from torch2grid_remote.filesystems import FilesystemStore


class BucketTarget:
    """The objects below *path*, by the part of their keys that follows it."""

    def __init__(self, store: FilesystemStore, path: str) -> None:
        self.store, self.path = store, path.strip("/")

    @property
    def shown(self) -> str:
        """Its location."""
        return self.store.shown(self.path).rstrip("/")

    def put(self, name: str, content: bytes | Path) -> None:
        """Store *content*, or that of a file, as *name*. What is large is sent in parts, which are put together at the end."""
        system, at = self.store.filesystem(), self._at(name)
        if isinstance(content, Path):
            self._done(lambda within: system.put_file(str(content), at), name)
        else:
            self._done(lambda within: system.pipe_file(at, content), name)

    def get(self, name: str, most: int) -> bytes | None:
        """What is stored as *name*; ``None`` where nothing is. Raises ``Torch2GridError`` for more than *most* bytes."""
        system, at = self.store.filesystem(), self._at(name)
        try:
            about = self.store.once(lambda within: system.info(at, **within), self._key(name))
            if about.get("type") != "file":
                return None
            if int(about["size"]) > most:
                raise Torch2GridError(
                    f"{self.shown}/{name}: is larger than {most >> 20} MiB; move it, or choose another --output"
                )
            found: bytes = self.store.once(lambda within: system.cat_file(at, **within), self._key(name))
        except NotThere:
            return None
        return found

    def names(self) -> Set[str]:
        """All that is stored below it."""
        system, where = self.store.filesystem(), self.store.at(self.path)
        try:
            found = self.store.once(lambda within: system.find(where, **within), self.path)
        except NotThere:
            return frozenset()
        return {str(each).lstrip("/")[len(where.lstrip("/")) + 1 :] for each in found}

    def move(self, name: str, to: str) -> None:
        """Let what is stored as *name* be stored as *to*; the store copies it."""
        system, old, new = self.store.filesystem(), self._at(name), self._at(to)
        self._done(lambda within: system.cp_file(old, new), to)
        self._done(lambda within: system.rm_file(old), name)

    def remove(self, names: Iterable[str]) -> None:
        """Let these be stored no longer."""
        system = self.store.filesystem()
        for name in names:
            self._done(partial(_removed, system, self._at(name)), name)

    def _key(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name

    def _at(self, name: str) -> str:
        return self.store.at(self._key(inside(self.shown, name)))

    def _done(self, work: Callable[[dict[str, float]], Any], name: str) -> None:
        """Do *work*, again where that may help. Raises ``Torch2GridError``."""
        try:
            self.store.once(work, self._key(name))
        except LoadError as error:
            reason = error.reason.removeprefix("cannot be read: ")
            raise Torch2GridError(f"{error.path}: cannot be written: {reason}; {error.advice}") from error


def _removed(system: Any, at: str, within: dict[str, float]) -> None:
    system.rm_file(at, **within)
