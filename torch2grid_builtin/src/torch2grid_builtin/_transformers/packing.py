"""Boxes on a sheet of some width: in order, as high up as they fit, and the arrangements that are worth trying."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

from torch2grid_core import Layout, NotDrawable

Box = tuple[int, int]  # height, width
_DEEP = 1 << 60
_HOLES = 48  # free rectangles that are remembered, the largest


def check_cell(cell: int | None) -> None:
    """Raise ``ValueError`` for a side of a cell that is none."""
    if cell is not None and not 1 <= cell <= 4096:
        raise ValueError("cell is a number of weights from 1 to 4096, or none")


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
    fill a hole further up. A box wider than *limit* makes the sheet as wide as itself.
    """
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


def best_fit(ways: Sequence[Sequence[Box]], gap: int, limit: int, ahead: int, large: float) -> tuple[Packing, list[int]]:
    """A box of each of *ways* at least *gap* apart, at most *limit* wide, and which of its ways each box is.

    The lowest place is always filled next, by that way of one of the next *ahead* boxes that leaves least of its width
    (E. Burke and others, "A new placement heuristic for the orthogonal stock-cutting problem", 2004).
    large: how much more a large box is worth than one that fits, from 0 to 1. Every box needs a way no wider than *limit*.
    """
    limit += gap
    line = [(0, 0, limit)]  # down to where each stretch of the sheet is filled: left, depth, width
    left, places, picked = list(range(len(ways))), [(0, 0)] * len(ways), [0] * len(ways)
    largest = max((height * width for some in ways for height, width in some), default=1)
    while left:
        at = min(range(len(line)), key=lambda place: line[place][1::-1])
        column, depth, room = line[at]
        found, least = None, math.inf
        for index in left[:ahead]:
            for way, (height, width) in enumerate(ways[index]):
                rest = room - width - gap
                if rest >= 0 and (cost := rest / room - large * height * width / largest) < least:
                    found, least = (index, way), cost
        if found is None:  # nothing fits: what is left there stays empty, up to the lower neighbour
            beside = [line[place] for place in (at - 1, at + 1) if 0 <= place < len(line)]
            line[at] = (column, min(each[1] for each in beside), room)
        else:
            index, way = found
            height, width = ways[index][way]
            places[index], picked[index] = (depth, column), way
            left.remove(index)
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
