"""Streams and tars that PyTorch wrote before its zip archives. Format: ``_legacy_load`` in ``torch/serialization.py``."""

from __future__ import annotations

import struct
from typing import Any

from torch2grid_builtin.inert import judged, limits
from torch2grid_builtin.inert.actions import Actions
from torch2grid_builtin.inert.constructors import CONSTRUCTORS, WITHOUT_STORAGES
from torch2grid_builtin.inert.hidden import read_pickles
from torch2grid_builtin.inert.limits import Work
from torch2grid_builtin.inert.machine import Machine
from torch2grid_builtin.inert.stream import PickleStream
from torch2grid_builtin.inert.torch_dtypes import itemsize, parse_id, storage_dtype
from torch2grid_builtin.inert.torch_values import make_tensor
from torch2grid_builtin.inert.values import Global, Malformed, StorageRef, Tensor, number_text, text
from torch2grid_core import Storage

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_MAGIC_BYTES, _MAGIC_TEXT = MAGIC.to_bytes(10, "little"), str(MAGIC).encode()
# The object's first reading is for its storages alone; pickles inside it wait for the second.
_FIRST_TIME = {**WITHOUT_STORAGES, ("torch.storage", "_load_from_bytes"): judged.stub}
_SWAPPED = False  # the storages of a legacy file are little-endian wherever it was written


def is_legacy(storage: Storage) -> bool:
    """True where *storage* begins with the magic number of a legacy stream, as ``torch.save`` writes it."""
    start = bytearray(min(storage.size, 64))
    storage.read_into(0, memoryview(start))
    head = bytes(start)
    return head[:1] in (b"\x80", b"L", b"I") and (_MAGIC_BYTES in head or _MAGIC_TEXT in head)


def read_legacy(
    storage: Storage, work: Work | None = None, inside: Machine | None = None, actions: Actions | None = None
) -> tuple[Any, int]:
    """The object of a legacy stream (0.4 to 1.5) and its length. Raises ``Malformed``.

    The stream: four pickles (magic number, protocol, sys_info, the object), a pickle of the storages' keys, then for
    each key its number of elements (int64) and the elements. work: what it may cost. inside: the machine whose pickle holds it.
    actions: gets what all of these pickles want done.
    """
    if actions is None:
        actions = Actions() if inside is None else inside.actions
    stream = PickleStream(storage)
    machine = Machine(stream, CONSTRUCTORS, _ids_only, work, inside, actions)
    if machine.load() != MAGIC:
        raise Malformed("the magic number of a PyTorch file is wrong")
    if machine.load() != PROTOCOL:
        raise Malformed("the protocol of this legacy PyTorch file is not 1001")
    machine.load()  # sys_info
    # The sizes of the storages come after the object, so it is read twice: first for its storages' keys and types.
    place = stream.tell()
    known, noted = _Known(machine.work), Actions()
    try:
        Machine(stream, _FIRST_TIME, known.note, machine.work, inside, noted).load()
        keys = machine.load()
        if type(keys) is not list:
            raise Malformed("the list of storages is missing")
        for key in keys:
            known.read(key, stream)
        missing = next((key for key in known.types if key not in known.by_key), None)
        if missing is not None:
            raise Malformed(f"storage {missing!r} is used, but not in the file", "the file is cut short or wrong")
    except Malformed:
        actions.merge(noted)
        raise
    again = Machine(PickleStream(storage, place), CONSTRUCTORS, known.persistent_load, machine.work, inside, actions)
    again.again = True
    root = again.load()
    if inside is not None:
        inside.containers, inside.tuples = again.containers, again.tuples
    return root, stream.tell()


def _ids_only(saved: Any) -> Any:
    raise Malformed("a persistent id in front of the object")


