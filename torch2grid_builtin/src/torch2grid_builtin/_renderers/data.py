"""Pages as data: JSON and CSV, with every cell and bar at full precision.

JSON is strict (RFC 8259): a figure that is NaN is ``null``, infinite ones are the texts ``"Infinity"`` and ``"-Infinity"``. Of
the cells of a heatmap, ``null`` are those without weights, and a NaN is the text ``"NaN"``. A page is ``{"format", "name",
"title", "about", "panels"}``; a panel has ``kind`` and ``title`` beside what its kind holds; several pages in one file are
``{"format", "pages"}``.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np

from torch2grid_builtin._csv import CsvWriter
from torch2grid_builtin._renderers.places import cell_indices
from torch2grid_core import Page, Renderer, Style
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Histogram, Image, Line, Numbers, Ridges, Scatter, Table, Text
from torch2grid_core.text import json_text, visible

Array = np.ndarray[Any, Any]
PAGE, PAGES = "torch2grid page 1", "torch2grid pages 1"


class Json(Renderer):
    """The pages' data as JSON."""

    name: ClassVar[str] = "json"
    formats: ClassVar[tuple[str, ...]] = ("json",)
    combines: ClassVar[tuple[str, ...]] = ("json",)

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write one page; a page that is a JSON object of its own (``Page.data``) is written as that."""
        for piece in _page_pieces(page):
            target.write(piece.encode())
        target.write(b"\n")

    def render_all(self, pages: Iterable[Page], target: BinaryIO, style: Style, format: str) -> None:
        """Write all pages as one object."""
        target.write(f'{{"format": "{PAGES}", "pages": ['.encode())
        for number, page in enumerate(pages):
            target.write(b",\n" if number else b"\n")
            for piece in _page_pieces(page):
                target.write(piece.encode())
        target.write(b"\n]}\n")


class Csv(Renderer):
    """The pages' data as CSV tables."""

    name: ClassVar[str] = "csv"
    formats: ClassVar[tuple[str, ...]] = ("csv",)

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write each panel as a table: a header, then its rows, as RFC 4180 has it, in UTF-8.

        Where there are several panels, a first column ``panel`` has the name of each, or its number and title; panels of the
        same columns share one table, an empty line comes before a table of other columns. A heatmap is one row a cell that
        holds weights; where its row and column are not those of the tensor, the index of its first weight follows. A text
        that a spreadsheet would run as a formula has an apostrophe before it.
        """
        stream = io.TextIOWrapper(target, encoding="utf-8", newline="", write_through=True)
        writer = CsvWriter(stream)
        several = len(page.panels) > 1
        before: tuple[str, ...] | None = None
        for number, panel in enumerate(page.panels, 1):
            columns, rows = _csv_rows(panel, page.about)
            label = visible(f"{number}: {panel.title}" if getattr(panel, "title", "") else str(number), 2000)
            label = visible(page.panel_names[number - 1], 2000) if page.panel_names else label
            if columns != before:
                if before is not None:
                    stream.write("\r\n")
                writer.row(["panel", *columns] if several else columns)
                before = columns
            writer.rows([label, *row] if several else row for row in rows)
        stream.flush()
        stream.detach()


def _csv_rows(panel: Any, about: Mapping[str, Any]) -> tuple[tuple[str, ...], Iterator[list[Any]]]:
    if isinstance(panel, Heatmap):
        indices = cell_indices(panel.grid, about)
        names = [f"{side} name" for side, own in (("row", panel.row_names), ("column", panel.column_names)) if own]
        names += [] if indices is None else [f"dimension {each}" for each in range(len(indices))]
        return (*panel.as_table().columns, *names), _cell_rows(panel, indices)
    if isinstance(panel, Numbers):
        return panel.columns, ([*index, *texts] for index, texts in panel.lines())
    table: Table = panel.as_table()
    return table.columns, (list(row) for row in table.rows)


def _cell_rows(panel: Heatmap, indices: Array | None) -> Iterator[list[Any]]:
    grid, down, across = panel.grid, panel.row_marginal, panel.column_marginal
    sides_named = enumerate((panel.row_names, panel.column_names))
    named = [({int(place): visible(text) for place, text in names}, side) for side, names in sides_named if names]
    for row in range(grid.shape[0]):
        columns = np.flatnonzero(grid.counts[row])
        texts = _texts(grid.values[row][columns])
        for column, text, count in zip(columns.tolist(), texts, grid.counts[row][columns].tolist(), strict=True):
            sides = [float(side.values[place]) for side, place in ((down, row), (across, column)) if side is not None]
            names = [texts_of.get((row, column)[side], "") for texts_of, side in named]
            yield [row, column, text, count, *sides, *names, *(() if indices is None else indices[:, row, column].tolist())]


def _texts(values: Array) -> list[str]:
    """float32 numbers as text that reads back as the same number; ``nan``, ``inf`` and ``-inf`` as Python has them."""
    return ("%.9g " * len(values) % tuple(values.tolist())).split()


def _page_pieces(page: Page) -> Iterator[str]:
    """A page as JSON text, piece by piece: a heatmap is long, and never one text in memory."""
    if page.data is not None:
        yield json_text(page.data, indent=2)
        return
    head = {"format": PAGE, "name": page.name, "title": page.title, "folder": page.folder, "about": page.about}
    yield json_text(head)[:-1] + ', "panels": ['
    for number, panel in enumerate(page.panels):
        yield ",\n " if number else "\n "
        if page.panel_names:
            yield f'{{"name": {json_text(page.panel_names[number])}, '
        pieces = _panel_pieces(panel)
        yield next(pieces).removeprefix("{" if page.panel_names else "")
        yield from pieces
    yield "]}"


def _panel_pieces(panel: Any) -> Iterator[str]:
    if isinstance(panel, Heatmap):
        yield from _heatmap_pieces(panel)
    elif isinstance(panel, Numbers):
        yield from _numbers_pieces(panel)
    else:
        yield json_text(_panel(panel))


def _heatmap_pieces(panel: Heatmap) -> Iterator[str]:
    grid, scale = panel.grid, panel.scale
    counts = np.unique(grid.counts)
    head: dict[str, Any] = {
        "kind": "heatmap",
        "title": panel.title,
        "label": panel.label or grid.cell_text(),
        "rows": panel.rows,
        "columns": panel.columns,
        "shape": grid.shape,
        "cell": grid.cell,
        "reduce": grid.reduce,
        "quantity": grid.quantity,
        "limits": [scale.low, scale.high],
        "scale": scale.kind,
        "over": scale.over,
        "under": scale.under,
        "regions": [{"name": region.name, "rects": region.rects} for region in grid.regions],
    }
    for side, indices in (("row_indices", panel.row_indices), ("column_indices", panel.column_indices)):
        if indices is not None:  # of a part of a tensor: [first, step]
            head[side] = [indices.start, indices.step]
    for side, runs in (("row_runs", panel.row_runs), ("column_runs", panel.column_runs)):
        if runs:  # of each stretch: [first cell, first index, step, how many]
            head[side] = [[start, indices.start, indices.step, len(indices)] for start, indices in runs]
    for kind, named in (("marks", grid.marks), ("labels", grid.labels)):
        if named:
            head[kind] = [{"name": each.name, "rects": each.rects} for each in named]
    for side, names in (("row_names", panel.row_names), ("column_names", panel.column_names)):
        if names:
            head[side] = [list(each) for each in names]
    if scale.bend:
        head["bend"] = scale.bend
    if grid.largest is not None:
        tensor, index, value = grid.largest
        head["largest"] = {"tensor": tensor, "index": index, "value": value, "cell": grid.largest_cell}
    for side, marginal in (("row_marginal", panel.row_marginal), ("column_marginal", panel.column_marginal)):
        if marginal is not None:
            head[side] = {"label": marginal.label, "values": marginal.values}
    yield json_text(head)[:-1] + ', "weights_per_cell": '
    yield str(int(counts[0])) if len(counts) == 1 else json_text(grid.counts.tolist())
    yield ', "values": ['
    for row in range(grid.shape[0]):
        yield (",\n  [" if row else "\n  [") + ",".join(_json_row(grid.values[row], grid.counts[row])) + "]"
    yield "]}"


def _numbers_pieces(panel: Numbers) -> Iterator[str]:
    """Shape, dtype, the indices of each dimension as ``[start, stop, step]``, and all numbers in one list, in C order."""
    head = {
        "kind": "numbers",
        "title": panel.title,
        "shape": panel.values.shape,
        "dtype": panel.values.dtype.name,
        "indices": [[each.start, each.stop, each.step] for each in panel.indices],
        **({"dimensions": panel.dimensions} if panel.dimensions else {}),
    }
    yield json_text(head)[:-1] + ', "values": ['
    for number, (_, texts) in enumerate(panel.lines() if panel.values.size else ()):
        yield (",\n  " if number else "\n  ") + ", ".join(map(_json_number, texts))
    yield "]}"


def _json_number(text: str) -> str:
    special = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"', "True": "true", "False": "false"}
    return special.get(text) or (json_text(text) if text[-1] in "j)" else text)


def _json_row(values: Array, counts: Array) -> list[str]:
    texts = _texts(values)
    for column in np.flatnonzero(~np.isfinite(values)).tolist():
        texts[column] = json_text(float(values[column]))
    for column in np.flatnonzero(counts == 0).tolist():
        texts[column] = "null"
    return texts


def _panel(panel: Any) -> dict[str, Any]:
    for kind, fields in _FIELDS.items():
        if isinstance(panel, kind):
            return {"kind": kind.__name__.lower(), **{name: _known(getattr(panel, name)) for name in ("title", *fields)}}
    table: Table = panel.as_table()  # a panel of a plugin's own
    rows = _known(table.rows)
    return {"kind": "table", "of": type(panel).__name__, "title": table.title, "columns": table.columns, "rows": rows}


def _known(value: Any) -> Any:
    """*value* with ``None`` for each number that is NaN."""
    if isinstance(value, np.ndarray):
        return _known(value.tolist()) if value.dtype.kind == "f" and np.isnan(value).any() else value
    if isinstance(value, Mapping):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(each) for each in value]
    return None if isinstance(value, (float, np.floating)) and math.isnan(value) else value


_FIELDS: dict[type, tuple[str, ...]] = {
    Histogram: ("xlabel", "edges", "counts", "below", "above", "nan", "log", "marks", "summary", "curves"),
    Line: ("xlabel", "ylabel", "x", "xticks", "y", "log", "marks", "flags", "xlog", "xmarks"),
    Scatter: ("xlabel", "ylabel", "x", "y", "names", "groups", "log", "marks", "xlog", "xmarks"),
    Band: ("ylabel", "labels", "levels", "values", "flags", "bend", "limits"),
    Ridges: ("xlabel", "labels", "edges", "shares", "flags", "bend"),
    Bar: ("ylabel", "labels", "values", "marks", "flags", "bend"),
    Boxes: ("ylabel", "labels", "values", "flags"),
    Table: ("columns", "rows"),
    Text: ("text",),
    Image: ("caption", "rgb"),
}
