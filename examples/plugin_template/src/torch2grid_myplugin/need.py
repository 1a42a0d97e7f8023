"""A need: something to measure in the pass that all views share, and a view that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch2grid_core import Checkpoint, LazyTensor, Need, Page, Settings, View
from torch2grid_core.measures import Chunk, Collector
from torch2grid_core.pages import Table


class SignCollector(Collector):
    """Sees every weight once, chunk by chunk. It travels between processes, so it is small."""

    def __init__(self) -> None:
        self.negative = self.positive = 0

    def update(self, chunk: Chunk) -> None:
        self.negative += int(np.count_nonzero(chunk.values < 0))
        self.positive += int(np.count_nonzero(chunk.values > 0))

    def merge(self, other: SignCollector) -> None:
        self.negative += other.negative
        self.positive += other.positive

    def result(self) -> tuple[int, int]:
        return self.negative, self.positive


@dataclass(frozen=True)  # frozen: two that are equal are measured once
class SignNeed(Need[tuple[int, int]]):
    """How many weights are negative, and how many positive."""

    def merges(self, tensor: LazyTensor) -> bool:
        return True  # so a large tensor is spread over the workers

    def collector(self, tensors: Mapping[str, LazyTensor]) -> SignCollector:
        return SignCollector()


class Signs(View):
    """how many weights of each tensor are negative, and how many positive"""

    name = "signs"
    default_format = "text"
    uses_transformer = False

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"signs": SignNeed()}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        rows = tuple((name, negative, positive) for name, (negative, positive) in results["signs"].items())
        table = Table(("Tensor", "Negative", "Positive"), rows, formats={"Negative": ",d", "Positive": ",d"})
        yield Page(self.name, run.title or "Signs of the weights", (table,), kind="table")
