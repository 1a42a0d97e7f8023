"""Checkpoints of arrays in memory, and the pages that a view draws of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from torch2grid_core import Checkpoint, LazyTensor, Page, Settings, View, draw as draw_pages
from torch2grid_core.sources import BytesStorage


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


class Drawn(NamedTuple):
    """A page as ``draw`` yields it."""

    page: Page
    view: View
    made: Any


def drawn_of(checkpoint: Checkpoint, views: Sequence[View], run: Settings | None = None, **options: Any) -> Iterator[Drawn]:
    """The pages of *views*, each with its view and what was made of it; *options* are those of ``draw``."""
    return (Drawn(*each) for each in draw_pages(checkpoint, views, run, **options))


def draw(view: View, arrays: Mapping[str, Any] | Checkpoint, run: Settings | None = None) -> dict[str, Page]:
    """The pages of *view*, by ``folder/name``."""
    checkpoint = arrays if isinstance(arrays, Checkpoint) else checkpoint_of(arrays)
    pages = [each.page for each in drawn_of(checkpoint, [view], run)]
    found = {f"{page.folder}/{page.name}".lstrip("/"): page for page in pages}
    assert len(found) == len(pages)
    return found
