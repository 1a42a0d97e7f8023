"""Live objects as checkpoints: modules and state dicts, on any device, without a copy of the model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from torch2grid_builtin._inert.groups import optimizer_facts
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.read import told
from torch2grid_builtin._inert.shards import placed, shard_note, sharded
from torch2grid_builtin._inert.torch_values import make_tensor, sparse_plumbing
from torch2grid_builtin._inert.values import TENSOR, Global, Pairs, StorageRef, Stub, Tensor
from torch2grid_builtin._inert.walk import collect
from torch2grid_builtin._inert.wrappers import NESTED, nested_note
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import BytesStorage, Source, dtype_named, find_parts
from torch2grid_core.text import visible

_DEPTH = 100  # containers in containers: nobody's state dict is deeper


class LiveStorage:
    """The bytes of a tensor's storage where they are; a read from another device copies just what it reads."""

    shippable = False  # other processes do not see this memory

    def __init__(self, data: Any) -> None:
        self._data = data  # uint8, 1-D, sharing the storage

    @property
    def size(self) -> int:
        """Length in bytes."""
        return int(self._data.numel())

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Copy bytes *offset* and on into *buffer*. Raises ``LoadError`` beyond the end."""
        if offset < 0 or offset + len(buffer) > self.size:
            raise LoadError("<live tensor>", f"bytes {offset}–{offset + len(buffer)} of {self.size} asked for")
        read: Any = self._data[offset : offset + len(buffer)].cpu().numpy()
        buffer[:] = memoryview(read)


class LiveModule(Loader):
    """A live nn.Module, on any device.

    Its tensors are those of its ``state_dict()``, which is the module's own: one that gathers its parameters from all ranks
    (FSDP 1) must be opened on every rank. Nothing is read or copied before it is asked for.
    """

    name = "module"
    accepts = "objects"

    def sniff(self, source: Source) -> int:
        torch = _torch()
        return int(torch is not None and isinstance(source.object, torch.nn.Module))

    def load(self, source: Source) -> Checkpoint:
        return _opened(source.object, source.name or type(source.object).__name__)


class StateDict(Loader):
    """A mapping of names to tensors or arrays, or one tensor.

    Mappings, lists and modules may be inside. Names, parts and metadata are those of the file that ``torch.save`` would make
    of it. Strided tensors are seen where they are; quantised and conjugate ones are computed now. Tensors without numbers
    (meta, fake, not initialised yet) are skipped with a reason. Of a ``DTensor`` or ``ShardedTensor``, the shard of this
    process is there; of a subclass that wraps tensors and of an object, those that are its attributes.
    """

    name = "state-dict"
    accepts = "objects"

    def sniff(self, source: Source) -> int:
        return int(isinstance(source.object, Mapping) or _is_array(source.object))

    def load(self, source: Source) -> Checkpoint:
        alone = _is_array(source.object)
        found, name = ({"tensor": source.object}, "tensor") if alone else (source.object, "state dict")
        return _opened(found, source.name or name)


def _opened(tensors: Any, source: str) -> Checkpoint:
    root = _Tree().node(tensors, 0)
    try:
        found = collect(root, "torch2grid")
        parts, default = find_parts(found.tensors, found.containers)
        facts = optimizer_facts(root)
    except Malformed as error:
        raise LoadError(source, error.reason, error.advice) from error
    if not found.tensors:
        reasons = [f": {visible(skip.name, 60)}: {skip.reason}" for skip in found.skipped[:1]]
        raise LoadError(source, f"holds no tensor{''.join(reasons)}", "give a module or a state dict with weights")
    return Checkpoint(
        found.tensors,
        source=source,
        format="live",
        metadata={**told(root), **facts},
        skipped=found.skipped,
        parts=parts,
        default_part=default,
    )


class _Tree:
    """Live objects as the values that the reader of pickles makes of a file, so that both are named in one way."""

    def __init__(self) -> None:
        self.storages: dict[Any, LiveStorage] = {}
        self.classes: dict[int, str] = {}  # of modules, by the id of each tensor that they hold
        self.made: dict[int, tuple[Any, Any]] = {}  # by id: what was made of it, and the object, so that its id stays its own

    def node(self, value: Any, depth: int) -> Any:
        if value is None or type(value) in (str, bytes, bool, int, float):  # a numpy scalar is a float, and an array to us
            return value
        if id(value) not in self.made:
            if depth > _DEPTH:
                return Tensor(None, f"nested deeper than {_DEPTH} levels")
            self._make(value, depth)
        return self.made[id(value)][0]

    def _make(self, value: Any, depth: int) -> None:
        torch = _torch()
        if torch is not None and isinstance(value, torch.Tensor):
            self._make_tensor(value, depth)
        elif isinstance(value, (np.ndarray, np.generic)):
            self._keep(value, _array(np.asarray(value)))
        elif isinstance(value, LazyTensor):
            self._keep(value, Tensor(value))
        elif isinstance(value, Mapping):
            made = self._keep(value, Pairs())
            made.pairs.extend([(key, self.node(item, depth + 1)) for key, item in value.items()])
        elif isinstance(value, list):
            items = self._keep(value, [])
            items.extend([self.node(item, depth + 1) for item in value])
        elif isinstance(value, tuple):
            self._keep(value, tuple([self.node(item, depth + 1) for item in value]))
        elif torch is not None and isinstance(value, torch.nn.Module):
            self._note_classes(value)
            self._keep(value, self.node(value.state_dict(keep_vars=True), depth))
        elif torch is not None and isinstance(value, torch.optim.Optimizer):
            self._keep(value, self.node(value.state_dict(), depth))
        elif torch is not None and isinstance(value, torch.ScriptObject):  # packed weights; its state has its class beside it
            self._keep(value, _stub(value, self.node(value.__getstate__(), depth + 1)))
        elif not isinstance(value, type) and any(map(_is_array, getattr(value, "__dict__", {}).values())):
            self._make_object(value, vars(value), depth)
        else:
            self._keep(value, None)

    def _make_object(self, value: Any, attributes: Mapping[str, Any], depth: int) -> None:
        state = Pairs()
        self._keep(value, _stub(value, state))
        state.pairs.extend([(key, self.node(item, depth + 1)) for key, item in attributes.items()])

    def _make_tensor(self, value: Any, depth: int) -> None:
        torch = _torch()

        if callable(getattr(value, "local_shards", None)):  # a ShardedTensor, of FSDP 1
            self._keep(value, self._sharded(value, depth))
            return
        made = self._keep(value, self._tensor(value))
        if made.lazy is not None and id(value) in self.classes:
            made.lazy = replace(made.lazy, module_class=self.classes[id(value)])
        plain = type(value).__torch_dispatch__ is torch.Tensor.__torch_dispatch__
        if made.lazy is None and not plain and any(map(_is_array, vars(value).values())):
            self._make_object(value, vars(value), depth)  # a subclass that wraps tensors
        held = {key: item for key, item in vars(value).items() if _is_array(item) or type(item) in (dict, list, tuple)}
        if plain and held:
            made.state = Pairs("dict", [(key, self.node(item, depth + 1)) for key, item in held.items()])

    def _sharded(self, value: Any, depth: int) -> Any:
        parts = [(self.node(shard.tensor, depth + 1), tuple(shard.metadata.shard_sizes)) for shard in value.local_shards()]
        group, shape = value._process_group, tuple(value.metadata().size)
        shards = [each for _, each in sharded(parts, (group.rank(), group.size()), shape)]
        return shards[0] if len(shards) == 1 else shards

    def _note_classes(self, module: Any) -> None:
        """Note the class of each module inside *module*; of several that share a tensor, the first."""
        for each in module.modules():
            for tensor in (*each._parameters.values(), *each._buffers.values()):
                self.classes.setdefault(id(tensor), f"{type(each).__module__}.{type(each).__qualname__}")

    def _keep(self, value: Any, made: Any) -> Any:
        self.made[id(value)] = (made, value)
        return made

    def _tensor(self, tensor: Any) -> Tensor:
        torch = _torch()

        if torch.nn.parameter.is_lazy(tensor):
            return Tensor(None, "not initialised: it gets its shape when the module is first called")
        kind = type(tensor).__name__
        try:
            plain, note, beside = _plain(tensor.detach())
            if plain.is_meta or plain.untyped_storage().device.type == "meta":
                return Tensor(None, f"{'meta tensor' if plain.is_meta else kind}: it has a shape and no data")
            storage = self._storage(plain)
        except (RuntimeError, NotImplementedError, TypeError, ValueError):  # what torch raises depends on the kind of tensor
            return Tensor(None, f"{kind} without a storage of its own")
        if not storage.size and plain.numel():
            return Tensor(None, f"{kind} whose storage was freed")
        held = StorageRef(storage, str(plain.dtype).removeprefix("torch."), storage.size // plain.element_size())
        try:
            made = make_tensor(held, plain.storage_offset(), tuple(plain.shape), plain.stride())
        except Malformed as error:
            return Tensor(None, error.reason)
        if made.lazy is None or not (note or beside):
            return made
        return Tensor(replace(made.lazy, note=", ".join(filter(None, (note, made.lazy.note)))), beside=beside)

    def _storage(self, tensor: Any) -> LiveStorage:
        """The storage of *tensor*, one for all tensors that share it."""
        torch = _torch()

        storage = tensor.untyped_storage()
        key = (str(tensor.device), storage.data_ptr(), storage.nbytes())
        if key not in self.storages:
            data = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            self.storages[key] = LiveStorage(data)
        return self.storages[key]


def local_shard(tensor: Any) -> Any:
    """What this process holds of *tensor*: the shard of a ``DTensor`` (FSDP 2, tensor parallel), else the tensor itself."""
    to_local = getattr(tensor, "to_local", None)
    held: Any = to_local() if callable(to_local) else tensor
    return held


def _plain(tensor: Any) -> tuple[Any, str, tuple[tuple[str, str], ...]]:
    """*tensor* as a strided tensor with its own bytes, what was done for it, and (name, reason) of what it leaves out."""
    torch = _torch()

    notes: list[str] = []
    beside: tuple[tuple[str, str], ...] = ()
    held = local_shard(tensor)
    if held is not tensor:
        notes.append(_shard_note(tensor, held))
        tensor = held
    if tensor.is_meta:
        return tensor, notes[0] if notes else "", beside
    if type(tensor).dequantize is not torch.Tensor.dequantize or tensor.is_quantized:  # a subclass that packs numbers
        notes.append(f"{tensor.dtype if tensor.is_quantized else type(tensor).__name__}, dequantised".removeprefix("torch."))
        tensor = tensor.dequantize()
    if tensor.is_mkldnn:
        tensor = tensor.to_dense()
    elif tensor.is_nested:
        beside = tuple((name, NESTED) for name in _nested_plumbing(tensor))
        tensor = tensor.values()
        notes.append(nested_note(tensor.numel()))
    elif tensor.layout is not torch.strided:
        layout = str(tensor.layout).removeprefix("torch.")
        size = f"{layout} of size {list(tensor.shape)}"
        beside = sparse_plumbing(layout)
        tensor = (tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor).values()
        notes.append(f"{size}: its {tensor.numel():,} stored values")
    return tensor.resolve_conj().resolve_neg(), ", ".join(filter(None, notes)), beside


def _shard_note(tensor: Any, held: Any) -> str:
    """Where the shard *held* of a ``DTensor`` belongs; empty where it is all of it."""
    mesh, placements = getattr(tensor, "device_mesh", None), getattr(tensor, "placements", ())
    if mesh is None:
        return "" if held.shape == tensor.shape else f"shard of {list(tensor.shape)} on this process"
    kinds = [(type(each).__name__, getattr(each, "dim", None)) for each in placements]
    place = mesh.get_coordinate()
    rank, sizes = placed(None if place is None else tuple(place), tuple(mesh.shape))
    return shard_note(rank, kinds, sizes, tuple(tensor.shape), tuple(held.shape))


def _nested_plumbing(tensor: Any) -> list[str]:
    """The names that the file would give to the tensors that say where the parts of a nested one lie."""
    torch = _torch()

    if tensor.layout is not torch.jagged:
        return ["sizes", "strides", "offsets"]
    lengths = [] if tensor.lengths() is None else ["lengths"]
    return ["offsets", *lengths, *(f"_metadata_cache.{key}" for key in tensor._metadata_cache)]


def _stub(value: Any, state: Any) -> Stub:
    """An object of *value*'s class, as a file has it, with *state*."""
    kind = type(value)
    name = ("torch", "ScriptObject") if kind.__name__ == "ScriptObject" else (kind.__module__, kind.__qualname__)
    made = Stub(Global(*name), (), TENSOR if _is_array(value) else "new")
    made.state = [state]
    return made


def _is_array(value: Any) -> bool:
    torch = _torch()
    return isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def _array(array: np.ndarray[Any, Any]) -> Tensor:
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind in "biufc" else dtype_named(array.dtype.name)
    if dtype is None:
        return Tensor(None, f"a numpy array of {array.dtype.name}, not numbers")
    flat = np.ascontiguousarray(array, dtype=dtype).reshape(-1)
    return Tensor(LazyTensor("", array.shape, dtype, BytesStorage(flat.view(np.uint8))))


def _torch() -> Any:
    return sys.modules.get("torch")  # no object of torch can be here unless torch is
