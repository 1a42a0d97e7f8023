"""The header of a GGUF file, read with bounds: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from torch2grid_core import LoadError
from torch2grid_core.sources import Source

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_WINDOW = 1 << 20
_MOST_STRINGS = 1 << 24  # of one array; the largest vocabularies have less than a million
_MOST_DIMS = 8
_MOST_TENSORS = 500_000  # no model has as many, and each costs memory
_LONGEST_TEXT = 1 << 20
_DEEPEST = 4


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header describes it. shape: outermost first; kind: the number of its ggml type; offset: in the data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True)
class Header:
    """version, byte order (``<`` or ``>``), text of the metadata, the tensors, and where their data begins."""

    version: int
    order: str
    metadata: dict[str, str]
    tensors: tuple[TensorInfo, ...]
    data: int


def read_header(source: Source) -> Header:
    """The header of *source*. Raises ``LoadError`` for a file that is not GGUF, or whose header does not fit in it."""
    if source.read(0, min(4, source.size)) != MAGIC:
        raise LoadError(source.shown, "is not a GGUF file", "give the path of a .gguf file")
    cursor = _Cursor(source, 4)
    version = cursor.scalar("I")
    if version & 0xFFFF == 0:
        cursor.order, version = ">", int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in VERSIONS:
        raise cursor.error(f"is GGUF version {version}; versions 2 and 3 can be read")
    tensors, pairs = cursor.count(24, "tensors"), cursor.count(13, "metadata entries")
    if tensors > _MOST_TENSORS:
        raise cursor.error(f"describes {tensors:,} tensors, more than any model has")
    metadata: dict[str, str] = {}
    alignment = 32
    for _ in range(pairs):
        key, value = cursor.text(), cursor.value(cursor.scalar("I"))
        metadata[key] = str(value)
        if key == "general.alignment":
            alignment = value
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise cursor.error(f"has an alignment of {alignment!r}, not a power of two")
    infos = [cursor.tensor() for _ in range(tensors)]
    return Header(version, cursor.order, metadata, tuple(infos), -(-cursor.place // alignment) * alignment)


class _Cursor:
    """Reads a source from front to back, a window at a time."""

    def __init__(self, source: Source, place: int) -> None:
        self.source, self.place, self.order = source, place, "<"
        self._window, self._start = b"", place

    def error(self, reason: str) -> LoadError:
        return LoadError(self.source.shown, reason, "the file is damaged, or not GGUF; fetch it again")

    def take(self, size: int) -> bytes:
        """The next *size* bytes. Raises ``LoadError`` where the file ends before."""
        if size > self.source.size - self.place:
            raise self.error(f"its header needs {size:,} bytes at byte {self.place:,} of {self.source.size:,}")
        first = self.place - self._start
        if first < 0 or first + size > len(self._window):
            length = min(max(size, _WINDOW), self.source.size - self.place)
            self._window, self._start, first = self.source.read(self.place, length), self.place, 0
        self.place += size
        return self._window[first : first + size]

    def skip(self, size: int) -> None:
        if size > self.source.size - self.place:
            raise self.error(f"its header needs {size:,} bytes at byte {self.place:,} of {self.source.size:,}")
        self.place += size

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack(self.order + code, self.take(struct.calcsize(self.order + code)))
        return value

    def count(self, least: int, what: str) -> int:
        """A number of things that take *least* bytes each, which the rest of the file has room for."""
        number = int(self.scalar("Q"))
        if number > (self.source.size - self.place) // least:
            raise self.error(f"claims {number:,} {what} in {self.source.size:,} bytes")
        return number

    def text(self) -> str:
        size = self.count(1, "characters of a text")
        if size > _LONGEST_TEXT:
            raise self.error(f"has a name or text of {size:,} bytes")
        return self.take(size).decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """A value of the metadata; an array is passed over and described."""
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            size = self.count(1, "characters of a text")
            if size <= _LONGEST_TEXT:
                return self.take(size).decode("utf-8", "replace")
            self.skip(size)  # a chat template, say
            return f"a text of {size:,} bytes"
        if kind != _ARRAY or depth >= _DEEPEST:
            raise self.error(f"has a metadata value of the unknown type {kind}")
        return self._array(depth)

    def _array(self, depth: int) -> str:
        kind = self.scalar("I")
        if kind in _SCALARS:
            width = struct.calcsize(self.order + _SCALARS[kind])
            number = self.count(width, "values of an array")
            self.skip(number * width)
            return f"{number:,} numbers"
        number = self.count(8, "values of an array")
        if number > _MOST_STRINGS:
            raise self.error(f"has an array of {number:,} texts")
        for _ in range(number):
            if kind == _STRING:
                self.skip(self.count(1, "characters of a text"))
            else:
                self.value(kind, depth + 1)
        return f"{number:,} texts" if kind == _STRING else f"{number:,} arrays"

    def tensor(self) -> TensorInfo:
        name, dims = self.text(), self.scalar("I")
        if dims > _MOST_DIMS:
            raise self.error(f"has a tensor of {dims:,} dimensions")
        lengths = [int(self.scalar("Q")) for _ in range(dims)]
        return TensorInfo(name, tuple(reversed(lengths)), self.scalar("I"), int(self.scalar("Q")))
