"""Checked, computed and shared storages, and what a checkpoint makes of them."""

from __future__ import annotations

import pickle
import tempfile
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from tests.support.loaders.opened import opened

from torch2grid_builtin._inert.storages import Dequantised, Flipped, Float4, Latin1Bytes, Slice
from torch2grid_core import Checkpoint, LazyTensor, LoadError
from torch2grid_core.sources import BytesStorage, CheckedStorage, LocalSource, Range

DATA = np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8).tobytes()


def checked(good: bool = True) -> CheckedStorage:
    return CheckedStorage(BytesStorage(DATA), zlib.crc32(DATA) ^ (not good), "x.pt", "'data/0'")


def read(storage: CheckedStorage, offset: int, size: int) -> bytes:
    buffer = bytearray(size)
    storage.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def test_any_order_of_reads_gives_the_bytes() -> None:
    storage = checked()
    for offset, size in ((0, 10), (10, 20), (5, 5), (99_990, 10), (0, 100_000)):
        assert read(storage, offset, size) == DATA[offset : offset + size]


@pytest.mark.parametrize("places", [[(0, 100_000)], [(0, 50_000), (50_000, 50_000)], [(5, 5)], [(0, 10), (0, 10)]])
def test_a_wrong_checksum_is_found_at_the_latest_by_the_second_look(places: list[tuple[int, int]]) -> None:
    storage = checked(good=False)

    def read_all() -> None:
        for offset, size in places:
            read(storage, offset, size)

    with pytest.raises(LoadError, match=r"record 'data/0' is damaged"):
        read_all()
    with pytest.raises(LoadError, match="CRC-32"):
        storage.verify()


def test_a_tensor_that_covers_the_beginning_of_a_record_checks_it_all() -> None:
    for good in (True, False):
        tensor = LazyTensor("w", (10,), np.dtype(np.uint8), checked(good))
        if good:
            assert tensor.numpy().tobytes() == DATA[:10]
            continue
        with pytest.raises(LoadError):
            tensor.numpy()
        with pytest.raises(LoadError):
            list(tensor.chunks(4))


def test_threads_and_copies_may_share_a_checked_storage() -> None:
    storage = checked()
    failures = []

    def work(start: int) -> None:
        for offset in range(start, 90_000, 7000):
            if read(storage, offset, 5000) != DATA[offset : offset + 5000]:
                failures.append(offset)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    copy = pickle.loads(pickle.dumps(checked()))
    assert read(copy, 3, 4) == DATA[3:7]


def test_a_tensor_of_a_file_is_a_small_handle_that_another_process_can_read(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(1000.0), "q": torch.ones(2, 3).t()}, tmp_path / "x")
    checkpoint = opened(tmp_path / "x")
    for tensor in checkpoint.values():
        assert tensor.storage.shippable
        sent = pickle.dumps(tensor)
        assert len(sent) < 1000
        assert pickle.loads(sent).numpy().tolist() == tensor.numpy().tolist()


def test_computed_storages_read_any_range() -> None:
    base = np.arange(256, dtype=np.uint8)
    inner = BytesStorage(base.tobytes())
    for storage in (
        Dequantised(inner, "|u1", 256, (0.5,), (3.0,)),
        Dequantised(inner, "|u1", 256, (0.5, 2.0), (3.0, 1.0), 1, 2, "f8"),
        Float4(inner, 512),
        Slice(inner, 16, 64),
    ):
        whole = bytearray(storage.size)
        storage.read_into(0, memoryview(whole))
        for offset, size in ((0, 1), (1, 5), (7, 9), (storage.size - 3, 3)):
            piece = bytearray(size)
            storage.read_into(offset, memoryview(piece))
            assert piece == whole[offset : offset + size]
        with pytest.raises(LoadError):
            storage.read_into(storage.size - 1, memoryview(bytearray(2)))


