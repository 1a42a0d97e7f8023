"""The items of a distributed checkpoint: each is what ``torch.save`` writes, at some place of a ``.distcp`` file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid_builtin._inert.limits import INFLATE_ALWAYS, INFLATE_RATIO, Work
from torch2grid_builtin._inert.storages import Spool
from torch2grid_builtin._loaders import zstd
from torch2grid_builtin._loaders.dcp_plain import alike, plain
from torch2grid_builtin._loaders.zip_archive import ZipArchive
from torch2grid_core import LazyTensor, LoadError
from torch2grid_core.sources import Blocks, Range, Source, SourceBase, Storage
from torch2grid_core.text import visible

if TYPE_CHECKING:
    from torch2grid_builtin._loaders.dcp_metadata import Entry

ZSTD = "stream.zstd/1"
_AROUND = 1 << 20  # bytes of an item beside the numbers in it
_HOSTILE = "it is damaged or hostile"


class _Checks:
    """What stands for the checksums of items that are not open yet."""

    shippable = True
    size = 0

    def __init__(self, blocks: StoredBlocks) -> None:
        self._blocks = blocks

    def read_into(self, offset: int, buffer: memoryview) -> None:
        raise LoadError(self._blocks.name, "its items are read one by one")

    def verify(self) -> None:
        self._blocks.verify()


class StoredBlocks(Blocks):
    """The numbers of a tensor whose blocks are items, opened when they are read. files: those that ``entry.file`` counts.

    Raises ``LoadError`` where the blocks do not make up the tensor, or leave the files.
    """

    def __init__(self, entry: Entry, dtype: np.dtype[Any], files: Sequence[Source]) -> None:
        assert entry.shape is not None
        self.name, self.packed = entry.name, entry.packed
        used, self._file = np.unique(entry.file, return_inverse=True)
        self.files = tuple(files[index] for index in used.tolist())
        self._offset, self._size = entry.offset, entry.size
        super().__init__(entry.shape, dtype, entry.first, entry.lengths)
        held = np.prod(entry.lengths.astype(np.float64), axis=1) * dtype.itemsize
        most = np.maximum(INFLATE_ALWAYS, INFLATE_RATIO * self._size) if self.packed else self._size
        if (held > most).any():
            raise LoadError(self.name, "a block of it is larger than what its file holds of it", _HOSTILE)

    @property
    def parts(self) -> Sequence[Storage]:
        """What stands for the items, of which there may be a million."""
        return (_Checks(self),)

    def over(self, parts: Sequence[Storage]) -> Storage:
        """The same: its items are opened by itself."""
        return self

    @property
    def shippable(self) -> bool:
        """True: a copy opens the items for itself."""
        return True

    def reads(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """The items that are read with the whole; a part of it is in any of them."""
        for file, first, length in zip(self._file, self._offset, self._size, strict=True) if size == self.size else ():
            yield Range(self.files[file]), int(first), int(length)

    def block(self, index: int) -> LazyTensor:
        """The tensor that the item holds. Raises ``LoadError``."""
        source = item(self.files[self._file[index]], int(self._offset[index]), int(self._size[index]))
        shape = tuple((self._last[index] - self._first[index]).tolist())
        most = math.prod(shape) * self.dtype.itemsize + _AROUND
        return open_tensor(unpack(source, self.packed, most), self.name, shape, self.dtype)


def item(file: Source, offset: int, size: int) -> Source:
    """The item at *offset* of *file*. Raises ``LoadError`` where it is not inside."""
    return file.window(offset, size)


def unpack(source: Source, packed: str, most: int) -> Source:
    """*source*, unpacked to a temporary file of at most *most* bytes where it is *packed*. Raises ``LoadError``."""
    if not packed:
        return source
    if packed != ZSTD:
        raise LoadError(source.shown, f"packs its items in a way that is not read: {visible(packed, 80)}")
    return _Unpacked(source, most)


class _Unpacked(SourceBase):
    """The unpacked bytes of another source, in a temporary file."""

    def __init__(self, source: Source, most: int) -> None:
        self.name, self.shown, self.identity = source.name, source.shown, (source.identity, ZSTD)
        self._spool, self.size = Spool(), 0
        try:
            self._spool.write(self._counted(source, most), most)
        except OSError as error:
            raise LoadError(self.shown, f"cannot be unpacked to a temporary file: {error.strerror}") from error

    def _counted(self, source: Source, most: int) -> Iterator[bytes]:
        done = 0

        def read(size: int) -> bytes:
            nonlocal done
            raw = source.read(done, min(size, source.size - done))
            done += len(raw)
            return raw

        for piece in zstd.unpacked(read, source.shown):
            self.size += len(piece)
            if self.size > most:
                raise LoadError(self.shown, f"holds an item that unpacks to more than {most:,} bytes", _HOSTILE)
            yield piece

    def read(self, offset: int, length: int) -> bytes:
        """Exactly *length* bytes from *offset*. Raises ``LoadError``."""
        self.inside(offset, length)
        found = bytearray(length)
        if length:
            self._spool.read_into(offset, memoryview(found))
        return bytes(found)


def open_tensor(source: Source, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> LazyTensor:
    """The one tensor that the item in *source* holds. Raises ``LoadError``, which names what the item would run.

    shape, dtype: what the tensor is said to be. Nearly every item is a plain one, which is known by its bytes: no pickle is
    interpreted for it.
    """
    found = alike(source, name, shape, dtype)
    if found is None:
        archive = ZipArchive(source)
        found = plain(archive, name, shape, dtype) or _opened(archive, source, name)
    return found


def _opened(archive: ZipArchive, source: Source, name: str) -> LazyTensor:
    """The tensor of an item whose pickle has to be interpreted. Raises ``LoadError``."""
    # Not above: a process that reads plain items does not need the machine that reads pickles.
    from torch2grid_builtin._inert.actions import Actions
    from torch2grid_builtin._inert.report import refusal
    from torch2grid_builtin._inert.values import Tensor
    from torch2grid_builtin._loaders.torch_zip import read_archive

    pickled = next((entry for entry in archive.entries.values() if entry.name.endswith("data.pkl")), None)
    what = f"holds an item of {visible(name, 80)} that is no"
    if pickled is None:
        raise LoadError(source.shown, f"{what} tensor", _HOSTILE)
    actions = Actions()
    read = read_archive(source, Work(pickled.size), actions)
    if actions:
        raise LoadError(source.shown, refusal(f"{what} plain tensor", actions), _HOSTILE)
    if not isinstance(read.root, Tensor) or read.root.lazy is None:
        raise LoadError(source.shown, f"{what} tensor", _HOSTILE)
    return replace(read.root.lazy.check(), name=name)


def tensor_of(entry: Entry, dtype: np.dtype[Any], files: Sequence[Source]) -> LazyTensor:
    """The tensor of *entry*. Raises ``LoadError`` where it cannot be one."""
    assert entry.shape is not None
    return LazyTensor(entry.name, entry.shape, dtype, StoredBlocks(entry, dtype, files)).check()
