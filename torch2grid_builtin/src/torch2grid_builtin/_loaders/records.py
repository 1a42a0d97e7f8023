"""The records of a checkpoint: those of a zip archive, or the files of the folder that it was unpacked into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from torch2grid_builtin._inert import limits
from torch2grid_builtin._loaders.zip_archive import Entry, open_zip
from torch2grid_core import LoadError
from torch2grid_core.sources import Range, Source, Storage, has_file
from torch2grid_core.text import visible

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

    def prefetch(self, entries: Iterable[Entry]) -> None:
        """Get ready to read these."""

    def unread(self) -> list[Entry]:
        """Those that have checksums and that nobody asked for."""

    def fail(self, reason: str, advice: str = ...) -> LoadError:
        """An error about the whole."""


class FolderRecords:
    """The files below a folder as records: stored, without checksums. Links to folders are not followed."""

    def __init__(self, folder: Source) -> None:
        self.source = folder
        self.entries: dict[str, Entry] = {}
        self._files: dict[str, Source] = {}
        pending = [("", folder)]
        while pending:
            inside, place = pending.pop()
            for name in place.entries:
                try:
                    self._add(f"{inside}{name}", place.child(name), pending)
                except LoadError:
                    continue  # a broken link, a pipe

    def _add(self, name: str, found: Source, pending: list[tuple[str, Source]]) -> None:
        if found.is_folder:
            if name.count("/") < _DEPTH and not getattr(found, "is_link", False):
                pending.append((f"{name}/", found))
        else:
            self._files[name] = found
            self.entries[name] = Entry(name, name.encode("utf-8", "surrogateescape"), 0, 0, 0, found.size, found.size, 0)
        if len(self.entries) + len(pending) > limits.ZIP_ENTRIES:
            raise self.fail("is a folder of more files than any checkpoint has", "give the path of a checkpoint")

    def fail(self, reason: str, advice: str = "unpack the checkpoint again") -> LoadError:
        return LoadError(self.source.shown, reason, advice)

    def storage(self, name: str) -> Storage:
        """The bytes of the file *name*. Raises ``LoadError`` where it is not below the folder."""
        if name not in self.entries:
            raise self.fail(f"has no file {visible(name, 80)!r}")
        return Range(self._files[name])

    def prefetch(self, entries: Iterable[Entry]) -> None:
        """Do nothing: each is a file of its own."""

    def unread(self) -> list[Entry]:
        """None: files have no checksums that could be looked at."""
        return []


def open_records(source: Source) -> Records:
    """The records in *source*, a zip archive or a folder. Raises ``LoadError``."""
    return FolderRecords(source) if source.is_folder else open_zip(source)


def is_unpacked(folder: Source) -> bool:
    """True for a folder that a zip archive of PyTorch was unpacked into: its pickle, with what tells of PyTorch beside it."""
    if "data.pkl" in folder.entries and _TELLING & set(folder.entries):
        return has_file(folder, "data.pkl")
    return ".data" in folder.entries and has_file(folder, _EXTERN)


def is_package(entries: Mapping[str, object]) -> bool:
    """True for the records of a ``torch.package``."""
    return package_folder(entries) is not None


def package_folder(entries: Mapping[str, object]) -> str | None:
    """The folder inside the archive that is a ``torch.package``, with its slash; ``None`` where there is none."""
    found = [  # whatever capitals it has: PyTorch does not tell them apart
        name[: -len(_EXTERN)]
        for name in entries
        if name[-len(_EXTERN) :].lower() == _EXTERN and (len(name) == len(_EXTERN) or name.count("/") == 2)
    ]
    if len(found) > 1:  # PyTorch looks in the folder of the first record
        first = f"{next(iter(entries)).partition('/')[0]}/".lower()
        found = [folder for folder in found if folder.lower() == first]
    return found[0] if found else None
