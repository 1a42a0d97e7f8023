"""Where bytes are. A loader hands out ranges of files as ``FileStorage``; anything else implements ``Storage``."""

from __future__ import annotations

import os
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from torch2grid_core.data.regular import open_regular
from torch2grid_core.errors import LoadError

UNKNOWN = (-1, -1)


@runtime_checkable
class Storage(Protocol):
    """A run of bytes that can be read in any part.

    A storage that computes its bytes (dequantises, swaps byte order, negates) is a ``Storage`` like any other: wrap
    one and answer ``read_into`` with the decoded bytes.
    """

    @property
    def size(self) -> int:
        """Length in bytes."""

    @property
    def shippable(self) -> bool:
        """True where a pickled copy reads the same bytes in another process."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* (writable, bytes) from *offset*. Raises ``LoadError`` if the bytes are not there."""


@dataclass(frozen=True)
class FileStorage:
    """A range of a regular file, read with plain reads. A file that changed since it was opened is an error."""

    path: str
    offset: int
    size: int
    identity: tuple[int, int] = UNKNOWN  # length and mtime in ns when the range was found
    shippable: bool = field(default=True, init=False)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset < 0 or offset + len(buffer) > self.size:
            raise LoadError(self.path, f"bytes {offset}–{offset + len(buffer)} of a record of {self.size} bytes asked for")
        _files.read(self, self.offset + offset, buffer)


@dataclass(frozen=True, eq=False)
class BytesStorage:
    """Bytes that are in memory already: a numpy array's, a live tensor's, or a small record's."""

    data: Any  # an object with the buffer protocol
    shippable: bool = field(default=False, init=False)

    @property
    def size(self) -> int:
        return memoryview(self.data).nbytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        view = memoryview(self.data).cast("B")
        if offset < 0 or offset + len(buffer) > len(view):
            raise LoadError("<memory>", f"bytes {offset}–{offset + len(buffer)} of {len(view)} asked for")
        buffer[:] = view[offset : offset + len(buffer)]


@dataclass(frozen=True)
class ByteSwapped:
    """Another storage's numbers of *itemsize* bytes in the other byte order. Reads start and end at whole numbers."""

    inner: Storage
    itemsize: int

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def shippable(self) -> bool:
        return self.inner.shippable

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.inner.read_into(offset, buffer)
        if self.itemsize > 1:
            np.frombuffer(buffer, dtype=f"u{self.itemsize}" if self.itemsize <= 8 else "u8").byteswap(inplace=True)


class CheckedStorage:
    """Another storage whose bytes have a CRC-32 (a zip record's). A mismatch is a ``LoadError`` naming *label*.

    Reading it from start to end in order checks it on the way. Any other read checks the whole record first, once, and
    ``verify`` checks what has not been read yet: a tensor calls it behind its last read, so that one which covers only
    the beginning of a record is checked too. Safe to share between threads; each process checks for itself.
    """

    def __init__(self, inner: Storage, crc32: int, path: str, label: str) -> None:
        self.inner, self.crc32, self.path, self.label = inner, crc32, path, label
        self._next, self._running, self._verified = 0, 0, inner.size == 0 and crc32 == 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"CheckedStorage({self.inner!r}, crc32=0x{self.crc32:08x}, label={self.label!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.inner, self.crc32, self.path, self.label), {"_verified": self._verified})

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def shippable(self) -> bool:
        return self.inner.shippable

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if self._verified:
            self.inner.read_into(offset, buffer)
            return
        with self._lock:
            if not self._verified and offset != self._next:
                self._verify()
            self.inner.read_into(offset, buffer)
            if not self._verified:
                self._running = zlib.crc32(buffer, self._running)
                self._next += len(buffer)
                if self._next == self.size:
                    self._finish()

    def verify(self) -> None:
        """Check the whole record now, in bounded memory, unless it was checked before. Raises ``LoadError``."""
        if not self._verified:
            with self._lock:
                self._verify()

    def _verify(self) -> None:
        if self._verified:
            return
        buffer = bytearray(min(1 << 20, max(self.size - self._next, 1)))
        while self._next < self.size:
            part = memoryview(buffer)[: min(len(buffer), self.size - self._next)]
            self.inner.read_into(self._next, part)
            self._running = zlib.crc32(part, self._running)
            self._next += len(part)
        self._finish()

    def _finish(self) -> None:
        found, self._running, self._next = self._running, 0, 0
        if found != self.crc32:
            raise LoadError(
                self.path,
                f"record {self.label} is damaged: its CRC-32 is {found:08x}, the archive says {self.crc32:08x}",
                "fetch or save the file again",
            )
        self._verified = True


def verify(storage: object) -> None:
    """Check the checksum of *storage*, or of the one that it wraps as ``inner``, where there is one. Raises ``LoadError``."""
    found = _checked(storage)
    if found is not None:
        found.verify()


def has_checksum(storage: object) -> bool:
    """True where ``verify`` has something to check."""
    return _checked(storage) is not None


def _checked(storage: Any) -> Any:
    while storage is not None and not hasattr(storage, "verify"):
        storage = getattr(storage, "inner", None)
    return storage


class _OpenFiles:
    """A few open files for each process, so that 10,000 tensors of one file cost one open."""

    def __init__(self, limit: int = 16) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[int, str, tuple[int, int]], int] = OrderedDict()

    def read(self, storage: FileStorage, offset: int, buffer: memoryview) -> None:
        with self._lock:
            descriptor = self._descriptor(storage)
            # Reading under the lock keeps a descriptor from being closed in mid-read; workers are processes.
            done = 0
            while done < len(buffer):
                try:
                    count = _read_at(descriptor, buffer[done:], offset + done)
                except OSError as error:
                    raise LoadError(storage.path, f"cannot be read: {error.strerror}") from error
                if count == 0:
                    raise LoadError(storage.path, f"ends at byte {offset + done}, inside a tensor", "it is cut short")
                done += count
            _check_unchanged(storage, descriptor)

    def _descriptor(self, storage: FileStorage) -> int:
        key = (os.getpid(), storage.path, storage.identity)
        found = self._open.get(key)
        if found is not None:
            self._open.move_to_end(key)
            return found
        try:
            found = open_regular(storage.path)
        except OSError as error:
            raise LoadError(storage.path, f"cannot be opened: {error.strerror}") from error
        try:
            _check_unchanged(storage, found)
        except LoadError:
            os.close(found)
            raise
        self._open[key] = found
        while len(self._open) > self.limit:
            (owner, _, _), stale = self._open.popitem(last=False)
            if owner == os.getpid():
                os.close(stale)
        return found


def _check_unchanged(storage: FileStorage, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if storage.identity not in (UNKNOWN, (status.st_size, status.st_mtime_ns)):
        raise LoadError(storage.path, "changed while it was being read", "run again when it is complete")


def _read_at(descriptor: int, buffer: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # no preadv on Windows; the caller holds the lock
    data = os.read(descriptor, len(buffer))
    buffer[: len(data)] = data
    return len(data)


_files = _OpenFiles()
