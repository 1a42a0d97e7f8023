"""What a run is going to do: the needs of all views united, and the grids of the whole model while their parts arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.data.dtypes import is_floating
from torch2grid_core.data.joint import JointTensor
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.engine.arrays import ArrayMapping
from torch2grid_core.engine.asking import needs_of
from torch2grid_core.engine.tasks import Draw, Failed, Outcome, Prepare, Task
from torch2grid_core.errors import PluginError
from torch2grid_core.kinds.transformer import GridTransformer, LayoutTransformer
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Need, Of, Raster, Summary, Transformed
from torch2grid_core.pictures.grid import Grid
from torch2grid_core.pictures.layout import Layout
from torch2grid_core.pictures.raster import PartResult, assemble, reduce_array
from torch2grid_core.plugins.guard import call, guarded, origin_of
from torch2grid_core.run import Run
from torch2grid_core.summary.distribution import Distribution


def streams(transformer: GridTransformer) -> bool:
    """True when only layout and scale matter, so that the raster does the work; False where a step is overridden."""
    steps = ("transform", "preprocess", "postprocess", "__call__")
    return isinstance(transformer, LayoutTransformer) and all(
        getattr(type(transformer), step) is getattr(LayoutTransformer, step) for step in steps
    )


class Whole:
    """A grid of the whole model while its parts arrive. member: of the joint tensors, empty for what they compute."""

    def __init__(self, need: Raster | Transformed, checkpoint: Checkpoint, member: str = "") -> None:
        self.need, self.member = need, member
        self.parts: list[PartResult] = []
        self.summaries: dict[str, Distribution] = {}
        self._grid: Grid | None = None
        self._failed: Failed | None = None
        self.shares: dict[str, Raster | Of] = {}  # tensor → the part of the raster that it fills, which travels to a worker
        if isinstance(need, Raster):
            self.raster: Raster | None = need
            self.transformer: GridTransformer | None = None
            self._share()
            return
        self.transformer = need.transformer
        tensors = {name: tensor for name, tensor in checkpoint.items() if name not in checkpoint.aliases}
        self.tensors = {name: _member(tensor, member) for name, tensor in tensors.items()} if member else tensors
        arrays = ArrayMapping(self.tensors)
        if not call(self.transformer, self.transformer.can_handle, arrays):
            raise origin_of(self.transformer).error("cannot handle these tensors (can_handle is false)")
        self.raster = None
        if streams(self.transformer):
            assert isinstance(self.transformer, LayoutTransformer)
            shapes = {name: tensor.shape for name, tensor in self.tensors.items()}
            self.raster = Raster(self._layout(self.transformer, shapes, need.max_cells), need.reduce)
            self._share()

    def _layout(self, transformer: LayoutTransformer, shapes: Mapping[str, tuple[int, ...]], max_cells: int) -> Layout:
        """The layout, checked. Raises ``PluginError`` that names its author for one that is not valid."""
        found = call(transformer, transformer.layout, shapes, max_cells)
        if not isinstance(found, Layout):
            raise origin_of(transformer).error(f"layout returned {type(found).__name__}, not a Layout")
        with guarded(origin_of(transformer), "layout"):
            return found.validate(shapes, max_cells)

    def _share(self) -> None:
        assert self.raster is not None
        for name in self.raster.layout.tensors:
            share = Raster(self.raster.layout.only(name), self.raster.reduce)
            self.shares[name] = Of(self.member, share) if self.member else share

    @property
    def summary(self) -> Summary | Of | None:
        """What the transformer must know of each tensor before its values are scaled."""
        wanted = (
            isinstance(self.transformer, LayoutTransformer) and self.raster is not None and self.transformer.needs_summaries
        )
        if not wanted:
            return None
        return Of(self.member, Summary()) if self.member else Summary()

    def grid(self, view: View) -> Grid:
        """The finished grid. Raises ``PluginError`` that names the transformer, or *view* whose layout it is."""
        if self._failed is not None:
            raise origin_of(self.transformer or view).error(self._failed.reason)
        if self._grid is None:
            with guarded(origin_of(self.transformer or view)):
                self._grid = self._finished()
        return self._grid

    def _finished(self) -> Grid:
        if self.raster is None:
            assert isinstance(self.need, Transformed)
            assert self.transformer is not None
            drawn = call(self.transformer, self.transformer, ArrayMapping(self.tensors))
            _check_drawn(self.transformer, drawn)
            return reduce_array(drawn, self.need.reduce, self.need.max_cells)
        if not isinstance(self.transformer, LayoutTransformer):
            return assemble(self.raster.layout, self.raster.reduce, self.parts)
        scale = _scale_of(self.transformer, self.summaries) if self.summary else None
        return assemble(self.raster.layout, self.raster.reduce, self.parts, scale, self.transformer.quantity)

    def take(self, name: str, results: Mapping[Need, object]) -> None:
        """Keep what one tensor's task brought back."""
        if name in self.shares:
            part = results[self.shares[name]]
            if isinstance(part, Failed):
                self._failed = self._failed or part
                return
            assert isinstance(part, PartResult)
            self.parts.append(part)
            if self.summary:
                distribution = results[self.summary]
                assert isinstance(distribution, Distribution)
                self.summaries[name] = distribution


