"""Telling remote sources what a pass will read, so that it arrives while something else is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from torch2grid_core._data.combined import JointTensor
from torch2grid_core._data.source import Source, ahead_of
from torch2grid_core._data.storage import reads
from torch2grid_core._data.tensor import LazyTensor

_SPARSE = 4  # a strided tensor whose elements lie further apart is read where they are
_ASKED = 8  # tensors that are asked whether their source is remote
_RANGES = 8  # of each, as what it is computed from may lie in several places


class Reading(NamedTuple):
    """The weights with flat indices *start* to *stop* of a tensor, which are about to be read."""

    tensor: LazyTensor
    start: int
    stop: int


def fetch(readings: Iterable[Reading]) -> None:
    """Tell the sources beneath what will be read of them, in that order. Raises ``LoadError``."""
    wanted: dict[int, tuple[Source, list[tuple[int, int]]]] = {}
    for each in readings:
        for source, offset, size in _reads(each):
            if not ahead_of(source):
                break  # what lies on the disk, or in memory
            wanted.setdefault(id(source), (source, []))[1].append((offset, size))
    for source, ranges in wanted.values():
        source.prefetch(ranges)


def fetched_ahead(tensors: Iterable[LazyTensor]) -> int:
    """How many bytes the sources of *tensors* fetch ahead of a pass; 0 where a read costs no request."""
    every = list(tensors)
    found = 0
    for tensor in every[:: max(len(every) // _ASKED, 1)]:
        for member in [each for _, each in tensor.members] if isinstance(tensor, JointTensor) else [tensor]:
            for source, _, _ in islice(_reads(Reading(member, 0, member.size)), _RANGES):
                found = max(found, ahead_of(source))
    return found


def _reads(reading: Reading) -> Iterator[tuple[Source, int, int]]:
    tensor, start, stop = reading
    if isinstance(tensor, JointTensor):
        for _, member in tensor.members:
            yield from _reads(Reading(member, start, stop))
        return
    width = tensor.dtype.itemsize
    if tensor.contiguous:
        yield from reads(tensor.storage, (tensor.offset + start) * width, (stop - start) * width)
    elif stop - start == tensor.size and tensor.span <= _SPARSE * tensor.size:
        yield from reads(tensor.storage, tensor.offset * width, tensor.span * width)
