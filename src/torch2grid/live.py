"""Live objects as checkpoints: modules and state dicts, on any device, without a copy of the model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid_builtin.inert.groups import optimizer_facts
from torch2grid_builtin.inert.parts import find_parts
from torch2grid_builtin.inert.read import told
from torch2grid_builtin.inert.torch_values import make_tensor
from torch2grid_builtin.inert.values import Malformed, Pairs, StorageRef, Tensor
from torch2grid_builtin.inert.walk import collect
from torch2grid_core import BytesStorage, Checkpoint, LazyTensor, LoadError, visible
from torch2grid_core.data.dtypes import BY_NAME

if TYPE_CHECKING:
    import torch

_DEPTH = 100  # containers in containers: nobody's state dict is deeper


class LiveStorage:
    """The bytes of a tensor's storage where they are; a read from another device copies just what it reads."""

    shippable = False  # other processes do not see this memory

    def __init__(self, data: torch.Tensor) -> None:
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


def from_module(module: torch.nn.Module) -> Checkpoint:
    """The parameters and buffers of *module*, by the names of its ``state_dict()``; nothing is read or copied yet.

    That call is the module's own: one that gathers its parameters from all ranks (FSDP 1) must be made on every rank.
    """
    return _opened(module, type(module).__name__)


def from_mapping(tensors: Mapping[Any, Any], source: str = "state dict") -> Checkpoint:
    """A mapping of name to ``torch.Tensor`` or numpy array, with mappings, lists and modules inside.

    Names, parts and metadata are those of the file that ``torch.save`` would make of it. Strided tensors are seen where they
    are; quantised and conjugate ones are computed now. Tensors without numbers (meta, fake, not initialised yet) are skipped
    with a reason; of a ``DTensor``, the shard of this process is there. Raises ``LoadError`` where no tensor is left.
    """
    return _opened(tensors, source)


def _opened(tensors: Any, source: str) -> Checkpoint:
    root = _Tree().node(tensors, 0)
    try:
        found = collect(root, "torch2grid")
        parts, default = find_parts(root, found.tensors)
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
            made = self._keep(value, self._tensor(value))
            if made.lazy is not None and id(value) in self.classes:
                made.lazy = replace(made.lazy, module_class=self.classes[id(value)])
        elif isinstance(value, (np.ndarray, np.generic)):
            self._keep(value, _array(np.asarray(value)))
        elif isinstance(value, LazyTensor):
            self._keep(value, Tensor(value))
        elif isinstance(value, Mapping):
            made = self._keep(value, Pairs())
            made.pairs.extend([(key, self.node(item, depth + 1)) for key, item in value.items()])
        elif isinstance(value, (list, tuple)):
            items = self._keep(value, [])
            items.extend([self.node(item, depth + 1) for item in value])
        elif torch is not None and isinstance(value, torch.nn.Module):
            self._note_classes(value)
            self._keep(value, self.node(value.state_dict(keep_vars=True), depth))
        elif torch is not None and isinstance(value, torch.optim.Optimizer):
            self._keep(value, self.node(value.state_dict(), depth))
        else:
            self._keep(value, None)

    def _note_classes(self, module: torch.nn.Module) -> None:
        """Note the class of each module inside *module*; of several that share a tensor, the first."""
        for each in module.modules():
            for tensor in (*each._parameters.values(), *each._buffers.values()):
                self.classes.setdefault(id(tensor), f"{type(each).__module__}.{type(each).__qualname__}")

    def _keep(self, value: Any, made: Any) -> Any:
        self.made[id(value)] = (made, value)
        return made

    def _tensor(self, tensor: torch.Tensor) -> Tensor:
        import torch

        if torch.nn.parameter.is_lazy(tensor):
            return Tensor(None, "not initialised: it gets its shape when the module is first called")
        kind = type(tensor).__name__
        try:
            plain, note = _plain(tensor.detach())
            if plain.is_meta or plain.untyped_storage().device.type == "meta":
                return Tensor(None, f"{'meta tensor' if plain.is_meta else kind}: it has a shape and no data")
            storage = self._storage(plain)
        except (RuntimeError, NotImplementedError, TypeError, ValueError):  # what torch raises depends on the kind of tensor
            return Tensor(None, f"{kind} without a storage of its own")
        if storage.size == 0 and plain.numel():
            return Tensor(None, f"{kind} whose storage was freed")
        held = StorageRef(storage, str(plain.dtype).removeprefix("torch."), storage.size // plain.element_size())
        try:
            made = make_tensor(held, plain.storage_offset(), tuple(plain.shape), plain.stride())
        except Malformed as error:
            return Tensor(None, error.reason)
        return Tensor(replace(made.lazy, note=note)) if note and made.lazy is not None else made

    def _storage(self, tensor: torch.Tensor) -> LiveStorage:
        """The storage of *tensor*, one for all tensors that share it."""
        import torch

        storage = tensor.untyped_storage()
        key = (str(tensor.device), storage.data_ptr(), storage.nbytes())
        if key not in self.storages:
            data = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            self.storages[key] = LiveStorage(data)
        return self.storages[key]


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of *tensor*: the shard of a ``DTensor`` (FSDP 2, tensor parallel), else the tensor itself."""
    to_local = getattr(tensor, "to_local", None)
    held: torch.Tensor = to_local() if callable(to_local) else tensor
    return held


def _plain(tensor: torch.Tensor) -> tuple[torch.Tensor, str]:
    """*tensor* as a strided tensor with its own bytes, and what was done for it."""
    import torch

    note = ""
    held = local(tensor)
    if held is not tensor:
        note = "" if held.shape == tensor.shape else f"shard of {list(tensor.shape)} on this process"
        tensor = held
    if tensor.is_meta:
        return tensor, note
    if type(tensor).dequantize is not torch.Tensor.dequantize or tensor.is_quantized:  # a subclass that packs numbers
        note = f"{tensor.dtype if tensor.is_quantized else type(tensor).__name__}, dequantised".removeprefix("torch.")
        tensor = tensor.dequantize()
    if tensor.is_mkldnn:
        tensor = tensor.to_dense()
    elif tensor.is_nested or tensor.layout is not torch.strided:
        size = "nested" if tensor.is_nested else f"{str(tensor.layout).removeprefix('torch.')} of size {list(tensor.shape)}"
        tensor = (tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor).values()
        note = f"{size}: its {tensor.numel():,} stored values"
    return tensor.resolve_conj().resolve_neg(), note


def _array(array: np.ndarray[Any, Any]) -> Tensor:
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind in "biufc" else BY_NAME.get(array.dtype.name)
    if dtype is None:
        return Tensor(None, f"a numpy array of {array.dtype.name}, not numbers")
    flat = np.ascontiguousarray(array, dtype=dtype).reshape(-1)
    return Tensor(LazyTensor("", array.shape, dtype, BytesStorage(flat.view(np.uint8))))


def _torch() -> Any:
    return sys.modules.get("torch")  # no object of torch can be here unless torch is
