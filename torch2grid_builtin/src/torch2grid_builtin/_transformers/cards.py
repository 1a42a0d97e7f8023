"""The matrices of one module on a card: vectors at the matrix that they belong to, experts in a grid."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch2grid_builtin._forms import by_itself, fused_parts, matrix_name, stacked
from torch2grid_builtin._transformers.matrices import (
    Cut,
    Form,
    blocks_of,
    column_unit,
    cut,
    form_of,
    line_at,
    line_box,
    rects_of,
    row_unit,
    strip_above,
    strip_beside,
)
from torch2grid_builtin._transformers.packing import Box
from torch2grid_core.grids import Block, Rect, Region
from torch2grid_core.sources import kept_places

_NEAR = 16  # tensors between a vector and its matrix, at most
_NUMBERED = re.compile(r"(.*?)\.(\d{1,6})\.(.*)", re.DOTALL)
_ALIKE = 3  # numbered modules that are alike are experts from so many on


@dataclass(frozen=True)
class Item:
    """A matrix and the vectors at it, or a vector by itself (its form has one row). beside, above: names of vectors.

    start: flat index of its first weight: a tensor that is a stack of matrices is an item for each. title: of such a matrix,
    ``expert 3``. marks: (letter, first unit, behind the last), the parts of a fused matrix along *axis* (0 rows, 1 columns).
    shape: of the matrix, which knows the whole of which it is a part.
    """

    name: str
    form: Form
    beside: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    start: int = 0
    title: str = ""
    marks: tuple[tuple[str, int, int], ...] = ()
    axis: int = 0
    shape: tuple[int, ...] = ()

    @cached_property
    def kind(self) -> Kind:
        """What it takes room for."""
        return Kind(self.form, len(self.beside), len(self.above))

    @property
    def vectors(self) -> int:
        """How many stand at the matrix."""
        return len(self.beside) + len(self.above)


@dataclass(frozen=True)
class Group:
    """Experts and the like: of each, the same matrices. members: the items of each, in one order. titles: ``expert 3``."""

    members: tuple[tuple[Item, ...], ...]
    titles: tuple[str, ...]

    @cached_property
    def kind(self) -> GroupKind:
        """What it takes room for."""
        return GroupKind(tuple(item.kind for item in self.members[0]), len(self.members))

    @property
    def vectors(self) -> int:
        """How many stand at the matrices of all members."""
        return sum(item.vectors for member in self.members for item in member)


@dataclass(frozen=True)
class Kind:
    """What the room for an item depends on. beside, above: numbers of vectors."""

    form: Form
    beside: int
    above: int

    def slimness(self, side: int) -> float:
        """How many times longer than wide it is, in cells of side×side weights."""
        rows, columns = -(-self.form.rows // side), -(-self.form.columns // side)
        return max(rows, columns) / min(rows, columns)


@dataclass(frozen=True)
class GroupKind:
    """What the room for a group depends on: the kinds of one member's items, and how many members there are."""

    kinds: tuple[Kind, ...]
    count: int


AnyKind = Kind | GroupKind
# Bands of an item; of a group, whether its members are rows (else columns), and the bands of each item of a member.
Bands = int | tuple[bool, tuple[int, ...]]


@dataclass(frozen=True)
class Scale:
    """side: a cell holds side×side weights. gap: empty cells between items; apart: between layers. longest: cells of a vector
    in one row."""

    side: int
    gap: int
    longest: int
    apart: int = 1


