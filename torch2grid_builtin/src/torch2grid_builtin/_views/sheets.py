"""Where each tensor stands on a sheet: a row for each layer, a column for each kind, embeddings and the like by themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch2grid_core import Checkpoint, Settings
from torch2grid_core.selection import modules
from torch2grid_core.text import visible

_ONE_PICTURE = {".png", ".jpg", ".jpeg", ".webp", ".svg", ".csv"}  # endings of files that hold one page
_ALIKE = 4  # numbered modules inside a layer that are rows of their own: experts
_NUMBERED = re.compile(r"(.*?\.\d{1,6})\.(.*)", re.DOTALL)
_LAYER, _EXPERT = re.compile(r"(?:.*?\.)?\d{1,6}(?=\.)", re.DOTALL), re.compile(r"experts?\.(\d{1,6})$", re.IGNORECASE)
_SLACK = 12  # rows more than fit a sheet that take no second one
_FLOW = 8  # tensors by themselves in a row


@dataclass(frozen=True)
class Sheet:
    """places: (row, column) of each tensor of *names*. rows: the name of each, empty for tensors that belong to no layer."""

    names: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """kinds: the names of the columns. cells: of each layer, (its name, tensor by column). apart: tensors of no layer.

    before: so many of these stand above the layers.
    """

    kinds: tuple[str, ...]
    cells: tuple[tuple[str, dict[int, str]], ...]
    apart: tuple[str, ...]
    before: int

    def members(self, column: int) -> list[str]:
        """The tensors of a column."""
        return [own[column] for _, own in self.cells if column in own]

    def column_of(self) -> dict[str, int]:
        """The column of each tensor of a layer."""
        return {name: column for _, own in self.cells for column, name in own.items()}

    def sheets(self, most: int) -> list[Sheet]:
        """The tensors on sheets of at most *most* rows of layers, or about as many tensors by themselves."""
        units: list[tuple[str, list[tuple[int, str]], int]] = []
        for some in (self.apart[: self.before], None, self.apart[self.before :]):
            if some is None:
                units += [(title, sorted(own.items()), 1) for title, own in self.cells]
                continue
            for start in range(0, len(some), _FLOW):
                units.append(("", list(enumerate(some[start : start + _FLOW])), 3))
        total = sum(size for *_, size in units)
        found, taken, rows = list[Sheet](), 0, list[tuple[str, list[tuple[int, str]]]]()
        for title, own, size in units:
            if rows and taken + size > most and total > most + _SLACK:
                found.append(_sheet(rows))
                taken, rows = 0, []
            rows.append((title, own))
            taken += size
        return [*found, _sheet(rows)] if rows else found


def _sheet(rows: Sequence[tuple[str, list[tuple[int, str]]]]) -> Sheet:
    placed = [(name, (row, column)) for row, (_, own) in enumerate(rows) for column, name in own]
    return Sheet(tuple(name for name, _ in placed), tuple(place for _, place in placed), tuple(title for title, _ in rows))


def columns_of(names: Iterable[str]) -> Columns:
    """The layers and kinds of the tensors *names*; those of no numbered module are apart."""
    kinds: dict[str, int] = {}
    cells: dict[str, dict[int, str]] = {}
    apart, before = list[str](), 0
    for title, own in modules(names).items():
        if not title.rpartition(".")[2].isdecimal():
            apart += own
            before = before if cells else len(apart)
            continue
        inside = [name[len(title) + 1 :] for name in own]
        numbers: dict[str, set[str]] = {}
        for rest in inside:
            if found := _NUMBERED.match(rest):
                stem, _, number = found[1].rpartition(".")
                numbers.setdefault(stem, set()).add(number)
        rows: dict[str, dict[int, str]] = {title: {}}  # the layer's own row stands above those of its experts
        for name, rest in zip(own, inside, strict=True):
            row, kind = title, rest
            found = _NUMBERED.match(rest)
            if found and len(numbers[found[1].rpartition(".")[0]]) >= _ALIKE:
                row, kind = f"{title}.{found[1]}", f"{found[1].rpartition('.')[0]}.*.{found[2]}"
            rows.setdefault(row, {})[kinds.setdefault(kind, len(kinds))] = name
        cells.update({row: found for row, found in rows.items() if found})
    return Columns(tuple(kinds), tuple(cells.items()), tuple(apart), before)


def stem_of(titles: Iterable[str]) -> str:
    """What the names of rows all begin with, up to a dot: ``model.layers.``; empty of fewer than two."""
    named = [title for title in titles if title]
    if len(named) < 2:
        return ""
    first, last = min(named), max(named)
    alike = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind(".", 0, alike) + 1]


def rows_text(titles: Iterable[str]) -> str:
    """For the subtitle of a sheet, what the numbers of its rows count: `` · rows: model.layers.*``."""
    stem = stem_of(titles)
    return f" · rows: {visible(stem, 60)}*" if stem else ""


def short_rows(titles: Sequence[str]) -> tuple[str, ...]:
    """The names of rows without what all begin with (see ``stem_of``): ``0``, ``1`` of ``model.layers.0``, ``model.layers.1``.

    An expert is ``0 · expert 3``, where that is one row's name alone.
    """
    cut = len(stem_of(titles))
    short = [title[cut:] if title else "" for title in titles]
    brief = [_brief(title) for title in short]
    return tuple(brief if len(set(filter(None, brief))) == len(set(filter(None, short))) else short)


def _brief(title: str) -> str:
    """``0 · expert 3`` for ``0.mlp.experts.3``; another title as it is."""
    layer, expert = _LAYER.match(title), _EXPERT.search(title)
    return f"{layer[0]} · expert {expert[1]}" if layer and expert and layer.end() < expert.start() else title


def one_picture(checkpoint: Checkpoint, run: Settings, each: bool) -> bool:
    """True where one tensor is drawn, each by itself, into a file that holds one page: a sheet of it would say no more."""
    return each and len(checkpoint) == 1 and os.path.splitext(run.output)[1].lower() in _ONE_PICTURE
