"""Lines and points by braille characters: diagrams between two axes of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._renderers.numbers import number, share_between
from torch2grid_builtin._renderers.terminal.plots import BLUE, RED, mark_lines
from torch2grid_builtin._renderers.terminal.text import Screen, fit, title_lines
from torch2grid_core.grids import NOT_FINITE
from torch2grid_core.pages import Line, Scatter
from torch2grid_core.text import display_width

Array = np.ndarray[Any, Any]
_SERIES = (BLUE, RED, (88, 182, 107), (180, 120, 200), (200, 170, 60))
_MARK = (156, 47, 38)
_MOST_FLAGS = 12


def line_lines(panel: Line, screen: Screen) -> list[str]:
    """The series as dots of braille characters, with the ends of both axes; without colour a plot for each."""
    lines = title_lines(panel.title, screen)
    named = {name: np.asarray(values, dtype=np.float64) for name, values in panel.y.items()}
    x = np.asarray(panel.x, dtype=np.float64)
    frame = _frame(panel, x, [*named.values()], screen)
    if frame is None:
        return [*lines, "no finite value", *_flagged(panel, screen)]
    for shown in [named] if screen.color else [{name: values} for name, values in named.items()]:
        lines += _legend(shown, screen)
        lines += frame.framed([frame.curve(x, values) for values in shown.values()], panel.xmarks, screen)
        if panel.flags:
            lines.append(" " * frame.label + screen.tinted(frame.signs(x, panel.flags), NOT_FINITE))
    lines += [screen.dim(line) for line in _x_ends(panel, x, panel.xticks, frame)]
    if panel.ylabel:
        lines.append(screen.dim(fit(panel.ylabel + (", log" if panel.log else ""), screen.width)))
    return lines + _flagged(panel, screen) + mark_lines(panel.marks, screen) + _upright(panel.xmarks, screen)


def scatter_lines(panel: Scatter, screen: Screen) -> list[str]:
    """The points as dots of braille characters, with the ends of both axes; without colour a plot for each group."""
    lines = title_lines(panel.title, screen)
    x, y = np.asarray(panel.x, dtype=np.float64), np.asarray(panel.y, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    frame = _frame(panel, x[known], [y[known]], screen)
    if frame is None or not known.any():
        return [*lines, "no finite point"]
    of = np.array(panel.groups, dtype=object) if panel.groups else np.full(len(x), "", dtype=object)
    groups = {group: (x[known & (of == group)], y[known & (of == group)]) for group in dict.fromkeys(of.tolist())}
    for shown in [groups] if screen.color else [{group: points} for group, points in groups.items()]:
        lines += _legend(shown, screen) if panel.groups else []
        lines += frame.framed([frame.points(*points) for points in shown.values()], panel.xmarks, screen)
    lines += [screen.dim(line) for line in _x_ends(panel, x[known], (), frame)]
    told = [panel.ylabel + (", log" if panel.log else "")] if panel.ylabel else []
    count = f"{int(known.sum()):,} points" + (f", {int((~known).sum()):,} not finite" if not known.all() else "")
    lines.append(screen.dim(fit(" · ".join([*told, count]), screen.width)))
    return lines + mark_lines(panel.marks, screen) + _upright(panel.xmarks, screen)


def _legend(names: Iterable[str], screen: Screen) -> list[str]:
    names = list(names)
    colors = _SERIES * len(names)
    return [f"{screen.tinted('━━', rgb)} {fit(name, screen.width - 3)}" for rgb, name in zip(colors, names, strict=False)]


def _upright(marks: Mapping[str, float], screen: Screen) -> list[str]:
    return [screen.dim(fit(f"│ {name} {number(float(value))}", screen.width)) for name, value in marks.items()]


def _flagged(panel: Line, screen: Screen) -> list[str]:
    """``! fc1.weight: 3 NaN``: the places where something is wrong, and how many more there are than fit."""
    names = list(panel.xticks) or [number(float(each)) for each in panel.x]
    told = [fit(f"! {names[place]}: {text}", screen.width) for place, text in panel.flags.items() if 0 <= place < len(names)]
    more = [f"! and {len(told) - _MOST_FLAGS:,} more"] if len(told) > _MOST_FLAGS else []
    return [screen.tinted(line, NOT_FINITE) for line in [*told[:_MOST_FLAGS], *more]]


def _x_ends(panel: Line | Scatter, x: Array, names: Sequence[str], frame: _Frame) -> list[str]:
    """The ends of the x axis: the first and the last place by name, else by number, or the marks beyond them."""
    at = frame.bent(x)
    places = np.flatnonzero(np.isfinite(at))
    if not len(places):
        return []
    half = max(6, frame.width // 2 - 2)
    texts = []
    for place, end in ((int(places[at[places].argmin()]), frame.first), (int(places[at[places].argmax()]), frame.last)):
        beyond = number(10**end if frame.xlog else end)
        texts.append(fit(beyond if at[place] != end else names[place] if names else number(float(x[place])), half))
    first, last = texts
    indent = " " * frame.label
    line = indent + first + " " * max(1, frame.width - display_width(first) - display_width(last)) + last
    what = panel.xlabel + (", log" if panel.xlog and panel.xlabel else "")
    return [line, indent + fit(what, frame.width)] if what else [line]


def _frame(panel: Line | Scatter, x: Array, series: Sequence[Array], screen: Screen) -> _Frame | None:
    """Where *series* over *x* are drawn, the marks of both axes with them; ``None`` where no value is known."""
    everything = np.concatenate([*series, [*panel.marks.values()]]) if series else np.empty(0)
    known = everything[np.isfinite(everything) & ((everything > 0) | (not panel.log))]
    if not known.size:
        return None
    low, high = float(known.min()), float(known.max())
    label = max(len(number(low)), len(number(high))) + 1
    ends = _bent(np.concatenate([x, [*panel.xmarks.values()]]), panel.xlog)
    ends = ends[np.isfinite(ends)]
    first, last = (float(ends.min()), float(ends.max())) if ends.size else (0.0, 0.0)
    rows = max(4, min(12, screen.rows - 4))
    return _Frame(max(16, screen.width - label), rows, low, high, panel.log, first, last, panel.xlog, label)


def _bent(values: Array, log: bool) -> Array:
    """*values* as they stand on an axis; NaN for what a logarithmic one cannot show."""
    if not log:
        return np.asarray(values, dtype=np.float64)
    with np.errstate(all="ignore"):
        return np.where(values > 0, np.log10(values), np.nan)


@dataclass(frozen=True)
class _Frame:
    """Maps values to dots: two columns and four rows a character (Unicode braille patterns, U+2800).

    low, high: values of y; first, last: of x, as they stand on its axis; label: columns at the left for the ends of y.
    """

    width: int
    rows: int
    low: float
    high: float
    log: bool
    first: float
    last: float
    xlog: bool
    label: int

    _BITS: ClassVar = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))

    def bent(self, x: Array) -> Array:
        return _bent(x, self.xlog)

    def framed(self, series: Sequence[Sequence[tuple[int, int]]], marks: Mapping[str, float], screen: Screen) -> list[str]:
        """Lines of characters of dots, the ends of y at their left; a character has the colour of the last series in it."""
        bits = np.zeros((self.rows, self.width), np.int64)
        owner = np.full((self.rows, self.width), -1)
        for index, dots in enumerate(series):
            for across, down in dots:
                bits[down // 4, across // 2] |= self._BITS[down % 4][across % 2]
                owner[down // 4, across // 2] = index
        upright = {column // 2 for column in self._columns(np.array([*marks.values()], dtype=np.float64)) if column >= 0}
        lines = []
        for row in range(self.rows):
            parts = []
            for column in range(self.width):
                char = chr(0x2800 + int(bits[row, column])) if bits[row, column] else " "
                if char != " ":
                    char = screen.tinted(char, _SERIES[owner[row, column] % len(_SERIES)])
                parts.append(screen.tinted("│", _MARK) if char == " " and column in upright else char)
            edge = number(self.high) if row == 0 else number(self.low) if row == self.rows - 1 else ""
            lines.append(f"{edge.rjust(self.label - 1)}▕{''.join(parts)}".rstrip())
        return lines

    def signs(self, x: Array, places: Iterable[int]) -> str:
        """A line with ``!`` below each of these *places* in *x*."""
        columns = self._columns(x)
        line = [" "] * self.width
        for place in places:
            if 0 <= place < len(columns) and columns[place] >= 0:
                line[round(columns[place] / (2 * self.width - 1) * (self.width - 1))] = "!"
        return "".join(line).rstrip()

    def _columns(self, x: Array) -> list[float]:
        """The column of dots, as a fraction of it, of each *x*; −1 where it has none."""
        at, span = self.bent(x), self.last - self.first
        share = (at - self.first) / span if 0 < span < math.inf else np.where(np.isfinite(at), 0.0, np.nan)
        return [-1.0 if math.isnan(each) else each * (2 * self.width - 1) for each in share.tolist()]

    def _rows(self, values: Array) -> Array:
        """The share of the height of each value, 0 below; NaN where it has none."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        share = share_between(_bent(values, self.log), low, high)
        return np.where(np.isfinite(share), share, np.nan)

    def points(self, x: Array, y: Array) -> list[tuple[int, int]]:
        """(column, row) of a dot for each point."""
        places = zip(self._columns(x), self._rows(y).tolist(), strict=True)
        high = 4 * self.rows
        return [
            (round(column), round((1 - min(max(share, 0), 1)) * (high - 1)))
            for column, share in places
            if column >= 0 and not math.isnan(share)
        ]

    def curve(self, x: Array, values: Array) -> list[tuple[int, int]]:
        """(column, row) of dots: one in each column, between the neighbours in *x*; none nearest to what is not known."""
        wide, high = 2 * self.width, 4 * self.rows
        at = self.bent(x)
        finite = np.flatnonzero(np.isfinite(at))
        order = finite[np.argsort(at[finite], kind="stable")]
        at, share = at[order], self._rows(values[order])
        known = np.isfinite(share)
        if not known.any():
            return []
        span = self.last - self.first
        if 0 < span < math.inf:
            points, columns = (at - self.first) / span * (wide - 1), np.arange(wide)
            dots = np.interp(columns, points[known], share[known])
            dots[~known[np.searchsorted((points[1:] + points[:-1]) / 2, columns)]] = np.nan
            dots[(columns < points[0] - 0.5) | (columns > points[-1] + 0.5)] = np.nan  # the axis goes on to a mark
            dots[np.rint(points[known]).astype(int)] = share[known]  # a peak narrower than a column is seen
        else:
            dots = np.repeat(share[known][-1], wide)
        rows = (1 - np.clip(dots, 0, 1)) * (high - 1)
        return [(column, round(y)) for column, y in enumerate(rows.tolist()) if not math.isnan(y)]
