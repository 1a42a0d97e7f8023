"""The one way through: what all views need, one pass over the weights, pages as soon as they can be drawn.

``Engine.run`` serves the command line, interactive mode and the Python API alike. Each tensor is one task (a lazy tensor
and the needs of every view for it); tasks run in any ``concurrent.futures.Executor`` and are merged in the order of the file,
so that the number of workers never changes a digit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.data.dtypes import as_float
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.errors import NotDrawable
from torch2grid_core.kinds.transformer import GridTransformer, LayoutTransformer
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Need, Profile, Raster, Summary, Transformed, Values
from torch2grid_core.pictures.grid import Grid
from torch2grid_core.pictures.layout import Block, Curve
from torch2grid_core.pictures.page import Page
from torch2grid_core.pictures.raster import PartResult, RasterPart, assemble, reduce_array
from torch2grid_core.plugins.guard import call, collect, origin_of
from torch2grid_core.run import Run
from torch2grid_core.summary.distribution import Distribution
from torch2grid_core.summary.profile import UnitProfile

Array = np.ndarray[Any, Any]
Sink = Callable[[Page, View], None]
_AHEAD = 32  # tasks submitted before their turn: enough to keep workers busy, few enough to keep results small


class ArrayMapping(Mapping[str, Array]):
    """Tensors as float32 arrays, each read when it is touched and forgotten after: what a plain transformer gets."""

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> Array:
        values = as_float(self._tensors[name].numpy())
        limit = np.finfo(np.float32).max
        if values.dtype == np.float64:  # beyond float32's range stays the largest float32, never Inf
            values = np.where(np.isfinite(values), np.clip(values, -limit, limit), values)
        return np.array(values, dtype=np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


@dataclass(frozen=True)
class Task:
    """One tensor and what is wanted of it; picklable where the tensor's storage is."""

    tensor: LazyTensor
    needs: tuple[Need, ...]

    def measure(self) -> list[Any]:
        """Read the tensor once. The results are in the order of ``needs``."""
        collectors = [_collector(need, self.tensor) for need in self.needs]
        if all(isinstance(need, Summary) for need in self.needs):
            for chunk in self.tensor.chunks():
                for collector in collectors:
                    collector.update(0, chunk, chunk)
        else:
            for start, chunk in self.tensor.flat_chunks():
                values = as_float(chunk)
                for collector in collectors:
                    collector.update(start, chunk, values)
        return [collector.result() for collector in collectors]


def _measure(task: Task) -> list[Any]:
    return task.measure()


class _SummaryCollector:
    def __init__(self, need: Summary) -> None:
        self.distribution = Distribution(need.thresholds)

    def update(self, start: int, stored: Array, values: Array) -> None:
        self.distribution.update(stored)

    def result(self) -> Distribution:
        return self.distribution


class _ProfileCollector:
    def __init__(self, tensor: LazyTensor) -> None:
        self.profile = UnitProfile(tensor.shape)

    def update(self, start: int, stored: Array, values: Array) -> None:
        self.profile.update(start, values)

    def result(self) -> UnitProfile:
        return self.profile


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
    if isinstance(need, Raster):
        return _RasterCollector(need, tensor)
    if isinstance(need, Values):
        return _ValuesCollector(need, tensor)
    raise TypeError(f"{type(need).__name__} is not a need of one tensor")


def streams(transformer: GridTransformer) -> bool:
    """True when only layout and scale matter, so that the raster does the work; False where a step is overridden."""
    steps = ("transform", "preprocess", "postprocess", "__call__")
    return isinstance(transformer, LayoutTransformer) and all(
        getattr(type(transformer), step) is getattr(LayoutTransformer, step) for step in steps
    )


