"""Zip and tar archives of files, one of which is a checkpoint; NeMo's ``.nemo`` files are such tars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch2grid_builtin._inert.limits import STORAGES
from torch2grid_builtin._loaders.foreign_zip import is_exported, name_zip
from torch2grid_builtin._loaders.inside import RecordSource
from torch2grid_builtin._loaders.numpy_files import Npz
from torch2grid_builtin._loaders.records import is_package
from torch2grid_builtin._loaders.tar_archive import is_tar, may_be_pytorch, read_members
from torch2grid_builtin._loaders.torch_zip import holds_pickle
from torch2grid_builtin._loaders.zip_archive import LOCAL, open_zip
from torch2grid_core import Checkpoint, Loader, LoadError
from torch2grid_core.sources import Range, Source, SourceBase, Storage
from torch2grid_core.text import visible

_HOSTILE = "it is damaged or hostile"
_DEPTH = 64  # folders within folders
_LONGEST = 255  # characters of the name of a file or folder, as everywhere else
_FOLDERS = 300_000  # that the names of all files lead through
_TORCHSERVE = "MAR-INF/MANIFEST.json"
_NEMO = "model_config.yaml"


class Archived(Loader):
    """A zip or tar archive that holds one checkpoint, such as NeMo's .nemo; that is opened by the loader that knows it."""

    name: ClassVar[str] = "archive"

    def sniff(self, source: Source) -> int:
        if source.is_folder:
            return 0
        if source.head.startswith(LOCAL):
            try:
                names = open_zip(source).entries
            except LoadError:
                return 0
            known = holds_pickle(names) or is_package(names) or is_exported(names) or Npz().sniff(source)
            return int(not known)
        return int(is_tar(source.head) and not may_be_pytorch(source))

    def inside(self, source: Source) -> Source | None:
        """The archive as a folder. Raises ``LoadError``, which names what else it is."""
        if source.head.startswith(LOCAL):
            archive = open_zip(source)
            unknown = archive.fail("is a zip archive")
            foreign = name_zip(source, unknown, archive.entries)
            if foreign is not unknown:
                raise foreign
            sizes = {name: entry.size for name, entry in archive.entries.items() if not name.endswith("/")}
            kind = "archive for TorchServe" if _TORCHSERVE in sizes else "zip archive"
            return ArchiveFolder.of(source, kind, sizes, archive.storage)
        members = read_members(source)
        names = {name.removeprefix("./") for name in members}
        nemo = _NEMO in names and any(name.startswith("model_weights") for name in names)
        kind = "NeMo archive" if nemo else "tar archive"
        sizes = {name: size for name, (_, size) in members.items()}
        return ArchiveFolder.of(source, kind, sizes, lambda name: Range(source, *members[name]))

    def load(self, source: Source) -> Checkpoint:
        """Raise ``LoadError``: an archive has no tensors of its own, ``inside`` says what is in it."""
        raise LoadError(source.shown, "is an archive of files", "open the checkpoint in it")


class ArchiveFolder(SourceBase):
    """A folder of an archive. kind: what the archive is called."""

    is_folder = True
    size = 0

    def __init__(self, archive: Source, kind: str, path: str, above: ArchiveFolder | None) -> None:
        self.kind = kind
        self.name = path.rpartition("/")[2] or archive.name
        self.shown = f"{archive.shown}/{path}" if path else archive.shown
        self.identity = (archive.identity, path, "folder")
        self.folder = above
        self._archive, self._path = archive, path
        self._inside: dict[str, ArchiveFolder | Callable[[], Source]] = {}

    @classmethod
    def of(cls, archive: Source, kind: str, sizes: Mapping[str, int], storage: Callable[[str], Storage]) -> ArchiveFolder:
        """The files of an archive, by their names in it. Raises ``LoadError`` where a name leads out of it, or two are one.

        sizes: of each file. storage: its bytes.
        """
        root = cls(archive, kind, "", None)
        if len(sizes) > STORAGES:
            raise LoadError(archive.shown, f"is a {kind} of {len(sizes):,} files", "it is not a checkpoint, or it is hostile")
        through = 0
        for name in sizes:
            parts = [part for part in name.split("/") if part != "."]
            if not all(parts) or ".." in parts or not parts:
                reason = f"is a {kind} with a file {visible(name, 80)!r} outside of it"
                raise LoadError(archive.shown, reason, _HOSTILE)
            if len(parts) > _DEPTH:
                raise LoadError(archive.shown, f"is a {kind} of folders in more than {_DEPTH} folders", "it is hostile")
            if max(map(len, parts)) > _LONGEST:
                raise LoadError(archive.shown, f"is a {kind} with a name of more than {_LONGEST} characters", _HOSTILE)
            through += len(parts)
            if through > _FOLDERS:
                raise LoadError(archive.shown, f"is a {kind} with more folders than any has", "it is hostile")
            root._add(parts, name, storage)
        return root

    def _add(self, parts: list[str], record: str, storage: Callable[[str], Storage]) -> None:
        here = self
        for place, part in enumerate(parts[:-1]):
            path = "/".join(parts[: place + 1])
            below = here._inside.setdefault(part, ArchiveFolder(self._archive, self.kind, path, here))
            if not isinstance(below, ArchiveFolder):
                raise self._twice(path)
            here = below
        path, above = "/".join(parts), here
        if parts[-1] in here._inside:
            raise self._twice(path)
        here._inside[parts[-1]] = lambda: RecordSource(self._archive, path, storage(record), above)

    def _twice(self, path: str) -> LoadError:
        return LoadError(self.shown, f"is a {self.kind} with two files {visible(path, 80)!r}", _HOSTILE)

    @property
    def entries(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names in the folder, sorted."""
        return tuple(sorted(self._inside))

    def child(self, name: str) -> Source:
        """The file or folder *name*. Raises ``LoadError`` where there is none."""
        here: Source = self
        parts = [part for part in name.split("/") if part not in ("", ".")]
        for part in parts:
            found = here._inside.get(part) if isinstance(here, ArchiveFolder) else None
            if found is None:
                raise LoadError(f"{self.shown}/{visible(name, 200)}", "is not in the archive", "check the path")
            here = found if isinstance(found, ArchiveFolder) else found()
        return here

    def read(self, offset: int, length: int) -> bytes:
        """Raise ``LoadError`` for any byte: a folder has none."""
        self.inside(offset, length)
        return b""
