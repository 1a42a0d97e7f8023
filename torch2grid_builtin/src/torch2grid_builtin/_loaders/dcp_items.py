"""The items of a distributed checkpoint: each is what ``torch.save`` writes, at some place of a ``.distcp`` file."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid_builtin._inert.limits import INFLATE_ALWAYS, INFLATE_RATIO, Work
from torch2grid_builtin._inert.storages import Spool
from torch2grid_builtin._loaders import zstd
from torch2grid_builtin._loaders.zip_archive import ZipArchive
from torch2grid_core import LazyTensor, LoadError
from torch2grid_core.sources import Blocks, Source, SourceBase, Storage, verify
from torch2grid_core.text import visible

if TYPE_CHECKING:
    from torch2grid_builtin._loaders.dcp_metadata import Entry

ZSTD = "stream.zstd/1"
_AROUND = 1 << 20  # bytes of an item beside the numbers in it
_SHORT = 4096  # bytes of the pickle of one plain tensor, at most
_STORAGES = {"float32": "FloatStorage", "bfloat16": "BFloat16Storage", "float16": "HalfStorage", "float64": "DoubleStorage"}
_STORAGES |= {"int64": "LongStorage", "int32": "IntStorage", "uint8": "ByteStorage", "int8": "CharStorage"}
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

    def block(self, index: int) -> LazyTensor:
        """The tensor that the item holds. Raises ``LoadError``."""
        source = item(self.files[self._file[index]], int(self._offset[index]), int(self._size[index]))
        shape = tuple((self._last[index] - self._first[index]).tolist())
        most = math.prod(shape) * self.dtype.itemsize + _AROUND
        return replace(open_tensor(unpack(source, self.packed, most), self.name, shape, self.dtype), name=self.name)


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
    archive = ZipArchive(source)
    return _plain(archive, name, shape, dtype) or _opened(archive, source, name)


def _plain(archive: ZipArchive, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> LazyTensor | None:
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
    return LazyTensor(name, shape, dtype, archive.storage(record.name))


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
    return read.root.lazy.check()


def tensor_of(entry: Entry, dtype: np.dtype[Any], files: Sequence[Source]) -> LazyTensor:
    """The tensor of *entry*. Raises ``LoadError`` where it cannot be one."""
    assert entry.shape is not None
    return LazyTensor(entry.name, entry.shape, dtype, StoredBlocks(entry, dtype, files)).check()
