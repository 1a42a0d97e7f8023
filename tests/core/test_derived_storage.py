"""Storages that compute their bytes from others pass on what those are: their checksums, and whether they can be shipped."""

from __future__ import annotations

import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_builtin._inert.storages import Dequantised, Flipped, Float4, Float6, Slice
from torch2grid_core import LazyTensor, LoadError
from torch2grid_core._data.storage import has_checksum, unchecked
from torch2grid_core.sources import (
    BytesStorage,
    ByteSwapped,
    CheckedStorage,
    ComputedStorage,
    Joined,
    LocalSource,
    Range,
    Storage,
    Tiled,
    verify,
)

DATA = bytes(range(240))
U1 = np.dtype(np.uint8)


def first(chunks: Any) -> np.ndarray:
    return np.asarray(chunks["a"])


def over(storage: Storage) -> dict[str, Storage]:
    """Each kind of storage that computes its bytes, over *storage* of 240 bytes."""
    whole = LazyTensor("t", (12, 20), U1, storage)
    return {
        "swapped": ByteSwapped(storage, 4),
        "slice": Slice(storage, 0, 240),
        "dequantised": Dequantised(storage, "|u1", 240, (2.0,), (0.0,)),
        "float4": Float4(storage, 480),
        "float6": Float6(storage, 320, 3),
        "flipped": Flipped(storage, "f4", False, True),
        "computed": ComputedStorage([("a", whole), ("b", whole)], first, U1),
        "tiled": Tiled((12, 40), [((0, 0), whole), ((0, 20), whole)]),
        "joined": Joined([BytesStorage(b"front"), storage]),
        "twice": ByteSwapped(Joined([storage, storage]), 2),
    }


@pytest.mark.parametrize("kind", over(BytesStorage(DATA)))
def test_a_wrapped_storage_keeps_its_checksum(kind: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    file = Range(LocalSource(tmp_path / "x"))
    good = over(CheckedStorage(file, zlib.crc32(DATA), "x", "data/0"))[kind]
    bad = over(CheckedStorage(file, zlib.crc32(DATA) ^ 1, "x", "data/0"))[kind]
    plain = over(file)[kind]
    assert [has_checksum(each) for each in (good, bad, plain)] == [True, True, False]
    assert good.shippable == (kind != "joined")
    verify(good)
    verify(plain)
    for _ in range(2):
        with pytest.raises(LoadError, match="data/0 is damaged"):
            verify(pickle.loads(pickle.dumps(bad)))
    expected = bytearray(plain.size)
    plain.read_into(0, memoryview(expected))
    assert unchecked(plain) is plain
    for storage in (good, unchecked(good), unchecked(bad), pickle.loads(pickle.dumps(good))):
        found = bytearray(storage.size)
        storage.read_into(0, memoryview(found))
        assert found == expected
    tensor = LazyTensor("t", (bad.size // 16, 16), U1, bad)
    with pytest.raises(LoadError, match="data/0 is damaged"):
        list(tensor.chunks())


@given(st.lists(st.binary(max_size=9), max_size=6), st.data())
def test_joined_storages_read_as_one(parts: list[bytes], data: st.DataObject) -> None:
    joined, whole = Joined([BytesStorage(part) for part in parts]), b"".join(parts)
    assert joined.size == len(whole)
    start = data.draw(st.integers(0, len(whole)))
    buffer = bytearray(data.draw(st.integers(0, len(whole) - start)))
    joined.read_into(start, memoryview(buffer))
    assert buffer == whole[start : start + len(buffer)]
    with pytest.raises(LoadError):
        joined.read_into(len(whole), memoryview(bytearray(1)))


@given(st.data())
def test_tiles_read_as_the_whole(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), max_size=3)))
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    tiles: list[tuple[list[int], np.ndarray]] = [([0] * len(shape), array)]
    for _ in range(data.draw(st.integers(0, 4))):  # cut one in two
        begin, block = tiles.pop(data.draw(st.integers(0, len(tiles) - 1)))
        axis = data.draw(st.integers(0, len(shape) - 1)) if shape else 0
        at = data.draw(st.integers(0, block.shape[axis])) if shape else 0
        parts = np.split(block, [at], axis) if shape else [block]
        tiles += [([each + at * (i == axis) * (n == 1) for i, each in enumerate(begin)], part) for n, part in enumerate(parts)]
    lazy = [(tuple(begin), LazyTensor("b", part.shape, part.dtype, BytesStorage(part.tobytes()))) for begin, part in tiles]
    tensor = LazyTensor("t", shape, array.dtype, Tiled(shape, lazy))
    start = data.draw(st.integers(0, array.size))
    stop = data.draw(st.integers(start, array.size))
    assert tensor.read(start, stop).tobytes() == array.reshape(-1)[start:stop].tobytes()
    np.testing.assert_array_equal(tensor, array)


@pytest.mark.parametrize("begins", [[(0, 0)], [(0, 0), (0, 1)], [(0, 0), (0, 3)], [(0, 0), (-1, 0)], [(0, 0), (0,)]])
def test_tiles_cover_the_whole_once(begins: list[tuple[int, ...]]) -> None:
    block = LazyTensor("b", (2, 2), np.dtype(np.float32), BytesStorage(bytes(16)))
    with pytest.raises(LoadError):
        Tiled((2, 4), [(begin, block) for begin in begins])
