"""What the pickles of a zip archive want done that is refused: other readers take such archives, so it is named all the same.

Nothing of it is shown. Flags, checksums and the directory's claims are not believed, and what cannot be read is passed over.
Format: APPNOTE.TXT of PKWARE.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import read_pickles, read_strings
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.script_code import note_operators
from torch2grid_core import LoadError
from torch2grid_core.sources import BytesStorage, Source

PICKLES = (".pkl", ".pickle", ".p", ".joblib", ".dat", ".data", ".bin")
_LOCAL, _ENTRY = b"PK\x03\x04", b"PK\x01\x02"
_NUMPY = b"\x93NUMPY"
_RECORDS = 10_000  # that are looked at
_TAIL = 4 << 20  # bytes at the end that are searched for the directory
_RECORD = 1 << 20  # bytes of one that are looked at: the pickles of attacks are small, and this is a courtesy


def read_refused_zip(source: Source, actions: Actions) -> None:
    """Add to *actions* what the pickles in the archive want done, as far as they can be read."""
    work = limits.Work(source.size)
    try:
        for _, (name, place) in zip(range(_RECORDS), _places(source), strict=False):
            raw = _content(source, place)
            work.spend(limits.INNER)
            work.text(len(raw))
            begin, name = 0, name.lower()
            if name.endswith(".py") and "code/" in name:
                note_operators(raw.decode("latin-1"), actions, work)
                continue
            if raw.startswith(_NUMPY):
                begin = raw.find(b"\n") + 1
            elif not name.endswith(PICKLES) and not (raw[:1] == b"\x80" and raw[1:2] <= b"\x05"):
                continue
            read_pickles(BytesStorage(raw), begin, actions, work)
        read_strings(actions, work)
    except (Malformed, LoadError):
        pass
    actions.asked = {key: asked for key, asked in actions.asked.items() if asked.kind != "hold"}  # it is refused already


def _places(source: Source) -> Iterator[tuple[str, int]]:
    """Name and place of each local header, as the directory says; without one, of those that follow each other."""
    start = max(source.size - _TAIL, 0)
    tail = source.read(start, source.size - start)
    at = tail.find(_ENTRY)
    seen = False
    while 0 <= at <= len(tail) - 46:
        name_size, extra, comment = struct.unpack_from("<HHH", tail, at + 28)
        (place,) = struct.unpack_from("<I", tail, at + 42)
        seen = True
        yield tail[at + 46 : at + 46 + name_size].decode("utf-8", "replace"), place
        at = tail.find(_ENTRY, at + 46 + name_size + extra + comment)
    place = 0
    while not seen and place + 30 <= source.size:
        header = source.read(place, 30)
        if header[:4] != _LOCAL:
            return
        size, name_size, extra = struct.unpack_from("<I", header, 18)[0], *struct.unpack_from("<HH", header, 26)
        yield source.read(place + 30, min(name_size, source.size - place - 30)).decode("utf-8", "replace"), place
        place += 30 + name_size + extra + size


def _content(source: Source, place: int) -> bytes:
    """The first bytes of the record whose local header is at *place*, unpacked where they are deflated; none where it lies."""
    if place + 30 > source.size:
        return b""
    header = source.read(place, 30)
    if header[:4] != _LOCAL:
        return b""
    (method,) = struct.unpack_from("<H", header, 8)
    name_size, extra = struct.unpack_from("<HH", header, 26)
    start = place + 30 + name_size + extra
    raw = source.read(start, max(min(_RECORD, source.size - start), 0)) if start < source.size else b""
    if method != 8:
        return raw
    try:
        return zlib.decompressobj(-15).decompress(raw, _RECORD)
    except zlib.error:
        return b""
