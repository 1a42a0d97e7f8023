"""Streams that PyTorch wrote before its zip archives. Format: ``_legacy_load`` in ``torch/serialization.py``."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.machine import Handler, Machine
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.storages import Placed
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.torch_dtypes import itemsize, parse_id, storage_dtype
from torch2grid_builtin._inert.values import Global, LongBytes, StorageRef, Tensor, number_text, text
from torch2grid_core.sources import Storage

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_MAGIC_BYTES, _MAGIC_TEXT = MAGIC.to_bytes(10, "little"), str(MAGIC).encode()
_NO_KEY = "a slice of a storage without a key of its own"
_READING = [("torch._utils", name) for name in ("_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor")]
SWAPPED = False  # the storages of a legacy file are little-endian wherever it was written


def without_storages(constructors: Mapping[tuple[str, str], Handler]) -> dict[tuple[str, str], Handler]:
    """For a pickle whose storages are not at hand: its tensors stay stubs, and whatever else it does is judged all the same."""
    return {key: handler for key, handler in constructors.items() if key[0] != "torch._utils"}


def is_legacy(storage: Storage) -> bool:
    """True where *storage* begins with the magic number of a legacy stream, as ``torch.save`` writes it."""
    start = bytearray(min(storage.size, 64))
    storage.read_into(0, memoryview(start))
    head = bytes(start)
    return head[:1] in (b"\x80", b"L", b"I") and (_MAGIC_BYTES in head or _MAGIC_TEXT in head)


def read_legacy(
    storage: Storage,
    constructors: Mapping[tuple[str, str], Handler],
    work: Work | None = None,
    inside: Machine | None = None,
    actions: Actions | None = None,
) -> tuple[Any, int]:
    """The object of a legacy stream (0.4 to 1.5) and its length. Raises ``Malformed``.

    The stream: four pickles (magic number, protocol, sys_info, the object), a pickle of the storages' keys, then for
    each key its number of elements (int64) and the elements. constructors: what is
    interpreted, by (module, name). work: what it may cost. inside: the machine whose pickle holds it.
    actions: gets what all of these pickles want done.
    """
    if actions is None:
        actions = Actions() if inside is None else inside.actions
    stream = PickleStream(storage)
    machine = Interpreter(stream, constructors, _ids_only, work, inside, actions)
    if machine.load() != MAGIC:
        raise Malformed("the magic number of a PyTorch file is wrong")
    if machine.load() != PROTOCOL:
        raise Malformed("the protocol of this legacy PyTorch file is not 1001")
    machine.load()  # sys_info
    # Where the storages are stands behind the object: one with tensors whose numbers must be looked at is read twice.
    place = stream.tell()
    known = _Known(machine.work)
    reader = Interpreter(stream, {**constructors, **known.waiting}, known.persistent_load, machine.work, inside, actions)
    root = reader.load()
    keys = machine.load()
    if type(keys) is not list:
        raise Malformed("the list of storages is missing")
    for key in keys:
        known.read(key, stream)
    known.check()
    if known.waited:  # what it wants done is in the record by now
        again = PickleStream(storage, place)
        reader = Interpreter(again, constructors, known.persistent_load, machine.work, inside, Actions())
        reader.again = True
        root = reader.load()
    if inside is not None:
        inside.containers, inside.tuples = reader.containers, reader.tuples
    return root, stream.tell()


def _ids_only(saved: Any) -> Any:
    raise Malformed("a persistent id in front of the object")


class _Known:
    """The storages of a legacy stream: what the object says of them, then where their bytes are.

    waiting: what stands in for the constructors that read numbers. waited: one of them was called.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.is_text: dict[str, bool] = {}  # of each key: False for one of bytes, which PyTorch takes for another
        self.by_key: dict[str, StorageRef] = {}
        self.places: dict[str, Placed] = {}  # of those whose bytes were not found
        self.views: dict[str, tuple[tuple[str, int, int], StorageRef]] = {}
        self.waited = False
        self.waiting: dict[tuple[str, str], Handler] = dict.fromkeys(_READING, self.wait)

    def wait(self, machine: Machine, args: tuple[Any, ...]) -> Tensor:
        self.waited = True
        return Tensor(None, "a tensor that waits for its numbers")

    def read(self, saved: Any, stream: PickleStream) -> None:
        """Find the storage that the list of keys calls *saved* at the stream's place, which moves behind it."""
        key = text(saved)
        if key is None or key not in self.by_key or self.is_text[key] != (type(saved) is str):
            raise Malformed("the list of storages names one that nothing uses", "the file is damaged")
        place = self.places.pop(key, None)
        if place is None:
            raise Malformed(f"storage {key!r} is in the file twice")
        stated = self.by_key[key].numel
        (numel,) = struct.unpack("<q", stream.raw(8))
        if numel != stated:
            raise Malformed(f"storage {key!r} has {numel} numbers in the file, {stated} are stated")
        place.inner = stream.skip(place.size)

    def check(self) -> None:
        """Raise ``Malformed`` where the object uses a storage that is not there, or calls a slice like another storage."""
        for key in self.places:
            raise Malformed(f"storage {key!r} is used, but not in the file", "the file is cut short or wrong; fetch it again")
        if not self.views.keys().isdisjoint(self.by_key):
            raise Malformed(_NO_KEY)

    def persistent_load(self, saved: Any) -> Any:
        if _is_module(saved):
            return class_beside(saved[1], saved[2:])
        kind, key, numel = parse_id(saved, self.work)
        dtype, is_text = storage_dtype(kind), type(saved[2]) is str
        whole = self.by_key.get(key)
        if whole is None:
            place = self.places[key] = Placed(numel * itemsize(dtype))
            whole = self.by_key[key] = StorageRef(place, dtype, numel, SWAPPED)
            self.is_text[key] = is_text
            if len(self.by_key) > limits.STORAGES:
                raise Malformed("more storages than any checkpoint has")
        elif whole.dtype_name != dtype or whole.numel != numel or self.is_text[key] != is_text:
            raise Malformed(f"storage {key!r} is described twice, differently")
        return whole if len(saved) < 6 or saved[5] is None else self.view(key, whole, saved[5])

    def view(self, key: str, whole: StorageRef, metadata: Any) -> StorageRef:
        """A storage that is a slice of another: (its key, first element, number of elements)."""
        if type(metadata) is not tuple or len(metadata) != 3:
            raise Malformed("a slice of a storage without place and length")
        name, first, numel = metadata
        if type(first) is not int or type(numel) is not int or not 0 <= first <= first + numel <= whole.numel:
            raise Malformed(f"a slice {number_text(first) if type(first) is int else '?'} of a storage of {whole.numel}")
        name, place = text(name), (key, first, numel)
        if name is None or name in self.by_key:
            raise Malformed(_NO_KEY)
        if name not in self.views:
            view = StorageRef(whole.storage, whole.dtype_name, numel, whole.swapped, whole.first + first)
            self.views[name] = (place, view)
        if self.views[name][0] != place:
            raise Malformed(f"slice {name!r} of a storage is described twice, differently")
        return self.views[name][1]


def _is_module(saved: Any) -> bool:
    """``("module", class, source file, source)``: a class, with the source text that PyTorch stored beside it."""
    return type(saved) is tuple and len(saved) >= 2 and text(saved[0]) == "module"


def class_beside(kind: Any, sources: tuple[Any, ...]) -> Any:
    """The class of a persistent id that names one. PyTorch compares the source text with the class's own, and may keep a patch.

    Raises ``Malformed`` where it is no class with texts: PyTorch would ask whatever it is for its lines.
    """
    if sources and not (type(kind) is Global and all(map(_is_text, sources))):
        raise Malformed("a module whose class or source is something else", "it is hostile")
    return kind


def _is_text(value: Any) -> bool:
    return value is None or text(value) is not None or (isinstance(value, LongBytes) and value.is_text)
