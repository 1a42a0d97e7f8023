"""How many cells each heatmap of a report gets, so that the file has the size that it may have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

LEAST = 4  # cells a side, below which a heatmap is not lowered
_GUESS = 3.2  # bytes of a cell before any were packed
_MARGIN = 1.04  # how much more than its estimate a heatmap may take


@dataclass(frozen=True)
class Wanted:
    """A heatmap that a report shows.

    share: how many times the cells a side of a tensor's it may have. lowers: False where its cells cannot become fewer.
    """

    shape: tuple[int, int]
    share: float = 1
    lowers: bool = True

    @property
    def side(self) -> int:
        """Cells of the longer side, where it is whole."""
        return max(self.shape)

    def within(self, limit: int) -> int:
        """Cells a side that it has where those of a tensor's have at most *limit*."""
        return max(1, min(self.side, int(limit * self.share))) if self.lowers else max(1, self.side)

    def cells(self, most: int) -> int:
        """Cells that are left of it with at most *most* a side."""
        rows, columns = (-(-side // -(-side // most)) if side else 0 for side in self.shape)
        return rows * columns

    def finer(self, most: int) -> int:
        """The least cells a side that are more than *most* leave."""
        step = -(-self.side // most)
        return -(-self.side // (step - 1))


@dataclass
class Costs:
    """What heatmaps take of a file: measured where they were packed, else estimated from how they were, or from the others."""

    wanted: Sequence[Wanted]
    _measured: dict[int, dict[int, int]] = field(default_factory=dict)

    def note(self, place: int, cells: int, spent: int) -> None:
        """The heatmap at *place* took *spent* bytes with so many *cells*."""
        self._measured.setdefault(place, {})[cells] = spent

    def of(self, place: int, most: int) -> float:
        """Bytes of a heatmap with at most *most* cells a side."""
        cells = self.wanted[place].cells(most)
        known = self._measured.get(place, {})
        if cells in known:
            return known[cells]
        if known:
            nearest = min(known, key=lambda each: abs(each - cells))
            return known[nearest] / max(nearest, 1) * cells * _MARGIN
        return cells * self._average()

    def _average(self) -> float:
        spent = sum(sum(each.values()) for each in self._measured.values())
        cells = sum(sum(each) for each in self._measured.values())
        return spent / cells if cells else _GUESS


def allotted(wanted: Sequence[Wanted], costs: Costs, room: float) -> list[int]:
    """The cells a side that each heatmap may have, together for about *room* bytes.

    All get as many as the same limit allows for all. What is left makes as many whole as it can, those of a full share and the
    smallest first, and then others a step finer.
    """
    most = max((math.ceil(each.side / each.share) for each in wanted), default=1)
    limit = _limit(wanted, costs, room, most)
    given = [each.within(limit) for each in wanted]
    left = room - sum(costs.of(place, cells) for place, cells in enumerate(given))
    for whole in (True, False):
        lowered = [place for place, each in enumerate(wanted) if each.cells(given[place]) < each.cells(max(each.side, 1))]
        steps = {place: wanted[place].side if whole else wanted[place].finer(given[place]) for place in lowered}
        more = {place: costs.of(place, steps[place]) - costs.of(place, given[place]) for place in lowered}
        for place in sorted(lowered, key=lambda each: (wanted[each].share < 1, more[each], each)):
            if more[place] <= left:
                left -= more[place]
                given[place] = steps[place]
    return given


def _limit(wanted: Sequence[Wanted], costs: Costs, room: float, most: int) -> int:
    """The largest number of cells a side with which all heatmaps together take at most *room* bytes."""
    low, high = min(LEAST, most), most
    while low < high:
        middle = (low + high + 1) // 2
        if sum(costs.of(place, each.within(middle)) for place, each in enumerate(wanted)) <= room:
            low = middle
        else:
            high = middle - 1
    return low
