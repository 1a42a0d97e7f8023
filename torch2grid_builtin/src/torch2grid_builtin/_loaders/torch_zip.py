"""What ``torch.save`` writes since PyTorch 1.6, zipped or unpacked, and TorchScript. Format: ``torch/serialization.py``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.content import ARCHIVE
from torch2grid_builtin._inert.hidden import read_pickles
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.read import load_error, make_checkpoint
from torch2grid_builtin._inert.report import not_run
from torch2grid_builtin._inert.stream import WINDOW, PickleStream
from torch2grid_builtin._inert.torch_dtypes import DTYPES, itemsize, parse_id, storage_dtype
from torch2grid_builtin._inert.values import Pairs, StorageRef, Tensor
from torch2grid_builtin._loaders.foreign_zip import is_exported, name_share, name_zip, refuse_program
from torch2grid_builtin._loaders.other_readers import note_mobile, note_zip
from torch2grid_builtin._loaders.records import Records, is_package, is_unpacked, open_records
from torch2grid_builtin._loaders.refused_zip import read_refused_zip
from torch2grid_builtin._loaders.torch_archive import folded, note_archive
from torch2grid_builtin._loaders.zip_archive import LOCAL, ZipArchive, first_name, open_zip
from torch2grid_core import Checkpoint, Loader, LoadError
from torch2grid_core.sources import Action, BytesStorage, Source, Storage, verify
from torch2grid_core.text import visible

_NO_PICKLE = "is a zip archive, but not of torch.save: it has no data.pkl"
_TELLING = ("data.pkl", "version", ".format_version", "byteorder", "constants.pkl")
_HOSTILE = "it is damaged or hostile"
_DATA = "data.pkl"


class TorchZip(Loader):
    """What torch.save writes since PyTorch 1.6: a zip archive of one pickle and one record a storage, or the folder that it
    was unpacked into; TorchScript too.
    """

    name: ClassVar[str] = "torch-zip"

    def sniff(self, source: Source) -> int:
        if source.is_folder:
            return 2 if is_unpacked(source) and "data.pkl" in source.entries else 0
        if not source.head.startswith(LOCAL):
            return 0
        telling = first_name(source).rsplit("/", 1)[-1].lower() in _TELLING
        try:
            names = open_zip(source).entries
        except LoadError:
            return 2 if telling else 1
        if is_package(names) or is_exported(names):
            return 0
        return 2 if holds_pickle(names) else 0

    def runs(self, source: Source) -> Sequence[Action]:
        """PyTorch finds an archive by its directory, at the end of a file, whatever stands in front of it; a program, too."""
        actions = Actions()
        if not source.is_folder:
            note_mobile(source, actions)
            note_zip(source, actions, limits.Work(source.size))
        return not_run(actions)

    def load(self, source: Source, work: limits.Work | None = None) -> Checkpoint:
        if source.name.lower().endswith(".distcp"):
            raise name_share(source)
        actions = Actions()
        archive, root, script, work = read_archive(source, work, actions, ends_later=True)
        kind = "TorchScript archive" if script else "PyTorch zip"
        kind += ", unpacked" if source.is_folder else ""
        unverified = [archive] if isinstance(archive, ZipArchive) else []
        opened = make_checkpoint(source, root, by=self.name, format=kind, actions=actions, work=work, unverified=unverified)
        if script and all(name.startswith("constants.") for name in opened):
            opened.notes += ("a frozen graph keeps no names: its weights are the constants of its code",)
        if isinstance(archive, ZipArchive):
            opened.not_run = partial(_beside_other_ends, archive, opened.not_run, actions)
        return opened


def _beside_other_ends(archive: ZipArchive, found: tuple[Action, ...], actions: Actions) -> tuple[Action, ...]:
    """What was *found*, where the archive has one end. Raises ``LoadError``, which names what the pickles want done."""
    try:
        archive.check_ends()
    except LoadError as error:
        raise load_error(archive.source, error, actions) from error
    return found


class Read(NamedTuple):
    """What is in an archive: its records, the value of its pickle, whether it is TorchScript's, and the work that is left."""

    archive: Records
    root: Any
    script: bool
    work: limits.Work


