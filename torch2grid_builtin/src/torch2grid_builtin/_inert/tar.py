"""Tars of PyTorch 0.1 to 0.3. Format: ``legacy_load`` in ``torch/serialization.py``."""

from __future__ import annotations

import struct
from typing import Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.hidden import read_pickles
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.legacy import SWAPPED, class_beside
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.torch_dtypes import itemsize, storage_dtype
from torch2grid_builtin._inert.torch_values import make_tensor
from torch2grid_builtin._inert.values import Global, StorageRef, Tensor, number_text, text
from torch2grid_core.sources import Storage


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
    storages = _tar_storages(Interpreter(PickleStream(members["storages"]), CONSTRUCTORS, work=work, actions=actions))
    known: dict[str, Any] = dict(storages)
    if "tensors" in members:
        machine = Interpreter(PickleStream(members["tensors"]), CONSTRUCTORS, work=work, actions=actions)
        known.update(_tar_tensors(machine, storages))

    def persistent_load(saved: Any) -> Any:
        if type(saved) is tuple and saved and text(saved[0]) == "storage" and len(saved) >= 5:
            found = storages.get(_key(saved[2]))
            if found is None or storage_dtype(saved[1]) != found.dtype_name or saved[4] != found.numel:
                raise Malformed("a tensor's storage is missing, or of another type or length than stated")
            return found
        if type(saved) is tuple and saved and isinstance(saved[0], Global):
            return class_beside(saved[0], saved[1:])
        if _key(saved) not in known:
            raise Malformed("the pickle names a tensor that is not in the file")
        return known[_key(saved)]

    machine = Interpreter(PickleStream(members["pickle"]), CONSTRUCTORS, persistent_load, work, actions=actions)
    root = machine.load()
    read_pickles(members["pickle"], machine.stream.tell(), actions, work)
    return root


def _key(value: Any) -> str:
    plain = text(value)
    if plain is None and type(value) is not int:
        raise Malformed("a storage or tensor whose key is neither text nor a number")
    return plain if plain is not None else number_text(value)


def _count(machine: Interpreter, what: str) -> int:
    count = machine.load()
    if type(count) is not int or not 0 <= count <= limits.STORAGES:
        raise Malformed(f"the number of {what} is impossible")
    return count


def _tar_storages(machine: Interpreter) -> dict[str, StorageRef]:
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
        found[key] = StorageRef(stream.skip(numel * itemsize(dtype)), dtype, numel, SWAPPED)
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
        found[key] = StorageRef(whole.storage, whole.dtype_name, numel, SWAPPED, whole.first + first)
    return found


def _tar_tensors(machine: Interpreter, storages: dict[str, StorageRef]) -> dict[str, Tensor]:
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
