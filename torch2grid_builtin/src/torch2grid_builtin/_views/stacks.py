"""Matrices that a tensor stacks, as those of experts: each is measured and judged as if it were a tensor of its own."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch2grid_builtin._forms import stacked
from torch2grid_core import Checkpoint, LazyTensor, Need
from torch2grid_core.measures import Chunk, Collector

_OF_STACKS = "{} of each matrix"


@dataclass(frozen=True)
class Matrix:
    """A tensor, or one of the matrices that it stacks. owner: the name of the tensor. place: of the matrix in the stack.

    index: of the matrix, in the whole tensor; empty where it is no stack.
    """

    tensor: LazyTensor
    owner: str
    place: int | None = None
    index: tuple[int, ...] = ()

    def of(self, results: Mapping[str, Any], key: str) -> Any:
        """What was measured of it under *key* of ``apart``; ``None`` where nothing was."""
        if self.place is None:
            return results.get(key, {}).get(self.owner)
        return results[_OF_STACKS.format(key)][self.owner][self.place]

    @property
    def where(self) -> str:
        """``matrix [3]: `` of a stack, to stand in front of what is said of it; else empty."""
        return f"matrix [{', '.join(map(str, self.index))}]: " if self.index else ""


def matrices(tensor: LazyTensor) -> Iterator[Matrix]:
    """The matrices that *tensor* stacks, each a view with its index behind the name, or the tensor itself."""
    stack = stacked(tensor.name, tensor.shape)
    if stack is None:
        yield Matrix(tensor, tensor.name)
        return
    for place, (index, whole) in enumerate(zip(np.ndindex(*stack.leading), stack.indices, strict=True)):
        part = tensor.view(index)
        name = f"{tensor.name}[{', '.join(map(str, whole))}]"
        yield Matrix(replace(part, name=name), tensor.name, place, whole)


def apart(checkpoint: Checkpoint, needs: Mapping[str, Need[Any]], names: Iterable[str] | None = None) -> dict[str, Need[Any]]:
    """*needs* of the tensors *names*, all unless given, and under keys that ``Matrix.of`` knows, of each matrix of a stack."""
    chosen = list(checkpoint if names is None else names)
    stacks = [name for name in chosen if stacked(name, checkpoint[name].shape)]
    if not stacks:
        return {key: need if names is None else need.about(chosen) for key, need in needs.items() if chosen}
    plain = [name for name in chosen if name not in set(stacks)]
    found: dict[str, Need[Any]] = {key: need.about(plain) for key, need in needs.items() if plain}
    return {**found, **{_OF_STACKS.format(key): EachMatrix(need).about(stacks) for key, need in needs.items()}}


def joined(results: Mapping[str, Any], key: str, name: str) -> Any:
    """What was measured of the whole of tensor *name* under *key* of ``apart``: of a stack, of all its matrices together."""
    parts = results.get(_OF_STACKS.format(key), {}).get(name)
    if parts is None:
        return results[key][name]
    whole = deepcopy(parts[0])
    for part in parts[1:]:
        whole.merge(part)
    return whole


@dataclass(frozen=True)
class EachMatrix(Need[tuple[Any, ...]]):
    """*need*, which is about one tensor each, of each matrix of a stack: the results in the order of the matrices."""

    need: Need[Any]

    @property
    def ordered(self) -> bool:  # type: ignore[override]
        return True  # which matrix a chunk is of follows from its place

    def groups(self, checkpoint: Checkpoint) -> Mapping[Hashable, tuple[str, ...]]:
        return {name: (name,) for name, tensor in checkpoint.items() if stacked(name, tensor.shape)}

    def unite(self, other: Need[Any]) -> Need[Any] | None:
        return self if self == other else None

    def merges(self, tensor: LazyTensor) -> bool:
        return self.need.merges(next(matrices(tensor)).tensor)

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        (tensor,) = tensors.values()
        return _EachMatrix(self.need, tensor)


@dataclass(frozen=True)
class PerMatrix(EachMatrix):
    """*need* of each tensor, and of a stack a tuple: that of each of its matrices."""

    def groups(self, checkpoint: Checkpoint) -> Mapping[Hashable, tuple[str, ...]]:
        return self.need.groups(checkpoint)

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        (tensor,) = tensors.values()
        return self.need.collector(tensors) if stacked(tensor.name, tensor.shape) is None else super().collector(tensors)

    def finish(self, gathered: Any) -> Any:
        return gathered.result() if isinstance(gathered, _EachMatrix) else self.need.finish(gathered)


class _Run(Chunk):
    """A run of another chunk, which is converted once, for the whole tensor and its matrices."""

    def __init__(self, chunk: Chunk, start: int, run: slice) -> None:
        super().__init__(chunk.tensor, start, chunk.stored[run])
        self._chunk, self._run = chunk, run

    @property
    def values(self) -> Any:
        return self._chunk.values[self._run]


class _EachMatrix(Collector):
    def __init__(self, need: Need[Any], tensor: LazyTensor) -> None:
        parts = [each.tensor for each in matrices(tensor)]
        self.need, self.size = need, parts[0].size
        self.inner = [need.collector({part.name: part}) for part in parts]

    def update(self, chunk: Chunk) -> None:
        stored, place = chunk.stored, 0
        while place < len(stored):
            matrix, start = divmod(chunk.start + place, self.size)
            step = min(self.size - start, len(stored) - place)
            self.inner[matrix].update(_Run(chunk, start, slice(place, place + step)))
            place += step

    def merge(self, other: _EachMatrix) -> None:
        for mine, others in zip(self.inner, other.inner, strict=True):
            mine.merge(others)

    def result(self) -> tuple[Any, ...]:
        return tuple(self.need.finish(each) for each in self.inner)