def read_archive(source: Source, work: limits.Work | None, actions: Actions, ends_later: bool = False) -> Read:
    """What is in the archive in *source*.

    work: what reading may cost, by default what its pickle allows. actions: gets what the pickles want done. ends_later: the
    caller looks for other ends of the archive. Raises ``LoadError``, which names that, too.
    """
    try:
        archive = _records(source)
        if isinstance(archive, ZipArchive):
            archive.ends_asked_later = ends_later
        names = Names(archive)
        prefix = _prefix(archive)
        _prefetch(archive, prefix)
        swapped = byte_order(names, prefix) != sys.byteorder
        data, stated = names.find(f"{prefix}data.pkl"), names.find(f"{prefix}constants.pkl")
        work = work or limits.Work(archive.entries[data].size if data is not None else 0)
        script = stated is not None
        root = _read(names, prefix, "data", swapped, work, actions, script)
        if script:
            constants = _read(names, prefix, "constants", swapped, work, actions, script)
            root = Pairs(ARCHIVE, [("", root), ("constants", _constants(constants))])
        # No tensor comes from the pickles beside, and other programs read them.
        note_archive(archive, actions, work, {each for each in (data, stated) if each is not None}, script)
        check_rest(archive)
    except (Malformed, LoadError) as error:
        if not actions and not source.is_folder:
            read_refused_zip(source, actions)
        raise load_error(source, error, actions) from error
    return Read(archive, root, script, work)


def _records(source: Source) -> Records:
    """The archive in *source*, if it holds a pickle. Raises ``LoadError``, which names what else the file is."""
    try:
        archive = open_records(source)
    except LoadError as error:
        raise name_zip(source, error) from error
    if not holds_pickle(archive.entries):
        raise name_zip(source, archive.fail(_NO_PICKLE, "unpack it, if a checkpoint is inside"), archive.entries)
    refuse_program(source, archive.entries)
    return archive


def _prefetch(archive: Records, prefix: str) -> None:
    """Get ready to read all but the storages: the pickles, and the small records beside them."""
    storages = (f"{prefix}data/", f"{prefix}constants/")
    small = [each for each in archive.entries.values() if not each.name.startswith(storages)]
    archive.prefetch(each for each in small if each.size <= limits.CHECKED_BESIDE or each.name.endswith(".pkl"))


def check_rest(archive: Records) -> None:
    """Check the small records that nothing was read from (versions, code): damage there is damage to the file."""
    room = limits.CHECKED_BESIDE
    for entry in archive.unread():
        if entry.size <= room and entry.method in (0, 8) and not entry.flags & 1:
            room -= entry.size
            verify(archive.storage(entry.name))


def _constants(value: Any) -> Any:
    """The constants of a TorchScript archive's code; empty ones hold no weight and are said to be left out."""
    if type(value) not in (tuple, list):
        return value
    return [
        Tensor(None, "an empty constant of the archive's code")
        if isinstance(item, Tensor) and item.lazy is not None and item.lazy.size == 0
        else item
        for item in value
    ]


def holds_pickle(names: Iterable[str]) -> bool:
    """True where one of the records is a ``data.pkl``, whatever its capitals."""
    return any(name[-8:].lower() == _DATA and (len(name) == 8 or name[-9] == "/") for name in names)


def _prefix(archive: Records) -> str:
    """The folder inside the archive that holds ``data.pkl``, with its slash, or nothing. Raises ``LoadError``."""
    found = [name[: -len(_DATA)] for name in archive.entries if holds_pickle([name])]
    depth = min(prefix.count("/") for prefix in found)
    outer = [prefix for prefix in found if prefix.count("/") == depth]
    if len(outer) > 1:
        raise archive.fail(f"has {len(outer)} pickles side by side", "it is not a checkpoint, or it is hostile")
    folder = folded(next(iter(archive.entries)).partition("/")[0]) + "/"  # PyTorch looks in that of the first record
    other = next((prefix for prefix in found if folded(prefix) == folder and prefix != outer[0]), None)
    if other is not None:
        raise archive.fail(f"has two pickles, and PyTorch loads that in {visible(other, 80)!r}", _HOSTILE)
    return outer[0]


