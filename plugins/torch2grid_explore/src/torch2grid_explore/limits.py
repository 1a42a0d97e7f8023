"""Limits of colours that a drawing would have: of all cells of a level, or of each kind of tensor.

Tensors are of one kind where their names differ in numbers alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from torch2grid_core import Grid
from torch2grid_core.grids import Array, color_scale, default_map
from torch2grid_explore.picture import Picture
from torch2grid_explore.pyramid import PLANES
from torch2grid_explore.session import Session

_NUMBERS = re.compile(r"[0-9]+")
KINDS = ("auto", "symmetric", "minmax", "asinh")  # of scales
_COMPARED = 8  # pictures that limits come from, at most
_MEASURED = 256  # rows and columns of cells, at most
_SAMPLES = 48  # windows of a level that is not in memory
_WINDOWS, _SIDE = 6, 48  # of a kind, at a level that is not in memory, and their cells a side
_BARS = 96


def kinds_of(names: Sequence[str]) -> tuple[list[str], list[int]]:
    """The kinds of tensors of these *names*, and the number of each tensor's kind."""
    numbers: dict[str, int] = {}
    of = [numbers.setdefault(_NUMBERS.sub("*", name), len(numbers)) for name in names]
    return list(numbers), of


def limits(session: Session, number: int, level: int, plane: str, kind: Any) -> dict[str, Any]:
    """The limits of a level, with a histogram of its cells, of all pictures that share them.

    Raises ``KeyError`` for a level that is not there.
    """
    if level >= len(session.map.cells):
        raise KeyError(f"level {level}")
    values = [each for picture in _shown(session, number) for each in _some(session, picture, level, plane)]
    return _told(np.concatenate(values), plane, kind)


def _shown(session: Session, number: int) -> list[Picture]:
    return [each for each in session.pictures if each.scale == session.pictures[number].scale][:_COMPARED]


def _some(session: Session, picture: Picture, level: int, plane: str) -> Iterator[Array]:
    """Cells of a level in memory, some if it is large; else those of windows."""
    if level >= session.map.base:
        found = picture.pyramid.sample(level - session.map.base, _MEASURED, (plane,))
        yield found.planes[plane][found.counts > 0]
        return
    height, width = session.map.shape(level)
    for place in range(_SAMPLES):  # along a curve that comes near every part of the map
        row, column = int(height * (place + 0.5) / _SAMPLES), int(width * ((place * 0.618034) % 1))
        window = picture.window(level, (row, column, min(_SIDE, height - row), min(_SIDE, width - column)), (plane,))
        yield np.asarray(window.planes[plane])[window.counts > 0]


def limits_by_kind(session: Session, number: int, level: int, plane: str, kind: Any) -> list[dict[str, Any]]:
    """For each kind of tensor what ``limits`` is for all.

    Raises ``KeyError`` for a level that is not there.
    """
    if level >= len(session.map.cells):
        raise KeyError(f"level {level}")
    return limits_of(sampled(session, number, level, (plane,)), plane, kind)


def sampled(session: Session, number: int, level: int, planes: Sequence[str] = PLANES) -> list[dict[str, Array]]:
    """Of each kind of tensor, cells of a level by plane, of all pictures that share limits."""
    names, of = kinds_of(session.map.tensors)
    found: list[list[dict[str, Array]]] = [[] for _ in names]
    for picture in _shown(session, number):
        if level >= session.map.base:
            _kept(session, picture, level, planes, np.array(of), found)
        else:
            _read(session, picture, level, planes, of, found)
    return [
        {name: np.concatenate([np.empty(0, np.float32), *(each[name] for each in parts)]) for name in planes} for parts in found
    ]


def _kept(
    session: Session, picture: Picture, level: int, planes: Sequence[str], of: Array, found: list[list[dict[str, Array]]]
) -> None:
    """Cells of a level in memory, some of a large one."""
    cells = picture.pyramid.sample(level - session.map.base, _MEASURED, planes)
    there = cells.counts > 0
    kinds = of[cells.owners[there]]
    order = np.argsort(kinds, kind="stable")
    bounds = np.searchsorted(kinds[order], np.arange(len(found) + 1))
    values = {name: cells.planes[name][there][order] for name in planes}
    for kind, parts in enumerate(found):
        parts.append({name: each[bounds[kind] : bounds[kind + 1]] for name, each in values.items()})


def _read(
    session: Session, picture: Picture, level: int, planes: Sequence[str], of: list[int], found: list[list[dict[str, Array]]]
) -> None:
    """Windows of a level that is read from the file, of some rectangles of each kind."""
    place = session.map
    numbers = {name: at for at, name in enumerate(place.tensors)}
    rectangles: list[list[tuple[int, int, int, int]]] = [[] for _ in found]
    for region in place.layout.regions:
        if region.name in numbers:
            rectangles[of[numbers[region.name]]] += region.rects
    (down, across), (high, wide) = place.cells[place.base], place.cells[level]
    rows, columns = place.shape(level)
    for kind, own in enumerate(rectangles):
        step = -(-len(own) // _WINDOWS)
        for turn, (top, left, height, width) in enumerate(own[:: max(step, 1)]):
            first, near = top * down // high, left * across // wide
            last, far = min((top + height) * down // high, rows), min((left + width) * across // wide, columns)
            share = (turn + 0.5) / _WINDOWS  # not each time the same corner
            row = first + int(share * max(last - first - _SIDE, 0))
            column = near + int(share * max(far - near - _SIDE, 0))
            window = picture.window(level, (row, column, min(_SIDE, last - row), min(_SIDE, far - column)), planes)
            there = window.counts > 0
            found[kind].append({name: np.asarray(window.planes[name])[there] for name in planes})


def limits_of(samples: Sequence[dict[str, Array]], plane: str, kind: Any) -> list[dict[str, Any]]:
    """Limits of each of *samples*, with a histogram of its cells."""
    return [_told(sample[plane], plane, kind) for sample in samples]


def _told(cells: Array, plane: str, kind: Any) -> dict[str, Any]:
    """The limits of *cells*, and a histogram of them as far as a little beyond."""
    values = np.asarray(cells).reshape(1, -1)
    scale = color_scale([Grid(values, np.ones(values.shape, np.int64), plane)], kind)
    finite = values[np.isfinite(values)]
    reach = 1.3 * max(abs(scale.low), abs(scale.high))
    if finite.size:
        finite = np.clip(finite, max(-reach, float(finite.min())), min(reach, float(finite.max())))
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    counts, edges = np.histogram(finite, _BARS, (least, most)) if least < most else (np.zeros(1), np.zeros(2))
    return {
        "low": scale.low,
        "high": scale.high,
        "bend": scale.linear_threshold if scale.kind == "asinh" else 0,
        "map": default_map(scale),
        "counts": counts.tolist(),
        "edges": [float(f"{edge:.6g}") for edge in edges.tolist()],
    }
