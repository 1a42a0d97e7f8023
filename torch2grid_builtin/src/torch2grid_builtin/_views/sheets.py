"""Where each tensor stands on a sheet: a row for each layer, a column for each kind, embeddings and the like by themselves."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch2grid_core import Checkpoint, Settings
from torch2grid_core.selection import modules
from torch2grid_core.text import visible

_ONE_PICTURE = {".png", ".jpg", ".jpeg", ".webp", ".svg", ".csv"}  # endings of files that hold one page
_ALIKE = 4  # numbered modules inside a layer, from so many on, that are built alike are one kind: experts
_BESIDE = 32  # columns of experts, at most, that stand beside those of their layer
_ABREAST = 24  # columns of experts, about, where they are rows of their own
_NUMBERED = re.compile(r"(.*?)\.(\d{1,6})\.(.*)", re.DOTALL)
_LAYER, _EXPERT = (
    re.compile(r"(?:.*?\.)?\d{1,6}(?=\.)", re.DOTALL),
    re.compile(r"(experts?)\.(\d{1,6}(–\d{1,6})?)$", re.IGNORECASE),
)
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
    """kinds: the names of the kinds of tensors. columns: of each column its name and its kind. cells: of each row, (its name,
    tensor by column). apart: tensors of no layer.

    before: so many of these stand above the layers. owners: the layer of each tensor of one, or the expert.
    """

    kinds: tuple[str, ...]
    columns: tuple[tuple[str, int], ...]
    cells: tuple[tuple[str, dict[int, str]], ...]
    apart: tuple[str, ...]
    before: int
    owners: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each column."""
        return tuple(name for name, _ in self.columns)

    def members(self, kind: int) -> list[str]:
        """The tensors of a kind."""
        return [name for _, own in self.cells for column, name in own.items() if self.columns[column][1] == kind]

    def each(self, of_kinds: Sequence[str]) -> tuple[str, ...]:
        """For each column, what *of_kinds* has for its kind."""
        return tuple(of_kinds[kind] for _, kind in self.columns)

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


