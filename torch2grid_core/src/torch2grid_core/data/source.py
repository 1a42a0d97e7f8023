"""What a loader looks at: a regular file or a folder, and nothing that blocks."""

from __future__ import annotations

import os
import stat
from functools import cached_property
from pathlib import Path

from torch2grid_core.data.storage import FileStorage
from torch2grid_core.errors import LoadError

HEAD_BYTES = 4096


class Source:
    """A path that may be a checkpoint. Raises ``LoadError`` at once for anything but a readable file or a folder.

    path: where the bytes are. shown: what messages call it; the two differ for a file that was unpacked first.
    """

    def __init__(self, path: str | os.PathLike[str], shown: str | None = None) -> None:
        if not os.fspath(path):
            raise LoadError("''", "is no path", "give the path of a checkpoint")  # Path takes it for the working folder
        self.path = Path(path)
        self.shown = str(path) if shown is None else shown
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
        self.identity = (status.st_size, status.st_mtime_ns)

    def __repr__(self) -> str:
        return f"Source({self.shown!r})"

    @cached_property
    def head(self) -> bytes:
        """The first 4096 bytes of a file, fewer when it is shorter; empty for a folder."""
        return b"" if self.is_folder else self.read(0, min(HEAD_BYTES, self.size))

    @property
    def name(self) -> str:
        """The last part of the path, without what says where that is."""
        return self.path.name

    def child(self, name: str) -> Source:
        """The file or folder *name* inside a folder. Raises ``LoadError`` as opening it by its path does."""
        return type(self)(self.path / name, shown=str(Path(self.shown) / name))

    @property
    def folder(self) -> Source:
        """The folder that it lies in, as a source."""
        return type(self)(self.path.parent, shown=str(Path(self.shown).parent))

    @cached_property
    def entries(self) -> tuple[str, ...]:
        """The names inside a folder, sorted; empty for a file."""
        if not self.is_folder:
            return ()
        try:
            return tuple(sorted(os.listdir(self.path)))
        except OSError as error:
            raise LoadError(self.shown, f"cannot be listed: {error.strerror}") from error

    def read(self, offset: int, size: int) -> bytes:
        """Exactly *size* bytes from *offset*. Raises ``LoadError`` where the file ends before."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise LoadError(self.shown, f"ends at byte {self.size}, byte {offset + size} is needed", "it is cut short")
        buffer = bytearray(size)
        self.storage().read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def storage(self, offset: int = 0, size: int | None = None) -> FileStorage:
        """The bytes from *offset* as a ``FileStorage``, to the end of the file unless *size* is given.

        Raises ``LoadError`` when the range is not inside the file.
        """
        length = self.size - offset if size is None else size
        if offset < 0 or length < 0 or offset + length > self.size:
            raise LoadError(
                self.shown,
                f"has {self.size} bytes, a record claims {offset}–{offset + length}",
                "the file is cut short or wrong",
            )
        return FileStorage(str(self.path), offset, length, self.identity)
