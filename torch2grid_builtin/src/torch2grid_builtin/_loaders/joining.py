"""From the shards of ranks to whole tensors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch2grid_builtin._inert.opened import Place
from torch2grid_core import LazyTensor, LoadError
from torch2grid_core.sources import Tiled

_TILES = 1 << 20  # of one tensor
_WIDEST = 1 << 62
Tile = tuple[tuple[int, ...], LazyTensor]


def tiles_of(tensor: LazyTensor, place: Place) -> Iterator[Tile]:
    """The blocks that the shard *tensor* holds of the whole, each with where it begins there."""
    if math.prod(map(len, place.runs)) > _TILES:
        raise LoadError(tensor.name, "is in more pieces than that of any checkpoint", "it is damaged or hostile")
    local = []
    for runs in place.runs:
        begins = [0, *itertools.accumulate(stop - start for start, stop in runs)]
        local.append([(start, slice(begin, begin + stop - start)) for begin, (start, stop) in zip(begins, runs, strict=False)])
    for each in itertools.product(*local):
        yield tuple(start for start, _ in each), tensor.view(tuple(part for _, part in each))


def joined(name: str, shape: Sequence[int], tiles: Sequence[Tile], note: str = "") -> LazyTensor:
    """The tensor *name* of *shape* that *tiles* make up; of equal ones, which several ranks hold, the first counts.

    Raises ``LoadError`` where they do not make it up.
    """
    if any(length >= _WIDEST for length in shape):
        raise LoadError(name, f"no array can have its shape {list(shape)}", "it is damaged or hostile")
    blocks: dict[tuple[tuple[int, ...], tuple[int, ...]], LazyTensor] = {}
    for begin, tensor in tiles:
        if tensor.size:
            blocks.setdefault((tuple(begin), tensor.shape), tensor)
    if not blocks and tiles and not math.prod(shape):
        return replace(tiles[0][1], name=name, shape=tuple(shape), strides=None, note=note)
    if len(blocks) == 1:
        ((begin, lengths), only), *_ = blocks.items()
        if lengths == tuple(shape) and not any(begin):
            return replace(only, name=name, note=note, taken=None)
    try:
        storage = Tiled(shape, [(begin, tensor) for (begin, _), tensor in blocks.items()])
    except LoadError as error:
        raise LoadError(name, f"its shards do not make it up: {error.reason}", "fetch the whole folder again") from error
    held = next((tensor.module_class for tensor in blocks.values() if tensor.module_class), "")
    return LazyTensor(name, tuple(shape), storage.dtype, storage, note=note, module_class=held)


def flat(name: str, shape: Sequence[int], pieces: Sequence[LazyTensor], note: str = "") -> LazyTensor:
    """The tensor *name* of *shape* whose numbers, in C order, are those of *pieces*, 1-D, one after the other.

    Raises ``LoadError`` where there are more of them, or fewer.
    """
    count = math.prod(shape)
    begins = [0, *itertools.accumulate(piece.size for piece in pieces)]
    if begins[-1] != count:
        raise LoadError(name, f"needs {count:,} numbers, and the ranks hold {begins[-1]:,}", "fetch the whole folder again")
    row = joined(name, (count,), [((begin,), piece) for begin, piece in zip(begins, pieces, strict=False)], note)
    if not row.contiguous:
        raise LoadError(name, "lies in a flat tensor with gaps", "it is damaged or hostile")
    return replace(row, shape=tuple(shape), strides=None)


class Row:
    """1-D tensors one after the other, of which a range may lie in several."""

    def __init__(self, tensors: Sequence[LazyTensor]) -> None:
        self.tensors = tensors
        self._begins = [0, *itertools.accumulate(tensor.size for tensor in tensors)]
        self.size = self._begins[-1]

    def between(self, start: int, stop: int) -> list[LazyTensor]:
        """What elements *start* to *stop* are of them, as far as there are so many."""
        found = []
        for begin, tensor in zip(self._begins, self.tensors, strict=False):
            low, high = max(start - begin, 0), min(stop - begin, tensor.size)
            if low < high:
                found.append(tensor.view(slice(low, high)))
        return found
