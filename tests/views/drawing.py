"""Checkpoints of arrays in memory, and the pages that a view draws of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from torch2grid_core import BytesStorage, Checkpoint, Engine, LazyTensor, Page, Run, View


def checkpoint_of(arrays: Mapping[str, Any], **facts: Any) -> Checkpoint:
    """The arrays as a checkpoint; the same array under two names is a tied tensor."""
    storages: dict[int, BytesStorage] = {}
    tensors = []
    for name, given in arrays.items():
        array = np.asarray(given)
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        storage = storages.setdefault(id(given), BytesStorage(flat))
        tensors.append(LazyTensor(name, array.shape, array.dtype, storage))
    return Checkpoint(tensors, **facts)


def draw(view: View, arrays: Mapping[str, Any] | Checkpoint, run: Run | None = None) -> dict[str, Page]:
    """The pages of *view*, by ``folder/name``."""
    pages: list[Page] = []
    checkpoint = arrays if isinstance(arrays, Checkpoint) else checkpoint_of(arrays)
    Engine().run(checkpoint, [view], pages.append, run, prepare=lambda page, _: page)
    found = {f"{page.folder}/{page.name}".lstrip("/"): page for page in pages}
    assert len(found) == len(pages)
    return found
