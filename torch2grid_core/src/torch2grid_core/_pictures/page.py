"""A page is plain data: what to show, not how. Renderers turn it into a file, a terminal screen or a notebook cell."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._display import as_html, drawn_into, saved_as
from torch2grid_core._errors import UsageError
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.origin import PageOrigin
from torch2grid_core._pictures.scale import ColorScale
from torch2grid_core._pictures.validation import (
    array_of,
    check_bend,
    check_count,
    check_flag,
    check_flags,
    check_limits,
    check_marks,
    check_named_texts,
    check_shape,
    check_text,
    check_type,
    edges_of,
    ends_of,
    items_of,
    keep,
    placed_texts,
    rows_of,
    series_of,
    stretches,
    texts_of,
)
from torch2grid_core._text import LIMIT, counted, display_width, visible

Cell = str | int | float | bool | None
_GAP = "  "
_LONG, _EXACT = 1e6, 1e15  # from where on a number with decimals, and a whole one, has an exponent
_TITLE = 1000  # characters of a title: it may hold several names
_KINDS = ("picture", "table")


def in_a_line(self: Any) -> str:
    """What a panel has as ``__repr__``: its kind, its title and how much it holds."""
    title = f" {visible(self.title, 80)!r}" if self.title else ""
    return f"<{type(self).__name__}{title}: {self._extent()}>"


@dataclass(frozen=True, eq=False)
class Table:
    """Rows under named columns.

    Args:
        columns: their names.
        rows: of any iterables, which become tuples.
        title: of the table.
        formats: column → ``format()`` specification for its numbers. Fixed places (``.4f``) give way to an exponent where a
            number would be 0, or is a million and more.
        totals: how many rows at the end sum up the others. A DataFrame leaves these out.

    Raises:
        ValueError: a row has not one cell for each column; a cell is not a text, number, truth value or ``None``; a format is
            for a column that is not there, or does not fit its numbers.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)
    totals: int = 0

    _repr_html_ = as_html

    def __post_init__(self) -> None:
        check_type("totals", self.totals, int)
        keep(self, columns=texts_of("the columns", self.columns))
        keep(self, rows=rows_of(self.rows, len(self.columns)))
        check_text(title=self.title)
        check_type("formats", self.formats, Mapping)
        for name, spec in self.formats.items():
            if name not in self.columns:
                raise ValueError(f"formats: {str(name)[:40]!r} is not one of the columns {', '.join(self.columns)[:200]}")
            if not isinstance(spec, str) or not (_formats(0, spec) or _formats(0.0, spec)):
                raise ValueError(
                    f"formats: {str(spec)[:40]!r} of column {name[:40]!r} is not a format of a number, such as '.3g'"
                )
            if not _formats(0.5, spec):
                place = self.columns.index(name)
                if any(isinstance(row[place], float) and math.isfinite(row[place]) for row in self.rows):  # type: ignore[arg-type]
                    raise ValueError(f"formats: {spec[:40]!r} is for whole numbers, and column {name[:40]!r} has others")

    __repr__ = in_a_line

    def _extent(self) -> str:
        return f"{counted(len(self.rows), 'row')}, {counted(len(self.columns), 'column')}"

    def as_table(self) -> Table:
        return self

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``, numbers as they are.

        ``None``, where there is no figure, is NaN among numbers.

        Rows of totals are left out: pandas sums up by itself, and would count them twice.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise UsageError("a DataFrame needs pandas, which is not installed: pip install pandas") from None
        rows = self.rows[: max(len(self.rows) - self.totals, 0)]
        columns = zip(*rows, strict=True) if rows else [()] * len(self.columns)
        found = {}
        for place, values in enumerate(columns):
            gaps = [math.nan if value is None else value for value in values] if _numeric(values) else values
            found[place] = pd.Series(gaps, dtype=None if values else object)
        return pd.DataFrame(found).set_axis(list(self.columns), axis="columns")

    def texts(self) -> list[tuple[str, ...]]:
        """Return the rows as text, numbers by their column's format."""
        return list(zip(*self.column_texts(), strict=True))

    def column_texts(self) -> list[list[str]]:
        """Return the same, column by column."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.columns)
        return [_texts(values, self.formats.get(name, "")) for name, values in zip(self.columns, columns, strict=True)]


def _numeric(values: Sequence[Cell]) -> bool:
    """True where a column holds numbers alone, and gaps."""
    return all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values)


def _formats(number: float, spec: str) -> bool:
    """True where *number* can be written by *spec*."""
    try:
        format(number, spec)
    except (ValueError, OverflowError):
        return False
    return True


def _texts(values: Sequence[Cell], spec: str) -> list[str]:
    if spec and {*map(type, values)} == {float} and all(map(math.isfinite, values)):  # type: ignore[arg-type]
        texts = [format(value, spec) for value in values]  # what most columns are, in half the time
        return [
            text if text.strip("-0.") and -_LONG < value < _LONG else _seen(text, value, spec)  # type: ignore[operator]
            for text, value in zip(texts, values, strict=True)
        ]
    return [_cell_text(value, spec) for value in values]


def _cell_text(value: Cell, spec: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and spec:
        return _seen(format(value, spec), value, spec)
    return str(value)


def _seen(text: str, value: Any, spec: str) -> str:
    """*text*, or a few digits and an exponent where a format of fixed places has too few, or writes more than are known.

    ``-4e-05`` for ``-0.0000``, and ``1.986e+18`` for ``1986317943472788480.0000``. Zero has no sign.
    """
    if not value:
        return text.lstrip("-")
    if not text.strip("-0."):
        return f"{value:.1g}"
    is_long = spec[-1:] in ("f", "F") and abs(value) >= (_LONG if "." in text else _EXACT)
    return f"{value:.4g}" if is_long else text


@dataclass(frozen=True, eq=False)
class Marginal:
    """A value for each row, or each column, of a grid's cells, drawn beside the heatmap.

    Args:
        values: float, (rows,) or (columns,).
        label: what a value is.
        names: (place in cells, text), written at the bars that they name while there is room, in this order.
    """

    values: Array
    label: str = "|max|"
    names: tuple[tuple[float, str], ...] = ()

    def __post_init__(self) -> None:
        keep(self, values=array_of("the values of a marginal", self.values), names=placed_texts("names", self.names))
        check_text(label=self.label)


@dataclass(frozen=True, eq=False)
class Heatmap:
    """A grid in colours.

    Args:
        grid: the cells.
        scale: limits and shape of the colours.
        title: of the panel.
        rows: what an index along the rows counts; empty: the side has no ticks.
        columns: the same along the columns.
        label: text of the colour bar: what a cell is.
        boundaries: draw the regions' outlines.
        labels: name the regions where there is room.
        row_names: (place in cells from the top, text), written beside the picture instead of indices.
        row_marginal: a value for each row of cells, as long as the side.
        column_marginal: a value for each column of cells.
        row_indices: the indices that *rows* counts, for a part of a tensor; ``None``: from 0 upwards.
        column_indices: the indices that *columns* counts.
        column_names: (place in cells from the left, text), written below the picture.
        steady: the colour bar keeps room for all that it may have to say, so that it stays in its place from frame to frame.
        row_runs: (first cell, indices) of each stretch that *rows* counts anew, for matrices side by side; empty: one stretch.
        column_runs: the same for *columns*.
        stand_out: rows of cells whose names have room before those of others, the most striking first.

    Raises:
        ValueError: a marginal has another length, or a field another type.
    """

    grid: Grid
    scale: ColorScale
    title: str = ""
    rows: str = ""
    columns: str = ""
    label: str = ""
    boundaries: bool = False
    labels: bool = False
    row_names: tuple[tuple[float, str], ...] = ()
    row_marginal: Marginal | None = None
    column_marginal: Marginal | None = None
    row_indices: range | None = None
    column_indices: range | None = None
    column_names: tuple[tuple[float, str], ...] = ()
    steady: bool = False
    row_runs: tuple[tuple[int, range], ...] = ()
    column_runs: tuple[tuple[int, range], ...] = ()
    stand_out: tuple[int, ...] = ()

    __repr__ = in_a_line

    def _extent(self) -> str:
        return f"{self.grid.shape[0]:,}×{self.grid.shape[1]:,} cells"

    def __post_init__(self) -> None:
        check_type("grid", self.grid, Grid)
        check_type("scale", self.scale, ColorScale)
        check_limits(self.scale.low, self.scale.high, self.scale.kind)
        check_text(title=self.title, rows=self.rows, columns=self.columns, label=self.label)
        check_flag(boundaries=self.boundaries, labels=self.labels, steady=self.steady)
        keep(self, row_names=placed_texts("row_names", self.row_names))
        keep(self, column_names=placed_texts("column_names", self.column_names))
        keep(self, stand_out=items_of("stand_out", self.stand_out, "whole numbers"))
        if {*map(type, self.stand_out)} - {int}:
            raise ValueError("stand_out: whole numbers are needed")
        for name, indices in (("row_indices", self.row_indices), ("column_indices", self.column_indices)):
            if indices is not None:
                check_type(name, indices, range)
        for side, runs, length in zip(("row", "column"), (self.row_runs, self.column_runs), self.grid.shape, strict=True):
            keep(self, **{f"{side}_runs": stretches(f"{side}_runs", runs, length)})
        for side, marginal, length in zip(
            ("row", "column"), (self.row_marginal, self.column_marginal), self.grid.shape, strict=True
        ):
            if marginal is None:
                continue
            check_type(f"{side}_marginal", marginal, Marginal)
            if np.shape(marginal.values) != (length,):
                raise ValueError(f"{side}_marginal has shape {np.shape(marginal.values)}, the grid {length} {side}s")

    @property
    def ranked_row_names(self) -> tuple[tuple[float, str], ...]:
        """``row_names`` in the order in which they get room: those of rows that stand out first."""
        rank = {row: place for place, row in enumerate(self.stand_out)}
        return tuple(sorted(self.row_names, key=lambda name: rank.get(int(name[0]), len(rank))))

    def row_index(self, place: int) -> int:
        """Return the index to write at weight *place* from the top."""
        return _index_at(self.row_indices, place)

    def column_index(self, place: int) -> int:
        """Return the index to write at weight *place* from the left."""
        return _index_at(self.column_indices, place)

    def as_table(self) -> Table:
        rows, columns = self.grid.shape
        step = max(1, math.ceil(math.sqrt(rows * columns / 10_000)))  # a fallback table, not a copy of the picture
        sides = [(side, each) for side, each in (("row", self.row_marginal), ("column", self.column_marginal)) if each]
        named = [{int(place): text for place, text in names} for names in (self.row_names, self.column_names)]
        cells = tuple(
            (
                named[0].get(row, row),
                named[1].get(column, column),
                float(self.grid.values[row, column]),
                int(self.grid.counts[row, column]),
                *(float(each.values[row if side == "row" else column]) for side, each in sides),
            )
            for row in range(0, rows, step)
            for column in range(0, columns, step)
        )
        names = tuple(f"{each.label} of the {side}" for side, each in sides)
        return Table(("row", "column", "value", "weights", *names), cells, self.title)


def _index_at(indices: range | None, place: int) -> int:
    return place if indices is None else indices.start + place * indices.step


@dataclass(frozen=True, eq=False)
class Image:
    """Colours as they are.

    Args:
        rgb: uint8, (rows, columns, 3).
        title: of the panel.
        caption: a line below the picture.

    Raises:
        ValueError: another shape or dtype.
    """

    rgb: Array
    title: str = ""
    caption: str = ""

    __repr__ = in_a_line

    def _extent(self) -> str:
        return f"{self.rgb.shape[0]:,}×{self.rgb.shape[1]:,} pixels"

    def __post_init__(self) -> None:
        keep(self, rgb=array_of("rgb", self.rgb))
        check_shape("rgb", self.rgb, (*np.shape(self.rgb)[:2], 3), "rows, columns and three colours")
        if self.rgb.dtype != np.uint8:
            raise ValueError(f"rgb is of dtype {self.rgb.dtype}, not uint8, from 0 to 255")
        check_text(title=self.title, caption=self.caption)

    def as_table(self) -> Table:
        rows, columns, _ = self.rgb.shape
        means = self.rgb.reshape(-1, 3).mean(axis=0) if self.rgb.size else np.zeros(3)
        entry = (rows, columns, *(float(channel) for channel in means))
        return Table(("rows", "columns", "mean red", "mean green", "mean blue"), (entry,), self.title)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts between edges.

    Args:
        edges: float64, (n+1,).
        counts: int64, (n,).
        title: of the panel.
        xlabel: what the edges are.
        below: count below the first edge.
        above: count above the last edge.
        nan: number of weights that are NaN.
        log: counts on a logarithmic axis.
        marks: named positions, drawn as lines.
        summary: a few named figures, shown in a box.
        curves: name → float64, (n,): what to compare the bars with, such as the counts that a law would give. A count for each
            bar, not necessarily whole, NaN where there is none; drawn as lines over the bars.

    Raises:
        ValueError: edges, counts and curves do not fit; edges fall or are not finite; counts are negative or not whole; a curve
            is below 0.
    """

    edges: Array
    counts: Array
    title: str = ""
    xlabel: str = "weight"
    below: int = 0
    above: int = 0
    nan: int = 0
    log: bool = False
    marks: Mapping[str, float] = field(default_factory=dict)
    summary: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Array] = field(default_factory=dict)

    __repr__ = in_a_line

    def _extent(self) -> str:
        return counted(len(self.counts), "bar")

    def __post_init__(self) -> None:
        keep(self, edges=edges_of(self.edges), counts=array_of("counts", self.counts))
        bars = self.counts.size
        check_shape("counts", self.counts, (bars,), "a count for each bar")
        if self.edges.size or bars:
            check_shape("edges", self.edges, (bars + 1,), f"{bars} counts have one edge more")
        if self.counts.dtype.kind not in "bu" and bars:
            whole = self.counts.astype(np.float64, copy=False)
            if not (np.isfinite(whole).all() and (whole >= 0).all() and (whole == np.floor(whole)).all()):
                raise ValueError("counts: whole numbers of 0 or more are needed")
        check_count(below=self.below, above=self.above, nan=self.nan)
        check_text(title=self.title, xlabel=self.xlabel)
        check_flag(log=self.log)
        check_marks("marks", self.marks)
        check_named_texts("summary", self.summary)
        curves = series_of("curves", "curve", self.curves, bars, f"there are {bars} bars")
        for name, values in curves.items():
            if np.isinf(values).any() or (values < 0).any():
                raise ValueError(f"curve {name!r}: finite numbers of 0 or more are needed, or NaN")
        keep(self, curves=curves)

    def as_table(self) -> Table:
        rows: list[tuple[Cell, ...]] = [
            (float(low), float(high), int(count), *map(float, curves))
            for low, high, count, *curves in zip(
                self.edges[:-1], self.edges[1:], self.counts, *self.curves.values(), strict=True
            )
        ]
        beside = (None,) * len(self.curves)
        if len(self.edges):
            below = (-math.inf, float(self.edges[0]), self.below, *beside)
            rows = [below, *rows, (float(self.edges[-1]), math.inf, self.above, *beside)]
        rows.append((math.nan, math.nan, self.nan, *beside))
        formats = dict.fromkeys(self.curves, ".4g")
        return Table(("from", "to", "weights", *self.curves), tuple(rows), self.title, formats)