class _Known:
    """The storages of a legacy stream: first their types, as the object names them, then where their bytes are."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.types: dict[str, tuple[str, int]] = {}
        self.is_text: dict[str, bool] = {}  # of each key: False for one of bytes, which PyTorch takes for another
        self.by_key: dict[str, StorageRef] = {}
        self.views: dict[str, tuple[tuple[str, int, int], StorageRef]] = {}

    def note(self, saved: Any) -> Any:
        if _is_module(saved):
            return saved[1]
        kind, key, numel = parse_id(saved, self.work)
        stated, is_text = (storage_dtype(kind), numel), type(saved[2]) is str
        if self.types.setdefault(key, stated) != stated or self.is_text.setdefault(key, is_text) != is_text:
            raise Malformed(f"storage {key!r} is described twice, differently")
        if len(self.types) > limits.STORAGES:
            raise Malformed("more storages than any checkpoint has")
        return None

    def read(self, saved: Any, stream: PickleStream) -> None:
        """Find the storage that the list of keys calls *saved* at the stream's place, which moves behind it."""
        key = text(saved)
        if key is None or key not in self.types or self.is_text[key] != (type(saved) is str):
            raise Malformed("the list of storages names one that nothing uses", "the file is damaged")
        if key in self.by_key:
            raise Malformed(f"storage {key!r} is in the file twice")
        dtype, stated = self.types[key]
        (numel,) = struct.unpack("<q", stream.raw(8))
        if numel != stated:
            raise Malformed(f"storage {key!r} has {numel} numbers in the file, {stated} are stated")
        self.by_key[key] = StorageRef(stream.skip(numel * itemsize(dtype)), dtype, numel, _SWAPPED)

    def persistent_load(self, saved: Any) -> Any:
        if _is_module(saved):
            return saved[1]
        _, key, _ = parse_id(saved, self.work)
        whole = self.by_key[key]
        return whole if len(saved) < 6 or saved[5] is None else self.view(key, whole, saved[5])

    def view(self, key: str, whole: StorageRef, metadata: Any) -> StorageRef:
        """A storage that is a slice of another: (its key, first element, number of elements)."""
        if type(metadata) is not tuple or len(metadata) != 3:
            raise Malformed("a slice of a storage without place and length")
        name, first, numel = metadata
        if type(first) is not int or type(numel) is not int or not 0 <= first <= first + numel <= whole.numel:
            raise Malformed(f"a slice {number_text(first) if type(first) is int else '?'} of a storage of {whole.numel}")
        name, place = text(name), (key, first, numel)
        if name is None or name in self.types:
            raise Malformed("a slice of a storage without a key of its own")
        if name not in self.views:
            view = StorageRef(whole.storage, whole.dtype_name, numel, whole.swapped, whole.first + first)
            self.views[name] = (place, view)
        if self.views[name][0] != place:
            raise Malformed(f"slice {name!r} of a storage is described twice, differently")
        return self.views[name][1]


def _is_module(saved: Any) -> bool:
    """``("module", class, source file, source)``: a class, with the source text that PyTorch stored beside it."""
    return type(saved) is tuple and len(saved) >= 2 and text(saved[0]) == "module"


def read_tar(members: dict[str, Storage], work: Work | None = None, actions: Actions | None = None) -> Any:
    """The object of a tar of PyTorch 0.1 to 0.3. Raises ``Malformed``.

    members: ``pickle``; ``storages`` (a count, then for each a pickle (key, location, class), int64 length, elements,
    at the end a pickled list of slices); ``tensors`` (a count, then for each a pickle (key, storage key, class), int32
    dimensions, 4 bytes, int64 sizes, strides and offset). work: what all of them together may cost.
    actions: gets what they want done.
    """
    actions = actions if actions is not None else Actions()
    if "pickle" not in members or "storages" not in members:
        raise Malformed("it is a tar archive without the members of a PyTorch file", "unpack it, if a checkpoint is inside")
    work = work or Work(sum(member.size for member in members.values()))
    if "sys_info" in members:
        read_pickles(members["sys_info"], 0, actions, work)
    storages = _tar_storages(Machine(PickleStream(members["storages"]), CONSTRUCTORS, work=work, actions=actions))
    known: dict[str, Any] = dict(storages)
    if "tensors" in members:
        machine = Machine(PickleStream(members["tensors"]), CONSTRUCTORS, work=work, actions=actions)
        known.update(_tar_tensors(machine, storages))

    def persistent_load(saved: Any) -> Any:
        if type(saved) is tuple and saved and text(saved[0]) == "storage" and len(saved) >= 5:
            found = storages.get(_key(saved[2]))
            if found is None or storage_dtype(saved[1]) != found.dtype_name or saved[4] != found.numel:
                raise Malformed("a tensor's storage is missing, or of another type or length than stated")
            return found
        if type(saved) is tuple and saved and isinstance(saved[0], Global):
            return saved[0]  # a class, with the source text beside it
        if _key(saved) not in known:
            raise Malformed("the pickle names a tensor that is not in the file")
        return known[_key(saved)]

    machine = Machine(PickleStream(members["pickle"]), CONSTRUCTORS, persistent_load, work, actions=actions)
    root = machine.load()
    read_pickles(members["pickle"], machine.stream.tell(), actions, work)
    return root


