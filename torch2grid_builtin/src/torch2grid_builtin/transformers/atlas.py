"""Every matrix in its own form, the matrices of a module together under its name: a map of the whole model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch2grid_builtin.transformers.cards import Card, Item, cards_of
from torch2grid_builtin.transformers.forms import form_of
from torch2grid_builtin.transformers.packing import Packing, pack, widths
from torch2grid_core import Block, Layout, LayoutTransformer, NotDrawable, Region, drawable_sizes, label_rows, modules, natural

_WORK = 5000  # boxes placed while an arrangement of modules is looked for


@dataclass(frozen=True)
class Atlas(LayoutTransformer):
    """Every matrix in its own form (rows = output units, kernels as out × in tiles), module by module, with names."""

    gap: int = field(default=2, metadata={"help": "empty cells between matrices"})
    names: bool = field(default=True, metadata={"help": "keep room for the names of modules"})

    name = "atlas"

    def __post_init__(self) -> None:
        if not 0 <= self.gap <= 64:
            raise ValueError("gap is a number of cells from 0 to 64")

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """Modules in the order of the model, those alike arranged alike, cells of s×s weights with the smallest s that fits.

        A vector stands beside the matrix whose output units it belongs to, or above the one whose inputs it meets; such a
        cell holds s weights. A matrix much longer than wide is cut into bands, side by side.
        Raises ``NotDrawable`` without weights, and where the tensors do not fit *max_cells* a side.
        """
        sizes = drawable_sizes(shapes)
        parts = [(title, [name for name in names if name in sizes]) for title, names in _in_order(shapes)]
        parts = [(title, names) for title, names in parts if names]
        if max_cells is None:
            return _Sheet(parts, shapes, 1, self.gap, self.names).layout(list(sizes))
        side = max(math.isqrt(sum(sizes.values())) // max_cells, 1)
        longest = max(max(form_of(shapes[name]).rows, form_of(shapes[name]).columns) for name in sizes)
        while True:
            for gap, named in ((self.gap, self.names), (0, False)) if side >= longest else ((self.gap, self.names),):
                sheet = _Sheet(parts, shapes, side, gap, named)
                if max(sheet.height, sheet.width) <= max_cells:
                    return sheet.layout(list(sizes))
            if side >= longest:
                raise NotDrawable(f"{len(sizes):,} tensors do not fit {max_cells}×{max_cells} cells as separate blocks")
            over = max(sheet.height, sheet.width) / max_cells
            side = min(max(side + 1, int(side * min(0.98 * over, 2))), longest)


def _in_order(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[str, list[str]]]:
    """Modules as they come, but the numbered layers of one stack in the order of their numbers."""
    found = list(modules(shapes).items())
    stacks: dict[str, list[int]] = {}
    for place, (title, _) in enumerate(found):
        stem, _, number = title.rpartition(".")
        if number.isdigit():
            stacks.setdefault(stem, []).append(place)
    for places in stacks.values():
        ordered = sorted((found[place] for place in places), key=lambda part: int(part[0].rpartition(".")[2]))
        for place, part in zip(places, ordered, strict=True):
            found[place] = part
    return found


class _Sheet:
    """All cards on one sheet, in cells of side×side weights. height, width: of the sheet."""

    def __init__(
        self, parts: Sequence[tuple[str, Sequence[str]]], shapes: Mapping[str, tuple[int, ...]], side: int, gap: int, named: bool
    ) -> None:
        self.side, self.gap = side, gap
        weights = sum(math.prod(shapes[name]) for _, names in parts for name in names)
        extent = math.isqrt(weights) // side + 1
        self.cards = cards_of(parts, shapes, side, gap, max(extent // 4, 8))
        self.line = label_rows(extent)
        self.named = [named and bool(card.title) for card in self.cards]
        small = [card.height < self.line or card.width < 2 * self.line for card in self.cards]
        if sum(self.named) * self.line * 4 * self.line > 0.08 * extent**2:  # too many names: those of small ones go first
            self.named = [each and not tiny for each, tiny in zip(self.named, small, strict=True)]
        self.chosen = [card.best for card in self.cards]
        self.packing = self._arrange()
        self.height, self.width = self.packing.height, self.packing.width

    def _boxes(self, best: Mapping[object, int]) -> list[tuple[int, int]]:
        """(height, width) of each card with its name, in the arrangement of its kind."""
        boxes = []
        for card, named in zip(self.cards, self.named, strict=True):
            height, width = card.kind.sizes[best[card.kind]]
            boxes.append((height + self.line, max(width, 3 * self.line)) if named else (height, width))
        return boxes
