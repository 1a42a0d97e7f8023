"""The items of a distributed checkpoint that hold one plain tensor, known by their bytes: no pickle is interpreted for them.

A checkpoint has thousands, most of them like another one but for the numbers: such a one is compared with what was read of
that one, in two short reads, instead of being opened as an archive.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from torch2grid_builtin._loaders.object_arrays import NUMPY
from torch2grid_builtin._loaders.zip_archive import END, Entry, ZipArchive
from torch2grid_core import LazyTensor
from torch2grid_core.sources import CheckedStorage, Range, Source, verify
from torch2grid_core.text import visible

_SHORT = 4096  # bytes of the pickle of one plain tensor, at most
_STORAGES = {"float32": "FloatStorage", "bfloat16": "BFloat16Storage", "float16": "HalfStorage", "float64": "DoubleStorage"}
_STORAGES |= {"int64": "LongStorage", "int32": "IntStorage", "uint8": "ByteStorage", "int8": "CharStorage"}
_LEARNT = 512  # kinds of items that are kept, each of some 2 KB
_ENDING = 1 << 14  # bytes behind the numbers, at most
_END_STARTS = int.from_bytes(END[:2], "little")
_ID = 40  # digits, which PyTorch makes of the names and checksums of the records


class _Kind(NamedTuple):
    """What all items of a kind have in common: their bytes, the checksums and the digits of their identity blanked.

    crc, id_crc: places in the ending of the checksum of the numbers, and of the identity, which stands at *identity*.
    """

    record: str
    head: bytes
    ending: bytes
    crc: tuple[int, ...]
    identity: int
    id_crc: tuple[int, ...]


_kinds: dict[tuple[Any, ...], _Kind] = {}


def alike(source: Source, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> LazyTensor | None:
    """The tensor of an item that is like one that was opened before; ``None`` where there was none, or it differs anywhere."""
    kind = _kinds.get((source.size, shape, dtype))
    if kind is None:
        return None
    start, tail = len(kind.head), source.tail
    head = source.read(0, start + len(NUMPY))
    ending = tail[-len(kind.ending) :]
    numbers = [ending[place : place + 4] for place in kind.crc]
    told = [ending[place : place + 4] for place in kind.id_crc]
    identity = ending[kind.identity : kind.identity + _ID]
    same = (
        head.startswith(kind.head)
        and not head.startswith(NUMPY, start)
        and len(set(numbers)) == len(set(told)) == 1
        and identity.isdigit()
        and int.from_bytes(told[0], "little") == zlib.crc32(identity)
        and _blanked(ending, kind.crc + kind.id_crc, kind.identity) == kind.ending
        and _has_one_end(tail)
    )
    if not same:
        return None
    inner = Range(source, start, source.size - start - len(ending))
    crc = int.from_bytes(numbers[0], "little")
    return LazyTensor(name, shape, dtype, CheckedStorage(inner, crc, source.shown, repr(visible(kind.record, 80))))


def _has_one_end(tail: bytes) -> bool:
    """True where *tail* has one end record: another one may be the end to another reader."""
    found = 0
    for start in (0, 1):  # pairs of bytes, four times as fast as ``bytes.count``
        pairs = np.frombuffer(tail, "<u2", (len(tail) - start) // 2, start)
        found += sum(tail.startswith(END, start + 2 * at) for at in np.flatnonzero(pairs == _END_STARTS).tolist())
    return found == 1


def _learn(archive: ZipArchive, record: Entry, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Keep what an item that was opened has in common with those of its kind, where it is laid out as PyTorch does it."""
    source = archive.source
    identity = next((each for each in archive.entries.values() if each.name.endswith(".data/serialization_id")), None)
    if identity is None or identity.size != _ID or source.size - record.header > record.size + _ENDING:
        return
    front = source.read(0, min(record.header + _SHORT, source.size))
    _, *_, name_size, extra_size = struct.unpack_from("<26s2H", front, record.header)
    start = record.header + 30 + name_size + extra_size
    ending = source.read(start + record.size, source.size - start - record.size)
    digits = _bytes(archive, identity.name)
    crc, id_crc = (_places(ending, struct.pack("<L", each.crc32)) for each in (record, identity))
    at = _places(ending, digits)
    if start > len(front) or not digits.isdigit() or (len(crc), len(id_crc), len(at)) != (2, 2, 1):
        return
    if len(_kinds) >= _LEARNT:
        _kinds.clear()
    ending = _blanked(ending, crc + id_crc, at[0])
    _kinds[source.size, shape, dtype] = _Kind(record.name, front[:start], ending, crc, at[0], id_crc)


