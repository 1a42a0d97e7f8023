"""A gzip-compressed file, unpacked to a temporary one of bounded size."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from torch2grid_core.data.source import Source
from torch2grid_core.errors import LoadError

GZIP = b"\x1f\x8b\x08"
ALWAYS = 256 << 20  # unpacked bytes that are accepted whatever the ratio
RATIO = 64  # unpacked bytes to packed bytes above that: weights hardly compress, even pruned ones stay below
_STEP = 1 << 20
_MEMBERS = 1000


def is_gzip(source: Source) -> bool:
    """True where the content is one gzip stream."""
    return source.head.startswith(GZIP)


def unpacked(source: Source) -> Source:
    """A source of the unpacked bytes, which still shows the name of *source*. The file is removed when Python ends.

    Raises ``LoadError`` where the stream is damaged (its CRC-32 and length are checked), unpacks to more than 64 times
    its size beyond 256 MiB, or does not fit on half of the free disk.
    """
    try:
        folder = tempfile.mkdtemp(prefix="torch2grid-")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _unwritable(source, error) from error
    atexit.register(_remove, folder, os.getpid())
    bound = min(max(ALWAYS, RATIO * source.size), free // 2)
    target = Path(folder) / "unpacked"
    done = 0
    try:
        with open(target, "wb") as file:
            for piece in _inflate(source):
                done += len(piece)
                if done > bound:
                    raise LoadError(source.shown, f"unpacks from {source.size} to more than {bound} bytes", "unpack it first")
                file.write(piece)
    except OSError as error:
        _remove(folder, os.getpid())
        raise _unwritable(source, error) from error
    except LoadError:
        _remove(folder, os.getpid())
        raise
    return Source(target, shown=source.shown)


def _unwritable(source: Source, error: OSError) -> LoadError:
    return LoadError(source.shown, f"cannot be unpacked to a temporary file: {error.strerror}", "unpack it first")


def _inflate(source: Source) -> Iterator[bytes]:
    damaged = LoadError(source.shown, "is a damaged gzip file", "fetch it again")
    unpacker, members = zlib.decompressobj(31), 1
    for offset in range(0, source.size, _STEP):
        pending = source.read(offset, min(_STEP, source.size - offset))
        while pending:
            if unpacker.eof:  # another member follows, or the padding that tapes and some tools leave
                pending = pending.lstrip(b"\0")
                if not pending:
                    break
                unpacker, members = zlib.decompressobj(31), members + 1
                if members > _MEMBERS:
                    raise LoadError(source.shown, "is a gzip file in thousands of pieces", "unpack it first")
            try:
                yield unpacker.decompress(pending, _STEP)
            except zlib.error as error:
                raise damaged from error
            pending = unpacker.unconsumed_tail or unpacker.unused_data
    while not unpacker.eof:
        rest = unpacker.decompress(b"", _STEP)
        if not rest:
            raise LoadError(source.shown, "is a gzip file that is cut short", "fetch it again")
        yield rest


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
