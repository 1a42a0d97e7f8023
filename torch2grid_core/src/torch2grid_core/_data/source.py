"""What can be read at any offset: a ``Source``, what sources have in common, and a range of one as a storage."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeGuard, runtime_checkable

from torch2grid_core._errors import LoadError, NotRead, UsageError, WrongAnswer

HEAD_BYTES = 4096
GLANCE_BYTES = 1 << 20  # that are read of a file to say what its headers alone do not
TAIL_BYTES = 69 << 10  # holds the end of a zip archive with the longest comment, as far as any reader looks for it


@runtime_checkable
class Source(Protocol):
    """Something that may be a checkpoint: bytes that can be read at any offset, a folder of sources, or a live object.

    - A file has bytes. It has a ``folder``, if one is known.
    - A folder (``is_folder``) has no bytes. It has ``entries`` that can be listed, and a ``child`` for each name, even if it
      cannot list them.

    ``SourceBase`` answers whatever follows from the rest. A source is hashable, can be referred to weakly, and pickles by its
    address, never with credentials.

    A source may have these, too:

    - ``read_into(offset, buffer)`` saves a copy.
    - ``read_rows(offset, step, buffers)`` fills many buffers of one length, each *step* bytes after the one before.
    - ``ahead``, if a read costs a request: how many bytes it fetches ahead of its readers. A pass says with ``prefetch`` what
      it will read, and is handed out in shares of that size.
    - ``prepare(names)``, for a folder: get ready to open these children, side by side.
    - ``shippable``: false if a pickled copy could not read in another process.
    """

    def __new__(cls, *_args: Any, **_named: Any) -> Any:
        if cls is Source:  # as before 0.2
            raise TypeError("Source is a protocol: a local file or folder is torch2grid_core.sources.LocalSource(path)")
        return super().__new__(cls)

    @property
    def name(self) -> str:
        """The last part of its address, without what says where that is."""

    @property
    def shown(self) -> str:
        """What messages call it."""

    @property
    def size(self) -> int:
        """Length in bytes; 0 for a folder."""

    @property
    def identity(self) -> Hashable:
        """A value that changes when the content changes: length and time, say, or an ETag.

        It is the same each time that the same content is opened, and for a pickled copy.
        """

    @property
    def is_folder(self) -> bool:
        """True if it has entries instead of bytes, False for a file.

        For a folder, ``read`` of any byte is a ``LoadError``, and ``child`` gives what is inside. For a file, ``child`` is a
        ``LoadError``.
        """

    @property
    def entries(self) -> Sequence[str]:
        """The names inside a folder, sorted; empty for a file, and for a folder that cannot be listed at all."""

    @property
    def folder(self) -> Source | None:
        """The folder that it lies in, whose ``child(name)`` is this again; ``None`` if there is none, or none is known."""

    @property
    def head(self) -> bytes:
        """The first 4096 bytes, kept; fewer if it is shorter, none for a folder."""

    @property
    def tail(self) -> bytes:
        """The last 69 KiB, kept; fewer if it is shorter, none for a folder."""

    @property
    def object(self) -> Any:
        """The live object that it is, ``None`` for bytes."""

    def child(self, name: str) -> Source:
        """Return what is called *name* inside a folder, with ``/`` between folders. Raises ``LoadError`` if it is not there."""

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly *length* bytes from *offset*, in any number of threads. Raises ``LoadError`` if it ends before."""

    def window(self, offset: int, size: int) -> Source:
        """Return the *size* bytes from *offset* as a source of their own. Raises ``LoadError`` if they are not inside."""

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Get ready to read these ranges (offset, size), in this order and in few requests, without waiting for them.

        It does nothing if reading costs no request.
        """


_BLOCKS = ("head", "tail", "entries", "folder")  # what is read once, and again in a pickled copy


class SourceBase:
    """What sources have in common. A subclass sets ``name``, ``shown``, ``size`` and ``identity``.

    A subclass for files answers ``read``, and ``folder`` if it has neighbours. One for folders sets ``is_folder``, and answers
    ``child``, and ``entries`` if they can be listed. Blocks that are kept are not pickled.
    """

    name: str
    shown: str
    size: int
    identity: Hashable
    is_folder: bool = False
    entries: Sequence[str] = ()
    folder: Source | None = None
    object: Any = None
    ahead: int = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown!r})"

    def __copy__(self) -> Any:
        found = super().__new__(type(self))
        found.__dict__.update(self.__dict__)
        return found

    def __getstate__(self) -> dict[str, Any]:
        kept = {name for name in ("entries", "folder") if not isinstance(getattr(type(self), name), cached_property)}
        return {name: value for name, value in vars(self).items() if name in kept or name not in _BLOCKS}

    @cached_property
    def head(self) -> bytes:
        """The first 4096 bytes."""
        return b"" if self.is_folder else self.read(0, min(HEAD_BYTES, self.size))

    @cached_property
    def tail(self) -> bytes:
        """The last 69 KiB."""
        if self.size <= HEAD_BYTES:
            return self.head
        length = min(TAIL_BYTES, self.size)
        return self.read(self.size - length, length)

    def child(self, name: str) -> Source:
        """Raise ``LoadError``: there is nothing inside."""
        raise LoadError(self.shown, f"is not a folder with {name!r} in it", "check the path")

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly *length* bytes from *offset*. Raises ``LoadError``."""
        raise NotImplementedError

    def window(self, offset: int, size: int) -> Source:
        """Return the *size* bytes from *offset* as a source of their own. Raises ``LoadError``."""
        return Window(Range(self, offset, size))

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Do nothing: a read costs no request."""

    def prepare(self, names: Iterable[str]) -> None:
        """Do nothing: opening a child costs no request."""

    def storage(self, offset: int = 0, size: int | None = None) -> Range:
        """Return the bytes from *offset* as a storage, as before 0.2: ``Range(source, offset, size)``."""
        instead = "torch2grid_core.sources.Range(source, offset, size)"
        warnings.warn(f"source.storage(offset, size) will be removed in 0.3; use {instead}", DeprecationWarning, stacklevel=2)
        return Range(self, offset, -1 if size is None else size)

    def inside(self, offset: int, length: int) -> None:
        """Raise ``LoadError`` unless these bytes are there."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise LoadError(
                self.shown, f"ends at byte {self.size}, byte {offset + length} is needed", "it is cut short; fetch it again"
            )


