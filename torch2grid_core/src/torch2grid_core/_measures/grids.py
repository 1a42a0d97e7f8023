"""Grids: the weights of one tensor, or of the whole model, reduced to the cells of a picture while they stream past."""

from __future__ import annotations

import gc
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import as_float, is_floating
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._guard import call, describe, guarded, origin_of, returned, unhashable
from torch2grid_core._measures.in_memory import measured_here
from torch2grid_core._measures.need import Chunk, Collector, First, Need
from torch2grid_core._measures.transformer import (
    Chosen,
    GridTransformer,
    LayoutTransformer,
    chosen_names,
    handles,
    last_step,
    streams,
)
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.layout import Layout
from torch2grid_core._pictures.raster import PartResult, RasterPart, assemble, reduce_array
from torch2grid_core._pictures.reductions import REDUCTIONS
from torch2grid_core._summary.distribution import Distribution
from torch2grid_core._summary.not_finite import NotFiniteCount, count_not_finite

if TYPE_CHECKING:
    from torch2grid_core._data.checkpoint import Checkpoint
    from torch2grid_core._data.tensor import LazyTensor


class ArrayMapping(Mapping[str, Array]):
    """Tensors as float32 arrays, each read when it is touched and then forgotten. A plain transformer gets them.

    Attributes:
        not_finite: number of weights that are NaN or Inf, for each tensor that was touched and holds any.
    """

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self._tensors = dict(tensors)
        self.not_finite: dict[str, NotFiniteCount] = {}

    def __getitem__(self, name: str) -> Array:
        values = as_float(self._tensors[name].numpy())
        if count := count_not_finite(values.reshape(-1)):
            self.not_finite[name] = count
        limit = np.finfo(np.float32).max
        if values.dtype == np.float64:  # beyond float32's range stays the largest float32, never Inf
            values = np.where(np.isfinite(values), np.clip(values, -limit, limit), values)
        return np.array(values, dtype=np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape; nothing is read for it."""
        return {name: tensor.shape for name, tensor in self._tensors.items()}


def _check_reduction(reduce: object) -> None:
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduces by {reduce!r}; valid: {', '.join(REDUCTIONS)}")


@dataclass(frozen=True)
class Raster(Need[Grid]):
    """The ``Grid`` that *layout* describes. Its weights are reduced to cells by *reduce* while they stream past.

    Raises:
        TypeError: *layout* is not a ``Layout``.
        ValueError: the reduction is unknown.
    """

    layout: Layout
    reduce: str = "mean"

    counts_not_finite = True

    def __post_init__(self) -> None:
        if not isinstance(self.layout, Layout):
            raise TypeError(f"the layout of a Raster is {type(self.layout).__name__}, not a Layout")
        _check_reduction(self.reduce)

    def groups(self, checkpoint: Checkpoint) -> Mapping[Hashable, tuple[str, ...]]:
        return {None: tuple(name for name in self.layout.tensors if name in checkpoint)}

    def only(self, names: tuple[str, ...]) -> Need[Any]:
        return Raster(self.layout.only(names[0]), self.reduce) if len(names) == 1 < len(self.layout.tensors) else self

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return Parts(self, tensors)

    def finish(self, gathered: Any) -> Grid:
        return assemble(self.layout, self.reduce, gathered.results())

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        return gathered.counted()  # type: ignore[no-any-return]


class Parts(Collector):
    """The parts of a raster, those of other workers included: what travels holds the cells of the tensors alone."""

    def __init__(self, need: Raster, tensors: Mapping[str, LazyTensor]) -> None:
        self.done: list[PartResult] = []
        self.running: dict[str, RasterPart] = {}
        for name in tensors:
            try:
                self.running[name] = RasterPart(need.layout, name, need.reduce)
            except Exception as error:
                raise ValueError(f"the layout of {name!r}: {describe(error)}") from error

    def update(self, chunk: Chunk) -> None:
        values = chunk.values  # of a joint tensor they are computed now, and a failure of that is not the layout's
        try:
            self.running[chunk.tensor].update(chunk.start, values)
        except Exception as error:
            raise ValueError(f"the layout of {chunk.tensor!r}: {describe(error)}") from error

    def merge(self, other: Parts) -> None:
        self.done += other.results()

    def results(self) -> list[PartResult]:
        """All parts that were gathered."""
        return [*(part.result() for part in self.running.values()), *self.done]

    def counted(self) -> dict[str, NotFiniteCount]:
        """NaN and Inf, by tensor."""
        found: dict[str, NotFiniteCount] = {}
        for part in self.results():
            found[part.tensor] = found.get(part.tensor, NotFiniteCount()).merge(part.not_finite)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"done": [part.touched() for part in self.results()], "running": {}}


@dataclass(frozen=True)
class Transformed(Need[Grid]):
    """The ``Grid`` of the whole model by *transformer*, at most *max_cells* per side.

    A ``LayoutTransformer`` is streamed. Any other gets the arrays, and what it returns is reduced in the same way.

    Raises:
        TypeError: *transformer* is not a ``GridTransformer``.
        ValueError: the reduction is unknown.
    """

    transformer: GridTransformer
    reduce: str = "mean"
    max_cells: int = 2048

    of_whole = True

    def __post_init__(self) -> None:
        if not isinstance(self.transformer, GridTransformer):
            raise TypeError(f"the transformer is {type(self.transformer).__name__}, not a GridTransformer")
        if wrong := unhashable(self.transformer):
            raise origin_of(self.transformer).error(wrong)
        _check_reduction(self.reduce)

    def tensors(self, checkpoint: Checkpoint) -> dict[str, LazyTensor]:
        """Return the tensors of *checkpoint* that the transformer chooses, in its order.

        Raises:
            PluginError: it names something else.
            NotDrawable: it chooses none.
        """
        names = checkpoint.in_file_order() if self.transformer.file_order else checkpoint
        tensors = {name: checkpoint[name] for name in names if name not in checkpoint.aliases}
        return {name: tensors[name] for name in chosen_names(self.transformer, _shapes(tensors))}

    def _first(self, checkpoint: Checkpoint) -> First | None:
        transformer = self.transformer
        if not isinstance(transformer, LayoutTransformer) or not streams(transformer):
            return None
        if type(transformer).needs is LayoutTransformer.needs:
            return None
        tensors = self.tensors(checkpoint)
        self._require_handled(tensors)
        needs = call(transformer, transformer.needs, _shapes(tensors))
        return None if isinstance(needs, Mapping) and not needs else First(tuple(tensors), needs, origin_of(transformer))

    def bind(self, checkpoint: Checkpoint) -> Need[Any]:
        """Return the need that does the work.

        Raises:
            PluginError: the transformer fails.
            NotDrawable: it declines.
        """
        transformer, first = self.transformer, self._first(checkpoint)
        tensors = self.tensors(checkpoint)
        if first is not None:  # someone binds it without the engine
            with guarded(first.origin, "needs"):
                results = measured_here(tensors, first.needs)
            return self._after(checkpoint, results)
        self._require_handled(tensors)
        by = self._named(tensors, checkpoint)
        if not isinstance(transformer, LayoutTransformer) or not streams(transformer):
            return _Drawn(self, tuple(tensors), by)
        shapes = _shapes(tensors)
        with _uncollected():
            return self._streamed(call(transformer, transformer.layout, shapes, self.max_cells), "layout", shapes, by)

    def _after(self, checkpoint: Checkpoint, results: Mapping[str, Any]) -> Need[Any]:
        transformer, tensors = self.transformer, self.tensors(checkpoint)
        assert isinstance(transformer, LayoutTransformer)
        shapes = _shapes(tensors)
        with _uncollected():
            layout = call(transformer, transformer.arrange, shapes, self.max_cells, results)
            return self._streamed(layout, "arrange", shapes, self._named(tensors, checkpoint))

    def _streamed(self, layout: object, made_by: str, shapes: Mapping[str, tuple[int, ...]], chosen_by: str) -> Need[Any]:
        transformer, origin = self.transformer, origin_of(self.transformer)
        assert isinstance(transformer, LayoutTransformer)
        if not isinstance(layout, Layout):
            raise origin.error(returned(made_by, layout, "a Layout"))
        with guarded(origin, made_by):
            layout = layout.validate(shapes, self.max_cells)
        return _Streamed(layout, self.reduce, transformer, chosen_by)

    def _named(self, tensors: Mapping[str, LazyTensor], checkpoint: Checkpoint) -> str:
        """The transformer's name where it chose *tensors* of more, else nothing."""
        whole = sum(name not in checkpoint.aliases for name in checkpoint)
        return str(self.transformer.name) if len(tensors) < whole else ""

    def _require_handled(self, tensors: Mapping[str, LazyTensor]) -> None:
        """Raise ``PluginError`` where the transformer cannot handle *tensors*."""
        with guarded(origin_of(self.transformer), "can_handle"):
            handled = handles(self.transformer, ArrayMapping(tensors))
        if not handled:
            raise origin_of(self.transformer).error("cannot handle these tensors (can_handle is false)")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for garbage: what a layout is made of stays, and looking takes a fifth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _shapes(tensors: Mapping[str, LazyTensor]) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in tensors.items()}


