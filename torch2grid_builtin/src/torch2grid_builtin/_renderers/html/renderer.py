"""Pages to explore in a browser: one file that holds everything and may load nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import repeat
from typing import Any, BinaryIO, ClassVar

import numpy as np

from torch2grid_builtin._renderers import forms
from torch2grid_builtin._renderers.html.budget import LEAST, Costs, Wanted, allotted
from torch2grid_builtin._renderers.places import stretches
from torch2grid_builtin._renderers.series import shared_names
from torch2grid_builtin._renderers.titles import titles
from torch2grid_builtin._viewer.bundle import bundled, modules
from torch2grid_builtin._viewer.packing import planes, rounded
from torch2grid_core import Grid, Page, Renderer, Style
from torch2grid_core.grids import (
    REDUCTIONS,
    Block,
    ColorScale,
    Region,
    ScaleKind,
    color_scale,
    colormap,
    default_map,
    reduce_array,
    signals,
)
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Histogram, Image, Line, Marginal, Ridges, Scatter, Table, Text
from torch2grid_core.text import json_text, visible

READING = "https://github.com/torch2grid/torch2grid/tree/main/docs/reading.md"  # a link, which nobody follows but the reader
Array = np.ndarray[Any, Any]
_EXACT = 65_536  # a grid of so many cells keeps float32 as it is
_KEPT_BITS = 12  # of a larger one's 23 mantissa bits: four digits
_MOST_RECTS, _MOST_BLOCKS, _MOST_ROWS = 4000, 20_000, 5000
_LABEL, _TITLE = 300, 1000


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
            if "taken" in about:
                entry["taken"] = about["taken"]
        return self._numbers[name]

    def entries(self) -> list[dict[str, Any]]:
        """In the order of their numbers."""
        return self._entries


def page_data(
    page: Page, style: Style, tensors: Tensors, cells: int | Iterable[int] | None
) -> tuple[dict[str, Any], set[str], list[int]]:
    """A page as data, the colour maps that it uses, and the bytes of the cells of each heatmap.

    cells: no heatmap gets more cells a side; several are for one heatmap each; ``None`` leaves all as they are.
    """
    maps: set[str] = set()
    panels: list[dict[str, Any]] = []
    spent: list[int] = []
    each = repeat(cells) if cells is None or isinstance(cells, int) else iter(cells)
    about = page.about.get("tensor")
    owner = tensors.of(str(about), page.about) if about is not None else -1
    shared = shared_names(page)
    for panel in page.panels:
        if isinstance(panel, Heatmap):
            data = _heatmap(panel, style, tensors, next(each))
            maps.add(data["map"])
            spent.append(len(data["values"]) + len(str(data["counts"])) + len(data.get("owners", "")))
        else:
            data = _plain_panel(panel)
            if shared and isinstance(panel, Line):
                data["named"] = True
        panels.append({"title": visible(getattr(panel, "title", ""), _LABEL), **data})
    title = visible(page.title or page.name, _TITLE)
    data = {"title": title, "columns": page.columns, "wide": page.wide, "tensor": owner, "panels": panels}
    if shared:
        data["names"] = _labels(shared)
    if page.frame is not None:
        data["frame"] = page.frame
    if page.places:
        data["places"] = page.places
        for key in ("row_names", "column_names", "column_notes"):
            data[key] = [visible(text, _LABEL) for text in getattr(page, key)]
    return data, maps, spent


def packed(data: bytes) -> str:
    """zlib, then base64: what the script unpacks."""
    return base64.b64encode(zlib.compress(data, 6)).decode()


def _heatmap(panel: Heatmap, style: Style, tensors: Tensors, cells: int | None) -> dict[str, Any]:
    full = panel.grid
    grid = full if cells is None or max(full.shape) <= cells else reduce_array(full, full.reduce, cells)
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
        "row_runs": _runs(panel, 0, grid),
        "column_runs": _runs(panel, 1, grid),
        "what": grid.cell_text(),
        "label": "" if lowered else visible(panel.label),
        "reduce": grid.reduce,
        "quantity": visible(grid.quantity),
        "low": scale.low,
        "high": scale.high,
        "bend": scale.linear_threshold if scale.kind == "asinh" else 0,
        "over": scale.over,
        "under": scale.under,
        "map": style.colormap or default_map(scale),
        "exact": exact,
        "values": packed(planes(values)),
        "counts": int(counts[0]) if len(counts) == 1 else packed(planes(np.minimum(grid.counts, 2**31 - 1).astype(np.int32))),
        "boundaries": panel.boundaries,
        "labels": panel.labels,
        **_regions(grid, forms.of_any_form(full)),
        "heads": [[visible(title, _LABEL), label.rects] for label, title in _heads(grid)],
        "marks": [[visible(mark.name, _LABEL), mark.rects] for mark in grid.marks[:_MOST_RECTS]],
        "notes": [visible(note, 1000) for note in grid.remarks],
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
        data["row_names"] = [[place / step, visible(text, _LABEL)] for place, text in panel.ranked_row_names[:_MOST_ROWS]]
    if panel.column_names:
        step = -(-full.shape[1] // max(grid.shape[1], 1))
        data["column_names"] = [[place / step, visible(text, _LABEL)] for place, text in panel.column_names[:_MOST_ROWS]]
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
    names = [visible(text, _LABEL) for _, text in marginal.names]
    return {"label": label, "values": [float(f"{value:.4g}") for value in values.tolist()], "names": names}


def _scale_of_fewer(panel: Heatmap, grid: Grid) -> ColorScale:
    """The scale of a heatmap lowered to *grid*: limits that came from its cells come from the fewer ones, others stay."""
    scale = panel.scale
    kinds: tuple[ScaleKind, ...] = ("asinh",) if scale.kind == "asinh" else ("auto", "symmetric", "minmax")
    for kind in kinds:
        derived = color_scale(panel.grid, kind)
        if (derived.low, derived.high) == (scale.low, scale.high):
            return color_scale(grid, kind)
    return replace(color_scale(grid, kinds[0], limits=(scale.low, scale.high)), bend=scale.bend)


def _regions(grid: Grid, loose: set[str]) -> dict[str, Any]:
    """Names and rectangles. Where some are of any form (*loose*): the region of each cell, and where a name has room in it."""
    if loose:
        owner = np.full(grid.shape, -1, dtype=np.int32)
        for number, region in enumerate(grid.regions):
            for row, column, height, width in region.rects:
                owner[row : row + height, column : column + width] = number
        named = [[visible(region.name, _LABEL), [forms.roomiest(region.rects)]] for region in grid.regions]
        return {"regions": named, "owners": packed(planes(owner))}
    if sum(len(region.rects) for region in grid.regions) > _MOST_RECTS:
        return {"regions": []}
    return {"regions": [[visible(region.name, _LABEL), region.rects] for region in grid.regions]}


def _heads(grid: Grid) -> list[tuple[Region, str]]:
    """The labels that the grid keeps room for, with their texts: modules, above them their matrices, layers beside them."""
    return list(zip(grid.labels, titles(grid), strict=True))[:_MOST_RECTS]


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
            "curves": _texts(panel.curves),
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
            "xlog": panel.xlog,
            "xmarks": _texts(panel.xmarks),
            "flags": _flags(panel.flags),
        }
    if isinstance(panel, Scatter):
        groups = {group: number for number, group in enumerate(dict.fromkeys(panel.groups))}
        return {
            "kind": "scatter",
            "x": panel.x,
            "y": panel.y,
            "xlabel": visible(panel.xlabel),
            "ylabel": visible(panel.ylabel),
            "names": _labels(panel.names),
            "groups": _labels(groups),
            "group": [groups[each] for each in panel.groups],
            "log": panel.log,
            "marks": _texts(panel.marks),
            "xlog": panel.xlog,
            "xmarks": _texts(panel.xmarks),
        }
    if isinstance(panel, Bar):
        return {
            "kind": "bar",
            "labels": _labels(panel.labels),
            "values": panel.values,
            "ylabel": visible(panel.ylabel),
            "marks": _texts(panel.marks),
            "flags": _flags(panel.flags),
            "bend": panel.bend,
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
            "bend": panel.bend if isinstance(panel, Band) else 0,
            "limits": panel.limits if isinstance(panel, Band) else None,
        }
    if isinstance(panel, Ridges):
        return {
            "kind": "ridges",
            "labels": _labels(panel.labels),
            "edges": np.asarray(panel.edges, dtype=np.float64),
            "shares": np.asarray(panel.shares, dtype=np.float64),
            "xlabel": visible(panel.xlabel),
            "flags": _flags(panel.flags),
            "bend": panel.bend,
        }
    if isinstance(panel, Image):
        rgb = np.ascontiguousarray(panel.rgb, dtype=np.uint8)
        return {"kind": "image", "shape": rgb.shape[:2], "rgb": packed(rgb.tobytes()), "caption": visible(panel.caption, 1000)}
    if isinstance(panel, Text):
        return {"kind": "text", "lines": [visible(line, 10_000) for line in panel.text.splitlines()]}
    return _table(panel.as_table())


def _runs(panel: Heatmap, axis: int, grid: Grid) -> list[list[float]]:
    """``[first cell, first index, step, weights]`` of each stretch along a side of *grid*, to which the panel's was lowered."""
    fewer = panel.grid.cell[axis] / grid.cell[axis]
    runs = stretches(panel, axis)
    return [[start * fewer, indices.start, indices.step, len(indices)] for start, indices in runs]


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


