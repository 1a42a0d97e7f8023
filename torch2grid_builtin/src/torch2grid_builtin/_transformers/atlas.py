"""Every matrix in its own form, layers that are alike as rows one below the other: a map of the whole model."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, product
from typing import Literal

import numpy as np

from torch2grid_builtin._transformers.arranging import Arrangement, Known, Rows, arrangements, fitted, height_of_layers, rows_of
from torch2grid_builtin._transformers.cards import (
    AnyKind,
    Bands,
    Group,
    GroupKind,
    Item,
    Placed,
    Scale,
    items_of,
    put,
    shape_of,
)
from torch2grid_builtin._transformers.kinds import by_kind
from torch2grid_builtin._transformers.packing import (
    MANY,
    Box,
    Packing,
    best_fit,
    check_cell,
    fitting,
    orders,
    pack,
    slicings,
    widths,
)
from torch2grid_core import Grid, Layout, LayoutTransformer, NotDrawable
from torch2grid_core.grids import Block, Rect, Region, drawable_sizes, label_rows
from torch2grid_core.selection import modules
from torch2grid_core.sources import Taken, taken_of
from torch2grid_core.text import visible

_WORK = 5_000  # boxes placed while an arrangement of modules is looked for
_BROAD = (0.08, 0.025, 0.001)  # shares of the sheet from which a module may as well fill its width
_EMPTY = 0.12  # share of empty cells with which a search ends
_MOST_EMPTY = 0.14  # from which another sheet is tried
_HOPELESS = 1.12  # times as large as another sheet: fewer names and no gaps would not make up for that
_FEWER_NAMES = (0.5, 0.25)  # of the room that names may have, on a sheet with much empty
_ALIKE = 0.5  # of that, the share that the names of layers that are alike may always take
_NUMBERED = 0.85  # and those with numbers beside them, which say little without
_FEW = 2000  # tensors, of which that takes no time
_TINY = 14  # cells a side of matrices, of more than those, that have no empty cells between them
_LOW = 64  # cells in height of layers in which vectors stand by themselves
_MANY_CARDS = 60  # of which orders to join them to groups say less than filling the lowest place
_ORDERS = 24  # such orders
_FEW_CARDS = 8
_CLOSELY = 3_000  # cards placed, each where it fits, while a packing is looked for that leaves less empty
_NAMES = 0.05  # of the sheet, at most, for the names of modules


@dataclass(frozen=True)
class Card:
    """A module, or layers that are alike: titles of all, and the items of one, their names without its title.

    loose: the same items, with all vectors by themselves, of layers that are alike.
    """

    titles: tuple[str, ...]
    items: tuple[Item | Group, ...]
    loose: tuple[Item | Group, ...]

    @property
    def title(self) -> str:
        """The name of the module, or of what holds the layers."""
        return self.titles[0] if len(self.titles) == 1 else self.titles[0].rpartition(".")[0]

    @property
    def longest(self) -> int:
        """The longest side of a matrix or vector, in weights."""
        kinds = (item.kind for item in self.items)
        forms = (each.form for kind in kinds for each in (kind.kinds if isinstance(kind, GroupKind) else (kind,)))
        return max(max(form.rows, form.columns) for form in forms)

    def apart(self) -> list[Card]:
        """Of a module, each matrix as a card; layers stay together."""
        return [self] if len(self.titles) > 1 else [Card(self.titles, (item,), (item,)) for item in self.items]


@dataclass(frozen=True)
class Atlas(LayoutTransformer):
    """Every matrix in its own form (rows = output units, kernels as out × in tiles), a row for each layer, with names."""

    cell: int | None = field(default=None, metadata={"help": "a cell is so many rows and columns; none: as few as fit"})
    gap: int | None = field(default=None, metadata={"help": "empty cells between matrices; none: as suits the size"})
    names: bool = field(default=True, metadata={"help": "keep room for the names of modules"})
    scale_by: Literal["model", "kind"] = field(
        default="model", metadata={"help": "kind: colour limits for each kind of tensor, instead of one for the model"}
    )

    name = "atlas"

    def __post_init__(self) -> None:
        if self.gap is not None and not 0 <= self.gap <= 64:
            raise ValueError("gap must be a number of cells from 0 to 64, or none")
        check_cell(self.cell)

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """Layers that are alike are rows, other modules stand around them in the order of the model; cells of s×s weights with
        the smallest s that fits.

        A vector stands beside the matrix whose output units it belongs to, or above the one whose inputs it meets; such a
        cell holds s weights. A matrix much longer than wide is cut into bands, side by side.
        Raises ``NotDrawable`` without weights, and where the tensors do not fit *max_cells* a side.
        """
        sizes = drawable_sizes(shapes)
        cards = cards_of(sizes, shapes)
        weights = sum(sizes.values())
        if max_cells is None or self.cell is not None:
            return fitting(self._fullest(cards, weights, self.cell or 1, None, list(sizes)), max_cells)
        least, known = _least_cells(cards, weights, self.gap), _Known()
        longest = max(card.longest for card in cards)  # where a cell is so many weights a side, each matrix is one
        sides = range(1, longest)
        first = min(max(math.isqrt(weights) // max_cells, 1) - 1, len(sides))
        side = 1 + bisect_left(sides, -((max_cells + 1) ** 2), lo=first, key=lambda each: -least(each))
        while True:
            for gap, named in ((self.gap, self.names), (0, False)) if side >= longest else ((self.gap, self.names),):
                sheet = _Sheet(cards, weights, side, gap, named, max_cells, known)
                if sheet.fits:
                    return self._fullest(cards, weights, side, max_cells, list(sizes), sheet)
            if side >= longest:
                raise NotDrawable(f"{len(sizes):,} tensors do not fit {max_cells}×{max_cells} cells as separate blocks")
            over = max(sheet.height, sheet.width) / max_cells
            enough = least(side) * (1 - 0.3 * (over**2 - 1))  # as good as no fewer would not fit either
            smaller = 1 + bisect_left(sides, -enough, lo=min(side, len(sides)), key=lambda each: -least(each))
            side = min(max(smaller, int(side * min(0.98 * over, 2))), longest)

    def finished(self, grid: Grid) -> Grid:
        """The grid, with ``scale_by=kind`` in shares of the limit of each kind of tensor, which its notes state; they name the
        matrices of layers that have no room for names."""
        if self.names and (notes := tuple(unnamed_columns(grid))):
            grid = replace(grid, notes=(*grid.notes, *notes))
        return by_kind(grid) if self.scale_by == "kind" else grid

    def _fullest(
        self,
        cards: Sequence[Card],
        weights: int,
        side: int,
        room: int | None,
        names: Sequence[str],
        first: _Sheet | None = None,
    ) -> Layout:
        """The layout of *first*, or where much of that is empty, of a sheet that is fuller: its matrices by themselves instead
        of in modules, slightly larger cells, nothing between them, or fewer names."""
        known = first.known if first else _Known()
        best = (first or _Sheet(cards, weights, side, self.gap, self.names, room, known)).layout(names)
        if len(names) > _FEW or empty_share(best) <= _MOST_EMPTY:
            return best
        apart = [each for card in cards for each in card.apart()]
        gaps = (
            [self.gap, 0] if self.gap is None else [self.gap]
        )  # without any, borders are drawn on the first cells of a matrix
        shares = (1.0, *_FEWER_NAMES) if self.names else (1.0,)
        several = (
            room is not None and side > 2 and len(cards) <= _FEW_CARDS
        )  # these fit together better at one size than another
        sides = (side, side + 1, side + 2) if several else (side,)
        high, wide = best.shape
        least, found = _emptiness(high * side, wide * side), [0.0, 0.0]  # of matrices by themselves, and of modules as they are
        for gap, each, share, (way, some) in product(gaps, sides, shares, enumerate((apart, cards))):
            if found[way] > _HOPELESS * least:
                continue
            sheet = _Sheet(some, weights, each, gap, self.names, room, known, share, closely=True)
            found[way] = _emptiness(sheet.height * each, sheet.width * each)
            if sheet.fits and found[way] < least:
                best, least = sheet.layout(names), found[way]
            if empty_share(best) <= _MOST_EMPTY:
                break
        return best


Build = tuple[tuple[str, tuple[int, ...], Taken | None], ...]  # of a module: the tensors, their shapes, what was taken


def empty_share(layout: Layout) -> float:
    """The share of the cells in which there is no weight."""
    taken = sum(height * width for region in layout.regions for _, _, height, width in region.rects)
    return 1 - taken / math.prod(layout.shape)


def _emptiness(height: int, width: int) -> float:
    """How bad a sheet is that holds given weights: large, or long; nearly a square is as good as one."""
    return height * width * (5 + max(max(height, width) / min(height, width), 1.3))


def _extent(weights: int, side: int) -> int:
    """About how many cells of side×side weights a sheet has a side: an eighth stays empty, or less."""
    return math.isqrt(weights * 8 // 7) // side + 1


def _gap_of(gap: int | None, items: int, extent: int) -> int:
    """Empty cells between so many items on a sheet of about *extent* cells a side; none where they would take a fifth of it."""
    if gap is None:
        return 0 if items > _FEW and extent < _TINY * math.sqrt(items) else 1
    return gap


def _least_cells(cards: Sequence[Card], weights: int, gap: int | None) -> Callable[[int], int]:
    """How many cells of side×side weights everything takes at least, with the gaps around it, as a function of the side."""
    items = sum(len(card.titles) * len(card.items) for card in cards)
    forms = Counter[tuple[int, int]]()
    for card in cards:
        for kind in (item.kind for item in card.items):
            own, count = (kind.kinds, kind.count) if isinstance(kind, GroupKind) else ((kind,), 1)
            for each in own:
                forms[each.form.rows, each.form.columns] += count * len(card.titles)
    lengths, counts = np.array(list(forms), dtype=np.int64), np.array(list(forms.values()))
    is_line = lengths.min(axis=1) <= 1  # may be folded

    def cells_of(side: int) -> int:
        apart = min(_gap_of(gap, items, _extent(weights, side)), 1)
        cells = (-(-lengths // side) + apart).prod(axis=1)
        cells[is_line] = -(-lengths[is_line].max(axis=1) // side**2)
        return int(cells @ counts)

    return cells_of


def cards_of(sizes: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> list[Card]:
    """The modules of the tensors in *sizes*, in order; numbered ones of one stack that are built alike are one card."""
    builds: dict[tuple[str, Build], list[str]] = {}
    for title, names in modules(sizes).items():
        cut = len(title) + 1 if title else 0
        stem, _, number = title.rpartition(".")
        build = tuple((name[cut:], shapes[name], taken_of(shapes[name])) for name in names)
        key = (stem if number.isdecimal() else f"{title}.", build)
        builds.setdefault(key, []).append(title)
    made: dict[tuple[str, Build], tuple[Item | Group, ...]] = {}
    cards = []
    for (stem, build), titles in builds.items():
        kinds = (stem.rstrip("0123456789."), build)  # modules whose names differ in numbers alone hold the same
        own, prefix = {name: shape for name, shape, _ in build}, f"{titles[0]}." if titles[0] else ""
        if kinds not in made:
            made[kinds] = tuple(items_of(list(own), own, prefix=prefix))
        items = loose = made[kinds]
        if len(titles) > 1 and any(item.vectors for item in items):
            loose = tuple(items_of(list(own), own, loose=True, prefix=prefix))
        cards.append(Card(tuple(titles), items, loose))
    return cards


def unnamed_columns(grid: Grid) -> Iterator[str]:
    """A line about each stack of small layers that names their matrices in reading order, where nothing else names them."""
    numbered: dict[str, list[str]] = {}
    own = {region.name: region.rects[0] for region in grid.regions if region.rects}
    for label in grid.labels:
        stem, _, number = label.name.rpartition(".")
        if number.isdecimal():
            numbered.setdefault(stem, []).append(label.name)
    for stem, titles in numbered.items():
        first = f"{titles[0]}."
        members = sorted((rect[:2], name) for name, rect in own.items() if name.startswith(first))
        wide = {own[name][3] for _, name in members if own[name][2] > 1}
        if len(members) < 2 or not wide or max(wide) > 2 * label_rows(max(grid.shape)):
            continue
        if any(label.name.startswith(first) for label in grid.labels):
            continue
        rows = [
            " ".join(visible(name.removeprefix(first).removesuffix(".weight"), 60) for _, name in row)
            for _, row in groupby(members, key=lambda each: each[0][0])
        ]
        yield f"matrices of {visible(stem, 60)}{'.' * bool(stem)}*, row by row: {' / '.join(rows)}"


def _tops(item: Item | Group, bands: Bands, scale: Scale) -> Iterator[tuple[str, int, int]]:
    """The matrices at the top of an item's box: name, first column and width; of a group in rows, what its members share."""
    if isinstance(item, Item):
        yield item.name, 0, shape_of(item.kind, scale, bands)[0][1]
        return
    assert isinstance(bands, tuple)
    start = 0
    for each, last, own in zip(item.members[0], item.members[-1], bands[1], strict=True):
        width = shape_of(each.kind, scale, own)[0][1]
        yield _shared_name(each.name, last.name), start, width
        if not bands[0]:
            return
        start += width + scale.gap


