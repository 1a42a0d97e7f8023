"""One tensor that is stored as blocks: the shards of ranks, say, of which there may be a million."""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.storage import DerivedStorage, Storage, has_checksum, verify
from torch2grid_core._data.strided import boxes
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._errors import LoadError

_KEPT = 64  # blocks that are kept open
_CELLS = 1 << 24  # of the grid that all edges of irregular blocks make
_CUT = 8  # dimensions that irregular blocks cut


class Blocks(DerivedStorage):
    """The numbers of a larger tensor, in C order, that is stored as blocks, each opened when it is read.

    A subclass opens one: ``block``. The places of the blocks are kept in arrays, so there may be any number.

    Args:
        shape: of the whole.
        dtype: of the whole, and of every block.
        first, lengths: where each block begins in every dimension, and how long it is there; integers, a row for each block.
            Together they cover the whole, once.

    Raises:
        LoadError: a block leaves the whole, two overlap, or some of it is in none.
    """

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any], first: Array, lengths: Array) -> None:
        self.shape, self.dtype = tuple(shape), dtype
        self._first = np.asarray(first, np.int64).reshape(len(first), len(self.shape))
        self._last = self._first + np.asarray(lengths, np.int64).reshape(self._first.shape)
        _check_cover(self.shape, self._first, self._last)
        self._settle(np.zeros(len(self._first), bool))

    def _settle(self, verified: Array) -> None:
        """Nothing is open yet. verified: the blocks whose checksums need not be asked."""
        self._verified = verified
        self._open: dict[int, LazyTensor] = {}
        self._lock = threading.Lock()

    @cached_property
    def _sorted(self) -> tuple[int, Array, Array, Array]:
        """How blocks are found: the first dimension that is cut, the blocks in the order in which they begin there, where each
        does, and how far any of them so far reaches; -1 and nothing where no dimension is cut.
        """
        cut = np.flatnonzero((self._first > 0).any(axis=0) | (self._last < np.array(self.shape, np.int64)).any(axis=0))
        if not len(cut):
            none = np.empty(0, np.int64)
            return -1, none, none, none
        axis = int(cut[0])
        order = np.lexsort(self._first.T[::-1])
        starts = self._first[order, axis]
        if not (starts[1:] >= starts[:-1]).all():
            order = np.argsort(self._first[:, axis], kind="stable")
            starts = self._first[order, axis]
        return axis, order, starts, np.maximum.accumulate(self._last[order, axis])

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_open", "_lock", "_sorted")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open, self._lock = {}, threading.Lock()

    @abstractmethod
    def block(self, index: int) -> LazyTensor:
        """Return the block *index*, of its shape and dtype. Raises ``LoadError``."""

    def blocks(self) -> Iterator[LazyTensor]:
        """Yield all blocks, one after the other, for a pass that needs no order. Each is verified after it was read."""
        for index in np.flatnonzero((self._last > self._first).all(axis=1)).tolist():
            found = self._opened(index)
            yield found
            if not self._verified[index]:
                verify(found.storage)
                self._verified[index] = True

    def _opened(self, index: int) -> LazyTensor:
        found = self._open.get(index)
        if found is not None:
            return found
        found = self.block(index)
        wanted = tuple((self._last[index] - self._first[index]).tolist())
        if found.shape != wanted or found.dtype != self.dtype:
            told = f"a block of {found.dtype}, shape {list(found.shape)}, where one of {self.dtype}, {list(wanted)} belongs"
            raise LoadError(found.name or "<block>", told)
        if self._verified[index]:
            found = found.unchecked()
        closed = None
        with self._lock:
            self._open[index] = found
            if len(self._open) > _KEPT:
                oldest = next(iter(self._open))
                closed = oldest, self._open.pop(oldest)
        if closed is not None and not self._verified[closed[0]]:
            verify(closed[1].storage)  # nothing where it was read from end to end
            self._verified[closed[0]] = True
        return found

    @property
    def unchecked(self) -> Storage:
        """The same without checksums, for random access; itself if there are none."""
        if not has_checksum(self):
            return self
        found = copy(self)
        found._verified, found._open, found._lock = np.ones(len(self._first), bool), {}, threading.Lock()
        return found

    def verify(self) -> None:
        """Check the checksums of all blocks that were not read from end to end. Raises ``LoadError``."""
        for index in np.flatnonzero(~self._verified).tolist():
            verify(self._opened(index).storage)
            self._verified[index] = True

    @property
    def size(self) -> int:
        """Length in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with bytes from *offset*, whole numbers of them. Raises ``LoadError`` if a block cannot be read."""
        self.within(offset, buffer)
        out, place = np.frombuffer(buffer, self.dtype), 0
        start = offset // self.dtype.itemsize
        for lead, first, last in boxes(self.shape, start, start + len(out)):
            low = np.array([*lead, first, *[0] * (len(self.shape) - len(lead) - 1)][: len(self.shape)], np.int64)
            high = np.array([*(each + 1 for each in lead), last, *self.shape[len(lead) + 1 :]][: len(self.shape)], np.int64)
            box = out[place : place + int(np.prod(high - low))].reshape((high - low).tolist())
            for index in self._meeting(low, high):
                begin, end = np.maximum(low, self._first[index]), np.minimum(high, self._last[index])
                to = tuple(map(slice, (begin - low).tolist(), (end - low).tolist()))
                part = tuple(map(slice, (begin - self._first[index]).tolist(), (end - self._first[index]).tolist()))
                view, target = self._opened(index).view(part), box[...] if not to else box[to]
                if target.flags.c_contiguous:
                    view._fill(0, target.reshape(-1))
                else:
                    target[...] = view._gathered()
            place += box.size

    def _meeting(self, low: Array, high: Array) -> list[int]:
        """Which blocks have numbers between *low* and *high*, in their order."""
        axis, order, starts, reach = self._sorted
        if axis < 0:
            return list(range(len(self._first)))
        near = slice(np.searchsorted(reach, low[axis], "right"), np.searchsorted(starts, high[axis], "left"))
        some = order[near]
        met = (np.maximum(self._first[some], low) < np.minimum(self._last[some], high)).all(axis=1)
        return some[met].tolist()  # type: ignore[no-any-return]


