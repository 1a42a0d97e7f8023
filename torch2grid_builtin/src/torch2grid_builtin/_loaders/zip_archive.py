"""Records of a zip archive as storages. Format: PKWARE APPNOTE 6.3.10; stored and deflated records, zip64."""

from __future__ import annotations

import struct
import weakref
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.storages import Spool
from torch2grid_builtin._loaders.object_arrays import NUMPY, OBJECTS_LOOKED_AT, may_hold_objects, name_objects
from torch2grid_core import LoadError
from torch2grid_core.sources import CheckedStorage, DerivedStorage, LocalSource, Range, Source, Storage, verify
from torch2grid_core.text import visible

LOCAL, END = b"PK\x03\x04", b"PK\x05\x06"
_END = struct.Struct("<4s4H2LH")
_END64_AT = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_BEHIND, _BEHIND64 = struct.Struct("<3L"), struct.Struct("<L2Q")
_DAMAGED = "the file is cut short or damaged; fetch it again"
_HOSTILE = "it is damaged or hostile"
_FULL32 = 0xFFFFFFFF
_HEAD = 4096  # bytes of a deflated record that are unpacked alone
_NEAR, _FARTHEST = 4096, _END.size + 65535  # bytes from the end: where an end record mostly is, and can be at all
_TWO_ENDS = "is a zip archive with two ends, of which readers take one or the other"
_PADDING = 128  # bytes between a record's name and its data that are read at once; PyTorch aligns data to 64
_GAP = 1 << 20  # bytes between two records, which hold a data descriptor and padding
_FOLDER = 0x10  # of DOS, in a record's external attributes
_ENCRYPTED = 0x2041  # flags: encrypted, strongly so, headers masked
_WIDEST_GAP = 0xFFFF + 24  # between two records, as far as the directory tells: the extra field in front, the sizes behind


