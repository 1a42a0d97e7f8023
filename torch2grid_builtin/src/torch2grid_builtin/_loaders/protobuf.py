"""The wire format of Protocol Buffers, read where it lies: the fields of a message, and packed numbers.

Format: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from torch2grid_core import LoadError
from torch2grid_core.sources import DerivedNumbers, DerivedStorage, Source, Storage

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_BLOCK = 1 << 16  # bytes that are read at once
_VARINT_BYTES = 10
_WORD = (1 << 64) - 1
_FIELDS = 4_000_000  # of a file: 5 to 15 for each node of a model
_NUMBER = 1 << 29  # field numbers are below
_MARK = 1 << 16  # packed numbers between two places that are remembered
_SCAN = 1 << 20


class Field(NamedTuple):
    """One field of a message. value: of a number; start, size: where the bytes of any other are in the file."""

    number: int
    wire: int
    value: int
    start: int
    size: int


class Messages:
    """Reads messages out of *source*, at least *block* bytes at once. What all of them together may hold is bounded.

    Raises ``LoadError``.
    """

    def __init__(self, source: Source, what: str, block: int = _BLOCK) -> None:
        self.source, self.what = source, what
        self.left = _FIELDS
        self._at_once, self._block, self._begin = block, source.head, 0

    def fail(self, reason: str, advice: str = "it is damaged or hostile") -> LoadError:
        return LoadError(self.source.shown, f"{self.what} {reason}", advice)

    def fields(self, start: int, size: int) -> Iterator[Field]:
        """The fields of the message in *size* bytes from *start*, in their order."""
        place, stop = start, start + size
        while place < stop:
            self.left -= 1
            if self.left < 0:
                raise self.fail(f"has more than {_FIELDS:,} fields", "it is not a model, or it is hostile")
            tag, place = self._varint(place, stop)
            number, wire = tag >> 3, tag & 7
            if not 0 < number < _NUMBER:
                raise self.fail(f"has a field of the impossible number {number}")
            if wire == VARINT:
                value, place = self._varint(place, stop)
                yield Field(number, wire, value, place, 0)
                continue
            if wire == BYTES:
                length, place = self._varint(place, stop)
            elif wire in _FIXED:
                length = _FIXED[wire]
            else:
                raise self.fail(f"has a field of wire type {wire}, which no message of today has")
            if place + length > stop:
                reason = f"has a field of {length} bytes where {stop - place} are left"
                raise self.fail(reason, "it is cut short or damaged; fetch it again")
            yield Field(number, wire, 0, place, length)
            place += length

    def read(self, start: int, size: int) -> bytes:
        """Bytes of the file, by way of a block of it."""
        at = start - self._begin
        if not 0 <= at <= len(self._block) - size:
            length = min(max(size, self._at_once), self.source.size - start)
            self._block, self._begin, at = self.source.read(start, length), start, 0
        return self._block[at : at + size]

    def text(self, found: Field, most: int) -> str:
        """The text in a field, of *most* bytes. Bytes that are no UTF-8 are kept as surrogates."""
        if found.wire != BYTES or found.size > most:
            raise self.fail(f"has a text of {found.size} bytes where a name is expected")
        return self.read(found.start, found.size).decode("utf-8", "surrogateescape")

    def _varint(self, place: int, stop: int) -> tuple[int, int]:
        """A number, and where it ends."""
        at = place - self._begin
        if not 0 <= at < len(self._block) - _VARINT_BYTES:
            self.read(place, min(_VARINT_BYTES, stop - place))
            at = place - self._begin
        raw = self._block[at : at + min(_VARINT_BYTES, stop - place)]
        value = 0
        for index, byte in enumerate(raw):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if value > _WORD:
                    raise self.fail("has a number of more than 64 bits")
                return value, place + index + 1
        if len(raw) == _VARINT_BYTES:
            raise self.fail("has a number of more than 64 bits")
        raise self.fail("ends inside a number", "it is cut short; fetch it again")


def signed(value: int) -> int:
    """A number as int64."""
    return value - (1 << 64) if value >> 63 else value


@dataclass(frozen=True)
class Varints(DerivedNumbers):
    """Packed varints as integers of 64 bits. marks: where each ``_MARK``-th of them begins."""

    inner: Storage
    count: int
    marks: tuple[int, ...] = field(repr=False)
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.uint64)

    def elements(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        first = start // _MARK
        begin = self.marks[first]
        last = -(-stop // _MARK)
        end = self.marks[last] if last < len(self.marks) else self.inner.size
        numbers = _decoded(self.read(begin, end - begin))
        found: np.ndarray[Any, Any] = numbers[start - first * _MARK : stop - first * _MARK]
        return found


def packed_varints(storage: Storage, fail: Any) -> Varints:
    """The varints that *storage* holds one behind the other. fail: makes a ``LoadError`` of a reason."""
    marks, count, width = [0], 0, 0
    for offset in range(0, storage.size, _SCAN):
        piece = np.empty(min(_SCAN, storage.size - offset), np.uint8)
        storage.read_into(offset, piece.data)
        ends = np.flatnonzero(piece < 0x80)
        widths = np.diff(ends, prepend=-1 - width)
        if len(ends) and widths.max() > _VARINT_BYTES:
            raise fail("has a number of more than 64 bits")
        width = len(piece) - 1 - int(ends[-1]) if len(ends) else width + len(piece)
        if width > _VARINT_BYTES:
            raise fail("has a number of more than 64 bits")
        behind = np.arange(-count % _MARK, len(ends) + 1, _MARK)  # varints of the piece in front of each mark
        marks += [offset + int(ends[each - 1]) + 1 for each in behind if each > 0]
        count += len(ends)
    if width:
        raise fail("ends inside a number")
    return Varints(storage, count, tuple(marks))


def _decoded(raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    ends = np.flatnonzero(raw < 0x80)
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))[: len(ends)]
    widths = ends - starts + 1
    values = np.zeros(len(ends), np.uint64)
    for index in range(int(widths.max(initial=0))):
        some = np.flatnonzero(widths > index)
        values[some] |= (raw[starts[some] + index] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * index)
    return values


@dataclass(frozen=True)
class Narrowed(DerivedStorage):
    """The low bits of 64-bit integers, as numbers of *code*: what a typed field of bfloat16 or int8 stands for."""

    inner: Storage
    count: int
    code: str
    step: ClassVar[int] = 1 << 18  # numbers that are computed at a time

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.count * self._width

    @property
    def _width(self) -> int:
        return np.dtype(self.code).itemsize

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with bytes *offset* and on. Raises ``LoadError`` where they are not there."""
        self.within(offset, buffer)
        last = -(-(offset + len(buffer)) // self._width)
        for start in range(offset // self._width, last, self.step):
            stop = min(start + self.step, last)
            wide = np.empty(stop - start, "<u8")
            self.inner.read_into(start * 8, wide.view(np.uint8).data)
            numbers = wide.astype(self.code).view(np.uint8)
            low, high = max(offset, start * self._width), min(offset + len(buffer), stop * self._width)
            buffer[low - offset : high - offset] = numbers[low - start * self._width : high - start * self._width].data
