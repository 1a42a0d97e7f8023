"""A picture for each tensor, and all of them on one sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_builtin._forms import Stack, has_all_units, stacked, stored_transposed
from torch2grid_builtin._views.convolutions import channel_names
from torch2grid_builtin._views.describing import about, figure_text, placed_name, source_name, tensor_title
from torch2grid_builtin._views.limits import readable
from torch2grid_builtin._views.matrices import abreast, matrix_of
from torch2grid_builtin._views.sheets import columns_of, one_picture, rows_text, short_rows
from torch2grid_builtin._views.stacks import PerMatrix
from torch2grid_core import Checkpoint, Grid, Layout, LazyTensor, Need, Page, Settings, View
from torch2grid_core.grids import ColorScale, Reduction, flat_run, is_vector
from torch2grid_core.measures import Profile, Raster, UnitProfile
from torch2grid_core.pages import Marginal
from torch2grid_core.sources import is_complex, kept_places
from torch2grid_core.text import shape_text, visible

Array = np.ndarray[Any, Any]
FOLDER, OVERVIEW = "layers", "layer_overview"
_PROFILED = 8  # a side of fewer rows or columns is seen at a glance
_NAMED = 3  # the largest rows and columns, beside the bars
# Rows or columns up to which, and cells a side on their sheet: thousands of tensors' pictures fit in memory together.
_THUMBNAILS = ((16, 64), (40, 64), (100, 40), (1 << 60, 22))


@dataclass(frozen=True)
class LayersView(View):
    """A picture per tensor, and all on one sheet."""

    name = "layers"
    uses_transformer = False

    each: bool = field(default=True, metadata={"help": "draw a picture of each tensor"})
    overview: bool = field(default=True, metadata={"help": "draw the sheet of all tensors"})
    sheet: int = field(default=300, metadata={"help": "layers on one sheet of the overview; more take further sheets"})
    sheet_reduce: Reduction = field(
        default="absmax",
        metadata={"help": "what a shared cell of the overview shows, unless --reduce says"},
    )
    profiles: bool = field(default=True, metadata={"help": "draw the |max| of each row and column beside a matrix"})

    def __post_init__(self) -> None:
        if self.sheet < 1:
            raise ValueError("sheet must be at least 1")

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        if not (self.each and tensor.size):
            return {}
        needs: dict[str, Need[Any]] = {"grid": Raster(matrix_of(tensor.name, tensor.shape, run.tensor_cells), run.reduce)}
        profiled = tensor.ndim == 2 or _is_kernel(tensor) or stacked(tensor.name, tensor.shape) is not None
        sides = (0,) if not profiled else tensor.shape[:2] if _is_kernel(tensor) else tensor.shape[-2:]
        if self.profiles and min(sides) >= _PROFILED:
            needs["profile"] = PerMatrix(Profile())
        return needs

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """One page, named as the tensor, in the folder ``layers``."""
        grid = _sizes_named(tensor, results["grid"])
        axes = axes_of(tensor, grid)
        title = tensor_title(tensor)
        if run.title:
            title = f"{run.title} · {title}"
        if is_vector(tensor.shape) and grid.shape[0] > 1:
            title += f" · wrapped at {grid.shape[1] * grid.cell[1]}"
        profile: UnitProfile | tuple[UnitProfile, ...] | None = results.get("profile")
        sides: dict[str, Any] = {}
        stack = stacked(tensor.name, tensor.shape)
        if stack is None and isinstance(profile, UnitProfile) and profile.input_absmax is not None:
            sides["row_marginal"] = _marginal(profile.output_absmax, grid.cell[0], axes.get("row_indices"))
            each = math.prod(tensor.shape[2:]) if _is_kernel(tensor) else 1
            sides["column_marginal"] = _marginal(profile.input_absmax, grid.cell[1], axes.get("column_indices"), each)
        elif stack is not None and len(grid.marks) == stack.count and isinstance(profile, tuple):
            sides = _bars_of_stack(stack, grid, profile)
        heatmap = run.heatmap(grid, **axes, **sides)
        yield Page(tensor.name, title, (heatmap,), folder=FOLDER, about=about(tensor))

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        if not self.overview or one_picture(checkpoint, run, self.each):
            return {}
        columns = columns_of(name for name, tensor in checkpoint.items() if tensor.size)
        most = max(len(columns.cells), len(columns.columns))
        side = min(next(cells for rows, cells in _THUMBNAILS if most <= rows), run.tensor_cells)
        across = _abreast(checkpoint)
        groups = [columns.members(kind) for kind in range(len(columns.kinds))] + [[name] for name in columns.apart]
        needs = {}
        for names in groups:
            layouts = {name: _small(checkpoint[name], side, across) for name in names}
            lowered = any(layout.cell != (1, 1) for layout in layouts.values())
            reduce = self.sheet_reduce if lowered and run.reduce == "mean" else run.reduce
            needs.update({name: Raster(layout, reduce) for name, layout in layouts.items()})
        return needs

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterator[Page]:
        """``layer_overview``, and ``layer_overview_2`` … where one sheet is not enough."""
        if not results:
            return
        names = [name for name in checkpoint if name in results]
        columns = columns_of(names)
        scales: dict[str, ColorScale] = {}
        notes = []
        for kind in range(len(columns.kinds)):
            members = columns.members(kind)
            grids = [results[name] for name in members]
            scales.update(dict.fromkeys(members, readable(run, grids, run.color_scale(*grids))))
            notes.append(f"{_limits(scales[members[0]])}, {_cells(grids)}")
        sheets = columns.sheets(self.sheet)
        for index, sheet in enumerate(sheets):
            title = run.title or f"{source_name(checkpoint)} · {len(names):,} tensor{'s' if len(names) > 1 else ''}"
            title += rows_text(sheet.rows)
            if len(sheets) > 1:
                title += f" · sheet {index + 1} of {len(sheets)}"
            shown = {name: _sizes_named(checkpoint[name], results[name]) for name in sheet.names}
            panels = tuple(
                run.heatmap(
                    grid,
                    scale=scales.get(name),
                    title=visible(placed_name(checkpoint[name])),
                    label=_label(checkpoint[name], grid),
                )
                for name, grid in shown.items()
            )
            yield Page(
                OVERVIEW if index == 0 else f"{OVERVIEW}_{index + 1}",
                title,
                panels,
                columns=max(4, min(len(columns.columns), 10)),
                about={"tensors": list(sheet.names)},
                places=sheet.places,
                row_names=tuple(map(visible, short_rows(sheet.rows))),
                column_names=tuple(map(visible, columns.names)),
                column_notes=columns.each(notes),
            )


def _abreast(checkpoint: Checkpoint) -> dict[int, int]:
    """By the number of matrices in a stack, how many stand in a row: on a sheet, stacks of as many are laid out alike."""
    by_count: dict[int, list[Stack]] = {}
    for name, tensor in checkpoint.items():
        if (stack := stacked(name, tensor.shape)) is not None:
            by_count.setdefault(stack.count, []).append(stack)
    return {count: abreast(stacks) for count, stacks in by_count.items()}


def _small(tensor: LazyTensor, side: int, across: Mapping[int, int]) -> Layout:
    """The layout of a tensor's picture on a sheet: a matrix at most *side* cells a side, a vector one row of them.

    across: see ``_abreast``.
    """
    if not is_vector(tensor.shape):
        stack = stacked(tensor.name, tensor.shape)
        return matrix_of(tensor.name, tensor.shape, side, across[stack.count] if stack is not None else None)
    each = -(-tensor.size // side)
    width = -(-tensor.size // each)
    blocks, region = flat_run(tensor.name, tensor.size, (0, 0, 1, width), cell=(1, each))
    return Layout(1, width * each, (1, each), blocks, (region,))


def _limits(scale: ColorScale) -> str:
    """The limits of a scale and its shape: ``±0.05, linear``."""
    text = f"±{figure_text(scale.high)}" if scale.diverging else f"{figure_text(scale.low)} to {figure_text(scale.high)}"
    return f"{text}, {'asinh' if scale.kind == 'asinh' else 'linear'}"


def _sizes_named(tensor: LazyTensor, grid: Grid) -> Grid:
    """The grid; of complex weights it holds sizes, and says so."""
    return replace(grid, quantity="|weight|") if is_complex(tensor.dtype) else grid


def _cells(grids: Sequence[Grid]) -> str:
    """What a cell is in all of *grids*."""
    texts = {f"{grid.reduce} of {grid.cell[0]}×{grid.cell[1]}" if grid.cell != (1, 1) else "weights" for grid in grids}
    return texts.pop() if len(texts) == 1 else f"{grids[0].reduce} of cells"


def _label(tensor: LazyTensor, grid: Grid) -> str:
    label = shape_text(tensor.shape)
    if grid.cell != (1, 1):
        label += f", {grid.reduce} of {grid.cell[0]}×{grid.cell[1]}"
    return label


def _is_kernel(tensor: LazyTensor) -> bool:
    """True of whole kernels, whose rows are output channels, and whose columns are input channels × kernel."""
    return tensor.ndim > 2 and tensor.taken is None and stacked(tensor.name, tensor.shape) is None


def _marginal(sizes: Array, step: int, indices: range | None, each: int = 1) -> Marginal:
    """The |max| of the units in each row or column of cells; the largest units are named, those with a NaN before all.

    indices: of the units in the whole tensor, where they are a part of it. each: rows or columns of a unit.
    """
    order = _by_size(sizes)[:_NAMED]
    names = tuple(
        ((place + 0.5) * each / step, str(place if indices is None else indices[place]))
        for place in order.tolist()
        if sizes[place] != 0
    )
    label = "|max|" if each == 1 else "|max| of the input channel"
    return Marginal(_largest(np.repeat(sizes, each), step), label, names)


def _bars_of_stack(stack: Stack, grid: Grid, profiles: Sequence[UnitProfile]) -> dict[str, Any]:
    """Bars of matrices side by side, as far as *profiles* have figures: fields of the ``Heatmap``.

    A bar is the largest of the matrices in its row, or column, of the picture. The largest of the stack are named by their
    index in it.
    """
    rects = [mark.rects[0] for mark in grid.marks]
    kept = kept_places(stack.matrix)
    found: dict[str, Any] = {}
    for axis, side in enumerate(("row", "column")):
        known = [each.input_absmax if axis else each.output_absmax for each in profiles]
        sizes = [each for each in known if each is not None]
        if len(sizes) != stack.count:
            continue
        bars = np.zeros(grid.shape[axis])
        for rect, each in zip(rects, sizes, strict=True):
            stretch = bars[rect[axis] : rect[axis] + rect[axis + 2]]
            np.maximum(stretch, _largest(each, grid.cell[axis]), out=stretch)
        units = np.stack(sizes)
        names = []
        for flat in _by_size(units.ravel())[:_NAMED].tolist():
            matrix, unit = divmod(flat, units.shape[1])
            if units[matrix, unit] != 0:
                index = [*stack.indices[matrix], *([":"] if axis else []), kept[axis][unit]]
                place = rects[matrix][axis] + (unit + 0.5) / grid.cell[axis]
                names.append((place, f"[{', '.join(map(str, index))}]"))
        found[f"{side}_marginal"] = Marginal(bars, names=tuple(names))
    return found


def _by_size(sizes: Array) -> Array:
    """Places, the largest size first, and a NaN before all."""
    return np.argsort(-np.where(np.isnan(sizes), np.inf, sizes), kind="stable")


def _largest(sizes: Array, step: int) -> Array:
    """The largest of the sizes of the units that each cell holds, *step* of them; NaN where one is."""
    return np.asarray(np.maximum.reduceat(sizes, np.arange(0, len(sizes), step)))


def axes_of(tensor: LazyTensor, grid: Grid) -> dict[str, Any]:
    """What an index along the rows and the columns counts, and from where: fields of the ``Heatmap`` of *grid*.

    Matrices side by side count anew, each; each row of a wrapped vector has the index of its first weight.
    """
    rows, columns = axis_names(tensor, grid)
    if (stack := stacked(tensor.name, tensor.shape)) is not None:
        if len(grid.marks) != stack.count:
            return {"rows": rows, "columns": columns}
        found: dict[str, Any] = {"rows": "row of each matrix", "columns": "column of each matrix"}
        for axis, kept in enumerate(kept_places(stack.matrix)):
            starts = sorted({mark.rects[0][axis] for mark in grid.marks})
            found[("row_runs", "column_runs")[axis]] = tuple((start, kept) for start in starts)
        return found
    indices = _indices(tensor)
    if is_vector(tensor.shape) and grid.shape[0] > 1:
        firsts = indices.get("column_indices", range(tensor.size))[:: grid.shape[1] * grid.cell[1]]
        names = tuple((row + 0.5, str(first)) for row, first in enumerate(firsts))
        return {"rows": "index", "columns": columns, "row_indices": firsts, "row_names": names}
    return {"rows": rows, "columns": columns, **indices}


def _indices(tensor: LazyTensor) -> dict[str, Any]:
    """The indices that ``axis_names`` count, of a part of a tensor: fields of its ``Heatmap``."""
    ranges = () if tensor.taken is None else tensor.taken.ranges
    if not ranges or len(ranges) != tensor.ndim:
        return {}
    if is_vector(tensor.shape):
        along = next((each for each in ranges if len(each) > 1), ranges[-1])
        return {"column_indices": along}
    columns = _flat_indices(tensor)
    return {"row_indices": ranges[0], "column_indices": columns} if columns is not None else {"row_indices": ranges[0]}


def _flat_indices(tensor: LazyTensor) -> range | None:
    """The indices of a part's columns in the whole, where the other dimensions are flattened; ``None`` if they are uneven."""
    assert tensor.taken is not None
    places = zip(tensor.taken.places, tensor.taken.shape, strict=True)
    _, *others = ((kept, length) for kept, length in places if isinstance(kept, range))
    found = np.zeros(1, dtype=np.int64)
    for kept, length in others:
        found = (found[:, None] * length + np.asarray(kept, dtype=np.int64)).reshape(-1)
    step = int(found[1] - found[0]) if len(found) > 1 else 1
    return range(int(found[0]), int(found[-1]) + step, step) if len(found) and np.all(np.diff(found) == step) else None