def items_of(
    names: Sequence[str], shapes: Mapping[str, tuple[int, ...]], *, loose: bool = False, prefix: str = ""
) -> list[Item | Group]:
    """The tensors of a module as items, in order of the matrices; vectors without a matrix are items of their own.

    loose: all vectors are, as beside small matrices they would leave much of the sheet empty. prefix: of the module, which
    may say what its tensors are.
    A tensor that is a stack of matrices is an item for each; numbered modules that are alike, as experts are, become a group.
    """
    stacks = {name: found for name in names if (found := stacked(prefix + name, shapes[name]))}
    shapes = {name: by_itself(prefix + name, shapes[name]) for name in names}
    forms = {name: form_of(shapes[name]) for name in names if name not in stacks}
    order = {name: place for place, name in enumerate(names)}
    matrices = [name for name in forms if not forms[name].is_line]
    beside: dict[str, list[str]] = {name: [] for name in matrices}
    above: dict[str, list[str]] = {name: [] for name in matrices}
    homes = _Homes(matrices, forms, shapes, order)
    alone = []
    for name in forms:
        if not forms[name].is_line:
            continue
        home = homes.of(name, kept_places(shapes[name])[0]) if len(shapes[name]) == 1 and not loose else None
        if home is None:
            alone.append(name)
        else:
            (above if home[1] else beside)[home[0]].append(name)
    items = []
    for name in matrices:
        axis, marks = fused_parts(prefix + name, shapes[name])
        units = tuple(beside[name]), tuple(above[name])
        items.append(Item(name, forms[name], *units, marks=marks, axis=axis, shape=shapes[name]))
    items += [Item(name, Form(1, math.prod(shapes[name]), ())) for name in alone]
    for name, stack in stacks.items():
        form, each = form_of(stack.matrix), stack.rows * stack.columns
        form = Form(1, each, ()) if form.is_line else form
        items += [
            Item(name, form, start=place * each, title=matrix_name(prefix + name, index), shape=stack.matrix)
            for place, index in enumerate(stack.indices)
        ]
    return _grouped(sorted(items, key=lambda item: order[item.name]))


def _grouped(items: Sequence[Item]) -> list[Item | Group]:
    """*items*, those that are alike in numbered modules, or slices of stacks of as many matrices, as groups."""
    families: dict[tuple[str, tuple[str, ...]], dict[int, list[tuple[str, Item]]]] = {}
    family_of: dict[int, tuple[str, tuple[str, ...]]] = {}
    stacks: dict[str, list[str]] = {}
    for item in items:
        stacks.setdefault(item.name, []).append(item.title)
    for place, item in enumerate(items):
        if len(titles := stacks[item.name]) > 1:
            module, _, leaf = item.name.rpartition(".")
            key, index, rest = (module, tuple(titles)), item.start // (item.form.rows * item.form.columns), leaf
        elif found := _NUMBERED.match(item.name):
            key, index, rest = (found[1], ()), int(found[2]), found[3]
        else:
            continue
        families.setdefault(key, {}).setdefault(index, []).append((rest, item))
        family_of[place] = key
    builds = {
        key: {tuple((rest, item.kind) for rest, item in members) for members in family.values()}
        for key, family in families.items()
    }
    found_groups: list[Item | Group] = []
    done = set()
    for place, item in enumerate(items):
        own = family_of.get(place)
        if (
            own is None
            or len(builds[own]) > 1
            or len(families[own]) < (2 if item.title else _ALIKE)
            or any(i.form.is_line for _, i in families[own][min(families[own])])
        ):
            found_groups.append(item)
        elif own not in done:
            done.add(own)
            family = families[own]
            numbers = sorted(family)
            members = tuple(tuple(each for _, each in family[number]) for number in numbers)
            numbered = (f"expert {number}" if "expert" in item.name.lower() else str(number) for number in numbers)
            titles = [member[0].title or other for member, other in zip(members, numbered, strict=True)]
            found_groups.append(Group(members, tuple(titles)))
    return found_groups