def _shared_name(first: str, last: str) -> str:
    """What two names share, part by part: ``experts.*.w1`` of ``experts.0.w1`` and ``experts.7.w1``."""
    parts = list(zip(first.split("."), last.split("."), strict=False))
    return ".".join(one if one == other else "*" for one, other in parts)


def _written_inside(placed: Sequence[Placed], names: Collection[str], row: int, column: int, line: int) -> Iterator[Region]:
    """The last part of the *names* of matrices as marks on them, in a layer at (row, column), if they are at least half as high
    as a *line* of text, in cells."""
    for each in placed:
        if each.name in names and each.rects and each.rects[0][2] >= line / 2 and each.rects[0][3] >= line:
            down, across, height, width = each.rects[0]
            last = each.name.removesuffix(".weight").rpartition(".")[2].removesuffix("_weight")
            yield Region(last, ((row + down, column + across, height, width),))


Way = Arrangement | Rows


def _numbered_above(way: Way, line: int) -> bool:
    """True for layers in several columns without room for numbers beside them: the first of each column has it above."""
    return isinstance(way, Rows) and way.columns > 1 and not way.tag and way.layer.box[1] >= 2 * line


def _compact(boxes: Sequence[Box]) -> list[int]:
    """Which of the *boxes* of one card leave little empty, from the smallest on."""
    order = sorted(range(len(boxes)), key=lambda way: math.prod(boxes[way]))
    most = 1.1 * math.prod(boxes[order[0]])
    return [way for place, way in enumerate(order) if place < 4 or math.prod(boxes[way]) <= most]


