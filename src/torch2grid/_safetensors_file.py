"""Writing safetensors files. Format: https://github.com/huggingface/safetensors#format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from torch2grid_core import UsageError
from torch2grid_core.pages import whole_file

_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}


def save(tensors: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str]) -> Path:
    """Write torch tensors (on any device; sparse ones as dense) and numpy arrays; the path.

    One tensor at a time is copied from its device. The file appears when it is whole. Raises ``UsageError`` for a dtype that
    the format does not have, ``Torch2GridError`` where *path* cannot be written.
    """
    place = 0
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, tensor in tensors.items():
        code = _CODES.get(str(tensor.dtype).removeprefix("torch."))
        if code is None:
            raise UsageError(f"{name}: safetensors has no dtype for {tensor.dtype}")
        size = int(np.prod(tensor.shape, dtype=np.int64)) * tensor.dtype.itemsize
        header[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target = Path(path)
    with whole_file(target) as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            stream.write(_bytes(tensor).data)
    return target


def _bytes(tensor: Any) -> np.ndarray[Any, Any]:
    if isinstance(tensor, np.ndarray):
        little = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
        return little.reshape(-1).view(np.uint8)
    import torch

    dense = tensor.detach()
    if dense.layout is not torch.strided:
        dense = dense.to_dense()
    array: np.ndarray[Any, Any] = dense.cpu().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy()
    return array
