"""What PyTorch before its zip archives pickled: persistent ids, calls, and the bytes of storages."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np
import torch

from torch2grid_builtin._inert.values import Tensor

DATA = np.arange(1, 7, dtype=np.float32)


class Id:
    """What is pickled as a persistent id."""

    def __init__(self, *saved: Any) -> None:
        self.saved = saved


class Made:
    """What is pickled as a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.saved if isinstance(value, Id) else None


def dumped(value: Any, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(value)
    return buffer.getvalue()


def storage(key: Any = "k", numel: Any = 6, view: Any = None, kind: Any = torch.FloatStorage) -> Id:
    return Id("storage", kind, key, "cpu", numel, view)


def tensor(where: Any, offset: int = 0, size: tuple[int, ...] = (6,), steps: tuple[int, ...] = (1,)) -> Made:
    return Made(torch._utils._rebuild_tensor, where, offset, size, steps)


def block(array: np.ndarray = DATA, numel: int | None = None) -> bytes:
    return struct.pack("<q", array.size if numel is None else numel) + array.tobytes()


def numbers(value: Any) -> Any:
    assert isinstance(value, Tensor)
    assert value.lazy is not None, value.reason
    return value.lazy.numpy().tolist()
