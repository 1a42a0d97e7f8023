"""Ways to arrange the matrices of one module: as a card of about any proportions, or as the rows of layers that are alike."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from torch2grid_builtin._transformers.cards import AnyKind, Bands, GroupKind, Kind, Scale, shape_of
from torch2grid_builtin._transformers.matrices import Form, cut
from torch2grid_builtin._transformers.packing import Box, Packing, orders, pack, widths

_LONG = 8.0  # a matrix that is so many times longer than wide is always cut into bands
_LIMITS = (_LONG, 3.5, 2.2)  # those to try: cutting shorter ones too may fill the card better
_CUT_COST = 0.15  # share of a card's area that must be saved to cut all of its matrices that need not be cut
_TRIED = 64  # numbers of bands of a matrix that is alone, at most
_OFFERED = 40  # ways to place layers, the best
_FEW = 4  # forms of a layer's matrices, of which all combinations are tried
_WAYS = 3  # ways of each then
_COMBINED = 5_000  # and about so many boxes placed
_LOWEST = 12  # cells of a row of layers, below which layers stand in several columns


@dataclass(frozen=True)
class Arrangement:
    """A way to place the items of a card: about how many bands each, where, and how good that is (less is better)."""

    bands: tuple[Bands, ...]
    packing: Packing
    cost: float

    @property
    def box(self) -> Box:
        """(height, width) in cells."""
        return self.packing.height, self.packing.width


def arrangements(kinds: Sequence[AnyKind], scale: Scale, work: int) -> list[Arrangement]:
    """A few good ways to place items of these kinds, the best first, unlike each other in height to width.

    work: boxes that may be placed while looking for them; 0: one way, a square.
    """
    if not work:
        return [_as_it_is(kinds, scale)]
    options = _options(kinds, scale)
    tries = max(work // max(len(kinds), 1), 3)
    found: dict[Box, Arrangement] = {}
    sheets = max(min(tries // len(options), 14), 2)
    ways = []
    for bands in options:
        boxes = [shape_of(kind, scale, each)[0] for kind, each in zip(kinds, bands, strict=True)]
        cost = 1 + _CUT_COST * _needlessly_cut(kinds, bands, scale.side)
        ways += [(turn, bands, boxes, order, cost) for turn, order in enumerate(orders(boxes))]
    for _, bands, boxes, order, cost in sorted(ways, key=lambda way: way[0]):
        for width in widths(boxes, scale.gap, 0.4, 2.2, sheets):
            packing = pack(boxes, scale.gap, width, order)
            new = Arrangement(bands, packing, cost * packing.height * packing.width)
            if new.box not in found or new.cost < found[new.box].cost:
                found[new.box] = new
            tries -= 1
        if tries <= 0:
            break
    return _unlike(sorted(found.values(), key=lambda each: each.cost), 24 if len(kinds) == 1 else 8)


def _as_it_is(kinds: Sequence[AnyKind], scale: Scale) -> Arrangement:
    """About a square, of matrices that are cut only if they are long."""
    bands = tuple(
        _whole(kind) if isinstance(kind, GroupKind) else _bands(_slimness(kind, scale.side), _LONG, 1.0) for kind in kinds
    )
    boxes = [shape_of(kind, scale, each)[0] for kind, each in zip(kinds, bands, strict=True)]
    if len(boxes) == 1:
        packing = Packing(((0, 0),), *boxes[0])
    else:
        packing = pack(
            boxes, scale.gap, round(math.sqrt(sum((height + scale.gap) * (width + scale.gap) for height, width in boxes)))
        )
    return Arrangement(bands, packing, packing.height * packing.width)


def _options(kinds: Sequence[AnyKind], scale: Scale) -> list[tuple[Bands, ...]]:
    """Numbers of bands to try for each item: the least cut first."""
    side = scale.side
    if len(kinds) == 1 and isinstance(kinds[0], Kind):
        slim = _slimness(kinds[0], side)
        least, most = (math.ceil(math.sqrt(slim * times)) for times in (1 / _LONG, 6.25))  # to 2.5 times a square's
        return [(bands,) for bands in range(least, most + 1, -(-(most - least + 1) // _TRIED))]
    found: list[tuple[Bands, ...]] = []
    longer = any(_slimness(kind, side) > _LONG for kind in kinds if isinstance(kind, Kind))
    groups = {kind: _group_options(kind, scale) for kind in kinds if isinstance(kind, GroupKind)}
    turns = max(map(len, groups.values()), default=1)
    for turn, high, wide, stretch in product(range(turns), _LIMITS, _LIMITS, (1.0, 0.6, 1.6) if longer else (1.0,)):
        bands: list[Bands] = []
        for kind in kinds:
            if isinstance(kind, GroupKind):
                bands.append(groups[kind][turn % len(groups[kind])])
            else:
                limit = high if kind.form.rows > kind.form.columns else wide
                bands.append(_bands(_slimness(kind, side), limit, stretch))
        if tuple(bands) not in found:
            found.append(tuple(bands))
    return found


def _slimness(kind: Kind, side: int) -> float:
    return 1.0 if kind.form.is_line else kind.slimness(side)


def _bands(slim: float, limit: float, stretch: float) -> int:
    """Into how many bands a matrix slimmer than *limit* is cut: about a square, or *stretch* times as wide if it is long."""
    return 1 if slim <= limit else max(round(math.sqrt(slim) * (stretch if slim > _LONG else 1)), 1)


def _group_options(kind: GroupKind, scale: Scale) -> list[Bands]:
    """Ways to place the members of a group as rows, and as columns, from low to high."""
    area = math.sqrt(sum(math.prod(shape_of(each, scale, 1)[0]) for each in kind.kinds))
    found = [group_of(kind, scale, rows, area * times) for rows in (True, False) for times in (0.5, 0.7, 1.0, 1.4)]
    return list(dict.fromkeys(found))


def group_of(kind: GroupKind, scale: Scale, rows: bool, length: float) -> Bands:
    """The bands of a group whose members are rows about *length* cells high, or columns about so wide."""
    limit = max(round(length), 1)
    bands = [_as_high(each, scale, limit, 1.0) if rows else _as_wide(each, scale, limit) for each in kind.kinds]
    return rows, tuple(bands)


def _as_high(kind: Kind, scale: Scale, limit: int, fill: float) -> int:
    """The bands with which an item is at most *limit* cells high; a low one about *fill* of it, 0 for as it is."""
    if kind.form.is_line:
        return 1
    above = kind.above + (kind.above > 0)
    height = -(-kind.form.rows // scale.side)
    wide = kind.form.columns > kind.form.rows
    if height + above > limit:
        bands = -(-height // max(limit - above, 1))
        return -bands if wide else bands
    if wide and fill and height + above < fill * limit / 2:
        for wanted in range(int((fill * limit + 1) // (height + above + 1)), 1, -1):
            piece = cut(kind.form, scale.side, wanted)
            if piece.bands > 1 and shape_of(kind, scale, wanted)[0][0] <= limit:
                return wanted
    return 1


def _as_wide(kind: Kind, scale: Scale, limit: int) -> int:
    """The bands with which an item is about *limit* cells wide."""
    if kind.form.is_line:
        return 1
    width = -(-kind.form.columns // scale.side)
    wide = kind.form.columns > kind.form.rows
    if width > 1.4 * limit:
        return round(width / limit) if wide else 1
    bands = max(round(limit / width), 1)
    return -bands if wide and bands > 1 else bands


def _needlessly_cut(kinds: Sequence[AnyKind], bands: Sequence[Bands], side: int) -> float:
    """Share of the weights that is in matrices which are cut without being long."""
    every, cut_ones = 0, 0
    for kind, each in zip(kinds, bands, strict=True):
        pairs = zip(kind.kinds, each[1], strict=True) if isinstance(kind, GroupKind) else ((kind, each),)  # type: ignore[index]
        for one, own in pairs:
            size = one.form.rows * one.form.columns * (kind.count if isinstance(kind, GroupKind) else 1)
            every += size
            cut_ones += size if own not in (0, 1) and one.slimness(side) <= _LONG else 0
    return cut_ones / max(every, 1)


def _unlike(ordered: Sequence[Arrangement], most: int) -> list[Arrangement]:
    """The first, and those not much worse that are clearly higher or wider than all before."""
    kept: list[Arrangement] = []
    for each in ordered:
        if each.cost > 1.5 * ordered[0].cost or len(kept) == most:
            break
        ratio = math.log(each.packing.height / each.packing.width)
        if all(abs(ratio - math.log(other.packing.height / other.packing.width)) > 0.1 for other in kept):
            kept.append(each)
    return kept


def strips(kinds: Sequence[AnyKind], scale: Scale, limit: int, *, every: bool = False) -> Iterator[Arrangement]:
    """Arrangements of about *limit* cells in height, as narrow as they become.

    every: of matrices of a few forms, those of each as high as that, half and a third of it, in all combinations.
    """
    for bands in _combined(kinds, scale, limit) if every else _strip_options(kinds, scale, limit):
        boxes = [shape_of(kind, scale, each)[0] for kind, each in zip(kinds, bands, strict=True)]
        turned = [(width, height) for height, width in boxes]
        for order in orders(turned)[:3]:
            packing = pack(turned, scale.gap, limit, order)
            places = tuple((down, across) for across, down in packing.places)
            found = Packing(places, packing.width, packing.height)
            cost = 1 + _CUT_COST / 3 * _needlessly_cut(kinds, bands, scale.side)
            yield Arrangement(bands, found, cost * found.height * found.width)


def _combined(kinds: Sequence[AnyKind], scale: Scale, limit: int) -> Iterator[tuple[Bands, ...]]:
    shares = [max((limit - (part - 1) * scale.gap) // part, 1) for part in (1, 2, 3)]
    ways: dict[Form, list[tuple[Bands, ...]]] = {}  # of all kinds of a form, whatever vectors they have
    of_form = _by_form(kinds)
    for form, own in of_form.items():
        found: list[tuple[Bands, ...]] = [
            tuple(_as_high(kind, scale, share, fill) for kind in own) for share in shares for fill in (0.0, 1.0)
        ]
        ways[form] = found[:1] if form.is_line else [*dict.fromkeys(found)][:_WAYS]
    for chosen in product(*ways.values()):
        bands: dict[AnyKind, Bands] = {}
        for own, way in zip(of_form.values(), chosen, strict=True):
            bands.update(zip(own, way, strict=True))
        yield tuple(bands[kind] for kind in kinds)


def _by_form(kinds: Sequence[AnyKind]) -> dict[Form, list[Kind]]:
    found: dict[Form, list[Kind]] = {}
    for kind in dict.fromkeys(kinds):
        if isinstance(kind, Kind):
            found.setdefault(kind.form, []).append(kind)
    return found


def _turned(ways: Sequence[Bands], turn: int) -> Bands:
    return ways[turn % len(ways)]


def _strip_options(kinds: Sequence[AnyKind], scale: Scale, limit: int) -> list[tuple[Bands, ...]]:
    found = []
    singles = [
        [_as_high(kind, scale, limit, fill) if isinstance(kind, Kind) else 0 for kind in kinds] for fill in (0.0, 1.0, 0.5)
    ]
    groups: list[list[Bands]] = []
    for kind in kinds:
        if not isinstance(kind, GroupKind):
            continue
        ways: list[Bands] = []
        each = (limit - (kind.count - 1) * scale.gap) / kind.count
        if each >= 3:
            ways.append(group_of(kind, scale, True, each))
        area = sum(math.prod(shape_of(one, scale, 1)[0]) for one in kind.kinds)
        for times in (0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0):
            columns = group_of(kind, scale, False, times * area / limit)
            if shape_of(kind, scale, columns)[0][0] <= limit:
                ways.append(columns)
        ways.sort(key=lambda way: math.prod(shape_of(kind, scale, way)[0]))
        groups.append(ways[:3] or [group_of(kind, scale, False, area / limit)])
    for bands in singles:
        for turn in range(max(map(len, groups), default=1)):
            own = iter(groups)
            found.append(
                tuple(
                    each if isinstance(kind, Kind) else _turned(next(own), turn)
                    for kind, each in zip(kinds, bands, strict=True)
                )
            )
    return list(dict.fromkeys(found))


def fitted(kinds: Sequence[AnyKind], scale: Scale, width: int) -> Arrangement | None:
    """An arrangement that is about *width* cells wide, and not wider; ``None`` where there is none."""
    best: Arrangement | None = None
    for limit in (width,) if len(kinds) == 1 else dict.fromkeys(max(width // parts, 1) for parts in (1, 2, 3)):
        bands: list[Bands] = []
        for kind in kinds:
            if isinstance(kind, GroupKind):
                bands.append(group_of(kind, scale, False, limit / kind.count - scale.gap))
                continue
            piece = _as_wide(kind, scale, limit)
            if kind.form.columns <= kind.form.rows and not kind.form.is_line:
                piece = 1 + bisect_left(range(2, piece + 1), limit + 1, key=lambda each: shape_of(kind, scale, each)[0][1])
            bands.append(piece if len(kinds) == 1 or kind.slimness(scale.side) > _LONG else 1)
        boxes = [shape_of(kind, scale, each)[0] for kind, each in zip(kinds, bands, strict=True)]
        if max(wide for _, wide in boxes) > width:
            continue
        packing = pack(boxes, scale.gap, width)
        cost = 1 + _CUT_COST * _needlessly_cut(kinds, bands, scale.side)
        new = Arrangement(tuple(bands), packing, cost * packing.height * packing.width)
        if best is None or new.packing.height < best.packing.height:
            best = new
    return best


@dataclass(frozen=True)
class Rows:
    """Layers that are alike, one below the other, so that each matrix is in the same columns in all of them.

    layer: how the matrices of one are arranged. count: of layers; columns: of layers, more than one where so many would be a
    thread. tag: cells left of each layer, for its number; gap: empty cells between layers.
    """

    layer: Arrangement
    count: int
    columns: int
    tag: int
    gap: int

    @property
    def high(self) -> int:
        """Layers below one another."""
        return -(-self.count // self.columns)

    @cached_property
    def box(self) -> Box:
        """(height, width) in cells."""
        height, width = self.layer.box
        across = self.columns * (self.tag + width) + (self.columns - 1) * 2 * self.gap
        return self.high * (height + self.gap) - self.gap, across

    @property
    def cost(self) -> float:
        return self.layer.cost / math.prod(self.layer.box) * math.prod(self.box)

    def place(self, index: int) -> tuple[int, int]:
        """(row, column) in the box at which the matrices of a layer begin."""
        column, row = divmod(index, self.high)
        height, width = self.layer.box
        return row * (height + self.gap), column * (self.tag + width + 2 * self.gap) + self.tag


def _whole(kind: AnyKind) -> Bands:
    return (True, (1,) * len(kind.kinds)) if isinstance(kind, GroupKind) else 1


Known = dict[tuple[tuple[AnyKind, ...], Scale, int, bool], list[Arrangement]]  # what ``strips`` found


def rows_of(
    kinds: tuple[AnyKind, ...], count: int, scale: Scale, tag: int, work: int, known: Known | None = None
) -> list[Rows]:
    """Ways to place *count* layers of these kinds, from high and narrow to low and wide, the best of each.

    known: of other calls, so that the same layer is arranged once. work: as for ``arrangements``.
    """
    if not work:
        layer = _as_it_is(kinds, scale)
        return [Rows(layer, count, _columns_of(layer, count, scale, tag), tag, scale.apart)]
    known = {} if known is None else known
    boxes = [shape_of(kind, scale, _whole(kind))[0] for kind in kinds]
    area = 1.08 * sum((height + scale.gap) * (width + scale.gap) for height, width in boxes)
    columns = 1
    while math.sqrt(area * columns * columns / count) < _LOWEST and columns < count:
        columns += 1
    middle = math.sqrt(area / count) * columns
    low, high = 0.55 * middle, 1.75 * middle
    parts = {each for kind in dict.fromkeys(kinds) if isinstance(kind, Kind) for each in _heights(kind, scale)}
    sums = parts | {one + other + scale.gap for one in parts for other in parts}
    likely = sorted(
        {round(middle * (0.55 + 0.1 * step)) for step in range(13)} | {each for each in sums if low <= each <= high}
    )
    found: dict[Box, Rows] = {}
    matrices = sum(not form.is_line for form in _by_form(kinds))
    few = work > 1 and matrices <= _FEW and not any(isinstance(kind, GroupKind) for kind in kinds)
    step = max(len(likely) * len(kinds) * 5 // max(work, 1), 1)
    longer = -(-len(likely) * 3 * len(kinds) * _WAYS**matrices // _COMBINED) if few else 1
    limits = [(False, limit) for limit in likely[::step]] + [(True, limit) for limit in likely[longer // 2 :: longer] if few]
    for every, limit in limits:
        key = kinds, scale, max(limit, 1), every
        if key not in known:
            known[key] = list(strips(kinds, scale, max(limit, 1), every=every))
        for layer in known[key]:
            across = columns if columns == 1 else _columns_of(layer, count, scale, tag)
            new = Rows(layer, count, across, tag, scale.apart)
            if new.box not in found or new.cost < found[new.box].cost:
                found[new.box] = new
    return sorted(found.values(), key=lambda each: each.cost)[:_OFFERED]


def _columns_of(layer: Arrangement, count: int, scale: Scale, tag: int) -> int:
    """The columns in which *count* layers of this form are about a square."""
    high, wide = (length + scale.apart for length in layer.box)
    return min(max(round(math.sqrt(count * high / (wide + tag))), 1), count)


def _heights(kind: Kind, scale: Scale) -> Iterator[int]:
    """How high a matrix is as it is, and in up to eight bands, the vectors above it included."""
    rows, above = -(-kind.form.rows // scale.side), kind.above + (kind.above > 0)
    for bands in range(1, 9):
        if rows > bands:
            yield -(-rows // bands) + above


def height_of_layers(kinds: Sequence[AnyKind], count: int, scale: Scale) -> float:
    """About how many cells high each of *count* layers is, where they are rows of a square."""
    return math.sqrt(sum(math.prod(shape_of(kind, scale, _whole(kind))[0]) for kind in kinds) / count)
