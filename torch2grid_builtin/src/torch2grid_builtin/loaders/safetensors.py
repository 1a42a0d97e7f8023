"""safetensors files. Format: https://github.com/huggingface/safetensors#format, checked as strictly as its own reader."""

from __future__ import annotations

import json
import math
import sys
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from torch2grid_builtin.inert.storages import Float4, Float6
from torch2grid_builtin.loaders.naming import tensor_name
from torch2grid_core import ByteSwapped, Checkpoint, LazyTensor, Loader, LoadError, Skip, Source, Storage, visible

HEADER_BYTES = 100_000_000
_STRUCTURE = 6_000_000  # commas and brackets of a header, each of which costs memory when parsed
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
_WIDE = 2**63


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

    def load(self, source: Source) -> Checkpoint:
        header, start = _header(source)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise LoadError(source.shown, "its __metadata__ is not a mapping of text to text", _WRONG)
        tensors: dict[str, LazyTensor] = {}
        skipped: list[Skip] = []
        ranges = []
        for key, info in header.items():
            name = tensor_name(key, header)
            tensor, first, last = _tensor(source, start, name, info)
            ranges.append((first, last, name))
            if isinstance(tensor, str):
                skipped.append(Skip(name, tensor, self.name))
            else:
                tensors[name] = tensor
        _check_ranges(source, sorted(ranges), source.size - start)
        if not tensors:
            reason = f": {skipped[0].reason}" if skipped else ""
            raise LoadError(source.shown, f"holds no tensors{reason}", "give a checkpoint with weights")
        in_file = sorted(tensors.values(), key=lambda tensor: _place(tensor))
        return Checkpoint(in_file, source=source.shown, format="safetensors", metadata=metadata, skipped=skipped, aliases={})


def _place(tensor: LazyTensor) -> int:
    storage: Any = tensor.storage
    while hasattr(storage, "inner"):
        storage = storage.inner
    return int(storage.offset)


def _header(source: Source) -> tuple[dict[str, Any], int]:
    """The parsed header, and where the data begin. Raises ``LoadError``."""
    if source.size < 8:
        raise LoadError(source.shown, f"has {source.size} bytes, too few for a safetensors file", _CUT)
    length = int.from_bytes(source.read(0, 8), "little")
    if length > HEADER_BYTES:
        raise LoadError(source.shown, f"claims a header of {length} bytes; safetensors allows {HEADER_BYTES}", _WRONG)
    if 8 + length > source.size:
        raise LoadError(source.shown, f"claims a header of {length} bytes in a file of {source.size}", _CUT)
    raw = source.read(8, length)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > _STRUCTURE:
        raise LoadError(source.shown, "its header describes more tensors than any model has", _WRONG)
    try:
        header = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_no_constant
        )
    except (ValueError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, _HeaderError) else ""
        raise LoadError(source.shown, f"its header is not the JSON of a safetensors file{reason}", _WRONG) from error
    if not isinstance(header, dict):
        raise LoadError(source.shown, "its header is JSON, but not a mapping of tensors", _WRONG)
    return header, 8 + length


class _HeaderError(ValueError):
    pass


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _HeaderError("a name stands in it twice")
    return made


def _no_constant(text: str) -> Any:
    raise _HeaderError(f"{visible(text, 30)} is not a whole number")


def _tensor(source: Source, start: int, name: str, info: Any) -> tuple[LazyTensor | str, int, int]:
    """The tensor (or why it is not read) and its range in the data. Raises ``LoadError`` where the header lies."""

    def wrong(reason: str) -> LoadError:
        return LoadError(source.shown, f"tensor {visible(name, 80)!r} {reason}", _WRONG)

    if not isinstance(info, dict):
        raise wrong("is not described by a mapping")
    dtype, shape, offsets = info.get("dtype"), info.get("shape"), info.get("data_offsets")
    if not isinstance(dtype, str):
        raise wrong("has no dtype")
    if not isinstance(shape, list) or not all(type(length) is int and 0 <= length < _WIDE for length in shape):
        raise wrong("has no shape of whole numbers")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(place) is int for place in offsets):
        raise wrong("has no data_offsets of two whole numbers")
    first, last = offsets
    if not 0 <= first <= last:
        raise wrong(f"lies at {first}–{last}")
    if start + last > source.size:
        raise LoadError(
            source.shown,
            f"tensor {visible(name, 80)!r} reaches to byte {start + last} of a file of {source.size}",
            _CUT,
        )
    if len(shape) > 1000 or (count := math.prod(shape)) >= _WIDE:  # the product of millions of lengths takes hours
        raise wrong("has a shape of more weights than an address can count")
    if dtype not in DTYPES and dtype not in _BITS:
        return f"dtype {visible(dtype, 40)} is not known", first, last
    bits = _BITS.get(dtype) or 8 * DTYPES[dtype].itemsize
    if count * bits != 8 * (last - first):
        raise wrong(f"of {count} {dtype} has {last - first} bytes")
    if len(shape) > 64:
        return f"has {len(shape)} dimensions", first, last
    storage: Storage = source.storage(start + first, last - first)
    if dtype == "F4":
        return LazyTensor(name, tuple(shape), Float4.dtype, Float4(storage, count), note="float4, two a byte"), first, last
    if dtype in _BITS:
        unpacked = Float6(storage, count, 3 if dtype == "F6_E2M3" else 2)
        return LazyTensor(name, tuple(shape), unpacked.dtype, unpacked, note=f"{dtype}, four in three bytes"), first, last
    kind = DTYPES[dtype]
    if sys.byteorder == "big" and kind.itemsize > 1:
        storage = ByteSwapped(storage, kind.itemsize // (2 if kind.kind == "c" else 1))
    return LazyTensor(name, tuple(shape), kind, storage), first, last


def _check_ranges(source: Source, ranges: list[tuple[int, int, str]], size: int) -> None:
    """Raise ``LoadError`` unless the tensors fill the data one after another."""
    place = 0
    for first, last, name in ranges:
        if first != place:
            what = "overlaps another tensor" if first < place else "leaves a hole in front of it"
            raise LoadError(source.shown, f"tensor {visible(name, 80)!r} {what}", _WRONG)
        place = last
    if place != size:
        raise LoadError(source.shown, f"has {size} bytes of data, its tensors fill {place}", _WRONG)
