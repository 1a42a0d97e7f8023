"""Streams that Zstandard packed, with whatever of its readers is installed: Python 3.14 has one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

from torch2grid_core import LoadError

_STEP = 1 << 20
_PYTHONS = ("compression.zstd", "backports.zstd", "pyzstd")  # whose readers are called alike


def unpacked(read: Callable[[int], bytes], shown: str) -> Iterator[bytes]:
    """The unpacked bytes of what *read* gives so many bytes of, in pieces of at most a megabyte.

    Raises ``LoadError`` where it is damaged, and where no reader is installed.
    """
    for name in _PYTHONS:
        module = _module(name)
        if module is not None:
            errors = tuple(getattr(module, each) for each in ("ZstdError",) if hasattr(module, each))
            return _guarded(_by_turns(module.ZstdDecompressor, read), (*errors, EOFError, ValueError), shown)
    module = _module("zstandard")
    if module is not None:
        return _guarded(_by_reader(module, read), (module.ZstdError, ValueError), shown)
    raise LoadError(shown, "is packed with Zstandard", "pip install zstandard reads it")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _guarded(pieces: Iterator[bytes], errors: tuple[type[Exception], ...], shown: str) -> Iterator[bytes]:
    try:
        yield from pieces
    except errors as error:
        raise LoadError(shown, "holds a stream of Zstandard that is damaged", "fetch it again") from error


def _by_turns(reader: Any, read: Callable[[int], bytes]) -> Iterator[bytes]:
    unpacker = reader()
    while True:
        raw = b""
        if unpacker.eof:  # another frame may follow
            raw = unpacker.unused_data or read(_STEP)
            if not raw:
                return
            unpacker = reader()
        elif unpacker.needs_input:
            raw = read(_STEP)
            if not raw:
                return
        piece = unpacker.decompress(raw, _STEP)
        if piece:
            yield piece


class _File:
    """What ``zstandard`` reads from."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read


def _by_reader(module: Any, read: Callable[[int], bytes]) -> Iterator[bytes]:
    reader = module.ZstdDecompressor().stream_reader(_File(read), read_across_frames=True)
    while piece := reader.read(_STEP):
        yield piece
