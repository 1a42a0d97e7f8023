"""Which tensor is where in a heatmap: thin lines between regions, names beside them or in roomy ones."""

from __future__ import annotations

import bisect
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from torch2grid_builtin._renderers import forms
from torch2grid_builtin._renderers.matplotlib.canvas import INK, LINE, MUTED, RULE, Canvas
from torch2grid_builtin._renderers.matplotlib.text import fit, literal, text_width
from torch2grid_builtin._renderers.titles import inside, modules_of, shared_prefix, titles
from torch2grid_core import Grid
from torch2grid_core.grids import Rect, Region
from torch2grid_core.selection import modules

Array = np.ndarray[Any, Any]
_PART, _PART_OF_FLAX = re.compile(r"\."), re.compile(r"/|(?<=[^\d/])(?=\d)")
_Box = tuple[float, float, float, float]  # left, top, width, height, in pixels
_HAIR = 3  # pixels of an empty stripe between two regions, at most, that is drawn as a border
_THIN = 32  # pixels across below which a region gets no line of its own: it would hide too much of what it marks off
_LINE = (0.08, 0.1, 0.13)
_LONGEST = 20  # of a name beside bands, in sizes of its text
_FAR = 1.7  # lines that a name may be from the middle of its band
_COVERED = 0.1  # of a region's area, at most, lies under its name
_COVERED_APART = 0.26  # where it is low, or the name of its module stands nowhere else
_SQUEEZED = ((1.0, 0.2), (0.85, 0.25), (0.75, 0.3))  # of the size of a text, and of the area, for a name with little room
_LETTER = 0.35  # by that of a part of a fused projection: Q, K and V need little, and one alone says nothing
_MARKED, _BEGINS = 0.2, 0.45  # and of a part's, under its text, and where it is low: a band says at which row it begins
_NAMED = 0.95  # and of a matrix of one layer, whose name stands nowhere else
_AROUND = 4  # pixels of light ground left and right of a mark's text
_SMALLEST, _PIXELS = 0.7, 8.0  # of the size of a text, in low boxes, and pixels of one that may be smaller still
_PIECES = 8  # rectangles of a region above which one across several may be far larger than each
_TILE = 64  # pixels a side of the tiles by which texts are found
_MANY = 40  # regions above which modules are named instead, where there are any


def by_module(regions: Sequence[Region]) -> list[Region]:
    """Regions of one module made one, named by the module; a tensor that is alone in its module keeps its name."""
    by_name = {region.name: region for region in regions}
    found: list[Region] = []
    for title, names in modules(by_name).items():
        own = [by_name[name] for name in names]
        if title and len(own) > 1:
            found.append(Region(title, tuple(rect for region in own for rect in region.rects)))
        else:
            found += own
    return found


def _thickness(region: Region, factor: tuple[float, float]) -> float:
    """Pixels across, on average along the longest of its rectangles, or all around where they wind around something."""
    high, wide = factor
    rects = [rect for rect in region.rects if rect[2] and rect[3]]
    if not rects:
        return 0.0
    cells = sum(height * width for _, _, height, width in rects)
    along = max(max(height * high, width * wide) for _, _, height, width in rects)
    down, across = _extent(rects)
    if _winds_around(rects):
        along = 2 * (down * high + across * wide)
    return cells * high * wide / along


def _extent(rects: Sequence[Rect]) -> tuple[int, int]:
    """Rows and columns from the first to the last cell of *rects*."""
    down = max(row + height for row, _, height, _ in rects) - min(row for row, *_ in rects)
    return down, max(column + width for _, column, _, width in rects) - min(column for _, column, *_ in rects)


def _winds_around(rects: Sequence[Rect]) -> bool:
    """True of many rectangles that leave most of what they lie around to others, as the arms of a spiral do."""
    down, across = _extent(rects)
    return len(rects) > 4 and down * across > 3 * sum(height * width for _, _, height, width in rects)


