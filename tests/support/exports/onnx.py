"""ONNX models as bytes: the wire format written by hand, so that any form of a message can be made."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

KINDS: dict[str, int] = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
    "complex64": 14,
    "complex128": 15,
    "bfloat16": 16,
    "float8_e4m3fn": 17,
    "float8_e4m3fnuz": 18,
    "float8_e5m2": 19,
    "float8_e5m2fnuz": 20,
    "float8_e8m0fnu": 24,
}
SMALL = {"uint4": 21, "int4": 22, "float4_e2m1fn": 23, "uint2": 25, "int2": 26}
STRING = 8


def varint(value: int) -> bytes:
    """A number, negative ones as int64."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(place: int, value: int) -> bytes:
    """A field of a number."""
    return varint(place << 3) + varint(value)


def held(place: int, raw: bytes | str) -> bytes:
    """A field of bytes, a text or a message."""
    raw = raw.encode() if isinstance(raw, str) else raw
    return varint(place << 3 | 2) + varint(len(raw)) + raw


def packed(place: int, values: Iterable[int]) -> bytes:
    """A field of packed varints."""
    return held(place, b"".join(varint(int(value)) for value in values))


def small_bytes(codes: Sequence[int], bits: int) -> bytes:
    """Codes of 4 or 2 bits, the first in the low bits."""
    each = 8 // bits
    padded = [int(code) & ((1 << bits) - 1) for code in codes] + [0] * (-len(codes) % each)
    return bytes(
        sum(code << (bits * index) for index, code in enumerate(padded[at : at + each])) for at in range(0, len(padded), each)
    )


def dims(shape: Sequence[int], form: str = "unpacked") -> bytes:
    return packed(1, shape) if form == "packed" else b"".join(number(1, length) for length in shape)


def external(location: str, offset: int | str | None = None, length: int | str | None = None) -> bytes:
    """The fields that say that the numbers lie in a file."""
    entries = {"location": location, "offset": offset, "length": length}
    told = b"".join(held(13, held(1, key) + held(2, str(value))) for key, value in entries.items() if value is not None)
    return told + number(14, 1)


def numbers(array: np.ndarray[Any, Any], form: str) -> bytes:
    """The fields of the numbers of *array*. form: ``raw``, ``packed``, ``unpacked``, ``split``."""
    if form == "raw":
        return held(9, array.tobytes())
    name = array.dtype.name
    flat = array.reshape(-1)
    if name in ("float32", "complex64", "float64", "complex128"):
        wide = name in ("float64", "complex128")
        parts = flat.view(np.float64 if wide else np.float32)
        place, code, wire = (10, "<d", 1) if wide else (4, "<f", 5)
        each = [struct.pack(code, value) for value in parts]
        encoded = [varint(place << 3 | wire) + one for one in each]
    else:
        place = 7 if name == "int64" else 11 if name in ("uint32", "uint64") else 5
        is_float = array.dtype.kind == "f" or array.dtype.kind == "V"
        codes = flat.view(f"u{array.dtype.itemsize}") if is_float else flat
        each = [varint(int(value)) for value in codes]
        encoded = [varint(place << 3) + one for one in each]
    if form == "packed":
        return held(place, b"".join(each))
    if form == "unpacked":
        return b"".join(encoded)
    half = len(each) // 2
    return held(place, b"".join(each[:half])) + b"".join(encoded[half : half + 1]) + held(place, b"".join(each[half + 1 :]))


def tensor(name: str, array: np.ndarray[Any, Any], form: str = "raw") -> bytes:
    """A ``TensorProto``."""
    return dims(array.shape) + number(2, KINDS[array.dtype.name]) + numbers(array, form) + held(8, name)


def small(name: str, kind: str, shape: Sequence[int], codes: Sequence[int], form: str = "raw") -> bytes:
    """A ``TensorProto`` of numbers of 4 or 2 bits."""
    raw = small_bytes(codes, 2 if kind.endswith("2") else 4)
    where = held(9, raw) if form == "raw" else packed(5, raw)
    return dims(shape) + number(2, SMALL[kind]) + where + held(8, name)


def attribute(name: str, *fields: bytes) -> bytes:
    return held(1, name) + b"".join(fields)


def node(kind: str, outputs: Sequence[str], *attributes: bytes, name: str = "") -> bytes:
    told = b"".join(held(2, output) for output in outputs) + (held(3, name) if name else b"") + held(4, kind)
    return told + b"".join(held(5, each) for each in attributes)


def graph(initialisers: Iterable[bytes] = (), nodes: Iterable[bytes] = (), rest: bytes = b"") -> bytes:
    told = b"".join(held(1, each) for each in nodes) + held(2, "main")
    return told + b"".join(held(5, each) for each in initialisers) + rest


def model(inside: bytes, rest: bytes = b"") -> bytes:
    """A ``ModelProto`` of one graph."""
    opset = held(1, "") + number(2, 18)
    return number(1, 10) + held(2, "writer") + held(7, inside) + held(8, opset) + rest


def arrays(seed: int = 5) -> dict[str, np.ndarray[Any, Any]]:
    """Some numbers of every dtype that a typed field can hold."""
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name in KINDS:
        dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
        raw = rng.integers(0, 256, size=(3, 4, dtype.itemsize), dtype=np.uint8)
        if name == "bool":
            found[name] = (raw[..., 0] & 1).astype(np.bool_)
        elif name in ("float32", "float64", "complex64", "complex128"):
            found[name] = rng.normal(size=(3, 4)).astype(dtype)
        else:
            found[name] = raw.reshape(3, -1).copy().view(dtype)
    return found