@dataclass(frozen=True, eq=False)
class Line:
    """One or more named series over a common x.

    Args:
        x: float64, (n,).
        y: name → float64, (n,), NaN where there is no point.
        title: of the panel.
        xlabel: what x is.
        ylabel: what y is.
        xticks: names of the n places, written instead of numbers; empty: the numbers of x.
        log: a logarithmic y axis.
        marks: named levels of y, drawn as lines across.
        flags: place (0 … n−1) → what is wrong there, as ``3 NaN``, marked upright.
        xlog: a logarithmic x axis, which shows no point at 0 or below.
        xmarks: named places on the x axis, drawn as upright lines.

    Raises:
        ValueError: a series or the names have another length than x.
    """

    x: Array
    y: Mapping[str, Array]
    title: str = ""
    xlabel: str = ""
    ylabel: str = ""
    xticks: Sequence[str] = ()
    log: bool = False
    marks: Mapping[str, float] = field(default_factory=dict)
    flags: Mapping[int, str] = field(default_factory=dict)
    xlog: bool = False
    xmarks: Mapping[str, float] = field(default_factory=dict)

    __repr__ = in_a_line

    def _extent(self) -> str:
        return f"{len(self.y):,} series of {counted(len(self.x), 'place')}"

    def __post_init__(self) -> None:
        keep(self, x=array_of("x", self.x))
        places = self.x.size
        check_shape("x", self.x, (places,), "one place for each point")
        keep(self, y=series_of("y", "series", self.y, places, f"x has {places} places"))
        check_text(title=self.title, xlabel=self.xlabel, ylabel=self.ylabel)
        check_flag(log=self.log, xlog=self.xlog)
        keep(self, xticks=texts_of("xticks", self.xticks))
        check_marks("marks", self.marks)
        check_marks("xmarks", self.xmarks)
        check_flags(self.flags, places)
        if len(self.xticks) not in (0, places):
            raise ValueError(f"{len(self.xticks)} xticks name {places} places of x")

    def as_table(self) -> Table:
        columns = (self.xlabel or "x", *self.y)
        x: Sequence[Cell] = list(self.xticks) or [float(each) for each in self.x]
        series = [[float(each) for each in values] for values in self.y.values()]
        return _flagged(columns, list(zip(x, *series, strict=True)), self.title, self.flags)