def region_map(grid: Grid, factor: tuple[float, float]) -> Array:
    """int32, shape of the grid: which region a cell is in, −1 for none.

    A region of few pixels across counts as the one before it, unless a module begins there that is wide enough.
    """
    ids = np.full(grid.shape, -1, dtype=np.int32)
    module_of = {name: title for title, names in modules(region.name for region in grid.regions).items() for name in names}
    loose = forms.of_any_form(grid)

    def is_thick(region: Region) -> bool:
        across = forms.thickness(region.rects, factor) if loose else _thickness(region, factor)
        return across >= _THIN

    wide_enough = {region.name for region in by_module(grid.regions) if is_thick(region)}
    current, module = 0, None
    for index, region in enumerate(grid.regions):
        begins = module_of[region.name] != module and module_of[region.name] in wide_enough
        if begins or is_thick(region):
            current = index
        module = module_of[region.name]
        for row, column, height, width in region.rects:
            ids[row : row + height, column : column + width] = current
    return ids


def _without_hairs(ids: Array, factor: tuple[float, float]) -> Array:
    """The map with empty stripes of a few pixels given to the region above or left of them: a border shows better there."""
    for cells, along in zip((ids, ids.T), factor, strict=True):  # views: what is written here is in *ids*
        for broad in range(1, min(int(_HAIR // along) + 1, len(cells) - 1)):
            before, after = cells[: -broad - 1], cells[broad + 1 :]
            between = np.all([cells[step : len(cells) - broad - 1 + step] < 0 for step in range(1, broad + 1)], axis=0)
            filled = between & (before >= 0) & (after >= 0) & (before != after)
            for step in range(1, broad + 1):
                cells[step : step + len(before)][filled] = before[filled]
    return ids


def borders(ids: Array) -> tuple[Array, Array]:
    """Where two regions meet, as runs: (n, 3) of row, first column, length, and of column, first row, length.

    A border lies above its row, left of its column. Where a region ends at empty cells, they are border enough.
    """
    upright = (ids[:, 1:] != ids[:, :-1]) & (ids[:, 1:] >= 0) & (ids[:, :-1] >= 0)
    return _runs((ids[1:] != ids[:-1]) & (ids[1:] >= 0) & (ids[:-1] >= 0)), _runs(upright.T)


def _runs(different: Array) -> Array:
    rows, width = different.shape
    edged = np.zeros((rows, width + 2), dtype=np.int8)
    edged[:, 1:-1] = different
    change = np.diff(edged, axis=1)
    row, start = np.nonzero(change == 1)
    stop = np.nonzero(change == -1)[1]
    return np.stack([row + 1, start, stop - start], axis=1)


def region_borders(grid: Grid, factor: tuple[float, float]) -> tuple[Array, Array]:
    """Where a line between regions stands, as ``borders`` has it, in a picture of so many pixels to a cell (high, wide)."""
    return borders(_without_hairs(region_map(grid, factor), factor))


def draw_borders(canvas: Canvas, grid: Grid, left: int, top: int, factor: tuple[int, int]) -> None:
    """One pixel wide, half seen through, on the first pixel of the lower or right region."""
    high, wide = factor
    level, upright = region_borders(grid, factor)
    one = np.ones(len(level), dtype=np.int64)
    boxes = [np.stack([left + level[:, 1] * wide, top + level[:, 0] * high, level[:, 2] * wide, one], axis=1)]
    one = np.ones(len(upright), dtype=np.int64)
    boxes.append(np.stack([left + upright[:, 0] * wide, top + upright[:, 1] * high, one, upright[:, 2] * high], axis=1))
    canvas.rects(np.concatenate(boxes), _LINE, alpha=0.6)


def without_name(grid: Grid, names: Names, factor: tuple[int, int], size: float) -> str:
    """How many regions have no room for their names, which nothing else tells either; nothing where there are none.

    Those that are a few pixels high are not counted, unless they wind around others, as those of a spiral.
    """
    regions = _as_named(grid)
    winding = not grid.labels and any(_winds_around(region.rects) for region in grid.regions)
    marks = {(mark.rects[0][:2], mark.name) for mark in grid.marks if mark.rects and mark.name}
    listed = tuple(
        note.partition("*")[0].removeprefix("matrices of ") for note in grid.notes if note.startswith("matrices of ")
    )

    def is_missing(region: Region) -> bool:
        if region.name in names.told or region.name.startswith(listed or ("\0",)):
            return False
        return (winding or _is_seen(region, factor, size)) and not any(
            (rect[:2], part) in marks for rect in region.rects for part in region.name.split(".")
        )

    missing = sum(map(is_missing, regions))
    what = "tensor" if regions is grid.regions else "module"
    many, one = ("are too thin", "is too thin") if winding else ("have no room", "has no room")
    text = f"{missing:,} {what}s {many} for their names" if missing != 1 else f"1 {what} {one} for its name"
    return f"{text}: a report (-o report.html) names each" if missing else ""


def _is_seen(region: Region, factor: tuple[int, int], size: float) -> bool:
    """True of a region that is, in one piece, higher than a line of text and as wide as two are high."""
    line = round(size * LINE)
    return any(high * factor[0] >= line + 6 and wide * factor[1] >= 2 * line for _, _, high, wide in region.rects)


def _as_named(grid: Grid) -> Sequence[Region]:
    """The regions that get names: of many, the modules."""
    return by_module(grid.regions) if len(grid.regions) > _MANY and not grid.labels else grid.regions


class _Text(NamedTuple):
    """A name, and the rectangle that it takes, on a light ground where that lies on cells."""

    box: _Box
    text: str
    size: float
    ground: bool = True
    upright: bool = False


class Names(NamedTuple):
    """The names of regions, from the upper left corner of the cells; and which regions are told by these, or by the heads of
    their columns."""

    texts: list[_Text]
    told: set[str]


def draw_names(
    canvas: Canvas, grid: Grid, names: Names, left: int, top: int, factor: tuple[int, int], size: float
) -> list[_Box]:
    """Names of modules where the grid keeps room for them, and those of regions; the rectangles of these, in pixels."""
    _draw_labels(canvas, grid, left, top, factor, size)
    boxes = []
    for (x, y, width, height), text, own, ground, upright in names.texts:
        box = left + x, top + y, width, height
        boxes.append(box)
        if ground:
            canvas.rects([box], "white", alpha=0.82)
        if upright:
            canvas.text(box[0] + 1, box[1] + height / 2, text, own, INK, ha="center", va="top", upright=True)
        else:
            canvas.text(box[0] + (4 if ground else 2), box[1], text, own, INK, va="top")
    return boxes


def place_names(grid: Grid, factor: tuple[int, int], size: float) -> Names:
    """Names of regions, the largest first: beside a region where no weight is, else inside it, in its upper left corner, where
    that leaves most of it free, and upright where it is slender; else not at all."""
    high, wide = factor
    texts: list[_Text] = []
    written: list[_Box] = []
    told: set[str] = set()

    def write(name: str, text: _Text) -> None:
        told.add(name)
        texts.append(text)
        written.append(text.box)

    named, common = modules_of(grid), shared_prefix([region.name for region in grid.regions])
    taken, above = grid.counts > 0, set(map(literal, titles(grid)))
    regions = _as_named(grid)
    by_size = sorted(regions, key=lambda region: -sum(rows * columns for _, _, rows, columns in region.rects))
    loose = forms.of_any_form(grid)
    endings = Counter[str]()
    for region in by_size:
        line = round(size * LINE)
        row, column, height, width = forms.roomiest(region.rects) if loose else _roomiest(region, line / high)
        pieced = bool(loose)  # in many small rectangles, which are no matrices
        if not loose and len(region.rects) > _PIECES and not _winds_around(region.rects):
            room = forms.roomiest(region.rects)
            pieced = room[2] * room[3] > 2 * height * width
            row, column, height, width = room if pieced else (row, column, height, width)
        if not height:
            continue
        x, y = column * wide, row * high
        name = literal(inside(named, region.name))
        long = text_width(name, size) + 6
        around = () if grid.labels or loose else ((x, y - line - 1), (x + width * wide + 4, y), (x, y + height * high + 2))
        for at_x, at_y in around:
            cells = _cells_under(at_x, at_y, long, line, factor, taken.shape)
            if cells is not None and at_y > y:  # right above another region it would read as the name of that
                below = _cells_under(at_x, at_y, long, min(2 * line, len(taken) * high - at_y), factor, taken.shape)
                cells = cells if below is not None and not taken[below].any() else None
            if cells is not None and not taken[cells].any():
                taken[cells] = True
                write(region.name, _Text((at_x, at_y, long, line), name, size, ground=False))
                break
        else:
            area = high * wide * (sum(each[2] * each[3] for each in region.rects) if pieced else height * width)
            own = _as_low(size, height * high)
            line = round(own * LINE)
            kind = ".".join("*" if part.isdecimal() else part for part in name.split("."))
            if {name, kind} & above:
                told.add(region.name)
                if height * high < 2 * line:
                    continue  # the head of its column says it
            apart = name == literal(region.name)  # no label says of which module it is
            share = _COVERED_APART if height * high < 2 * line or (apart and "." in name) else _COVERED
            name = literal(region.name[common:]) if apart else name
            shown = _short(name, min(width * wide - 11, share * area / line - 8), own)
            if not shown and not {name, kind} & above:  # said nowhere else: smaller, and over more of the matrix
                shown, own = _squeezed(name, width * wide, height * high, area, size)
                if shown.startswith("…") and not _is_said(region.name, shown[1:], named):
                    endings = endings or _endings(regions)
                    shown = shown if endings[shown[1:]] == 1 else ""  # of which module it is stands nowhere
                line = round(own * LINE)
            edge = float(min(3, (height * high - line - 1) // 2))
            if edge < 0 or width * wide < 2 * line:
                ring = _ring(region, taken.shape, math.ceil(long / wide) + 2)
                area = high * wide * sum(rows * columns for _, _, rows, columns in region.rects)
                fits = ring is not None and ring[2] * high >= line + 4 and long * line <= _COVERED * area
                x, y, shown = (ring[1] * wide, ring[0] * high, name) if ring is not None and fits else (x, y, "")
            if shown == "weight" and grid.labels:
                told.add(region.name)  # the label of its module says it
            elif shown:
                box = x + 3, y + max(edge, 0.0), text_width(shown, own) + 8, line + 1
                if _is_free(box, written):
                    write(region.name, _Text(box, shown, own))
            elif not loose and not {name, kind} & above:
                line = round(size * LINE)
                upright = _short(name, min(height * high - 14, _COVERED * area / line - 8), size)
                box = x + 3, y + 20, line + 1, text_width(upright, size) + 8
                fits = 20 + box[3] <= height * high and line + 6 <= width * wide
                if upright and fits and _is_free(box, written):
                    write(region.name, _Text(box, upright, size, upright=True))
    return Names(texts, told)


def _draw_labels(canvas: Canvas, grid: Grid, left: int, top: int, factor: tuple[int, int], size: float) -> None:
    """The names of modules, where the grid keeps room for them."""
    high, wide = factor
    for label, title in zip(grid.labels, titles(grid), strict=True):
        for row, column, _, width in label.rects:
            shown = _label_text(literal(title), width * wide - 2, size)
            canvas.text(left + column * wide + 2, top + row * high + 1, shown, size, INK, va="top", bold=True)


def lost_under(grid: Grid, top: float, left: float, height: float, width: float) -> list[tuple[int, int]]:
    """(row, column) of the cells with NaN or Inf under a text, which lies on these cells: they are drawn over it.

    None where most cells are such: then they are seen around the text, which names what they are in.
    """
    first, near = max(math.floor(top), 0), max(math.floor(left), 0)
    under = np.s_[first : math.ceil(top + height), near : math.ceil(left + width)]
    lost = ~np.isfinite(grid.values[under]) & (grid.counts[under] > 0)
    if 2 * np.count_nonzero(lost) > lost.size:
        return []
    return [(first + row, near + column) for row, column in np.argwhere(lost).tolist()]


def draw_lost(
    canvas: Canvas,
    grid: Grid,
    left: int,
    top: int,
    factor: tuple[int, int],
    texts: Iterable[_Box],
    color: tuple[float, float, float],
) -> None:
    """Cells with NaN or Inf over the *texts* that would hide them."""
    high, wide = factor
    cells = {
        cell
        for x, y, across, down in texts
        for cell in lost_under(grid, (y - top) / high, (x - left) / wide, down / high, across / wide)
    }
    if cells:
        canvas.rects([(left + column * wide, top + row * high, wide, high) for row, column in sorted(cells)], color)


def _squeezed(name: str, wide: float, high: float, area: float, size: float) -> tuple[str, float]:
    """The name and the size of its text as it fits a matrix of *wide* × *high* pixels at least two lines high; else nothing."""
    for part, share in _SQUEEZED:
        line = round(part * size * LINE)
        if high >= 2 * line + 2 and (shown := _short(name, min(wide - 11, share * area / line - 8), part * size)):
            return shown, part * size
    return "", size


def _is_said(name: str, shown: str, modules: Sequence[str]) -> bool:
    """True where a label, one of *modules*, and *shown*, its last parts, tell *name* from its like: no number is left out."""
    label = max((title for title in modules if name.startswith(title)), key=len, default="")
    between = name.removesuffix(".weight").removesuffix(shown)[len(label) :]
    above, _, last = label[shared_prefix([title[:-1] for title in modules]) : -1].rpartition(".")
    alone = (
        bool(above) and last.isdecimal() and f"{label[:-1].rpartition('.')[0]}." not in modules
    )  # a number that counts what?
    return bool(label) and not alone and not any(part.isdecimal() for part in between.split("."))


def _endings(regions: Sequence[Region]) -> Counter[str]:
    """How many of *regions* have a name that ends with some of its last parts, ``.weight`` left out."""
    parts = [literal(region.name).removesuffix(".weight").split(".") for region in regions]
    return Counter(".".join(each[first:]) for each in parts for first in range(len(each)))


def draw_marks(
    canvas: Canvas,
    grid: Grid,
    left: int,
    top: int,
    factor: tuple[int, int],
    size: float,
    written: Sequence[_Box] = (),
    short: bool = False,
) -> list[_Box]:
    """A dotted line where each marked part of a tensor begins, and its text in its upper left corner where there is room.

    short: always the number alone of those that are counted, and on little ground: small pictures are soon covered.

    written: rectangles of pixels under other texts. A mark's stands beside or below those, never over one. Returns those of
    the marks.
    """
    own_texts: list[_Box] = []
    high, wide = factor
    pad = 2 if short else _AROUND
    taken = _Written(written)
    names = {region.rects[0][:2]: region.name.split(".") for region in grid.regions if region.rects and grid.marks}
    for mark in grid.marks:
        for place, (row, column, height, width) in enumerate(mark.rects):
            x, y, across, down = left + column * wide, top + row * high, width * wide, height * high
            if across < 4 or down < 4:
                continue
            dots = [(at, y, 2, 1) for at in range(x, x + across - 1, 5)] + [(x, at, 1, 2) for at in range(y, y + down - 1, 5)]
            canvas.rects(dots, _LINE, alpha=0.45)
            if place or not mark.name:
                continue
            near = taken.over((x, y, across, down))
            own = names.get((row, column), [])
            if mark.name in own or f"{mark.name}_weight" in own:
                share = _NAMED
                if any(0 <= box[0] - x <= 4 and 0 <= box[1] - y <= 4 for box in near):
                    continue  # it has its name already
            else:
                share = _LETTER if len(mark.name) == 1 else _BEGINS if down < 3 * size * LINE else _MARKED
            choices = _shortened(mark.name)[-1:] if short else _shortened(mark.name)
            texts = list(_texts_that_fit(choices, _as_low(size, down), across, down, share, pad))
            beside = [(box[0] + box[2] + 1, None) for box in near] + [(None, box[1] + box[3] + 2) for box in near]
            for (at_x, at_y), (text, long, points) in product([(None, None), *beside], texts):
                line = round(points * LINE)
                edge = float(min(3, max(down - line - 1, 0) // 2, max(across - long, 0) // 2))
                box = at_x or x + edge, at_y or y + edge, long, line + 1
                inside = x <= box[0] and y <= box[1] and box[0] + long <= x + across and box[1] + line + 1 <= y + down
                if inside and _is_free(box, near):
                    taken.add(box)
                    own_texts.append(box)
                    canvas.rects([box], "white", alpha=0.82)
                    canvas.text(box[0] + pad, box[1], text, points, INK, va="top")
                    break
    return own_texts


def mark_text(name: str, across: float, down: float, size: float) -> str:
    """What of a mark's text a part of so many pixels has room for, little of it under that; empty where it has none."""
    share = _LETTER if len(name) == 1 else _MARKED
    return next(
        (text for text, _, points in _texts_that_fit(_shortened(name), size, across, down, share) if points == size), ""
    )


def _shortened(name: str) -> list[str]:
    """The text of a mark, and where that says as much, its number alone, which is taken for a row's and not for a column's."""
    word, _, number = name.partition(" ")
    return [literal(name), literal(number)] if word in ("expert", "matrix", "row") else [literal(name)]


class _Written:
    """Rectangles (left, top, width, height) of pixels under texts, found by where they are."""

    def __init__(self, boxes: Iterable[_Box]) -> None:
        self._tiles: dict[tuple[int, int], dict[_Box, None]] = {}
        for box in boxes:
            self.add(box)

    def add(self, box: _Box) -> None:
        for tile in self._under(box):
            self._tiles.setdefault(tile, {})[box] = None

    def over(self, box: _Box) -> list[_Box]:
        """Those that have a pixel in common with *box*, from the left on."""
        some = {each for tile in self._under(box) for each in self._tiles.get(tile, ())}
        return sorted(each for each in some if not _is_free(box, [each]))

    @staticmethod
    def _under(box: _Box) -> Iterator[tuple[int, int]]:
        x, y, width, height = box
        rows = range(int(y // _TILE), int((y + height) // _TILE) + 1)
        yield from product(rows, range(int(x // _TILE), int((x + width) // _TILE) + 1))


def _texts_that_fit(
    choices: Sequence[str], size: float, across: float, down: float, share: float, pad: int = _AROUND
) -> Iterator[tuple[str, float, float]]:
    """Those of *choices* for which a part of so many pixels has room, with their pixels and the size of the text: the first
    as they are, then all of them smaller. pad: pixels of light ground left and right of it."""
    for part, _ in _SQUEEZED:
        for text in choices:
            long = text_width(text, part * size) + 2 * pad
            if long <= min(share * across * down / round(part * size * LINE), across - 1):
                yield text, long, part * size


def _as_low(size: float, height: float) -> float:
    """The size of a text in a box of *height* pixels: somewhat smaller where the box is low."""
    return max(min(size, (height - 2) / LINE), min(_SMALLEST * size, _PIXELS))


def _is_free(box: _Box, others: Sequence[_Box]) -> bool:
    """True where a rectangle (left, top, width, height) has no pixel in common with one of *others*."""
    x, y, width, height = box
    return all(
        x + width <= left or left + across <= x or y + height <= top or top + down <= y for left, top, across, down in others
    )


def _ring(region: Region, shape: tuple[int, ...], across: int) -> Rect | None:
    """The highest stretch, *across* cells wide in the middle of the grid, of a region in many thin rectangles: an arm of a
    spiral above another."""
    first = (shape[1] - across) // 2
    if first < 0 or len(region.rects) < 5:
        return None
    covered = np.zeros((shape[0], across), dtype=bool)
    for row, column, height, width in region.rects:
        covered[row : row + height, max(column - first, 0) : max(column + width - first, 0)] = True
    runs = _runs(np.all(covered, axis=1, keepdims=True).T)
    if not len(runs):
        return None
    _, row, height = runs[np.argmax(runs[:, 2])].tolist()
    return row, first, height, across


def _roomiest(region: Region, least: float) -> Rect:
    """The largest rectangle, of equal ones the widest; of a region in many, with those to its right that are *least* high."""
    row, column, height, width = max(region.rects, key=lambda rect: (rect[2] * rect[3], rect[3]), default=(0, 0, 0, 0))
    beside = {rect[1]: rect for rect in region.rects if rect[0] <= row and rect[0] + rect[2] >= row + min(least + 2, height)}
    while after := beside.get(column + width) or beside.get(column + width + 1):  # bands lie a cell apart
        height = min(height, after[0] + after[2] - row)
        width = after[1] + after[3] - column
    return row, column, height, width


def _label_text(title: str, room: float, size: float) -> str:
    """A module's name as far as there is room: whole, its last parts, its number alone, or its beginning."""
    parts = title.removesuffix(".weight").split(".")
    number = parts[-1]
    if len(parts) > 1 and not number.isdecimal() and text_width(f"…{number}", size, bold=True) > room:
        return number if text_width(number, size, bold=True) <= room else ""
    if number.isdecimal() and text_width(number, size, bold=True) <= room < 4 * size:
        return number
    return _short(title, room, size, bold=True) or fit(title, room, size, bold=True)


def _cells_under(
    x: float, y: float, width: float, height: float, factor: tuple[int, int], shape: tuple[int, ...]
) -> tuple[slice, slice] | None:
    """The cells that a rectangle of pixels touches; ``None`` where it leaves the grid."""
    if x < 0 or y < 0 or x + width > shape[1] * factor[1] or y + height > shape[0] * factor[0]:
        return None
    rows = slice(int(y // factor[0]), math.ceil((y + height) / factor[0]))
    return rows, slice(int(x // factor[1]), math.ceil((x + width) / factor[1]))


def _short(name: str, room: float, size: float, bold: bool = False) -> str:
    """The name, without ``.weight`` or all but its last parts where only that fits; else nothing.

    Parts end at a ``.``; those of Flax at a ``/``, and in front of the number of a layer.
    """
    if text_width(name, size, bold) <= room:
        return name
    name = name.removesuffix(".weight")
    starts = [0, *(found.end() for found in (_PART_OF_FLAX if "/" in name else _PART).finditer(name))]
    last = name[starts[-1] :]
    least = 2 if last in ("bias", "weight", "kernel", "conv", "linear") or last.isdigit() else 1  # alone, these say nothing
    for start in starts[: max(len(starts) - least + 1, 1)]:
        text = ("…" if start else "") + name[start:]
        if text_width(text, size, bold) <= room:
            return text
    return ""


@dataclass(frozen=True)
class _Label:
    name: str
    first: float  # pixels of the band from the top of the heatmap
    last: float
    at: float  # pixel of the text's middle


class BandLabels:
    """Names left of a heatmap whose regions are bands of rows: never over the data. width: pixels that they take.

    Where not all tensors can be named, their modules are. left_out: how many of *what* have no name.
    """

    def __init__(self, grid: Grid, height: int, factor: int, size: float) -> None:
        self.size = size
        self.what = "tensor"
        columns = grid.shape[1]
        named, self.left_out = _named(_bands(grid.regions, columns, factor), size * 1.25, height)
        joined = by_module(grid.regions)
        if self.left_out and 1 < len(joined) < len(grid.regions):
            self.what = "module"
            named, self.left_out = _named(_bands(joined, columns, factor), size * 1.25, height)
        places = _spread([(first + last) / 2 for first, last, _ in named], size * 1.25, height)
        self.labels = [
            _Label(fit(name, _LONGEST * size, size), first, last, at)
            for (first, last, name), at in zip(named, places, strict=True)
        ]
        self.width = max((text_width(label.name, size) for label in self.labels), default=0) + 24

    def draw(self, canvas: Canvas, right: int, top: int) -> None:
        for label in self.labels:
            y, middle = top + label.at, top + (label.first + label.last) / 2
            first, last = round(top + label.first), round(top + label.last)
            canvas.rects([(right - 4, first + 1, 2, max(last - first - 1, 1))], RULE)
            canvas.line([right - 4, right - 7, right - 15, right - 18], [middle, middle, y, y], RULE, 1)
            canvas.text(right - 22, y, label.name, self.size, MUTED, ha="right", va="middle")


_Band = tuple[float, float, str]


def _bands(regions: Sequence[Region], columns: int, factor: int) -> list[_Band]:
    """(first, last, name) of each region that has cells: the pixels down the side from its first cell to its last."""
    found = []
    for region in regions:
        rects = [rect for rect in region.rects if rect[2] and rect[3]]
        if rects:
            first = min(row + column / columns for row, column, _, _ in rects)
            last = max(row + height - 1 + (column + width) / columns for row, column, height, width in rects)
            found.append((first * factor, last * factor, region.name))
    return found


def _named(bands: Sequence[_Band], line: float, height: int) -> tuple[list[_Band], int]:
    """Those that can be named, in order, the largest chosen first while names stay near bands; and how many cannot."""
    named: list[_Band] = []
    for band in sorted(bands, key=lambda each: each[0] - each[1]):
        place = bisect.bisect(named, band)
        trial = [*named[:place], band, *named[place:]]
        wanted = [(first + last) / 2 for first, last, _ in trial]
        if max(abs(at - each) for at, each in zip(_spread(wanted, line, height), wanted, strict=True)) <= _FAR * line:
            named = trial
    return named, len(bands) - len(named)


def _spread(wanted: list[float], apart: float, height: float) -> list[float]:
    """Places in order, *apart* from each other, inside 0 … height, each group of crowded ones about where it is wanted."""
    groups: list[tuple[float, int]] = []  # first place, number of places
    for each in wanted:
        start, count = min(max(each, apart / 2), height - apart / 2), 1
        while groups and groups[-1][0] + groups[-1][1] * apart > start:
            before, more = groups.pop()
            middle = ((before + (more - 1) * apart / 2) * more + (start + (count - 1) * apart / 2) * count) / (more + count)
            count += more
            start = max(min(middle - (count - 1) * apart / 2, height - (count - 0.5) * apart), apart / 2)
        groups.append((start, count))
    return [start + index * apart for start, count in groups for index in range(count)]


def are_bands(grid: Grid) -> bool:
    """True where regions follow one another down the rows, each as wide as the grid or part of a shared row."""
    rows, columns = grid.shape
    if not grid.regions or rows < 2:
        return False
    placed = wide = 0
    last = -1
    for region in grid.regions:
        if not region.rects:
            continue
        first = min(row for row, _, _, _ in region.rects)
        if first < last:
            return False
        last = max(row + height - 1 for row, _, height, _ in region.rects)
        cells = sum(height * width for _, _, height, width in region.rects)
        placed += cells
        wide += cells if max(width for _, _, _, width in region.rects) == columns else 0
    return placed > 0 and wide >= 0.5 * placed
