"""What ``torch.save`` writes since PyTorch 1.6, and TorchScript archives. Format: ``torch/serialization.py``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from torch2grid_builtin.inert import limits
from torch2grid_builtin.inert.constructors import CONSTRUCTORS
from torch2grid_builtin.inert.machine import Machine
from torch2grid_builtin.inert.read import load_error, make_checkpoint
from torch2grid_builtin.inert.stream import PickleStream
from torch2grid_builtin.inert.torch_dtypes import itemsize, parse_id, storage_dtype
from torch2grid_builtin.inert.values import Malformed, Pairs, StorageRef, Stub, Tensor
from torch2grid_builtin.loaders.zip_archive import LOCAL, ZipArchive, first_name, open_zip
from torch2grid_core import Checkpoint, Loader, LoadError, Source, Storage, verify, visible

_TELLING = ("data.pkl", "version", ".format_version", "byteorder", "constants.pkl")
_HOSTILE = "it is damaged or hostile"


class TorchZip(Loader):
    """What torch.save writes since PyTorch 1.6: a zip archive of one pickle and one record a storage; TorchScript too."""

    name: ClassVar[str] = "torch-zip"

    def sniff(self, source: Source) -> int:
        if source.is_folder or not source.head.startswith(LOCAL):
            return 0
        if first_name(source).rsplit("/", 1)[-1] in _TELLING:
            return 2
        try:
            names = open_zip(source).entries
        except LoadError:
            return 1
        return 2 if any(name.rsplit("/", 1)[-1] == "data.pkl" for name in names) else 1

    def load(self, source: Source) -> Checkpoint:
        archive = open_zip(source)
        capitals = _capitals(archive)
        prefix = _prefix(archive)
        swapped = _byte_order(archive, prefix, capitals) != sys.byteorder
        work = limits.Work(archive.entries[f"{prefix}data.pkl"].size)
        try:
            root, calls = _read(archive, prefix, "data", swapped, work)
            script = f"{prefix}constants.pkl" in archive.entries
            if script:
                constants, more = _read(archive, prefix, "constants", swapped, work)
                root = Pairs("archive", [("", root), ("constants", _constants(constants))])
                calls += more
            _check_rest(archive)
        except Malformed as error:
            raise load_error(source, error) from error
        kind = "TorchScript archive" if script else "PyTorch zip"
        return make_checkpoint(source, root, by=self.name, format=kind, calls=calls, work=work, unread=[archive])


def _check_rest(archive: ZipArchive) -> None:
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


def _prefix(archive: ZipArchive) -> str:
    """The folder inside the archive that holds ``data.pkl``, with its slash, or nothing. Raises ``LoadError``."""
    found = [name[: -len("data.pkl")] for name in archive.entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if not found:
        if any(name.endswith("model.json") for name in archive.entries):
            raise archive.fail("is a TorchScript archive of PyTorch 1.0–1.3", "save it again with a newer PyTorch")
        raise archive.fail("is a zip archive, but no checkpoint: it has no data.pkl", "unpack it, if a checkpoint is inside")
    depth = min(prefix.count("/") for prefix in found)
    outer = [prefix for prefix in found if prefix.count("/") == depth]
    if len(outer) > 1:
        raise archive.fail(f"has {len(outer)} pickles side by side", "it is no checkpoint, or hostile")
    folder = _folded(next(iter(archive.entries)).partition("/")[0]) + "/"  # PyTorch looks in that of the first record
    other = next((prefix for prefix in found if _folded(prefix) == folder and prefix != outer[0]), None)
    if other is not None:
        raise archive.fail(f"has two pickles, and PyTorch loads that in {visible(other, 80)!r}", _HOSTILE)
    return outer[0]


def _capitals(archive: ZipArchive) -> dict[str, str]:
    """The names that have capital letters, by what they are without. PyTorch's reader does not tell the two apart.

    Raises ``LoadError`` where two names differ by case alone.
    """
    found: dict[str, str] = {}
    for name in archive.entries:
        folded = _folded(name)
        if folded == name:
            continue
        other = folded if folded in archive.entries else found.setdefault(folded, name)
        if other != name:
            names = f"{visible(other, 80)!r} and {visible(name, 80)!r}"
            raise archive.fail(f"has records {names}, of which PyTorch takes one for the other", _HOSTILE)
    return found


def _folded(name: str) -> str:
    """*name* with its letters from A to Z as small ones."""
    return name.lower() if name.isascii() else name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def _byte_order(archive: ZipArchive, prefix: str, capitals: Mapping[str, str]) -> str:
    name = f"{prefix}byteorder"
    name = name if name in archive.entries else capitals.get(_folded(name), name)
    if name not in archive.entries:
        return "little"  # PyTorch before 2.1 had no such record; big-endian machines wrote their own order, rarely
    storage = archive.storage(name)
    order = bytearray(min(storage.size, 16))
    storage.read_into(0, memoryview(order))
    if bytes(order) not in (b"little", b"big"):
        raise archive.fail(f"states the byte order {bytes(order)!r}", "it is damaged")
    return order.decode("ascii")


def _read(archive: ZipArchive, prefix: str, name: str, swapped: bool, work: limits.Work) -> tuple[Any, list[Stub]]:
    """The value of one pickle of the archive, and the calls that it wanted."""
    entry = archive.entries[f"{prefix}{name}.pkl"]
    if entry.method and entry.size > limits.PICKLE_INFLATED:
        raise archive.fail(f"packs a pickle of {entry.size} bytes", "this is a decompression bomb, not weights")
    record = archive.storage(entry.name)
    storages = _Storages(archive, f"{prefix}{name}/", swapped)
    machine = Machine(PickleStream(record), CONSTRUCTORS, storages.persistent_load, work)
    verify(record)
    return machine.load(), machine.calls


class _Storages:
    """Gives persistent ids ``("storage", class, key, location, numel)`` their records."""

    def __init__(self, archive: ZipArchive, folder: str, swapped: bool) -> None:
        self.archive, self.folder, self.swapped = archive, folder, swapped
        self.by_key: dict[str, StorageRef] = {}

    def persistent_load(self, saved: Any) -> StorageRef:
        kind, key, numel = parse_id(saved)
        found = self.by_key.get(key)
        if found is None:
            dtype = storage_dtype(kind)
            found = StorageRef(self.record(key), dtype, numel, self.swapped)
            if numel * itemsize(dtype) > found.storage.size:
                raise Malformed(
                    f"storage {key!r} of {numel} numbers has {found.storage.size} bytes", "the file is cut short or wrong"
                )
            self.by_key[key] = found
        elif found.dtype_name != storage_dtype(kind) or found.numel != numel:
            raise Malformed(f"storage {key!r} is described twice, differently")
        return found

    def record(self, key: str) -> Storage:
        return self.archive.storage(self.folder + key)