@dataclass(frozen=True, eq=False)
class Scatter:
    """Points by two figures, for example one point for each tensor or unit.

    Args:
        x: float64, (n,). No point is shown where x or y is NaN.
        y: float64, (n,).
        title: of the panel.
        xlabel: what x is.
        ylabel: what y is.
        names: of the n points, shown where there is room or where one is pointed at.
        groups: the group of each point, which has a colour and a line in the legend.
        log: a logarithmic y axis, which shows no point at 0 or below.
        xlog: the same for x.
        marks: named levels of y, drawn as lines across.
        xmarks: named places on the x axis, drawn as upright lines.

    Raises:
        ValueError: lengths differ.
    """

    x: Array
    y: Array
    title: str = ""
    xlabel: str = ""
    ylabel: str = ""
    names: Sequence[str] = ()
    groups: Sequence[str] = ()
    log: bool = False
    xlog: bool = False
    marks: Mapping[str, float] = field(default_factory=dict)
    xmarks: Mapping[str, float] = field(default_factory=dict)

    __repr__ = in_a_line

    def _extent(self) -> str:
        return counted(len(self.x), "point")

    def __post_init__(self) -> None:
        keep(self, x=array_of("x", self.x), y=array_of("y", self.y))
        points = self.x.size
        check_shape("x", self.x, (points,), "a number for each point")
        check_shape("y", self.y, (points,), f"x has {points} points")
        check_text(title=self.title, xlabel=self.xlabel, ylabel=self.ylabel)
        check_flag(log=self.log, xlog=self.xlog)
        check_marks("marks", self.marks)
        check_marks("xmarks", self.xmarks)
        keep(self, names=texts_of("names", self.names), groups=texts_of("groups", self.groups))
        for what, texts in (("names", self.names), ("groups", self.groups)):
            if len(texts) not in (0, points):
                raise ValueError(f"{len(texts)} {what} for {points} points")

    def as_table(self) -> Table:
        texts = [(head, values) for head, values in (("name", self.names), ("group", self.groups)) if values]
        figures = [[float(each) for each in values] for values in (self.x, self.y)]
        columns = (*(head for head, _ in texts), self.xlabel or "x", self.ylabel or "y")
        rows = tuple(zip(*(values for _, values in texts), *figures, strict=True))
        return Table(columns, rows, self.title)


