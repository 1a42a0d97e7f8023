"""A remote file and a remote folder as sources, over a ``Store`` that knows how its servers are asked."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from torch2grid_core import LoadError
from torch2grid_core.sources import Source, SourceBase
from torch2grid_remote import limits
from torch2grid_remote.addresses import inside
from torch2grid_remote.reading import in_threads, reader
from torch2grid_remote.retrying import Tell

CHANGED = "changed while it was being read", "run again when it is complete"  # of a file: what is wrong, and what to do


class NotThere(LoadError):
    """There is nothing of that name."""


class Entry(NamedTuple):
    """What a listing says of a name. size: in bytes, -1 where it does not say, of a folder 0. version: another one when the
    content is another."""

    name: str
    is_folder: bool = False
    size: int = -1
    version: str = ""


class Begun(NamedTuple):
    """How a file begins, how long it is, and which version of it that was."""

    head: bytes
    size: int
    version: str


class Store(Protocol):
    """A place that holds files by path. It pickles without credentials. Whatever fails is a ``LoadError``."""

    @property
    def shippable(self) -> bool:
        """False where another process could not find the credentials."""

    @property
    def looks(self) -> bool:
        """True where the folder of a file can be listed, when somebody asks for its neighbours."""

    def shown(self, path: str) -> str:
        """What messages call what is at *path*."""

    def begin(self, path: str) -> Begun:
        """The first bytes of a file. Raises ``NotThere``."""

    def fetch(self, path: str, version: str, size: int, start: int, buffer: memoryview, tell: Tell | None) -> None:
        """Fill *buffer* from byte *start* of that version of a file of *size* bytes."""

    def listing(self, path: str) -> Sequence[Entry]:
        """What is in a folder. Raises ``NotThere``."""


class RemoteFile(SourceBase):
    """A file. *head* is fetched when it is made or, where a listing has told its size, when it is asked for."""

    ahead = limits.AHEAD

    def __init__(self, store: Store, path: str, size: int, version: str) -> None:
        self.store, self.path, self.size, self.version = store, path, size, version
        self.shown = store.shown(path)
        self.name = path.rstrip("/").rpartition("/")[2]
        self.identity: Hashable = (self.shown, size, version)
        if not version:  # another content of that size would look the same
            reader().lose(self.identity)

    @property
    def shippable(self) -> bool:
        """True where a pickled copy reads the same in another process."""
        return self.store.shippable

    @cached_property
    def folder(self) -> Source | None:  # type: ignore[override]
        """The folder that it lies in."""
        above = self.path.rpartition("/")[0]
        return RemoteFolder(self.store, above, listed=self.store.looks)

    def fetch(self, start: int, buffer: memoryview, tell: Tell | None = None) -> None:
        """Fill *buffer* from byte *start* by requests. Raises ``LoadError``."""
        self.store.fetch(self.path, self.version, self.size, start, buffer, tell)

    @cached_property
    def head(self) -> bytes:
        """The first 4096 bytes."""
        length = min(limits.HEAD, self.size)
        if length:
            block = bytearray(length)
            reader().read_into(self, 0, memoryview(block))
            reader().keep(self, 0, bytes(block))
            return bytes(block[:4096])
        return b""

    @cached_property
    def tail(self) -> bytes:
        """The last 69 KiB."""
        length = min(_TAIL, self.size)
        found = self.read(self.size - length, length)
        if length:
            reader().keep(self, self.size - length, found)
        return found

    def read(self, offset: int, length: int) -> bytes:
        """Exactly *length* bytes from *offset*. Raises ``LoadError``."""
        self.inside(offset, length)
        buffer = bytearray(length)
        reader().read_into(self, offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* from *offset*. Raises ``LoadError``."""
        self.inside(offset, len(buffer))
        reader().read_into(self, offset, buffer)

    def read_rows(self, offset: int, step: int, buffers: Sequence[memoryview]) -> None:
        """Fill *buffers*, which are equally long, from *offset*, each *step* bytes on. Raises ``LoadError``."""
        if buffers:
            last = offset + (len(buffers) - 1) * step
            self.inside(min(offset, last), 0)
            self.inside(max(offset, last), len(buffers[0]))
            reader().read_rows(self, offset, step, buffers)

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Begin to fetch these ranges, in their order."""
        reader().prefetch(self, ranges)


_TAIL = 69 << 10


class RemoteFolder(SourceBase):
    """A folder. listed: its store can say what is in it; else its children are found by their names alone."""

    is_folder = True
    size = 0
    ahead = limits.AHEAD

    def __init__(self, store: Store, path: str, entries: Sequence[Entry] | None = None, listed: bool = True) -> None:
        self.store, self.path, self.listed = store, path, listed
        self.shown = store.shown(f"{path}/" if path else "")
        self.name = path.rpartition("/")[2]
        self._found: dict[str, Source] = {}
        if entries is not None:
            self._entries = {each.name: each for each in entries}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_found": {}}

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        return {each.name: each for each in self.store.listing(self.path)} if self.listed else {}

    @cached_property
    def entries(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names inside, sorted."""
        return tuple(sorted(self._entries))

    @cached_property
    def identity(self) -> Hashable:  # type: ignore[override]
        """The address; with the sizes and versions of what is listed."""
        return (self.shown, tuple(sorted(self._entries.values())))

    @cached_property
    def folder(self) -> Source | None:  # type: ignore[override]
        """The folder that it lies in."""
        if not self.path:
            return None
        return RemoteFolder(self.store, self.path.rpartition("/")[0], listed=self.store.looks)

    def child(self, name: str) -> Source:
        """What is called *name* inside. Raises ``LoadError``."""
        found = self._found.get(inside(self.shown, name))
        if found is None:
            found = self._found[name] = self._child(name)
        return found

    def _child(self, name: str) -> Source:
        first, slash, rest = name.partition("/")
        path = f"{self.path}/{first}" if self.path else first
        if not self.listed:
            path = f"{self.path}/{name}" if self.path else name
            return begun(self.store, path)
        known = self._entries.get(first)
        if known is None:
            raise NotThere(self.store.shown(path), "is not there", "check the address")
        if known.is_folder:
            below = self._found.get(first) or RemoteFolder(self.store, path)
            self._found[first] = below
            return below.child(rest) if slash else below
        if slash:
            raise NotThere(self.store.shown(f"{path}/{rest}"), "is not there", "check the address")
        found = begun(self.store, path) if known.size < 0 else RemoteFile(self.store, path, known.size, known.version)
        found.folder = self  # whose listing is known
        return found

    def read(self, offset: int, length: int) -> bytes:
        """Nothing; there are no bytes. Raises ``LoadError`` where some are asked for."""
        self.inside(offset, length)
        return b""

    def prepare(self, names: Iterable[str]) -> None:
        """Fetch how the files *names* begin, 16 at a time. What is not there is told when it is asked for."""

        def one(name: str) -> None:
            found = self.child(name)
            if isinstance(found, RemoteFile):
                _ = found.head

        in_threads(one, names)


def begun(store: Store, path: str) -> RemoteFile:
    """The file at *path*, by its first block, which is kept. Raises ``NotThere``."""
    head, size, version = store.begin(path)
    found = RemoteFile(store, path, size, version)
    if head:
        reader().keep(found, 0, head)
    return found
