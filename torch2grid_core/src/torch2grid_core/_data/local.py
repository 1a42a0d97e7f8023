"""Local files and folders as sources, and nothing that blocks: no pipe, no device."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch2grid_core._data.source import Range, SourceBase
from torch2grid_core._errors import LoadError
from torch2grid_core._text import without_secrets

_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY"))


def open_regular(path: str | Path) -> int:
    """A descriptor of the file at *path*. Raises ``OSError`` where there is none, and at once for a pipe or a device."""
    descriptor = os.open(path, _FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file")
    return descriptor


def read_regular(path: str | Path, most: int) -> bytes:
    """The content of the file at *path*. Raises ``OSError`` as ``open_regular`` does, and for one of more than *most* bytes."""
    with os.fdopen(open_regular(path), "rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"is larger than {most >> 20} MiB")
    return content


class LocalSource(SourceBase):
    """A regular file or a folder, by its path. Raises ``LoadError`` at once for anything else.

    If a file has changed since, reading it is an error, also in the process that a pickled copy comes to.

    Args:
        path: of the file or folder.
        shown: what messages call it if that is not the path, for example a file that was unpacked first.
    """

    def __init__(self, path: str | os.PathLike[str], shown: str | None = None) -> None:
        if not os.fspath(path):
            raise LoadError("''", "is not a path", "give the path of a checkpoint")  # Path takes it for the working folder
        self.path = Path(path)
        self.shown = str(path) if shown is None else without_secrets(shown)
        try:
            status = os.stat(self.path)
        except OSError as error:
            dangling = os.path.islink(self.path)
            reason = "is a link to a file that does not exist" if dangling else (error.strerror or "cannot be read").lower()
            raise LoadError(self.shown, reason, "check the path") from error
        except ValueError as error:  # an embedded NUL
            raise LoadError(self.shown, "is not a valid path") from error
        self.is_folder = stat.S_ISDIR(status.st_mode)
        if not self.is_folder and not stat.S_ISREG(status.st_mode):
            raise LoadError(self.shown, "is not a regular file", "give the path of a checkpoint file or folder")
        self.size = 0 if self.is_folder else status.st_size
        self.identity: tuple[int, int] = (status.st_size, status.st_mtime_ns)

    def __getstate__(self) -> dict[str, Any]:
        """A worker may have another working folder."""
        path = self.path if self.path.is_absolute() else Path(os.path.abspath(self.path))
        return {**super().__getstate__(), "path": path}

    @property
    def name(self) -> str:  # type: ignore[override]
        """The last part of the path."""
        return self.path.name

    def child(self, name: str) -> LocalSource:
        """Return the file or folder *name* inside. Raises ``LoadError`` as opening it by its path does."""
        scheme, colon, rest = self.shown.partition("://")  # a Path would drop a slash of it
        return type(self)(self.path / name, shown=f"{scheme}{colon}{Path(rest) / name}" if colon else str(Path(scheme) / name))

    @cached_property
    def folder(self) -> LocalSource | None:  # type: ignore[override]
        """The folder that it lies in, ``None`` if that may not be looked at."""
        try:
            scheme, colon, rest = self.shown.partition("://")
            shown = f"{scheme}{colon}{os.path.dirname(rest)}" if colon else os.path.dirname(scheme) or "."
            return type(self)(os.path.dirname(os.path.abspath(self.path)), shown=shown)
        except LoadError:
            return None

    @property
    def is_link(self) -> bool:
        """True if the path is a symbolic link."""
        return os.path.islink(self.path)

    @cached_property
    def entries(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names inside a folder, sorted. Raises ``LoadError`` if it may not be listed."""
        if not self.is_folder:
            return ()
        try:
            return tuple(sorted(os.listdir(self.path)))
        except OSError as error:
            raise LoadError(self.shown, f"cannot be listed: {error.strerror}") from error

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly *length* bytes from *offset*. Raises ``LoadError`` if the file ends before."""
        self.inside(offset, length)
        return _files.read_bytes(self, offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* from *offset*. Raises ``LoadError`` if the file ends before, or has changed."""
        _files.read(self, offset, buffer)

    def read_rows(self, offset: int, step: int, rows: Sequence[memoryview]) -> None:
        """Fill *rows*, of one length, each *step* bytes after the one before, the first at *offset*.

        Raises like ``read_into``.
        """
        _files.read_rows(self, offset, step, rows)


