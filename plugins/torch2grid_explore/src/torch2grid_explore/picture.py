"""Pictures: a checkpoint laid out as a map, in levels from all of it to one weight a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch2grid_builtin.viewer import titles
from torch2grid_core import (
    Checkpoint,
    GridTransformer,
    Layout,
    LayoutTransformer,
    LazyTensor,
    NotDrawable,
    PluginManager,
    UsageError,
)
from torch2grid_core.grids import Block, CellWeights, Rect, Window, raster_window, weights_of_cell
from torch2grid_core.text import visible
from torch2grid_explore.pyramid import PLANES, Pyramid, bytes_a_cell

USUAL = "atlas"
TILE = 256  # cells a side
_LARGEST_CELL = 1 << 12
_MOST_CELLS = 2048  # a side, of a picture that cannot be refined


class Map:
    """Where each weight is, at every level. cells: weights a side of a cell at each level, finest first.

    base: the level that is in memory, with all above it. layouts finer than that are the base's, refined.
    """

    def __init__(self, layout: Layout, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.layout, self.shapes, self.tensors = layout, shapes, layout.tensors
        finer = _finer(layout)
        self.base = len(finer)
        self._finer: dict[int, Layout] = {}
        coarser, shape, cell = [], layout.shape, layout.cell
        while max(shape) > TILE:
            shape, cell = (-(-shape[0] // 2), -(-shape[1] // 2)), (2 * cell[0], 2 * cell[1])
            coarser.append(cell)
        self.cells: list[tuple[int, int]] = [*finer, layout.cell, *coarser]

    def shape(self, level: int) -> tuple[int, int]:
        """(rows, columns) of a level in cells."""
        r, c = self.cells[level]
        return -(-self.layout.rows // r), -(-self.layout.columns // c)

    def at(self, level: int) -> Layout:
        """The layout of a level; above the base, its cells may hold weights of several tensors."""
        if level >= self.base:
            return self.layout
        if level not in self._finer:
            self._finer[level] = self.layout.refined(self.cells[level])
        return self._finer[level]

    def inside(self, level: int, rectangle: Rect) -> Rect:
        """*rectangle*, if it is of cells of a level, and of no more than a tile has. Raises ``KeyError``."""
        if not 0 <= level < len(self.cells):
            raise KeyError(f"level {level}")
        (top, left, high, wide), (height, width) = rectangle, self.shape(level)
        if min(top, left) < 0 or not (0 < high <= TILE and 0 < wide <= TILE) or top + high > height or left + wide > width:
            raise KeyError(f"cells {rectangle}")
        return rectangle

    def weights(self, level: int, row: int, column: int) -> tuple[CellWeights, ...]:
        """Which weights a cell holds, at the base or finer."""
        layout = self.at(level)
        met = layout.blocks_in((row, column, 1, 1))
        return weights_of_cell(replace(layout, blocks=met, regions=(), labels=(), marks=()), row, column) if met else ()


def _finer(layout: Layout) -> list[tuple[int, int]]:
    """Cells below the layout's own, finest first, each a half or a like share of the next; none where it cannot be refined."""
    (side, across), found = layout.cell, []
    if side != across:
        return []
    while side > 1:
        side //= next(each for each in range(2, side + 1) if side % each == 0)
        found.append((side, side))
    try:
        if found:
            layout.refined(found[-1])
    except NotDrawable:
        return []
    return found[::-1]


def map_of(manager: PluginManager, spec: Any, shapes: Mapping[str, tuple[int, ...]], memory: int) -> Map:
    """The map of tensors of these *shapes* by the transformer *spec*, its cells as small as planes of *memory* bytes allow.

    Raises ``UsageError`` for a transformer without a layout of its own, ``NotDrawable`` where there is nothing to lay out.
    """
    transformer: GridTransformer = manager.create("transformer", spec)
    if not isinstance(transformer, LayoutTransformer):
        raise UsageError(
            f"explore: {transformer.name} draws arrays, and does not say where each weight is; try --plugin {USUAL}"
        )
    if type(transformer).needs is not LayoutTransformer.needs:
        raise UsageError(f"explore: {transformer.name} measures weights before it places them; try --plugin {USUAL}")
    chosen = {name: shapes[name] for name in transformer.choose(shapes)}
    weights, room = sum(map(math.prod, chosen.values())), memory / bytes_a_cell(len(chosen))
    if not hasattr(transformer, "cell"):
        return Map(transformer.layout(chosen, min(_MOST_CELLS, max(math.isqrt(int(room)), 64))), chosen)
    side = 1
    while weights > room * side * side and side < _LARGEST_CELL:
        side *= 2
    while True:
        layout = replace(transformer, cell=side).layout(chosen, None)  # type: ignore[type-var]
        if math.prod(layout.shape) <= room or side >= _LARGEST_CELL:
            return Map(layout, chosen)
        side *= 2


class Picture:
    """One checkpoint on a map.

    label: what it is called beside others. scale: those of one name have limits in common. frame: one of a series.
    """

    def __init__(self, place: Map, checkpoint: Checkpoint, label: str = "", scale: str = "", *, frame: bool = False) -> None:
        self.map, self.checkpoint, self.label, self.scale, self.frame = place, checkpoint, label, scale, frame
        self.tensors = {name: checkpoint[name] for name in place.tensors if name in checkpoint}
        self.pyramid = Pyramid(place.layout)

    @property
    def filled(self) -> bool:
        """True when all of it was read."""
        return len(self.pyramid.filled) == len(self.tensors)

    def window(self, level: int, rectangle: Rect, planes: Sequence[str] = PLANES) -> Window:
        """The cells of *rectangle*: from memory at the base and above, else read from the file.

        Raises ``LoadError`` where the file is no longer what it was.
        """
        if level >= self.map.base:
            found = self.pyramid.window(level - self.map.base, rectangle, planes)
            return Window({name: found.planes[name] for name in planes}, found.counts, rectangle)
        return raster_window(self.map.at(level), self.tensors, rectangle, planes)


def described(place: Map, tensors: Mapping[str, LazyTensor]) -> dict[str, Any]:
    """The map as the page gets it: tensors by number, their blocks, rectangles and the names of modules."""
    numbers = {name: number for number, name in enumerate(place.tensors)}
    layout = place.layout
    blocks = [
        [numbers[block.tensor], block.start, block.row, block.column, *(step for dim in block.dims for step in dim)]
        for block in layout.blocks
        if isinstance(block, Block)
    ]
    return {
        "tensors": [_tensor(tensors[name]) for name in place.tensors],
        "rows": layout.rows,
        "columns": layout.columns,
        "cells": place.cells,
        "base": place.base,
        "tile": TILE,
        "blocks": blocks if len(blocks) == len(layout.blocks) else None,
        "regions": [[numbers[each.name], each.rects] for each in layout.regions if each.name in numbers],
        "labels": [[visible(title, 200), each.rects] for each, title in zip(layout.labels, titles(layout), strict=True)],
        "marks": [[visible(each.name, 200), each.rects] for each in layout.marks],
    }


def _tensor(tensor: LazyTensor) -> list[Any]:
    return [visible(tensor.name, 300), list(tensor.shape), str(tensor.dtype), tensor.nbytes, visible(tensor.note or "", 300)]
