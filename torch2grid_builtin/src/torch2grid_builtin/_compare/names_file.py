"""Names that a person states: which tensor of one file is which of the other, in a table of two columns."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch2grid_core import UsageError
from torch2grid_core.text import counted, did_you_mean, visible

HOWS = ("transposed", "rotary", "rotary back")
_HEADER = ("old", "new")
_BYTES = 64 << 20
_SHAPE = "a CSV file whose first line is old,new or old,new,how"


@dataclass(frozen=True)
class Named:
    """One line: *old* is *new*. where: for messages; how: what is done to the old tensor besides, one of ``HOWS``."""

    old: str | re.Pattern[str]
    new: str
    how: str = ""
    where: str = ""

    def of(self, name: str) -> str | None:
        """The new name of *name*; ``None`` where the line is not about it."""
        if isinstance(self.old, str):
            return self.new if name == self.old else None
        found = self.old.fullmatch(name)
        try:
            return None if found is None else found.expand(self.new)
        except re.error as error:
            raise UsageError(
                f"{self.where}: {visible(self.new)!r} is not a valid replacement: {visible(str(error))}"
            ) from error

    def __str__(self) -> str:
        old = self.old if isinstance(self.old, str) else f"/{self.old.pattern}/"
        return f"{visible(old, 80)} → {visible(self.new, 80)}"


def read_names(given: Any) -> tuple[Named, ...]:
    """The lines of a file, or of a mapping of old to new names in which an old one may be a compiled pattern.

    Raises:
        UsageError: the file cannot be read, or a line of it says nothing that can be done.
    """
    if isinstance(given, Mapping):
        return _checked(tuple(_line(old, new, "", "names") for old, new in given.items()))
    path = os.fspath(given)
    try:
        with open(path, "rb") as file:
            raw = file.read(_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--names {visible(path)}: cannot be read: {error.strerror}") from error
    if len(raw) > _BYTES:
        raise UsageError(f"--names {visible(path)}: more than {_BYTES >> 20} MiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"--names {visible(path)}: not UTF-8; it is {_SHAPE}") from error
    try:
        reader = csv.reader(io.StringIO(text), strict=True)
        rows = [(reader.line_num, row) for row in reader if row and not row[0].startswith("#")]
    except csv.Error as error:
        raise UsageError(f"--names {visible(path)}:{reader.line_num}: not CSV: {error}") from error
    if not rows or tuple(each.strip() for each in rows[0][1][:2]) != _HEADER or rows[0][1][2:] not in ([], ["how"]):
        raise UsageError(f"--names {visible(path)}:1: no header; it is {_SHAPE}")
    found = []
    for line, row in rows[1:]:
        where = f"--names {visible(path)}:{line}"
        if len(row) not in (2, 3):
            raise UsageError(f"{where}: {counted(len(row), 'field')}, not 2 or 3; put a name with a comma into double quotes")
        old, new, how = [each.strip() for each in row] + [""] * (3 - len(row))
        found.append(_line(old, new, how, where))
    return _checked(tuple(found))


def _line(old: Any, new: Any, how: str, where: str) -> Named:
    if not isinstance(new, str) or not isinstance(old, (str, re.Pattern)) or not old or not new:
        raise UsageError(f"{where}: expected an old and a new name, not {old!r} and {new!r}")
    if how and how not in HOWS:
        raise UsageError(f"{where}: how is {', '.join(HOWS)} or empty, not {visible(how)!r}{did_you_mean(how, HOWS)}")
    if isinstance(old, str) and len(old) > 2 and old[0] == old[-1] == "/":
        try:
            old = re.compile(old[1:-1])
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(f"{where}: not a regular expression: {visible(str(error))}") from error
    if isinstance(old, re.Pattern):
        for group in re.findall(r"(?<!\\)(?:\\\\)*\\(?:g<(\w+)>|(\d+))", new):
            place = group[0] or group[1]
            known = int(place) <= old.groups if place.isdecimal() else place in old.groupindex
            if not known:
                raise UsageError(f"{where}: {visible(new)!r} refers to group {visible(place)}, which the pattern does not have")
    return Named(old, new, how, where)


def _checked(found: Sequence[Named]) -> tuple[Named, ...]:
    if not found:
        raise UsageError("--names: the file has no names")
    seen: dict[str, str] = {}
    for each in found:
        if isinstance(each.old, str):
            if each.old in seen:
                raise UsageError(f"{each.where}: {visible(each.old)} is on line {seen[each.old].rpartition(':')[2]} already")
            seen[each.old] = each.where
    return tuple(found)
