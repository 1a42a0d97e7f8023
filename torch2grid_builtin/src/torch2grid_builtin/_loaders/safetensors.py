"""safetensors files. Format: https://github.com/huggingface/safetensors#format, checked as strictly as its own reader."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple

import ml_dtypes
import numpy as np

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import begins_program
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.report import refusal
from torch2grid_builtin._inert.storages import Float4, Float6
from torch2grid_builtin._loaders.naming import tensor_name
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import ByteSwapped, Range, Skip, Source, Storage, ahead_of
from torch2grid_core.text import visible

HEADER_BYTES = 100_000_000
_PREFETCHED = 1 << 20  # bytes of a header that comes while others are read
_STRUCTURE = 4_000_000  # commas, colons and brackets of a header, each of which costs memory when parsed
_CUT = "the file is cut short; fetch it again"
_WRONG = "the file is damaged or was not written by safetensors"

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("f8"),
    "F32": np.dtype("f4"),
    "F16": np.dtype("f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("i8"),
    "I32": np.dtype("i4"),
    "I16": np.dtype("i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("u8"),
    "U32": np.dtype("u4"),
    "U16": np.dtype("u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
    "C64": np.dtype("c8"),
    "C128": np.dtype("c16"),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
}
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_FIELDS = ("dtype", "shape", "data_offsets")
_WORD = 2**64  # what the library's numbers stay below
_WIDE = 2**63  # and numpy's
_NESTED = 127  # brackets within brackets that the library reads
SHARDING_BYTES = 64 << 20  # bytes of what torch.distributed.checkpoint says of a file's slices
_DIGITS = 400  # of a whole number; the library reads none of so many
_LONG, _DIGITS_ALIKE = b"0" * 19, bytes.maketrans(b"123456789", b"000000000")  # a number that may be beyond 64 bits


class Safetensors(Loader):
    """One .safetensors file."""

    name: ClassVar[str] = "safetensors"

    def sniff(self, source: Source) -> int:
        if source.is_folder or source.size < 9:
            return 0
        length = int.from_bytes(source.head[:8], "little")
        start = source.head[8:].lstrip(b" \t\r\n")
        if start.startswith(b"{") and length <= max(HEADER_BYTES, source.size):
            return 2
        named = source.shown.lower().endswith(".safetensors")
        return 1 if named and 0 < length <= source.size - 8 and not source.head.startswith((b"PK\x03\x04", b"version ")) else 0

    def load(self, source: Source, work: Work | None = None) -> Checkpoint:
        actions = Actions()
        header, raw = _header(source, work)
        start = len(raw)
        if begins_program(raw, Range(source, start, source.size - start), actions):
            raise LoadError(source.shown, refusal("is a pickle, too, which runs code", actions), "it is hostile")
        metadata = _metadata(source, header)
        skipped: list[Skip] = []
        ranges, placed = [], list[tuple[int, LazyTensor]]()
        for key, info in header.items():
            name = tensor_name(key, header)
            described = _described(source, name, info)
            tensor = _tensor(source, start, described)
            ranges.append((described.first, described.last, name))
            if isinstance(tensor, str):
                skipped.append(Skip(name, tensor, self.name))
            else:
                placed.append((described.first, tensor))
        for name, info in header.replaced:
            _described(source, name, info)
        _check_ranges(source, sorted(ranges), source.size - start)
        if not placed:
            reason = f": {skipped[0].reason}" if skipped else ""
            raise LoadError(source.shown, f"holds no tensors{reason}", "give a checkpoint with weights")
        in_file = [tensor for _, tensor in sorted(placed, key=itemgetter(0))]
        sliced = _slices(metadata)
        twice = dict.fromkeys(name for name, _ in header.replaced)
        notes = [
            f"its header describes {visible(name, 80)} more than once; the last counts, as in the library" for name in twice
        ]
        if sliced:
            notes.append(f"{sliced} is a slice of a larger tensor: the file is a share of a distributed checkpoint")
        return Checkpoint(
            in_file, source=source.shown, format="safetensors", metadata=metadata, skipped=skipped, aliases={}, notes=notes[:10]
        )


def _slices(metadata: Mapping[str, str]) -> str:
    """A tensor that begins inside a larger one, by what torch.distributed.checkpoint writes; else an empty text."""
    stated = metadata.get("DCP_SHARDING_INFO", "")
    try:
        info = json.loads(stated) if len(stated) <= SHARDING_BYTES else None
    except (ValueError, RecursionError):
        info = None
    for name, each in info.items() if isinstance(info, dict) else ():
        offsets = each.get("saved_offsets") if isinstance(each, dict) else None
        if isinstance(offsets, list) and any(type(offset) is int and offset > 0 for offset in offsets):
            return visible(name, 80)
    return ""


class _Header(dict[str, Any]):
    """A JSON object. replaced: (key, value) of those that the same key follows again, which is legal JSON: the last counts."""

    __slots__ = ()
    replaced: Sequence[tuple[str, Any]] = ()


class _Repeated(_Header):
    """A JSON object with a key that follows again."""

    __slots__ = ("replaced",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        last = {key: place for place, (key, _) in enumerate(pairs)}
        self.replaced = tuple((key, value) for place, (key, value) in enumerate(pairs) if last[key] != place)


def _object(pairs: list[tuple[str, Any]]) -> _Header:
    found = _Header(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


class _HeaderError(ValueError):
    pass


def prefetch_header(source: Source) -> None:
    """Let the header come, where the file is one that is read by requests, and the beginning does not hold it."""
    if ahead_of(source) and not source.is_folder and len(source.head) > 8:
        length = int.from_bytes(source.head[:8], "little")
        if len(source.head) < 8 + length <= min(source.size, _PREFETCHED):
            source.prefetch([(0, 8 + length)])


def _header(source: Source, work: Work | None) -> tuple[_Header, bytes]:
    """The parsed header, and the bytes up to the data. work: what is left for the shards of a model. Raises ``LoadError``."""
    if source.size < 8:
        raise LoadError(source.shown, f"has {source.size} bytes, too few for a safetensors file", _CUT)
    stated = source.read(0, 8)
    length = int.from_bytes(stated, "little")
    if length > HEADER_BYTES:
        raise LoadError(source.shown, f"claims a header of {length} bytes; safetensors allows {HEADER_BYTES}", _WRONG)
    if 8 + length > source.size:
        raise LoadError(source.shown, f"claims a header of {length} bytes in a file of {source.size}", _CUT)
    raw = source.read(8, length)
    structure = sum(map(raw.count, (b",", b":", b"[", b"{")))
    if structure > _STRUCTURE:
        raise LoadError(source.shown, "its header describes more tensors than any model has", _WRONG)
    if work is not None:
        try:
            work.pairs(structure)
        except Malformed as error:
            raise LoadError(source.shown, "and the other shards describe more tensors than any model has", _WRONG) from error
    try:
        header = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_fraction,
            parse_int=_whole if b"-0" in raw or _LONG in raw.translate(_DIGITS_ALIKE) else int,
        )
        if b"\\u" in raw:
            _check_texts(header)
    except (ValueError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, _HeaderError) else ""
        raise LoadError(source.shown, f"its header is not the JSON of a safetensors file{reason}", _WRONG) from error
    if not isinstance(header, _Header):
        raise LoadError(source.shown, "its header is JSON, but not a mapping of tensors", _WRONG)
    return header, stated + raw


def _no_constant(text: str) -> Any:
    raise _HeaderError(f"{visible(text, 30)} is not a number of JSON")


def _fraction(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _HeaderError(f"{visible(text, 30)} is out of range")
    return number


def _whole(text: str) -> float:
    """A whole number; as the library, one beyond 64 bits, and −0, as a fraction, which no length or place may be."""
    if len(text) > _DIGITS:
        raise _HeaderError(f"a number of {len(text)} digits is out of range")
    number = int(text)
    return number if number < _WORD and text != "-0" else _fraction(text)


def _check_texts(header: Any) -> None:
    """Raise ``_HeaderError`` where an escape stands for half of a character, which Python's JSON lets pass."""
    pending = [header]
    while pending:
        value = pending.pop()
        if isinstance(value, _Header):
            pending += [*value, *value.values()]
            for key, item in value.replaced:
                pending += [key, item]
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str) and not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise _HeaderError("an escape in it stands for no character") from error