class Entry(NamedTuple):
    """One record of the central directory. method: 0 stored, 8 deflated."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc32: int
    packed: int
    size: int
    header: int


class ZipArchive:
    """The directory of a zip file. Raises ``LoadError`` where it is damaged or lies."""

    def __init__(self, source: Source) -> None:
        self.source = copy(source)  # not the object that ``open_zip`` knows it by, which must be able to go
        self.entries: dict[str, Entry] = {}
        self._spool = Spool()
        self.of_arrays = False  # an npz, whose loader looks at arrays of objects itself
        self._unpacked = 0  # bytes that the deflated records in use have together
        self._storages: dict[str, Storage] = {}
        self._packed: list[Packed] = []  # that the storages read
        self._starts: list[int] = []  # of all records, in the order of the file, and of the directory
        self.ends_asked_later = False  # by who has the archive, who calls ``check_ends``
        self._more_ends: int | None = None  # the end record before which others were not looked for
        self._read_directory(source)

    def fail(self, reason: str, advice: str = _DAMAGED) -> LoadError:
        return LoadError(self.source.shown, reason, advice)

    def _read_directory(self, source: Source) -> None:
        start, size, count = self._find_directory(source)
        if count > limits.ZIP_ENTRIES or size > limits.DIRECTORY_BYTES:
            raise self.fail(f"is a zip archive that claims {count} records in a directory of {size} bytes")
        data = _behind(source, start, size)
        place = 0
        for _ in range(count):
            if place + _CENTRAL.size > len(data):
                raise self.fail("is a zip archive whose directory is cut short")
            fields = _CENTRAL.unpack_from(data, place)
            flags, method, _, _, crc, packed, full, name_size, extra_size, comment_size, *_, external, header = fields[3:]
            if fields[0] != b"PK\x01\x02":
                raise self.fail("is a zip archive whose directory is damaged")
            place += _CENTRAL.size
            raw = data[place : place + name_size]
            extra = data[place + name_size : place + name_size + extra_size]
            place += name_size + extra_size + comment_size
            name = _decoded(raw)
            if _FULL32 in (packed, full, header):
                full, packed, header = self._wide(name, extra, full, packed, header)
            if b"\0" in raw or (b"up" in extra and _renamed(extra, raw)):
                raise self.fail(f"has a record {visible(name, 80)!r} whose name some readers take for another", _HOSTILE)
            if name in self.entries:
                raise self.fail(f"is a zip archive with two records named {visible(name, 80)!r}", _HOSTILE)
            if full and (external & _FOLDER or raw.endswith(b"/")):
                raise self.fail(f"has a record {visible(name, 80)!r} that is said to be a folder, and holds bytes", _HOSTILE)
            self.entries[name] = Entry(name, raw, flags, method, crc, packed, full, header)
        if place != len(data):
            what = "cut short" if place > len(data) else f"longer than the {count} records that it counts"
            raise self.fail(f"is a zip archive whose directory is {what}", _HOSTILE)
        self._check_places(start)

    def _check_places(self, directory: int) -> None:
        """Raise ``LoadError`` unless records follow each other from the first byte to the directory, as far as that tells.

        How long the field in front of a record's bytes is stands in front of them only: ``_open`` looks there.
        """
        places = sorted(self.entries.values(), key=lambda entry: entry.header)
        self._starts = [entry.header for entry in places]
        self._starts.append(directory)
        end, before = 0, ""
        for entry in places:
            if entry.header < end:
                names = f"{visible(before, 80)!r} and {visible(entry.name, 80)!r}"
                raise self.fail(f"has records {names} that overlap", _HOSTILE)
            if entry.header - end > (_WIDEST_GAP if end else 0):
                raise self.fail(f"has bytes in front of record {visible(entry.name, 80)!r} that are of no record", _HOSTILE)
            end, before = entry.header + _LOCAL.size + len(entry.raw_name) + entry.packed, entry.name
        if end > directory:
            raise self.fail(f"has a record {visible(before, 80)!r} that reaches into its directory", _HOSTILE)
        if directory - end > (_WIDEST_GAP if end else 0):
            raise self.fail("has bytes in front of its zip directory that are of no record", _HOSTILE)

    def _find_directory(self, source: Source) -> tuple[int, int, int]:
        """Start and size of the central directory, and its number of records."""
        at = -1
        if isinstance(source, LocalSource):  # of which a short read costs less than a long one, and is no request
            tail, reach = self._end_of(source, _NEAR)
            at = tail.rfind(END, 0, reach - _END.size + 4)
            self._more_ends = source.size - reach + at
        if at < 0 or at + _END.size + _END.unpack_from(tail, at)[-1] != len(tail):
            self._more_ends = None
            tail, reach = self._end_of(source, _FARTHEST)
            at = tail.rfind(b"PK\x05\x06", 0, reach - _END.size + 4)  # PyTorch and others take the last
        if at < 0:
            raise self.fail("is a zip archive without its end", "it is cut short; fetch it again")
        _, disk, start_disk, on_disk, count, size, start, comment = _END.unpack_from(tail, at)
        if at + _END.size + comment != len(tail):
            raise self.fail("is a zip archive whose end is damaged, or followed by something else")
        if self._has_other_end(tail, at):
            raise self.fail(_TWO_ENDS, _HOSTILE)
        end = source.size - reach + at
        locator = end - _END64_AT.size
        if locator >= 0 and _behind(source, locator, 4) == b"PK\x06\x07":  # PyTorch writes it in small archives too
            _, first_disk, where, _ = _END64_AT.unpack(_behind(source, locator, _END64_AT.size))
            if where + _END64.size > locator or _behind(source, where, 4) != b"PK\x06\x06":
                raise self.fail("is a zip archive whose end is damaged")
            fields = _END64.unpack(_behind(source, where, _END64.size))
            if where + 12 + fields[1] != locator:
                raise self.fail("has something in front of the zip archive in it", "save or fetch the checkpoint again")
            pairs = ((on_disk, fields[6], 0xFFFF), (count, fields[7], 0xFFFF), (size, fields[8], _FULL32))
            for short, wide, unset in (*pairs, (start, fields[9], _FULL32)):
                if short not in (unset, wide):
                    raise self.fail("states the place of its zip directory twice, differently", _HOSTILE)
            disk, start_disk, on_disk, count, size, start, end = fields[4] | first_disk, *fields[5:10], where
        if disk or start_disk or on_disk != count:
            raise self.fail("is one piece of a zip archive in several", "join the pieces first")
        if start + size != end:
            what = "has something in front of the zip archive in it" if start + size < end else "has a damaged zip directory"
            raise self.fail(what, "save or fetch the checkpoint again")
        return start, size, count

    def _end_of(self, source: Source, length: int) -> tuple[bytes, int]:
        """The last *length* bytes, or all, and how many these are."""
        reach = min(source.size, length)
        near = reach <= _NEAR and isinstance(source, LocalSource) and "tail" not in vars(source)
        return source.read(source.size - reach, reach) if near else source.tail[-reach:], reach

    def check_ends(self) -> None:
        """Raise ``LoadError`` where another end record than the last would do, as far in front of it as any reader looks."""
        if self._more_ends is not None:
            tail, reach = self._end_of(self.source, _FARTHEST)
            if self._has_other_end(tail, self._more_ends - (self.source.size - reach)):
                raise self.fail(_TWO_ENDS, _HOSTILE)
            self._more_ends = None

    def _has_other_end(self, tail: bytes, last: int) -> bool:
        """True where an end record before the one at *last* reaches to the end of the file, too."""
        at = tail.rfind(b"PK\x05\x06", 0, last)
        while at >= 0:
            if at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
                return True
            at = tail.rfind(b"PK\x05\x06", 0, at)
        return False

    def _wide(self, name: str, extra: bytes, full: int, packed: int, header: int) -> tuple[int, int, int]:
        """Sizes and place of a record beyond 4 GiB, from its zip64 extra field. Raises ``LoadError`` where it lacks one."""
        for kind, data in _fields(extra):
            if kind == 1:
                numbers = [number for (number,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8])]
                wanted = [each == _FULL32 for each in (full, packed, header)]
                if len(numbers) < sum(wanted):
                    break
                full, packed, header = (
                    numbers.pop(0) if wide else each for wide, each in zip(wanted, (full, packed, header), strict=True)
                )
                return full, packed, header
        raise self.fail(f"does not say how long record {visible(name, 80)!r} is, or where", _HOSTILE)

    def storage(self, name: str) -> Storage:
        """The bytes of record *name*, checked against its CRC-32 when they are read; one object for each record.

        Raises ``LoadError`` when the record is missing, encrypted, or differs from what the directory says.
        """
        found = self._storages.get(name)
        if found is None:
            if not self.ends_asked_later:
                self.check_ends()
            found = self._storages[name] = self._open(name)
        return found

    def _place(self, entry: Entry) -> tuple[int, int]:
        """Where a record is, from its header to the next: offset and size."""
        return entry.header, self._starts[bisect_right(self._starts, entry.header)] - entry.header

    def prefetch(self, entries: Iterable[Entry]) -> None:
        """Get ready to read these records, in few requests."""
        self.source.prefetch([self._place(entry) for entry in entries])

    def unread(self) -> list[Entry]:
        """The records that nobody asked for, in the order of the directory."""
        return [entry for name, entry in self.entries.items() if name not in self._storages]

    def _open(self, name: str) -> Storage:
        entry = self.entries.get(name)
        label = repr(visible(name, 80))
        if entry is None:
            raise self.fail(f"has no record {label}", "it is damaged or incomplete")
        if entry.flags & _ENCRYPTED:
            raise self.fail(f"has an encrypted record {label}", "unpack it first")
        if entry.method not in (0, 8):
            raise self.fail(f"packs the record {label} in a way (method {entry.method}) that is not read", "pack it again")
        place = Range(self.source, *self._place(entry))
        inner = Packed(place, entry, self.source.shown, label, not self.of_arrays)
        self._packed.append(inner)
        if not entry.packed:
            inner.locate()  # nobody reads it
        if entry.method == 0:
            if entry.packed != entry.size:
                raise self.fail(f"has a record {label} of {entry.packed} bytes that claims {entry.size}")
            return CheckedStorage(inner, entry.crc32, self.source.shown, label)
        if entry.size > max(limits.INFLATE_ALWAYS, limits.INFLATE_RATIO * entry.packed):
            raise self.fail(
                f"has a record {label} that unpacks from {entry.packed} to {entry.size} bytes",
                "this is a decompression bomb, not weights",
            )
        self._unpacked += entry.size
        if self._unpacked > max(limits.INFLATE_ALWAYS, limits.INFLATE_RATIO * self.source.size):
            raise self.fail(
                f"unpacks from {self.source.size} to more than {self._unpacked} bytes",
                "this is a decompression bomb, not weights",
            )
        return Deflated(inner, entry.size, entry.crc32, self.source.shown, label, self._spool)

    def verify(self) -> None:
        """Check the ends, all headers, and the checksums of the records that nobody asked for. Raises ``LoadError``."""
        self.check_ends()
        unread = self.unread()
        for each in self._packed:
            each.locate()  # which unpacks the beginning, too
        for entry in unread:
            verify(self.storage(entry.name))


@dataclass(eq=False)
class Packed:
    """The bytes of a record as they are packed. The header in front of them, which says where they begin, is read and
    checked when they are, so that opening an archive costs its directory alone.

    place: from the header to the next record.
    """

    place: Range
    entry: Entry
    path: str
    label: str
    judged: bool = True  # whether an array of objects is refused
    _start: int = field(default=0, init=False)  # of the bytes, from the header on; 0: not known

    @property
    def size(self) -> int:
        return self.entry.packed

    @property
    def shippable(self) -> bool:
        return self.place.shippable

    def fail(self, reason: str, advice: str = _HOSTILE) -> LoadError:
        return LoadError(self.path, reason, advice)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset < 0 or offset + len(buffer) > self.size:
            raise self.fail(f"has a record {self.label} of {self.size} bytes, {offset}–{offset + len(buffer)} are asked for")
        self.place.read_into(self.locate() + offset, buffer)

    def reads(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """What is read with these bytes; the header in front, too, as long as it was not."""
        if self._start:
            yield self.place, self._start + offset, size
        else:
            yield self.place, offset, min(size + self.place.size - self.size, self.place.size - offset)

    def locate(self) -> int:
        """Where the bytes begin, from the header on. Raises ``LoadError`` where it says other than the directory."""
        if not self._start:
            self._start = self._checked_start()
        return self._start

    def _checked_start(self) -> int:
        entry, label = self.entry, self.label
        fixed = _LOCAL.size + len(entry.raw_name)
        if fixed > self.place.size:
            raise self.fail(f"has a record {label} that reaches into the next")
        seen = self._bytes(0, min(fixed + _PADDING + len(NUMPY), self.place.size))  # one read, as PyTorch pads
        head = seen[:fixed]
        name_size: int
        extra_size: int
        signature, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack_from(head)
        if signature != LOCAL:
            raise self.fail(f"has no record {label} where its directory says", _DAMAGED)
        if name_size != len(entry.raw_name) or head[_LOCAL.size :] != entry.raw_name:
            raise self.fail(f"calls the record {label} by another name in front of its data")
        if flags & _ENCRYPTED:
            raise self.fail(f"has an encrypted record {label}", "unpack it first")
        if method != entry.method:
            raise self.fail(f"packs the record {label} in two ways, {method} and {entry.method}")
        # Sizes may come behind the data, and those beyond 4 GiB elsewhere: what stands here must not disagree.
        unset = (0, _FULL32) if flags & 8 else (_FULL32,)
        stated = ((crc, entry.crc32), (size, entry.size), (packed, entry.packed))
        if any(local not in unset and local != told for local, told in stated):
            raise self.fail(f"states the size or CRC-32 of record {label} twice, differently")
        start = fixed + extra_size
        self._check_behind(start + entry.packed, bool(flags & 8), crc)
        if self.judged and entry.size >= len(NUMPY) and (entry.method or not self._is_seen_plain(seen, start)):
            self._refuse_objects(start)
        return start

    def _is_seen_plain(self, seen: bytes, start: int) -> bool:
        """True where the first bytes of the record are among those *seen* of its place, and no array of numpy's."""
        return start + len(NUMPY) <= len(seen) and not seen.startswith(NUMPY, start)

    def _refuse_objects(self, start: int) -> None:
        """Raise ``LoadError`` for an array of objects: numpy looks at the bytes of a record, not at its name."""
        if self._unpacked_head(start, len(NUMPY)) != NUMPY:
            return
        head = self._unpacked_head(start, OBJECTS_LOOKED_AT)
        if may_hold_objects(head):
            reason = (
                f"has a record {self.label} that holds a numpy array of Python objects, which other readers load as a pickle"
            )
            raise self.fail(name_objects(reason, head))

    def _unpacked_head(self, start: int, size: int) -> bytes:
        """The first *size* bytes of the record, unpacked; fewer where it has no more, or cannot be unpacked."""
        if not self.entry.method:
            return self._bytes(start, min(size, self.size))
        unpacker, head = zlib.decompressobj(-15), b""
        for offset in range(0, self.size, 1 << 12):
            try:
                head += unpacker.decompress(self._bytes(start + offset, min(1 << 12, self.size - offset)), size - len(head))
            except zlib.error:
                break
            if len(head) >= size or unpacker.eof:
                break
            if unpacker.unconsumed_tail:
                head += unpacker.decompress(unpacker.unconsumed_tail, size - len(head))
        return head

    def _check_behind(self, end: int, described: bool, crc: int) -> None:
        """Raise ``LoadError`` unless the next record follows the bytes, behind a data descriptor and padding."""
        gap = self.place.size - end
        if gap < 0:
            raise self.fail(f"has a record {self.label} that reaches into the next")
        if gap > _GAP:
            raise self.fail(f"has bytes behind record {self.label} that are of no record")
        if not gap and not described:
            return
        behind = self._bytes(end, gap)
        length = _descriptor(behind, self.entry) if described else 0
        if described and not crc and not length:
            raise self.fail(f"states the size or CRC-32 of record {self.label} twice, differently")
        if behind.count(0, length) != len(behind) - length:
            raise self.fail(f"has bytes behind record {self.label} that are of no record")

    def _bytes(self, offset: int, size: int) -> bytes:
        data = bytearray(size)
        self.place.read_into(offset, memoryview(data))
        return bytes(data)


