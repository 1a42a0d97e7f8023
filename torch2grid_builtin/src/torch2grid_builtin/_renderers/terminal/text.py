"""What a terminal has room for: its size, text that fits, tables by groups of columns, blocks side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch2grid_core.pages import Table, Text
from torch2grid_core.text import display_width, visible

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_GAP = 2
_SHORTEST = 12  # a column of text is not cut below this


@dataclass(frozen=True)
class Screen:
    """width: columns; rows: lines of a picture at most; color: whether escape sequences are understood."""

    width: int
    rows: int
    color: bool
    colormap: str | None = None

    def narrowed(self, width: int, rows: int) -> Screen:
        """The same for a part of the screen."""
        return replace(self, width=width, rows=rows)

    def bold(self, text: str) -> str:
        """*text* in bold, where there are escape sequences."""
        return f"\x1b[1m{text}\x1b[0m" if self.color else text

    def dim(self, text: str) -> str:
        """*text* faint, where there are escape sequences."""
        return f"\x1b[2m{text}\x1b[0m" if self.color else text

    def tinted(self, text: str, rgb: Sequence[int]) -> str:
        """*text* in a 24-bit colour."""
        return "\x1b[38;2;{};{};{}m{}\x1b[0m".format(*rgb, text) if self.color else text


def drawn_width(line: str) -> int:
    """Columns that a line takes, escape sequences not counted."""
    return display_width(_ESCAPE.sub("", line))


def fit(text: str, width: int) -> str:
    """*text* made visible, cut in the middle so that it takes at most *width* columns."""
    text = visible(text, max(width, 3))
    while display_width(text) > width and len(text) > 3:
        text = visible(text, max(len(text) - 1, 3))
    return text if display_width(text) <= width else text[:width]


def padded(line: str, width: int) -> str:
    """*line* with blanks up to *width* columns."""
    return line + " " * max(0, width - drawn_width(line))


def wrap(parts: Iterable[str], width: int, gap: str = "  ") -> list[str]:
    """*parts* one after another, a new line where the next does not fit."""
    lines: list[str] = []
    for part in parts:
        if lines and drawn_width(lines[-1]) + len(gap) + drawn_width(part) <= width:
            lines[-1] += gap + part
        else:
            lines.append(part)
    return lines


def title_lines(title: str, screen: Screen) -> list[str]:
    """The title in bold, on as many lines as its words take, on three at most."""
    if not title:
        return []
    lines = wrap([fit(word, screen.width) for word in visible(title, 3 * screen.width).split(" ")], screen.width, gap=" ")
    if len(lines) > 3:
        lines = [*lines[:2], fit(" ".join(lines[2:]), screen.width)]
    return [screen.bold(line) for line in lines]


def beside(blocks: list[list[str]], width: int, gap: int) -> list[str]:
    """Blocks of lines next to each other, each *width* columns wide."""
    height = max(map(len, blocks))
    full = [block + [""] * (height - len(block)) for block in blocks]
    return [(" " * gap).join(padded(line, width) for line in row).rstrip() for row in zip(*full, strict=True)]


def text_lines(panel: Text, screen: Screen) -> list[str]:
    """Lines of text, broken where the screen ends."""
    lines = title_lines(panel.title, screen)
    for line in panel.text.splitlines():
        lines += wrap(visible(line, 10_000).split(" "), screen.width, gap=" ") or [""]
    return lines


def table_lines(table: Table, screen: Screen) -> list[str]:
    """A table within the width: long texts are cut, further columns come below, beside the first one again."""
    header = [fit(column, screen.width) for column in table.columns]
    rows = [[visible(text) for text in texts] for texts in table.texts()]
    if not header:
        return title_lines(table.title, screen)
    textual = [any(isinstance(row[i], str) for row in table.rows) for i in range(len(header))]
    widths = [max(map(display_width, column)) for column in zip(header, *rows, strict=True)]
    widths = _narrowed(widths, textual, screen.width)
    lines = title_lines(table.title, screen)
    for number, group in enumerate(_groups(widths, screen.width)):
        if number:
            lines.append("")
        lines.append(screen.bold(_row([header[i] for i in group], group, widths, textual)))
        lines.append(screen.dim((" " * _GAP).join("─" * widths[i] for i in group)))
        lines += [_row([row[i] for i in group], group, widths, textual) for row in rows]
    return lines


def _narrowed(widths: list[int], textual: list[bool], room: int) -> list[int]:
    """Widths that fit by cutting the widest columns of text; where that is not enough, none takes more than half."""
    fitting = list(widths)
    excess = sum(widths) + _GAP * (len(widths) - 1) - room
    while excess > 0:
        cut = [i for i, width in enumerate(fitting) if textual[i] and width > _SHORTEST]
        if not cut:
            return [min(width, max(room // 2, 3)) for width in widths]
        widest = max(cut, key=lambda i: fitting[i])
        others = max([_SHORTEST, *(fitting[i] for i in cut if i != widest)])
        step = max(1, min(excess, fitting[widest] - others))
        fitting[widest] -= step
        excess -= step
    return fitting


def _groups(widths: list[int], room: int) -> list[list[int]]:
    groups = [[0]]
    taken = widths[0]
    for i in range(1, len(widths)):
        if taken + _GAP + widths[i] > room and len(groups[-1]) > 1:
            groups.append([0])
            taken = widths[0]
        groups[-1].append(i)
        taken += _GAP + widths[i]
    return groups


def _row(texts: list[str], group: list[int], widths: list[int], textual: list[bool]) -> str:
    cells = []
    for text, i in zip(texts, group, strict=True):
        short = fit(text, widths[i])
        fill = " " * (widths[i] - display_width(short))
        cells.append(short + fill if textual[i] else fill + short)
    return (" " * _GAP).join(cells).rstrip()