def _metadata(source: Source, header: _Header) -> dict[str, str]:
    """The text metadata, taken out of *header*; ``null`` is none. Raises ``LoadError``."""
    metadata = header.pop("__metadata__", None)
    if any(name == "__metadata__" for name, _ in header.replaced):
        raise LoadError(source.shown, "its header has __metadata__ twice", _WRONG)
    if metadata is None:
        return {}
    values = [*metadata.values(), *(value for _, value in metadata.replaced)] if isinstance(metadata, _Header) else [None]
    if not all(isinstance(value, str) for value in values):
        raise LoadError(source.shown, "its __metadata__ is not a mapping of text to text", _WRONG)
    return dict(metadata)


class _Described(NamedTuple):
    """A tensor as the header describes it; its bytes begin and end at *first* and *last* of the data."""

    name: str
    dtype: str
    shape: list[int]
    first: int
    last: int


def _wrong(source: Source, name: str, reason: str) -> LoadError:
    return LoadError(source.shown, f"tensor {visible(name, 80)!r} {reason}", _WRONG)


def _described(source: Source, name: str, info: Any) -> _Described:
    """What the header says of one tensor. Raises ``LoadError`` where that is no description of a tensor."""

    if isinstance(info, list) and len(info) == len(_FIELDS):
        fields = dict(zip(_FIELDS, info, strict=True))  # the library takes the values alone, in this order
    elif isinstance(info, _Header):
        fields = info
        twice = next((key for key, _ in info.replaced if key in _FIELDS), "") if info.replaced else ""
        if twice:
            raise _wrong(source, name, f"has two {twice}")
        if len(info) > len(_FIELDS) and any(_depth(info[key]) + 2 > _NESTED for key in info.keys() - _FIELDS):
            raise _wrong(source, name, "is described by brackets in brackets without end")
    else:
        raise _wrong(source, name, "is not described by a mapping")
    dtype, shape, offsets = map(fields.get, _FIELDS)
    if isinstance(dtype, _Header) and len(dtype) == 1 and not dtype.replaced and None in dtype.values():
        dtype = next(iter(dtype))  # {"F32": null}, as the library reads it
    if not isinstance(dtype, str):
        raise _wrong(source, name, "has no dtype")
    if not isinstance(shape, list) or {*map(type, shape)} - {int} or min(shape, default=0) < 0:
        raise _wrong(source, name, "has no shape of whole numbers")
    if not isinstance(offsets, list) or len(offsets) != 2 or {*map(type, offsets)} != {int}:
        raise _wrong(source, name, "has no data_offsets of two whole numbers")
    return _Described(name, dtype, shape, *offsets)