@dataclass(frozen=True, eq=False)
class Band:
    """Quantiles along an axis, drawn as nested bands.

    Args:
        labels: of the places along the axis.
        levels: n of 0…1.
        values: float64, (n, len(labels)).
        title: of the panel.
        ylabel: what a value is.
        flags: place of a label → what is wrong there, as ``3 NaN``, written beside it.
        bend: half-width of the linear middle of an asinh axis; 0: the axis is linear.
        limits: the ends of the axis, where another panel has the same one; ``None``: those of the values.

    Raises:
        ValueError: *values* has another shape; *limits* are not two finite numbers, the second above the first.
    """

    labels: tuple[str, ...]
    levels: tuple[float, ...]
    values: Array
    title: str = ""
    ylabel: str = "weight"
    flags: Mapping[int, str] = field(default_factory=dict)
    bend: float = 0.0
    limits: tuple[float, float] | None = None

    __repr__ = in_a_line

    def _extent(self) -> str:
        return counted(len(self.labels), "place")

    def __post_init__(self) -> None:
        keep(self, labels=texts_of("labels", self.labels), levels=items_of("levels", self.levels, "numbers"))
        levels, values = array_of("levels", self.levels), array_of("values", self.values)
        if levels.size and not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError("levels: numbers from 0 to 1 are needed")
        check_shape("values", values, (len(self.levels), len(self.labels)), "a row for each level, a column for each label")
        keep(self, values=values)
        check_bend(self.bend)
        if self.limits is not None:
            keep(self, limits=ends_of("limits", self.limits))
        check_text(title=self.title, ylabel=self.ylabel)
        check_flags(self.flags, len(self.labels))

    def as_table(self) -> Table:
        columns = ("name", *(f"{level:.1%}" for level in self.levels))
        rows: list[tuple[Cell, ...]] = [
            (name, *(float(each) for each in self.values[:, i])) for i, name in enumerate(self.labels)
        ]
        return _flagged(columns, rows, self.title, self.flags)


