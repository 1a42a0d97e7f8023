"""Where bytes are. A loader hands out ranges of a source as ``Range``; anything else implements ``Storage``."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from torch2grid_core._data.crc import crc32
from torch2grid_core._data.filling import unfilled
from torch2grid_core._data.source import Range, Source
from torch2grid_core._errors import LoadError
from torch2grid_core._guard import Origin, describe_value, is_stamped, returned, stamp, stamp_like


@runtime_checkable
class Storage(Protocol):
    """A run of bytes, any part of which can be read.

    A storage that computes its bytes from another (dequantises, swaps byte order, negates) is a ``DerivedStorage``.
    """

    @property
    def size(self) -> int:
        """Length in bytes."""

    @property
    def shippable(self) -> bool:
        """True if a pickled copy reads the same bytes in another process."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* (writable, bytes) from *offset*. Raises ``LoadError`` if the bytes are not there.

        A storage that fills less raises, too, or returns how many bytes it filled: that is an error of whoever ships it.
        """


@dataclass(frozen=True, eq=False)
class BytesStorage:
    """Bytes that are in memory already: a numpy array's, a live tensor's, or a small record's."""

    data: Any  # an object with the buffer protocol
    shippable: bool = field(default=False, init=False)

    @property
    def size(self) -> int:
        return memoryview(self.data).nbytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        view = memoryview(self.data).cast("B")
        if offset < 0 or offset + len(buffer) > len(view):
            raise LoadError("<memory>", f"bytes {offset}–{offset + len(buffer)} of {len(view)} asked for")
        buffer[:] = view[offset : offset + len(buffer)]