@dataclass(frozen=True, slots=True)
class Range:
    """The bytes of *source* from *offset* as a storage, to its end unless *size* is given.

    A pickled copy reads the same bytes in another process if its source does; else its ``shippable`` is false.

    Raises:
        LoadError: the bytes are not inside the source.
    """

    source: Source
    offset: int = 0
    size: int = -1
    shippable: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        whole = self.source.size
        object.__setattr__(self, "shippable", bool(getattr(self.source, "shippable", True)))
        if self.size == -1:
            object.__setattr__(self, "size", whole - self.offset)
        if self.offset < 0 or self.size < 0 or self.offset + self.size > whole:
            claim = f"has {whole} bytes, a record claims {self.offset}–{self.offset + self.size}"
            raise LoadError(self.source.shown, claim, "the file is cut short or wrong; fetch it again")

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* (writable, bytes) from *offset*. Raises ``LoadError`` if the bytes are not there."""
        if offset < 0 or offset + len(buffer) > self.size:
            asked = f"bytes {offset}–{offset + len(buffer)} of a record of {self.size} bytes asked for"
            raise LoadError(self.source.shown, asked)
        read_into = getattr(self.source, "read_into", None)
        if read_into is not None:
            read_into(self.offset + offset, buffer)
        else:
            buffer[:] = self.source.read(self.offset + offset, len(buffer))

    def read_rows(self, offset: int, step: int, rows: Sequence[memoryview]) -> None:
        """Fill *rows*, of one length, each *step* bytes after the one before, the first at *offset*.

        Raises like ``read_into``.
        """
        read_rows = getattr(self.source, "read_rows", None)
        if read_rows is None or not rows or offset < 0 or offset + (len(rows) - 1) * step + len(rows[0]) > self.size:
            for place, row in enumerate(rows):
                self.read_into(offset + place * step, row)
        else:
            read_rows(self.offset + offset, step, rows)


class Window(SourceBase):
    """A range of another source as a source."""

    def __init__(self, place: Range) -> None:
        self.place, self.size = place, place.size
        self.name, self.shown = place.source.name, place.source.shown
        self.identity = (place.source.identity, place.offset, place.size)
        self.ahead, self.shippable = ahead_of(place.source), place.shippable

    def read(self, offset: int, length: int) -> bytes:
        """Exactly *length* bytes from *offset*. Raises ``LoadError``."""
        self.inside(offset, length)
        return self.place.source.read(self.place.offset + offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* from *offset*, without a copy where the source beneath needs none. Raises ``LoadError``."""
        self.inside(offset, len(buffer))
        self.place.read_into(offset, buffer)

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Hand the ranges on, as those of the source beneath."""
        self.place.source.prefetch([(self.place.offset + offset, size) for offset, size in ranges])


class Glance(Window):
    """A file of which little is read besides its head and tail: ``NotRead`` is raised for more."""

    def __init__(self, source: Source) -> None:
        super().__init__(Range(source))
        self.head, self.tail, self.identity, self.folder = source.head, source.tail, source.identity, source.folder
        self._left = GLANCE_BYTES

    def read(self, offset: int, length: int) -> bytes:
        """Exactly *length* bytes from *offset*. Raises ``LoadError``."""
        self._spend(length)
        return super().read(offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* from *offset*. Raises ``LoadError``."""
        self._spend(len(buffer))
        super().read_into(offset, buffer)

    def _spend(self, length: int) -> None:
        self._left -= length
        if self._left < 0:
            raise NotRead(self.shown, "no more of it is read at a glance")


class ObjectSource(SourceBase):
    """A live object as a source: a module, a state dict, whatever a loader accepts. It has no bytes, and is not pickled.

    Args:
        value: the live object.
        name: what messages call it, if not its class.
    """

    size = 0

    def __init__(self, value: Any, name: str = "") -> None:
        if value is None:
            raise UsageError("a path, a module, a state dict or a Checkpoint is needed, not NoneType")
        self.object, self.name = value, name
        self.shown = name or type(value).__name__
        self.identity = id(value)

    def read(self, offset: int, length: int) -> bytes:
        """Return nothing, because there are no bytes. Raises ``LoadError`` if some are asked for."""
        self.inside(offset, length)
        return b""


def is_source(value: Any) -> TypeGuard[Source]:
    """True for a source, by what its class can do: some mappings claim to have every attribute."""
    return all(hasattr(type(value), name) for name in ("child", "read", "window", "prefetch"))


def ahead_of(source: Source) -> int:
    """Return how many bytes *source* fetches ahead of its readers; 0 if a read costs no request."""
    return getattr(source, "ahead", 0)


def prepare(folder: Source, names: Iterable[str]) -> None:
    """Let *folder* get ready to open these children, if it opens them by requests."""
    own = getattr(folder, "prepare", None)
    if own is not None:
        own(names)


def has_file(folder: Source, name: str) -> bool:
    """Return True if *name* is a file in *folder*."""
    try:
        return not folder.child(name).is_folder
    except WrongAnswer:
        raise
    except LoadError:
        return False