@dataclass(frozen=True, eq=False)
class Ridges:
    """Distributions one above the other over one axis, the first label on top.

    Args:
        labels: of the distributions.
        edges: of the bars, float64, (n+1,).
        shares: the share of each label's values that is in each bar, float64, (len(labels), n); NaN where it has none.
        title: of the panel.
        xlabel: what the edges are.
        flags: see ``Band``.
        bend: see ``Band``.

    Raises:
        ValueError: *shares* has another shape.
    """

    labels: tuple[str, ...]
    edges: Array
    shares: Array
    title: str = ""
    xlabel: str = "weight"
    flags: Mapping[int, str] = field(default_factory=dict)
    bend: float = 0.0

    __repr__ = in_a_line

    def _extent(self) -> str:
        return counted(len(self.labels), "ridge")

    def __post_init__(self) -> None:
        keep(self, labels=texts_of("labels", self.labels), edges=edges_of(self.edges), shares=array_of("shares", self.shares))
        wanted = (len(self.labels), max(len(self.edges) - 1, 0))
        check_shape("shares", self.shares, wanted, "a row for each label, a column between each two edges")
        check_bend(self.bend)
        check_text(title=self.title, xlabel=self.xlabel)
        check_flags(self.flags, len(self.labels))

    def as_table(self) -> Table:
        heads = tuple(f"{label} ({self.flags[n]})" if n in self.flags else label for n, label in enumerate(self.labels))
        rows: list[tuple[Cell, ...]] = [
            (float(low), float(high), *(float(each) for each in column))
            for low, high, column in zip(self.edges[:-1], self.edges[1:], np.asarray(self.shares).T, strict=True)
        ]
        return Table(("from", "to", *heads), tuple(rows), self.title)