class FileStorage(Range):
    """A range of a local file by its path: what ``Range(LocalSource(path), offset, size)`` is now."""

    def __init__(self, path: str, offset: int, size: int, identity: tuple[int, int] | None = None) -> None:
        source = LocalSource(path)
        source.identity = source.identity if identity in (None, (-1, -1)) else identity or source.identity
        super().__init__(source, offset, size)


class _Open:
    """An open file, closed when the last that reads it lets it go."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.owner, self.lock = descriptor, os.getpid(), threading.Lock()

    def __del__(self) -> None:
        if self.owner == os.getpid():
            os.close(self.descriptor)

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Fill some of *buffer* from *offset*; how much, 0 at the end of the file."""
        if hasattr(os, "preadv"):
            return os.preadv(self.descriptor, [buffer], offset)
        data = self.bytes_at(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def bytes_at(self, offset: int, length: int) -> bytes:
        """Some of *length* bytes from *offset*, none at the end of the file."""
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, length, offset)
        with self.lock:  # neither pread nor preadv on Windows
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            return os.read(self.descriptor, length)

    def read_rows_at(self, rows: Sequence[memoryview], offset: int, step: int) -> bool:
        """Fill *rows*, of one length, from *offset* and each *step* on, in one call; False where that is not good, or not all
        came.
        """
        gap = step - len(rows[0])
        if len(rows) < 2 or not 0 <= gap <= _BETWEEN or not hasattr(os, "preadv"):
            return False
        buffers = [memoryview(bytearray(gap))] * (2 * len(rows) - 1)
        buffers[::2] = rows
        return os.preadv(self.descriptor, buffers, offset) == (len(rows) - 1) * step + len(rows[0])


_ROWS = 512  # rows that one call reads: half of what Linux takes
_BETWEEN = 16 << 10  # bytes between two rows that are read with them: another call costs more


class _OpenFiles:
    """A few open files for each process, so that 10,000 tensors of one file cost one open. Threads read side by side."""

    def __init__(self, limit: int = 16) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._open: dict[tuple[int, str, tuple[int, int]], _Open] = {}

    def read(self, source: LocalSource, offset: int, buffer: memoryview) -> None:
        self.read_rows(source, offset, 0, (buffer,))

    def read_bytes(self, source: LocalSource, offset: int, length: int) -> bytes:
        file = self._file(source)
        try:
            found = file.bytes_at(offset, length)
        except OSError as error:
            raise LoadError(source.shown, f"cannot be read: {error.strerror}") from error
        if len(found) < length:
            rest = bytearray(length - len(found))
            self.read(source, offset + len(found), memoryview(rest))
            return found + rest
        _check_unchanged(source, file.descriptor)
        return found

    def read_rows(self, source: LocalSource, offset: int, step: int, rows: Sequence[memoryview]) -> None:
        file = self._file(source)
        for first in range(0, len(rows), _ROWS):
            part = rows[first : first + _ROWS]
            try:
                whole = file.read_rows_at(part, offset + first * step, step)
                for place, buffer in enumerate(() if whole else part, first):
                    self._fill(source, file, offset + place * step, buffer)
            except OSError as error:
                raise LoadError(source.shown, f"cannot be read: {error.strerror}") from error
        _check_unchanged(source, file.descriptor)

    @staticmethod
    def _fill(source: LocalSource, file: _Open, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            count = file.read_at(buffer[done:] if done else buffer, offset + done)
            if count == 0:
                raise LoadError(
                    source.shown, f"ends at byte {offset + done}, inside a tensor", "it is cut short; fetch it again"
                )
            done += count

    def _file(self, source: LocalSource) -> _Open:
        file = self._open.get((os.getpid(), str(source.path), source.identity))
        if file is not None:
            return file
        try:
            file = _Open(open_regular(source.path))
        except OSError as error:
            raise LoadError(source.shown, f"cannot be opened: {error.strerror}") from error
        _check_unchanged(source, file.descriptor)
        with self._lock:
            self._open[(file.owner, str(source.path), source.identity)] = file
            while len(self._open) > self.limit:
                del self._open[next(iter(self._open))]
        return file


def _check_unchanged(source: LocalSource, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if source.identity != (status.st_size, status.st_mtime_ns):
        raise LoadError(source.shown, "changed while it was being read", "run again when it is complete")


_files = _OpenFiles()