def test_flipped_signs() -> None:
    numbers = np.array([1 + 2j, -3j], dtype=np.complex64)
    for conjugate, negate, expected in ((True, False, numbers.conj()), (False, True, -numbers), (True, True, -numbers.conj())):
        buffer = bytearray(16)
        Flipped(BytesStorage(numbers.tobytes()), "complex64", conjugate, negate).read_into(0, memoryview(buffer))
        assert np.array_equal(np.frombuffer(buffer, np.complex64), expected)


def test_bytes_that_were_pickled_as_text() -> None:
    raw = bytes(range(256)) * 9000
    storage = Latin1Bytes(BytesStorage(raw.decode("latin-1").encode("utf-8")))
    assert storage.size == len(raw)
    buffer = bytearray(1000)
    storage.read_into(1_500_000, memoryview(buffer))
    assert buffer == raw[1_500_000:1_501_000]
    with pytest.raises(LoadError, match="beyond one byte"):
        Latin1Bytes(BytesStorage("Ω".encode() * 10)).read_into(0, memoryview(bytearray(1)))


def lazy(name: str, storage: BytesStorage, shape: tuple[int, ...], offset: int = 0, strides: tuple[int, ...] | None = None):
    return LazyTensor(name, shape, np.dtype(np.uint8), storage, offset, strides)


def test_aliases_of_tied_tensors_and_views() -> None:
    storage, other = BytesStorage(DATA), BytesStorage(DATA)
    tensors = [
        lazy("inside", storage, (3, 3), 20),
        lazy("all", storage, (10, 10)),
        lazy("tied", storage, (10, 10)),
        lazy("transposed", storage, (10, 10), 0, (1, 10)),
        lazy("over the edge", storage, (20,), 90),
        lazy("gaps", storage, (5,), 200, (2,)),
        lazy("same gaps", storage, (5,), 200, (2,)),
        lazy("other", other, (10, 10)),
        lazy("empty", storage, (0,)),
    ]
    checkpoint = Checkpoint(tensors)
    assert checkpoint.aliases == {"inside": "all", "tied": "all", "transposed": "all", "same gaps": "gaps"}
    assert checkpoint.parameters == 100 + 20 + 5 + 100


def test_many_views_of_one_storage_are_compared_quickly() -> None:
    storage = BytesStorage(DATA)
    checkpoint = Checkpoint([lazy(str(index), storage, (1,), index) for index in range(50_000)])
    assert checkpoint.aliases == {}
    assert checkpoint.parameters == 50_000


def test_a_file_that_changed_meanwhile_is_an_error(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(1000.0)}, tmp_path / "x", _use_new_zipfile_serialization=False)
    checkpoint = opened(tmp_path / "x")
    with open(tmp_path / "x", "ab") as file:
        file.write(b"more")
    with pytest.raises(LoadError, match="changed while it was being read"):
        checkpoint["w"].numpy()
    assert opened(tmp_path / "x").notes == ("4 bytes behind the last storage were not read",)


def test_a_length_of_zero_beside_an_impossible_one() -> None:
    empty = LazyTensor("w", (0, 2**62), np.dtype(np.float32), BytesStorage(b""))
    assert list(empty.chunks()) == []
    with pytest.raises(LoadError, match="no array can have its shape"):
        empty.numpy()
    assert LazyTensor("w", (0, 3), np.dtype(np.float32), BytesStorage(b"")).numpy().shape == (0, 3)


@given(st.binary(min_size=1, max_size=400), st.data())
def test_rows_are_the_bytes_that_each_read_gives(content: bytes, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.bin"
        path.write_bytes(content)
        first = data.draw(st.integers(0, len(content)))
        place = Range(LocalSource(str(path)), first, data.draw(st.integers(0, len(content) - first)))
        offset, step, length, count = (data.draw(st.integers(0, most)) for most in (20, 40, 20, 6))
        rows = [bytearray(length) for _ in range(count)]
        if count and offset + (count - 1) * step + length > place.size:
            with pytest.raises(LoadError):
                place.read_rows(offset, step, [memoryview(row) for row in rows])
            return
        place.read_rows(offset, step, [memoryview(row) for row in rows])
        for number, row in enumerate(rows):
            start = first + offset + number * step
            assert bytes(row) == content[start : start + length]