_MEGABYTE = 1_000_000
_WHOLE = 4  # times as many cells a side for the picture of a whole model, of which there are few, as for one of a tensor
_SMALL = 0.5  # the same for the small pictures of a table of them: what has a page of its own comes first
_TRIES = 6
_SPENT = 0.96  # of the size of a file, after which no more cells are tried


@dataclass(frozen=True)
class Html(Renderer):
    """Pages to explore, in one file that needs no network."""

    name: ClassVar[str] = "html"
    formats: ClassVar[tuple[str, ...]] = ("html",)
    combines: ClassVar[tuple[str, ...]] = ("html",)

    megabytes: float = field(default=10.0, metadata={"help": "size of the file, met by lowering the cells of heatmaps"})

    def __post_init__(self) -> None:
        if not self.megabytes > 0:
            raise ValueError("megabytes must be above 0")

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write one page. Raises ``UsageError`` for an unknown colour map."""
        self.render_all([page], target, style, format)

    def render_all(self, pages: Iterable[Page], target: BinaryIO, style: Style, format: str) -> None:
        """Write a report of all pages, with an index of them and of their tensors.

        The file is at most ``megabytes`` (10^6 bytes) long wherever fewer cells can achieve it: no heatmap then has more than
        some number of cells a side, and the report says so. Raises ``UsageError`` for an unknown colour map.
        """
        wanted = [each for page in pages for each in _wanted(page)]
        costs = Costs(wanted)
        sheet = _Sheet(pages, style)
        budget = int(self.megabytes * _MEGABYTE)
        fixed = 60_000 + 1500 * len(wanted)  # bytes of the rest; the first report says how many they are
        best = b""
        for attempt in range(_TRIES):
            given = allotted(wanted, costs, budget - fixed)
            whole, spent = sheet.report(given, _note(wanted, given, self.megabytes))
            for place, (each, most) in enumerate(zip(wanted, given, strict=True)):
                costs.note(place, each.cells(most), spent[place])
            if len(whole) <= budget:
                best = max(best, whole, key=len)
                if given == [max(each.side, 1) for each in wanted] or len(whole) > _SPENT * budget or attempt >= 3:
                    break
            elif given == [each.within(LEAST) for each in wanted]:
                break
            fixed = len(whole) - sum(spent) + attempt * budget // 200
        target.write(best or whole)


def _wanted(page: Page) -> list[Wanted]:
    """The heatmaps of a page; that of a whole model may have more cells, and one whose reduction is its own keeps all."""
    grids = [panel.grid for panel in page.panels if isinstance(panel, Heatmap)]
    share: float = _WHOLE if not page.folder and "tensor" not in page.about and len(grids) == 1 else 1
    if page.places and len(grids) > 1:
        share = _SMALL
    return [Wanted(grid.shape, share, grid.reduce in REDUCTIONS) for grid in grids]


def _signals(name: str) -> dict[str, tuple[int, int, int]]:
    """The colours beside the map *name*, as the client calls them."""
    marks = signals(name)
    return {"over": marks.over, "under": marks.under, "lost": marks.not_finite, "empty": marks.empty}


class _Sheet:
    """The pages of a report as text. What was written of a page is kept, for the next try with other cells."""

    def __init__(self, pages: Iterable[Page], style: Style) -> None:
        self._pages, self._style = pages, style
        self._tensors = Tensors()  # numbered once: pages come in the same order each time
        self._kept: dict[int, tuple[tuple[int, ...], str, set[str], list[int]]] = {}

    def report(self, cells: list[int], note: str) -> tuple[bytes, list[int]]:
        """The whole file with so many *cells* a side of each heatmap, and how many bytes the cells of each take."""
        spent: list[int] = []
        entries: list[dict[str, Any]] = []
        blocks: list[str] = []
        maps: dict[str, None] = {}
        best, title, first = -1, "", 0
        for number, page in enumerate(self._pages):
            heatmaps = sum(isinstance(panel, Heatmap) for panel in page.panels)
            own = tuple(cells[len(spent) : len(spent) + heatmaps])
            if number not in self._kept or self._kept[number][0] != own:
                data, used, bytes_of = page_data(page, self._style, self._tensors, own)
                self._kept[number] = (own, _json_block(f"page-{number}", data), used, bytes_of)
            _, block, used, bytes_of = self._kept[number]
            spent += bytes_of
            maps.update(dict.fromkeys(sorted(used)))
            blocks.append(block)
            about = page.about.get("tensor")
            entry = {
                "title": visible(page.title or page.name, _TITLE),
                "name": visible(page.name),
                "folder": visible(page.folder),
                "table": page.kind == "table",
                "tensor": self._tensors.of(str(about), page.about) if about is not None else -1,
            }
            entries.append(entry if page.frame is None else {**entry, "frame": page.frame})
            rank = 4 if page.opens else 2 * (not page.folder) + bool(heatmaps)  # a picture of the whole speaks for all
            if rank > best:
                best, title, first = rank, visible(page.title or page.name, _TITLE), number
        head = {
            "title": title,
            "first": first,
            "pages": entries,
            "tensors": self._tensors.entries(),
            "maps": {name: base64.b64encode(colormap(name).tobytes()).decode() for name in maps},
            "signals": {name: _signals(name) for name in maps},
            "note": note,
            "reading": READING,
        }
        return _document(title, head, blocks), spent


def _document(title: str, head: Mapping[str, Any], blocks: list[str]) -> bytes:
    """The file: a policy that allows its own script and style alone, the data as inert elements, and the script."""
    css, script = _assets()
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(css)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    document = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n',
        f"<title>{html.escape(title)}</title>\n<style>{css}</style>\n</head>\n<body>\n",
        '<noscript><p class="plain">This report draws itself with JavaScript, which is switched off here. ',
        "It loads nothing from elsewhere.</p></noscript>\n",
        _json_block("head", head),
        *blocks,
        f"<script>{script}</script>\n</body>\n</html>\n",
    ]
    return "".join(document).encode("utf-8", "replace")


def _note(wanted: list[Wanted], given: list[int], megabytes: float) -> str:
    """What was lowered, and how far: the most cells a side that a lowered heatmap has."""
    lowered = [(each, most) for each, most in zip(wanted, given, strict=True) if most < each.side]
    if not lowered:
        return ""
    parts = []
    for whole_model, what in ((False, "a tensor"), (True, "a whole model")):
        sides = [-(-each.side // -(-each.side // most)) for each, most in lowered if (each.share > 1) == whole_model]
        if sides:
            parts.append(f"{max(sides):,} cells per side for {what}")
    whole = len(wanted) - len(lowered)
    rest = f" {whole:,} of {len(wanted):,} heatmaps show every cell." if whole else ""
    return f"Shown at reduced resolution, to keep this file below {megabytes:g} MB: at most {' and '.join(parts)}.{rest}"


def _json_block(name: str, value: Mapping[str, Any]) -> str:
    """JSON as an inert element; without ``<`` nothing in it can end the element or begin another."""
    text = json_text(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


@cache
def _assets() -> tuple[str, str]:
    """The style sheet and the script, as they are in the file."""
    return "".join(modules()[name].decode() for name in ("panels.css", "report.css")), bundled("report.js")


def _hash(text: str) -> str:
    """A Content Security Policy source for the element with this *text* (CSP level 3, section 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
