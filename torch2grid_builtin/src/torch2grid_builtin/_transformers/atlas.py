"""Every matrix in its own form, the matrices of a module together under its name: a map of the whole model."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch2grid_builtin._transformers.cards import Item, Scale, arrangements, items_of, put
from torch2grid_builtin._transformers.packing import Box, Packing, pack, widths
from torch2grid_core import Layout, LayoutTransformer, NotDrawable
from torch2grid_core.grids import Block, Region, drawable_sizes, label_rows
from torch2grid_core.selection import modules

Part = tuple[str, list[Item]]  # a module: its name, its matrices
_WORK = 15_000  # boxes placed while an arrangement of modules is looked for


@dataclass(frozen=True)
class Atlas(LayoutTransformer):
    """Every matrix in its own form (rows = output units, kernels as out × in tiles), module by module, with names."""

    gap: int | None = field(default=None, metadata={"help": "empty cells between matrices; none: as suits the size"})
    names: bool = field(default=True, metadata={"help": "keep room for the names of modules"})

    name = "atlas"

    def __post_init__(self) -> None:
        if self.gap is not None and not 0 <= self.gap <= 64:
            raise ValueError("gap is a number of cells from 0 to 64, or none")

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """Modules in the order of the model, those alike arranged alike, cells of s×s weights with the smallest s that fits.

        A vector stands beside the matrix whose output units it belongs to, or above the one whose inputs it meets; such a
        cell holds s weights. A matrix much longer than wide is cut into bands, side by side.
        Raises ``NotDrawable`` without weights, and where the tensors do not fit *max_cells* a side.
        """
        sizes = drawable_sizes(shapes)
        parts = [(title, items_of(names, shapes)) for title, names in modules(sizes).items()]
        weights = sum(sizes.values())
        if max_cells is None:
            return _Sheet(parts, weights, 1, self.gap, self.names).layout(list(sizes))
        side = max(math.isqrt(weights) // max_cells, 1)
        longest = max(max(item.form.rows, item.form.columns) for _, items in parts for item in items)
        while True:
            for gap, named in ((self.gap, self.names), (0, False)) if side >= longest else ((self.gap, self.names),):
                sheet = _Sheet(parts, weights, side, gap, named, max_cells)
                if max(sheet.height, sheet.width) <= max_cells:
                    return sheet.layout(list(sizes))
            if side >= longest:
                raise NotDrawable(f"{len(sizes):,} tensors do not fit {max_cells}×{max_cells} cells as separate blocks")
            over = max(sheet.height, sheet.width) / max_cells
            side = min(max(side + 1, int(side * min(0.98 * over, 2))), longest)


class _Sheet:
    """All modules on one sheet, in cells of side×side weights. height, width: of the sheet, at most *room* if it can be."""

    def __init__(
        self, parts: Sequence[Part], weights: int, side: int, gap: int | None, named: bool, room: int | None = None
    ) -> None:
        extent = math.isqrt(weights * 4 // 3) // side + 1  # a quarter stays empty, or less
        self.line = label_rows(extent)
        scale = Scale(side, max(self.line // 8, 1) if gap is None else gap, max(extent // 4, 8))
        self.room = room
        self.parts, self.scale = parts, scale
        self.kinds = [tuple(item.kind for item in items) for _, items in parts]
        alike = list(dict.fromkeys(self.kinds))
        work = _WORK // len(alike)
        self.ways = {kinds: arrangements(kinds, scale, work) for kinds in alike}
        self.chosen = {kinds: ways[0] for kinds, ways in self.ways.items()}
        self.named = [named and bool(title) for title, _ in parts]
        if sum(self.named) * 5 * self.line**2 > 0.08 * extent**2:  # too many names: those of small modules go first
            large = [min(self.chosen[kinds].box) >= self.line for kinds in self.kinds]
            self.named = [each and enough for each, enough in zip(self.named, large, strict=True)]
        boxes = [self._box(place) for place in range(len(parts))]
        least = math.isqrt(sum(height * width for height, width in boxes))
        if room is not None and least > room:  # no arrangement can fit
            self.height = self.width = least
            return
        self.packing = self._arranged()
        self.height, self.width = self.packing.height, self.packing.width

    def _arranged(self) -> Packing:
        """The squarest packing found: the best ways of all kinds first, then other ways of those with the most weights."""
        best = self._packed(20)
        tries = _WORK // len(self.parts)
        area = Counter(dict.fromkeys(self.ways, 0))
        for kinds in self.kinds:
            area[kinds] += math.prod(self.chosen[kinds].box)
        for kinds in 2 * [kinds for kinds, _ in area.most_common(6)]:
            kept = self.chosen[kinds]
            for way in self.ways[kinds]:
                if tries > 0 and way is not kept:
                    self.chosen[kinds] = way
                    found = self._packed(12)
                    tries -= 12
                    if self._badness(found) < self._badness(best):
                        best, kept = found, way
            self.chosen[kinds] = kept
        kept_ways, chance = dict(self.chosen), random.Random(0)  # the same picture every time
        for _ in range(min(tries // 8, 8 * sum(len(ways) - 1 for ways in self.ways.values()))):
            self.chosen = {kinds: chance.choice(ways) for kinds, ways in self.ways.items()}
            found = self._packed(8)
            if self._badness(found) < self._badness(best):
                best, kept_ways = found, dict(self.chosen)
        self.chosen = kept_ways
        return best

    def _packed(self, sheets: int) -> Packing:
        boxes = [self._box(place) for place in range(len(self.parts))]
        gap = 2 * self.scale.gap
        tried = widths(boxes, gap, 0.75, 1.3, sheets)
        if self.room is not None and self.room < 1.3 * tried[0]:
            tried.append(self.room)
        return min((pack(boxes, gap, width) for width in tried), key=self._badness)

    def _badness(self, packing: Packing) -> tuple[bool, int]:
        """Less is better: within the room, about square, without empty places."""
        longer = max(packing.height, packing.width)
        return self.room is not None and longer > self.room, longer**2 + 2 * packing.height * packing.width

    def _box(self, place: int) -> Box:
        """(height, width) of one module, with its name above."""
        height, width = self.chosen[self.kinds[place]].box
        return (height + self.line, max(width, 3 * self.line)) if self.named[place] else (height, width)

    def layout(self, names: Sequence[str]) -> Layout:
        """Everything at its place; regions in the order of *names*."""
        found: dict[str, tuple[tuple[Block, ...], Region]] = {}
        labels = []
        for place, (title, items) in enumerate(self.parts):
            row, column = self.packing.places[place]
            way = self.chosen[self.kinds[place]]
            if self.named[place]:
                labels.append(Region(title, ((row, column, self.line, self._box(place)[1]),)))
                row += self.line
            for item, bands, (down, across) in zip(items, way.bands, way.packing.places, strict=True):
                for blocks, region in put(item, self.scale, bands, row + down, column + across):
                    found[region.name] = blocks, region
        side = self.scale.side
        return Layout(
            self.height * side,
            self.width * side,
            (side, side),
            tuple(block for name in names for block in found[name][0]),
            tuple(found[name][1] for name in names),
            tuple(labels),
        )
