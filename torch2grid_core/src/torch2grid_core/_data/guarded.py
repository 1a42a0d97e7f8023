"""Sources of plugins as loaders see them: what goes wrong inside is told as the source's own error, by its location."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

from torch2grid_core._data.local import LocalSource
from torch2grid_core._data.source import HEAD_BYTES, TAIL_BYTES, Source, SourceBase
from torch2grid_core._errors import LoadError, Torch2GridError
from torch2grid_core._guard import describe, describe_value
from torch2grid_core._text import without_secrets


class GuardedSource(SourceBase):
    """Another source, *inner*, whose failures are ``LoadError`` with its location, and whose reads are as long as was asked."""

    def __init__(self, inner: Source) -> None:
        self.inner, self.name, self.shown = inner, inner.name, without_secrets(inner.shown)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GuardedSource) and self.inner == other.inner

    def __hash__(self) -> int:
        return hash(self.inner)

    def __getattr__(self, name: str) -> Any:
        """What the source has beside what every source has, for a loader of the same plugin."""
        if name.startswith("__") or "inner" not in vars(self):
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def size(self) -> int:  # type: ignore[override]
        with self._told("cannot be looked at"):
            found = self.inner.size
        if not isinstance(found, Integral) or found < 0:
            raise LoadError(self.shown, f"its source says a size of {describe_value(found)}, not a number of bytes")
        return found

    @property
    def identity(self) -> Hashable:  # type: ignore[override]
        with self._told("cannot be looked at"):
            return self.inner.identity

    @property
    def is_folder(self) -> bool:  # type: ignore[override]
        with self._told("cannot be looked at"):
            return self.inner.is_folder

    @property
    def entries(self) -> Sequence[str]:  # type: ignore[override]
        with self._told("cannot be listed"):
            return self.inner.entries

    @property
    def folder(self) -> Source | None:  # type: ignore[override]
        with self._told("cannot be looked around"):
            found = self.inner.folder
        return None if found is None else GuardedSource(found)

    @property
    def head(self) -> bytes:
        with self._told("cannot be read"):
            length = 0 if self.is_folder else min(HEAD_BYTES, self.size)
            return self._whole(self.inner.head, 0, length)

    @property
    def tail(self) -> bytes:
        with self._told("cannot be read"):
            length = 0 if self.is_folder else min(TAIL_BYTES, self.size)
            return self._whole(self.inner.tail, self.size - length, length)

    def child(self, name: str) -> Source:
        """What is called *name* inside a folder. Raises ``LoadError``."""
        with self._told(f"cannot be searched for {name!r}"):
            return GuardedSource(self.inner.child(name))

    def read(self, offset: int, length: int) -> bytes:
        """Exactly *length* bytes from *offset*. Raises ``LoadError``."""
        with self._told("cannot be read"):
            return self._whole(self.inner.read(offset, length), offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* from *offset*. Raises ``LoadError``."""
        read_into = getattr(self.inner, "read_into", None)
        if read_into is None:
            buffer[:] = self.read(offset, len(buffer))
            return
        with self._told("cannot be read"):
            read_into(offset, buffer)

    def window(self, offset: int, size: int) -> Source:
        """The *size* bytes from *offset* as a source of their own. Raises ``LoadError``."""
        with self._told("cannot be read"):
            return GuardedSource(self.inner.window(offset, size))

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Get ready to read these ranges. Raises ``LoadError``."""
        with self._told("cannot be read"):
            self.inner.prefetch(ranges)

    @contextlib.contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (Torch2GridError, MemoryError):
            raise
        except Exception as error:
            raise LoadError(self.shown, f"{doing}: {describe(error)}") from error

    def _whole(self, found: Any, offset: int, length: int) -> bytes:
        if not isinstance(found, (bytes, bytearray, memoryview)):
            raise LoadError(self.shown, f"cannot be read: its source gave {type(found).__name__}, not bytes")
        if len(found) != length:
            asked = f"its source gave {len(found):,} of the {length:,} bytes from byte {offset:,}"
            raise LoadError(self.shown, asked, "try again; if it stays so, the source is at fault")
        return found  # type: ignore[return-value]


def guarded_source(source: Source) -> Source:
    """*source*, guarded, unless it is a local file's or a live object: those tell of themselves."""
    told = source.object is not None or type(source) in (LocalSource, GuardedSource)
    return source if told else GuardedSource(source)
