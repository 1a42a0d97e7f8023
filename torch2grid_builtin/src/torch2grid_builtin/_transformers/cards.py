"""The matrices of one module on a card: vectors at the matrix that they belong to, all of it packed in a small rectangle."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from torch2grid_builtin._transformers.packing import Box, Packing, orders, pack, widths
from torch2grid_core.grids import Block, Rect, Region, flat_run, matrix_shape, vector_columns

_KERNEL = 32  # the last dimension of a 1-D convolution is no longer; a longer one belongs to a stack of matrices
_Dim = tuple[int, Literal["down", "across"], int]  # length, direction, step
_LONG = 8.0  # a matrix that is so many times longer than wide is always cut into bands
_CUT_COST = 0.15  # share of a card's area that must be saved to cut all of its matrices that need not be cut
_TRIED = 64  # numbers of bands of a matrix that is alone, at most
_NEAR = 16  # tensors between a vector and its matrix, at most


@dataclass(frozen=True)
class Form:
    """A tensor as rows × columns of weights. dims: how it gets there, in C order. tile: (high, wide) of a kernel."""

    rows: int
    columns: int
    dims: tuple[_Dim, ...]
    tile: tuple[int, int] = (1, 1)

    @property
    def is_line(self) -> bool:
        """True for what has no form but its order: a vector."""
        return min(self.rows, self.columns) <= 1


def form_of(shape: tuple[int, ...]) -> Form:
    """The 2-D form of a tensor: rows are output units, columns input units, kernels tiles of out × in.

    A stack of matrices (three dimensions, the last longer than any kernel's) is one matrix below the other. The kernel of
    a 3-D convolution is a tile of its planes side by side.
    """
    if len(shape) == 3 and shape[2] > _KERNEL:
        shape = (shape[0] * shape[1], shape[2])
    if len(shape) in (3, 4, 5):
        out, inputs, *kernel = shape
        depth, high, wide = (1,) * (3 - len(kernel)) + tuple(kernel)
        dims: tuple[_Dim, ...] = (
            (out, "down", high),
            (inputs, "across", depth * wide),
            (depth, "across", wide),
            (high, "down", 1),
            (wide, "across", 1),
        )
        return Form(out * high, inputs * depth * wide, dims, (high, depth * wide))
    rows, columns = matrix_shape(shape)
    return Form(rows, columns, ((rows, "down", 1), (columns, "across", 1)))


@dataclass(frozen=True)
class Cut:
    """How a form is cut and how large it is in cells of side×side weights.

    bands: how many; length: rows (or columns, where *wide*) of weights in each. height, width: of one band, in cells.
    """

    form: Form
    side: int
    bands: int
    length: int
    wide: bool
    height: int
    width: int


def cut(form: Form, side: int, wanted: int) -> Cut:
    """*form* in about *wanted* bands: whole rows of tiles, or columns where it is wider than high.

    Columns are cut only where they divide evenly; else there is one band.
    """
    if form.columns > form.rows:
        length = form.dims[1][0]
        near = (
            [each for each in range(max(wanted * 2 // 3, 2), wanted * 3 // 2 + 1) if length % each == 0] if wanted > 1 else []
        )
        bands = min(near, key=lambda each: abs(each - wanted), default=1)
        if len([each for each in form.dims if each[0] > 1]) >= 5:  # a block has five dimensions, bands are one
            bands = 1
        width = form.columns // bands
        return Cut(form, side, bands, width, True, -(-form.rows // side), -(-width // side))
    length = -(-form.rows // (wanted * form.tile[0])) * form.tile[0]
    return Cut(form, side, -(-form.rows // length), length, False, -(-length // side), -(-form.columns // side))


def blocks_of(name: str, piece: Cut, row: int, column: int, pitch: int) -> Iterator[Block]:
    """The blocks of a matrix whose first band begins at (row, column), in cells; *pitch* cells to the next band."""
    form, side = piece.form, piece.side
    top, left = row * side, column * side
    if piece.wide:
        (out, *_), (inputs, _, step), *rest = form.dims
        dims = [(out, "down", form.dims[0][2]), (piece.bands, "bands", 0), (inputs // piece.bands, "across", step), *rest]
        yield Block(name, 0, top, left, _steps(dims, pitch * side))
        return
    units = piece.length // form.tile[0]  # output units in a band
    each = math.prod(length for length, _, _ in form.dims[1:])
    for band in range(piece.bands):
        count = min(units, form.dims[0][0] - band * units)
        dims = [(count, *form.dims[0][1:]), *form.dims[1:]]
        yield Block(name, band * units * each, top, left + band * pitch * side, _steps(dims, 0))


def _steps(dims: Sequence[tuple[int, str, int]], pitch: int) -> tuple[tuple[int, int, int], ...]:
    """Dimensions of a block, those of length 1 left out."""
    turned = [
        (length, {"down": step, "bands": pitch}.get(way, 0), step if way == "across" else 0) for length, way, step in dims
    ]
    return tuple(dim for dim in turned if dim[0] > 1) or ((1, 0, 1),)


def rects_of(piece: Cut, row: int, column: int, pitch: int) -> tuple[Rect, ...]:
    """The cells of each band of a matrix."""
    if piece.wide:
        return tuple((row + band * pitch, column, piece.height, piece.width) for band in range(piece.bands))
    lengths = [min(piece.length, piece.form.rows - band * piece.length) for band in range(piece.bands)]
    return tuple((row, column + band * pitch, -(-rows // piece.side), piece.width) for band, rows in enumerate(lengths))


def strip_beside(name: str, piece: Cut, row: int, column: int, pitch: int) -> tuple[tuple[Block, ...], Region]:
    """A vector of one weight for each output unit as a column of cells, each beside its unit, from (row, column) down.

    Beside kernels that are higher than a cell, weights follow one another without gaps. Goes on in the next band.
    """
    form, side = piece.form, piece.side
    step = form.tile[0] if form.tile[0] <= side else 1
    units = form.dims[0][0]
    each = units if piece.wide else piece.length // form.tile[0]
    blocks, rects = [], []
    for band, start in enumerate(range(0, units, each)):
        count, left = min(each, units - start), column + band * pitch
        blocks.append(Block(name, start, row * side, left * side, ((count, step, 0),)))
        rects.append((row, left, (count - 1) * step // side + 1, 1))
    return tuple(blocks), Region(name, tuple(rects))


def strip_above(name: str, piece: Cut, row: int, column: int, pitch: int) -> tuple[tuple[Block, ...], Region]:
    """A vector of one weight for each input unit as a row of cells above the matrix, each over its unit."""
    bands = piece.bands if piece.wide else 1
    count = piece.form.columns // bands
    dims = ((bands, pitch * piece.side, 0), (count, 0, 1))
    block = Block(name, 0, row * piece.side, column * piece.side, dims)
    rects = tuple((row + band * pitch, column, 1, piece.width) for band in range(bands))
    return (block,), Region(name, rects)


def line_box(size: int, side: int, longest: int) -> tuple[int, int]:
    """(height, width) in cells of a vector by itself: one row, each cell *side* weights; a long one is folded."""
    if -(-size // side) <= longest:
        return 1, -(-size // side)
    cells = -(-size // side**2)
    width = vector_columns(cells)
    return -(-cells // width), width


def line_at(name: str, size: int, side: int, longest: int, row: int, column: int) -> tuple[tuple[Block, ...], Region]:
    """A vector by itself at (row, column); see ``line_box``. Folded, a cell holds side·side consecutive weights."""
    height, width = line_box(size, side, longest)
    if -(-size // side) <= longest:
        block = Block(name, 0, row * side, column * side, ((size, 0, 1),))
        return (block,), Region(name, ((row, column, 1, width),))
    return flat_run(name, size, (row, column, height, width), cell=(side, side))


_LIMITS = (_LONG, 3.5, 2.2)  # those to try: cutting shorter ones too may fill the card better


@dataclass(frozen=True)
class Item:
    """A matrix and the vectors at it, or a vector by itself (its form has one row). beside, above: names of vectors."""

    name: str
    form: Form
    beside: tuple[str, ...] = ()
    above: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What it takes room for."""
        return Kind(self.form, len(self.beside), len(self.above))


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
class Scale:
    """side: a cell holds side×side weights. gap: empty cells between items. longest: cells of a vector in one row."""

    side: int
    gap: int
    longest: int


@dataclass(frozen=True)
class Arrangement:
    """A way to place the items of a card: about how many bands each, where, and how good that is (less is better)."""

    bands: tuple[int, ...]
    packing: Packing
    cost: float

    @property
    def box(self) -> Box:
        """(height, width) in cells."""
        return self.packing.height, self.packing.width


def items_of(names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> list[Item]:
    """The tensors of a module as items, in order of the matrices; vectors without a matrix are items of their own."""
    forms = {name: form_of(shapes[name]) for name in names}
    order = {name: place for place, name in enumerate(names)}
    matrices = [name for name in names if not forms[name].is_line]
    beside: dict[str, list[str]] = {name: [] for name in matrices}
    above: dict[str, list[str]] = {name: [] for name in matrices}
    homes = _Homes(matrices, forms, order)
    alone = []
    for name in names:
        if not forms[name].is_line:
            continue
        home = homes.of(name, math.prod(shapes[name])) if len(shapes[name]) == 1 else None
        if home is None:
            alone.append(name)
        else:
            (above if home[1] else beside)[home[0]].append(name)
    items = [Item(name, forms[name], tuple(beside[name]), tuple(above[name])) for name in matrices]
    items += [Item(name, Form(1, math.prod(shapes[name]), ())) for name in alone]
    return sorted(items, key=lambda item: order[item.name])


class _Homes:
    """Finds the matrix that a vector belongs to, by module and by length."""

    def __init__(self, matrices: Sequence[str], forms: Mapping[str, Form], order: Mapping[str, int]) -> None:
        self.forms, self.order = forms, order
        self.by_length: dict[tuple[int, bool], list[str]] = {}  # (weights, above) → matrices that it fits, in order
        for name in matrices:
            form = forms[name]
            self.by_length.setdefault((form.dims[0][0], False), []).append(name)
            if form.tile == (1, 1):
                self.by_length.setdefault((form.columns, True), []).append(name)

    def of(self, name: str, size: int) -> tuple[str, bool] | None:
        """(matrix, whether the vector goes above it); ``None`` where there is none near."""
        units, inputs = self._near(name, (size, False)), self._near(name, (size, True))
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

    def _near(self, name: str, fits: tuple[int, bool]) -> list[str]:
        found, place = self.by_length.get(fits, []), self.order[name]
        first = bisect_left(found, place - _NEAR, key=self.order.__getitem__)
        return found[first : bisect_right(found, place + _NEAR, key=self.order.__getitem__)]

    def _distance(self, one: str, other: str) -> int:
        return abs(self.order[one] - self.order[other])


def _shape(kind: Kind, scale: Scale, bands: int) -> tuple[Box, int]:
    """The box of an item, and the cells from one band to the next."""
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


def put(item: Item, scale: Scale, bands: int, row: int, column: int) -> Iterator[tuple[tuple[Block, ...], Region]]:
    """Blocks and region of each tensor of an item whose box begins at (row, column), in cells."""
    if item.form.is_line:
        yield line_at(item.name, item.form.columns, scale.side, scale.longest, row, column)
        return
    piece = cut(item.form, scale.side, bands)
    _, pitch = _shape(item.kind, scale, bands)
    for place, name in enumerate(item.above):
        yield strip_above(name, piece, row + place, column, pitch)
    row += len(item.above) + bool(item.above)
    yield tuple(blocks_of(item.name, piece, row, column, pitch)), Region(item.name, rects_of(piece, row, column, pitch))
    for place, name in enumerate(item.beside):
        yield strip_beside(name, piece, row, column + piece.width + 1 + place, pitch)


def arrangements(kinds: Sequence[Kind], scale: Scale, work: int) -> list[Arrangement]:
    """A few good ways to place items of these kinds, the best first, unlike each other in height to width.

    work: boxes that may be placed while looking for them.
    """
    options = _options(kinds, scale.side)
    tries = max(work // max(len(kinds), 1), 3)
    found: dict[Box, Arrangement] = {}
    sheets = max(min(tries // len(options), 14), 2)
    ways = []
    for bands in options:
        boxes = [_shape(kind, scale, each)[0] for kind, each in zip(kinds, bands, strict=True)]
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


def _options(kinds: Sequence[Kind], side: int) -> list[tuple[int, ...]]:
    """Numbers of bands to try for each item: the least cut first."""
    slim = [1.0 if kind.form.is_line else kind.slimness(side) for kind in kinds]
    if len(kinds) == 1:
        least, most = (math.ceil(math.sqrt(slim[0] * times)) for times in (1 / _LONG, 6.25))  # to 2.5 times a square's
        return [(bands,) for bands in range(least, most + 1, -(-(most - least + 1) // _TRIED))]
    found = []
    longer = max(slim) > _LONG
    for high, wide, stretch in product(_LIMITS, _LIMITS, (1.0, 0.6, 1.6) if longer else (1.0,)):
        limits = [high if kind.form.rows > kind.form.columns else wide for kind in kinds]
        bands = tuple(_bands(each, limit, stretch) for each, limit in zip(slim, limits, strict=True))
        if bands not in found:
            found.append(bands)
    return found


def _bands(slim: float, limit: float, stretch: float) -> int:
    """Into how many bands a matrix slimmer than *limit* is cut: about a square, or *stretch* times as wide if it is long."""
    return 1 if slim <= limit else max(round(math.sqrt(slim) * (stretch if slim > _LONG else 1)), 1)


def _needlessly_cut(kinds: Sequence[Kind], bands: Sequence[int], side: int) -> float:
    """Share of the weights that is in matrices which are cut without being long."""
    weights = [kind.form.rows * kind.form.columns for kind in kinds]
    pairs = zip(kinds, weights, bands, strict=True)
    return sum(size for kind, size, each in pairs if each > 1 and kind.slimness(side) <= _LONG) / sum(weights)


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