class Names:
    """The records of an archive by name, as PyTorch finds them: capitals are small letters to it.

    Raises ``LoadError`` where two records, or the folders of two, differ by case alone: other readers tell these apart.
    """

    def __init__(self, archive: Records) -> None:
        self.archive = archive
        self._capitals = _capitals(archive)

    def find(self, name: str) -> str | None:
        """The record that PyTorch finds under *name*, as the directory spells it; ``None`` where there is none."""
        if name in self.archive.entries:
            return name
        small = folded(name)
        return small if small in self.archive.entries else self._capitals.get(small)

    def storage(self, name: str) -> Storage:
        """The bytes of the record that PyTorch finds under *name*. Raises ``LoadError`` where there is none."""
        return self.archive.storage(self.find(name) or name)


def _capitals(archive: Records) -> dict[str, str]:
    """The names that have capital letters, by what they are without. Raises ``LoadError``."""
    found: dict[str, str] = {}
    first = next(iter(archive.entries), "").partition("/")[0]
    for name in archive.entries:
        if not name.startswith(first) and folded(name.partition("/")[0]) == folded(first):
            names = f"{visible(first, 80)!r} and {visible(name.partition('/')[0], 80)!r}"
            raise archive.fail(f"has folders {names}, of which PyTorch takes one for the other", _HOSTILE)
        small = folded(name)
        if small == name:
            continue
        other = small if small in archive.entries else found.setdefault(small, name)
        if other != name:
            names = f"{visible(other, 80)!r} and {visible(name, 80)!r}"
            raise archive.fail(f"has records {names}, of which PyTorch takes one for the other", _HOSTILE)
    return found


def byte_order(names: Names, prefix: str) -> str:
    """That of the storages, as the archive states it. Raises ``LoadError`` where it states another than there is."""
    name = names.find(f"{prefix}byteorder")
    if name is None:
        return "little"  # PyTorch before 2.1 had no such record; big-endian machines wrote their own order, rarely
    storage = names.archive.storage(name)
    order = bytearray(min(storage.size, 16))
    storage.read_into(0, memoryview(order))
    if bytes(order) not in (b"little", b"big"):
        raise names.archive.fail(f"states the byte order {bytes(order)!r}", "it is damaged")
    return order.decode("ascii")


def _read(names: Names, prefix: str, name: str, swapped: bool, work: limits.Work, actions: Actions, script: bool) -> Any:
    """The value of one pickle of the archive. actions: gets what it wants done, and what the pickles behind it do."""
    archive = names.archive
    entry = archive.entries[names.find(f"{prefix}{name}.pkl") or ""]
    if entry.method and entry.size > limits.PICKLE_INFLATED:
        raise archive.fail(f"packs a pickle of {entry.size} bytes", "this is a decompression bomb, not weights")
    record = _checked(archive.storage(entry.name))
    storages = Storages(names, f"{prefix}{name}/", swapped, work)
    machine = Interpreter(PickleStream(record), CONSTRUCTORS, storages.persistent_load, work, actions=actions, script=script)
    root = machine.load()
    read_pickles(record, machine.stream.tell(), actions, work)
    return root


def _checked(record: Storage) -> Storage:
    """The bytes of a pickle whose checksum is right: a small one in memory, so that it is read once. Raises ``LoadError``."""
    if record.size > WINDOW:
        verify(record)
        return record
    held = bytearray(record.size)
    record.read_into(0, memoryview(held))
    return BytesStorage(bytes(held))


class Storages:
    """Gives persistent ids ``("storage", class, key, location, numel)`` their records."""

    def __init__(self, names: Names, folder: str, swapped: bool, work: limits.Work) -> None:
        self.names, self.folder, self.swapped, self.work = names, folder, swapped, work
        self.by_key: dict[str, StorageRef] = {}

    def persistent_load(self, saved: Any) -> StorageRef:
        kind, key, numel = parse_id(saved, self.work)
        found = self.by_key.get(key)
        if found is None:
            dtype = storage_dtype(kind)
            found = StorageRef(self.record(key), dtype, numel, self.swapped)
            stated, held = numel * itemsize(dtype), found.storage.size
            if stated > held or (stated < held and dtype in DTYPES):  # PyTorch takes neither fewer bytes nor more
                raise Malformed(
                    f"storage {key!r} of {numel} numbers has {held} bytes", "the file is cut short or wrong; fetch it again"
                )
            self.by_key[key] = found
        elif found.dtype_name != storage_dtype(kind) or found.numel != numel:
            raise Malformed(f"storage {key!r} is described twice, differently")
        return found

    def record(self, key: str) -> Storage:
        return self.names.storage(self.folder + key)