def axis_names(tensor: LazyTensor, grid: Grid) -> tuple[str, str]:
    """What an index along the rows and the columns counts; both empty for a folded vector, which has no such index."""
    shape = tensor.shape
    if is_vector(shape):
        return ("", "index") if grid.shape[0] == 1 and tensor.size > 1 else ("", "")
    if stacked(tensor.name, shape):
        return "", ""
    if len(shape) == 2 and not has_all_units(tensor.name, shape):
        return "first dimension", "second dimension"
    if len(shape) == 2:
        leaf = tensor.name.lower()
        if any(word in leaf for word in ("embed", "wte", "wpe", "lookup")):
            return "row (entry of the table)", "column (dimension)"
        turned = stored_transposed(tensor.name, shape)
        if turned is None:
            return "row", "column"
        return ("row (input)", "column (output unit)") if turned else ("row (output unit)", "column (input)")
    rest = shape_text(shape[1:])
    if tensor.taken is not None and len(tensor.taken.ranges) == tensor.ndim and _flat_indices(tensor) is None:
        rest += " of the part"  # whose columns are counted anew
    if not has_all_units(tensor.name, shape) or len(shape) > 5:  # a dimension that is gone may have been that of units
        return "first dimension", f"other dimensions ({rest}, flattened)"
    first, second = channel_names(tensor)
    return first, f"{second} × kernel ({rest}, flattened)"
