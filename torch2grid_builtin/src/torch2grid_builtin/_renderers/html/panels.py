"""What a page of a report holds: each panel as plain data for the script, cells packed small."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from torch2grid_core import Grid, Page, Style
from torch2grid_core.grids import Block, ColorScale, ScaleKind, color_scale, default_map, reduce_array
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Histogram, Image, Line, Marginal, Table, Text
from torch2grid_core.text import visible

Array = np.ndarray[Any, Any]
_EXACT = 65_536  # a grid of so many cells keeps float32 as it is
_KEPT_BITS = 12  # of a larger one's 23 mantissa bits: four digits
_MOST_RECTS, _MOST_BLOCKS, _MOST_ROWS = 4000, 20_000, 5000
_LABEL = 300


class Tensors:
    """The tensors that a report speaks of, numbered: names may be long and hostile, numbers are not."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._entries: list[dict[str, Any]] = []

    def of(self, name: str, about: Mapping[str, Any] | None = None) -> int:
        """The number of a tensor; *about* brings its shape and dtype."""
        if name not in self._numbers:
            self._numbers[name] = len(self._entries)
            self._entries.append({"name": visible(name, _LABEL)})
        entry = self._entries[self._numbers[name]]
        if about and "shape" in about:
            entry["shape"] = [int(side) for side in about["shape"]]
            entry["dtype"] = visible(str(about.get("dtype", "")))
        return self._numbers[name]

    def entries(self) -> list[dict[str, Any]]:
        """In the order of their numbers."""
        return self._entries


def heatmaps_of(page: Page) -> list[tuple[int, int]]:
    """The shapes of the heatmaps on a page."""
    return [panel.grid.shape for panel in page.panels if isinstance(panel, Heatmap)]


def page_data(page: Page, style: Style, tensors: Tensors, cells: int | None) -> tuple[dict[str, Any], set[str], int]:
    """A page as data, the colour maps that it uses, and the bytes of its cells.

    cells: no heatmap gets more cells a side; ``None`` leaves all as they are.
    """
    maps: set[str] = set()
    panels: list[dict[str, Any]] = []
    spent = 0
    about = page.about.get("tensor")
    owner = tensors.of(str(about), page.about) if about is not None else -1
    for panel in page.panels:
        if isinstance(panel, Heatmap):
            data = _heatmap(panel, style, tensors, cells)
            maps.add(data["map"])
            spent += len(data["values"]) + len(str(data["counts"]))
        else:
            data = _plain_panel(panel)
        panels.append({"title": visible(getattr(panel, "title", ""), _LABEL), **data})
    title = visible(page.title or page.name, _LABEL)
    return {"title": title, "columns": page.columns, "wide": page.wide, "tensor": owner, "panels": panels}, maps, spent


def packed(data: bytes) -> str:
    """zlib, then base64: what the script unpacks."""
    return base64.b64encode(zlib.compress(data, 6)).decode()


def planes(values: Array) -> bytes:
    """32-bit numbers byte by byte, the highest of all first: like bytes next to each other compress better."""
    big = np.ascontiguousarray(values).reshape(-1).view(np.uint32).astype(">u4")
    return np.ascontiguousarray(big.view(np.uint8).reshape(-1, 4).T).tobytes()


def rounded(values: Array, bits: int) -> Array:
    """float32 *values* to the nearest with so many mantissa bits; NaN and Inf stay, and nothing finite becomes Inf."""
    pattern = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    drop = 23 - bits
    mask = np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    up = ((pattern.astype(np.uint64) + (1 << (drop - 1))) & mask).astype(np.uint32).view(np.float32)
    down = (pattern & mask).view(np.float32)
    result: Array = np.where(np.isfinite(values), np.where(np.isfinite(up), up, down), values)
    return result


