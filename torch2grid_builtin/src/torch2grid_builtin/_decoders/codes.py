"""Boxes of a stored matrix of codes, and the numbers that these codes stand for.

What is stored turned is read in panels that are kept for the next read.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from torch2grid_builtin._decoders.unpacking import Array, convert, field_reader, stream, unit, unpack
from torch2grid_core import LazyTensor
from torch2grid_core.sources import Storage

_PANEL = 8 << 20  # bytes of codes that are kept of what is stored turned
_KEPT = 24 << 20  # bytes that are kept in all: a panel, scales and zero points of the largest size
_EACH = 1 << 10  # bytes that an array costs beside its numbers


class Recent:
    """The arrays that were read last, up to *kept* bytes of them in all: what is turned, and scales."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._most = kept
        self._arrays: OrderedDict[Any, Array] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Any, read: Callable[[], Array]) -> Array:
        with self._lock:
            found = self._arrays.get(key)
            if found is not None:
                self._arrays.move_to_end(key)
                return found
        found = read()
        with self._lock:
            if key not in self._arrays:  # or another thread has read it, too
                self._arrays[key] = found
                self._bytes += found.nbytes + _EACH
            while self._bytes > self._most and len(self._arrays) > 1:
                self._bytes -= self._arrays.popitem(last=False)[1].nbytes + _EACH
        return found


recent = Recent()


class Key:
    """What arrays of one object are kept under; a copy in another process has its own."""


def turned(tensor: LazyTensor) -> LazyTensor:
    """A matrix with its two dimensions exchanged: nothing is read."""
    rows, columns = tensor.shape
    down, across = tensor.strides or (columns, 1)
    return replace(tensor, shape=(columns, rows), strides=(across, down), taken=None)