def _depth(value: Any) -> int:
    """How many brackets stand within one another in *value*."""
    deepest, pending = 0, [(value, 1)]
    while pending:
        inside, level = pending.pop()
        if isinstance(inside, (list, _Header)):
            deepest = max(deepest, level)
            pending += [(item, level + 1) for item in (inside.values() if isinstance(inside, _Header) else inside)]
    return deepest


def _count(shape: list[int]) -> int:
    """The number of weights, or more than an address can count, without multiplying further."""
    count = 1
    for length in shape:
        count *= length
        if count >= _WORD:
            break
    return count


def _tensor(source: Source, start: int, described: _Described) -> LazyTensor | str:
    """The tensor, or why it is not read. Raises ``LoadError`` where the header lies."""
    name, dtype, shape, first, last = described

    if not 0 <= first <= last:
        raise _wrong(source, name, f"lies at {first}–{last}")
    if start + last > source.size:
        raise LoadError(
            source.shown,
            f"tensor {visible(name, 80)!r} reaches to byte {start + last} of a file of {source.size}",
            _CUT,
        )
    count = _count(shape)
    if count >= _WORD:
        raise _wrong(source, name, "has a shape of more weights than an address can count")
    if dtype not in DTYPES and dtype not in _BITS:
        return f"dtype {visible(dtype, 40)} is not known"
    bits = _BITS.get(dtype) or 8 * DTYPES[dtype].itemsize
    if count * bits != 8 * (last - first):
        raise _wrong(source, name, f"of {count} {dtype} has {last - first} bytes")
    if len(shape) > 64:
        return f"has {len(shape)} dimensions"
    if (count or _count([max(length, 1) for length in shape])) * bits >= 8 * _WIDE:
        return f"has a shape of {max(shape)} that no array can have, though it is empty"
    storage: Storage = Range(source, start + first, last - first)
    if dtype == "F4":
        return LazyTensor(name, tuple(shape), Float4.dtype, Float4(storage, count), note="float4, two a byte")
    if dtype in _BITS:
        unpacked = Float6(storage, count, 3 if dtype == "F6_E2M3" else 2)
        return LazyTensor(name, tuple(shape), unpacked.dtype, unpacked, note=f"{dtype}, four in three bytes")
    kind = DTYPES[dtype]
    if sys.byteorder == "big" and kind.itemsize > 1:
        storage = ByteSwapped(storage, kind.itemsize // (2 if kind.kind == "c" else 1))
    return LazyTensor(name, tuple(shape), kind, storage)


def _check_ranges(source: Source, ranges: list[tuple[int, int, str]], size: int) -> None:
    """Raise ``LoadError`` unless the tensors fill the data one after another."""
    place = 0
    for first, last, name in ranges:
        if first != place:
            what = "overlaps another tensor" if first < place else "leaves a hole in front of it"
            raise LoadError(source.shown, f"tensor {visible(name, 80)!r} {what}", _WRONG)
        place = last
    if place != size:
        raise LoadError(source.shown, f"has {size} bytes of data, but its tensors fill {place}", _WRONG)
