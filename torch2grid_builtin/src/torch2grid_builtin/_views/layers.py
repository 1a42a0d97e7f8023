"""A picture for each tensor, and all of them on one sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch2grid_builtin._views.describing import about, shape_text, source_name, tensor_title
from torch2grid_core import Checkpoint, Grid, LazyTensor, Need, Page, Settings, View
from torch2grid_core.grids import is_vector, matrix_layout
from torch2grid_core.measures import Profile, Raster, UnitProfile
from torch2grid_core.pages import Heatmap, Marginal
from torch2grid_core.text import visible

Array = np.ndarray[Any, Any]
FOLDER, OVERVIEW = "layers", "layer_overview"
_PROFILED = 8  # a side of fewer rows or columns is seen at a glance
_NAMED = 3  # the largest rows and columns, beside the bars
_THUMBNAIL = 64  # cells a side: thousands of tensors' thumbnails fit in memory together


@dataclass(frozen=True)
class LayersView(View):
    """A picture per tensor, and all on one sheet."""

    name = "layers"
    uses_transformer = False

    each: bool = field(default=True, metadata={"help": "draw a picture of each tensor"})
    overview: bool = field(default=True, metadata={"help": "draw the sheet of all tensors"})
    sheet: int = field(default=60, metadata={"help": "tensors on one sheet of the overview; more take further sheets"})
    profiles: bool = field(default=True, metadata={"help": "draw the |max| of each row and column beside a matrix"})

    def __post_init__(self) -> None:
        if self.sheet < 1:
            raise ValueError("sheet is at least 1")

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        if not (self.each and tensor.size):
            return {}
        needs: dict[str, Need[Any]] = {"grid": Raster(matrix_layout(tensor.name, tensor.shape, run.tensor_cells), run.reduce)}
        if self.profiles and tensor.ndim == 2 and min(tensor.shape) >= _PROFILED:
            needs["profile"] = Profile()
        return needs

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """One page, named as the tensor, in the folder ``layers``."""
        grid: Grid = results["grid"]
        rows, columns = axis_names(tensor, grid)
        title = tensor_title(tensor)
        if run.title:
            title = f"{run.title} · {title}"
        if is_vector(tensor.shape) and grid.shape[0] > 1:
            title += f" · wrapped at {grid.shape[1] * grid.cell[1]}"
        profile: UnitProfile | None = results.get("profile")
        sides, places = dict[str, Any](), axis_indices(tensor)
        if profile is not None and profile.input_absmax is not None:
            sides["row_marginal"] = _marginal(profile.output_absmax, grid.cell[0], places.get("row_indices"))
            sides["column_marginal"] = _marginal(profile.input_absmax, grid.cell[1], places.get("column_indices"))
        heatmap = run.heatmap(grid, rows=rows, columns=columns, **sides, **places)
        yield Page(tensor.name, title, (heatmap,), folder=FOLDER, about=about(tensor))

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        if not self.overview:
            return {}
        cells = min(_THUMBNAIL, run.tensor_cells)
        return {
            name: Raster(matrix_layout(name, tensor.shape, cells), run.reduce)
            for name, tensor in checkpoint.items()
            if tensor.size
        }

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterator[Page]:
        """``layer_overview``, and ``layer_overview_2`` … where one sheet is not enough."""
        if not self.overview:
            return
        names = [name for name in checkpoint if name in results]
        sheets = math.ceil(len(names) / self.sheet)
        for index in range(sheets):
            part = names[index * self.sheet : (index + 1) * self.sheet]
            title = run.title or f"{source_name(checkpoint)} · {len(names):,} tensor{'s' if len(names) > 1 else ''}"
            if sheets > 1:
                first = index * self.sheet
                title += f" · {first + 1:,}–{first + len(part):,}, sheet {index + 1} of {sheets}"
            panels = tuple(_thumbnail(checkpoint[name], results[name], run) for name in part)
            yield Page(
                OVERVIEW if index == 0 else f"{OVERVIEW}_{index + 1}",
                title,
                panels,
                columns=min(max(4, math.ceil(math.sqrt(1.6 * len(part)))), 10),
                about={"tensors": part},
            )


def _thumbnail(tensor: LazyTensor, grid: Grid, run: Settings) -> Heatmap:
    size = grid.cell[0] * grid.cell[1]
    label = shape_text(tensor.shape)
    if size > 1:
        label += f", {grid.reduce}\u00a0of\u00a0{grid.cell[0]}×{grid.cell[1]}"
    return run.heatmap(grid, title=visible(tensor.name), label=label)


def _marginal(sizes: Array, step: int, indices: range | None) -> Marginal:
    """The |max| of the units in each row or column of cells; the largest units are named, those with a NaN before all.

    indices: of the units in the whole tensor, where they are a part of it.
    """
    order = np.argsort(-np.where(np.isnan(sizes), np.inf, sizes), kind="stable")[:_NAMED]
    names = tuple(
        ((place + 0.5) / step, str(place if indices is None else indices[place]))
        for place in order.tolist()
        if sizes[place] != 0
    )
    return Marginal(_largest(sizes, step), names=names)


def _largest(sizes: Array, step: int) -> Array:
    """The largest of the sizes of the units that each cell holds, *step* of them; NaN where one is."""
    return np.asarray(np.maximum.reduceat(sizes, np.arange(0, len(sizes), step)))


def axis_indices(tensor: LazyTensor) -> dict[str, Any]:
    """The indices that ``axis_names`` count, of a part of a tensor: fields of its ``Heatmap``."""
    ranges = () if tensor.taken is None else tensor.taken.ranges
    if not ranges or len(ranges) != tensor.ndim:
        return {}
    if is_vector(tensor.shape):
        along = next((each for each in ranges if len(each) > 1), ranges[-1])
        return {"column_indices": along}
    return {"row_indices": ranges[0], "column_indices": ranges[1]} if len(ranges) == 2 else {"row_indices": ranges[0]}


def axis_names(tensor: LazyTensor, grid: Grid) -> tuple[str, str]:
    """What an index along the rows and the columns counts; both empty for a folded vector, which has no such index."""
    shape = tensor.shape
    if is_vector(shape):
        return ("", "index") if grid.shape[0] == 1 and tensor.size > 1 else ("", "")
    if len(shape) == 2:
        leaf = tensor.name.lower()
        if any(word in leaf for word in ("embed", "wte", "wpe", "lookup")):
            return "row (entry of the table)", "column (dimension)"
        return "row (output unit)", "column (input)"
    if len(shape) in (3, 4, 5):
        return "output channel", f"input channel × kernel ({shape_text(shape[1:])}, flattened)"
    return "first dimension", f"other dimensions ({shape_text(shape[1:])}, flattened)"
