"""Zip and tar archives written field by field, so that any of the fields can lie."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field, replace


@dataclass
class Record:
    """One record of a zip archive, and what is said of it. A value of ``None`` is the true one."""

    name: bytes
    data: bytes
    deflated: bool = False
    descriptor: bool = False
    local_name: bytes | None = None
    local_extra: bytes = b""
    extra: bytes = b""
    external: int = 0
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    packed: int | None = None
    place: int | None = None
    gap: bytes = b""
    listed: bool = True
    written: bool = True


@dataclass
class Zip:
    """A zip archive. more: added to the number of records that its end states."""

    records: list[Record]
    wide: bool = True
    more: int = 0
    comment: bytes = b""
    behind_directory: bytes = b""
    order: list[int] = field(default_factory=list)

    def raw(self) -> bytes:
        """Its bytes."""
        out, directory, places = bytearray(), [], {}
        for number, each in enumerate(self.records):
            packed = _packed(each)
            crc = zlib.crc32(each.data) if each.crc is None else each.crc
            sizes = (
                each.packed if each.packed is not None else len(packed),
                each.size if each.size is not None else len(each.data),
            )
            places[number] = len(out) if each.place is None else each.place
            flags, method = each.flags | (8 if each.descriptor else 0), 8 if each.deflated else 0
            if each.written:
                name = each.name if each.local_name is None else each.local_name
                stated = (0, 0, 0) if each.descriptor else (crc, *sizes)
                out += struct.pack(
                    "<4s5H3L2H", b"PK\x03\x04", 20, flags, method, 0, 0, *stated, len(name), len(each.local_extra)
                )
                out += name + each.local_extra + packed
                if each.descriptor and packed:
                    out += struct.pack("<4s3L", b"PK\x07\x08", crc, *sizes)
                out += each.gap
            head = struct.pack(
                "<4s6H3L5H", b"PK\x01\x02", 20, 20, flags, method, 0, 0, crc, *sizes, len(each.name), len(each.extra), 0, 0, 0
            )
            directory.append(head + struct.pack("<2L", each.external, places[number]) + each.name + each.extra)
        listed = [number for number in self.order or range(len(self.records)) if self.records[number].listed]
        start, central = len(out), b"".join(directory[number] for number in listed) + self.behind_directory
        count = len(listed) + self.more
        out += central
        if self.wide:
            end = len(out)
            out += struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 20, 20, 0, 0, count, count, len(central), start)
            out += struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
        out += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(central), start, len(self.comment)) + self.comment
        return bytes(out)


def _packed(each: Record) -> bytes:
    if not each.deflated:
        return each.data
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(each.data) + packer.flush()


def read(raw: bytes) -> Zip:
    """The archive that zipfile reads from *raw*."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        records = [
            Record(each.filename.encode(), archive.read(each), bool(each.compress_type), bool(each.flag_bits & 8))
            for each in archive.infolist()
        ]
    return Zip(records)


def changed_zip(base: Zip, rng: random.Random) -> Zip:
    """*base* with one or two lies about its records, or its directory."""
    archive = replace(base, records=[replace(each) for each in base.records])
    for _ in range(rng.choice((1, 1, 2))):
        _lie(archive, rng)
    return archive


def _lie(archive: Zip, rng: random.Random) -> None:
    records = archive.records
    number = rng.randrange(len(records))
    one, other = records[number], rng.choice(records)
    kind = rng.randrange(20)
    if kind == 0:  # another record of that name, in other letters perhaps
        name = rng.choice((one.name.upper(), one.name.swapcase(), one.name, one.name[:-1] + one.name[-1:].upper()))
        records.insert(rng.randrange(len(records) + 1), replace(other, name=name))
    elif kind == 1:
        one.name = rng.choice((one.name.upper(), one.name.swapcase(), other.name, one.name + b"\0", b"x/" + one.name))
    elif kind == 2:
        one.local_name = rng.choice((other.name, one.name.upper(), b""))
    elif kind == 3:
        one.place = rng.choice((0, 1, 7, rng.randrange(4000)))
    elif kind == 4:
        one.external = rng.choice((0x10, 0x20, 1 << 30))
    elif kind == 5:
        one.size = rng.choice((0, len(one.data) + rng.choice((-1, 1, 8)), 0xFFFFFFFF)) & 0xFFFFFFFF
    elif kind == 6:
        one.packed = rng.choice((0, len(one.data) + rng.choice((-1, 1, 8)), 0xFFFFFFFF)) & 0xFFFFFFFF
    elif kind == 7:
        length, start = rng.choice((len(one.data), len(other.data))), rng.randrange(2000)
        wide = struct.pack("<2H3Q", 1, 24, length, length, start)
        one.extra, one.size, one.packed = rng.choice((wide, wide[:-8], b"xx\x02\x00ab" + wide)), 0xFFFFFFFF, 0xFFFFFFFF
    elif kind == 8:
        one.extra = rng.choice((b"up" + struct.pack("<HBL", 5 + len(other.name), 1, zlib.crc32(one.name)) + other.name, b"ab"))
    elif kind == 9:
        one.gap = rng.choice((b"\0" * 9, b"PK\x03\x04", other.data, bytes(70_000)))
    elif kind == 10:
        one.listed = False
    elif kind == 11:
        one.written = False
    elif kind == 12:
        archive.more = rng.choice((-1, -2, 1, 5))
    elif kind == 13:
        archive.wide = not archive.wide
    elif kind == 14:
        archive.comment = rng.choice(
            (b"a comment", b"PK\x05\x06", archive.raw()[-22:], b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + bytes(30))
        )
    elif kind == 15:
        archive.order = rng.sample(range(len(records)), len(records))
    elif kind == 16:
        one.data, other.data = other.data, one.data
    elif kind == 17:
        one.flags = rng.choice((1, 8, 32, 64, 0x800, 8192))
    elif kind == 18:
        one.local_extra = rng.choice((b"FB\x05\x00ZZZZZ", bytes(3), b"\x01\x00\x10\x00" + bytes(16)))
    else:
        one.deflated, one.descriptor = rng.random() < 0.5, rng.random() < 0.5


