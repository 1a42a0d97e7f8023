"""Histograms, bars, quantiles and pictures by block characters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np

from torch2grid_builtin._renderers.numbers import bent, evenly, number, over_bars, percent, share_between, unbent
from torch2grid_builtin._renderers.terminal.text import Screen, fit, padded, title_lines, wrap
from torch2grid_core import Grid
from torch2grid_core.grids import character_cells, colormap, default_map, half_blocks, half_blocks_rgb, signals
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Histogram, Image, Marginal, Ridges
from torch2grid_core.text import display_width, visible

Array = np.ndarray[Any, Any]
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_LEFT_EIGHTHS = " ▏▎▍▌▋▊▉█"
BLUE, RED = (77, 131, 196), (201, 106, 74)
_HEIGHTS = " ▁▂▃▄▅▆▇█"
_NESTED = "·─━█"  # from the outermost quantiles to the inner ones
_BAR = 16  # characters of the colour bar
_SIGNS = "•×+◦"  # of curves over bars


def histogram_lines(panel: Histogram, screen: Screen) -> list[str]:
    """Bars under the title, curves as signs over them, an axis with its ends and 0, what lies outside, and the figures."""
    lines = title_lines(panel.title, screen)
    counts = np.asarray(panel.counts, dtype=np.int64)
    if not len(counts):
        return [*lines, "no bars"]
    group = math.ceil(len(counts) / screen.width)
    starts = np.arange(0, len(counts), group)
    heights = np.add.reduceat(counts, starts).astype(np.float64)
    repeat = max(1, min(screen.width // len(heights), 4))
    curves = [np.add.reduceat(np.asarray(values, dtype=np.float64), starts) for values in panel.curves.values()]
    if panel.log:
        heights = np.where(heights > 0, np.log10(np.maximum(heights, 1)) + 0.3, 0)
        curves = [np.log10(np.maximum(over_bars(values, log=True), 0.5)) + 0.3 for values in curves]
    width, rows = len(heights) * repeat, max(4, min(10, screen.rows - 4))
    peak = int(np.add.reduceat(counts, starts).max())
    lines.append(screen.dim(fit(f"{peak:,} in the highest bar" + (", log heights" if panel.log else ""), screen.width)))
    top = max(float(np.nanmax(each, initial=0.0)) for each in (heights, *curves))
    columns = _columns(np.repeat(heights, repeat), rows, top)
    lines += [screen.tinted(row, BLUE) for row in _crossed(columns, [np.repeat(each, repeat) for each in curves], top)]
    edges = np.append(np.asarray(panel.edges)[starts], panel.edges[-1])
    lines += _axis(edges, width, repeat)
    outside = [("below", panel.below), ("above", panel.above), ("NaN", panel.nan)]
    notes = [f"{count:,} {word}" for word, count in outside if count]
    notes += [fit(f"{name} {text}", screen.width) for name, text in panel.summary.items()]
    keys = [screen.dim(fit(f"{sign} {name}", screen.width)) for sign, name in zip(cycle(_SIGNS), panel.curves, strict=False)]
    return lines + keys + wrap(notes, screen.width, " · ") + mark_lines(panel.marks, screen)


def _crossed(lines: list[str], curves: list[Array], top: float) -> list[str]:
    """*lines* of characters with a sign of each curve in each column, as high as *top* is at the first of them."""
    cells = [list(line.ljust(len(curves[0]))) for line in lines] if curves and top > 0 else []
    for sign, values in zip(cycle(_SIGNS), curves, strict=False):
        for column in np.flatnonzero(np.isfinite(values)).tolist() if cells else ():
            row = min(int(values[column] / top * len(lines)), len(lines) - 1)
            cells[len(lines) - 1 - row][column] = sign
    return ["".join(line).rstrip() for line in cells] or lines


def _columns(heights: Array, rows: int, top: float) -> list[str]:
    """Heights, of which *top* would fill them, as *rows* lines of eighth blocks; a bar that is not zero is never invisible."""
    eighths = np.zeros(len(heights), np.int64) if top <= 0 else np.rint(heights / top * rows * 8).astype(np.int64)
    eighths = np.where((heights > 0) & (eighths == 0), 1, eighths)
    return [
        "".join(_EIGHTHS[level] for level in np.clip(eighths - 8 * row, 0, 8).tolist()).rstrip()
        for row in range(rows - 1, -1, -1)
    ]


def _axis(edges: Array, width: int, repeat: int) -> list[str]:
    """A rule with a mark below 0, and the numbers at its ends and at 0."""
    low, high = number(float(edges[0])), number(float(edges[-1]))
    rule, labels = ["─"] * width, low.ljust(max(width - len(high), len(low) + 1)) + high
    if edges[0] < 0 < edges[-1]:
        place = min(int(np.searchsorted(edges, 0, side="right")) - 1, len(edges) - 2) * repeat + repeat // 2
        rule[place] = "┴"
        if labels[max(place - 1, 0) : place + 2].strip() == "":
            labels = labels[:place] + "0" + labels[place + 1 :]
    return ["".join(rule), labels]


def mark_lines(marks: Mapping[str, float], screen: Screen) -> list[str]:
    """Marks that do not say their value already."""
    texts = [name if _has_digit(name) else f"{name} {number(value)}" for name, value in marks.items() if name != "0"]
    return [screen.dim(line) for line in wrap([fit(text, screen.width) for text in texts], screen.width, " · ")]


def _has_digit(name: str) -> bool:
    return any(char.isdigit() for char in name)


def bar_lines(panel: Bar, screen: Screen) -> list[str]:
    """A line for each label: the label, a bar from 0, the value."""
    lines = title_lines(panel.title, screen)
    values = np.asarray(panel.values, dtype=np.float64)
    texts = [number(float(value)) for value in values]
    names = _names(panel)
    label, size = _label_width(names, screen), max(map(len, texts), default=0)
    room = max(8, screen.width - label - size - 2)
    finite = values[np.isfinite(values)]
    low, high = min(float(finite.min(initial=0.0)), 0.0), max(float(finite.max(initial=0.0)), 0.0)
    if panel.bend:
        values, low, high = bent(values, panel.bend), float(bent(low, panel.bend)), float(bent(high, panel.bend))
    zero = round(float(share_between(0.0, low, high)) * room)
    for name, value, text in zip(names, values.tolist(), texts, strict=True):
        bar = ""
        if math.isfinite(value):
            length = abs(float(share_between(value, low, high)) * room - zero)
            if value >= 0:
                full, rest = divmod(min(round(length * 8), 8 * (room - zero)), 8)
                bar = " " * zero + screen.tinted(("█" * full + _LEFT_EIGHTHS[rest]).rstrip(), BLUE)
            else:
                full = min(round(length), zero)
                bar = " " * (zero - full) + screen.tinted("█" * full, RED)
        lines.append(f"{padded(fit(name, label), label)} {padded(bar, room)} {text.rjust(size)}".rstrip())
    if panel.ylabel:
        lines.append(screen.dim(fit(f"{panel.ylabel}, asinh axis" if panel.bend else panel.ylabel, screen.width)))
    return lines + mark_lines(panel.marks, screen)


def _names(panel: Bar | Band | Boxes | Ridges) -> tuple[str, ...]:
    """The labels, and behind them what is wrong there."""
    return tuple(f"{name} ({panel.flags[i]})" if i in panel.flags else name for i, name in enumerate(panel.labels))


def _label_width(labels: tuple[str, ...], screen: Screen) -> int:
    return min(max((display_width(fit(label, 200)) for label in labels), default=0), max(12, screen.width // 3))


def quantile_lines(panel: Band | Boxes, screen: Screen) -> list[str]:
    """A line for each label: nested quantiles from thin to thick, ``│`` at the median, on one axis."""
    lines = title_lines(panel.title, screen)
    levels = panel.levels if isinstance(panel, Band) else (0.0, 0.25, 0.5, 0.75, 1.0)
    values = np.asarray(panel.values, dtype=np.float64)
    names = _names(panel)
    label = _label_width(names, screen)
    room = max(16, screen.width - label - 1)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return [*lines, "no finite quantile", *(fit(names[column], screen.width) for column in panel.flags)]
    limits = panel.limits if isinstance(panel, Band) else None
    low, high = limits or (float(finite.min()), float(finite.max()))
    bend = panel.bend if isinstance(panel, Band) else 0.0
    if bend:
        values, low, high = bent(values, bend), float(bent(low, bend)), float(bent(high, bend))
    for column, name in enumerate(names):
        lines.append(f"{padded(fit(name, label), label)} {_nested(values[:, column], low, high, room, screen)}".rstrip())
    blank = " " * (label + 1)
    edges = evenly(low, high, room + 1)
    lines += [screen.dim(blank + text) for text in _axis(unbent(edges, bend) if bend else edges, room, 1)]
    shown = levels if isinstance(panel, Band) else ()
    words = ", ".join(f"{100 * level:g} %" for level in shown) or "whiskers, quartiles, median"
    axis = f"{panel.ylabel}, asinh axis" if bend else panel.ylabel
    return [*lines, *(screen.dim(line) for line in wrap(f"{axis}: {words}".split(" "), screen.width, " "))]


def ridge_lines(panel: Ridges, screen: Screen) -> list[str]:
    """A line for each label: how many of its values are where, as heights of blocks, all to one scale and on one axis."""
    lines = title_lines(panel.title, screen)
    names = _names(panel)
    label = _label_width(names, screen)
    shares, edges = np.asarray(panel.shares, dtype=np.float64), np.asarray(panel.edges, dtype=np.float64)
    bars = shares.shape[1]
    if not bars:
        return [*lines, "no distribution"]
    joined = -(-bars // max(16, screen.width - label - 1))
    starts = np.arange(0, bars, joined)
    sums = np.add.reduceat(shares, starts, axis=1)
    highest = float(np.nanmax(sums, initial=0.0)) or 1.0
    for name, row in zip(names, sums, strict=True):
        if np.isfinite(row).any():
            levels = np.ceil(np.nan_to_num(row) / highest * (len(_HEIGHTS) - 1)).astype(int).tolist()
            drawn = screen.tinted("".join(_HEIGHTS[level] for level in levels).rstrip(), BLUE)
        else:
            drawn = "–"
        lines.append(f"{padded(fit(name, label), label)} {drawn}".rstrip())
    blank = " " * (label + 1)
    lines += [screen.dim(blank + text) for text in _axis(np.append(edges[starts], edges[-1]), len(starts), 1)]
    return [*lines, screen.dim(fit(f"{panel.xlabel}, asinh axis" if panel.bend else panel.xlabel, screen.width))]


def _nested(values: Array, low: float, high: float, room: int, screen: Screen) -> str:
    if not np.isfinite(values).all():
        return "–"
    cells = [" "] * room
    places = np.clip((share_between(values, low, high) * (room - 1)).round().astype(int), 0, room - 1).tolist()
    pairs = len(places) // 2
    for depth in range(pairs):
        char = _NESTED[max(len(_NESTED) - pairs + depth, 0)]
        for place in range(places[depth], places[-1 - depth] + 1):
            cells[place] = char
    if len(places) % 2:
        cells[places[pairs]] = "│"
    before, middle, after = "".join(cells).rstrip().partition("│")
    return screen.tinted(before, BLUE) + (screen.tinted(middle, RED) + screen.tinted(after, BLUE) if middle else "")


def heatmap_lines(panel: Heatmap, screen: Screen) -> list[str]:
    """The title, the picture, its colour bar with the limits, and what a cell is."""
    grid, scale = panel.grid, panel.scale
    lines = title_lines(panel.title, screen)
    if not grid.values.size:
        return [*lines, "no cells"]
    lines += half_blocks(grid, scale, screen.width, screen.rows, screen.color, screen.colormap)
    label = panel.label or grid.cell_text()
    facts = [f"{grid.shape[0]}×{grid.shape[1]} cells", _character(grid, screen), *(part.strip() for part in label.split(","))]
    named = (("rows", panel.row_names), ("columns", panel.column_names)) if panel.column_names else ()
    facts += [f"{side}: {visible(names[0][1])} … {visible(names[-1][1])}" for side, names in named if names]
    facts += [_largest(side, each) for side, each in (("row", panel.row_marginal), ("column", panel.column_marginal)) if each]
    facts += _indices(panel)
    drawn = grid.drawn()
    legend = [_bar(panel, screen), *(["asinh"] if scale.kind == "asinh" else [])]
    marks = signals(screen.colormap or default_map(scale))
    beyond = ((scale.over, marks.over, "above", scale.high), (scale.under, marks.under, "below", scale.low))
    for share, rgb, word, limit in beyond:
        if share:
            legend.append(_swatch(f"{percent(share)} {word} {number(limit)}", rgb, screen))
    lost = int(np.count_nonzero(~np.isfinite(drawn)))
    if lost:
        legend.append(_swatch(f"{lost:,} NaN or Inf", marks.not_finite, screen, "!"))
    if len(drawn) < grid.values.size:
        legend.append(_swatch("no figure" if panel.column_names else "no weight", marks.empty, screen, "(space)"))
    return (
        lines + wrap(legend, screen.width) + [screen.dim(line) for line in wrap(_fitting(facts, screen), screen.width, " · ")]
    )


def _character(grid: Grid, screen: Screen) -> str:
    """How many cells a character stands for, down × across, or how many characters a cell takes across."""
    down, across = character_cells(grid.shape, screen.width, screen.rows)
    if across >= 1:
        return f"{down}×{across} cells a character"
    return f"a cell is {1 / across} characters wide, {float(1 / down):g} high"


def _indices(panel: Heatmap) -> list[str]:
    """The first and the last index of each side, of a part of a tensor, and of a wrapped vector that of each row's first."""
    found = []
    for side, what, indices, at in (
        ("rows", panel.rows, panel.row_indices, panel.row_index),
        ("columns", panel.columns, panel.column_indices, panel.column_index),
    ):
        axis = side == "columns"
        if indices is not None and what:
            first, last = at(0), at((panel.grid.shape[axis] - 1) * panel.grid.cell[axis])
            found.append(f"{side}: {what} {first}" + (f" … {last}" if last != first else ""))
    return found


