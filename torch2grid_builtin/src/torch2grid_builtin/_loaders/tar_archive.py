"""The members of a tar archive. Format: POSIX.1-2001 ustar and pax, and GNU's long names."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from torch2grid_core import LoadError
from torch2grid_core.sources import Source
from torch2grid_core.text import visible

BLOCK = 512
WANTED = ("sys_info", "pickle", "storages", "tensors")  # the members that PyTorch wrote before 0.4
HOSTILE = "it is damaged or hostile"
_MEMBERS = 100_000
_EXTENDED = 1 << 20  # bytes of a pax header or a long name
_PAX = re.compile(rb"(\d{1,7}) ([^=\n]+)=")
_LENGTHS = ("size", "GNU.sparse")  # keys of pax that say where a member ends, or what it is


class Header(NamedTuple):
    """What the header of a member says. kind: its type, as text."""

    name: str
    kind: str
    size: int


def is_tar(head: bytes) -> bool:
    """True where *head* begins with a tar header, as Python's tarfile takes it: its checksum is right.

    The checksum is the sum of the header's bytes, with or without signs, its own field as blanks.
    """
    if len(head) < BLOCK:
        return False
    stated = _number(head[148:156])
    counted = 256 + sum(head[:148]) + sum(head[156:BLOCK])
    return stated is not None and (stated == counted or stated == 256 + sum(struct.unpack_from("148b8x356b", head)))


def _number(field: bytes) -> int | None:
    """A number of a header, octal or binary; ``None`` where it is none."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)
    try:
        return int(field.split(b"\0", 1)[0].decode("ascii").strip() or "0", 8)
    except ValueError:
        return None


def header_of(raw: bytes) -> Header:
    """A header whose checksum is right. A size that is no number is -1."""
    name, prefix = (raw[start:stop].split(b"\0", 1)[0].decode("latin-1") for start, stop in ((0, 100), (345, 500)))
    kind = raw[156:157].decode("latin-1")
    size = _number(raw[124:136])
    return Header(f"{prefix}/{name}" if prefix else name, "0" if kind == "\0" else kind, -1 if size is None else size)


def may_be_pytorch(source: Source) -> bool:
    """True for a tar with a member that PyTorch wrote before 0.4, a link even, or one whose members cannot be told.

    source: one that begins with the header of a tar.
    """
    names: set[str] = set()
    try:
        read_members(source, names)
    except LoadError:
        return True
    return any(name.removeprefix("./").rstrip("/").lower() in WANTED for name in names)


def read_members(source: Source, names: set[str] | None = None) -> dict[str, tuple[int, int]]:
    """Where each file of a tar lies: name → offset and size. Links and devices are passed over: nothing is followed.

    names: gets those of all members. Raises ``LoadError`` where the tar is damaged, has two files of one name or a file of two
    names, or says otherwise than in a header how long one is.
    """

    def wrong(reason: str, advice: str = HOSTILE) -> LoadError:
        return LoadError(source.shown, f"is a tar archive {reason}", advice)

    found: dict[str, tuple[int, int]] = {}
    place = 0
    stated: list[str] = []  # the names that the headers in front of a member give it
    for _ in range(2 * _MEMBERS):
        if place + BLOCK > source.size:
            return found
        raw = source.read(place, BLOCK)
        if not any(raw):
            return found
        if not is_tar(raw):
            raise wrong(f"with a damaged header at byte {place}", "fetch it again")
        header = header_of(raw)
        name, size = stated[0] if stated else header.name, header.size
        label = repr(visible(name, 60))
        if size < 0 or place + BLOCK + size > source.size:
            raise wrong(f"that ends inside of its member {label}", "it is cut short; fetch it again")
        body, place = place + BLOCK, place + BLOCK + -(-size // BLOCK) * BLOCK
        if header.kind in "xgLK":
            if size > _EXTENDED:
                raise wrong(f"with {size} bytes of names")
            told = source.read(body, size)
            if header.kind == "L":
                stated.append(told.split(b"\0", 1)[0].decode("utf-8", "surrogateescape"))
            elif header.kind in "xg":
                stated += _named(told, header.kind, wrong)
            if len(stated) > 1 or not all(stated):
                raise wrong(f"with a member of {len(stated)} names, {label} among them", "readers take it differently")
            continue
        stated = []
        if names is not None:
            names.add(name)
        if header.kind == "S":
            raise wrong(f"with a sparse file {label}", "pack it again without sparse files")
        if header.kind in ("0", "7") and not name.endswith("/"):
            if name in found:
                raise wrong(f"with two files named {label}")
            found[name] = body, size
            if len(found) > _MEMBERS:
                break
        elif size and header.kind not in "123456":
            raise wrong(f"with a member {label} of type {visible(header.kind)!r}, which readers take differently")
        elif size:
            raise wrong(f"with a link or folder {label} that holds bytes")
    raise wrong(f"of more than {_MEMBERS:,} members", "it is not a checkpoint, or it is hostile")


def _named(raw: bytes, kind: str, wrong: Callable[..., LoadError]) -> list[str]:
    """The names that a pax header gives the next member, none in most. Raises ``LoadError``."""
    done = 0
    names: list[str] = []
    while done < len(raw):
        entry = _PAX.match(raw, done)
        end = done + int(entry[1]) if entry else 0
        if entry is None or not entry.end() < end <= len(raw) or raw[end - 1 : end] != b"\n":
            raise wrong("with a damaged pax header")
        key, value = entry[2].decode("utf-8", "replace"), raw[entry.end() : end - 1]
        if key.startswith(_LENGTHS) or (kind == "g" and key in ("path", "linkpath", "hdrcharset")):
            raise wrong(f"whose pax header sets {visible(key, 40)!r} of a member, which readers take differently")
        if key == "path":
            names.append(value.decode("utf-8", "surrogateescape"))
        done = end
    return names
