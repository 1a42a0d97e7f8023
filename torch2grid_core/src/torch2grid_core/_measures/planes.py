"""Planes: the weights of each tensor reduced to the cells of a picture, in several ways at once, as soon as it was read."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid_core._measures.need import Chunk, Collector, Need
from torch2grid_core._pictures.blocks import Block, Rect
from torch2grid_core._pictures.cells import split
from torch2grid_core._pictures.layout import Layout, cells_of
from torch2grid_core._pictures.raster import placed_in, totals
from torch2grid_core._pictures.reductions import Room, reduction, to_float32
from torch2grid_core._pictures.window import Window

if TYPE_CHECKING:
    from torch2grid_core._data.checkpoint import Checkpoint
    from torch2grid_core._data.tensor import LazyTensor

_AT_ONCE = 1 << 20  # weights whose cells are found at once, at most; through the reductions they go fewer at a time


@dataclass(frozen=True)
class Planes(Need[Window]):
    """The cells of *layout* that each tensor has weights in, by all of *reductions*, in one pass.

    The result of a tensor is the ``Window`` that its cells stay in, as ``raster_window`` reads it. If other tensors have cells
    in that rectangle, the counts there are 0.

    Raises:
        TypeError: *layout* is not a ``Layout``.
        ValueError: a reduction is unknown.
    """

    layout: Layout
    reductions: tuple[str, ...] = ("mean", "rms", "min", "max")

    def __post_init__(self) -> None:
        if not isinstance(self.layout, Layout):
            raise TypeError(f"the layout of Planes is {type(self.layout).__name__}, not a Layout")
        for each in self.reductions:
            reduction(each)

    def groups(self, checkpoint: Checkpoint) -> Mapping[Hashable, tuple[str, ...]]:
        return {name: (name,) for name in self.layout.tensors if name in checkpoint}

    def only(self, names: tuple[str, ...]) -> Need[Any]:
        return replace(self, layout=self.layout.only(names[0])) if len(names) == 1 < len(self.layout.tensors) else self

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        (name,) = tensors
        return _Cells(self.layout, name, self.reductions)


class _Cells(Collector):
    """The cells of one tensor. Keeps a float64 for each and each reduction; a piece sends those that it touched."""

    def __init__(self, layout: Layout, tensor: str, reductions: tuple[str, ...]) -> None:
        self.tensor, self.reductions, self.weights = tensor, reductions, 0
        self.rectangle, self.layout = _cropped(layout, tensor)
        self.size = layout.weights_of(tensor)
        self.first = 0
        self._open()

    def _open(self) -> None:
        """Cells without a weight."""
        self._cells = cells_of(self.layout, self.tensor)
        self._starts = [each.block.start for each in self._cells]
        self.cells = sum(math.prod(each.shape) for each in self._cells)
        self._reducers = {name: reduction(name) for name in self.reductions}
        self.values = {name: np.full(self.cells, each.initial) for name, each in self._reducers.items()}
        shaped = {name: split(each, self._cells) for name, each in self.values.items()}
        self._targets = [{name: each[place] for name, each in shaped.items()} for place in range(len(self._cells))]

    def update(self, chunk: Chunk) -> None:
        values, room = chunk.values, Room()
        with np.errstate(all="ignore"):
            for first in range(0, len(values), _AT_ONCE):
                part, start = values[first : first + _AT_ONCE], chunk.start + first
                met = [(place, each) for place, cells in enumerate(self._cells) for each in cells.met(start, start + len(part))]
                for place, each in met:
                    each.add(self._targets[place], self._reducers, part, room)
        self.weights += len(values)

    def merge(self, other: _Cells) -> None:
        place = slice(other.first, other.first + len(next(iter(other.values.values()))))
        for name, values in other.values.items():
            mine = self.values[name][place]
            self._reducers[name].ufunc(mine, values, out=mine)
        self.weights += other.weights

    def result(self) -> Window:
        if self.weights != self.size:
            raise ValueError(f"{self.weights} weights of {self.tensor!r} were read, its layout has {self.size}")
        counts = np.zeros(self.layout.shape, dtype=np.int64)
        placed = placed_in(counts, self._cells)
        planes = {}
        with np.errstate(all="ignore"):
            for name, values in self.values.items():
                planes[name] = plane = np.zeros(self.layout.shape, dtype=np.float32)
                for index, total in totals(placed, split(values, self._cells), counts, self._reducers[name]):
                    plane[index] = to_float32(self._reducers[name].finish(total, counts[index]))
        return Window(planes, counts, self.rectangle)

    def __getstate__(self) -> dict[str, Any]:
        kept = {key: value for key, value in vars(self).items() if not key.startswith("_")}
        touched = np.zeros(self.cells, dtype=bool)
        for name, values in self.values.items():
            touched |= values != self._reducers[name].initial
        places = np.flatnonzero(touched)
        start, stop = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)
        return {**kept, "first": start, "values": {name: each[start:stop] for name, each in self.values.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        first, found = state.pop("first"), state.pop("values")
        vars(self).update(state)
        self.first = 0
        self._open()
        for name, values in found.items():
            self.values[name][first : first + len(values)] = values


def _cropped(layout: Layout, tensor: str) -> tuple[Rect, Layout]:
    """The rectangle of cells that *tensor* stays in, and its blocks in a grid of these alone. A curve may go anywhere."""
    blocks, (r, c) = layout.blocks_of(tensor), layout.cell
    if not blocks:
        raise ValueError(f"the layout has no place for tensor {tensor!r}")
    found = [block for block in blocks if isinstance(block, Block)]
    if len(found) < len(blocks):
        return (0, 0, *layout.shape), layout.only(tensor)
    bounds = np.array([block.bounds() for block in found])
    top, left = (bounds[:, :2].min(axis=0) // (r, c)).tolist()
    bottom, right = (-(-(bounds[:, :2] + bounds[:, 2:]).max(axis=0) // (r, c))).tolist()
    moved = tuple(replace(each, row=each.row - top * r, column=each.column - left * c) for each in found)
    return (top, left, bottom - top, right - left), Layout((bottom - top) * r, (right - left) * c, layout.cell, moved)
