"""What the tests of the loaders share: opening with the built-in loaders, and flattening what torch loads."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torch2grid_builtin.plugin import torch2grid_loaders
from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core._data.checkpoint import check_computed
from torch2grid_core._data.opening import open_checkpoint


def loaders() -> list[Any]:
    """An instance of every built-in loader."""
    found = []
    for lazy in torch2grid_loaders():
        module, name = lazy.path.split(":")
        found.append(getattr(importlib.import_module(module), name)())
    return found


def opened(path: Path | str) -> Checkpoint:
    """The checkpoint at *path*, opened by whichever built-in loader claims it, and checked as the manager checks it."""
    checkpoint = open_checkpoint(path, loaders())
    check_computed(checkpoint.values())
    return checkpoint


def named(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, tensor) of nested dicts, lists and tuples, with the names that torch2grid gives."""
    if isinstance(value, torch.Tensor | np.ndarray):
        yield prefix or "tensor", value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from named(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from named(item, f"{prefix}.{index}" if prefix else str(index))


def torch_bytes(tensor: torch.Tensor) -> bytes:
    """The numbers of *tensor* in C order, bit by bit."""
    plain = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format).flatten()
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def bits(tensor: LazyTensor) -> bytes:
    """The numbers of a lazy tensor in C order, bit by bit."""
    return np.ascontiguousarray(tensor.numpy()).tobytes()


def same(tensor: LazyTensor, expected: Any) -> bool:
    """True where shape, dtype and every bit agree."""
    if isinstance(expected, np.ndarray):
        return tensor.shape == expected.shape and bits(tensor) == np.ascontiguousarray(expected).tobytes()
    dtype = str(expected.dtype).removeprefix("torch.")
    return (tensor.shape, tensor.dtype.name, bits(tensor)) == (tuple(expected.shape), dtype, torch_bytes(expected))
