"""Grids of the whole model: which part of them each tensor fills, and the grid when all parts are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.data.dtypes import is_floating
from torch2grid_core.data.joint import JointTensor
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.engine.arrays import ArrayMapping
from torch2grid_core.engine.collectors import Failed
from torch2grid_core.kinds.transformer import GridTransformer, LayoutTransformer
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Need, Of, Raster, Summary, Transformed
from torch2grid_core.pictures.grid import Grid
from torch2grid_core.pictures.layout import Layout
from torch2grid_core.pictures.raster import PartResult, assemble, reduce_array
from torch2grid_core.plugins.guard import call, guarded, origin_of
from torch2grid_core.summary.distribution import Distribution
from torch2grid_core.summary.not_finite import NotFiniteCount


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
        self.not_finite: dict[str, NotFiniteCount] = {}  # of the arrays that a plain transformer read
        self._grid: Grid | None = None
        self._failed: Failed | None = None
        self.shares: dict[str, Raster | Of] = {}  # tensor → the part of the raster that it fills, which travels to a worker
        if isinstance(need, Raster):
            self.raster: Raster | None = need
            self.transformer: GridTransformer | None = None
            self._share()
            return
        self.transformer = need.transformer
        names = checkpoint.in_file_order() if self.transformer.file_order else checkpoint
        tensors = {name: checkpoint[name] for name in names if name not in checkpoint.aliases}
        self.tensors = _members(tensors, member) if member else tensors
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
            arrays = ArrayMapping(self.tensors)
            drawn = call(self.transformer, self.transformer, arrays)
            if not self.member:
                self.not_finite = arrays.not_finite
            _check_drawn(self.transformer, drawn)
            return reduce_array(drawn, self.need.reduce, self.need.max_cells)
        if not isinstance(self.transformer, LayoutTransformer):
            return assemble(self.raster.layout, self.raster.reduce, self.parts)
        scale = _scale_of(self.transformer, self.summaries) if self.summary else None
        return assemble(self.raster.layout, self.raster.reduce, self.parts, scale, self.transformer.quantity)

    def take(self, name: str, results: Mapping[Need, object]) -> None:
        """Keep what one tensor's task brought back."""
        if name in self.shares:
            parts = results[self.shares[name]]
            if isinstance(parts, Failed):
                self._failed = self._failed or parts
                return
            assert isinstance(parts, tuple)
            self.parts += parts
            if self.summary:
                distribution = results[self.summary]
                assert isinstance(distribution, Distribution)
                self.summaries[name] = distribution


def _members(tensors: Mapping[str, LazyTensor], member: str) -> dict[str, LazyTensor]:
    """That member of each tensor that has it, under the tensor's name."""
    joint = {name: dict(tensor.members) for name, tensor in tensors.items() if isinstance(tensor, JointTensor)}
    return {name: replace(found[member], name=name) for name, found in joint.items() if member in found}


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
