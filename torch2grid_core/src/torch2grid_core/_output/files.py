"""Whole files or none, under names of their own; stdout, the one target that is not a file; and pages that wait on disk."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from torch2grid_core._errors import Torch2GridError
from torch2grid_core._pictures.origin import PageOrigin
from torch2grid_core._pictures.page import Page
from torch2grid_core._text import safe_filename

STDOUT = "-"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at *path* when the block ends well, and leaves nothing behind when it does not.

    Raises ``Torch2GridError`` naming *path* where it cannot be written.
    """
    # The name is known before the file is there, so that an interrupt at any moment finds what to remove.
    temporary = path.parent / f".{path.name[:40]}.{os.urandom(6).hex()}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:
            yield stream
        temporary.replace(path)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        raise Torch2GridError(f"{path}: {reason}; choose another place with --output") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder inside *folder* for files that belong there; when the block ends, whatever is still in it goes.

    Raises ``Torch2GridError`` naming *folder* where it cannot be made.
    """
    temporary = folder / f".torch2grid.{os.urandom(6).hex()}.part"
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.mkdir(mode=0o700)
        except OSError as error:
            reason = f"cannot be written: {error.strerror or error}"
            raise Torch2GridError(f"{folder}: {reason}; choose another place with --output") from error
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def files_below(folder: Path) -> list[str]:
    """Every file below *folder*, as ``folder/name`` relative to it, sorted.

    Raises ``ValueError`` for a link and for anything else that is neither file nor folder, ``OSError`` where it cannot be read.
    """
    found: list[str] = []
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                place = f"{inside}/{entry.name}" if inside else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(place)
                elif entry.is_file(follow_symlinks=False):
                    found.append(place)
                else:
                    raise ValueError(f"{place} is a link or a device; it writes files and folders alone")
    return sorted(found)


def move_whole(temporary: Path, path: Path, root: Path) -> None:
    """Put the file *temporary* at *path* below *root*, in place of a file of that name. A link is replaced, never followed.

    Raises ``Torch2GridError`` where a link leads out of *root*, or where it cannot be put there.
    """
    try:
        stay_inside(path.parent, root)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(path)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        raise Torch2GridError(f"{path}: {reason}; choose another place with --output") from error


def stay_inside(folder: Path, root: Path) -> None:
    """Raise ``Torch2GridError`` where a link on the way from *root* down to *folder* leads out of *root*."""
    if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root)):
        raise Torch2GridError(f"{folder}: a link in it leads out of {root}; remove it, or choose another place with --output")


@contextlib.contextmanager
def open_target(path: Path) -> Iterator[BinaryIO]:
    """Where a page's bytes go: a whole file, or stdout."""
    if str(path) != STDOUT:
        with whole_file(path) as stream:
            yield stream
        return
    sys.stdout.flush()
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


class Namer:
    """Relative paths for pages: safe on every file system, and unique where upper and lower case are the same."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}  # the last that was put behind each name

    def stem(self, page: Page) -> str:
        """``folder/name`` without ending, for all formats of *page*; no other page gets it, even one of the same name."""
        folder = "/".join(safe_filename(part) for part in page.folder.split("/") if part)
        base = safe_filename(page.name)
        stem, start = base, f"{folder}/{base}".casefold()
        while f"{folder}/{stem}".casefold() in self._taken:
            self._numbers[start] = self._numbers.get(start, 1) + 1
            stem = f"{base}_{self._numbers[start]}"
        self._taken.add(f"{folder}/{stem}".casefold())
        return f"{folder}/{stem}" if folder else stem


class Spool:
    """Pages in the order they came, in a temporary file of our own. Iterates as often as asked; a context closes it."""

    def __init__(self) -> None:
        self._file: Any = None
        self._places: list[int] = []
        self._origins: list[PageOrigin | None] = []  # most pages share one: it is not stored with each

    def __len__(self) -> int:
        return len(self._places)

    def add(self, page: Page) -> None:
        """Put *page* at the end.

        Raises what ``pickle`` does for a page that holds what cannot be stored, ``Torch2GridError`` where the disk is full.
        """
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="torch2grid-")  # noqa: SIM115 - closed by __exit__
            self._places.append(self._file.seek(0, 2))
            pickle.dump(page.with_origin(None), self._file, protocol=pickle.HIGHEST_PROTOCOL)
            self._origins.append(page.origin)
        except OSError as error:
            reason = f"pages cannot be kept in a temporary file: {error.strerror}"
            raise Torch2GridError(f"{reason}; point TMPDIR to a disk with room") from error

    def __iter__(self) -> Iterator[Page]:
        for place, origin in list(zip(self._places, self._origins, strict=True)):
            self._file.seek(place)
            page: Page = pickle.load(self._file)  # what ``add`` wrote, in a file that has no name
            yield page.with_origin(origin)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._places, self._origins = None, [], []

    def __del__(self) -> None:
        self.__exit__()  # a run that failed leaves no open file
