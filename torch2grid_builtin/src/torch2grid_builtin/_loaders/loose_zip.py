"""The zip archive that PyTorch finds at the end of a file, whatever stands in front of it, as its reader takes it.

PyTorch's reader is miniz, without checksums: it takes the last end record, and believes what that says of the directory.
Format: APPNOTE.TXT of PKWARE; ``mz_zip_reader_read_central_dir`` of miniz 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.storages import Spool
from torch2grid_builtin._loaders.zip_archive import LOCAL, Deflated, Entry
from torch2grid_core import LoadError
from torch2grid_core.sources import BytesStorage, Range, Source, Storage
from torch2grid_core.text import visible

_END, _END64, _LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_HEADER, _FULL32, _ENCRYPTED = 30, 0xFFFFFFFF, 0x2041
_RECORD = 32  # of work, for a record of the directory


class LooseZip:
    """The records of such an archive. Two of one name are both there. Nothing is believed that PyTorch does not believe."""

    def __init__(self, source: Source, directory: bytes, count: int, work: limits.Work) -> None:
        self.source, self.work = source, work
        self.entries: dict[str, Entry] = {}
        self._spool = Spool()
        self._unpacked = 0
        place = 0
        for _ in range(count):
            work.spend(_RECORD)
            fields = _CENTRAL.unpack_from(directory, place)
            flags, method, _, _, crc, packed, size, name_size, extra_size, comment_size, *_, header = fields[3:]
            raw = directory[place + _CENTRAL.size : place + _CENTRAL.size + name_size]
            place += _CENTRAL.size + name_size
            if _FULL32 in (packed, size, header):
                packed, size, header = _wide(directory[place : place + extra_size], packed, size, header)
            place += extra_size + comment_size
            name = raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            key = f"{name}\0{len(self.entries)}" if name in self.entries else name
            self.entries[key] = Entry(name, raw, flags, method, crc, packed, size, header)

    def fail(self, reason: str, advice: str = "it is damaged or hostile") -> LoadError:
        return LoadError(self.source.shown, reason, advice)

    def prefetch(self, entries: Iterable[Entry]) -> None:
        """Do nothing: few records are looked at."""

    def unread(self) -> list[Entry]:
        """None: no checksum is looked at."""
        return []

    def storage(self, name: str) -> Storage:
        """The bytes of a record; none where PyTorch cannot read it either. Raises ``Malformed`` where that costs too much."""
        entry, size = self.entries[name], self.source.size
        if entry.flags & _ENCRYPTED or entry.method not in (0, 8) or entry.header + _HEADER > size:
            return BytesStorage(b"")
        header = self.source.read(entry.header, _HEADER)
        start = entry.header + _HEADER + sum(struct.unpack_from("<2H", header, 26))
        if header[:4] != LOCAL or start + entry.packed > size:
            return BytesStorage(b"")
        place = Range(self.source, start, entry.packed)
        if not entry.method:
            return place
        self._unpacked += entry.size
        if self._unpacked > limits.INFLATE_ALWAYS:
            raise Malformed(f"unpacks to more than {self._unpacked} bytes", "it is hostile")
        self.work.text(entry.size)
        return Deflated(place, entry.size, None, self.source.shown, repr(visible(entry.name, 80)), self._spool)


def _wide(extra: bytes, *short: int) -> list[int]:
    """(packed, size, place) beyond 4 GiB, from the zip64 extra field, as far as it is there."""
    packed, size, header = short
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1:
            numbers = [number for (number,) in struct.iter_unpack("<Q", extra[place + 4 : place + 4 + length // 8 * 8])]
            wide = {at: numbers.pop(0) for at, each in enumerate((size, packed, header)) if each == _FULL32 and numbers}
            return [wide.get(1, packed), wide.get(0, size), wide.get(2, header)]
        place += 4 + length
    return [packed, size, header]


def archive_at_end(source: Source, work: limits.Work) -> LooseZip | None:
    """The archive that PyTorch would open in *source*, ``None`` where it would find none, or none that it takes for one.

    Raises ``Malformed`` where its directory is larger than any checkpoint's, or costs more than is left.
    """
    tail = source.tail
    at = tail.rfind(b"PK\x05\x06", 0, max(len(tail) - _END.size + 4, 0))
    if at < 0:
        return None
    end = source.size - len(tail) + at
    _, _, _, _, count, size, start, _ = _END.unpack_from(tail, at)
    if end >= _LOCATOR.size + _END64.size:
        _, _, where, _ = _LOCATOR.unpack(source.read(end - _LOCATOR.size, _LOCATOR.size))
        if source.read(end - _LOCATOR.size, 4) == b"PK\x06\x07" and where + _END64.size <= source.size:
            fields = _END64.unpack(source.read(where, _END64.size))
            if fields[0] == b"PK\x06\x06":
                count, size, start = fields[7:10]
    if not count or size < count * _CENTRAL.size or start + size > source.size:
        return None
    if source.read(start, 4) != b"PK\x01\x02":
        return None
    if count > limits.ZIP_ENTRIES or size > limits.DIRECTORY_BYTES:
        raise Malformed(f"claims {count} records in a directory of {size} bytes", "it is hostile")
    directory = source.read(start, size)
    return LooseZip(source, directory, count, work) if _is_directory(directory, count) else None


def _is_directory(directory: bytes, count: int) -> bool:
    """True where the directory has as many records as it counts."""
    place = 0
    for _ in range(count):
        if directory[place : place + 4] != b"PK\x01\x02" or place + _CENTRAL.size > len(directory):
            return False
        place += _CENTRAL.size + sum(struct.unpack_from("<3H", directory, place + 28))
    return place <= len(directory)
