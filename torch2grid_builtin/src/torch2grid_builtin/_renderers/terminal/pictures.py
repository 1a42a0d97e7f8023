"""Heatmaps and images in a terminal, with what their colours mean."""

from __future__ import annotations

import numpy as np

from torch2grid_builtin._renderers.numbers import number, percent
from torch2grid_builtin._renderers.terminal.text import Screen, fit, title_lines, wrap
from torch2grid_core.grids import EMPTY, NOT_FINITE, OVER, UNDER, colormap, default_map, half_blocks, half_blocks_rgb
from torch2grid_core.pages import Heatmap, Image, Marginal
from torch2grid_core.text import visible

_BAR = 16  # characters of the colour bar


def heatmap_lines(panel: Heatmap, screen: Screen) -> list[str]:
    """The title, the picture, its colour bar with the limits, and what a cell is."""
    grid, scale = panel.grid, panel.scale
    lines = title_lines(panel.title, screen)
    if not grid.values.size:
        return [*lines, "no cells"]
    lines += half_blocks(grid, scale, screen.width, screen.rows, screen.color, screen.colormap)
    label = panel.label or grid.cell_text()
    facts = [f"{grid.shape[0]}×{grid.shape[1]} cells", *(part.strip() for part in label.split(","))]
    facts += [_largest(side, each) for side, each in (("row", panel.row_marginal), ("column", panel.column_marginal)) if each]
    drawn = grid.drawn()
    legend = [_bar(panel, screen), *(["symlog"] if scale.kind == "symlog" else [])]
    for share, rgb, word, limit in ((scale.over, OVER, "above", scale.high), (scale.under, UNDER, "below", scale.low)):
        if share:
            legend.append(_swatch(f"{percent(share)} {word} {number(limit)}", rgb, screen))
    lost = int(np.count_nonzero(~np.isfinite(drawn)))
    if lost:
        legend.append(_swatch(f"{lost:,} NaN or Inf", NOT_FINITE, screen, "!"))
    if len(drawn) < grid.values.size:
        legend.append(_swatch("no weight", EMPTY, screen, "(space)"))
    return (
        lines + wrap(legend, screen.width) + [screen.dim(line) for line in wrap(_fitting(facts, screen), screen.width, " · ")]
    )


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
