"""One tensor's share of the work: read it once, feed every collector, draw its pages; picklable where its storage is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_core.data.dtypes import as_float
from torch2grid_core.data.joint import JointTensor
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.engine.asking import pages_of, unless_failed
from torch2grid_core.engine.memory import keep_scratch
from torch2grid_core.errors import PluginError, Torch2GridError
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Duplicates, Measure, Need, Of, Profile, Raster, Summary, Values
from torch2grid_core.pictures.page import Page
from torch2grid_core.pictures.raster import PartResult, RasterPart, assemble
from torch2grid_core.plugins.guard import describe, origin_of
from torch2grid_core.run import Run
from torch2grid_core.summary.distribution import Distribution
from torch2grid_core.summary.duplicates import DuplicateUnits, duplicate_units, has_rows
from torch2grid_core.summary.profile import UnitProfile
from torch2grid_core.summary.sketch import Sketch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Drawn:
    """A page on its way to a file. rendered: format → bytes, for formats that were rendered where it was drawn.

    entry: what the index of the output folder says of it; ``None`` until it is prepared. failures: formats that could not
    be rendered.
    """

    page: Page
    view: View
    rendered: Mapping[str, bytes] = field(default_factory=dict)
    entry: Mapping[str, Any] | None = None
    failures: Mapping[str, PluginError] = field(default_factory=dict)


Prepare = Callable[[Page, View], Drawn]


@dataclass(frozen=True)
class Outcome:
    """What a task brings back: the results that overviews wait for, and the tensor's pages.

    failures: (place in the run's views, error) of each view that failed to draw the tensor.
    """

    results: dict[Need, Any]
    drawn: list[Drawn]
    failures: list[tuple[int, PluginError]] = field(default_factory=list)


@dataclass(frozen=True)
class Failed:
    """What stands where the result of a need would be: the need itself is wrong, and the others are not to suffer."""

    reason: str


@dataclass(frozen=True)
class Draw:
    """A view that draws a tensor's pages. index: its place in the run's views; needs: under its own keys."""

    index: int
    view: View
    needs: Mapping[str, Need]


@dataclass(frozen=True)
class Task:
    """One tensor and what is wanted of it.

    kept: needs whose results go back; draws: each view that draws it. prepare: makes a page ready to be written,
    where the page was drawn.
    """

    tensor: LazyTensor
    kept: tuple[Need, ...]
    draws: tuple[Draw, ...]
    run: Run
    prepare: Prepare = Drawn

    def perform(self) -> Outcome:
        """Read the tensor once, then draw."""
        keep_scratch()
        wanted = dict.fromkeys(self.kept)
        for draw in self.draws:
            wanted.update(dict.fromkeys(draw.needs.values()))
        results = self._measure(tuple(wanted))
        outcome = Outcome({need: results[need] for need in self.kept}, [])
        for draw in self.draws:
            view, mine = draw.view, {key: _finished(need, results[need]) for key, need in draw.needs.items()}
            wrong = next((each.reason for each in mine.values() if isinstance(each, Failed)), None)
            if wrong is not None:
                outcome.failures.append((draw.index, origin_of(view).error(wrong)))
                continue

            def failed(error: PluginError, index: int = draw.index) -> None:
                outcome.failures.append((index, error))

            for page in unless_failed(pages_of(view, view.tensor_pages, self.tensor, mine, self.run), failed):
                outcome.drawn.append(self.prepare(page, view))
        return outcome

    def _measure(self, needs: tuple[Need, ...]) -> dict[Need, Any]:
        if not needs:
            return {}
        if isinstance(self.tensor, JointTensor):
            return _measured_together(self.tensor, needs)
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


def _measured_together(tensor: JointTensor, needs: tuple[Need, ...]) -> dict[Need, Any]:
    """The same for tensors that are read side by side: each collector gets its member's weights, or those computed."""
    members = dict(tensor.members)
    found: dict[Need, tuple[str | None, Any]] = {}
    for need in needs:
        if not isinstance(need, Of):
            found[need] = (None, _collector(need, tensor))
        elif need.member in members:
            found[need] = (need.member, _collector(need.need, replace(members[need.member], name=tensor.name)))
    computed = any(member is None and not isinstance(need, Measure) for need, (member, _) in found.items())
    for start, chunks in tensor.lockstep():
        stored: dict[str | None, Array] = dict(chunks.items())
        if computed:
            stored[None] = tensor.compute(chunks)
        values: dict[str | None, Array] = {}
        for need, (member, collector) in found.items():
            if isinstance(need, Measure):
                collector.update(start, chunks, None)
                continue
            if member not in values:
                values[member] = as_float(stored[member])
            collector.update(start, stored[member], values[member])
    results = {need: collector.result() for need, (_, collector) in found.items()}
    return {need: results.get(need) for need in needs}


def _united(needs: tuple[Summary, ...]) -> Summary:
    """One summary that serves all."""
    thresholds = {threshold: None for need in needs for threshold in need.thresholds}
    return Summary(tuple(thresholds), all(need.brief for need in needs))


def _finished(need: Need, result: Any) -> Any:
    """The result as a view sees it: the parts of a tensor's own raster are a grid already."""
    need = need.need if isinstance(need, Of) else need
    if not isinstance(need, Raster) or result is None or isinstance(result, Failed):
        return result
    try:
        return assemble(need.layout, need.reduce, [result])
    except Exception as error:
        return Failed(f"the layout of {result.tensor!r}: {describe(error)}")


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
    """A layout that a view made may be wrong: that is the view's failure, and other views share the task."""

    def __init__(self, need: Raster, tensor: LazyTensor) -> None:
        self.failed: Failed | None = None
        with self._noting(tensor.name):
            self.part = RasterPart(need.layout, tensor.name, need.reduce)

    @contextlib.contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failed = Failed(f"the layout of {name!r}: {describe(error)}")

    def update(self, start: int, stored: Array, values: Array) -> None:
        if self.failed is None:
            with self._noting(self.part.tensor):
                self.part.update(start, values)

    def result(self) -> PartResult | Failed:
        return self.failed or self.part.result()


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


class _MeasureCollector:
    """A plugin's own collector; what goes wrong in it is the view's failure, as with a layout."""

    def __init__(self, need: Measure, tensor: LazyTensor) -> None:
        self.what = type(need).__name__
        self.failed: Failed | None = None
        with self._noting():
            self.collector = need.collector(tensor)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Torch2GridError:
            raise
        except Exception as error:
            self.failed = Failed(f"{self.what}: {describe(error)}")

    def update(self, start: int, stored: Any, values: Any) -> None:
        if self.failed is None:
            with self._noting():
                self.collector.update(start, stored)

    def result(self) -> Any:
        if self.failed is None:
            with self._noting():
                return self.collector.result()
        return self.failed


def _collector(need: Need, tensor: LazyTensor) -> Any:
    if isinstance(need, Measure):
        return _MeasureCollector(need, tensor)
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