class _Homes:
    """Finds the matrix that a vector belongs to, by module and by length."""

    def __init__(
        self,
        matrices: Sequence[str],
        forms: Mapping[str, Form],
        shapes: Mapping[str, tuple[int, ...]],
        order: Mapping[str, int],
    ) -> None:
        self.forms, self.order = forms, order
        self.stems = _stems_of_alike(matrices, forms)
        self.by_units: dict[tuple[range, bool], list[str]] = {}  # (indices, above) → matrices that have these units, in order
        for name in matrices:
            form, kept = forms[name], kept_places(shapes[name])
            own = kept[0] if len(kept[0]) == form.dims[0][0] else range(form.dims[0][0])
            self.by_units.setdefault((own, False), []).append(name)
            if form.tile == (1, 1):
                own = kept[1] if len(kept[1]) == form.columns else range(form.columns)
                self.by_units.setdefault((own, True), []).append(name)

    def of(self, name: str, indices: range) -> tuple[str, bool] | None:
        """(matrix, whether the vector goes above it); ``None`` where there is none near. indices: in the whole vector.

        No vector from outside goes to one of many experts, which would then differ from the others.
        """
        numbered = _NUMBERED.match(name)
        stem = numbered[1] if numbered else ""
        units, inputs = (
            [each for each in self._near(name, (indices, above)) if self.stems.get(each, stem) == stem]
            for above in (False, True)
        )
        module, _, leaf = name.rpartition(".")
        twin = f"{module}.{leaf.replace('bias', 'weight')}".lstrip(".")
        before = [each for each in units if self.order[each] < self.order[name]]
        after = [each for each in inputs if self.order[each] > self.order[name]]
        choices = (
            ([each for each in units if each == twin], False),
            ([each for each in units if each.rpartition(".")[0] == module], False),
            ([each for each in inputs if each.rpartition(".")[0] == module], True),
            ([each for each in before if self.forms[each].tile != (1, 1)], False),  # normalises a convolution's channels
            (after, True),  # normalises what the matrix gets
            (units, False),
            (inputs, True),
        )
        for found, goes_above in choices:
            if found:
                return min(found, key=lambda each: self._distance(each, name)), goes_above
        return None

    def _near(self, name: str, fits: tuple[range, bool]) -> list[str]:
        found, place = self.by_units.get(fits, []), self.order[name]
        first = bisect_left(found, place - _NEAR, key=self.order.__getitem__)
        return found[first : bisect_right(found, place + _NEAR, key=self.order.__getitem__)]

    def _distance(self, one: str, other: str) -> int:
        return abs(self.order[one] - self.order[other])


def _stems_of_alike(matrices: Sequence[str], forms: Mapping[str, Form]) -> dict[str, str]:
    """What holds the numbered module of each of the *matrices* that are in one of several alike: ``mlp.experts``."""
    families: dict[str, dict[str, list[tuple[str, Form]]]] = {}
    for name in matrices:
        if found := _NUMBERED.match(name):
            families.setdefault(found[1], {}).setdefault(found[2], []).append((found[3], forms[name]))
    alike = {
        stem
        for stem, members in families.items()
        if len(members) >= _ALIKE and len({tuple(each) for each in members.values()}) == 1
    }
    return {name: found[1] for name in matrices if (found := _NUMBERED.match(name)) and found[1] in alike}


def shape_of(kind: AnyKind, scale: Scale, bands: Bands) -> tuple[Box, int]:
    """The box of an item or group, and the cells from one band to the next, or from one member of a group to the next."""
    if isinstance(kind, GroupKind):
        assert isinstance(bands, tuple)
        heights, widths_ = zip(
            *(shape_of(each, scale, own)[0] for each, own in zip(kind.kinds, bands[1], strict=True)), strict=True
        )
        between = scale.gap * (len(kind.kinds) - 1)
        if bands[0]:
            pitch = max(heights) + scale.gap
            return (kind.count * pitch - scale.gap, sum(widths_) + between), pitch
        pitch = max(widths_) + scale.gap
        return (sum(heights) + between, kind.count * pitch - scale.gap), pitch
    assert isinstance(bands, int)
    if kind.form.is_line:
        return line_box(kind.form.columns, scale.side, scale.longest), 0
    piece = cut(kind.form, scale.side, bands)
    beside, above = kind.beside + (kind.beside > 0), kind.above + (kind.above > 0)
    between = min(scale.gap, 1)
    if piece.wide:
        pitch = piece.height + above + between
        return (piece.bands * pitch - between, piece.width + beside), pitch
    pitch = piece.width + beside + between
    return (piece.height + above, piece.bands * pitch - between), pitch


@dataclass(frozen=True)
class Placed:
    """What ``put`` yields of a tensor, or of a matrix of a stack. marks: texts at places in it, such as where bands begin."""

    name: str
    blocks: tuple[Block, ...]
    rects: tuple[Rect, ...]
    marks: tuple[Region, ...] = ()


