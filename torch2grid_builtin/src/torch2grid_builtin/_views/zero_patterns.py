"""How the zeros of a pruned matrix lie: so many of each group along a row, in blocks, or anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_core import LazyTensor, Need
from torch2grid_core.grids import matrix_shape
from torch2grid_core.measures import Chunk, Collector

Array = np.ndarray[Any, Any]

GROUPS = ((4, 2), (8, 4))  # of so many weights in a row, at most so many are not zero: the patterns that hardware knows
BLOCKS = (64, 32, 16, 8, 4)  # sides of blocks, the largest first
_UNIT = BLOCKS[-1]
_PRUNED = 0.1  # share of zeros, from which their pattern is looked for
_FULL = 0.8  # of the weights that a pattern of groups leaves: with fewer, it fits by chance
_INSIDE = 0.9  # of all zeros, those in blocks


@dataclass(frozen=True)
class ZeroPattern:
    """zeros: how many weights are zero, of *weights*. groups: as ``"2:4"``; block: the side of blocks; empty and 0 for none."""

    weights: int
    zeros: int
    groups: str = ""
    block: int = 0

    @property
    def text(self) -> str:
        """``2:4``, ``blocks of 16×16``, both, or empty."""
        blocks = f"blocks of {self.block}×{self.block}" if self.block else ""
        return ", ".join(filter(None, (self.groups, blocks)))


@dataclass(frozen=True)
class ZeroPatterns(Need[ZeroPattern]):
    """The ``ZeroPattern`` of a tensor's 2-D form; of vectors, the counts alone.

    Groups lie along rows, where these are a multiple of the group; blocks are aligned, and cut at the edges. A pattern is named
    from 10 % zeros on: groups where at least 80 % of the weights that they leave are not zero, the largest block whose
    blocks of nothing but zeros hold 90 % of all zeros.
    """

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        (tensor,) = tensors.values()
        return _Zeros(matrix_shape(tensor.shape))


class _Zeros(Collector):
    def __init__(self, shape: tuple[int, int]) -> None:
        self.rows, self.columns = shape
        self.weights = self.zeros = 0
        self.looks = min(shape) > 1
        self.alive = np.zeros((-(-self.rows // _UNIT), -(-self.columns // _UNIT)) if self.looks else (0, 0), bool)
        self.sizes = [size for size, _ in GROUPS if self.looks and self.columns % size == 0]
        self.most = dict.fromkeys(self.sizes, 0)
        self.cut: dict[int, dict[int, int]] = {size: {} for size in self.sizes}  # groups of which a chunk has a part

    def update(self, chunk: Chunk) -> None:
        living = np.asarray(chunk.stored != 0)
        count = int(np.count_nonzero(living))
        self.weights += len(living)
        self.zeros += len(living) - count
        if not self.looks or not len(living):
            return
        dense = count == len(living)
        for size in self.sizes:
            self._groups(chunk.start, living, size, dense)
        self._blocks(chunk.start, living, dense)

    def _groups(self, start: int, living: Array, size: int, dense: bool) -> None:
        head = min(-start % size, len(living))
        whole = (len(living) - head) // size
        if whole:
            inside = size if dense else int(living[head : head + whole * size].reshape(-1, size).sum(axis=1).max())
            self.most[size] = max(self.most[size], inside)
        for first, part in ((start, living[:head]), (start + head + whole * size, living[head + whole * size :])):
            if len(part):
                self._add(size, first // size, int(np.count_nonzero(part)))

    def _add(self, size: int, group: int, count: int) -> None:
        self.cut[size][group] = self.cut[size].get(group, 0) + count

    def _blocks(self, start: int, living: Array, dense: bool) -> None:
        stop = start + len(living)
        row, column = divmod(start, self.columns)
        while start < stop:
            if column == 0 and stop - start >= self.columns:  # whole rows
                count = (stop - start) // self.columns
                part = living[len(living) - (stop - start) :][: count * self.columns]
                self._rows(row, part.reshape(count, self.columns), dense)
            else:
                length = min(self.columns - column, stop - start)
                part = living[len(living) - (stop - start) :][:length]
                blocks = np.unique((np.flatnonzero(part) + column) // _UNIT)
                self.alive[row // _UNIT, blocks] = True
                count, start = 0, start + length
                row, column = (row + 1, 0) if column + length == self.columns else (row, column + length)
            start, row = start + count * self.columns, row + count

    def _rows(self, row: int, living: Array, dense: bool) -> None:
        first, last = row // _UNIT, (row + len(living) - 1) // _UNIT
        if dense:
            self.alive[first : last + 1] = True
            return
        over = -self.columns % _UNIT
        if over:
            living = np.pad(living, ((0, 0), (0, over)))
        across = living.reshape(len(living), -1, _UNIT).any(axis=2)
        begins = np.maximum(np.arange(first, last + 1) * _UNIT - row, 0)
        self.alive[first : last + 1] |= np.logical_or.reduceat(across, begins, axis=0)

    def merge(self, other: _Zeros) -> None:
        self.weights += other.weights
        self.zeros += other.zeros
        self.alive |= other.alive
        for size in self.sizes:
            self.most[size] = max(self.most[size], other.most[size])
            for group, count in other.cut[size].items():
                self._add(size, group, count)

    def result(self) -> ZeroPattern:
        if not self.looks or self.zeros < _PRUNED * self.weights or self.zeros == self.weights:
            return ZeroPattern(self.weights, self.zeros)
        return ZeroPattern(self.weights, self.zeros, self._pattern(), self._block())

    def _pattern(self) -> str:
        living = (self.weights - self.zeros) / self.weights
        for size, most in GROUPS:
            if size in self.sizes:
                found = max(self.most[size], *self.cut[size].values(), 0)
                if found <= most and living >= _FULL * found / size:
                    return f"{found}:{size}"
        return ""

    def _block(self) -> int:
        dead = ~self.alive
        sides = [np.full(count, _UNIT) for count in dead.shape]
        for side, length in zip(sides, (self.rows, self.columns), strict=True):
            side[-1] = length - _UNIT * (len(side) - 1)
        areas = np.outer(*sides)
        for block in BLOCKS:
            if block > min(self.rows, self.columns):
                continue
            step = block // _UNIT
            whole = dead
            for axis in (0, 1):
                whole = np.logical_and.reduceat(whole, np.arange(0, whole.shape[axis], step), axis=axis)
            grown = whole.repeat(step, axis=0)[: dead.shape[0]].repeat(step, axis=1)[:, : dead.shape[1]]
            if float(areas[grown].sum()) >= _INSIDE * self.zeros:
                return block
        return 0