class _Whole:
    """A grid of the whole model while its parts arrive."""

    def __init__(self, need: Raster | Transformed, checkpoint: Checkpoint) -> None:
        self.need = need
        self.parts: list[PartResult] = []
        self.summaries: dict[str, Distribution] = {}
        self.shares: dict[str, Raster] = {}  # tensor → the part of the raster that it fills, which travels to a worker
        if isinstance(need, Raster):
            self.raster: Raster | None = need
            self.transformer: GridTransformer | None = None
            self._share()
            return
        self.transformer = need.transformer
        self.tensors = {name: tensor for name, tensor in checkpoint.items() if name not in checkpoint.aliases}
        arrays = ArrayMapping(self.tensors)
        if not call(self.transformer, self.transformer.can_handle, arrays):
            raise origin_of(self.transformer).error("cannot handle these tensors (can_handle is false)")
        self.raster = None
        if streams(self.transformer):
            assert isinstance(self.transformer, LayoutTransformer)
            shapes = {name: tensor.shape for name, tensor in self.tensors.items()}
            self.raster = Raster(call(self.transformer, self.transformer.layout, shapes, need.max_cells), need.reduce)
            self._share()

    def _share(self) -> None:
        assert self.raster is not None
        blocks: dict[str, list[Block | Curve]] = {}
        for block in self.raster.layout.blocks:
            blocks.setdefault(block.tensor, []).append(block)
        for name, own in blocks.items():
            self.shares[name] = Raster(replace(self.raster.layout, blocks=tuple(own), regions=()), self.raster.reduce)

    @property
    def summary(self) -> Summary | None:
        """What the transformer must know of each tensor before its values are scaled."""
        wanted = (
            isinstance(self.transformer, LayoutTransformer) and self.raster is not None and self.transformer.needs_summaries
        )
        return Summary() if wanted else None

    def grid(self) -> Grid:
        if self.raster is None:
            assert isinstance(self.need, Transformed)
            assert self.transformer is not None
            drawn = call(self.transformer, self.transformer, ArrayMapping(self.tensors))
            if not isinstance(drawn, Grid) and (not isinstance(drawn, np.ndarray) or drawn.ndim != 2):
                shape = f"an array of shape {drawn.shape}" if isinstance(drawn, np.ndarray) else type(drawn).__name__
                raise origin_of(self.transformer).error(f"transform returned {shape}, not a 2-D array or a Grid")
            return reduce_array(drawn, self.need.reduce, self.need.max_cells)
        if not isinstance(self.transformer, LayoutTransformer):
            return assemble(self.raster.layout, self.raster.reduce, self.parts)
        scale = call(self.transformer, self.transformer.scale, self.summaries) if self.summary else None
        return assemble(self.raster.layout, self.raster.reduce, self.parts, scale, self.transformer.quantity)


class _Plan:
    """The needs of all views, united: which tensor is read for what, and who gets which result."""

    def __init__(self, checkpoint: Checkpoint, views: Sequence[View], run: Run) -> None:
        self.checkpoint, self.views, self.run = checkpoint, views, run
        self.of_tensor: list[dict[str, Mapping[str, Need]]] = [
            {name: dict(call(view, view.tensor_needs, tensor, run)) for name, tensor in checkpoint.items()} for view in views
        ]
        self.of_whole: list[Mapping[str, Need]] = [dict(call(view, view.needs, checkpoint, run)) for view in views]
        self.kept: set[Need] = set()  # per-tensor needs whose results the overviews see
        self.wholes: dict[Need, _Whole] = {}
        for needs in self.of_whole:
            for need in needs.values():
                if isinstance(need, (Raster, Transformed)):
                    if need not in self.wholes:
                        self.wholes[need] = _Whole(need, checkpoint)
                else:
                    self.kept.add(need)

    def task(self, name: str) -> Task:
        """The reading of one tensor: every view's needs, each once."""
        tensor = self.checkpoint[name]
        needs: dict[Need, None] = {}
        for view_needs in self.of_tensor:
            needs.update(dict.fromkeys(view_needs[name].values()))
        needs.update(dict.fromkeys(self.kept))
        for whole in self.wholes.values():
            if name in whole.shares:
                needs[whole.shares[name]] = None
                if whole.summary:
                    needs[whole.summary] = None
        return Task(tensor, tuple(needs))


