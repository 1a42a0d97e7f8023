"""``torch.package``: a zip archive of pickles, storages and source code. Format: ``torch/package/package_exporter.py``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.hidden import package_call, read_pickles
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.read import load_error, make_checkpoint
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.values import Pairs, number_text, text
from torch2grid_builtin._inert.verdicts import family
from torch2grid_builtin._loaders.foreign_zip import refuse_program
from torch2grid_builtin._loaders.records import Records, is_package, is_unpacked, open_records, package_folder
from torch2grid_builtin._loaders.refused_zip import read_refused_zip
from torch2grid_builtin._loaders.torch_archive import note_archive, note_sources
from torch2grid_builtin._loaders.torch_zip import Names, Storages, byte_order, check_rest
from torch2grid_builtin._loaders.zip_archive import LOCAL, Entry, ZipArchive, open_zip
from torch2grid_core import Checkpoint, Loader, LoadError
from torch2grid_core.sources import Source, Storage, verify

_PICKLES = 1000
_RESOURCES = 20_000
_STATED = 1 << 20  # bytes of the list of modules that a package needs


class TorchPackage(Loader):
    """What torch.package writes: a zip archive of pickles and source code, or the folder that it was unpacked into."""

    name: ClassVar[str] = "torch-package"

    def sniff(self, source: Source) -> int:
        if source.is_folder:
            return 2 if is_unpacked(source) and "data.pkl" not in source.entries else 0
        if not source.head.startswith(LOCAL):
            return 0
        try:
            return 2 if is_package(open_zip(source).entries) else 0
        except LoadError:
            return 0

    def load(self, source: Source) -> Checkpoint:
        records = open_records(source)
        folder = package_folder(records.entries)
        if folder is None:
            raise records.fail("is not what torch.package writes", "give the path of a package")
        refuse_program(source, records.entries)
        pickles, found = _pickles(records, folder), Names(records)
        work = limits.Work(sum(entry.size for entry in pickles.values()))
        actions = Actions()
        storages = _Storages(found, f"{folder}.data/", byte_order(found, folder) != sys.byteorder, work, actions)
        roots: list[tuple[Any, Any]] = []
        try:
            for name, entry in pickles.items():
                record = records.storage(entry.name)
                verify(record)
                storages.script = name.startswith(".data/ts_code/")
                stream = PickleStream(record)
                machine = Interpreter(
                    stream, CONSTRUCTORS, storages.persistent_load, work, actions=actions, script=storages.script
                )
                roots.append((name.removesuffix(".pkl"), machine.load()))
                read_pickles(record, stream.tell(), actions, work)
            _read_resources(records, folder, pickles, actions, work)
            note_sources(records, actions)
            note_archive(records, actions, work, records.entries.keys())
            check_rest(records)
        except (Malformed, LoadError) as error:
            with suppress(Malformed):
                note_sources(records, actions)
            if not actions and not source.is_folder:
                read_refused_zip(source, actions)
            raise load_error(source, error, actions) from error
        root = roots[0][1] if len(roots) == 1 else Pairs("package", roots)
        unverified = [records] if isinstance(records, ZipArchive) else []
        kind = "torch.package, unpacked" if source.is_folder else "torch.package"
        return make_checkpoint(source, root, by=self.name, format=kind, actions=actions, work=work, unverified=unverified)


def _pickles(records: Records, folder: str) -> dict[str, Entry]:
    """The records that are pickles, by their names in the package. Raises ``LoadError`` where there are none, or thousands."""
    found: dict[str, Entry] = {}
    for full, entry in records.entries.items():
        name = full.removeprefix(folder)
        script = name.startswith(".data/ts_code/") and name.endswith(("/data.pkl", "/constants.pkl"))
        if script or (not name.startswith(".data/") and not name.endswith(".py") and _is_pickle(records, entry)):
            found[name] = entry
    if not found:
        raise records.fail("is a torch.package without a pickle in it, of source code alone", "give a checkpoint with weights")
    if len(found) > _PICKLES:
        raise records.fail(f"is a torch.package of {len(found)} pickles", "it is not a checkpoint, or it is hostile")
    return found


def _read_resources(records: Records, folder: str, pickles: dict[str, Entry], actions: Actions, work: limits.Work) -> None:
    """Read every other resource as a pickle, as ``load_pickle`` would.

    Text and bytes are no pickles, but may begin like one. What PyTorch would import on the way is in the record: a module of
    the archive, one that it says it needs, or one of Python's or PyTorch's.
    """
    others = [entry for name, entry in _resources(records, folder) if name not in pickles and entry.size]
    if len(others) > _RESOURCES:
        raise records.fail(f"is a torch.package of {len(others)} resources", "it is not a checkpoint, or it is hostile")
    needed = _needed(records, folder)
    for entry in others:
        found = Actions()
        read_pickles(records.storage(entry.name), 0, found, work, search=False)
        found.keep(lambda asked: bool(asked.module.partition(".")[0] in needed or family(asked.module, asked.name)))
        actions.merge(found)


def _resources(records: Records, folder: str) -> Iterator[tuple[str, Entry]]:
    for full, entry in records.entries.items():
        name = full.removeprefix(folder)
        if not name.startswith(".data/"):
            yield name, entry


def _needed(records: Records, folder: str) -> set[str]:
    """The roots of the modules that the archive holds, and of those that it says it needs from elsewhere."""
    roots = {name.partition("/")[0].removesuffix(".py") for name, _ in _resources(records, folder) if name.endswith(".py")}
    wanted = f"{folder}.data/extern_modules".lower()
    for stated in records.entries.values():
        if stated.name.lower() != wanted or stated.size > _STATED:  # PyTorch finds it whatever its capitals
            continue
        raw = bytearray(stated.size)
        records.storage(stated.name).read_into(0, memoryview(raw))
        roots |= {line.strip().partition(".")[0] for line in raw.decode("utf-8", "replace").splitlines()}
    return roots - {""}


def _is_pickle(records: Records, entry: Entry) -> bool:
    """True for what begins and ends as a pickle of protocol 2 and later; other resources are text and bytes of any kind."""
    if entry.size < 4 or (entry.method and entry.size > limits.PICKLE_INFLATED):
        return False
    storage = records.storage(entry.name)
    ends = bytearray(3)
    storage.read_into(0, memoryview(ends)[:2])
    storage.read_into(storage.size - 1, memoryview(ends)[2:])
    return ends[0] == 0x80 and 2 <= ends[1] <= 5 and ends[2:] == b"."


class _Storages(Storages):
    """Storages by their numbers, and the objects that a package rebuilds by a function of its own."""

    def __init__(self, names: Names, folder: str, swapped: bool, work: limits.Work, actions: Actions) -> None:
        super().__init__(names, folder, swapped, work)
        self.actions = actions
        self.script = False  # the pickle is one of TorchScript's, whose keys are whole names

    def persistent_load(self, saved: Any) -> Any:
        if type(saved) is tuple and saved and text(saved[0]) == "reduce_package":
            return package_call(saved, self.actions)
        if type(saved) is tuple and len(saved) > 2 and type(saved[2]) is int:
            saved = (*saved[:2], number_text(saved[2]), *saved[3:])
        return super().persistent_load(saved)

    def record(self, key: str) -> Storage:
        return self.names.storage(f"{self.folder}{key}" if self.script else f"{self.folder}{key}.storage")