def _places(text: bytes, part: bytes) -> tuple[int, ...]:
    """Where *part* stands in *text*."""
    found, at = [], text.find(part)
    while at >= 0:
        found.append(at)
        at = text.find(part, at + 1)
    return tuple(found)


def _blanked(ending: bytes, numbers: Sequence[int], identity: int) -> bytes:
    """*ending* without the checksums at *numbers* and the digits at *identity*."""
    found = bytearray(ending)
    for place in numbers:
        found[place : place + 4] = bytes(4)
    found[identity : identity + _ID] = bytes(_ID)
    return bytes(found)


def plain(archive: ZipArchive, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> LazyTensor | None:
    """The tensor of an item as ``torch.save`` writes a tensor in C order; ``None`` where it is anything else."""
    pickled = next((each for each in archive.entries if each.endswith("data.pkl")), "")
    folder = pickled[: -len("data.pkl")]
    order, record = archive.entries.get(f"{folder}byteorder"), archive.entries.get(f"{folder}data/0")
    if not pickled or order is None or record is None or order.size > _SHORT or archive.entries[pickled].size > _SHORT:
        return None
    kind = _STORAGES.get(dtype.name)
    if kind is None or len([each for each in archive.entries if each.endswith("data.pkl") or "/data/" in each]) != 2:
        return None
    if record.method or record.size != math.prod(shape) * dtype.itemsize:
        return None
    if _bytes(archive, order.name) != sys.byteorder.encode() or _bytes(archive, pickled) != _pickle(kind, shape):
        return None
    storage = archive.storage(record.name)
    _learn(archive, record, shape, dtype)
    return LazyTensor(name, shape, dtype, storage)


def _bytes(archive: ZipArchive, record: str) -> bytes:
    storage = archive.storage(record)
    raw = bytearray(storage.size)
    storage.read_into(0, memoryview(raw))
    verify(storage)
    return bytes(raw)


def _pickle(kind: str, shape: tuple[int, ...]) -> bytes:
    """The pickle that ``torch.save`` writes of a tensor of *shape* in C order, all of its storage."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    size = _number(math.prod(shape))
    start = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00((X\x07\x00\x00\x00storageq\x01ctorch\n" + kind.encode()
    start += b"\nq\x02X\x01\x00\x00\x000q\x03X\x03\x00\x00\x00cpuq\x04" + size + b"tq\x05QK\x00"
    start += _tuple(shape, 6) + _tuple(strides, 7)
    memo = 8 if shape else 6
    end = b"\x89ccollections\nOrderedDict\nq%c)Rq%ctq%cRq%c." % (memo, memo + 1, memo + 2, memo + 3)
    return start + end


def _tuple(numbers: Sequence[int], memo: int) -> bytes:
    inside = b"".join(map(_number, numbers))
    if len(numbers) > 3:
        return b"(%btq%c" % (inside, memo)
    return b"%b%cq%c" % (inside, 0x84 + len(numbers), memo) if numbers else b")"


def _number(value: int) -> bytes:
    if value < 1 << 16:
        return b"K%c" % value if value < 1 << 8 else b"M" + value.to_bytes(2, "little")
    if value < 1 << 31:
        return b"J" + value.to_bytes(4, "little")
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little")
    return b"\x8a%c" % len(raw) + raw
