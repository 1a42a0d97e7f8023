"""The records of a checkpoint: those of a zip archive, or the files of the folder that it was unpacked into."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import copy
from typing import Protocol

from torch2grid_builtin.inert import limits
from torch2grid_builtin.loaders.zip_archive import Entry, open_zip
from torch2grid_core import LoadError, Source, Storage, visible

_DEPTH = 8  # folders within folders
_EXTERN = ".data/extern_modules"  # what every torch.package has
_TELLING = {"version", "data", "byteorder", ".format_version", "constants.pkl"}  # beside the pickle of torch.save


class Records(Protocol):
    """Named runs of bytes, of which a pickle is one, and every storage."""

    @property
    def source(self) -> Source:
        """Where they are, for messages."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What the directory says of each, by name, with ``/`` between folders."""

    def storage(self, name: str) -> Storage:
        """The bytes of record *name*. Raises ``LoadError`` where there is none."""

    def unread(self) -> list[Entry]:
        """Those that have checksums and that nobody asked for."""

    def fail(self, reason: str, advice: str = ...) -> LoadError:
        """An error about the whole."""


class FolderRecords:
    """The files below a folder as records: stored, without checksums. Links to folders are not followed."""

    def __init__(self, folder: Source) -> None:
        self.source = copy(folder)
        self.entries: dict[str, Entry] = {}
        pending = [""]
        while pending:
            inside = pending.pop()
            try:
                with os.scandir(folder.path / inside) as listing:
                    for each in sorted(listing, key=lambda each: each.name):
                        self._add(f"{inside}{each.name}", each, pending)
            except OSError as error:
                raise self.fail(f"cannot be listed: {error.strerror}", "check the path") from error

    def _add(self, name: str, found: os.DirEntry[str], pending: list[str]) -> None:
        if found.is_dir(follow_symlinks=False):
            pending += [f"{name}/"] if name.count("/") < _DEPTH else []
        elif found.is_file():
            size = found.stat().st_size
            self.entries[name] = Entry(name, os.fsencode(name), 0, 0, 0, size, size, 0)
        if len(self.entries) + len(pending) > limits.ZIP_ENTRIES:
            raise self.fail("is a folder of more files than any checkpoint has", "give the path of a checkpoint")

    def fail(self, reason: str, advice: str = "unpack the checkpoint again") -> LoadError:
        return LoadError(self.source.shown, reason, advice)

    def storage(self, name: str) -> Storage:
        """The bytes of the file *name*. Raises ``LoadError`` where it is not below the folder."""
        if name not in self.entries:
            raise self.fail(f"has no file {visible(name, 80)!r}")
        return self.source.child(name).storage()

    def unread(self) -> list[Entry]:
        """None: files have no checksums that could be looked at."""
        return []


def open_records(source: Source) -> Records:
    """The records in *source*, a zip archive or a folder. Raises ``LoadError``."""
    return FolderRecords(source) if source.is_folder else open_zip(source)


def is_unpacked(folder: Source) -> bool:
    """True for a folder that a zip archive of PyTorch was unpacked into: its pickle, with what tells of PyTorch beside it."""
    if "data.pkl" in folder.entries and _TELLING & set(folder.entries):
        return (folder.path / "data.pkl").is_file()
    return is_package({".data/extern_modules": None} if (folder.path / ".data" / "extern_modules").is_file() else {})


def is_package(entries: Mapping[str, object]) -> bool:
    """True for the records of a ``torch.package``."""
    return package_folder(entries) is not None


def package_folder(entries: Mapping[str, object]) -> str | None:
    """The folder inside the archive that is a ``torch.package``, with its slash; ``None`` where there is none."""
    found = [
        name[: -len(_EXTERN)] for name in entries if name == _EXTERN or (name.endswith(f"/{_EXTERN}") and name.count("/") == 2)
    ]
    return found[0] if len(found) == 1 else None
