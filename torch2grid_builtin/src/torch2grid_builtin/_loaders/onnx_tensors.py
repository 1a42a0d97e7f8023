"""The tensors of ONNX: what a ``TensorProto`` says, and where its numbers are. Format: ``onnx/onnx.proto``."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.storages import Float4
from torch2grid_builtin._loaders.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Field,
    Messages,
    Narrowed,
    packed_varints,
    signed,
)
from torch2grid_core import LazyTensor, LoadError
from torch2grid_core.sources import BytesStorage, DerivedNumbers, Joined, Range, Source, Storage
from torch2grid_core.text import visible

NAME_BYTES = 1 << 16
_SINGLE = 1_000_000  # numbers that stand each in a field of its own, which no writer of today does
_HOSTILE = "it is damaged or hostile"
_LONGEST = 4096  # bytes of the name of a file
_WIDEST = 1 << 62
_DIGITS = 20
STRING = 8
INT4, UINT4, FLOAT4, UINT2, INT2 = 22, 21, 23, 25, 26
# Number of the type → its numpy dtype, and the field that holds its numbers where they are not raw.
_FLOATS, _INT32, _INT64, _DOUBLES, _UINT64 = 4, 5, 7, 10, 11
_DTYPES: dict[int, tuple[np.dtype[Any], int]] = {
    1: (np.dtype("f4"), _FLOATS),
    2: (np.dtype("u1"), _INT32),
    3: (np.dtype("i1"), _INT32),
    4: (np.dtype("u2"), _INT32),
    5: (np.dtype("i2"), _INT32),
    6: (np.dtype("i4"), _INT32),
    7: (np.dtype("i8"), _INT64),
    9: (np.dtype("?"), _INT32),
    10: (np.dtype("f2"), _INT32),
    11: (np.dtype("f8"), _DOUBLES),
    12: (np.dtype("u4"), _UINT64),
    13: (np.dtype("u8"), _UINT64),
    14: (np.dtype("c8"), _FLOATS),
    15: (np.dtype("c16"), _DOUBLES),
    16: (np.dtype(ml_dtypes.bfloat16), _INT32),
    17: (np.dtype(ml_dtypes.float8_e4m3fn), _INT32),
    18: (np.dtype(ml_dtypes.float8_e4m3fnuz), _INT32),
    19: (np.dtype(ml_dtypes.float8_e5m2), _INT32),
    20: (np.dtype(ml_dtypes.float8_e5m2fnuz), _INT32),
    24: (np.dtype(ml_dtypes.float8_e8m0fnu), _INT32),
}
_SMALL = {UINT4: (4, False), INT4: (4, True), FLOAT4: (4, False), UINT2: (2, False), INT2: (2, True)}
_TYPED = {_FLOATS: FIXED32, _INT32: VARINT, _INT64: VARINT, _DOUBLES: FIXED64, _UINT64: VARINT}
_SINGULAR = {2: "type", 8: "name", 9: "numbers", 14: "place"}


@dataclass
class Stated:
    """What a ``TensorProto`` says. parts: by field, where its packed numbers lie, or those of fields of their own."""

    name: str = ""
    dims: list[int] = field(default_factory=list)
    kind: int = 0
    raw: Field | None = None
    parts: dict[int, list[Field | list[int]]] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)
    elsewhere: bool = False
    texts: bool = False

    @property
    def count(self) -> int:
        return math.prod(self.dims)


def read_stated(messages: Messages, place: Field) -> Stated:
    """The ``TensorProto`` in a field. Raises ``LoadError`` where it contradicts itself."""
    if place.wire != BYTES:
        raise messages.fail("has a tensor that is not a message")
    found, seen, single = Stated(), set[int](), 0
    for each in messages.fields(place.start, place.size):
        number = each.number
        if number in _SINGULAR:
            if number in seen:
                raise messages.fail(f"states the {_SINGULAR[number]} of a tensor twice", _HOSTILE)
            seen.add(number)
        if number == 1:
            found.dims += _integers(messages, each)
            if len(found.dims) > limits.DIMENSIONS:
                raise messages.fail(f"has a tensor of more than {limits.DIMENSIONS} dimensions", _HOSTILE)
        elif number == 2 and each.wire == VARINT:
            found.kind = each.value
        elif number == 3:
            raise messages.fail("has a tensor in segments, which no reader of ONNX knows")
        elif number == 6:
            found.texts = True
        elif number == 8:
            found.name = messages.text(each, NAME_BYTES)
        elif number == 9 and each.wire == BYTES:
            found.raw = each
        elif number == 13:
            _add_entry(messages, each, found.external)
        elif number == 14 and each.wire == VARINT:
            found.elsewhere = each.value == 1
        elif number in _TYPED:
            single += each.wire != BYTES
            if single > _SINGLE:
                raise messages.fail(f"has a tensor of more than {_SINGLE:,} numbers that are not packed", _HOSTILE)
            _add_numbers(messages, each, found.parts.setdefault(number, []))
        elif number in (2, 9, 14):
            raise messages.fail(f"states the {_SINGULAR[number]} of a tensor in a way that ONNX does not have")
    return found


def _integers(messages: Messages, each: Field) -> list[int]:
    """The lengths in a field, one or packed."""
    if each.wire == VARINT:
        return [signed(each.value)]
    if each.wire != BYTES or each.size > limits.DIMENSIONS * 10:
        raise messages.fail("has a tensor whose dimensions are not numbers", _HOSTILE)
    packed = packed_varints(BytesStorage(messages.read(each.start, each.size)), messages.fail)
    return [int(value) for value in packed.elements(0, packed.count).view(np.int64)] if packed.count else []


def _add_numbers(messages: Messages, each: Field, parts: list[Field | list[int]]) -> None:
    if each.wire == BYTES:
        parts.append(each)
        return
    wire = _TYPED[each.number]
    if each.wire != wire:
        raise messages.fail("has numbers of another type than their field", _HOSTILE)
    value = each.value if wire == VARINT else int.from_bytes(messages.read(each.start, each.size), "little")
    if parts and isinstance(parts[-1], list):
        parts[-1].append(value)
    else:
        parts.append([value])


def _add_entry(messages: Messages, place: Field, entries: dict[str, str]) -> None:
    """A key and its value, of those that say where the numbers lie."""
    if place.wire != BYTES:
        raise messages.fail("has a place of a tensor that is not a message")
    texts = {1: "", 2: ""}
    for each in messages.fields(place.start, place.size):
        if each.number in texts:
            texts[each.number] = messages.text(each, _LONGEST)
    if texts[1] in entries or len(entries) > 100:
        raise messages.fail(f"states {visible(texts[1], 40)!r} of a tensor's place twice", _HOSTILE)
    entries[texts[1]] = texts[2]


class Tensors:
    """Makes lazy tensors of what is stated; files beside are looked for once."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self._files: dict[str, Source] = {}

    def make(self, stated: Stated, name: str) -> LazyTensor | str:
        """The tensor, or the reason why it is none that can be drawn. Raises ``LoadError`` where it is wrong."""
        label = repr(visible(name, 80))
        if stated.kind == STRING:
            return "a tensor of texts"
        if stated.kind not in _DTYPES and stated.kind not in _SMALL:
            return f"a tensor of the type number {stated.kind}, which is not known"
        if min(stated.dims, default=0) < 0 or stated.count >= _WIDEST:
            raise self.messages.fail(f"has a tensor {label} of the impossible shape {stated.dims}", _HOSTILE)
        dtype, typed = _DTYPES.get(stated.kind, (np.dtype("u1"), _INT32))
        bits, is_signed = _SMALL.get(stated.kind, (0, False))
        needed = -(-stated.count * bits // 8) if bits else stated.count * dtype.itemsize
        storage = self._storage(stated, label, needed, dtype, typed, bits)
        shape = tuple(stated.dims)
        if not bits:
            return LazyTensor(name, shape, dtype, storage)
        if stated.kind == FLOAT4:
            return LazyTensor(name, shape, Float4.dtype, Float4(storage, stated.count), note="float4, two a byte")
        small = SignedSmall if is_signed else UnsignedSmall
        note = f"{'int' if is_signed else 'uint'}{bits}, {8 // bits} a byte"
        return LazyTensor(name, shape, small.dtype, small(storage, stated.count, bits), note=note)

    def _storage(self, stated: Stated, label: str, needed: int, dtype: np.dtype[Any], typed: int, bits: int) -> Storage:
        """The numbers, *needed* bytes of them. Raises ``LoadError`` unless they are there once, as many as the shape needs."""
        places = [*stated.parts, *([9] if stated.raw is not None else []), *([13] if stated.elsewhere else [])]
        if len(places) > 1:
            raise self.messages.fail(f"has the numbers of tensor {label} twice, in different fields", _HOSTILE)
        if stated.elsewhere:
            return self._external(stated, label, needed)
        if stated.raw is not None:
            storage: Storage = Range(self.messages.source, stated.raw.start, stated.raw.size)
        elif stated.parts:
            if typed not in stated.parts:
                raise self.messages.fail(f"has the numbers of tensor {label} in a field of another type", _HOSTILE)
            storage = self._typed(stated.parts[typed], typed, np.dtype("u1") if bits else dtype)
        else:
            storage = BytesStorage(b"")
        if storage.size != needed:
            raise self.messages.fail(f"has {storage.size} bytes of tensor {label}, whose shape needs {needed}", _HOSTILE)
        return storage

    def _typed(self, parts: Sequence[Field | list[int]], typed: int, dtype: np.dtype[Any]) -> Storage:
        """The numbers of a typed field, as the bytes of *dtype*."""
        source = self.messages.source
        width = {FIXED32: 4, FIXED64: 8, VARINT: 8}[_TYPED[typed]]
        made: list[Storage] = []
        for part in parts:
            if isinstance(part, list):
                made.append(BytesStorage(np.array(part, f"<u{width}").tobytes()))
            elif _TYPED[typed] == VARINT:
                made.append(packed_varints(Range(source, part.start, part.size), self.messages.fail))
            elif part.size % width:
                raise self.messages.fail(f"has {part.size} bytes of numbers of {width} bytes", _HOSTILE)
            else:
                made.append(Range(source, part.start, part.size))
        whole = made[0] if len(made) == 1 else Joined(made)
        if _TYPED[typed] != VARINT:
            return whole
        return Narrowed(whole, whole.size // 8, f"<u{dtype.itemsize}")

    def _external(self, stated: Stated, label: str, needed: int) -> Storage:
        """The numbers in a file beside the model's."""
        location = stated.external.get("location", "")
        offset = self._number(stated, "offset", label) or 0
        length = self._number(stated, "length", label)
        found = self._files.get(location)
        if found is None:
            found = self._files[location] = self._beside(location, label)
        length = found.size - offset if length is None else length
        if length != needed:
            raise self.messages.fail(f"has {length} bytes of tensor {label}, whose shape needs {needed}", _HOSTILE)
        if offset + length > found.size:
            reason = f"has {found.size} bytes, and the tensor {label} claims {offset}–{offset + length}"
            raise LoadError(found.shown, reason, "it is cut short, or of another model; fetch both again")
        return Range(found, offset, length)

    def _number(self, stated: Stated, key: str, label: str) -> int | None:
        text = stated.external.get(key, "")
        if not text:
            return None
        if not (text.isascii() and text.isdecimal()) or len(text) > _DIGITS:
            raise self.messages.fail(
                f"states the {key} {visible(text, 40)!r} of tensor {label}, which is not a number", _HOSTILE
            )
        return int(text)

    def _beside(self, location: str, label: str) -> Source:
        """The file *location*, which must lie below the folder of the model. Raises ``LoadError``."""
        source = self.messages.source
        told = repr(visible(location, 80))
        windows, posix = PureWindowsPath(location), PurePosixPath(location)
        outside = windows.drive or windows.root or posix.is_absolute() or ".." in (*windows.parts, *posix.parts)
        if outside or "\0" in location or not posix.parts:
            raise self.messages.fail(f"keeps the tensor {label} outside its folder: {told}", "it is hostile or damaged")
        if source.folder is None:
            reason = f"keeps the tensor {label} in {told} beside it, and its folder is not known"
            raise self.messages.fail(reason, "give the path of the model in its folder")
        try:
            found = source.folder.child(str(posix))
        except LoadError as error:
            reason = f"keeps the tensor {label} in {told}, which is not there"
            raise self.messages.fail(reason, "fetch that file, too, into the same folder") from error
        if found.is_folder:
            raise self.messages.fail(f"keeps the tensor {label} in {told}, which is a folder")
        if _leaves(source, found):
            raise self.messages.fail(f"keeps the tensor {label} in {told}, a link that leaves its folder", "it is hostile")
        return found


def _leaves(model: Source, found: Source) -> bool:
    """True where the file is reached by a link to elsewhere.

    A cache of Hugging Face's has links to one folder of files, the model's among them: these stay beside each other.
    """
    path, beside = getattr(found, "path", None), getattr(model, "path", None)
    if path is None or beside is None:
        return False
    real = os.path.realpath(path)
    roots = {os.path.realpath(os.path.dirname(os.path.abspath(beside))), os.path.dirname(os.path.realpath(beside))}
    return not any(os.path.commonpath([root, real]) == root for root in roots)


@dataclass(frozen=True)
class UnsignedSmall(DerivedNumbers):
    """Integers of 4 or 2 bits, the first in the low bits of a byte, as one a byte."""

    inner: Storage
    count: int
    bits: int
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.uint8)

    def elements(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        each = 8 // self.bits
        first, last = start // each, -(-stop // each)
        packed = self.read(first, last - first)
        codes = np.stack([packed >> (self.bits * index) & ((1 << self.bits) - 1) for index in range(each)], axis=1)
        found: np.ndarray[Any, Any] = codes.reshape(-1)[start - first * each : stop - first * each]
        return found


@dataclass(frozen=True)
class SignedSmall(UnsignedSmall):
    """The same, in two's complement."""

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.int8)

    def elements(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        half = 1 << (self.bits - 1)
        return ((super().elements(start, stop).astype(np.int8) ^ half) - half).astype(np.int8)
