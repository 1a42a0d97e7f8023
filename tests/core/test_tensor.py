"""Lazy tensors: any view of any storage reads what numpy's own strides say."""

from __future__ import annotations

import os
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_core import Checkpoint, LazyTensor, LoadError
from torch2grid_core.sources import BytesStorage, ByteSwapped, CheckedStorage, LocalSource, Range


@st.composite
def views(draw: st.DrawFn) -> tuple[np.ndarray, LazyTensor]:
    """A numpy view of random shape and strides (0 included) and the lazy tensor that says the same."""
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    strides = tuple(draw(st.integers(0, 6)) for _ in shape)
    offset = draw(st.integers(0, 3))
    span = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True) if length)
    stored = np.arange(offset + max(span, 1) + 2, dtype=np.float32)
    array = np.lib.stride_tricks.as_strided(stored[offset:], shape, [4 * stride for stride in strides])
    return array, LazyTensor("t", shape, stored.dtype, BytesStorage(stored), offset, strides).check()


@given(views())
def test_any_view_reads_as_numpy_says(view: tuple[np.ndarray, LazyTensor]) -> None:
    array, tensor = view
    np.testing.assert_array_equal(tensor.numpy(), array)
    flat = np.full(tensor.size, np.nan, np.float32)
    for start, part in tensor.flat_chunks(chunk_bytes=16):
        flat[start : start + len(part)] = part
    np.testing.assert_array_equal(flat, array.reshape(-1))


@given(views())
def test_an_unordered_pass_sees_the_distinct_view_and_never_more_than_is_stored(view: tuple[np.ndarray, LazyTensor]) -> None:
    array, tensor = view
    got = np.concatenate([part.copy() for part in tensor.chunks(chunk_bytes=16)] or [np.empty(0, np.float32)])
    distinct = tensor.distinct()
    assert len(got) == distinct.size <= tensor.span
    np.testing.assert_array_equal(np.sort(got), np.sort(distinct.numpy(), axis=None))
    assert set(array.reshape(-1)) <= set(got)


def test_a_view_of_a_trillion_weights_costs_its_sixteen_numbers() -> None:
    stored = np.arange(16, dtype=np.float32)
    tensor = LazyTensor("t", (2**20, 2**20), stored.dtype, BytesStorage(stored), 0, (0, 0)).check()
    assert tensor.numpy().shape == (2**20, 2**20)
    assert tensor.distinct().size == 1
    assert sum(len(part) for part in tensor.chunks()) == 1


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((4, 5), None, 0),
        ((3,), (8,), 0),
        ((16,), None, 1),
        ((2, 2), (1,), 0),
        ((4,), (-1,), 3),
        ((-4, -4), None, 0),
        ((1,), None, -1),
    ],
)
def test_what_does_not_fit_its_storage_is_an_error(
    shape: tuple[int, ...], strides: tuple[int, ...] | None, offset: int
) -> None:
    storage = BytesStorage(np.zeros(16, np.float32))
    with pytest.raises(LoadError):
        LazyTensor("t", shape, np.dtype(np.float32), storage, offset, strides).check()


def test_a_range_of_a_file_pickles_and_notices_a_change(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(range(64)))
    storage = Range(LocalSource(path), 8, 16)
    assert len(pickle.dumps(storage)) < 600  # the address, and no block that is kept
    buffer = bytearray(4)
    pickle.loads(pickle.dumps(storage)).read_into(2, memoryview(buffer))
    assert bytes(buffer) == bytes(range(10, 14))
    with pytest.raises(LoadError, match="asked for"):
        storage.read_into(14, memoryview(buffer))
    os.utime(path, ns=(1, 1))
    gone = pickle.loads(pickle.dumps(storage))
    path.write_bytes(bytes(64))
    with pytest.raises(LoadError, match="changed while"):
        gone.read_into(0, memoryview(buffer))


def test_the_old_name_of_a_range_says_the_new_one(tmp_path: Path) -> None:
    import torch2grid_core

    (tmp_path / "x").write_bytes(b"abcdef")
    with pytest.warns(DeprecationWarning, match=r"Range\(LocalSource\(path\), offset, size\)"):
        old = torch2grid_core.FileStorage
    buffer = bytearray(2)
    old(str(tmp_path / "x"), 1, 3).read_into(1, memoryview(buffer))
    assert bytes(buffer) == b"cd"
    with pytest.raises(LoadError, match="changed while"):
        old(str(tmp_path / "x"), 1, 3, (6, 1)).read_into(0, memoryview(buffer))


@pytest.mark.parametrize("reads", [[(0, 10), (10, 90)], [(50, 10)], [(0, 5), (50, 10), (5, 5)], [(0, 100), (0, 100)]])
def test_a_flipped_bit_is_found_however_it_is_read(reads: list[tuple[int, int]]) -> None:
    data = bytearray(range(100))
    good = CheckedStorage(BytesStorage(bytes(data)), zlib.crc32(data), "x.pth", "data/0")
    for offset, size in reads:
        buffer = bytearray(size)
        good.read_into(offset, memoryview(buffer))
        assert buffer == data[offset : offset + size]
    checksum = zlib.crc32(data)
    data[99] ^= 1
    bad = CheckedStorage(BytesStorage(bytes(data)), checksum, "x.pth", "data/0")

    def read_all() -> None:
        for offset, size in reads:
            bad.read_into(offset, memoryview(bytearray(size)))

    with pytest.raises(LoadError, match=r"data/0 is damaged"):
        read_all()


def test_byte_order_is_swapped() -> None:
    values = np.array([1.5, -2.25, 3e10], dtype=">f8")
    tensor = LazyTensor("t", (3,), np.dtype(np.float64), ByteSwapped(BytesStorage(values.tobytes()), 8))
    np.testing.assert_array_equal(tensor.numpy(), [1.5, -2.25, 3e10])


def test_tied_tensors_and_views_are_aliases_of_the_larger() -> None:
    storage = BytesStorage(np.zeros(24, np.float32))
    kind = np.dtype(np.float32)
    checkpoint = Checkpoint(
        [
            LazyTensor("row", (4,), kind, storage, 4),
            LazyTensor("embed", (6, 4), kind, storage),
            LazyTensor("head", (6, 4), kind, storage),
            LazyTensor("head_t", (4, 6), kind, storage, 0, (1, 4)),
            LazyTensor("other", (6, 4), kind, BytesStorage(np.zeros(24, np.float32))),
        ]
    )
    assert checkpoint.aliases == {"row": "embed", "head": "embed", "head_t": "embed"}
    assert checkpoint.parameters == 48
    assert checkpoint.select(["head", "other"]).aliases == {}