def tar_header(
    name: bytes,
    size: int,
    kind: bytes = b"0",
    *,
    prefix: bytes = b"",
    signed: bool = False,
    binary: bool = False,
    tail: bytes = b"",
) -> bytes:
    """A tar header. signed: its checksum takes bytes for signed ones; tail: its last bytes."""
    length = b"\x80" + size.to_bytes(11, "big") if binary else b"%011o\0" % size
    raw = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + length + b"%011o\0" % 0 + b" " * 8 + kind + bytes(100)
    raw += b"ustar\x0000" + bytes(80) + prefix.ljust(155, b"\0") + tail.rjust(12, b"\0")
    total = sum(each - 256 if signed and each > 127 else each for each in raw)
    return raw[:148] + b"%06o\0 " % (total & 0o777777) + raw[156:]


def padded(data: bytes) -> bytes:
    """*data*, and zeros to the end of its last block."""
    return data + bytes(-len(data) % 512)


def pax(**values: bytes) -> bytes:
    """The content of a pax header; two underscores in a key are a dot."""
    out = b""
    for key, value in values.items():
        entry = b" " + key.replace("__", ".").encode() + b"=" + value + b"\n"
        size = len(entry) + 2 if len(entry) < 98 else len(entry) + 3
        out += str(size).encode() + entry
    return out


def members(raw: bytes) -> dict[str, bytes]:
    """Name → content of the members that tarfile reads from *raw*."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        found = {each.name: archive.extractfile(each) for each in archive}
        return {name: stream.read() for name, stream in found.items() if stream is not None}


def changed_tar(base: dict[str, bytes], rng: random.Random) -> bytes:
    """A tar of the members *base* in which one or two of the headers lie."""
    blocks = [(name.encode(), data) for name, data in base.items()]
    names = [name for name, _ in blocks]
    pieces = [tar_header(name, len(data)) + padded(data) for name, data in blocks]
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(blocks))
        name, data = blocks[place]
        other = rng.choice(names)
        body, size = padded(data), len(data)
        odd = rng.choice(b"0125673467DKLMSVXgx")
        lies = [
            tar_header(name, size, bytes([odd])) + body,
            tar_header(name, size, b"x") + body,
            tar_header(b"pax", 30, b"x") + padded(pax(path=other)) + pieces[place],
            tar_header(b"pax", len(pax(path=other)), b"x") + padded(pax(path=other)) + tar_header(b"none", size) + body,
            tar_header(b"pax", len(pax(size=b"%d" % max(size - 8, 0))), b"x")
            + padded(pax(size=b"%d" % max(size - 8, 0)))
            + pieces[place],
            tar_header(b"pax", len(pax(mtime=b"1.5")), rng.choice((b"x", b"g"))) + padded(pax(mtime=b"1.5")) + pieces[place],
            tar_header(b"pax", len(pax(GNU__sparse__size=b"4")), b"x") + padded(pax(GNU__sparse__size=b"4")) + pieces[place],
            tar_header(b"././@LongLink", len(other) + 1, b"L") + padded(other + b"\0") + tar_header(b"none", size) + body,
            tar_header(name, size, prefix=rng.choice((b"x", other))) + body,
            tar_header(name, size, signed=True) + body,
            tar_header(name + b"\0\x80", size, signed=True) + body,
            tar_header(name, size, binary=True) + body,
            tar_header(name, size + rng.choice((-1, 1, 512))) + body,
            tar_header(name, 0, bytes([odd])) + pieces[place],
            tar_header(other, size) + body,
            tar_header(b"./" + name, size) + body,
            tar_header(name + b"/", size) + body,
            pieces[place] + pieces[rng.randrange(len(pieces))],
            bytes(512) + pieces[place],
            pieces[place][:-512],
        ]
        pieces[place] = rng.choice(lies)
    if rng.random() < 0.2:
        rng.shuffle(pieces)
    return b"".join(pieces) + bytes(1024)
