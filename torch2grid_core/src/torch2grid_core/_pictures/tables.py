"""Tables, and pages as tables, as lines of text for terminals and logs."""

from __future__ import annotations

import unicodedata

from torch2grid_core._pictures.page import Page, Table
from torch2grid_core._text import LIMIT, visible

_GAP = "  "


def table_lines(table: Table) -> list[str]:
    """*table* as aligned lines: its title (where it has one), a header, a rule, and a line for each row.

    A column of numbers is aligned at the right, one that holds text at the left. Text passes through ``visible``, so a
    tensor's name cannot move the cursor or break the line; wide characters count two columns.
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
    lines = [visible(table.title)] if table.title else []
    return [*lines, *(_GAP.join(row).rstrip() for row in zip(*columns, strict=True))]


def text_lines(page: Page) -> list[str]:
    """A page as plain text: its title and every panel as a table."""
    lines = [visible(page.title)] if page.title else []
    for panel in page.panels:
        lines += table_lines(panel.as_table())
    return lines


def display_width(text: str) -> int:
    """Terminal columns that *text* takes: two for wide East Asian characters, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