@dataclass(frozen=True, eq=False)
class Bar:
    """A value for each label.

    Args:
        labels: of the bars.
        values: float64, (len(labels),).
        title: of the panel.
        ylabel: what a value is.
        marks: named levels, drawn as lines across.
        flags: see ``Band``.
        bend: see ``Band``.

    Raises:
        ValueError: *values* has another shape.
    """

    labels: tuple[str, ...]
    values: Array
    title: str = ""
    ylabel: str = ""
    marks: Mapping[str, float] = field(default_factory=dict)
    flags: Mapping[int, str] = field(default_factory=dict)
    bend: float = 0.0

    __repr__ = in_a_line

    def _extent(self) -> str:
        return counted(len(self.labels), "bar")

    def __post_init__(self) -> None:
        keep(self, labels=texts_of("labels", self.labels), values=array_of("values", self.values))
        check_shape("values", self.values, (len(self.labels),), "a value for each label")
        check_bend(self.bend)
        check_text(title=self.title, ylabel=self.ylabel)
        check_marks("marks", self.marks)
        check_flags(self.flags, len(self.labels))

    def as_table(self) -> Table:
        rows = [(label, float(value)) for label, value in zip(self.labels, self.values, strict=True)]
        return _flagged(("name", self.ylabel or "value"), rows, self.title, self.flags)


@dataclass(frozen=True, eq=False)
class Boxes:
    """Five quantiles for each label.

    Args:
        labels: of the boxes.
        values: float64, (5, len(labels)): low whisker, quartiles, high whisker.
        title: of the panel.
        ylabel: what a value is.
        flags: see ``Band``.

    Raises:
        ValueError: *values* has another shape.
    """

    labels: tuple[str, ...]
    values: Array
    title: str = ""
    ylabel: str = "weight"
    flags: Mapping[int, str] = field(default_factory=dict)

    __repr__ = in_a_line

    def _extent(self) -> str:
        return f"{len(self.labels):,} box{'' if len(self.labels) == 1 else 'es'}"

    def __post_init__(self) -> None:
        keep(self, labels=texts_of("labels", self.labels), values=array_of("values", self.values))
        check_shape("values", self.values, (5, len(self.labels)), "five quantiles for each label")
        check_text(title=self.title, ylabel=self.ylabel)
        check_flags(self.flags, len(self.labels))

    def as_table(self) -> Table:
        columns = ("name", "low", "25%", "50%", "75%", "high")
        rows: list[tuple[Cell, ...]] = [
            (name, *(float(each) for each in self.values[:, i])) for i, name in enumerate(self.labels)
        ]
        return _flagged(columns, rows, self.title, self.flags)


def _flagged(columns: Sequence[str], rows: Sequence[tuple[Cell, ...]], title: str, flags: Mapping[int, str]) -> Table:
    """A table with a last column of what is wrong, where anything is."""
    if not flags:
        return Table(tuple(columns), tuple(rows), title)
    told = tuple((*row, flags.get(place, "")) for place, row in enumerate(rows))
    return Table((*columns, "not finite"), told, title)


@dataclass(frozen=True, eq=False)
class Text:
    """Lines of plain text."""

    text: str
    title: str = ""

    __repr__ = in_a_line

    def _extent(self) -> str:
        return counted(len(self.text.splitlines()), "line")

    def __post_init__(self) -> None:
        check_text(text=self.text, title=self.title)

    def as_table(self) -> Table:
        return Table(("text",), tuple((line,) for line in self.text.splitlines()), self.title)