class Box:
    """Reads boxes of a stored matrix. Codes of a contiguous one are read as a pass does, under its checksum.

    flat: a box of whole rows may reach beyond the last number, and is filled up with zeros.
    """

    def __init__(self, tensor: LazyTensor, flat: tuple[int, int] | None = None) -> None:
        self.tensor, self.key = tensor, Key()
        self.rows, self.columns = flat or tensor.shape

    def over(self, storage: Storage) -> Box:
        found = copy(self)
        found.tensor, found.key = replace(self.tensor, storage=storage), Key()
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.tensor, (self.rows, self.columns)))

    def read(self, r0: int, r1: int, c0: int, c1: int) -> Array:
        """Rows *r0* to *r1*, columns *c0* to *c1*: an array that nobody may change."""
        whole = c0 == 0 and c1 == self.columns
        if self.tensor.contiguous and (whole or r1 - r0 == 1):
            start, count = r0 * self.columns + c0, (r1 - r0) * (c1 - c0)
            found = np.empty(count, self.tensor.dtype)
            there = max(min(count, self.tensor.size - start), 0)
            if there:
                raw = found[:there].view(np.uint8).data
                self.tensor.storage.read_into((self.tensor.offset + start) * found.itemsize, raw)
            found[there:] = np.zeros((), found.dtype)
            return found.reshape(r1 - r0, c1 - c0)
        if self.tensor.contiguous:
            across = max(_PANEL // (self.tensor.dtype.itemsize * max(self.rows, 1)), c1 - c0, 1)
            first = c0 // across * across
            if first + across < c1:  # a panel that holds it whole
                first, across = c0, c1 - c0
            last = min(first + across, self.columns)
            panel = recent.get((self.key, first, last), lambda: self.tensor[:, first:last])
            return panel[r0:r1, c0 - first : c1 - first]
        down = max(_PANEL // (self.tensor.dtype.itemsize * max(self.columns, 1)), 1)
        parts = []
        for place in range(r0 // down, -(-r1 // down)):
            low, high = place * down, min((place + 1) * down, self.rows)
            panel = recent.get((self.key, low, high), lambda low=low, high=high: self.tensor[low:high])  # type: ignore[misc]
            parts.append(panel[max(r0 - low, 0) : r1 - low, c0:c1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Codes(ABC):
    """A matrix of codes: what is read for a box of it, and the numbers that these codes stand for."""

    rows: int
    columns: int
    unit: int = 1  # a box that is read begins at a multiple of so many columns
    box: Box

    @property
    def parts(self) -> tuple[Storage, ...]:
        return (self.box.tensor.storage,)

    def over(self, parts: Sequence[Storage]) -> Codes:
        found = copy(self)
        found.box = self.box.over(parts[0])
        return found

    @abstractmethod
    def fetch(self, r0: int, r1: int, c0: int, c1: int) -> Any:
        """What is stored of a box."""

    @abstractmethod
    def numbers(self, fetched: Any, r0: int, r1: int, c0: int, c1: int, out: Array) -> None:
        """Fill *out* with the numbers of a box within the fetched one; its places count from the fetched one's corner."""


class Plain(Codes):
    """Codes that are numbers of a dtype: int8, float8, or any other."""

    def __init__(self, tensor: LazyTensor, minus: float = 0.0) -> None:
        self.box, self.minus = Box(tensor), minus
        self.rows, self.columns = tensor.shape

    def fetch(self, r0: int, r1: int, c0: int, c1: int) -> Any:
        return self.box.read(r0, r1, c0, c1)

    def numbers(self, fetched: Any, r0: int, r1: int, c0: int, c1: int, out: Array) -> None:
        convert(fetched[r0:r1, c0:c1], out)
        if self.minus:
            out -= np.float32(self.minus)


class Tiled(Codes):
    """Scales of a byte each in tiles of 128 rows and 4 columns, as tensor cores read them; the last tiles are filled up.

    Format: "1D block scaling factors layout" of cuBLAS' manual. *tensor* holds the bytes, in any shape.
    """

    def __init__(self, tensor: LazyTensor, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.across = -(-columns // 4)
        self.box = Box(replace(tensor, shape=(-(-rows // 128), self.across * 512), strides=None, taken=None))

    @staticmethod
    def size(rows: int, columns: int) -> int:
        """How many scales are stored of *rows* by *columns* of them."""
        return -(-rows // 128) * -(-columns // 4) * 512

    def fetch(self, r0: int, r1: int, c0: int, c1: int) -> Any:
        first, last = r0 // 128, -(-r1 // 128)
        tiles = self.box.read(first, last, 0, self.box.columns).reshape(last - first, self.across, 32, 4, 4)
        rows = tiles.transpose(0, 3, 2, 1, 4).reshape((last - first) * 128, self.across * 4)
        return rows[r0 - first * 128 : r1 - first * 128, c0:c1]

    def numbers(self, fetched: Any, r0: int, r1: int, c0: int, c1: int, out: Array) -> None:
        convert(np.ascontiguousarray(fetched[r0:r1, c0:c1]), out)


class Along(Codes):
    """Codes of *bits* bits, packed along the rows of *tensor*: of each row a stream, the first code in the lowest bits.

    values: the number of each code. columns: how many codes a row has, where its last words are not full.
    flat: rows and columns of codes that are one stream, cut into rows; its bytes are those of *tensor*.
    """

    def __init__(
        self,
        tensor: LazyTensor,
        bits: int,
        values: tuple[float, ...],
        columns: int,
        *,
        high_first: bool = False,
        flat: tuple[int, int] | None = None,
    ) -> None:
        self.box = Box(tensor, flat and (flat[0], flat[1] * bits // (8 * tensor.dtype.itemsize)))
        self.bits, self.values, self.high_first = bits, values, high_first
        self.rows, self.columns = self.box.rows, columns
        word = 8 * tensor.dtype.itemsize
        self.unit = max(unit(bits), word // bits if word % bits == 0 else word)

    def fetch(self, r0: int, r1: int, c0: int, c1: int) -> Any:
        word = 8 * self.box.tensor.dtype.itemsize
        last = self.box.columns if c1 == self.columns else -(-c1 * self.bits // word)
        data = stream(self.box.read(r0, r1, c0 * self.bits // word, last))
        wanted = -(-(c1 - c0) // unit(self.bits)) * unit(self.bits) * self.bits // 8
        if data.shape[1] < wanted:  # the last codes of the row do not fill an index of the table
            data = np.pad(data, ((0, 0), (0, wanted - data.shape[1])))
        return data

    def numbers(self, fetched: Any, r0: int, r1: int, c0: int, c1: int, out: Array) -> None:
        step = unit(self.bits)
        first, last = c0 // step * step, -(-c1 // step) * step
        data = fetched[r0:r1, first * self.bits // 8 : last * self.bits // 8]
        if (first, last) == (c0, c1):
            unpack(data, self.bits, self.values, out, self.high_first)
            return
        wider = np.empty((r1 - r0, last - first), np.float32)
        unpack(data, self.bits, self.values, wider, self.high_first)
        out[...] = wider[:, c0 - first : c1 - first]


class Across(Codes):
    """Codes of *bits* bits, packed along the columns of *tensor*: a word holds codes of several rows.

    shifts: where in a word the field of each of these rows begins. parted: the rows that share a word are not neighbours:
    the first field of all words holds the first part of the matrix.
    """

    def __init__(
        self, tensor: LazyTensor, bits: int, shifts: Sequence[int], rows: int, *, parted: bool = False, minus: int = 0
    ) -> None:
        kind = np.dtype(f"u{tensor.dtype.itemsize}")
        self.box = Box(replace(tensor, dtype=kind) if tensor.dtype != kind else tensor)
        self.bits, self.shifts, self.parted, self.minus = bits, tuple(shifts), parted, minus
        self.rows, self.columns = rows, tensor.shape[1]

    def fetch(self, r0: int, r1: int, c0: int, c1: int) -> Any:
        """(number of the field, first row of it that is wanted, words) of each field that has rows of the box."""
        per, height = len(self.shifts), self.box.rows
        if not self.parted:
            first = r0 // per
            return r0, self.box.read(first, -(-r1 // per), c0, c1)
        found = []
        for part in range(r0 // height, -(-r1 // height)):
            low, high = max(r0, part * height), min(r1, (part + 1) * height)
            found.append((part, low - r0, self.box.read(low - part * height, high - part * height, c0, c1)))
        return r0, found

    def numbers(self, fetched: Any, r0: int, r1: int, c0: int, c1: int, out: Array) -> None:
        origin, data = fetched
        if self.parted:
            for part, begin, words in data:
                low, high = max(r0, begin), min(r1, begin + len(words))
                if low < high:
                    field = field_reader(self.bits, self.shifts[part])
                    out[low - r0 : high - r0] = field(words[low - begin : high - begin, c0:c1])
        else:
            per, base = len(self.shifts), origin // len(self.shifts)
            low, high = origin + r0, origin + r1
            for place, shift in enumerate(self.shifts):
                first = low + (place - low) % per  # the first row of the box that lies in this field
                if first < high:
                    count = -(-(high - first) // per)
                    words = data[first // per - base :][:count, c0:c1]
                    out[first - low :: per] = field_reader(self.bits, shift)(words)
        if self.minus:
            out -= np.float32(self.minus)


class Down(Codes):
    """A matrix of codes that are packed along its columns: those of *codes*, which have its columns as rows, turned."""

    def __init__(self, codes: Along) -> None:
        self.codes, self.box = codes, codes.box
        self.rows, self.columns = codes.columns, codes.rows

    def over(self, parts: Sequence[Storage]) -> Codes:
        codes = self.codes.over(parts)
        assert isinstance(codes, Along)
        return Down(codes)

    def fetch(self, r0: int, r1: int, c0: int, c1: int) -> Any:
        first = r0 // self.codes.unit * self.codes.unit
        last = min(-(-r1 // self.codes.unit) * self.codes.unit, self.rows)
        found = np.empty((c1 - c0, r1 - first), np.float32)
        self.codes.numbers(self.codes.fetch(c0, c1, first, last), 0, c1 - c0, 0, r1 - first, found)
        return found[:, r0 - first :].T

    def numbers(self, fetched: Any, r0: int, r1: int, c0: int, c1: int, out: Array) -> None:
        out[...] = fetched[r0:r1, c0:c1]
