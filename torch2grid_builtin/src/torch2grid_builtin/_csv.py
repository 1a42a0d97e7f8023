"""Rows of CSV whose texts no spreadsheet runs: all CSV is written here."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import Any, TextIO

from torch2grid_core.text import visible

# What a spreadsheet runs when a cell begins so: in any width, behind blanks and quotes too. Where a comma is the decimal point,
# cells end at a semicolon, whatever the quotes around commas, so that one text is several cells.
_SIGNS = "=+\\-@\u2212\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u207a\u207b\u207c\u208a\u208b\u208c"
_FORMULA = re.compile(rf"(^|[;|\t\r\n])((?:[^\S\t\r\n]|[\"'])*[{_SIGNS}])")
_NUMBER = re.compile(r"[+-]?(\d[\d,]*(\.\d*)?([eE][+-]?\d+)?|inf|nan)", re.IGNORECASE)


class CsvWriter:
    """Writes rows as RFC 4180 has them. A text that a spreadsheet would run as a formula has an apostrophe before it."""

    def __init__(self, stream: TextIO, end: str = "\r\n") -> None:
        self._writer = csv.writer(stream, lineterminator=end)

    def row(self, cells: Iterable[Any]) -> None:
        self._writer.writerow([_cell(each) for each in cells])

    def rows(self, rows: Iterable[Iterable[Any]]) -> None:
        self._writer.writerows([_cell(each) for each in row] for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        text = visible(value, 10_000)
        return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'\2", text)
    return "" if value is None else value
