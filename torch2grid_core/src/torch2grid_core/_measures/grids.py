"""Grids: the weights of one tensor, or of the whole model, reduced to the cells of a picture while they stream past."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import as_float, is_floating
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._guard import call, describe, guarded, origin_of, unhashable
from torch2grid_core._measures.need import Chunk, Collector, Need
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.layout import Layout
from torch2grid_core._pictures.raster import REDUCTIONS, PartResult, RasterPart, assemble, reduce_array
from torch2grid_core._pictures.transformer import GridTransformer, LayoutTransformer
from torch2grid_core._summary.distribution import Distribution
from torch2grid_core._summary.not_finite import NotFiniteCount, count_not_finite

if TYPE_CHECKING:
    from torch2grid_core._data.checkpoint import Checkpoint
    from torch2grid_core._data.tensor import LazyTensor


class ArrayMapping(Mapping[str, Array]):
    """Tensors as float32 arrays, each read when it is touched and forgotten after: what a plain transformer gets.

    not_finite: how many weights are NaN or Inf in each tensor that was touched and holds any.
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


def _check_reduction(reduce: object) -> None:
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduces by {reduce!r}; valid: {', '.join(REDUCTIONS)}")


@dataclass(frozen=True)
class Raster(Need[Grid]):
    """The ``Grid`` that *layout* describes, its weights reduced to cells by *reduce* while they stream past.

    Raises ``TypeError`` for anything but a ``Layout``, ``ValueError`` for an unknown reduction.
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
        try:
            self.running[chunk.tensor].update(chunk.start, chunk.values)
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


def streams(transformer: GridTransformer) -> bool:
    """True when only layout and scale matter, so that the raster does the work; False where a step is overridden."""
    steps = ("transform", "preprocess", "postprocess", "__call__")
    return isinstance(transformer, LayoutTransformer) and all(
        getattr(type(transformer), step) is getattr(LayoutTransformer, step) for step in steps
    )


@dataclass(frozen=True)
class Transformed(Need[Grid]):
    """The ``Grid`` of the whole model by *transformer*, at most *max_cells* a side.

    A ``LayoutTransformer`` is streamed; any other gets the arrays, and what it returns is reduced the same way. Raises
    ``TypeError`` for anything but a ``GridTransformer``, ``ValueError`` for an unknown reduction.
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

    def bind(self, checkpoint: Checkpoint) -> Need[Any]:
        """The need that does the work. Raises ``PluginError`` where the transformer fails, ``NotDrawable`` if it declines."""
        transformer, origin = self.transformer, origin_of(self.transformer)
        names = checkpoint.in_file_order() if transformer.file_order else checkpoint
        tensors = {name: checkpoint[name] for name in names if name not in checkpoint.aliases}
        if not call(transformer, transformer.can_handle, ArrayMapping(tensors)):
            raise origin.error("cannot handle these tensors (can_handle is false)")
        if not streams(transformer):
            return _Drawn(self, tuple(tensors))
        assert isinstance(transformer, LayoutTransformer)
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        layout = call(transformer, transformer.layout, shapes, self.max_cells)
        if not isinstance(layout, Layout):
            raise origin.error(f"layout returned {type(layout).__name__}, not a Layout")
        with guarded(origin, "layout"):
            layout = layout.validate(shapes, self.max_cells)
        return _Streamed(layout, self.reduce, transformer)


@dataclass(frozen=True)
class _Streamed(Raster):
    """A ``LayoutTransformer``'s grid of one checkpoint."""

    transformer: LayoutTransformer | None = None

    of_whole = True

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
            return assemble(self.layout, self.reduce, gathered.results(), scale, transformer.quantity)


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

    of_whole = True
    counts_not_finite = True

    def groups(self, checkpoint: Checkpoint) -> Mapping[Hashable, tuple[str, ...]]:
        return {None: self.names}

    def compute(self, tensors: Mapping[str, LazyTensor]) -> Any:
        transformer, asked = self.asked.transformer, self.asked
        arrays = ArrayMapping(tensors)
        drawn = call(transformer, transformer, arrays)
        _check_drawn(transformer, drawn)
        with guarded(origin_of(transformer)):
            return reduce_array(drawn, asked.reduce, asked.max_cells), arrays.not_finite

    def finish(self, gathered: Any) -> Grid:
        return gathered[0]  # type: ignore[no-any-return]

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        return gathered[1]  # type: ignore[no-any-return]


def _check_drawn(transformer: GridTransformer, drawn: object) -> None:
    """Raise ``PluginError`` for anything but a grid or a 2-D array of numbers that is not empty."""
    if isinstance(drawn, Grid):
        shape: tuple[int, ...] = drawn.shape
    elif isinstance(drawn, np.ndarray) and drawn.ndim == 2 and (drawn.dtype.kind in "biufc" or is_floating(drawn.dtype)):
        shape = drawn.shape
    else:
        what = type(drawn).__name__
        if isinstance(drawn, np.ndarray):
            what = f"an array of shape {drawn.shape} and dtype {drawn.dtype}"
        raise origin_of(transformer).error(f"transform returned {what}, not a 2-D array of numbers or a Grid")
    if 0 in shape:
        raise origin_of(transformer).error(f"transform returned a grid of {shape[0]}×{shape[1]} cells: there is nothing in it")
