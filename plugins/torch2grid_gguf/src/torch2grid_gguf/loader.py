"""The loader ``gguf``."""

from __future__ import annotations

import functools
import math
from typing import Any

import ml_dtypes
import numpy as np

from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import ByteSwapped, Range, Skip, Source, Storage
from torch2grid_gguf.dequantised import Dequantised
from torch2grid_gguf.header import MAGIC, Header, TensorInfo, read_header

_PLAIN: dict[str, Any] = {
    "F32": np.float32,
    "F16": np.float16,
    "F64": np.float64,
    "BF16": ml_dtypes.bfloat16,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
}


class Gguf(Loader):
    """A GGUF file of llama.cpp (.gguf), dequantised while it is read."""

    name = "gguf"

    def sniff(self, source: Source) -> int:
        return 2 if source.head[:4] == MAGIC else 0

    def load(self, source: Source) -> Checkpoint:
        header = read_header(source)
        tensors: dict[str, LazyTensor] = {}
        skipped: list[Skip] = []
        for info in header.tensors:
            if info.name in tensors:
                raise LoadError(
                    source.shown, f"has two tensors of the name {info.name!r}", "the file is damaged; fetch it again"
                )
            tensor = _tensor(source, header, info)
            if isinstance(tensor, LazyTensor):
                tensors[info.name] = tensor
            else:
                skipped.append(Skip(info.name, tensor, self.name))
        return Checkpoint(
            tensors, source=source.shown, format=f"GGUF v{header.version}", metadata=header.metadata, skipped=skipped
        )


def _tensor(source: Source, header: Header, info: TensorInfo) -> LazyTensor | str:
    """The tensor, or why it is left out. Raises ``LoadError`` where its data is not in the file."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        kind = GGMLQuantizationType(info.kind)
        block, width = GGML_QUANT_SIZES[kind]
    except (ValueError, KeyError):
        return f"unknown type {info.kind}"
    size = math.prod(info.shape)
    if size % block or (info.shape and info.shape[-1] % block):
        raise LoadError(source.shown, f"{info.name!r}: rows of {info.shape[-1:]} weights in blocks of {block} ({kind.name})")
    stored: Storage = Range(source, header.data + info.offset, size // block * width)
    if kind.name in _PLAIN:
        dtype = np.dtype(_PLAIN[kind.name])
        if header.order == ">":
            stored = ByteSwapped(stored, dtype.itemsize)
        return LazyTensor(info.name, info.shape, dtype, stored)
    if header.order == ">":
        return f"{kind.name}: quantised, in a big-endian file"
    if not _known(info.kind, width):
        return f"{kind.name}: not dequantised by the gguf package"
    storage = Dequantised(stored, info.kind, block, width)
    return LazyTensor(info.name, info.shape, np.dtype(np.float32), storage, note=f"{kind.name}, dequantised")


@functools.cache
def _known(kind: int, width: int) -> bool:
    """True where the installed gguf package can dequantise a type: asked with one block of zeros."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    try:
        dequantize(np.zeros(width, np.uint8), GGMLQuantizationType(kind))
    except NotImplementedError:
        return False
    return True
