"""What a run is going to do: the needs of all views united, and the grids of the whole model while their parts arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.engine.arrays import ArrayMapping
from torch2grid_core.engine.tasks import Outcome, Prepare, Task
from torch2grid_core.kinds.transformer import GridTransformer, LayoutTransformer
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Need, Raster, Summary, Transformed
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
            self.shares[name] = Raster(self.raster.layout.only(name), self.raster.reduce)

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

    def take(self, name: str, results: Mapping[Need, object]) -> None:
        """Keep what one tensor's task brought back."""
        if name in self.shares:
            part = results[self.shares[name]]
            assert isinstance(part, PartResult)
            self.parts.append(part)
            if self.summary:
                distribution = results[self.summary]
                assert isinstance(distribution, Distribution)
                self.summaries[name] = distribution


class Plan:
    """The needs of all views, united: which tensor is read for what, and who gets which result."""

    def __init__(self, checkpoint: Checkpoint, views: Sequence[View], run: Run, prepare: Prepare) -> None:
        self.checkpoint, self.views, self.run, self.prepare = checkpoint, views, run, prepare
        self.of_tensor: list[dict[str, Mapping[str, Need]]] = [
            {name: dict(call(view, view.tensor_needs, tensor, run)) for name, tensor in checkpoint.items()} for view in views
        ]
        self.of_whole: list[Mapping[str, Need]] = [dict(call(view, view.needs, checkpoint, run)) for view in views]
        self.kept: dict[Need, dict[str, object]] = {}  # per-tensor needs of the overviews → results by tensor
        self.wholes: dict[Need, Whole] = {}
        for needs in self.of_whole:
            for need in needs.values():
                if not isinstance(need, (Raster, Transformed)):
                    self.kept[need] = {}
                elif need not in self.wholes:
                    self.wholes[need] = Whole(need, checkpoint)

    @property
    def draws_tensors(self) -> int:
        """Number of tensors that have pages of their own."""
        return sum(any(needs[name] for needs in self.of_tensor) for name in self.checkpoint)

    def task(self, name: str) -> Task:
        """The reading and drawing of one tensor: every view's needs, each once."""
        kept: dict[Need, None] = dict.fromkeys(self.kept)
        for whole in self.wholes.values():
            if name in whole.shares:
                kept[whole.shares[name]] = None
                if whole.summary:
                    kept[whole.summary] = None
        draws = tuple((view, needs[name]) for view, needs in zip(self.views, self.of_tensor, strict=True) if needs[name])
        return Task(self.checkpoint[name], tuple(kept), draws, self.run, self.prepare)

    def take(self, name: str, outcome: Outcome) -> None:
        """Keep what the overviews wait for."""
        for need, by_tensor in self.kept.items():
            by_tensor[name] = outcome.results[need]
        for whole in self.wholes.values():
            whole.take(name, outcome.results)

    def overview_results(self) -> list[dict[str, object]]:
        """For each view, the results of its ``needs`` under its keys."""
        grids = {need: whole.grid() for need, whole in self.wholes.items()}
        return [
            {key: grids[need] if need in grids else self.kept[need] for key, need in needs.items()} for needs in self.of_whole
        ]