@dataclass
class _Family:
    """Numbered modules inside layers that are built alike, as experts are. kinds: of their tensors, by name inside.

    numbers: of each layer, those that it has.
    """

    kinds: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, set[int]] = field(default_factory=dict)

    def slots(self, title: str) -> dict[int, int]:
        """The place of each number among those of a layer, or where all layers have about the same ones, among all."""
        every = self.every
        some = every if self.counted_alike else sorted(self.numbers.get(title, ()))
        return {number: slot for slot, number in enumerate(some)}

    @property
    def every(self) -> list[int]:
        return sorted(set().union(*self.numbers.values()))

    @property
    def most(self) -> int:
        return max(map(len, self.numbers.values()))

    @property
    def counted_alike(self) -> bool:
        return len(self.every) <= 1.25 * self.most

    @property
    def across(self) -> int:
        """How many stand beside each other: all, or as many as fill each row of several."""
        width = len(self.every) if self.counted_alike else self.most
        if width * len(self.kinds) <= _BESIDE:
            return width
        return -(-width // -(-width // max(_ABREAST // len(self.kinds), 1)))


def columns_of(names: Iterable[str]) -> Columns:
    """The layers and kinds of the tensors *names*; those of no numbered module are apart.

    Experts are columns beside those of their layer, one for each expert and kind; where these are too many, they are rows of
    their own below all layers, some experts in each.
    """
    layers = modules(names)
    families = _families(layers)
    kinds: dict[str, int] = {}
    apart, before = list[str](), 0
    found: list[tuple[str, str, int, str, int]] = []  # layer, tensor, kind, and of an expert its family and number
    for title, own in layers.items():
        if not title.rpartition(".")[2].isdecimal():
            apart += own
            before = before if found else len(apart)
            continue
        for name in own:
            stem, number, kind = _numbered(name[len(title) + 1 :])
            if stem not in families:
                stem, number, kind = "", 0, name[len(title) + 1 :]
            else:
                families[stem].kinds.setdefault(kind, len(families[stem].kinds))
                families[stem].numbers.setdefault(title, set()).add(number)
                kind = f"{stem}.*.{kind}"
            found.append((title, name, kinds.setdefault(kind, len(kinds)), stem, number))
    columns, first = _columns(kinds, families, {kind: stem for _, _, kind, stem, _ in found})
    slots = {(stem, title): family.slots(title) for stem, family in families.items() for title in family.numbers}
    cells: dict[str, dict[int, str]] = {}
    below: dict[str, dict[str, dict[int, str]]] = {}
    owners = {}
    for title, name, of, stem, number in found:
        owners[name] = f"{title}.{stem}.{number}" if stem else title
        slot = slots[stem, title][number] if stem else 0
        across = families[stem].across if stem else 1
        if not stem or across == families[stem].most or across == len(families[stem].every):
            cells.setdefault(title, {})[first[of] + slot] = name
            continue
        some = [each for each, place in slots[stem, title].items() if place // across == slot // across]
        some = [each for each in some if each in families[stem].numbers[title]]
        row = f"{title}.{stem}.{some[0]}" + (f"–{some[-1]}" if len(some) > 1 else "")
        below.setdefault(stem, {}).setdefault(row, {})[first[of] + slot % across] = name
    rows = [*cells.items(), *(row for some in below.values() for row in some.items())]
    return Columns(tuple(kinds), tuple(columns), tuple(rows), tuple(apart), before, owners)


def _columns(
    kinds: Mapping[str, int], families: Mapping[str, _Family], stems: Mapping[int, str]
) -> tuple[list[tuple[str, int]], dict[int, int]]:
    """The columns, and the first one of each kind."""
    columns: list[tuple[str, int]] = []
    first = {}
    for name, kind in kinds.items():
        first[kind] = len(columns)
        stem = stems[kind]
        across = families[stem].across if stem else 1
        every = families[stem].every if stem else []
        if stem and across == len(every) and families[stem].counted_alike:
            columns += [(f"{stem}.{number}.{name[len(stem) + 3 :]}", kind) for number in every]
        else:
            columns += [(name, kind)] * across
    return columns, first


def _families(layers: Mapping[str, Sequence[str]]) -> dict[str, _Family]:
    """By the name of what holds them, numbered modules inside layers of which several of one layer have tensors of the same
    names."""
    found = {}
    for title, own in layers.items():
        if not title.rpartition(".")[2].isdecimal():
            continue
        inside: dict[str, dict[int, set[str]]] = {}
        for name in own:
            stem, number, rest = _numbered(name[len(title) + 1 :])
            if stem:
                inside.setdefault(stem, {}).setdefault(number, set()).add(rest)
        for stem, members in inside.items():
            if Counter(map(frozenset, members.values())).most_common(1)[0][1] >= _ALIKE:
                found[stem] = _Family()
    return found


def _numbered(inside: str) -> tuple[str, int, str]:
    """``experts``, 3 and ``w1.weight`` of ``experts.3.w1.weight``; of another name an empty text, 0 and itself."""
    found = _NUMBERED.match(inside)
    return (found[1], int(found[2]), found[3]) if found else ("", 0, inside)


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

    Experts are ``0 · experts 8–15``, where that is one row's name alone.
    """
    cut = len(stem_of(titles))
    short = [title[cut:] if title else "" for title in titles]
    brief = [_brief(title) for title in short]
    return tuple(brief if len(set(filter(None, brief))) == len(set(filter(None, short))) else short)


def _brief(title: str) -> str:
    """``0 · expert 3`` for ``0.mlp.experts.3``, ``0 · experts 8–15`` for several; another title as it is."""
    layer, expert = _LAYER.match(title), _EXPERT.search(title)
    if not (layer and expert and layer.end() < expert.start()):
        return title
    return f"{layer[0]} · expert{'s' if expert[3] else ''} {expert[2]}"


def one_picture(checkpoint: Checkpoint, run: Settings, each: bool) -> bool:
    """True where one tensor is drawn, each by itself, into a file that holds one page: a sheet of it would say no more."""
    return each and len(checkpoint) == 1 and os.path.splitext(run.output)[1].lower() in _ONE_PICTURE
