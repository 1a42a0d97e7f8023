"""What the tests of PyTorch's rebuild functions share: calling them as the pickle machine does."""

from __future__ import annotations

from typing import Any

import numpy as np

from torch2grid_builtin._inert import torch_values as tv
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.machine import Machine
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.values import StorageRef, Tensor
from torch2grid_core import LazyTensor
from torch2grid_core.sources import BytesStorage

NUMBERS = np.arange(1, 25, dtype=np.float32)
STORAGE = BytesStorage(NUMBERS.tobytes())
FLOATS = StorageRef(STORAGE, "float32", 24)


def machine() -> Machine:
    """A machine whose storages are all ``FLOATS``."""
    return Interpreter(PickleStream(BytesStorage(b"")), CONSTRUCTORS, lambda saved: FLOATS)


def built(name: str, *args: Any, module: str = "torch._utils") -> Any:
    """What the constructor *module.name* makes of *args*."""
    return CONSTRUCTORS[module, name](machine(), args)


def ref(array: np.ndarray, name: str | None = None, **options: Any) -> StorageRef:
    """A storage with the bytes of *array*."""
    return StorageRef(BytesStorage(array.tobytes()), name or array.dtype.name, array.size, **options)


def made(tensor: Any) -> LazyTensor:
    """The tensor that can be read; anything else is an assertion error."""
    assert isinstance(tensor, Tensor)
    assert tensor.lazy is not None, tensor.reason
    return tensor.lazy


def values(tensor: Any) -> Any:
    """Its numbers, nested lists."""
    return made(tensor).numpy().tolist()


def of(array: np.ndarray) -> Tensor:
    """*array* as a tensor of its own."""
    steps = tuple(step // array.itemsize for step in array.strides)
    return tv.make_tensor(ref(array), 0, array.shape, steps)
