"""Whole files or none, under names of their own; stdout, the one target that is not a file; and pages that wait on disk."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from torch2grid_core._errors import Torch2GridError, UsageError
from torch2grid_core._pictures.origin import PageOrigin
from torch2grid_core._pictures.page import Page
from torch2grid_core._text import safe_filename, without_secrets

if TYPE_CHECKING:
    from torch2grid_core._plugins.manager import PluginManager

STDOUT = "-"


@contextlib.contextmanager
def whole_file(path: Path, option: str = "--output") -> Iterator[BinaryIO]:
    """Open a binary file that appears at *path* when the block ends well, and leaves nothing behind when it does not.

    Args:
        path: of the file.
        option: the option of the command line that chooses the place, for the error.

    Raises:
        Torch2GridError: *path* cannot be written; the error names it.
    """
    # The name is known before the file is there, so that an interrupt at any moment finds what to remove.
    temporary = path.parent / f".{path.name[:40]}.{os.urandom(6).hex()}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:
            yield stream
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error, option) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_file(manager: PluginManager, location: str, content: bytes, option: str = "--output") -> None:
    """Write *content* at *location*, a path or a location such as ``s3://bucket/report.json``: all of it, or nothing.

    Args:
        manager: knows which plugin writes to the location (see ``PluginManager.target``).
        location: of the file.
        content: its bytes.
        option: the option of the command line that chooses the place, for errors.

    Raises:
        Torch2GridError: it cannot be written.
        UsageError: the location names no file.
    """
    if manager.target(location) is None:
        with whole_file(Path(location), option) as file:
            file.write(content)
        return
    folder, _, name = location.rpartition("/")
    target = manager.target(folder)
    if target is None or not name:
        raise UsageError(f"{option} {without_secrets(location)}: names no file")
    target.put(name, content)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder inside *folder* for files that belong there; when the block ends, whatever is still in it goes.

    Where the block fails, so do the folders that were made for it, as far as they are empty. Raises ``Torch2GridError`` naming
    *folder* where it cannot be made.
    """
    temporary = folder / f".torch2grid.{os.urandom(6).hex()}.part"
    new = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]  # the innermost first
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.mkdir(mode=0o700)
        except OSError as error:
            raise unwritable(folder, error) from error
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for each in new:
            with contextlib.suppress(OSError):
                each.rmdir()
        raise
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
                    raise ValueError(f"{place} is a link or a device, not a file or a folder")
    return sorted(found)


def move_all(temporary: Path, files: Sequence[str], root: Path) -> None:
    """Put *files* of the folder *temporary* at the same places below *root*, all of them or none.

    Files of these names are replaced. A link is replaced, never followed. Raises ``Torch2GridError`` where a link leads out of
    *root*, or where one cannot be put there; then all is as it was.
    """
    for file in files:
        _check_free(root / file, root)
    with whole_folder(root) as aside:
        moved: list[tuple[Path, Path]] = []  # each with where the file that it replaced is kept, which may be nowhere
        made: list[Path] = []
        path = root
        try:
            for number, file in enumerate(files):
                path, before = root / file, aside / str(number)
                for folder in reversed([each for each in path.parents if each != root and root in each.parents]):
                    if not folder.is_dir():
                        folder.mkdir()
                        made.append(folder)
                moved.append((path, before))
                _keep(path, before)
                (temporary / file).replace(path)
        except BaseException as error:
            for place, before in reversed(moved):
                with contextlib.suppress(OSError):
                    if os.path.lexists(before):
                        before.replace(place)
                    elif not os.path.lexists(temporary / place.relative_to(root)):  # it is what was put there
                        place.unlink()
            for folder in reversed(made):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            if isinstance(error, OSError):
                raise unwritable(path, error) from error
            raise


def _check_free(path: Path, root: Path) -> None:
    """Raise ``Torch2GridError`` where no file can be put at *path* below *root*, for what is there already."""
    stay_inside(path.parent, root)
    if path.is_dir() and not path.is_symlink():
        raise Torch2GridError(f"{path}: cannot be written: it is a folder; choose another place with --output")
    for folder in path.parents:
        if folder == root:
            return
        if os.path.lexists(folder) and not folder.is_dir():
            raise Torch2GridError(f"{folder}: cannot be a folder: it is a file; choose another place with --output")


def _keep(path: Path, before: Path) -> None:
    """Let what is at *path*, if anything is, be at *before* too; at *before* alone where that is impossible."""
    if not os.path.lexists(path):
        return
    try:
        os.link(path, before, follow_symlinks=False)
    except (OSError, NotImplementedError):  # no hard links here
        path.replace(before)


def unwritable(path: Path, error: OSError, option: str = "--output") -> Torch2GridError:
    """What it means that nothing can be written at *path*."""
    return Torch2GridError(f"{path}: cannot be written: {error.strerror or error}; choose another place with {option}")


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


class Joined:
    """The pages of several spools, one after the other. Iterates as often as asked."""

    def __init__(self, *spools: Spool) -> None:
        self._spools = spools

    def __len__(self) -> int:
        return sum(map(len, self._spools))

    def __iter__(self) -> Iterator[Page]:
        for spool in self._spools:
            yield from spool