@dataclass(frozen=True, eq=False)
class Page:
    """Something to look at: a name, a title and panels.

    Args:
        name: of the file without ending. It may come from a file, so writers make it safe.
        title: what follows its first ``" · "`` is a subtitle where a renderer has one.
        panels: what is on the page.
        folder: below the output folder.
        columns: panels side by side.
        kind: ``picture`` or ``table`` (a table goes to stdout unless a file is asked for).
        about: the tensor that the page shows, with shape and dtype, for the index of the output folder; for an overview,
            ``tensors``: the names of those it shows.
        formats: always write the page in these formats (``text`` is stdout) instead of the run's; empty: as the run asks.
        data: the JSON object that the page is, where its format is ``json``; ``None``: its panels as tables.
        wide: so many of the first panels each take a whole row, above the columns.
        notes: lines for the person who runs torch2grid, each printed once, on stderr.
        origin: what the page is of. torch2grid fills it in; an author leaves it alone.
        opens: this is the first page where one file takes several.
        frame: (place from 1 upwards, of how many), for a page that is one of a sequence. A mark shows the progress.
        places: (row, column) of each panel in a table; ``()`` for panels one after the other. Columns side by side share a head
            and a scale of counts if their names are the same but for one number, and their notes are the same. A row without
            any column of those above it begins another table.
        row_names: names of the rows of *places*. A renderer that can draws the panels of a named row small, under
            *column_names* and *column_notes*, and those of other rows with their titles.
        column_names: names of the columns of *places*.
        column_notes: what the panels of a column share, such as their limits.
        panel_names: a name of each panel that does not change with the data, by which tables of several are told apart; ``()``
            for their titles.

    Raises:
        ValueError: another kind, a panel without ``as_table``, another number of places than of panels, or a field of another
            type.
    """

    name: str
    title: str
    panels: tuple[Any, ...]
    folder: str = ""
    columns: int = 1
    kind: Literal["picture", "table"] = "picture"
    about: Mapping[str, Any] = field(default_factory=dict)
    formats: tuple[str, ...] = ()
    data: Mapping[str, Any] | None = None
    wide: int = 0
    notes: tuple[str, ...] = ()
    origin: PageOrigin | None = None
    opens: bool = False
    frame: tuple[int, int] | None = None
    places: tuple[tuple[int, int], ...] = ()
    row_names: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    column_notes: tuple[str, ...] = ()
    panel_names: tuple[str, ...] = ()

    _repr_html_ = as_html

    def __post_init__(self) -> None:
        check_text(**{"name of a page": self.name})
        if self.kind not in _KINDS:
            raise ValueError(f"page {self.name[:40]!r} is of kind {str(self.kind)[:40]!r}; it is {' or '.join(_KINDS)}")
        try:
            self._check()
        except ValueError as error:
            raise ValueError(f"page {self.name[:40]!r}: {error}") from None

    def _check(self) -> None:
        check_text(title=self.title, folder=self.folder)
        if callable(getattr(self.panels, "as_table", None)):
            raise ValueError(f"panels is one {type(self.panels).__name__}, not a tuple of panels")
        keep(self, panels=items_of("panels", self.panels, "panels"))
        for panel in self.panels:
            if isinstance(panel, type) or not callable(getattr(panel, "as_table", None)):
                raise ValueError(f"one of its panels is of type {type(panel).__name__}, which has no as_table()")
        check_count(1, columns=self.columns)
        check_count(wide=self.wide)
        check_type("about", self.about, Mapping)
        if self.data is not None:
            check_type("data", self.data, Mapping)
        keep(self, formats=texts_of("formats", self.formats), notes=texts_of("notes", self.notes))
        if self.origin is not None:
            check_type("origin", self.origin, PageOrigin)
        check_flag(opens=self.opens)
        for name in ("row_names", "column_names", "column_notes", "panel_names"):
            keep(self, **{name: texts_of(name, getattr(self, name))})
        if self.panels and len(self.panel_names) not in (0, len(self.panels)):
            raise ValueError(f"{len(self.panel_names)} panel_names name {counted(len(self.panels), 'panel')}")
        if self.frame is not None:
            keep(self, frame=items_of("frame", self.frame, "a place and of how many"))
            if (
                len(self.frame) != 2
                or not all(isinstance(each, int) for each in self.frame)
                or not 1 <= self.frame[0] <= self.frame[1]
            ):
                raise ValueError(f"frame is a place and the number of places, not {str(self.frame)[:40]}")
        keep(
            self, places=tuple(items_of("places", each, "(row, column)") for each in items_of("places", self.places, "places"))
        )
        if {*map(type, chain.from_iterable(self.places))} - {int}:
            raise ValueError("places: whole numbers are needed")
        if self.places and self.panels:
            check_shape("places", array_of("places", self.places), (len(self.panels), 2), "a row and a column for each panel")
            if max(row for row, _ in self.places) >= len(self.row_names):
                raise ValueError(f"places go beyond the {len(self.row_names)} row_names")

    def __repr__(self) -> str:
        name = f"{self.folder}/{self.name}" if self.folder else self.name
        return f"<Page {visible(name, 80)!r}: {counted(len(self.panels), 'panel')}>"

    def plot(self, ax: Any = None, *, colormap: str | None = None) -> Any:
        """Draw the page into *ax*, your matplotlib axes, or into a new figure, and return the axes.

        Nothing else of the figure changes. A single heatmap has no colour bar (``figure.colorbar(ax.images[0], ax=ax)`` makes
        one). Several panels share the place of the axes with their colour bars, fitted to the size that these have now; more
        than nine are one image.

        Args:
            ax: the axes; ``None`` makes a new figure.
            colormap: a name; ``None`` for the default of each scale.

        Raises:
            UsageError: ``torch2grid``, which does the drawing, is not imported, or *ax* is not axes.
        """
        return drawn_into(self, ax, colormap)

    def save(self, path: str | os.PathLike[str], format: str = "") -> list[Path]:
        """Write the page to *path*, a file with a known ending or a folder, and return the paths.

        Args:
            path: the file or the folder.
            format: comma-separated for several; unless given, ``png`` for a picture and ``csv`` for a table in a folder.

        Raises:
            UsageError: the format is unknown, or ``torch2grid``, which does the writing, is not imported.
        """
        written: list[Path] = saved_as(self, path, format)
        return written

    def to_pandas(self) -> Any:
        """Return the only table of the page as a ``pandas.DataFrame``; for a page with one panel, that panel's numbers.

        Raises:
            UsageError: there are several: each of ``panels`` has ``as_table().to_pandas()``.
        """
        tables = [panel for panel in self.panels if isinstance(panel, Table)] or list(self.panels)
        if len(tables) != 1:
            raise UsageError(f"page {self.name!r} has {len(tables)} tables: take one, as in .panels[0].as_table().to_pandas()")
        return tables[0].as_table().to_pandas()

    def of_slice(self, slice: str) -> Page:
        """Return the same page with the *slice* that was taken of each tensor in its title, as ``Settings.slice`` has it.

        A page of one tensor that says what was taken of it (``about["taken"]``) has that in its title.
        """
        told = f" · slice [{slice}]"
        if not slice or self.title.endswith(told) or "taken" in self.about:
            return self
        made = copy(self)
        object.__setattr__(made, "title", f"{self.title}{told}")
        return made

    def with_origin(self, origin: PageOrigin | None) -> Page:
        """Return the same page with *origin*; itself if that is its own."""
        if origin is self.origin:
            return self
        made = copy(self)  # nothing is checked again: this is done for every page, in workers too
        object.__setattr__(made, "origin", origin)
        return made


