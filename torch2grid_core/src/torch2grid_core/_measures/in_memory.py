"""Needs of arrays that are in memory: what the engine does for those of a file, for a transformer that is called by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.storage import BytesStorage
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._measures.need import Chunk, Need


def measured_here(tensors: Mapping[str, Any], needs: Mapping[str, Need[Any]]) -> dict[str, Any]:
    """The result of each need, as a view gets it. tensors: name → array or lazy tensor."""
    held = Checkpoint([_lazy(name, each) for name, each in tensors.items()], source="<arrays>", format="arrays", aliases={})
    return {key: _result(held, need.bind(held)) for key, need in needs.items()}


def _lazy(name: str, array: Any) -> LazyTensor:
    if isinstance(array, LazyTensor):
        return replace(array.distinct(), name=name)
    plain = np.asarray(array)
    shape = plain.shape  # of a contiguous copy, that of one number would be (1,)
    return LazyTensor(name, shape, plain.dtype, BytesStorage(np.ascontiguousarray(plain).reshape(-1).view(np.uint8)))


def _result(held: Checkpoint, need: Need[Any]) -> Any:
    groups = need.groups(held)
    found = {key: need.finish(_gathered({name: held[name] for name in names}, need)) for key, names in groups.items()}
    return found[None] if None in groups else found


def _gathered(tensors: Mapping[str, LazyTensor], need: Need[Any]) -> Any:
    if need.reads_itself:
        return need.compute(tensors)
    collector = need.collector(tensors)
    for name, tensor in tensors.items():
        for start, stored in tensor.flat_chunks():
            collector.update(Chunk(name, start, stored))
    return collector