class DerivedStorage(ABC):
    """A storage that computes its bytes from another one, *inner*. A subclass answers ``size`` and ``read_into``.

    What is asked of the storage beneath is passed on: whether it can be shipped, and its checksum. A storage over several
    others answers ``parts`` and ``over`` instead of having an *inner*.
    """

    inner: Storage

    @property
    def parts(self) -> Sequence[Storage]:
        """The storages that its bytes come from."""
        return (self.inner,)

    def over(self, parts: Sequence[Storage]) -> Storage:
        """Return the same, computed from *parts*."""
        found = copy(self)
        object.__setattr__(found, "inner", parts[0])
        return found

    @property
    @abstractmethod
    def size(self) -> int:
        """Length in bytes."""

    @property
    def shippable(self) -> bool:
        """True if a pickled copy reads the same bytes in another process."""
        return all(part.shippable for part in self.parts)

    @property
    def unchecked(self) -> Storage:
        """The same without checksums, for random access; itself if there are none."""
        parts = [unchecked(part) for part in self.parts]
        same = all(one is other for one, other in zip(parts, self.parts, strict=True))
        if same:
            return self
        found = self.over(parts)
        stamp_like(found, self)  # who computes it is told when it fails
        return found

    def verify(self) -> None:
        """Check the checksums beneath. Raises ``LoadError``."""
        for part in self.parts:
            verify(part)

    @abstractmethod
    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* (writable, bytes) from *offset*. Raises ``LoadError`` if the bytes are not there."""

    def within(self, offset: int, buffer: memoryview) -> None:
        """Raise ``LoadError`` unless the bytes that are asked for are there."""
        if offset < 0 or offset + len(buffer) > self.size:
            raise LoadError("<computed>", f"bytes {offset}–{offset + len(buffer)} of {self.size} asked for")


class DerivedNumbers(DerivedStorage):
    """*count* numbers of *dtype* that are computed from other bytes. A subclass says how, for any run of elements.

    Attributes:
        step: number of elements that are computed at a time.
        partly: tensors may be views of a part of it, as they are of the storages in a pickle. Otherwise one of them has to
            reach its end.
    """

    count: int
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)
    step: ClassVar[int] = 1 << 18
    partly: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.count * self.dtype.itemsize

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Compute bytes from *offset*. Raises ``LoadError`` if they are not there."""
        self.within(offset, buffer)
        width = self.dtype.itemsize
        last = -(-(offset + len(buffer)) // width)
        for start in range(offset // width, last, self.step):
            stop = min(start + self.step, last)
            found = self.elements(start, stop)
            if wrong := self._wrong(found, stop - start):
                raise TypeError(wrong)
            numbers = np.ascontiguousarray(found).view(np.uint8)
            low, high = max(offset, start * width), min(offset + len(buffer), stop * width)
            buffer[low - offset : high - offset] = numbers[low - start * width : high - start * width].data

    def _wrong(self, found: Any, count: int) -> str:
        """Why *found*, for *count* elements, is not what ``elements`` has to return; empty where it is."""
        if not isinstance(found, np.ndarray):
            return returned("elements", found, f"a 1-D array of {self.dtype.name}")
        if found.dtype != self.dtype:
            return (
                f"elements returned {found.dtype.name}, not {self.dtype.name}; .astype({type(self).__name__}.dtype) makes it so"
            )
        if found.shape != (count,):
            return f"elements returned an array of shape {found.shape}, not the ({count},) that it was asked for"
        return ""

    @abstractmethod
    def elements(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Return elements *start* to *stop* as a 1-D array of ``dtype``."""

    def read(self, offset: int, size: int) -> np.ndarray[Any, Any]:
        """Return bytes of the inner storage as a uint8 array."""
        array = np.empty(size, dtype=np.uint8)
        read_from(self.inner, offset, array.data)
        return array


@dataclass(frozen=True)
class ByteSwapped(DerivedStorage):
    """Another storage's numbers of *itemsize* bytes in the other byte order. Reads start and end at whole numbers."""

    inner: Storage
    itemsize: int

    @property
    def size(self) -> int:
        return self.inner.size

    def reads(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """Yield what of the other storage is read with these bytes."""
        yield self.inner, offset, size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        read_from(self.inner, offset, buffer)
        if self.itemsize > 1:
            np.frombuffer(buffer, dtype=f"u{self.itemsize}" if self.itemsize <= 8 else "u8").byteswap(inplace=True)


def reads(storage: Storage, offset: int, size: int) -> Iterator[tuple[Source, int, int]]:
    """(source, offset, size) of what reading *size* bytes of *storage* from *offset* reads of sources, as far as that is known.

    A storage says it by a method ``reads(offset, size)`` that yields (storage, offset, size); one that is computed from others
    is taken to read all of them where all of it is read.
    """
    if type(storage) is Range:
        yield storage.source, storage.offset + offset, size
        return
    own = getattr(storage, "reads", None)
    if own is not None:
        beneath: Iterable[tuple[Storage, int, int]] = own(offset, size)
    elif isinstance(storage, DerivedStorage) and not hasattr(storage, "blocks") and size == storage.size:
        beneath = [(part, 0, part.size) for part in storage.parts]
    else:
        return
    for part, first, length in beneath:
        yield from reads(part, first, length)


class Joined(DerivedStorage):
    """Several storages, one after the other, as one."""

    def __init__(self, parts: Sequence[Storage]) -> None:
        self._parts = tuple(parts)
        self._ends = list(accumulate(part.size for part in self._parts))

    def __repr__(self) -> str:
        return f"Joined({list(self._parts)!r})"

    @property
    def parts(self) -> Sequence[Storage]:
        return self._parts

    def over(self, parts: Sequence[Storage]) -> Storage:
        return Joined(parts)

    @property
    def size(self) -> int:
        return self._ends[-1] if self._ends else 0

    def reads(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """Yield what of the parts is read with these bytes."""
        for end, part in zip(self._ends, self._parts, strict=True):
            first, last = max(offset, end - part.size), min(offset + size, end)
            if first < last:
                yield part, first - end + part.size, last - first

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.within(offset, buffer)
        index = bisect_right(self._ends, offset)
        while len(buffer):
            part = self._parts[index]
            begin = offset - (self._ends[index] - part.size)
            count = min(len(buffer), part.size - begin)
            if count:
                read_from(part, begin, buffer[:count])
            offset, buffer, index = offset + count, buffer[count:], index + 1


class CheckedStorage:
    """Another storage whose bytes have a CRC-32 (a zip record's). A mismatch is a ``LoadError`` that names *label*.

    - Reading it from start to end in order checks it on the way. Any other read checks the whole record first, once.
    - ``verify`` checks what has not been read yet. A tensor calls it after its last read, so a tensor that covers only the
      beginning of a record is checked too.
    - Random access reads *unchecked*.
    - Any number of threads may read. None waits while another reads. Each process checks for itself.
    """

    def __init__(self, inner: Storage, crc32: int, path: str, label: str) -> None:
        self.inner, self.crc32, self.path, self.label = inner, crc32, path, label
        self._done, self._verified = (0, 0), inner.size == 0 and crc32 == 0  # done: bytes checked in order, and their CRC-32
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"CheckedStorage({self.inner!r}, crc32=0x{self.crc32:08x}, label={self.label!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.inner, self.crc32, self.path, self.label), {"_verified": self._verified})

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def shippable(self) -> bool:
        return self.inner.shippable

    @property
    def unchecked(self) -> Storage:
        """The storage beneath, for random access, which must not cost the whole record."""
        return self.inner

    def reads(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """Yield what of the storage beneath is read with these bytes."""
        yield self.inner, offset, size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if not self._verified and offset != self._done[0]:
            self.verify()
        read_from(self.inner, offset, buffer)
        if not self._verified:
            with self._lock:
                done, crc = self._done
                if offset == done:
                    self._done = done + len(buffer), crc32(buffer, crc)
            if self._done[0] == self.size:
                self.verify()

    def verify(self) -> None:
        """Check the whole record now, in bounded memory, unless it was checked before. Raises ``LoadError``."""
        if self._verified:
            return
        done, crc = self._done
        buffer = bytearray(min(1 << 20, max(self.size - done, 1)))
        while done < self.size:
            part = memoryview(buffer)[: min(len(buffer), self.size - done)]
            read_from(self.inner, done, part)
            done, crc = done + len(part), crc32(part, crc)
        self.settle(crc)

    def settle(self, crc: int) -> None:
        """Take *crc* for that of the whole record, which was read in another way. Raises ``LoadError`` if it is another."""
        if crc != self.crc32:
            self._done = 0, 0
            raise LoadError(
                self.path,
                f"record {self.label} is damaged: its CRC-32 is {crc:08x}, the archive says {self.crc32:08x}",
                "fetch or save the file again",
            )
        self._verified = True


def read_from(storage: Storage, offset: int, buffer: memoryview) -> None:
    """Fill *buffer* from byte *offset* of *storage*. Raises ``TypeError`` where a plugin's own leaves some of it as it was."""
    own: Any = getattr(type(storage), "read_into", None)
    if getattr(own, "__module__", "").startswith(_CORE):
        storage.read_into(offset, buffer)
    elif wrong := unfilled(storage.read_into, offset, buffer):
        raise TypeError(wrong)


def read_rows_from(storage: Storage, offset: int, step: int, rows: Sequence[memoryview]) -> None:
    """Fill *rows*, of one length, from *offset* and each *step* bytes on. Raises as ``read_from`` does."""
    if type(storage) is Range:
        storage.read_rows(offset, step, rows)
        return
    for place, row in enumerate(rows):
        read_from(storage, offset + place * step, row)


_CORE = "torch2grid_core."


def stamp_storages(storages: Iterable[Storage], origin: Origin, *, deep: bool = True) -> None:
    """Remember who ships *storages*, and all beneath them unless *deep* is false, of which it is not remembered yet.

    Plain ranges and bytes go without.
    """
    for storage in storages:
        if type(storage) is Range:
            continue
        for each in beneath(storage) if deep else (storage,):
            own = isinstance(each, DerivedStorage) or not type(each).__module__.startswith(_CORE)
            if own and not is_stamped(each):
                stamp(each, origin)


def verify(storage: Storage) -> None:
    """Check the checksum of *storage*, its own or one beneath, if there is one. Raises ``LoadError``."""
    check = getattr(storage, "verify", None)
    if check is not None:
        check()


def beneath(storage: Storage) -> Iterator[Storage]:
    """Yield *storage*, and all that its bytes are computed from."""
    yield storage
    for part in storage.parts if isinstance(storage, DerivedStorage) else ():
        yield from beneath(part)


def wrong_parts(storage: Storage) -> str:
    """What is wrong with what a plugin's *storage* says that its bytes are computed from; empty where nothing is."""
    if not isinstance(storage, DerivedStorage) or type(storage).__module__.startswith(_CORE):
        return ""
    cls = type(storage)
    if cls.parts is DerivedStorage.parts:
        if not hasattr(storage, "inner"):
            return f"{cls.__name__} does not say what it is computed from: set inner, or answer parts and over"
        parts: Any = (storage.inner,)
    else:
        parts = storage.parts
        if not isinstance(parts, Sequence) or isinstance(parts, (str, bytes)):
            return returned(f"parts of {cls.__name__}", parts, "a sequence of storages")
        if parts and cls.over is DerivedStorage.over:
            return f"{cls.__name__} answers parts, and not over, which makes the same of other parts"
    for part in parts:
        if not hasattr(part, "read_into"):
            return f"{cls.__name__} is computed from {describe_value(part)}, which is not a storage: it lacks read_into"
        if wrong := wrong_parts(part):
            return wrong
    return ""


def has_checksum(storage: Storage) -> bool:
    """True where ``verify`` has something to check."""
    if isinstance(storage, DerivedStorage):
        return any(has_checksum(part) for part in storage.parts)
    return hasattr(storage, "verify")


def unchecked(storage: Storage) -> Storage:
    """Return *storage* without its checksum, for random access."""
    found: Storage = getattr(storage, "unchecked", storage)
    return found
