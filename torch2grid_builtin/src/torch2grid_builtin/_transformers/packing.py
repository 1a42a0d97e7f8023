"""Boxes on a sheet of some width: in order, as high up as they fit, and the arrangements that are worth trying."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from torch2grid_core import Layout, NotDrawable

Box = tuple[int, int]  # height, width
Indices = NDArray[np.int64]
_DEEP = 1 << 60
MANY = 1_000  # boxes from which they stand in rows
_NEXT = 64  # boxes of which that one is next in a row which fits best
_HOLES = 48  # free rectangles that are remembered, the largest
_SHAPES = 64  # of one group of boxes that are remembered
_LEAF_SLACK = 1.35  # how much larger than the smallest a way of one box may be
_LOOKS = (1, 2, 3, 4, 6)  # partners to try for a group
_SLACKS = (1.1, 1.2, 1.4)  # how much larger than the smallest a shape of a group may be
_LUCKS = (0.0, 0.02, 0.05)  # how much chance decides


def check_cell(cell: int | None) -> None:
    """Raise ``ValueError`` for a side of a cell that is none."""
    if cell is not None and not 1 <= cell <= 4096:
        raise ValueError("cell must be a number of weights from 1 to 4096, or none")


def fitting(layout: Layout, max_cells: int | None) -> Layout:
    """*layout*, whose cells a person chose. Raises ``NotDrawable`` where they are more than *max_cells* a side."""
    if max_cells is not None and max(layout.shape) > max_cells:
        (high, wide), (height, width) = layout.cell, layout.shape
        raise NotDrawable(f"cells of {high}×{wide} weights make {height:,}×{width:,}, over {max_cells:,} a side")
    return layout


class Packing(NamedTuple):
    """places: (row, column) of each box. height, width: of all together."""

    places: tuple[tuple[int, int], ...]
    height: int
    width: int


def pack(boxes: Sequence[Box], gap: int, limit: int, order: Iterable[int] | None = None) -> Packing:
    """*boxes* at least *gap* apart, at most *limit* wide: in *order* each goes as high up as it fits, then as far left.

    Free room is kept as maximal rectangles (J. Jylänki, "A thousand ways to pack the bin", 2010), so that a later box may
    fill a hole further up. A box wider than *limit* makes the sheet as wide as itself. Of very many boxes there are rows, from
    the highest on, which leave little empty and take no time.
    """
    if len(boxes) >= MANY:
        return _in_rows(boxes, gap, limit)
    limit = max(limit, max((width for _, width in boxes), default=0)) + gap
    free = [(0, 0, _DEEP, limit)]  # top, left, bottom, right
    places = [(0, 0)] * len(boxes)
    low, narrow = (min((box[side] for box in boxes), default=0) + gap for side in (0, 1))
    for index in range(len(boxes)) if order is None else order:
        height, width = boxes[index][0] + gap, boxes[index][1] + gap
        row, column = _DEEP, 0
        for top, left, bottom, right in free:
            if (top < row or (top == row and left < column)) and right - left >= width and bottom - top >= height:
                row, column = top, left
        places[index] = (row, column)
        free = _without(free, row, column, row + height, column + width, low, narrow)
    down = max((row + box[0] for (row, _), box in zip(places, boxes, strict=True)), default=0)
    across = max((column + box[1] for (_, column), box in zip(places, boxes, strict=True)), default=0)
    return Packing(tuple(places), down, across)


def _in_rows(boxes: Sequence[Box], gap: int, limit: int) -> Packing:
    """*boxes* in rows, the highest first: where the next no longer fits, the widest of the next few that does ends the row."""
    limit = max(limit, max(width for _, width in boxes))
    order = sorted(range(len(boxes)), key=lambda index: -boxes[index][0])
    keys = [(boxes[index][1], rank) for rank, index in enumerate(order)]
    places, is_placed = [(0, 0)] * len(boxes), [False] * len(boxes)
    near, ahead, first = sorted(keys[:_NEXT]), _NEXT, 0
    row = across = 0
    while near:
        while is_placed[first]:
            first += 1
        column, height = 0, boxes[order[first]][0]
        while near:
            while is_placed[first]:
                first += 1
            room = limit - column
            at = bisect_left(near, keys[first]) if keys[first][0] <= room else bisect_left(near, (room + 1, 0)) - 1
            if at < 0:
                break
            width, rank = near.pop(at)
            places[order[rank]], is_placed[rank] = (row, column), True
            column += width + gap
            if ahead < len(keys):
                insort(near, keys[ahead])
                ahead += 1
        row, across = row + height + gap, max(across, column - gap)
    return Packing(tuple(places), row - gap, across)


def best_fit(ways: Sequence[Sequence[Box]], gap: int, limit: int, ahead: int, large: float) -> tuple[Packing, list[int]]:
    """A box of each of *ways* at least *gap* apart, at most *limit* wide, and which of its ways each box is.

    The lowest place is always filled next, by that way of one of the next *ahead* boxes that leaves least of its width
    (E. Burke and others, "A new placement heuristic for the orthogonal stock-cutting problem", 2004).
    large: how much more a large box is worth than one that fits, from 0 to 1. Every box needs a way no wider than *limit*.
    """
    limit += gap
    line = [(0, 0, limit)]  # down to where each stretch of the sheet is filled: left, depth, width
    left, places, picked = list(range(len(ways))), [(0, 0)] * len(ways), [0] * len(ways)
    heights, breadths = np.array([box for some in ways for box in some], dtype=np.float64).T
    ends = np.cumsum([len(some) for some in ways])  # behind the ways of each box
    worth, rests = large * heights * breadths / max((heights * breadths).max(initial=1), 1), breadths + gap
    while left:
        at = min(range(len(line)), key=lambda place: line[place][1::-1])
        column, depth, room = line[at]
        first, last = int(ends[left[0] - 1]) if left[0] else 0, int(ends[left[:ahead][-1]])
        costs = np.where(rests[first:last] <= room, 1 - rests[first:last] / room - worth[first:last], np.inf)
        found = first + int(costs.argmin())
        if costs[found - first] == np.inf:  # nothing fits: what is left there stays empty, up to the lower neighbour
            beside = [line[place] for place in (at - 1, at + 1) if 0 <= place < len(line)]
            line[at] = (column, min(each[1] for each in beside), room)
        else:
            index = int(np.searchsorted(ends, found, "right"))
            way = found - (int(ends[index - 1]) if index else 0)
            height, width = ways[index][way]
            places[index], picked[index] = (depth, column), way
            left.remove(index)
            rests[ends[index] - len(ways[index]) : ends[index]] = np.inf
            beyond = [(column + width + gap, depth, room - width - gap)] if room > width + gap else []
            line[at : at + 1] = [(column, depth + height + gap, width + gap), *beyond]
        line = _joined(line)
    down, across = (
        max(place[side] + ways[index][way][side] for index, (place, way) in enumerate(zip(places, picked, strict=True)))
        for side in (0, 1)
    )
    return Packing(tuple(places), down, across), picked


def _joined(line: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """*line* with neighbours of one depth as one stretch."""
    found: list[tuple[int, int, int]] = []
    for column, depth, width in line:
        if found and found[-1][1] == depth:
            found[-1] = (found[-1][0], depth, found[-1][2] + width)
        else:
            found.append((column, depth, width))
    return found


@dataclass(frozen=True, slots=True)
class _Shapes:
    """The sizes that a box, or a group of boxes, may have, from low and wide to high and narrow.

    way: of the box, or which shape of *one* it has (and *with_other* of the other); below: whether the other is below it.
    """

    heights: Indices
    widths: Indices
    way: Indices
    one: _Shapes | int
    other: _Shapes | None
    with_other: Indices
    below: Indices

    @property
    def least(self) -> int:
        """The area of the smallest."""
        return int((self.heights * self.widths).min())

    def place(self, index: int, row: int, column: int, gap: int, places: list[tuple[int, int]], picked: list[int]) -> None:
        """Put its boxes in the shape at *index*, which begins at (row, column), into *places*, and their ways into *picked*."""
        if isinstance(self.one, int) or self.other is None:
            assert isinstance(self.one, int)
            places[self.one], picked[self.one] = (row, column), int(self.way[index])
            return
        own = int(self.way[index])
        self.one.place(own, row, column, gap, places, picked)
        if self.below[index]:
            row += int(self.one.heights[own]) + gap
        else:
            column += int(self.one.widths[own]) + gap
        self.other.place(int(self.with_other[index]), row, column, gap, places, picked)


def slicings(
    ways: Sequence[Sequence[Box]], gap: int, trees: int, badness: Callable[[int, int], Any]
) -> Iterator[tuple[Packing, list[int]]]:
    """Sheets of all boxes at least *gap* apart, a box of each of *ways*, and which of its ways each box is.

    Small boxes are joined to groups, and these to larger ones, until one is left: side by side or one below the other, as
    leaves less empty. A group keeps all shapes that it can have, so that the ways of all boxes are chosen together at the end
    (L. Stockmeyer, "Optimal orientations of cells in slicing floorplan designs", 1983). *trees*: how many orders of joining are
    tried; chance decides in each but the first, the same every time. badness: of a sheet of a height and a width; of each order
    the least bad is yielded.
    """
    leaves = []
    for index, some in enumerate(ways):
        heights, widths_ = np.array(some, dtype=np.int64).T
        kept = _useful(heights, widths_, _LEAF_SLACK)
        leaves.append(_Shapes(heights[kept], widths_[kept], kept, index, None, kept, kept))
    chance = random.Random(0)
    for tree in range(trees):
        look, slack, luck = 4, 1.2, 0.0
        if tree:
            look, slack, luck = chance.choice(_LOOKS), chance.choice(_SLACKS), chance.choice(_LUCKS)
        groups = sorted(((leaf.least, leaf) for leaf in leaves), key=_area_first)
        while len(groups) > 1:
            area, one = groups.pop(0)
            best, least_waste = None, math.inf
            for at, (other_area, other) in enumerate(groups[:look]):
                both = _joined_shapes(one, other, gap, slack)
                least = both.least
                waste = (least - area - other_area) / least + luck * chance.random()
                if waste < least_waste:
                    best, least_waste = (at, least, both), waste
            assert best is not None
            groups.pop(best[0])
            insort(groups, best[1:], key=_area_first)
        whole = groups[0][1]
        sizes = list(zip(whole.heights.tolist(), whole.widths.tolist(), strict=True))
        index = min(range(len(sizes)), key=lambda each: badness(*sizes[each]))
        places, picked = [(0, 0)] * len(ways), [0] * len(ways)
        whole.place(index, 0, 0, gap, places, picked)
        yield Packing(tuple(places), *sizes[index]), picked


def _area_first(group: tuple[int, _Shapes]) -> int:
    return group[0]


def _joined_shapes(one: _Shapes, other: _Shapes, gap: int, slack: float) -> _Shapes:
    """The useful shapes of two groups side by side, and one below the other."""
    tall = np.sort(np.concatenate((one.heights, other.heights)))
    tall = tall[tall >= max(one.heights[0], other.heights[0])]
    beside = [np.searchsorted(each.heights, tall, "right") - 1 for each in (one, other)]  # the narrowest that is no higher
    broad = np.sort(np.concatenate((one.widths, other.widths)))
    broad = broad[broad >= max(one.widths[-1], other.widths[-1])]
    below = [len(each.widths) - np.searchsorted(each.widths[::-1], broad, "right") for each in (one, other)]  # the lowest
    heights = np.concatenate((tall, one.heights[below[0]] + other.heights[below[1]] + gap))
    widths_ = np.concatenate((one.widths[beside[0]] + other.widths[beside[1]] + gap, broad))
    kept = _useful(heights, widths_, slack)
    first, second = (np.concatenate(pair)[kept] for pair in zip(beside, below, strict=True))
    return _Shapes(heights[kept], widths_[kept], first, one, other, second, (kept >= len(tall)).astype(np.int64))


def _useful(heights: Indices, widths_: Indices, slack: float) -> Indices:
    """From low to high those for which no other is as low and as narrow, at most *slack* times as large as the smallest."""
    order: Indices = np.lexsort((widths_, heights))
    narrowest = np.minimum.accumulate(widths_[order])
    order = order[np.concatenate(([True], narrowest[1:] < narrowest[:-1]))]
    areas = heights[order] * widths_[order]
    order = order[areas <= slack * areas.min()]
    if len(order) <= _SHAPES:
        return order
    forms = np.log(heights[order] / widths_[order])  # of each form about the smallest
    steps = ((forms - forms[0]) / (forms[-1] - forms[0]) * (_SHAPES - 1)).astype(np.int64)
    smallest: Indices = order[np.lexsort((heights[order] * widths_[order], steps))]
    found: Indices = smallest[np.unique(np.sort(steps), return_index=True)[1]]
    return found


_Free = tuple[int, int, int, int]


def _without(free: list[_Free], top: int, left: int, bottom: int, right: int, low: int, narrow: int) -> list[_Free]:
    """The maximal free rectangles when that rectangle is taken; those lower or narrower than any box are forgotten."""
    kept: list[_Free] = []
    cut: list[_Free] = []
    for each in free:
        above, before, below, behind = each
        if top >= below or bottom <= above or left >= behind or right <= before:
            kept.append(each)
            continue
        if top - above >= low:
            cut.append((above, before, top, behind))
        if below - bottom >= low:
            cut.append((bottom, before, below, behind))
        if left - before >= narrow:
            cut.append((above, before, below, left))
        if behind - right >= narrow:
            cut.append((above, right, below, behind))
    # Only what was cut can lie inside another. Larger first: a rectangle lies inside one that is kept already, or in none.
    cut.sort(key=_area, reverse=True)
    for inner in cut:
        above, before, below, behind = inner
        for o in kept:
            if o[0] <= above and o[1] <= before and o[2] >= below and o[3] >= behind:
                break
        else:
            kept.append(inner)
    if len(kept) > _HOLES:
        kept.sort(key=_area, reverse=True)
        del kept[_HOLES:]
    return kept


def _area(each: _Free) -> int:
    return (each[2] - each[0]) * (each[3] - each[1])


def orders(boxes: Sequence[Box]) -> list[list[int]]:
    """Orders that are worth trying: as they are, the highest first, the widest first, the largest first."""
    numbers = range(len(boxes))
    found = [
        list(numbers),
        sorted(numbers, key=lambda index: -boxes[index][0]),
        sorted(numbers, key=lambda index: -boxes[index][1]),
        sorted(numbers, key=lambda index: -boxes[index][0] * boxes[index][1]),
    ]
    return [order for index, order in enumerate(found) if order not in found[:index]]


def widths(boxes: Sequence[Box], gap: int, low: float, high: float, most: int) -> list[int]:
    """At most *most* widths of a sheet to try, from *low* to *high* times the side of a square of the boxes' area.

    Those come first at which some boxes fit side by side without a rest.
    """
    side = math.sqrt(sum((height + gap) * (width + gap) for height, width in boxes))
    least = max(max(width for _, width in boxes), round(low * side))
    greatest = max(least, round(high * side))
    wide = sorted({width + gap for _, width in boxes}, reverse=True)[:6]
    exact = {sum(some) - gap for count in (1, 2, 3) for some in combinations(wide, count)}
    exact |= {width * times - gap for width in wide for times in range(2, 1 + (greatest + gap) // width)}
    steps = [round(least + (greatest - least) * step / max(most - 1, 1)) for step in range(most)]
    found: list[int] = []
    for width in (*sorted((each for each in exact if least <= each <= greatest), key=lambda each: abs(each - side)), *steps):
        if all(abs(width - other) > 0.01 * side for other in found):
            found.append(width)
    return found[:most]