@dataclass(frozen=True)
class _Streamed(Raster):
    """A ``LayoutTransformer``'s grid of one checkpoint."""

    transformer: LayoutTransformer | None = None
    chosen_by: str = ""

    of_whole = True

    @property
    def _chosen_by(self) -> str:
        return self.chosen_by

    def only(self, names: tuple[str, ...]) -> Need[Any]:
        part = Raster(self.layout.only(names[0]) if len(names) == 1 else self.layout, self.reduce)
        assert self.transformer is not None
        return _Scaled(part) if self.transformer.needs_summaries else part

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        assert self.transformer is not None
        return _ScaledParts(self, tensors) if self.transformer.needs_summaries else Parts(self, tensors)

    def finish(self, gathered: Any) -> Grid:
        transformer = self.transformer
        assert transformer is not None
        with guarded(origin_of(transformer)):
            scale = _scale_of(transformer, gathered.summaries) if transformer.needs_summaries else None
            grid = assemble(self.layout, self.reduce, gathered.results(), scale, transformer.quantity)
        finished = call(transformer, transformer.finished, grid)
        if not isinstance(finished, Grid) or finished.shape != grid.shape:
            raise origin_of(transformer).error("finished returned something else than a grid of the same cells")
        return finished


@dataclass(frozen=True)
class _Scaled(Need[Any]):
    """The raster of some tensors with their distributions, by which a transformer scales them."""

    raster: Raster

    counts_not_finite = True

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return _ScaledParts(self.raster, tensors)

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        return gathered.counted()  # type: ignore[no-any-return]


