"""One tensor's share of the work: read it once, feed every collector, draw its pages; picklable where its storage is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch2grid_core.data.dtypes import as_float
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Duplicates, Need, Profile, Raster, Summary, Values
from torch2grid_core.pictures.page import Page
from torch2grid_core.pictures.raster import PartResult, RasterPart, assemble
from torch2grid_core.plugins.guard import collect
from torch2grid_core.run import Run
from torch2grid_core.summary.distribution import Distribution
from torch2grid_core.summary.duplicates import DuplicateUnits, duplicate_units, has_rows
from torch2grid_core.summary.profile import UnitProfile
from torch2grid_core.summary.sketch import Sketch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Drawn:
    """A page on its way to a file. rendered: format → bytes, for formats that were rendered where it was drawn.

    entry: what the index of the output folder says of it; ``None`` until it is prepared.
    """

    page: Page
    view: View
    rendered: Mapping[str, bytes] = field(default_factory=dict)
    entry: Mapping[str, Any] | None = None


Prepare = Callable[[Page, View], Drawn]


@dataclass(frozen=True)
class Outcome:
    """What a task brings back: the results that overviews wait for, and the tensor's pages."""

    results: dict[Need, Any]
    drawn: list[Drawn]


@dataclass(frozen=True)
class Task:
    """One tensor and what is wanted of it.

    kept: needs whose results go back; draws: each view with its own keys. prepare: makes a page ready to be written,
    where the page was drawn.
    """

    tensor: LazyTensor
    kept: tuple[Need, ...]
    draws: tuple[tuple[View, Mapping[str, Need]], ...]
    run: Run
    prepare: Prepare = Drawn

    def perform(self) -> Outcome:
        """Read the tensor once, then draw."""
        wanted = dict.fromkeys(self.kept)
        for _, needs in self.draws:
            wanted.update(dict.fromkeys(needs.values()))
        results = self._measure(tuple(wanted))
        drawn = []
        for view, needs in self.draws:
            mine = {key: _finished(need, results[need]) for key, need in needs.items()}
            for page in collect(view, view.tensor_pages, self.tensor, mine, self.run):
                drawn.append(self.prepare(page, view))
        return Outcome({need: results[need] for need in self.kept}, drawn)

    def _measure(self, needs: tuple[Need, ...]) -> dict[Need, Any]:
        if not needs:
            return {}
        summaries = tuple(need for need in needs if isinstance(need, Summary))
        others = [need for need in needs if not isinstance(need, Summary)]
        collectors = [_collector(need, self.tensor) for need in others]
        if summaries:
            collectors.append(_SummaryCollector(_united(summaries)))
        if others:
            for start, chunk in self.tensor.flat_chunks():
                values = as_float(chunk)
                for collector in collectors:
                    collector.update(start, chunk, values)
        else:
            for chunk in self.tensor.chunks():
                collectors[0].update(0, chunk, chunk)
        results = [collector.result() for collector in collectors]
        return {**dict(zip(others, results, strict=False)), **dict.fromkeys(summaries, results[-1])}


def perform(task: Task) -> Outcome:
    """``task.perform()``, for an executor."""
    return task.perform()


def _united(needs: tuple[Summary, ...]) -> Summary:
    """One summary that serves all."""
    thresholds = {threshold: None for need in needs for threshold in need.thresholds}
    return Summary(tuple(thresholds), all(need.brief for need in needs))


def _finished(need: Need, result: Any) -> Any:
    """The result as a view sees it: the parts of a tensor's own raster are a grid already."""
    return assemble(need.layout, need.reduce, [result]) if isinstance(need, Raster) else result


class _SummaryCollector:
    def __init__(self, need: Summary) -> None:
        self.distribution = Distribution(need.thresholds, need.brief)

    def update(self, start: int, stored: Array, values: Array) -> None:
        self.distribution.update(stored)

    def result(self) -> Distribution:
        return self.distribution.settle()


class _ProfileCollector:
    def __init__(self, tensor: LazyTensor) -> None:
        self.profile = UnitProfile(tensor.shape)

    def update(self, start: int, stored: Array, values: Array) -> None:
        self.profile.update(start, values)

    def result(self) -> UnitProfile:
        return self.profile


class _DuplicatesCollector:
    def __init__(self, need: Duplicates, tensor: LazyTensor) -> None:
        self.need, self.tensor = need, tensor
        self.sketch = Sketch(tensor.shape) if has_rows(tensor) and tensor.shape[0] <= need.max_units else None

    def update(self, start: int, stored: Array, values: Array) -> None:
        if self.sketch is not None:
            self.sketch.update(start, values)

    def result(self) -> DuplicateUnits:
        if self.sketch is None:
            return DuplicateUnits(self.tensor.shape[0] if has_rows(self.tensor) else 0, False)
        return duplicate_units(self.tensor, self.sketch, self.need.cosine)


class _RasterCollector:
    def __init__(self, need: Raster, tensor: LazyTensor) -> None:
        self.part = RasterPart(need.layout, tensor.name, need.reduce)

    def update(self, start: int, stored: Array, values: Array) -> None:
        self.part.update(start, values)

    def result(self) -> PartResult:
        return self.part.result()


class _ValuesCollector:
    def __init__(self, need: Values, tensor: LazyTensor) -> None:
        fits = tensor.size <= need.limit
        self.array = np.empty(tensor.size, tensor.dtype) if fits else None
        self.shape = tensor.shape

    def update(self, start: int, stored: Array, values: Array) -> None:
        if self.array is not None:
            self.array[start : start + len(stored)] = stored

    def result(self) -> Array | None:
        return None if self.array is None else self.array.reshape(self.shape)


def _collector(need: Need, tensor: LazyTensor) -> Any:
    if isinstance(need, Summary):
        return _SummaryCollector(need)
    if isinstance(need, Profile):
        return _ProfileCollector(tensor)
    if isinstance(need, Duplicates):
        return _DuplicatesCollector(need, tensor)
    if isinstance(need, Raster):
        return _RasterCollector(need, tensor)
    if isinstance(need, Values):
        return _ValuesCollector(need, tensor)
    raise TypeError(f"{type(need).__name__} is not a need of one tensor")
