"""Storages that compute their bytes: parts of others, dequantised, unpacked, conjugated and negated numbers."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from torch2grid_core import LoadError
from torch2grid_core.sources import BytesStorage, DerivedNumbers, DerivedStorage, Storage

STEP = 1 << 20


@dataclass(frozen=True)
class Slice(DerivedStorage):
    """A range of another storage: *length* bytes from *offset*."""

    inner: Storage
    offset: int
    length: int

    @property
    def size(self) -> int:
        return self.length

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.within(offset, buffer)
        self.inner.read_into(self.offset + offset, buffer)

    def reads(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """What of the other storage is read with these bytes."""
        yield self.inner, self.offset + offset, size


class Placed(DerivedStorage):
    """The *size* bytes of *inner*, set when their place is known: behind what refers to them; until then there are none."""

    inner: Storage = BytesStorage(b"")
    size: int = 0

    def __init__(self, size: int) -> None:
        self.size = size

    def reads(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """What of the other storage is read with these bytes."""
        yield self.inner, offset, size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.inner.read_into(offset, buffer)


@dataclass(frozen=True)
class Dequantised(DerivedNumbers):
    """Integers with a scale and a zero point, as float32: ``(stored - zero_point) * scale``, rounded where PyTorch rounds.

    code: the numpy dtype of the stored integers. Without channels the difference is an int32 that wraps, then all is float32.
    channels: the dtype of the scales where each channel has its own: the difference is float32, the product of the
    scales' dtype, and element *i* of the storage is of channel ``(i - offset) // stride % length``.
    Format: ``torch._utils._rebuild_qtensor``.
    """

    inner: Storage
    code: str
    count: int
    scale: tuple[float, ...]
    zero_point: tuple[float, ...]
    offset: int = 0
    stride: int = 1
    channels: str = ""
    partly: ClassVar[bool] = True

    def elements(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        width = np.dtype(self.code).itemsize
        stored = self.read(start * width, (stop - start) * width).view(self.code)
        with np.errstate(over="ignore", invalid="ignore"):  # a scale may be anything
            if self.channels:
                scale, zero = np.array(self.scale, dtype=self.channels), np.array(self.zero_point, dtype=np.float32)
                channel = (np.arange(start, stop) - self.offset) // self.stride % len(scale)
                values = (stored.astype(np.float32) - zero[channel]) * scale[channel]
            else:
                difference = (stored.astype(np.int64) - int(self.zero_point[0])).astype(np.int32)
                values = difference.astype(np.float32) * np.float32(self.scale[0])
            found: np.ndarray[Any, Any] = values.astype(np.float32, copy=False)
        return found


@dataclass(frozen=True)
class Float4(DerivedNumbers):
    """Two float4_e2m1fn numbers a byte, the first in the low half, as one a byte."""

    inner: Storage
    count: int
    dtype: ClassVar[np.dtype[Any]] = np.dtype(ml_dtypes.float4_e2m1fn)
    partly: ClassVar[bool] = True

    def elements(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        packed = self.read(start // 2, -(-stop // 2) - start // 2)
        halves = np.empty(2 * len(packed), dtype=np.uint8)
        halves[0::2], halves[1::2] = packed & 0x0F, packed >> 4
        found: np.ndarray[Any, Any] = halves[start % 2 : start % 2 + stop - start].view(self.dtype)
        return found


@dataclass(frozen=True)
class Float6(DerivedNumbers):
    """Four 6-bit floats in three bytes, little-endian bit order, as float32. bias and mantissa bits: E2M3 or E3M2."""

    inner: Storage
    count: int
    mantissa: int
    partly: ClassVar[bool] = True

    def elements(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        first, last = start // 4, -(-stop // 4)
        size = min(last * 3, self.inner.size) - first * 3
        raw = np.zeros((last - first) * 3, dtype=np.uint8)
        raw[:size] = self.read(first * 3, size)
        word = raw.reshape(-1, 3).astype(np.uint32)
        packed = word[:, 0] | word[:, 1] << 8 | word[:, 2] << 16
        codes = np.stack([packed >> shift & 0x3F for shift in (0, 6, 12, 18)], axis=1).reshape(-1).astype(np.uint8)
        kind = ml_dtypes.float6_e2m3fn if self.mantissa == 3 else ml_dtypes.float6_e3m2fn
        values = codes.view(kind).astype(np.float32)
        found: np.ndarray[Any, Any] = values[start - first * 4 : stop - first * 4]
        return found


@dataclass(frozen=True)
class Flipped(DerivedStorage):
    """Numbers whose sign bits are flipped: the whole number (a negative view) or the imaginary part (a conjugate one).

    dtype: numpy name of the numbers. Reads start and end at whole numbers.
    """

    inner: Storage
    dtype: str
    conjugate: bool
    negate: bool

    @property
    def size(self) -> int:
        return self.inner.size

    def reads(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """What of the other storage is read with these bytes."""
        yield self.inner, offset, size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.inner.read_into(offset, buffer)
        numbers = np.frombuffer(buffer, dtype=self.dtype)
        if self.conjugate:
            np.conjugate(numbers, out=numbers)
        if self.negate:
            np.negative(numbers, out=numbers)


class Spool:
    """One temporary file for all that is unpacked from one checkpoint; it vanishes with the last storage that holds it."""

    def __init__(self) -> None:
        self._file: Any = None
        self._end = 0
        self._lock = threading.Lock()

    def write(self, pieces: Iterable[bytes], size: int) -> int:
        """Where *pieces*, of *size* bytes together, begin in the file.

        They may come from the file themselves, so it is not locked while they are made. Raises ``OSError`` where there is no
        room, and what they raise.
        """
        with self._lock:
            if self._file is None:
                # Without a buffer, which knows where the file stands: a forked process moves that for both.
                self._file = tempfile.TemporaryFile(prefix="torch2grid-", buffering=0)  # noqa: SIM115 - lives as long as the spool
                weakref.finalize(self, self._file.close)
            start = place = self._end
            self._end += size
        for piece in pieces:
            if place + len(piece) > start + size:
                raise ValueError("more bytes than were announced")
            rest = memoryview(piece)
            with self._lock:
                self._file.seek(place)
                while rest:
                    rest = rest[self._file.write(rest) :]
            place += len(piece)
        return start

    def read_into(self, offset: int, buffer: memoryview) -> None:
        while buffer:
            done = self._read(offset, buffer)
            if not done:
                raise OSError("the temporary file is shorter than what was written to it")
            offset, buffer = offset + done, buffer[done:]

    def _read(self, offset: int, buffer: memoryview) -> int:
        """Fill some of *buffer*; how much."""
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [buffer], offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.readinto(buffer)  # type: ignore[no-any-return]


@dataclass(eq=False)
class Latin1Bytes:
    """Bytes that were pickled as text (protocol 2 from Python 3): U+0000–U+00FF in UTF-8, decoded to a temporary file.

    Raises ``LoadError`` where the text has other characters. *size* is counted when it is made.
    """

    inner: Storage
    spool: Spool = field(default_factory=Spool, repr=False)
    size: int = field(init=False)
    _start: int = field(default=-1, init=False, repr=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self.size = sum(int(np.count_nonzero((piece & 0xC0) != 0x80)) for piece in self._pieces())

    @property
    def shippable(self) -> bool:
        return False

    def _pieces(self) -> Iterator[np.ndarray[Any, Any]]:
        for start in range(0, self.inner.size, STEP):
            piece = np.empty(min(STEP, self.inner.size - start), dtype=np.uint8)
            self.inner.read_into(start, piece.data)
            yield piece

    def _decoded(self) -> Iterator[bytes]:
        rest = b""
        try:
            for piece in self._pieces():
                block = rest + piece.tobytes()
                cut = len(block) - 1 if block[-1] >= 0xC0 else len(block)  # a character of two bytes may be split
                rest = block[cut:]
                yield block[:cut].decode("utf-8").encode("latin-1")
            if rest:
                raise LoadError("<pickle>", "a byte string ends inside a character")
        except (UnicodeDecodeError, UnicodeEncodeError) as error:
            raise LoadError("<pickle>", "a byte string holds characters beyond one byte") from error

    def read_into(self, offset: int, buffer: memoryview) -> None:
        with self._lock:
            if self._start < 0:
                try:
                    self._start = self.spool.write(self._decoded(), self.size)
                except OSError as error:
                    reason = f"a byte string cannot be unpacked to a temporary file: {error.strerror}"
                    raise LoadError("<pickle>", reason) from error
        if offset < 0 or offset + len(buffer) > self.size:
            raise LoadError("<pickle>", f"bytes {offset}–{offset + len(buffer)} of {self.size} asked for")
        self.spool.read_into(self._start + offset, buffer)
