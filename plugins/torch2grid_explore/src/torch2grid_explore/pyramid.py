"""The levels of a picture that are in memory: the cells that one pass fills, and ever coarser ones above them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_core import Layout
from torch2grid_core.grids import Array, Rect, Window

PLANES = ("mean", "rms", "min", "max")
_AT_ONCE = 1 << 14  # cells computed at a time, where several tensors have a part in them
_COARSEST = 256  # cells a side: there is no level above one that is no larger


@dataclass(frozen=True, eq=False)
class Level:
    """Cells of cell×cell weights, as many a side as the picture needs.

    planes: float32 by reduction, 0 where there is no weight. counts: weights in each cell. owners: place of the tensor that a
    cell is of in ``Layout.tensors``; of cells without weights, any.
    """

    cell: tuple[int, int]
    planes: Mapping[str, Array]
    counts: Array
    owners: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.counts.shape[0], self.counts.shape[1]

    @classmethod
    def empty(cls, shape: tuple[int, int], cell: tuple[int, int], tensors: int) -> Level:
        largest = np.iinfo(np.uint16).max
        counting = np.uint16 if cell[0] * cell[1] <= largest else np.int64
        naming = np.uint16 if tensors <= largest else np.int32
        planes = {name: np.zeros(shape, dtype=np.float32) for name in PLANES}
        return cls(cell, planes, np.zeros(shape, dtype=counting), np.zeros(shape, dtype=naming))


def bytes_a_cell(tensors: int) -> float:
    """What a cell of the finest level costs in memory, with the coarser levels above it."""
    return 16 / 15 * (4 * len(PLANES) + 2 + (2 if tensors < 1 << 16 else 4))


class Pyramid:
    """Planes of *layout*: its own cells, and above them levels of twice the side each, until all of it is small.

    Every second level is kept, and computed where it is asked for after cells below it came in; those between are computed each
    time. No cell of any level mixes
    tensors. Where several meet in a coarser cell, it is of the one with a NaN or Inf there, else of the smallest, which others
    would hide. Any number of threads may read while others ``put``.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout, self.tensors = layout, layout.tensors
        self._numbers = {name: number for number, name in enumerate(self.tensors)}
        sizes = np.array([layout.weights_of(name) for name in self.tensors], dtype=np.int64)
        self._rank = np.empty(len(sizes), dtype=np.int32)
        self._rank[np.argsort(sizes, kind="stable")] = np.arange(len(sizes), dtype=np.int32)
        self._by_rank = np.argsort(self._rank)
        self.shapes, self.cells = [layout.shape], [layout.cell]
        while max(self.shapes[-1]) > _COARSEST:
            (height, width), (r, c) = self.shapes[-1], self.cells[-1]
            self.shapes.append((-(-height // 2), -(-width // 2)))
            self.cells.append((2 * r, 2 * c))
        self._kept = [self._empty(number) for number in range(0, len(self.shapes), 2)]
        self._behind: list[list[Rect]] = [[] for _ in self._kept[1:]]  # of each but the first: what is to be computed again
        self._lock = threading.Lock()
        self.filled: set[str] = set()

    def _empty(self, number: int, shape: tuple[int, int] | None = None) -> Level:
        return Level.empty(shape or self.shapes[number], self.cells[number], len(self.tensors))

    def put(self, tensor: str, window: Window) -> None:
        """Take in the cells of *tensor*, of this layout, by all reductions."""
        top, left, height, width = rectangle = window.rectangle
        place, some = np.s_[top : top + height, left : left + width], window.counts > 0
        base = self._kept[0]
        with self._lock:
            if some.all():
                for name, plane in base.planes.items():
                    plane[place] = window.planes[name]
                base.counts[place], base.owners[place] = window.counts, self._numbers[tensor]
            else:
                for name, plane in base.planes.items():
                    np.copyto(plane[place], window.planes[name], where=some)
                np.copyto(base.counts[place], window.counts, where=some, casting="unsafe")
                base.owners[place][some] = self._numbers[tensor]
            for behind in self._behind:
                rectangle = _halved(_halved(rectangle))
                _joined(behind, rectangle)
            self.filled.add(tensor)

    def settle(self) -> None:
        """Compute now what of the coarser levels would be computed when it is asked for."""
        for kept, behind in enumerate(self._behind, start=1):
            while behind:
                with self._lock:
                    self._settle(kept, behind[-1:])

    def _settle(self, kept: int, wanted: Sequence[Rect]) -> None:
        """Compute what is behind of a level that is kept, by its place among those, as far as it meets *wanted*."""
        if kept == 0:
            return
        behind = self._behind[kept - 1]
        for rectangle in [each for each in behind if any(_meet(each, other) for other in wanted)]:
            behind.remove(rectangle)
            top, left, height, width = rectangle
            self._settle(kept - 1, [(4 * top, 4 * left, 4 * height, 4 * width)])
            found, coarser = self._coarser(2 * kept - 2, 2, rectangle), self._kept[kept]
            place = np.s_[top : top + height, left : left + width]
            for name, plane in coarser.planes.items():
                plane[place] = found.planes[name]
            coarser.counts[place], coarser.owners[place] = found.counts, found.owners

    def _coarser(self, number: int, steps: int, rectangle: Rect) -> Level:
        """The cells of *rectangle* so many levels above level *number*, which is kept."""
        finer, bounds = self._kept[number // 2], rectangle
        for _ in range(steps):
            bounds = (2 * bounds[0], 2 * bounds[1], 2 * bounds[2], 2 * bounds[3])
        top, left, height, width = bounds
        found = _cut(finer, np.s_[top : top + height, left : left + width])
        for step in range(1, steps + 1):
            found = self._half(found, self.cells[number + step])
        return found

    def _half(self, finer: Level, cell: tuple[int, int], names: Sequence[str] = PLANES) -> Level:
        """2×2 cells of *finer* as one, by the planes *names*."""
        parts = list(_quarters(finer))
        first, *others = parts
        plain = np.ones(first.shape, dtype=bool)  # four cells of one tensor, of as many weights each, or of none: most are such
        for part in others:
            plain &= (part.counts == first.counts) & ((part.owners == first.owners) | (first.counts == 0))
        with np.errstate(all="ignore"):
            planes = {name: _united(name, [part.planes[name] for part in parts]) for name in names}
            counts, owners = 4 * first.counts.astype(np.int64), first.owners.astype(self._by_rank.dtype)
            if not plain.all():
                rest = ~plain
                taken = [
                    Level(
                        cell,
                        {name: part.planes[name][rest] for name in planes | {"rms": 0}},
                        part.counts[rest],
                        part.owners[rest],
                    )
                    for part in parts
                ]
                claimed, counts[rest], owners[rest] = self._claimed(taken, names)
                for name, values in claimed.items():
                    planes[name][rest] = values
        return Level(cell, planes, counts, owners)

    def _claimed(self, parts: Sequence[Level], names: Sequence[str]) -> tuple[dict[str, Array], Array, Array]:
        """Planes, counts and owners of cells, each of the four in *parts*, whoever these are of."""
        tensors = max(len(self.tensors), 1)
        nobody = 2 * tensors
        claims = []
        for part in parts:
            claim = self._rank[part.owners] + np.where(np.isfinite(part.planes["rms"]), tensors, 0)
            claims.append(np.where(part.counts > 0, claim, nobody))
        best = np.minimum.reduce(claims)
        won = best % tensors
        kept = [
            np.where((claim < nobody) & (claim % tensors == won), part.counts, 0).astype(np.float64)
            for claim, part in zip(claims, parts, strict=True)
        ]
        counts = np.add.reduce(kept)
        weights = [(part.planes, count, count > 0) for part, count in zip(parts, kept, strict=True)]
        full = counts > 0
        values = {name: _combined(name, weights, counts) for name in names}
        planes = {name: np.where(full, each, 0).astype(np.float32) for name, each in values.items()}
        return planes, counts.astype(np.int64), self._by_rank[won]

    def level(self, number: int) -> Level:
        """All cells of a level, 0 the finest."""
        with self._lock:
            self._settle(number // 2, [(0, 0, *self._kept[number // 2].shape)])
            return self._kept[number // 2] if number % 2 == 0 else self._coarser(number - 1, 1, (0, 0, *self.shapes[number]))

    def window(self, number: int, rectangle: Rect, names: Sequence[str] = PLANES) -> Window:
        """A copy of the cells of *rectangle* at a level, 0 the finest; cells of what was not yet read are empty."""
        top, left, height, width = rectangle
        found = self._picked(number, np.arange(top, top + height), np.arange(left, left + width), names)
        return Window(found.planes, found.counts.astype(np.int64), rectangle)

    def sample(self, number: int, most: int, names: Sequence[str] = PLANES) -> Level:
        """Cells of a level at even distances, *most* a side at most."""
        rows, columns = (np.arange(0, side, -(-side // most)) for side in self.shapes[number])
        return self._picked(number, rows, columns, names)

    def _picked(self, number: int, rows: Array, columns: Array, names: Sequence[str]) -> Level:
        """A copy of the cells of these *rows* and *columns* of a level. What is computed of it holds nobody up."""
        kept = self._kept[number // 2]
        if number % 2 == 0:
            with self._lock:
                self._settle(number // 2, [_around(rows, columns)])
                return _copied(kept, rows, columns, names)
        pairs = [(2 * each[:, None] + (0, 1)).reshape(-1) for each in (rows, columns)]
        down, across = (pair[pair < side] for pair, side in zip(pairs, kept.shape, strict=True))
        with self._lock:
            self._settle(number // 2, [_around(down, across)])
            found = _copied(kept, down, across, {"rms", *names})  # which tells where a cell holds NaN
        return self._half(found, self.cells[number], names)


def _united(name: str, parts: Sequence[Array]) -> Array:
    """Cells of as many weights each as one, by the plane *name*."""
    if name in ("min", "max"):
        ufunc = np.minimum if name == "min" else np.maximum
        extreme = ufunc(parts[0], parts[1])
        for part in parts[2:]:
            ufunc(extreme, part, out=extreme)
        return extreme
    total, wide = np.zeros(parts[0].shape), np.empty(parts[0].shape)
    for part in parts:
        np.copyto(wide, part)
        np.add(total, wide if name == "mean" else np.multiply(wide, wide, out=wide), out=total)
    np.divide(total, len(parts), out=total)
    return (total if name == "mean" else np.sqrt(total, out=total)).astype(np.float32)


def _combined(name: str, weights: Sequence[tuple[Mapping[str, Array], Array, Array]], counts: Array) -> Array:
    """Cells of *weights* (planes, weights a cell, where there are some) as one, by the plane *name*."""
    found: Array
    if name == "mean":
        found = np.add.reduce([np.where(some, planes[name] * count, 0) for planes, count, some in weights]) / counts
    elif name == "rms":
        parts = [np.where(some, np.square(planes[name], dtype=np.float64) * count, 0) for planes, count, some in weights]
        found = np.sqrt(np.add.reduce(parts) / counts)
    else:
        ufunc, nothing = (np.minimum, np.inf) if name == "min" else (np.maximum, -np.inf)
        found = ufunc.reduce([np.where(some, planes[name], nothing) for planes, _, some in weights])
    return found


def _halved(rectangle: Rect) -> Rect:
    """The cells of the next coarser level that a rectangle is in."""
    top, left, height, width = rectangle
    return top // 2, left // 2, -(-(top + height) // 2) - top // 2, -(-(left + width) // 2) - left // 2


def _around(rows: Array, columns: Array) -> Rect:
    """The rectangle around cells of these *rows* and *columns*, which rise."""
    return int(rows[0]), int(columns[0]), int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1


def _meet(one: Rect, other: Rect) -> bool:
    """True where two rectangles have a cell in common."""
    return all(one[side] < other[side] + other[side + 2] and other[side] < one[side] + one[side + 2] for side in (0, 1))


def _joined(rectangles: list[Rect], another: Rect) -> None:
    """Add *another*, as one with the last where that costs little: tensors of a file often stand beside each other."""
    if rectangles:
        last = rectangles[-1]
        top, left = min(last[0], another[0]), min(last[1], another[1])
        bottom, right = (max(each[side] + each[side + 2] for each in (last, another)) for side in (0, 1))
        area = (bottom - top) * (right - left)
        if area <= min(_AT_ONCE, 2 * max(last[2] * last[3] + another[2] * another[3], 1)):
            rectangles[-1] = (top, left, bottom - top, right - left)
            return
    rectangles.append(another)


def _cut(level: Level, place: Any, names: Iterable[str] = PLANES) -> Level:
    """Some cells, a view of them where *place* is of slices; those beyond the edges are left out."""
    planes = {name: level.planes[name][place] for name in level.planes if name in names}
    return Level(level.cell, planes, level.counts[place], level.owners[place])


def _copied(level: Level, rows: Array, columns: Array, names: Iterable[str]) -> Level:
    """The cells of *rows* × *columns*, which rise, and at least one of each."""
    if all(each[-1] - each[0] + 1 == len(each) for each in (rows, columns)):  # by far the faster way to take them
        found = _cut(level, np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], names)
        planes = {name: plane.copy() for name, plane in found.planes.items()}
        return Level(level.cell, planes, found.counts.copy(), found.owners.copy())
    return _cut(level, np.ix_(rows, columns), names)


def _quarters(level: Level) -> Iterator[Level]:
    """The upper left, upper right, lower left and lower right of each 2×2 cells; beyond the edges there are no weights."""
    rows, columns = (-(-side // 2) for side in level.shape)
    for row in (0, 1):
        for column in (0, 1):
            part = _cut(level, np.s_[row::2, column::2])
            if part.shape != (rows, columns):
                planes = {name: _grown(plane, rows, columns) for name, plane in part.planes.items()}
                part = Level(level.cell, planes, _grown(part.counts, rows, columns), _grown(part.owners, rows, columns))
            yield part


def _grown(array: Array, rows: int, columns: int) -> Array:
    """*array* with zeros below and to the right."""
    found = np.zeros((rows, columns), dtype=array.dtype)
    found[: array.shape[0], : array.shape[1]] = array
    return found