class _ScaledParts(Parts):
    def __init__(self, need: Raster, tensors: Mapping[str, LazyTensor]) -> None:
        super().__init__(need, tensors)
        self.summaries = {name: Distribution() for name in tensors}

    def update(self, chunk: Chunk) -> None:
        super().update(chunk)
        self.summaries[chunk.tensor].update(chunk.stored)

    def merge(self, other: Parts) -> None:
        assert isinstance(other, _ScaledParts)
        super().merge(other)
        for name, summary in other.summaries.items():
            if name in self.summaries:
                self.summaries[name].merge(summary)
            else:
                self.summaries[name] = summary

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "summaries": {name: each.settle() for name, each in self.summaries.items()}}


def _scale_of(
    transformer: LayoutTransformer, summaries: Mapping[str, Distribution]
) -> Mapping[str, tuple[float, float]] | None:
    """The transformer's scale, as numbers. Raises ``PluginError`` for anything but (factor, offset) for each tensor."""
    found = call(transformer, transformer.scale, summaries)
    if found is None:
        return None
    with guarded(origin_of(transformer), "scale"):
        return {name: (float(factor), float(offset)) for name, (factor, offset) in found.items()}


@dataclass(frozen=True)
class _Drawn(Need[Grid]):
    """What a plain transformer draws of arrays in memory."""

    asked: Transformed
    names: tuple[str, ...]
    chosen_by: str = ""

    of_whole = True
    counts_not_finite = True

    @property
    def _chosen_by(self) -> str:
        return self.chosen_by

    def groups(self, checkpoint: Checkpoint) -> Mapping[Hashable, tuple[str, ...]]:
        return {None: self.names}

    def compute(self, tensors: Mapping[str, LazyTensor]) -> Any:
        transformer, asked = self.asked.transformer, self.asked
        arrays = ArrayMapping(tensors)
        drawn = call(transformer, transformer, Chosen(arrays, arrays))
        _check_drawn(transformer, drawn)
        with guarded(origin_of(transformer)):
            return reduce_array(drawn, asked.reduce, asked.max_cells), arrays.not_finite

    def finish(self, gathered: Any) -> Grid:
        return gathered[0]  # type: ignore[no-any-return]

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        return gathered[1]  # type: ignore[no-any-return]


def _check_drawn(transformer: GridTransformer, drawn: object) -> None:
    """Raise ``PluginError`` for anything but a grid or a 2-D array of numbers that is not empty."""
    last = last_step(transformer)
    if isinstance(drawn, Grid):
        shape: tuple[int, ...] = drawn.shape
    elif isinstance(drawn, np.ndarray) and drawn.ndim == 2 and (drawn.dtype.kind in "biufc" or is_floating(drawn.dtype)):
        shape = drawn.shape
    else:
        wanted = "a 2-D array of numbers or a Grid"
        told = returned(last, drawn, wanted)
        if isinstance(drawn, np.ndarray):
            told = f"{last} returned an array of shape {drawn.shape} and dtype {drawn.dtype}, not {wanted}"
        raise origin_of(transformer).error(told)
    if 0 in shape:
        raise origin_of(transformer).error(f"{last} returned a grid of {shape[0]}×{shape[1]} cells: there is nothing in it")
