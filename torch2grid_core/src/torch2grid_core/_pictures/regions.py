"""Regions that follow from where weights are: the rectangles of cells of any form."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._pictures.blocks import Rect, Region
from torch2grid_core._pictures.layout import Layout, cells_of


def traced(layout: Layout) -> tuple[Region, ...]:
    """The regions of *layout*, those without rectangles as rows of the cells that hold weights of theirs.

    Such a region is of the tensor that it names, else of all tensors of the module. Takes time by its cells.
    """
    if all(region.rects for region in layout.regions):
        return layout.regions
    owner = np.full(layout.shape, -1, dtype=np.int32)
    for number, region in enumerate(layout.regions):
        for name in () if region.rects else tensors_of(region.name, layout.tensors):
            for cells in cells_of(layout, name):
                owner[cells.index(layout.shape)] = number
    found = rectangles(owner)
    return tuple(
        region if region.rects else Region(region.name, tuple(found.get(number, ())))
        for number, region in enumerate(layout.regions)
    )


def tensors_of(region: str, tensors: Collection[str]) -> list[str]:
    """Which of *tensors* a region without rectangles is of."""
    return [region] if region in tensors else [name for name in tensors if name.startswith(f"{region}.")]


def rectangles(owner: Array, nobody: int = -1) -> dict[int, list[Rect]]:
    """The rectangles of each number in *owner*, one a cell, but *nobody*'s: runs of a row, and like ones below, sorted."""
    found: dict[int, list[Rect]] = {}
    open_: dict[tuple[int, int, int], int] = {}  # (number, column, width) → its first row
    for row in range(len(owner) + 1):
        runs: set[tuple[int, int, int]] = set()
        if row < len(owner):
            line = owner[row]
            starts = np.concatenate([[0], np.flatnonzero(line[1:] != line[:-1]) + 1])
            stops = np.append(starts[1:], len(line))
            taken = line[starts] != nobody
            held = zip(line[starts][taken].tolist(), starts[taken].tolist(), (stops - starts)[taken].tolist(), strict=True)
            runs = set(held)
        for run in [each for each in open_ if each not in runs]:
            top = open_.pop(run)
            found.setdefault(run[0], []).append((top, run[1], row - top, run[2]))
        for run in runs - open_.keys():
            open_[run] = row
    return {number: sorted(rects) for number, rects in found.items()}
