"""Numbers that lie in storage at any strides, read in C order in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.storage import Storage, read_from, read_rows_from

BLOCK_BYTES = 16 << 20  # gathered at a time: the runs that a turned matrix is read in are long enough then
_GAP = 4096  # bytes between two runs that are read with them: another read costs more
_PIECE = 1 << 18  # bytes turned at a time
_STRETCH = 1 << 20  # bytes read at a time where gaps are read, too


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of C order, in elements."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def block_length(shape: Sequence[int], width: int) -> int:
    """How many elements of *width* bytes are best gathered at a time: whole rows, where a row is not too long."""
    most, rows = max(BLOCK_BYTES // width, 1), 1
    for length in reversed(shape):
        if rows * length > most:
            break
        rows *= max(length, 1)
    return most // rows * rows


def boxes(shape: Sequence[int], start: int, stop: int) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """What flat indices *start* to *stop* are of *shape*, in their order, a few boxes: ``(lead, first, last)`` are the rows
    *first* to *last* of the dimension behind the indices *lead*, whole in the dimensions behind that."""
    if not shape or stop <= start:
        if stop > start:
            yield (), 0, 1
        return
    row = math.prod(shape[1:])
    first, last = -(-start // row), stop // row  # the rows that are wanted whole
    if first * row > start:
        index = first - 1
        for lead, low, high in boxes(shape[1:], start - index * row, min(stop - index * row, row)):
            yield (index, *lead), low, high
    if last > first:
        yield (), first, last
    if last >= first:
        for lead, low, high in boxes(shape[1:], 0, stop - last * row):
            yield (last, *lead), low, high


def fill(storage: Storage, offset: int, shape: Sequence[int], strides: Sequence[int], start: int, out: Array) -> None:
    """Fill *out*, 1-D, with the elements from flat index *start* on. offset and strides are in elements."""
    place = 0
    for lead, first, last in boxes(shape, start, start + len(out)):
        axis, begin = len(lead), offset + sum(index * stride for index, stride in zip(lead, strides, strict=False))
        size = (last - first) * math.prod(shape[axis + 1 :])
        box = out[place : place + size].reshape((last - first, *shape[axis + 1 :]) if shape else ())
        gather(storage, begin + first * strides[axis] if shape else begin, strides[axis:], box)
        place += size


def gather(storage: Storage, offset: int, strides: Sequence[int], out: Array) -> None:
    """Fill *out*, which is in C order, with the elements at *strides* from *offset*. Of the storage, little else is read."""
    if not out.size:
        return
    plain = out.view(f"u{out.itemsize}") if out.itemsize <= 8 else out  # copied faster than the dtypes of ml_dtypes
    axes = [axis for axis, length in enumerate(out.shape) if length > 1 and strides[axis]]
    stored = sorted(axes, key=lambda axis: -strides[axis])
    lengths, steps = [out.shape[axis] for axis in stored], [strides[axis] for axis in stored]
    if stored == axes and math.prod(lengths) == out.size:
        _fill_stored(storage, offset, steps, plain.reshape(lengths))
        return
    if not stored:  # one element, again and again
        _fill_stored(storage, offset, (), plain.reshape(-1)[:1].reshape(()))
        plain[...] = plain.reshape(-1)[0]
        return
    step = max(_PIECE // (math.prod(lengths[1:]) * out.itemsize), 1)
    for first in range(0, lengths[0], step):  # in pieces that stay in the cache until they are turned
        packed = np.empty([min(step, lengths[0] - first), *lengths[1:]], plain.dtype)
        _fill_stored(storage, offset + first * steps[0], steps, packed)
        turned = packed.transpose([stored.index(axis) for axis in axes])
        part = [slice(first, first + step) if axis == stored[0] else slice(None) for axis in range(out.ndim)]
        plain[tuple(part)] = turned[tuple(slice(None) if axis in axes else None for axis in range(out.ndim))]


def _fill_stored(storage: Storage, offset: int, steps: Sequence[int], out: Array) -> None:
    """Fill *out*, which is in C order, with the elements at *steps*, which do not rise, in as few reads as is good."""
    width = out.itemsize
    lengths, steps = _merged(out.shape, steps)
    inner, span = len(lengths), 1
    while inner and (steps[inner - 1] - span) * width <= _GAP:
        inner -= 1
        span += (lengths[inner] - 1) * steps[inner]
    places = _places(offset, lengths[:inner], steps[:inner])
    count = math.prod(lengths[inner:])
    if span == count and steps[inner:] in ([], [1]):
        data, size = out.reshape(-1).view(np.uint8).data, count * width
        step, across = (steps[inner - 1], lengths[inner - 1]) if inner else (0, 1)
        runs = [data[start : start + size] for start in range(0, len(data), size)]
        for first, place in zip(range(0, len(runs), across), islice(places, 0, None, across), strict=True):
            read_rows_from(storage, place * width, step * width, runs[first : first + across])
        return
    rows = out.reshape(-1, *lengths[inner:])
    if span * width > _STRETCH:
        step = max(min(_STRETCH // (steps[inner] * width), lengths[inner] // 2), 1)
        for row, place in zip(rows, places, strict=True):
            for first in range(0, lengths[inner], step):
                _fill_stored(storage, place + first * steps[inner], steps[inner:], row[first : first + step])
        return
    stretch = np.empty(span, out.dtype)
    wanted = np.ndarray(lengths[inner:], out.dtype, stretch.view(np.uint8).data, 0, [step * width for step in steps[inner:]])
    for row, place in zip(rows, places, strict=True):
        read_from(storage, place * width, stretch.view(np.uint8).data)
        row[...] = wanted


def _merged(lengths: Sequence[int], steps: Sequence[int]) -> tuple[list[int], list[int]]:
    """The same elements in fewer dimensions: without those of length 1, and one where two follow each other without a gap."""
    found: tuple[list[int], list[int]] = [], []
    for length, step in zip(lengths, steps, strict=True):
        if length == 1:
            continue
        if found[0] and found[1][-1] == length * step:
            found[0][-1] *= length
            found[1][-1] = step
        else:
            found[0].append(length)
            found[1].append(step)
    return found


def _places(offset: int, lengths: Sequence[int], steps: Sequence[int]) -> Iterator[int]:
    """Where each of the elements begins, in C order."""
    if not lengths:
        yield offset
        return
    for place in _places(offset, lengths[:-1], steps[:-1]):
        yield from range(place, place + lengths[-1] * steps[-1], steps[-1])
