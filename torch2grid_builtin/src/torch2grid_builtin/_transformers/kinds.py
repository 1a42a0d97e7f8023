"""Colour limits for each kind of tensor: the same one of all layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from torch2grid_core import Grid
from torch2grid_core.grids import color_scale
from torch2grid_core.selection import modules
from torch2grid_core.text import visible

Array = np.ndarray[Any, Any]
_IN_A_NOTE = 8  # kinds whose limits stand in one line


def kinds_of(names: Iterable[str]) -> dict[str, str]:
    """The kind of each tensor: in a numbered module its name without that of the module, else its whole name; further numbers,
    as those of experts, as ``*``."""
    found = {}
    for title, own in modules(names).items():
        cut = len(title) + 1 if title.rpartition(".")[2].isdecimal() else 0
        for name in own:
            found[name] = ".".join("*" if part.isdecimal() else part for part in name[cut:].split("."))
    return found


def by_kind(grid: Grid) -> Grid:
    """*grid* with each value as a share of the limit of its kind, a quantile of the kind's cells; notes state the limits."""
    kinds = kinds_of(region.name for region in grid.regions)
    number = {kind: place for place, kind in enumerate(dict.fromkeys(kinds.values()))}
    owner = np.full(grid.shape, -1, dtype=np.int32)
    for region in grid.regions:
        for row, column, height, width in region.rects:
            owner[row : row + height, column : column + width] = number[kinds[region.name]]
    owner[grid.counts == 0] = -1
    order = np.argsort(owner, axis=None, kind="stable")
    edges = np.searchsorted(owner.reshape(-1)[order], np.arange(len(number) + 1))
    flat = grid.values.reshape(-1)
    limits = np.ones(len(number) + 1)  # the last: of empty cells
    for place in range(len(number)):
        cells = flat[order[edges[place] : edges[place + 1]]]
        limits[place] = color_scale(Grid(cells[None]), "symmetric").high
    values = (grid.values / limits[owner]).astype(np.float32)
    drawn = grid.drawn()
    signed = bool((drawn[np.isfinite(drawn)] < 0).any())
    return replace(
        grid,
        values=values,
        quantity="weight over the limit of its kind",
        notes=(*grid.notes, *_stated(dict(zip(number, limits.tolist(), strict=False)), signed)),
        limits=(-1.0 if signed else 0.0, 1.0),
        spread=None,
    )


def _stated(limits: dict[str, float], signed: bool) -> Iterator[str]:
    # Without a space: no line ends between a kind and its limit.
    texts = [f"{visible(kind.removesuffix('.weight'), 60)}={limit:.2g}" for kind, limit in limits.items()]
    for start in range(0, len(texts), _IN_A_NOTE):
        head = f"limits by kind ({'±' if signed else '0 to'}): " if start == 0 else ""
        yield head + ", ".join(texts[start : start + _IN_A_NOTE]) + ("," if start + _IN_A_NOTE < len(texts) else "")