def _heatmap(panel: Heatmap, style: Style, tensors: Tensors, cells: int | None) -> dict[str, Any]:
    full = panel.grid
    grid = full if cells is None else reduce_array(full, full.reduce, cells)
    exact = grid.values.size <= _EXACT
    values = grid.values if exact else rounded(grid.values, _KEPT_BITS)
    counts = np.unique(grid.counts)
    lowered = grid.shape != full.shape
    scale = _scale_of_fewer(panel, grid) if lowered else panel.scale
    data: dict[str, Any] = {
        "kind": "heatmap",
        "shape": grid.shape,
        "cell": grid.cell,
        "rows": visible(panel.rows),
        "columns": visible(panel.columns),
        "what": grid.cell_text(),
        "label": "" if lowered else visible(panel.label),
        "reduce": grid.reduce,
        "quantity": visible(grid.quantity),
        "low": scale.low,
        "high": scale.high,
        "bend": scale.linear_threshold if scale.kind == "symlog" else 0,
        "over": scale.over,
        "under": scale.under,
        "map": style.colormap or default_map(scale),
        "exact": exact,
        "values": packed(planes(values)),
        "counts": int(counts[0]) if len(counts) == 1 else packed(planes(np.minimum(grid.counts, 2**31 - 1).astype(np.int32))),
        "boundaries": panel.boundaries,
        "labels": panel.labels,
        "regions": _regions(grid),
        "layout": _layout(grid, tensors),
    }
    if lowered:
        data["lowered"] = full.shape
    for side, marginal, length in zip(
        ("row", "column"), (panel.row_marginal, panel.column_marginal), zip(full.shape, grid.shape, strict=True), strict=True
    ):
        if marginal is not None:
            data[f"{side}_marginal"] = _marginal(marginal, *length)
    if panel.row_names:
        step = -(-full.shape[0] // max(grid.shape[0], 1))
        data["row_names"] = [[place / step, visible(text, _LABEL)] for place, text in panel.row_names[:_MOST_ROWS]]
    if grid.largest is not None:
        name, index, value = grid.largest
        data["largest"] = {"tensor": tensors.of(name), "index": index, "value": value}
    return data


def _marginal(marginal: Marginal, before: int, after: int) -> dict[str, Any]:
    """Values of the cells of one side; of several that became one, the largest, which a largest stays."""
    values = np.asarray(marginal.values, dtype=np.float64)
    label = visible(marginal.label)
    if after < before:
        values = np.maximum.reduceat(values, np.arange(0, before, -(-before // after)))
        label = label if "max" in label else f"largest {label}"
    return {"label": label, "values": [float(f"{value:.4g}") for value in values.tolist()]}


def _scale_of_fewer(panel: Heatmap, grid: Grid) -> ColorScale:
    """The scale of a heatmap lowered to *grid*: limits that came from its cells come from the fewer ones, others stay."""
    scale = panel.scale
    kinds: tuple[ScaleKind, ...] = ("symlog",) if scale.kind == "symlog" else ("auto", "symmetric", "minmax")
    for kind in kinds:
        derived = color_scale(panel.grid, kind)
        if (derived.low, derived.high) == (scale.low, scale.high):
            return color_scale(grid, kind)
    return color_scale(grid, kinds[0], limits=(scale.low, scale.high))


def _regions(grid: Grid) -> list[Any]:
    if sum(len(region.rects) for region in grid.regions) > _MOST_RECTS:
        return []
    return [[visible(region.name, _LABEL), region.rects] for region in grid.regions]


def _layout(grid: Grid, tensors: Tensors) -> list[Any] | None:
    """The blocks, ``[tensor, start, row, column, length, row step, column step, …]``; ``None`` where the script gets none."""
    layout = grid.layout
    if layout is None or layout.cell != grid.cell or layout.shape != grid.shape or len(layout.blocks) > _MOST_BLOCKS:
        return None
    blocks = []
    for block in layout.blocks:
        if not isinstance(block, Block):
            return None
        moves = [number for dim in block.dims for number in dim]
        blocks.append([tensors.of(block.tensor), block.start, block.row, block.column, *moves])
    return blocks


def _plain_panel(panel: Any) -> dict[str, Any]:
    if isinstance(panel, Histogram):
        return {
            "kind": "histogram",
            "edges": _edges(np.asarray(panel.edges, dtype=np.float64)),
            "counts": panel.counts,
            "xlabel": visible(panel.xlabel),
            "below": panel.below,
            "above": panel.above,
            "nan": panel.nan,
            "log": panel.log,
            "marks": _texts(panel.marks),
            "summary": [[visible(name), visible(text)] for name, text in panel.summary.items()],
        }
    if isinstance(panel, Line):
        return {
            "kind": "line",
            "x": panel.x,
            "y": _texts(panel.y),
            "xlabel": visible(panel.xlabel),
            "ylabel": visible(panel.ylabel),
            "xticks": _labels(panel.xticks),
            "log": panel.log,
            "marks": _texts(panel.marks),
            "flags": _flags(panel.flags),
        }
    if isinstance(panel, Bar):
        return {
            "kind": "bar",
            "labels": _labels(panel.labels),
            "values": panel.values,
            "ylabel": visible(panel.ylabel),
            "marks": _texts(panel.marks),
            "flags": _flags(panel.flags),
        }
    if isinstance(panel, (Band, Boxes)):
        levels = panel.levels if isinstance(panel, Band) else ()
        names = [f"{100 * level:g} %" for level in levels] or ["low", "25 %", "50 %", "75 %", "high"]
        return {
            "kind": "quantiles",
            "labels": _labels(panel.labels),
            "names": names,
            "values": np.asarray(panel.values, dtype=np.float64),
            "ylabel": visible(panel.ylabel),
            "flags": _flags(panel.flags),
        }
    if isinstance(panel, Image):
        rgb = np.ascontiguousarray(panel.rgb, dtype=np.uint8)
        return {"kind": "image", "shape": rgb.shape[:2], "rgb": packed(rgb.tobytes()), "caption": visible(panel.caption, 1000)}
    if isinstance(panel, Text):
        return {"kind": "text", "lines": [visible(line, 10_000) for line in panel.text.splitlines()]}
    return _table(panel.as_table())


def _edges(edges: Array) -> Any:
    """``[first, width, number]`` where all bars are equally wide, as they mostly are, else the list."""
    width = edges[-1] / (len(edges) - 1) - edges[0] / (len(edges) - 1) if len(edges) > 1 else 0.0
    with np.errstate(over="ignore"):
        even = len(edges) > 8 and np.array_equal(edges, edges[0] + width * np.arange(len(edges)))
    if even:
        return {"first": edges[0], "width": width, "number": len(edges)}
    return edges


def _texts(named: Mapping[str, Any]) -> list[list[Any]]:
    return [[visible(name), value] for name, value in named.items()]


def _flags(flags: Mapping[int, str]) -> dict[str, str]:
    return {str(place): visible(text, _LABEL) for place, text in flags.items()}


def _labels(labels: Any) -> list[str]:
    return [visible(str(label), _LABEL) for label in labels]


def _table(table: Table) -> dict[str, Any]:
    """Rows as text, and beside them the numbers that columns sort by."""
    rows = table.texts()[:_MOST_ROWS]
    numbers: dict[str, list[Any]] = {}
    for index, _ in enumerate(table.columns):
        column = [row[index] for row in table.rows[:_MOST_ROWS]]
        if column and not any(isinstance(value, str) for value in column):
            numbers[str(index)] = [_sortable(value) for value in column]
    return {
        "kind": "table",
        "columns": [visible(column) for column in table.columns],
        "rows": [[visible(text, 1000) for text in row] for row in rows],
        "numbers": numbers,
        "left_out": len(table.rows) - len(rows),
    }


def _sortable(value: Any) -> float | None:
    """The number that a cell is sorted by; ``None`` where none is known. NaN stays NaN: the script puts it first."""
    return None if value is None else float(value)