class _Known:
    """What was found about modules of one kind, for all sheets on which their cells are of one size."""

    def __init__(self) -> None:
        self._ways: dict[tuple[tuple[AnyKind, ...], int, Scale, int, int], list[Way]] = {}
        self._fitted: dict[tuple[tuple[AnyKind, ...], Scale, int], Arrangement | None] = {}
        self._strips: Known = {}
        self.packed: dict[tuple[tuple[Box, ...], ...], tuple[Packing, list[int]]] = {}  # by the boxes of all cards

    def ways(self, kinds: tuple[AnyKind, ...], count: int, scale: Scale, tag: int, work: int) -> list[Way]:
        """The ways to arrange *count* layers, or one module."""
        key = kinds, count, scale, tag, work
        if key not in self._ways:
            ways: list[Way] = list(arrangements(kinds, scale, work)) if count == 1 else []
            self._ways[key] = ways or list(rows_of(kinds, count, scale, tag, work, self._strips))
        return self._ways[key]

    def fitted(self, kinds: tuple[AnyKind, ...], scale: Scale, limit: int) -> Arrangement | None:
        """A module arranged for a width."""
        key = kinds, scale, limit
        if key not in self._fitted:
            self._fitted[key] = fitted(kinds, scale, limit)
        return self._fitted[key]


