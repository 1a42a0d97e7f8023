"""The picture that torch2grid is named after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from torch2grid_builtin._codes import codes
from torch2grid_builtin._transformers.flatten import Flatten
from torch2grid_builtin._views.describing import source_name
from torch2grid_builtin._views.limits import readable
from torch2grid_core import Checkpoint, Grid, LazyTensor, Need, Page, Settings, View
from torch2grid_core.grids import ColorScale, is_vector
from torch2grid_core.measures import Transformed
from torch2grid_core.sources import is_complex
from torch2grid_core.text import counted, human_count, visible

Array = np.ndarray[Any, Any]
_FEW = 0.2  # of the share of cells that limits leave out anyway: fewer cells of vectors do not move them
_FAR = 2.0  # times as wide as those of matrices and kernels, from which limits would leave these pale


class GridView(View):
    """One grid of all weights."""

    name = "grid"

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"grid": _whole(run)} if any(tensor.size for tensor in checkpoint.values()) else {}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """One page, ``neural_grid``, or ``neural_grid_NAME`` where the user chose a transformer."""
        if "grid" not in results:
            return ()
        grid: Grid = results["grid"]
        transformer = run.transformer or Flatten()
        chosen = run.transformer_name
        drawn = _whole(run).tensors(checkpoint)
        left_out = sum(name not in checkpoint.aliases for name in checkpoint) - len(drawn)
        facts = [
            source_name(checkpoint),
            f"{human_count(sum(tensor.size for tensor in drawn.values()))} weights",
            visible(chosen or transformer.name, 60),
        ]
        if sizes := sum(is_complex(tensor.dtype) for tensor in drawn.values()):
            grid = replace(grid, notes=(*grid.notes, f"complex weights are drawn by their size: {counted(sizes, 'tensor')}"))
        whole = whole_model_run(run, checkpoint, grid)
        if whole is not run and (stored := len(codes(checkpoint) & drawn.keys())):
            limits = f"the limits are those of the weights: {counted(stored, 'tensor')} of codes and scales may lie beyond"
            grid = replace(grid, notes=(*grid.notes, limits))
        page = Page(
            f"neural_grid_{chosen}" if chosen else "neural_grid",
            run.title or " · ".join(facts),
            (run.heatmap(grid, scale=_scale(run, whole.color_scale(grid), checkpoint, grid), boundaries=True, labels=True),),
            about={"transformer": transformer.name, "tensors": len(checkpoint) - left_out},
        )
        return (page,)


def _whole(run: Settings) -> Transformed:
    return Transformed(run.transformer or Flatten(), run.reduce, run.max_cells)


def _scale(run: Settings, scale: ColorScale, checkpoint: Checkpoint, grid: Grid) -> ColorScale:
    """The *scale* of ``whole_model_run``, asinh where matrices differ so much that most would be pale."""
    left_out = codes(checkpoint) | {name for name, tensor in checkpoint.items() if is_vector(tensor.shape)}
    parts = []
    for region in grid.regions:
        if region.name not in left_out and region.rects:
            cells = [grid.values[row : row + high, column : column + wide] for row, column, high, wide in region.rects]
            parts.append(Grid(np.concatenate([each.reshape(1, -1) for each in cells], axis=1)))
    return scale if grid.limits else readable(run, parts, scale)


def whole_model_run(run: Settings, tensors: Mapping[str, LazyTensor], *grids: Grid) -> Settings:
    """*run*, its limits those of the cells of matrices and kernels alone where other tensors would make them far wider.

    Normalisations and running statistics of a small convolutional network are a few cells of a hundred and of another size:
    a quantile of all cells is one of theirs, and everything else pale. They are drawn as beyond the limits then, and the
    shares beyond are of all cells. Codes that no decoder has made weights of, and their scales, are never on the scale of the
    weights beside them. Limits that were asked for stay, as do those of grids without regions.
    """
    stored = codes(tensors) if isinstance(tensors, Checkpoint) else frozenset()
    flat = {name for name, tensor in tensors.items() if is_vector(tensor.shape)}
    if run.limits is not None or not (flat or stored) or any(grid.limits is not None for grid in grids):
        return run
    others = [_without(grid, flat | stored) for grid in grids]
    cells, left = sum(np.count_nonzero(grid.counts) for grid in grids), sum(map(np.count_nonzero, others))
    if not left or cells - left <= _FEW * (1 - run.clip) * cells:
        return run
    own = [Grid(grid.values[mask][None]) for grid, mask in zip(grids, others, strict=True)]
    whole, narrow = run.color_scale(*grids), run.color_scale(*own)
    if not stored and whole.high - whole.low <= _FAR * (narrow.high - narrow.low):
        return run
    return replace(run, limits=(narrow.low, narrow.high))


def _without(grid: Grid, names: set[str]) -> Array:
    """bool, shape of the grid: cells that hold weights, but of none of these tensors."""
    mask: Array = grid.counts > 0
    for region in grid.regions:
        if region.name in names:
            for row, column, height, width in region.rects:
                mask[row : row + height, column : column + width] = False
    return mask
