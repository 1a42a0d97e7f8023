"""Pages in a terminal: pictures by half blocks, plots by block characters, tables that fit its width."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar, Literal

from torch2grid_builtin._renderers.terminal.lines import line_lines, scatter_lines
from torch2grid_builtin._renderers.terminal.plots import (
    bar_lines,
    heatmap_lines,
    histogram_lines,
    image_lines,
    quantile_lines,
    ridge_lines,
)
from torch2grid_builtin._renderers.terminal.text import Screen, beside, table_lines, text_lines
from torch2grid_core import Page, Renderer, Style
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Histogram, Image, Line, Ridges, Scatter, Table, Text
from torch2grid_core.text import visible

Draw = Callable[[Any, Screen], list[str]]
_GAP = 3
_NARROWEST = 32  # columns; a narrower terminal breaks the lines itself
# How a panel is drawn, and how many columns it needs at least to stand beside another.
_PANELS: dict[type, tuple[Draw, int]] = {
    Heatmap: (heatmap_lines, 26),
    Image: (image_lines, 26),
    Histogram: (histogram_lines, 30),
    Line: (line_lines, 60),
    Scatter: (scatter_lines, 60),
    Bar: (bar_lines, 60),
    Band: (quantile_lines, 72),
    Boxes: (quantile_lines, 72),
    Ridges: (ridge_lines, 72),
    Table: (table_lines, 100),
    Text: (text_lines, 60),
}


@dataclass(frozen=True)
class Terminal(Renderer):
    """Pictures, histograms and tables in the terminal."""

    name: ClassVar[str] = "terminal"
    formats: ClassVar[tuple[str, ...]] = ("terminal",)
    screen: ClassVar[tuple[str, ...]] = ("terminal",)

    color: Literal["auto", "always", "never"] = field(
        default="auto", metadata={"help": "24-bit colours; auto: on a terminal, unless NO_COLOR is set or TERM is dumb"}
    )
    lines: int = field(default=0, metadata={"help": "lines of a picture at most; 0: what the terminal has"})

    def __post_init__(self) -> None:
        if self.lines < 0:
            raise ValueError("lines must be 0 or more")

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write *page* as lines of UTF-8, no wider than ``style.width`` or the terminal, or 32 columns."""
        size = shutil.get_terminal_size((100, 40))
        screen = Screen(
            width=max(_NARROWEST, style.width or size.columns),
            rows=self.lines or max(8, min(size.lines - 8, 40)),
            color=self._colors(),
            colormap=style.colormap,
        )
        target.write(("\n".join(page_lines(page, screen)) + "\n").encode("utf-8", "replace"))

    def _colors(self) -> bool:
        if self.color != "auto":
            return self.color == "always"
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        stream = sys.__stdout__
        return bool(os.environ.get("FORCE_COLOR")) or (stream is not None and not stream.closed and stream.isatty())


def page_lines(page: Page, screen: Screen) -> list[str]:
    """The page's title, and its panels in as many columns as fit."""
    lines = [screen.bold(visible(page.title, screen.width)), ""] if page.title else []
    wide, rest = page.panels[: page.wide], page.panels[page.wide :]
    for panel in wide:
        lines += [*panel_lines(panel, screen), ""]
    least = max((_least(panel) for panel in rest), default=screen.width)
    across = max(1, min(page.columns, len(rest), (screen.width + _GAP) // (least + _GAP)))
    width = (screen.width - _GAP * (across - 1)) // across
    small = screen if across == 1 else screen.narrowed(width, rows=max(6, min(screen.rows, width // 3)))
    for start in range(0, len(rest), across):
        blocks = [panel_lines(panel, small) for panel in rest[start : start + across]]
        lines += [*beside(blocks, width, _GAP), ""]
    return lines[:-1] if lines else [visible(page.name)]


def _least(panel: Any) -> int:
    return next((_PANELS[kind][1] for kind in type(panel).__mro__ if kind in _PANELS), 100)


def panel_lines(panel: Any, screen: Screen) -> list[str]:
    """A panel as lines; one of an unknown kind as its table."""
    for kind in type(panel).__mro__:
        if kind in _PANELS:
            return _PANELS[kind][0](panel, screen)
    return table_lines(panel.as_table(), screen)
