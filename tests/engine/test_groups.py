"""Needs of groups of tensors: the collector sees every weight of every member, whatever their sizes are."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from hypothesis import given, strategies as st

from torch2grid_core import Checkpoint, LazyTensor, Need, measure
from torch2grid_core.measures import Chunk, Collector
from torch2grid_core.sources import BytesStorage


class Sums(Collector):
    def __init__(self) -> None:
        self.count, self.total = 0, 0

    def update(self, chunk: Chunk) -> None:
        self.count += chunk.stored.size
        self.total += int(chunk.stored.sum())

    def merge(self, other: Sums) -> None:
        self.count += other.count
        self.total += other.total

    def result(self) -> tuple[int, int]:
        return self.count, self.total


@dataclass(frozen=True)
class Whole(Need[tuple[int, int]]):
    """Count and sum of all weights together."""

    adds: bool

    def groups(self, checkpoint: Checkpoint) -> Mapping[str | None, tuple[str, ...]]:
        return {None: tuple(checkpoint)}

    def merges(self, tensor: LazyTensor) -> bool:
        return self.adds

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Sums:
        return Sums()


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_every_weight_of_a_group_is_seen_once(sizes: list[int], adds: bool, away: bool) -> None:
    tensors, first = [], 1
    for number, size in enumerate(sizes):
        values = np.arange(first, first + size, dtype=np.int64)
        first += size
        tensors.append(LazyTensor(f"t{number}", (size,), values.dtype, BytesStorage(values.tobytes())))
    with ThreadPoolExecutor(2) as threads:
        found = dict(measure(Checkpoint(tensors), {"all": Whole(adds)}, executor=threads if away else None))
    assert found[None]["all"] == (sum(sizes), sum(range(first)))