def _largest(side: str, marginal: Marginal) -> str:
    """Which row or column stands out: ``largest |max| of a row: 3.1 (row 17)``; nothing where no value is known."""
    known = np.where(np.isnan(marginal.values), -np.inf, marginal.values)
    place = int(np.argmax(known))
    if np.isneginf(known[place]):
        return ""
    return f"largest {visible(marginal.label)} of a {side}: {number(float(known[place]))} ({side} {place})"


def _fitting(facts: list[str], screen: Screen) -> list[str]:
    return [fit(fact, screen.width) for fact in facts if fact]


def _swatch(text: str, rgb: tuple[int, int, int], screen: Screen, sign: str = "") -> str:
    if screen.color:
        return f"{screen.tinted('■', rgb)} {text}"
    return f"{sign} {text}" if sign else text


def _bar(panel: Heatmap, screen: Screen) -> str:
    """``−0.12 ████ 0.12`` in the map's colours; the shades without colour, by distance from the middle."""
    scale = panel.scale
    low, high = number(scale.low), number(scale.high)
    if screen.color:
        table = colormap(screen.colormap or default_map(scale))
        width = max(4, min(_BAR, screen.width - len(low) - len(high) - 2))
        levels = table[np.linspace(0, len(table) - 1, 2 * width).astype(int)].tolist()
        cells = ["\x1b[38;2;{};{};{};48;2;{};{};{}m▌".format(*a, *b) for a, b in zip(levels[::2], levels[1::2], strict=True)]
        bar = "".join(cells) + "\x1b[0m"
    else:
        bar = "█▓▒░··░▒▓█" if scale.diverging else "·░▒▓█"
    return f"{low} {bar} {high}"


def image_lines(panel: Image, screen: Screen) -> list[str]:
    """A picture in colours; where there are none, its size and mean colour."""
    lines = title_lines(panel.title, screen)
    if screen.color and panel.rgb.size:
        lines += half_blocks_rgb(panel.rgb, screen.width, screen.rows)
    else:
        rows, columns, *mean = panel.as_table().rows[0]
        text = f"{rows}×{columns} pixels; mean red, green, blue: " + ", ".join(f"{float(each or 0):.0f}" for each in mean)
        lines += wrap(text.split(" "), screen.width, " ")
    return lines + ([screen.dim(line) for line in wrap(panel.caption.split(" "), screen.width, " ")] if panel.caption else [])
