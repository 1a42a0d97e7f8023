"""Any part of a tensor of any layout is what numpy takes of the whole, and little else is read for it."""

from __future__ import annotations

import threading
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_builtin._inert.storages import Dequantised
from torch2grid_core import LazyTensor, LoadError
from torch2grid_core._data import local, strided
from torch2grid_core.sources import BytesStorage, ByteSwapped, CheckedStorage, JointTensor, LocalSource, Range, Storage

DTYPES = [np.dtype(each) for each in (np.uint8, np.float32, np.complex128, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2)]


class Counting:
    """A storage that counts what is read of it."""

    shippable = False

    def __init__(self, inner: Storage) -> None:
        self.inner, self.read, self.calls, self.size = inner, 0, 0, inner.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.read, self.calls = self.read + len(buffer), self.calls + 1
        self.inner.read_into(offset, buffer)


def sums(chunks: Any) -> np.ndarray:
    return np.asarray(chunks["a"] * np.float32(2) + chunks["b"])


def layout(draw: st.DrawFn, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[np.ndarray, LazyTensor]:
    """Random numbers of *shape* at random strides: of C order, turned, with gaps, overlapping, or repeated."""
    kind = draw(st.sampled_from(["plain", "turned", "gaps", "any"]))
    axes = draw(st.permutations(range(len(shape)))) if kind in ("turned", "gaps") else list(range(len(shape)))
    strides, step = [0] * len(shape), 1
    for axis in reversed(axes):
        strides[axis] = draw(st.integers(0, 9)) if kind == "any" else step
        step *= max(shape[axis], 1) + (draw(st.integers(0, 3)) if kind == "gaps" else 0)
    offset = draw(st.integers(0, 3))
    count = offset + 1 + sum(max(length - 1, 0) * stride for length, stride in zip(shape, strides, strict=True))
    raw = np.random.default_rng(count).integers(0, 100, count).astype(dtype)
    storage: Storage = BytesStorage(raw.tobytes())
    wrapped = draw(st.sampled_from(["plain", "swapped", "checked"]))
    if wrapped == "swapped" and dtype.itemsize <= 8 and dtype.kind != "c":
        storage = ByteSwapped(BytesStorage(raw.view(f"u{dtype.itemsize}").byteswap().tobytes()), dtype.itemsize)
    elif wrapped == "checked":
        storage = CheckedStorage(storage, zlib.crc32(raw.tobytes()), "x.pth", "data/0")
    if dtype == np.float32 and draw(st.booleans()):
        codes = raw.astype(np.int8)
        raw = (codes - np.float64(3)).astype(np.float32) * np.float32(0.5)
        storage = Dequantised(BytesStorage(codes.tobytes()), "i1", count, (0.5,), (3.0,))
    array = np.ndarray(
        shape, dtype, raw.view(np.uint8).data, offset * dtype.itemsize, [each * dtype.itemsize for each in strides]
    )
    return array, LazyTensor("t", shape, dtype, storage, offset, None if kind == "plain" else tuple(strides)).check()


@st.composite
def tensors(draw: st.DrawFn) -> tuple[np.ndarray, LazyTensor]:
    shape = tuple(draw(st.lists(st.integers(0, 6), max_size=4)))
    if draw(st.booleans()):
        return layout(draw, shape, draw(st.sampled_from(DTYPES)))
    (a, one), (b, two) = (layout(draw, shape, np.dtype(np.float32)) for _ in range(2))
    try:
        joint = JointTensor.of("t", {"a": one, "b": two}, sums)
    except ValueError:  # both repeat their elements
        return a, one
    return (a * np.float32(2) + b, joint) if joint.shape == shape else (a, one)


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An index of basic indexing that numpy takes for *shape*."""
    places: list[Any] = []
    for length in shape[: draw(st.integers(0, len(shape)))]:
        if length and draw(st.booleans()):
            places.append(draw(st.integers(-length, length - 1)))
        else:
            ends = st.none() | st.integers(-length - 2, length + 2)
            places.append(slice(draw(ends), draw(ends), draw(st.none() | st.integers(1, 3))))
    if draw(st.booleans()):
        if draw(st.booleans()) or len(places) == len(shape):
            places.append(...)
        else:  # the last dimensions, instead of the first
            ends = st.none() | st.integers(-7, 7)
            places = [..., slice(draw(ends), draw(ends))]
    return places[0] if len(places) == 1 and draw(st.booleans()) else tuple(places)


@given(tensors(), st.data())
def test_a_part_is_what_numpy_takes_of_the_whole(made: tuple[np.ndarray, LazyTensor], data: st.DataObject) -> None:
    array, tensor = made
    index = data.draw(indices(tensor.shape))
    expected = np.asarray(array[index])
    found, view = tensor[index], tensor.view(index)
    assert (found.shape, found.dtype) == (expected.shape, tensor.dtype)
    assert (view.shape, view.dtype) == (expected.shape, tensor.dtype)
    assert found.tobytes() == expected.tobytes() == np.asarray(view).tobytes()
    assert b"".join(part.tobytes() for _, part in view.flat_chunks(24)) == expected.tobytes()
    weights = sorted((each for part in view.chunks(24) for each in part.tolist()), key=str)
    if view.distinct().size < view.size:  # the stored elements that it reaches, see ``distinct``
        assert set(np.asarray(view).reshape(-1).tolist()) <= set(weights)
    else:
        assert weights == sorted(np.asarray(view).reshape(-1).tolist(), key=str)
    again = data.draw(indices(view.shape))
    assert view[again].tobytes() == np.asarray(expected[again]).tobytes()


@given(tensors(), st.data())
def test_a_flat_range_is_what_numpy_has_there(made: tuple[np.ndarray, LazyTensor], data: st.DataObject) -> None:
    array, tensor = made
    start = data.draw(st.integers(0, tensor.size))
    stop = data.draw(st.integers(start, tensor.size))
    assert tensor.read(start, stop).tobytes() == array.reshape(-1)[start:stop].tobytes()
    for ends in ((-1, 0), (0, tensor.size + 1), (1, 0)):
        with pytest.raises(IndexError):
            tensor.read(*ends)


@given(tensors(), st.data())
def test_small_pieces_give_what_large_ones_do(made: tuple[np.ndarray, LazyTensor], data: st.DataObject) -> None:
    array, tensor = made
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BLOCK_BYTES", "_GAP", "_PIECE", "_STRETCH"):
            patch.setattr(strided, name, data.draw(st.sampled_from([0, 1, 8, 16, 100])))
        chunks = [part.copy() for _, part in tensor.flat_chunks(40)]
        assert b"".join(part.tobytes() for part in chunks) == array.tobytes() == tensor[...].tobytes()
    assert all(len(part) == 40 // tensor.dtype.itemsize for part in chunks[:-1])


def test_what_is_no_basic_index_is_an_error() -> None:
    tensor = LazyTensor("t", (4, 5), np.dtype(np.float32), BytesStorage(np.zeros(20, np.float32)))
    for wrong in ((0, 0, 0), 4, -5, (0, 5), (..., ...), slice(None, None, -1)):
        with pytest.raises(IndexError):
            tensor[wrong]
    for wrong in (None, [0, 1], np.array([0]), True, 1.0, "a", (0, None)):
        with pytest.raises(TypeError):
            tensor.view(wrong)
    assert (len(tensor), bool(tensor.view((slice(0), 0)))) == (4, True)
    with pytest.raises(TypeError):
        len(tensor.view((0, 0)))


def test_numpy_takes_a_tensor_for_an_array() -> None:
    stored = np.arange(12, dtype=np.float32)
    tensor = LazyTensor("t", (4, 3), stored.dtype, BytesStorage(stored), 0, (1, 4))
    np.testing.assert_array_equal(np.asarray(tensor), stored.reshape(3, 4).T)
    assert np.asarray(tensor, dtype=np.float64).dtype == np.float64
    assert np.array(tensor, copy=True).flags.writeable
    assert np.linalg.norm(tensor) == np.linalg.norm(stored)
    assert [row.tolist() for row in tensor] == stored.reshape(3, 4).T.tolist()
    with pytest.raises(ValueError, match="copy"):
        tensor.__array__(copy=False)


@pytest.mark.parametrize(
    ("index", "most", "calls"),
    [
        (7, 4 * 1500, 1),
        (slice(3, 9), 4 * 1500 * 6, 1),
        ((slice(None), 0), 4 * 1500 * 1000, 1000),  # 6000 bytes apart: each alone
        ((slice(None), slice(10, 20)), 4 * 10 * 1000, 1000),
        ((slice(0, 100, 50), 3), 8, 2),
        ((5, slice(None, None, 2)), 4 * 1500, 1),  # read through
        ((5, 6), 4, 1),
        (slice(0), 0, 0),
    ],
)
def test_a_part_costs_its_own_rows(index: Any, most: int, calls: int) -> None:
    counting = Counting(BytesStorage(np.arange(1_500_000, dtype=np.float32)))
    tensor = LazyTensor("t", (1000, 1500), np.dtype(np.float32), counting)
    tensor[index]
    assert counting.read <= most
    assert counting.calls == calls


@pytest.mark.parametrize("turned", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_a_turned_tensor_is_read_once_in_little_memory(turned: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strided, "BLOCK_BYTES", 1 << 20)
    stored = np.random.default_rng(0).integers(0, 1 << 16, (40, 300, 700), np.uint16)
    counting = Counting(BytesStorage(stored.reshape(-1)))
    array = stored.transpose(turned)
    strides = tuple(each // 2 for each in array.strides)
    tensor = LazyTensor("t", array.shape, array.dtype, counting, 0, strides)
    tracemalloc.start()
    crc = 0
    for _, part in tensor.flat_chunks(1 << 18):
        crc = zlib.crc32(part, crc)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert crc == zlib.crc32(np.ascontiguousarray(array))
    assert peak < 5 << 20  # of 16 MiB
    assert counting.read <= 18 * stored.nbytes  # short runs are read with what is between them, once for a block at most


def test_long_runs_of_a_turned_matrix_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strided, "BLOCK_BYTES", 4 << 20)
    stored = np.random.default_rng(0).integers(0, 1 << 16, (1500, 6000), np.uint16)
    counting = Counting(BytesStorage(stored.reshape(-1)))
    tensor = LazyTensor("t", (6000, 1500), stored.dtype, counting, 0, (1, 6000))
    assert b"".join(part.tobytes() for _, part in tensor.flat_chunks()) == stored.T.tobytes()
    assert counting.read == stored.nbytes


def test_random_access_checks_no_checksum_and_passes_do() -> None:
    data = np.arange(5000, dtype=np.float32)
    spoilt = data.copy()
    spoilt[4000] = -1
    reads = Counting(BytesStorage(spoilt))
    checked = CheckedStorage(reads, zlib.crc32(data.tobytes()), "x.pth", "data/0")
    for wrapped in (checked, ByteSwapped(ByteSwapped(checked, 4), 4)):
        reads.read = 0
        tensor = LazyTensor("t", (50, 100), data.dtype, wrapped)
        np.testing.assert_array_equal(tensor[3], data[300:400])
        np.testing.assert_array_equal(tensor.read(4000, 4001), [-1])
        joint = JointTensor.of("j", {"a": tensor, "b": tensor}, sums)
        np.testing.assert_array_equal(joint[3], data[300:400] * 3)
        assert reads.read == 4 * 301
        whole: list[Callable[[], Any]] = [tensor.numpy, lambda each=tensor: list(each.chunks())]
        whole += [lambda each=tensor: np.asarray(each.view(slice(3))), lambda each=joint: list(each.flat_chunks())]
        for read in whole:
            with pytest.raises(LoadError, match="data/0 is damaged"):
                read()


def test_threads_read_any_parts_at_once(tmp_path: Path) -> None:
    """Of more files than are kept open, so that descriptors are closed while others read."""
    arrays, tensors = [], []
    for number in range(24):
        arrays.append(np.random.default_rng(number).integers(0, 256, (64, 1000), np.uint8))
        (tmp_path / f"{number}").write_bytes(arrays[-1].tobytes())
        storage = Range(LocalSource(tmp_path / f"{number}"))
        checked = CheckedStorage(storage, zlib.crc32(arrays[-1]), "x", str(number))
        tensors.append(LazyTensor(str(number), (64, 1000), np.dtype(np.uint8), checked))
    failed: list[str] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(200):
            number, row = int(random.integers(24)), int(random.integers(64))
            try:
                if tensors[number][row].tobytes() != arrays[number][row].tobytes():
                    failed.append(f"{number}[{row}]")
                if b"".join(part.tobytes() for part in tensors[number].chunks(5000)) != arrays[number].tobytes():
                    failed.append(f"{number}")
            except LoadError as error:
                failed.append(str(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_a_source_knows_its_folder_and_its_children(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.bin").write_bytes(b"abc")
    folder = LocalSource(tmp_path, shown="folder")
    file = folder.child("sub").child("x.bin")
    assert (file.name, file.shown, file.read(1, 2)) == ("x.bin", str(Path("folder/sub/x.bin")), b"bc")
    assert (file.folder.path, file.folder.entries) == (tmp_path / "sub", ("x.bin",))
    assert file.folder.shown == str(Path("folder/sub"))
    with pytest.raises(LoadError, match="no such file"):
        folder.child("y")


def test_no_read_waits_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(200))
    (tmp_path / "x").write_bytes(data)
    checked = CheckedStorage(Range(LocalSource(tmp_path / "x")), zlib.crc32(data), "x", "data/0")
    tensor = LazyTensor("t", (200,), np.dtype(np.uint8), checked)
    tensor[0]  # opens the file
    began, release, plain = threading.Event(), threading.Event(), local._Open.read_at

    def slow(self: Any, buffer: memoryview, offset: int) -> int:
        if threading.current_thread().name == "slow":
            began.set()
            assert release.wait(20)
        return plain(self, buffer, offset)

    monkeypatch.setattr(local._Open, "read_at", slow)
    thread = threading.Thread(target=tensor.numpy, name="slow")
    thread.start()
    assert began.wait(20)
    try:
        assert tensor[100] == 100
        assert tensor.view(slice(50, 60)).numpy().tolist() == list(range(50, 60))
        assert tensor.numpy().tobytes() == data
    finally:
        release.set()
        thread.join()
