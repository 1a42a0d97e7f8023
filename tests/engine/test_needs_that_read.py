"""A need that reads by itself, which a view wants of each tensor and of all of them, is computed once for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from torch2grid_core import Checkpoint, LazyTensor, Need, Page, Settings, View, draw
from torch2grid_core.pages import Text
from torch2grid_core.sources import BytesStorage

computed: list[str] = []


@dataclass(frozen=True)
class Largest(Need[float]):
    """The largest weight of each tensor."""

    than: float = 0.0

    def groups(self, checkpoint: Checkpoint) -> Mapping[str, tuple[str, ...]]:
        return {name: (name,) for name in checkpoint}

    def compute(self, tensors: Mapping[str, LazyTensor]) -> float:
        ((name, tensor),) = tensors.items()
        computed.append(name)
        return max(float(tensor.numpy().max()), self.than)


class Both(View):
    """of each tensor and of all"""

    name: ClassVar[str] = "both"
    whole = Largest()

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        return {"largest": Largest()}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        yield Page(tensor.name, tensor.name, (Text(f"{results['largest']:g}"),))

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"largest": self.whole}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        yield Page("all", "all", (Text(" ".join(f"{name}={each:g}" for name, each in results["largest"].items())),))


class Otherwise(Both):
    """of each tensor one need, of all of them another"""

    whole = Largest(2.0)


def drawn(view: View) -> dict[str, str]:
    computed.clear()
    arrays = {name: np.arange(stop, dtype=np.float32) for name, stop in (("a", 2), ("b", 5))}
    tensors = [LazyTensor(name, each.shape, each.dtype, BytesStorage(each.tobytes())) for name, each in arrays.items()]
    return {page.name: page.panels[0].text for page, *_ in draw(Checkpoint(tensors), [view], Settings(jobs=1))}  # type: ignore[union-attr]


def test_equal_needs_are_computed_once() -> None:
    assert drawn(Both()) == {"a": "1", "b": "4", "all": "a=1 b=4"}
    assert sorted(computed) == ["a", "b"]


def test_needs_that_differ_are_computed_each() -> None:
    assert drawn(Otherwise()) == {"a": "1", "b": "4", "all": "a=2 b=4"}
    assert sorted(computed) == ["a", "a", "b", "b"]