class Tiled(Blocks):
    """The numbers of a larger tensor, in C order, that is stored as blocks: the shards of ranks, say.

    Args:
        shape: of the whole.
        tiles: where each block begins in every dimension, and the block. Together they cover the whole, once.

    Raises:
        LoadError: a block leaves the whole, two overlap, or some of it is in none.
    """

    def __init__(self, shape: Sequence[int], tiles: Sequence[tuple[Sequence[int], LazyTensor]]) -> None:
        self.tiles = tuple((tuple(start), tensor) for start, tensor in tiles)
        dtype = self.tiles[0][1].dtype if self.tiles else np.dtype(np.float32)
        for start, tensor in self.tiles:
            if len(start) != len(shape) or tensor.ndim != len(shape) or tensor.dtype != dtype:
                told = f"a block of {tensor.dtype}, shape {list(tensor.shape)}, in one of {dtype}, {list(shape)}"
                raise LoadError(tensor.name, told)
        first = np.array([start for start, _ in self.tiles], np.int64).reshape(len(self.tiles), len(shape))
        super().__init__(shape, dtype, first, np.array([tensor.shape for _, tensor in self.tiles], np.int64))

    def block(self, index: int) -> LazyTensor:
        """Return the block *index*."""
        return self.tiles[index][1]

    @property
    def parts(self) -> Sequence[Storage]:
        """The storages of the blocks."""
        return [tensor.storage for _, tensor in self.tiles]

    def over(self, parts: Sequence[Storage]) -> Storage:
        """Return the same for blocks with other storages."""
        found = copy(self)
        pairs = zip(self.tiles, parts, strict=True)
        found.tiles = tuple((start, replace(tensor, storage=part)) for (start, tensor), part in pairs)
        found._settle(np.zeros(len(self.tiles), bool))
        return found


def _check_cover(shape: Sequence[int], first: Array, last: Array) -> None:
    """Raise ``LoadError`` unless the blocks from *first* to *last* cover *shape*, once."""
    whole, total = np.array(shape, np.int64), math.prod(shape)
    if (first < 0).any() or (last < first).any() or (last > whole).any():
        raise LoadError("<blocks>", f"a block reaches outside its tensor of shape {list(shape)}")
    full = (last > first).all(axis=1)
    first, last = first[full], last[full]
    lengths = last - first
    held = int(lengths.prod(axis=1).sum())
    if total >= 1 << 62 or (lengths.prod(axis=1, dtype=np.float64) >= 1 << 62).any() or held < total:
        raise LoadError("<blocks>", f"the blocks do not cover their tensor of shape {list(shape)}")
    if len(first) == 1 and total:
        return
    if held != total or _overlap(whole, first, last):
        raise LoadError("<blocks>", f"overlaps: two blocks hold the same part of the tensor of shape {list(shape)}")


def _overlap(whole: Array, first: Array, last: Array) -> bool:
    """True where two blocks, none of them empty, have a number in common."""
    cut = np.flatnonzero((first > 0).any(axis=0) | (last < whole).any(axis=0))
    if not len(cut):
        return len(first) > 1
    if len(cut) == 1:
        order = np.argsort(first[:, cut[0]], kind="stable")
        return bool((last[order[:-1], cut[0]] > first[order[1:], cut[0]]).any())
    edges = [np.unique(np.concatenate([first[:, axis], last[:, axis]])) for axis in cut]
    low = [np.searchsorted(edge, first[:, axis]) for edge, axis in zip(edges, cut, strict=True)]
    high = [np.searchsorted(edge, last[:, axis]) for edge, axis in zip(edges, cut, strict=True)]
    if all((after - before == 1).all() for before, after in zip(low, high, strict=True)):  # a grid, each block one cell of it
        rows = np.stack(low)
        rows = rows[:, np.lexsort(rows)]
        return bool((rows[:, 1:] == rows[:, :-1]).all(axis=0).any())
    sizes = [len(edge) for edge in edges]
    if math.prod(sizes) > _CELLS or len(cut) > _CUT:
        raise LoadError("<blocks>", "are in more places than in any checkpoint", "it is damaged or hostile")
    count = np.zeros(sizes, np.int32)  # how many blocks hold each cell: what begins there, less what ends, summed up
    for corner in range(1 << len(cut)):
        ends = [bool(corner >> place & 1) for place in range(len(cut))]
        where = tuple(after if end else before for end, before, after in zip(ends, low, high, strict=True))
        np.add.at(count, where, -1 if sum(ends) % 2 else 1)
    for axis in range(len(cut)):
        np.cumsum(count, axis=axis, out=count)
    return bool(count.max() > 1)