class Engine:
    """Runs views over a checkpoint. executor: where tasks run; ``None`` runs them here, one after the other."""

    def __init__(self, executor: Executor | None = None) -> None:
        self.executor = executor

    def run(self, checkpoint: Checkpoint, views: Sequence[View], sink: Sink, run: Run | None = None) -> None:
        """Draw every page of *views*, each handed to *sink* with its view as soon as it is there.

        The pages of one tensor come when it has been read, in the order of the file; overviews come at the end, in the
        order of *views*. Raises ``LoadError`` for unreadable bytes, ``PluginError`` for a view or transformer that fails,
        ``NotDrawable`` when no tensor is left.
        """
        run = run or Run()
        if not checkpoint:
            raise NotDrawable(f"{checkpoint.source}: no tensor is left to draw")
        checkpoint = _without_repetition(checkpoint)
        plan = _Plan(checkpoint, views, run)
        kept: dict[Need, dict[str, Any]] = {need: {} for need in plan.kept}
        tasks = ((name, plan.task(name)) for name in checkpoint)
        for name, task, values in self._measured(tasks):
            results = dict(zip(task.needs, values, strict=True))
            for need in plan.kept:
                kept[need][name] = results[need]
            self._take_parts(plan, name, results)
            for view, needs in zip(views, plan.of_tensor, strict=True):
                if needs[name]:
                    mine = {key: _finished(need, results) for key, need in needs[name].items()}
                    for page in collect(view, view.tensor_pages, task.tensor, mine, run):
                        sink(page, view)
        grids = {need: whole.grid() for need, whole in plan.wholes.items()}
        for view, whole_needs in zip(views, plan.of_whole, strict=True):
            found = {key: grids[need] if need in grids else kept[need] for key, need in whole_needs.items()}
            for page in collect(view, view.pages, checkpoint, found, run):
                sink(page, view)

    @staticmethod
    def _take_parts(plan: _Plan, name: str, results: Mapping[Need, Any]) -> None:
        for whole in plan.wholes.values():
            if name in whole.shares:
                whole.parts.append(results[whole.shares[name]])
                if whole.summary:
                    whole.summaries[name] = results[whole.summary]

    def _measured(self, tasks: Iterable[tuple[str, Task]]) -> Iterator[tuple[str, Task, list[Any]]]:
        """The tasks with their results, in order; at most a few are ahead of their turn."""
        waiting: deque[tuple[str, Task, Future[list[Any]] | None]] = deque()
        for name, task in tasks:
            future = None
            if self.executor is not None and task.needs and task.tensor.storage.shippable:
                future = self.executor.submit(_measure, task)
            waiting.append((name, task, future))
            if len(waiting) >= (_AHEAD if self.executor is not None else 1):
                yield _settled(*waiting.popleft())
        while waiting:
            yield _settled(*waiting.popleft())


def _settled(name: str, task: Task, future: Future[list[Any]] | None) -> tuple[str, Task, list[Any]]:
    return name, task, task.measure() if future is None else future.result()


def _finished(need: Need, results: Mapping[Need, Any]) -> Any:
    """The result as a view sees it: the parts of a tensor's own raster are a grid already."""
    if isinstance(need, Raster):
        return assemble(need.layout, need.reduce, [results[need]])
    return results[need]


def _without_repetition(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with expanded views drawn as what they store (see ``LazyTensor.distinct``)."""
    distinct = [tensor.distinct() for tensor in checkpoint.values()]
    if all(new is old for new, old in zip(distinct, checkpoint.values(), strict=True)):
        return checkpoint
    return checkpoint.with_tensors(distinct)
