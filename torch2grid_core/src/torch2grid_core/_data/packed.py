"""Packed streams: gzip, which is unpacked for every loader, and those that other readers unpack first."""

from __future__ import annotations

import atexit
import bz2
import contextlib
import lzma
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch2grid_core._data.checkpoint import Action
from torch2grid_core._data.local import LocalSource
from torch2grid_core._data.source import Source
from torch2grid_core._errors import LoadError

GZIP = b"\x1f\x8b\x08"
_LENGTH_OF_ZFILE = slice(2, 21)  # a hexadecimal number


_LZMA_MEMORY = 64 << 20  # a header may state any size of dictionary


def _unpack_lzma(head: bytes, form: int) -> None:
    """As much of a stream as gives a byte: a reader may run what stands before the place where it breaks."""
    try:
        lzma.LZMADecompressor(form, memlimit=_LZMA_MEMORY).decompress(head, 1)
    except lzma.LZMAError as error:
        if "limit" not in str(error):
            raise


def _unpack_zfile(head: bytes) -> None:
    """A stream as joblib packed it before 0.10: the length as text, a blank from Python 2, and zlib's. Raises as zlib does."""
    try:
        int(head[_LENGTH_OF_ZFILE], 16)
    except ValueError as error:
        raise zlib.error("no length") from error
    zlib.decompressobj().decompress(head[_LENGTH_OF_ZFILE.stop :].removeprefix(b" "))


_PACKED: tuple[tuple[bytes, str, Callable[[bytes], object]], ...] = (  # what joblib, and others after it, unpack
    (b"\x1f\x8b", "gzip", lambda head: zlib.decompressobj(31).decompress(head)),
    (b"x", "zlib", lambda head: zlib.decompressobj().decompress(head)),
    (b"BZ", "bzip2", lambda head: bz2.BZ2Decompressor().decompress(head, 1)),
    (b"\xfd7zXZ", "xz", lambda head: _unpack_lzma(head, lzma.FORMAT_XZ)),
    (b"]\0", "lzma", lambda head: _unpack_lzma(head, lzma.FORMAT_ALONE)),
    (b'\x04"M\x18', "lz4", len),  # its four bytes alone say it: nothing here unpacks it
    (b"ZF", "joblib's z-file", _unpack_zfile),
)
ALWAYS = 256 << 20  # unpacked bytes that are accepted whatever the ratio
RATIO = 64  # unpacked bytes to packed bytes above that: weights hardly compress, even pruned ones stay below
_STEP = 1 << 20
_MEMBERS = 1000


def packed_again(source: Source) -> Iterator[Action]:
    """That a source which a loader opens begins as a packed stream, too: other readers unpack it first, and read another file.

    The beginning of an honest file may look like one; its bytes do not unpack.
    """
    head = source.head
    for magic, name, unpack in _PACKED:
        if not head.startswith(magic):
            continue
        try:
            unpack(head)
        except (zlib.error, OSError, EOFError, lzma.LZMAError):
            continue
        yield Action("hold", f"a stream packed by {name}, which is not read", "")


def is_gzip(source: Source) -> bool:
    """True where the content is one gzip stream."""
    return source.head.startswith(GZIP)


def unpacked(source: Source) -> Source:
    """A source of the unpacked bytes, which still shows the name of *source*. They are there until Python ends.

    On Linux the file that holds them never has a name, so that nothing is left however Python ends. Raises ``LoadError``
    where the stream is damaged (its CRC-32 and length are checked), unpacks to more than 64 times its size beyond 256 MiB, or
    does not fit on half of the free disk.
    """
    folder = ""
    stream: Any = None
    try:
        bound = min(max(ALWAYS, RATIO * source.size), shutil.disk_usage(tempfile.gettempdir()).free // 2)
        if sys.platform == "linux":
            stream = tempfile.TemporaryFile(prefix="torch2grid-")  # noqa: SIM115 - it is there as long as it is open
            target = Path(f"/proc/{os.getpid()}/fd/{stream.fileno()}")
        else:
            folder = tempfile.mkdtemp(prefix="torch2grid-")
            target = Path(folder) / "unpacked"
            stream = target.open("wb")
        _fill(stream, source, bound)
    except OSError as error:
        _remove(folder, stream)
        reason = f"cannot be unpacked to a temporary file: {error.strerror}"
        raise LoadError(source.shown, reason, "unpack it first") from error
    except BaseException:
        _remove(folder, stream)
        raise
    if folder:
        stream.close()
        atexit.register(_remove, folder, None, os.getpid())
    else:
        atexit.register(stream.close)  # until then it stays open
    return LocalSource(target, shown=source.shown)


def _fill(stream: Any, source: Source, bound: int) -> None:
    """Write the unpacked bytes of *source*. Raises ``LoadError`` where there are more than *bound*, ``OSError``."""
    done = 0
    for piece in _inflate(source):
        done += len(piece)
        if done > bound:
            raise LoadError(source.shown, f"unpacks from {source.size} to more than {bound} bytes", "unpack it first")
        stream.write(piece)
    stream.flush()


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


def _remove(folder: str, stream: Any, owner: int | None = None) -> None:
    if stream is not None:
        with contextlib.suppress(OSError):  # what did not fit on the disk does not fit now
            stream.close()
    if folder and owner in (None, os.getpid()):
        shutil.rmtree(folder, ignore_errors=True)