class _Sheet:
    """All modules on one sheet, in cells of side×side weights. height, width: of the sheet, at most *room* if it can be.

    share: of the room that names may have. closely: look longer for a packing that leaves less empty.
    """

    def __init__(
        self,
        cards: Sequence[Card],
        weights: int,
        side: int,
        gap: int | None,
        named: bool,
        room: int | None,
        known: _Known,
        share: float = 1.0,
        closely: bool = False,
    ) -> None:
        self.closely, self.known = closely, known
        self.cells = weights / side**2  # at least
        extent = _extent(weights, side)
        self.named_at_all = named
        self.line = label_rows(extent)
        self._made(cards, side, gap, extent, share, room)
        if named and self.fits and self.line < (line := label_rows(max(self.height, self.width))):
            self.line = line  # it came out longer, and each cell is drawn smaller
            self._made(cards, side, gap, extent, share, room)

    def _made(self, cards: Sequence[Card], side: int, gap: int | None, extent: int, share: float, room: int | None) -> None:
        named = self.named_at_all
        apart = 1 if gap is None else gap
        items = sum(len(card.titles) * len(card.items) for card in cards)
        self.boxes = sum(len(card.items) for card in cards)
        self.scale = Scale(side, _gap_of(gap, items, extent), max(extent // 4, 8), apart)
        self.between = apart + (apart > 0)  # cells between modules
        self.room, self.extent = room, extent
        self.cards = [self._as_loose_as_needed(card) for card in cards]
        cards = self.cards
        self.kinds = [tuple(item.kind for item in card.items) for card in cards]
        self.work = 0 if self.boxes >= MANY else _WORK // len({*self.kinds})
        self.ways: dict[tuple[tuple[AnyKind, ...], int], list[Way]] = {}
        self._seen: dict[tuple[tuple[Box, ...], int], list[Packing]] = {}
        for card, kinds in zip(cards, self.kinds, strict=True):
            count = len(card.titles)
            if (kinds, count) not in self.ways:
                tag = self._tag(named, kinds, count) if count > 1 else 0
                self.ways[kinds, count] = self.known.ways(kinds, count, self.scale, tag, self.work)
        self.chosen = [self.ways[kinds, len(card.titles)][0] for card, kinds in zip(cards, self.kinds, strict=True)]
        # A matrix alone has its whole name inside; a name above it would take a line of the sheet.
        alone = [len(card.titles) == 1 and len(card.items) == 1 for card in cards]
        self.named = [named and bool(card.title) and not each for card, each in zip(cards, alone, strict=True)]
        self._leave_names_out(share)
        least = math.isqrt(sum(height * width for height, width in map(self._box, range(len(cards)))))
        if room is not None and least > 1.1 * room:  # no arrangement can fit
            self.height = self.width = least
            return
        self.packing = self._packed_closely() if self.closely else self._arranged()
        self.height, self.width = self.packing.height, self.packing.width

    @property
    def fits(self) -> bool:
        """True where it is not larger than the room."""
        return self.room is None or max(self.height, self.width) <= self.room

    def _as_loose_as_needed(self, card: Card) -> Card:
        """The card, with vectors by themselves where its layers are low: at matrices they would take rows of their own."""
        kinds = [item.kind for item in card.items]
        low = len(card.titles) > 1 and height_of_layers(kinds, len(card.titles), self.scale) < _LOW
        return replace(card, items=card.loose) if low else card

    def _tag(self, named: bool, kinds: tuple[AnyKind, ...], count: int) -> int:
        """Cells left of each of *count* layers for its number; none where they would take much of the layers' own room."""
        tag = math.ceil(self.line * (0.45 * len(str(count - 1)) + 0.4))
        if not named:
            return 0
        sample = self.known.ways(kinds, count, self.scale, 0, 1)[0]
        return tag if isinstance(sample, Rows) and sample.layer.box[1] >= 16 * tag else 0

    def _leave_names_out(self, share: float) -> None:
        """Where names take more than *share* of the room that they may have, those of small modules go first.

        Layers that are alike keep theirs for longer: one line names the columns of all of them. Those with numbers beside
        them keep it for longest: the numbers say little without.
        """
        lines = [1 + _numbered_above(way, self.line) for way in self.chosen]
        spent = [each * many * self.line * way.box[1] for each, many, way in zip(self.named, lines, self.chosen, strict=True)]
        order = sorted(range(len(spent)), key=lambda place: spent[place] / math.prod(self.chosen[place].box))
        room = _NAMES * self.extent**2
        taken = 0.0
        for place in order:
            taken += spent[place]
            way = self.chosen[place]
            least = _NUMBERED if isinstance(way, Rows) and way.tag else _ALIKE if len(self.cards[place].titles) > 1 else 0.0
            most = max(share, least)
            if taken > most * room or way.box[0] < self.line:
                self.named[place] = False

    def _arranged(self) -> Packing:
        """The squarest and fullest packing found: widths of the largest card first, then other ways of the larger cards."""
        if self.boxes >= MANY:
            return self._packed(1)
        areas = [math.prod(self._box(place)) for place in range(len(self.cards))]
        largest = sorted(range(len(areas)), key=lambda place: -areas[place])
        tries = max(_WORK // len(self.cards), 4)
        best, best_chosen = self._packed(10), list(self.chosen)
        main = largest[0]
        sheet_side = math.isqrt(sum(areas))
        tried: list[int] = []
        for way in self._ways(main)[:12]:
            tried.append(way.box[1])
        tried += [round(sheet_side * each) for each in (0.8, 0.87, 0.93, 1.0, 1.05, 1.1, 1.2)]
        for limit in dict.fromkeys(tried):
            if not 0.55 * sheet_side < limit < 1.7 * sheet_side or tries <= 0:
                continue
            for broad in _BROAD:
                self.chosen = [
                    self._fitting(place, limit, areas[place] > broad * sum(areas)) for place in range(len(self.cards))
                ]
                found = self._pack(limit)
                tries -= 2
                if self._badness(found) < self._badness(best):
                    best, best_chosen = found, list(self.chosen)
        self.chosen = list(best_chosen)
        for place in [each for each in largest[:8] if not self._is_full(best)]:
            for way in self._ways(place):
                if tries <= 0 or way is best_chosen[place] or self._is_full(best):
                    continue
                self.chosen = list(best_chosen)
                self.chosen[place] = way
                found = self._packed(6)
                tries -= 6
                if self._badness(found) < self._badness(best):
                    best, best_chosen = found, list(self.chosen)
        chance = random.Random(0)  # the same picture every time
        while tries > 0 and not self._is_full(best) and len(self.cards) > 1:
            self.chosen = list(best_chosen)
            for place in chance.sample(largest[:16], min(3, len(self.cards), 16)):
                self.chosen[place] = chance.choice(self._ways(place))
            found = self._packed(4)
            tries -= 4
            if self._badness(found) < self._badness(best):
                best, best_chosen = found, list(self.chosen)
        self.chosen = best_chosen
        return best

    def _packed_closely(self) -> Packing:
        """The fullest of many packings that choose how each card is arranged together with its place."""
        every = tuple(tuple(self._box(place, way) for way in self._ways(place)) for place in range(len(self.cards)))
        if every not in self.known.packed:
            many = len(every) > _MANY_CARDS
            self.known.packed[every] = self._fitted_together(every) if many else self._joined_together(every)
        packing, picked = self.known.packed[every]
        if len(every) <= _FEW_CARDS and self._emptiness(*(other := self._arranged())[1:]) <= self._emptiness(*packing[1:]):
            return other
        self.chosen = [self._ways(place)[way] for place, way in enumerate(picked)]
        return packing

    def _joined_together(self, every: Sequence[Sequence[Box]]) -> tuple[Packing, list[int]]:
        """A packing by ``slicings``, and which way of each card is chosen."""
        best = None
        for found in slicings(every, self.between, _ORDERS, self._emptiness):
            if best is None or self._emptiness(*found[0][1:]) < self._emptiness(*best[0][1:]):
                best = found
                if self.cells >= (1 - _MOST_EMPTY) * math.prod(found[0][1:]):
                    break
        assert best is not None
        return best

    def _fitted_together(self, every: Sequence[Sequence[Box]]) -> tuple[Packing, list[int]]:
        """A packing in which each place is filled by that card, and that way of it, which fits there."""
        compact = [_compact(some) for some in every]
        areas = [math.prod(some[own[0]]) for some, own in zip(every, compact, strict=True)]
        largest = sorted(range(len(areas)), key=lambda place: -areas[place])
        side, chance = math.isqrt(sum(areas)), random.Random(0)
        best_picked = [0] * len(every)
        firsts = [some[0] for some in every]
        tried = [(width, order) for width in widths(firsts, self.between, 0.75, 1.3, 3) for order in orders(firsts)[:2]]
        plain = [pack(firsts, self.between, width, order) for width, order in tried]
        best = min(plain, key=lambda each: self._emptiness(*each[1:]))
        for turn in range(_CLOSELY // len(every)):
            across = turn % 2  # from the left on instead of from the top
            some_of = chance.sample(largest[:6], min(chance.randint(1, 3), len(largest)))  # that fill the width side by side
            limit = (
                sum(every[place][chance.choice(compact[place])][1 - across] + self.between for place in some_of) - self.between
            )
            if not 0.8 * side < limit < 1.25 * side:
                limit = round(side * chance.uniform(0.88, 1.15))
            narrow = [[way for way in own if some[way][1 - across] <= limit] for some, own in zip(every, compact, strict=True)]
            if not all(narrow):
                continue
            boxes = [[some[way][::-1] if across else some[way] for way in own] for some, own in zip(every, narrow, strict=True)]
            found, picked = best_fit(boxes, self.between, limit, chance.choice((4, 10, len(boxes))), chance.random())
            if across:
                found = Packing(tuple((down, right) for right, down in found.places), found.width, found.height)
            if self._emptiness(*found[1:]) < self._emptiness(*best[1:]):
                best, best_picked = found, [own[way] for own, way in zip(narrow, picked, strict=True)]
                if self.cells >= (1 - _MOST_EMPTY) * math.prod(best[1:]):
                    break
        return best, best_picked

    def _ways(self, place: int) -> list[Way]:
        return self.ways[self.kinds[place], len(self.cards[place].titles)]

    def _is_full(self, packing: Packing) -> bool:
        taken = sum(math.prod(way.box) for way in self.chosen)
        return taken >= (1 - _EMPTY / 2) * packing.height * packing.width and max(packing[1:]) < 1.3 * min(packing[1:])

    def _fitting(self, place: int, limit: int, broad: bool) -> Way:
        """The way of a card for a sheet *limit* cells wide: a *broad* one as if it took all of it, another its own room."""
        card, kinds, ways = self.cards[place], self.kinds[place], list(self._ways(place))
        if len(card.titles) == 1:
            fit = self.known.fitted(kinds, self.scale, limit)
            ways += [fit] if fit else []

        def taken(way: Way) -> float:
            height, width = way.box
            over = max(width - limit, 0)
            return way.cost / (height * width) * height * (limit if broad else width) * (1 + 10 * over / limit)

        return min(ways, key=taken)

    def _packed(self, sheets: int) -> Packing:
        boxes = tuple(self._box(place) for place in range(len(self.cards)))
        if (boxes, sheets) not in self._seen:  # of a few cards the same boxes come up again and again
            tried = widths(boxes, self.between, 0.75, 1.3, sheets)
            if self.room is not None and self.room < 1.3 * tried[0]:
                tried.append(self.room)
            every = orders(boxes)[:2] if len(boxes) < 200 else [list(range(len(boxes)))]
            self._seen[boxes, sheets] = [pack(boxes, self.between, width, order) for width in tried for order in every]
        return min(self._seen[boxes, sheets], key=self._badness)

    def _pack(self, limit: int) -> Packing:
        boxes = [self._box(place) for place in range(len(self.cards))]
        every = orders(boxes)[:2] if len(boxes) < 200 else [list(range(len(boxes)))]
        return min((pack(boxes, self.between, limit, order) for order in every), key=self._badness)

    def _badness(self, packing: Packing) -> tuple[bool, float]:
        """Less is better: within the room, about square, without empty places."""
        beyond, size = self._oversize(packing.height, packing.width)
        costs = sum(way.cost for way in self.chosen) / sum(math.prod(way.box) for way in self.chosen)  # of cutting matrices
        return beyond, costs * size

    def _oversize(self, height: int, width: int) -> tuple[bool, float]:
        """Whether that is more than the room, and how large and how far from a square."""
        longer = max(height, width)
        return self.room is not None and longer > self.room, 0.5 * longer**2 + 2.5 * height * width

    def _emptiness(self, height: int, width: int) -> tuple[bool, float]:
        """Whether that is more than the room, and how much is empty."""
        return self.room is not None and max(height, width) > self.room, _emptiness(height, width)

    def _box(self, place: int, way: Way | None = None) -> Box:
        """(height, width) of one card, placed in the way chosen unless another is given, with its name above, and that of the
        first layer of each column where none has room."""
        way = way or self.chosen[place]
        height, width = way.box
        if not self.named[place]:
            return height, width
        lines = 1 + _numbered_above(way, self.line)
        return height + lines * self.line, max(width, 3 * self.line)

    def layout(self, names: Sequence[str]) -> Layout:
        """Everything at its place; regions in the order of *names*."""
        blocks: dict[str, list[Block]] = {}
        rects: dict[str, list[Rect]] = {}
        marks: list[Region] = []
        labels: list[Region] = []
        below: Collection[str] = ()
        for place, card in enumerate(self.cards):
            top, left = self.packing.places[place]
            way = self.chosen[place]
            below = ()
            if self.named[place]:
                wide = self._box(place)[1]
                if isinstance(way, Rows) and way.tag:
                    wide = min(max(math.ceil((0.45 * len(card.title.rpartition(".")[2]) + 0.5) * self.line), way.tag), wide)
                    heads, below = self._heads(card, way, top, left, wide)
                    labels += heads
                    for first in range(way.high, len(card.titles), way.high):  # the other columns of layers
                        aside = way.place(first)[1] - way.place(0)[1]
                        for head in self._heads(card, way, top, left, 0)[0]:
                            ((row, column, high, width),) = head.rects
                            name = head.name.removeprefix(card.titles[0])
                            labels.append(Region(card.titles[first] + name, ((row, column + aside, high, width),)))
                labels.append(Region(card.title, ((top, left, self.line, wide),)))
                top += self.line
                if isinstance(way, Rows) and _numbered_above(way, self.line):
                    for first in range(0, len(card.titles), way.high):
                        rect = (top, left + way.place(first)[1], self.line, way.layer.box[1])
                        labels.append(Region(card.titles[first], (rect,)))
                    top += self.line
            layer = way.layer if isinstance(way, Rows) else way
            placed = [
                each
                for item, bands, (down, across) in zip(card.items, layer.bands, layer.packing.places, strict=True)
                for each in put(item, self.scale, bands, down, across)
            ]
            step = self._numbers(way) if isinstance(way, Rows) else 0
            for index, title in enumerate(card.titles):
                down, across = way.place(index) if isinstance(way, Rows) else (0, 0)
                marks += _written_inside(placed, below, top + down, left + across, self.line if index else 0)
                self._stamp(placed, f"{title}." if title else "", top + down, left + across, blocks, rects, marks)
                if isinstance(way, Rows) and step and index % way.high % step == 0:
                    high = min(self.line, self.height - top - down)
                    labels.append(Region(title, ((top + down, left + across - way.tag, high, way.tag),)))
        side = self.scale.side
        return Layout(
            self.height * side,
            self.width * side,
            (side, side),
            tuple(block for name in names for block in blocks[name]),
            tuple(Region(name, tuple(rects[name])) for name in names),
            tuple(labels),
            tuple(marks),
        )

    def _heads(self, card: Card, rows: Rows, top: int, left: int, taken: int) -> tuple[list[Region], set[str]]:
        """The names of the matrices that begin at the top of a layer, above the first layer, those of its tensors; the first
        *taken* cells have another text. And the names of matrices without: another one is above them, or they are narrow."""
        heads: list[Region] = []
        below: set[str] = set()
        placed = list(zip(card.items, rows.layer.bands, rows.layer.packing.places, strict=True))
        matrices = [each for each in placed if isinstance(each[0], Group) or not each[0].form.is_line]
        covered: list[tuple[int, int]] = []
        for item, bands, (_, column) in sorted(matrices, key=lambda each: each[2]):
            end = column + shape_of(item.kind, self.scale, bands)[0][1]
            if any(column < stop and start < end for start, stop in covered):
                below.add(item.name if isinstance(item, Item) else "")  # another matrix is above it
                continue
            covered.append((column, end))
            if isinstance(item, Group) and isinstance(bands, tuple) and not bands[0]:
                below.update(each.name for each in item.members[0][1:])  # one below the other
            for name, start, wide in _tops(item, bands, self.scale):
                first = max(rows.tag + column + start, taken + 1)
                width = rows.tag + column + start + wide - first
                if width >= 2 * self.line:
                    heads.append(Region(f"{card.titles[0]}.{name}", ((top, left + first, self.line, width),)))
                else:
                    below.add(name)
        heads.sort(key=lambda head: head.rects[0][1])
        end, found = left + rows.tag + rows.layer.box[1], list[Region]()
        for head in reversed(heads):  # each as far as the next
            ((_, first, high, width),) = head.rects
            found.insert(0, Region(head.name, ((top, first, high, max(end - first, width)),)))
            end = first - 1
        return found, below

    def _numbers(self, rows: Rows) -> int:
        """Each how many layers one has its number beside it; 0: none."""
        if not rows.tag:
            return 0
        pitch = rows.layer.box[0] + rows.gap
        return -(-self.line // pitch)

    def _stamp(
        self,
        placed: Sequence[Placed],
        prefix: str,
        row: int,
        column: int,
        blocks: dict[str, list[Block]],
        rects: dict[str, list[Rect]],
        marks: list[Region],
    ) -> None:
        """One layer at (row, column), in cells."""
        side = self.scale.side
        for each in placed:
            name = prefix + each.name
            blocks.setdefault(name, []).extend(
                Block(name, block.start, block.row + row * side, block.column + column * side, block.dims)
                for block in each.blocks
            )
            rects.setdefault(name, []).extend((a + row, b + column, h, w) for a, b, h, w in each.rects)
            for mark in each.marks:
                marks.append(Region(mark.name, tuple((a + row, b + column, h, w) for a, b, h, w in mark.rects)))
