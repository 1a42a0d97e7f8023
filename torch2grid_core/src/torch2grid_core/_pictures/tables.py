"""Tables, and pages as tables, as lines of text for terminals and logs."""

from __future__ import annotations

import unicodedata

from torch2grid_core._pictures.page import Page, Table
from torch2grid_core._text import visible

_GAP = "  "


def table_lines(table: Table) -> list[str]:
    """*table* as aligned lines: its title (where it has one), a header, a rule, and a line for each row.

    A column of numbers is aligned at the right, one that holds text at the left. Text passes through ``visible``, so a
    tensor's name cannot move the cursor or break the line; wide characters count two columns.
    """
    header = [visible(column) for column in table.columns]
    rows = [[visible(text) for text in texts] for texts in table.texts()]
    textual = [any(isinstance(row[i], str) for row in table.rows) for i in range(len(header))]
    widths = [max(map(display_width, column)) for column in zip(header, *rows, strict=True)]
    lines = [visible(table.title)] if table.title else []
    rule = _GAP.join("-" * width for width in widths)
    return [*lines, _line(header, widths, textual), rule, *(_line(row, widths, textual) for row in rows)]


def text_lines(page: Page) -> list[str]:
    """A page as plain text: its title and every panel as a table."""
    lines = [visible(page.title)] if page.title else []
    for panel in page.panels:
        lines += table_lines(panel.as_table())
    return lines


def _line(texts: list[str], widths: list[int], textual: list[bool]) -> str:
    padded = []
    for text, width, left in zip(texts, widths, textual, strict=True):
        fill = " " * (width - display_width(text))
        padded.append(text + fill if left else fill + text)
    return _GAP.join(padded).rstrip()


def display_width(text: str) -> int:
    """Terminal columns that *text* takes: two for wide East Asian characters, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