def put(item: Item | Group, scale: Scale, bands: Bands, row: int, column: int) -> Iterator[Placed]:
    """Where each tensor of an item or group goes whose box begins at (row, column), in cells."""
    if isinstance(item, Group):
        assert isinstance(bands, tuple)
        _, pitch = shape_of(item.kind, scale, bands)
        for index, member in enumerate(item.members):
            down, across = row, column
            for place, (each, own) in enumerate(zip(member, bands[1], strict=True)):
                for found in put(each, scale, own, down, across):
                    # What bands say of the first is true of all; each is told by the number of the member.
                    marks = tuple(
                        Region("" if index or mark.name == each.title else mark.name, mark.rects) for mark in found.marks
                    )
                    if place == 0 and found.name == each.name:
                        marks = (Region(item.titles[index], (_across(found.rects),)), *marks)
                    yield replace(found, marks=marks)
                high, wide = shape_of(each.kind, scale, own)[0]
                down, across = (down, across + wide + scale.gap) if bands[0] else (down + high + scale.gap, across)
            row, column = (row + pitch, column) if bands[0] else (row, column + pitch)
        return
    assert isinstance(bands, int)
    if item.form.is_line:
        blocks, region = line_at(item.name, item.form.columns, scale.side, scale.longest, row, column)
        shifted = tuple(replace(block, start=block.start + item.start) for block in blocks)
        yield Placed(item.name, shifted, region.rects, _titled(item, region.rects))
        return
    piece = cut(item.form, scale.side, bands)
    _, pitch = shape_of(item.kind, scale, bands)
    for place, name in enumerate(item.above):
        blocks, region = strip_above(name, piece, row + place, column, pitch)
        yield Placed(name, blocks, region.rects)
    row += len(item.above) + bool(item.above)
    rects = rects_of(piece, row, column, pitch)
    blocks = tuple(blocks_of(item.name, piece, row, column, pitch, item.start))
    yield Placed(
        item.name, blocks, rects, (*_titled(item, rects), *_part_marks(item, piece, rects), *_band_marks(item, piece, rects))
    )
    for place, name in enumerate(item.beside):
        blocks, region = strip_beside(name, piece, row, column + piece.width + 1 + place, pitch)
        yield Placed(name, blocks, region.rects)


def _titled(item: Item, rects: Sequence[Rect]) -> tuple[Region, ...]:
    """Which matrix of its stack an item is."""
    return (Region(item.title, (_across(rects),)),) if item.title else ()


def _across(rects: Sequence[Rect]) -> Rect:
    """The first rectangle, with those right of it that are bands of the same rows."""
    row, column, height, _ = rects[0]
    end = max(left + width for top, left, deep, width in rects if (top, deep) == (row, height))
    return row, column, height, end - column


def _band_marks(item: Item, piece: Cut, rects: Sequence[Rect]) -> Iterator[Region]:
    """At each band but the first, where it begins: ``row 2000``, or ``channel 8`` of a kernel, counted in the whole tensor."""
    across = "column" if len(piece.form.dims) == 2 else "channel"  # in whose columns each has several
    what, counted = (across, column_unit) if piece.wide else ("row", row_unit)
    length = piece.form.columns // piece.bands if piece.wide else piece.length
    step = piece.form.columns // piece.form.dims[1][0] if piece.wide else piece.form.tile[0]
    for band, rect in enumerate(rects[1:], 1):
        yield Region(f"{what} {counted(item.shape, band * length // max(step, 1)):,}", (rect,))


def _part_marks(item: Item, piece: Cut, rects: Sequence[Rect]) -> Iterator[Region]:
    """The cells of each part of a fused matrix: ``Q``, ``K``, ``V``. A part that goes on in further bands is one mark; where it
    begins in each band anew, it is a mark in each."""
    along = piece.form.columns // piece.bands if piece.wide else piece.length
    goes_on = bool(item.axis) == piece.wide
    for letter, first, end in item.marks:
        found = []
        for band, (top, left, height, width) in enumerate(rects):
            low, high = (max(first - band * along, 0), min(end - band * along, along)) if goes_on else (first, end)
            if high <= low:
                continue
            start, stop = low // piece.side, -(-high // piece.side)
            if item.axis:
                found.append((top, left + start, height, min(stop, width) - start))
            else:
                found.append((top + start, left, min(stop, height) - start, width))
        if goes_on and found:
            yield Region(letter, tuple(found))
        elif not goes_on:
            yield from (Region(letter, (rect,)) for rect in found)