def _descriptor(raw: bytes, entry: Entry) -> int:
    """Length of the data descriptor that *raw* begins with and that says what the directory does, else 0."""
    stated = (entry.crc32, entry.packed, entry.size)
    for start in (4, 0) if raw.startswith(b"PK\x07\x08") else (0,):
        for form in (_BEHIND64, _BEHIND):
            if len(raw) >= start + form.size and form.unpack_from(raw, start) == stated:
                return start + form.size
    return 0


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, data) of each extra field."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        yield kind, extra[place + 4 : place + 4 + length]
        place += 4 + length


def _renamed(extra: bytes, raw: bytes) -> bool:
    """True where the extra fields hold another name than *raw*, as Info-ZIP writes it beside one that is not in UTF-8."""
    return any(kind == 0x7075 and data[5:] != raw for kind, data in _fields(extra))


def _behind(source: Source, offset: int, size: int) -> bytes:
    """Bytes near the end, out of ``tail`` where they are in it."""
    if isinstance(source, LocalSource) and "tail" not in vars(source):
        return source.read(offset, size)
    tail = source.tail
    place = offset - source.size + len(tail)
    return tail[place : place + size] if 0 <= place <= len(tail) - size else source.read(offset, size)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


@dataclass(eq=False)
class Deflated:
    """A deflated record: unpacked to a temporary file when it is first read, and checked on the way where it has a CRC-32."""

    inner: Storage
    size: int
    crc32: int | None
    path: str
    label: str
    spool: Spool
    _start: int = -1

    @property
    def shippable(self) -> bool:
        return False  # the temporary file has no name that another process could open

    @property
    def unchecked(self) -> Storage:
        """The same, but its first bytes are had without unpacking the rest: a header need not cost the record."""
        return _Peeked(self) if self._start < 0 else self

    def reads(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """What is read with any of these bytes, the first time: all of the record."""
        if self._start < 0:
            yield self.inner, 0, self.inner.size

    def fail(self, reason: str) -> LoadError:
        return LoadError(self.path, f"record {self.label} {reason}", _DAMAGED)

    def head(self) -> bytes:
        """Some of the first bytes, not checked."""
        raw = bytearray(min(_HEAD, self.inner.size))
        self.inner.read_into(0, memoryview(raw))
        try:
            return zlib.decompressobj(-15).decompress(raw, min(_HEAD, self.size))
        except zlib.error as error:
            raise self.fail("cannot be unpacked") from error

    def verify(self) -> None:
        """Unpack and check the whole record, once. Raises ``LoadError``."""
        if self._start < 0:
            try:
                self._start = self.spool.write(self._unpack(), self.size)
            except OSError as error:
                raise self.fail(f"cannot be unpacked to a temporary file: {error.strerror}") from error

    def _unpack(self) -> Iterator[bytes]:
        """The unpacked bytes, in pieces. Raises ``LoadError`` where they are not what the archive says."""
        done, crc = 0, 0
        unpacker = zlib.decompressobj(-15)
        for offset in range(0, self.inner.size, 1 << 18):
            piece = bytearray(min(1 << 18, self.inner.size - offset))
            self.inner.read_into(offset, memoryview(piece))
            pending = bytes(piece)
            while pending and not unpacker.eof:
                try:
                    out = unpacker.decompress(pending, 1 << 20)
                except zlib.error as error:
                    raise self.fail("cannot be unpacked") from error
                pending = unpacker.unconsumed_tail
                done += len(out)
                if done > self.size:
                    raise self.fail(f"unpacks to more than the {self.size} bytes it claims")
                crc = zlib.crc32(out, crc)
                yield out
        while not unpacker.eof and (out := unpacker.decompress(b"", 1 << 20)):
            done += len(out)
            if done > self.size:
                raise self.fail(f"unpacks to more than the {self.size} bytes it claims")
            crc = zlib.crc32(out, crc)
            yield out
        if done != self.size or crc != (crc if self.crc32 is None else self.crc32):
            raise self.fail(f"unpacks to {done} bytes of CRC-32 {crc:08x}, {self.size} of {self.crc32 or 0:08x} are stated")

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset < 0 or offset + len(buffer) > self.size:
            raise self.fail(f"has {self.size} bytes, {offset}–{offset + len(buffer)} are asked for")
        self.verify()
        self.spool.read_into(self._start + offset, buffer)


class _Peeked(DerivedStorage):
    """A deflated record, of which the first bytes are read alone."""

    def __init__(self, inner: Deflated) -> None:
        self.inner: Deflated = inner

    @cached_property
    def head(self) -> bytes:
        return self.inner.head()

    @property
    def size(self) -> int:
        return self.inner.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.within(offset, buffer)
        if offset + len(buffer) <= _HEAD and offset + len(buffer) <= len(self.head):
            buffer[:] = self.head[offset : offset + len(buffer)]
        else:
            self.inner.read_into(offset, buffer)


_archives: weakref.WeakKeyDictionary[Source, ZipArchive] = weakref.WeakKeyDictionary()


def open_zip(source: Source) -> ZipArchive:
    """The archive in *source*, its directory read once however many loaders ask, and kept as long as *source*.

    Raises ``LoadError``.
    """
    found = _archives.get(source)
    if found is None:
        found = _archives[source] = ZipArchive(source)
    return found


def first_name(source: Source) -> str:
    """The name of the first record in the file, empty where *source* does not begin as a zip archive."""
    head = source.head
    if len(head) < _LOCAL.size or not head.startswith(LOCAL):
        return ""
    length = _LOCAL.unpack_from(head)[9]
    return _decoded(head[_LOCAL.size : _LOCAL.size + length])