def table_lines(table: Table) -> list[str]:
    """Return *table* as aligned lines: its title (where it has one), a header, a rule, and a line for each row.

    A column of numbers is aligned at the right, a column of text at the left. Text passes through ``visible``, so a tensor's
    name cannot move the cursor or break the line. Wide characters count two columns.
    """
    columns = []
    for place, (name, texts) in enumerate(zip(table.columns, table.column_texts(), strict=True)):
        texts = [name, *texts]
        joined = "".join(texts)
        if not (joined.isascii() and joined.isprintable()) or max(map(len, texts)) > LIMIT:
            texts = list(map(visible, texts))
        lengths = list(map(len if joined.isascii() else display_width, texts))
        width = max(lengths)
        if any(isinstance(row[place], str) for row in table.rows):
            padded = [text + " " * (width - length) for text, length in zip(texts, lengths, strict=True)]
        else:
            padded = [" " * (width - length) + text for text, length in zip(texts, lengths, strict=True)]
        columns.append([padded[0], "-" * width, *padded[1:]])
    lines = [visible(table.title, _TITLE)] if table.title else []
    return [*lines, *(_GAP.join(row).rstrip() for row in zip(*columns, strict=True))]


def text_lines(page: Page) -> list[str]:
    """Return a page as plain text: its title and every panel as a table."""
    lines = [visible(page.title, _TITLE)] if page.title else []
    for panel in page.panels:
        lines += table_lines(panel.as_table())
    return lines
