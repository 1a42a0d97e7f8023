"""Live objects as checkpoints: modules and state dicts, on any device, without a copy of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid_core import BytesStorage, Checkpoint, LazyTensor, LoadError, Skip
from torch2grid_core.data.dtypes import BY_NAME

if TYPE_CHECKING:
    import torch


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
        buffer[:] = memoryview(self._data[offset : offset + len(buffer)].cpu().numpy())


def from_module(module: torch.nn.Module) -> Checkpoint:
    """The parameters and buffers of *module*, by the names of its ``state_dict()``; nothing is read or copied yet."""
    return from_mapping(module.state_dict(keep_vars=True), source=type(module).__name__)


def from_mapping(tensors: Mapping[Any, Any], source: str = "state dict") -> Checkpoint:
    """A mapping of name to ``torch.Tensor`` or numpy array; nested mappings get dotted names.

    Meta tensors and entries that are no tensors are skipped with a reason. Raises ``LoadError`` where no tensor is left.
    """
    storages: dict[Any, Any] = {}
    found: list[LazyTensor] = []
    skipped: list[Skip] = []
    waiting = [("", tensors)]
    while waiting:
        prefix, level = waiting.pop()
        nested = []
        for key, value in level.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping):
                nested.append((f"{name}.", value))
            elif isinstance(value, (np.ndarray, np.generic)) and np.asarray(value).dtype.kind in "biufcV":
                found.append(_from_array(name, np.asarray(value)))
            elif _is_tensor(value):
                tensor, reason = _from_tensor(name, value, storages)
                if tensor is None:
                    skipped.append(Skip(name, reason, "torch2grid"))
                else:
                    found.append(tensor)
            else:
                skipped.append(Skip(name, f"no tensor: {type(value).__name__}", "torch2grid"))
        waiting += reversed(nested)
    if not found:
        raise LoadError(source, f"holds no tensor ({len(skipped)} other entries)", "give a module or a state dict")
    return Checkpoint(found, source=source, format="live", skipped=skipped)


def _is_tensor(value: Any) -> bool:
    import sys

    torch = sys.modules.get("torch")  # a tensor can only be here if torch is
    return torch is not None and isinstance(value, torch.Tensor)


def _from_array(name: str, array: np.ndarray[Any, Any]) -> LazyTensor:
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind != "V" else array.dtype
    flat = np.ascontiguousarray(array, dtype=dtype).reshape(-1)
    return LazyTensor(name, array.shape, dtype, BytesStorage(flat.view(np.uint8)))


def _from_tensor(name: str, tensor: torch.Tensor, storages: dict[Any, Any]) -> tuple[LazyTensor | None, str]:
    import torch

    note = ""
    tensor = tensor.detach()
    if tensor.is_meta:
        return None, "meta tensor: it has a shape and no data"
    if tensor.layout is not torch.strided:
        note = f"sparse, {list(tensor.shape)}: the stored values"
        tensor = (tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor).values()
    if tensor.is_quantized:
        note = f"{tensor.dtype}, dequantised".replace("torch.", "")
        tensor = tensor.dequantize()
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    dtype = BY_NAME.get(str(tensor.dtype).removeprefix("torch."))
    if dtype is None:
        return None, f"dtype {tensor.dtype} is not known"
    storage = tensor.untyped_storage()
    if storage.nbytes() == 0 and tensor.numel():
        return None, f"{type(tensor).__name__} without a storage of its own"
    key = (str(tensor.device), storage.data_ptr(), storage.nbytes())
    if key not in storages:
        data = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)  # type: ignore[arg-type]
        storages[key] = LiveStorage(data)
    strides = None if tensor.is_contiguous() else tuple(tensor.stride())
    offset = tensor.storage_offset()
    return LazyTensor(name, tuple(tensor.shape), dtype, storages[key], offset, strides, note), ""