def _key(value: Any) -> str:
    plain = text(value)
    if plain is None and type(value) is not int:
        raise Malformed("a storage or tensor whose key is neither text nor a number")
    return plain if plain is not None else number_text(value)


def _count(machine: Machine, what: str) -> int:
    count = machine.load()
    if type(count) is not int or not 0 <= count <= limits.STORAGES:
        raise Malformed(f"the number of {what} is impossible")
    return count


def _tar_storages(machine: Machine) -> dict[str, StorageRef]:
    stream = machine.stream
    found: dict[str, StorageRef] = {}
    for _ in range(_count(machine, "storages")):
        described = machine.load()
        if type(described) is not tuple or len(described) != 3:
            raise Malformed("a storage without key and class")
        key, dtype = _key(described[0]), storage_dtype(described[2])
        (numel,) = struct.unpack("<q", stream.raw(8))
        if numel < 0 or key in found:
            raise Malformed(f"storage {key!r} has a negative length or is in the file twice")
        found[key] = StorageRef(stream.skip(numel * itemsize(dtype)), dtype, numel, _SWAPPED)
    views = machine.load() if stream.tell() < stream.size else []
    read_pickles(stream.storage, stream.tell(), machine.actions, machine.work)
    if type(views) not in (list, tuple):
        raise Malformed("the slices of storages are not a list")
    for view in views:
        if type(view) is not tuple or len(view) != 4:
            raise Malformed("a slice of a storage that is not described")
        whole, first, numel = found.get(_key(view[1])), view[2], view[3]
        if whole is None or type(first) is not int or type(numel) is not int or not 0 <= first <= first + numel <= whole.numel:
            raise Malformed("a slice reaches beyond its storage")
        key = _key(view[0])
        if key in found:
            raise Malformed(f"storage {key!r} is in the file twice")
        found[key] = StorageRef(whole.storage, whole.dtype_name, numel, _SWAPPED, whole.first + first)
    return found


def _tar_tensors(machine: Machine, storages: dict[str, StorageRef]) -> dict[str, Tensor]:
    stream = machine.stream
    found: dict[str, Tensor] = {}
    for _ in range(_count(machine, "tensors")):
        described = machine.load()
        if type(described) is not tuple or len(described) != 3:
            raise Malformed("a tensor without key and storage")
        (dimensions, _unused) = struct.unpack("<ii", stream.raw(8))
        if not 0 <= dimensions <= limits.DIMENSIONS:
            raise Malformed(f"a tensor of {dimensions} dimensions")
        numbers = struct.unpack(f"<{2 * dimensions + 1}q", stream.raw(16 * dimensions + 8))
        ref = storages.get(_key(described[1]))
        if ref is None:
            raise Malformed("a tensor whose storage is not in the file")
        sizes, strides, key = numbers[:dimensions], numbers[dimensions:-1], _key(described[0])
        if key in found or key in storages:
            raise Malformed(f"tensor {key!r} has the key of another, or of a storage")
        found[key] = make_tensor(ref, numbers[-1], sizes, strides)
    read_pickles(stream.storage, stream.tell(), machine.actions, machine.work)
    return found