def _member(tensor: LazyTensor, member: str) -> LazyTensor:
    assert isinstance(tensor, JointTensor)
    return replace(dict(tensor.members)[member], name=tensor.name)


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


def _scale_of(
    transformer: LayoutTransformer, summaries: Mapping[str, Distribution]
) -> Mapping[str, tuple[float, float]] | None:
    """The transformer's scale, as numbers. Raises ``PluginError`` for anything but (factor, offset) for each tensor."""
    found = call(transformer, transformer.scale, summaries)
    if found is None:
        return None
    with guarded(origin_of(transformer), "scale"):
        return {name: (float(factor), float(offset)) for name, (factor, offset) in found.items()}


class Plan:
    """The needs of all views, united: which tensor is read for what, and who gets which result.

    failed: the error of each view that failed, by its place in *views*; it is left out from then on.
    """

    def __init__(self, checkpoint: Checkpoint, views: Sequence[View], run: Run, prepare: Prepare) -> None:
        self.checkpoint, self.views, self.run, self.prepare = checkpoint, views, run, prepare
        self.failed: dict[int, PluginError] = {}
        self.of_tensor: list[dict[str, dict[str, Need]]] = [{} for _ in views]
        self.of_whole: list[dict[str, Need]] = [{} for _ in views]
        for index, view in enumerate(views):
            try:
                by_tensor = {name: needs_of(view, view.tensor_needs, each, run) for name, each in checkpoint.items()}
                self.of_whole[index] = needs_of(view, view.needs, checkpoint, run, whole=True)
                self.of_tensor[index] = by_tensor
            except PluginError as error:
                self.failed[index] = error
        self.kept: dict[Need, dict[str, object]] = {}  # per-tensor needs of the overviews → results by tensor
        self.wholes: dict[Need, Whole] = {}
        for needs in self.of_whole:
            for need in needs.values():
                member, inner = (need.member, need.need) if isinstance(need, Of) else ("", need)
                if not isinstance(inner, (Raster, Transformed)):
                    self.kept[need] = {}
                elif need not in self.wholes:
                    self.wholes[need] = Whole(inner, checkpoint, member)

    @property
    def active(self) -> list[tuple[int, View]]:
        """The views that have not failed, with their places."""
        return [(index, view) for index, view in enumerate(self.views) if index not in self.failed]

    def fail(self, index: int, error: PluginError) -> None:
        """Leave a view out from now on. The first error is kept."""
        self.failed.setdefault(index, error)

    def task(self, name: str) -> Task:
        """The reading and drawing of one tensor: every view's needs, each once."""
        kept: dict[Need, None] = dict.fromkeys(self.kept)
        for whole in self.wholes.values():
            if name in whole.shares:
                kept[whole.shares[name]] = None
                if whole.summary:
                    kept[whole.summary] = None
        draws = [Draw(index, view, self.of_tensor[index].get(name, {})) for index, view in self.active]
        return Task(self.checkpoint[name], tuple(kept), tuple(draw for draw in draws if draw.needs), self.run, self.prepare)

    def take(self, name: str, outcome: Outcome) -> None:
        """Keep what the overviews wait for, and which views failed."""
        for index, error in outcome.failures:
            self.fail(index, error)
        for need, by_tensor in self.kept.items():
            by_tensor[name] = outcome.results[need]
        for whole in self.wholes.values():
            whole.take(name, outcome.results)

    def overview_results(self, index: int) -> dict[str, object]:
        """The results of a view's ``needs`` under its keys. Raises ``PluginError`` where one could not be had."""
        found: dict[str, object] = {}
        for key, need in self.of_whole[index].items():
            found[key] = self.wholes[need].grid(self.views[index]) if need in self.wholes else self.kept[need]
        return found
