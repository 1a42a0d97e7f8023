"""Storages that compute their numbers, against numpy and against PyTorch's own formulas, in any range of bytes."""

from __future__ import annotations

import gc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_builtin._inert import storages
from torch2grid_builtin._inert.storages import Dequantised, Flipped, Float4, Float6, Latin1Bytes, Slice, Spool
from torch2grid_core import LoadError
from torch2grid_core.sources import BytesStorage, LocalSource, Range, Storage

RAW = np.random.default_rng(0).integers(0, 256, 6000, dtype=np.uint8)
INNER = BytesStorage(RAW.tobytes())
FLOAT4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6] * 2) * np.repeat([1, -1], 8)


def dequantised(code: str, scale: tuple[float, ...], zero: tuple[float, ...], offset: int, stride: int) -> np.ndarray:
    """Each channel's numbers as PyTorch makes them: a difference in float32, a product in float64, rounded."""
    stored = RAW.view(code)
    channel = (np.arange(len(stored)) - offset) // stride % len(scale)
    if len(scale) == 1 and code == "<i4":  # PyTorch takes the difference in int32, which wraps
        return (stored - np.int32(zero[0])).astype(np.float32) * np.float32(scale[0])
    if len(scale) == 1:
        return (stored.astype(np.float64) - zero[0]).astype(np.float32) * np.float32(scale[0])
    numbers = stored.astype(np.float32) - np.array(zero, dtype=np.float32)[channel]
    return (numbers.astype(np.float64) * np.array(scale)[channel]).astype(np.float32)


def float6(mantissa: int) -> np.ndarray:
    """Sign, exponent, mantissa of each of four numbers in three bytes."""
    bits = np.unpackbits(RAW[: 4500 // 3 * 3], bitorder="little").reshape(-1, 6)
    codes = (bits * (1 << np.arange(6))).sum(axis=1)
    exponent, fraction = (codes & 31) >> mantissa, (codes & ((1 << mantissa) - 1)) / (1 << mantissa)
    bias = 1 if mantissa == 3 else 3
    size = np.where(exponent == 0, fraction * 2.0 ** (1 - bias), (1 + fraction) * 2.0 ** (exponent - bias))
    return np.where(codes & 32, -size, size)


STORAGES: dict[str, tuple[Storage, np.ndarray]] = {
    "uint8": (Dequantised(INNER, "|u1", 6000, (0.3,), (7.0,)), dequantised("|u1", (0.3,), (7.0,), 0, 1)),
    "int8": (Dequantised(INNER, "|i1", 6000, (0.3,), (-7.0,)), dequantised("|i1", (0.3,), (-7.0,), 0, 1)),
    "int32": (Dequantised(INNER, "<i4", 1500, (0.3,), (2.0**30,)), dequantised("<i4", (0.3,), (2.0**30,), 0, 1)),
    "channels": (
        Dequantised(INNER, "<i4", 1500, (0.1, 2.0, 30.0), (1.0, 2.0, 3.0), 5, 7, "f8"),
        dequantised("<i4", (0.1, 2.0, 30.0), (1.0, 2.0, 3.0), 5, 7),
    ),
    "two channels": (
        Dequantised(INNER, "|u1", 6000, (0.1, 2.0), (1.0, 2.0), 4, 1, "f8"),
        dequantised("|u1", (0.1, 2.0), (1.0, 2.0), 4, 1),
    ),
    "float4": (Float4(INNER, 12_000), FLOAT4[np.stack([RAW & 15, RAW >> 4], axis=1).reshape(-1)]),
    "float6 e2m3": (Float6(INNER, 6000, 3), float6(3)),
    "float6 e3m2": (Float6(INNER, 6000, 2), float6(2)),
}


def read(storage: Storage, offset: int, size: int) -> bytes:
    buffer = bytearray(size)
    storage.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def whole(storage: Storage) -> np.ndarray:
    return np.frombuffer(read(storage, 0, storage.size), dtype=storage.dtype).astype(np.float64)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", STORAGES)
def test_the_numbers_are_those_of_the_formula(name: str) -> None:
    storage, expected = STORAGES[name]
    np.testing.assert_array_equal(whole(storage), expected.astype(np.float64))


@pytest.mark.parametrize("name", STORAGES)
@pytest.mark.parametrize("step", [16, 20, 1 << 20])
def test_any_range_of_bytes_may_be_read(name: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, _ = STORAGES[name]
    everything = read(storage, 0, storage.size)
    monkeypatch.setattr(storages, "STEP", step)
    ends = storage.size - np.array([1, 2, 3, 4, 5, 9])
    for offset in (0, 1, 2, 3, 4, 5, 6, 7, 17, *ends.tolist()):
        for size in (0, 1, 2, 3, 4, 5, 21, 60):
            if offset + size <= storage.size:
                assert read(storage, offset, size) == everything[offset : offset + size], (offset, size)
            else:
                with pytest.raises(LoadError):
                    read(storage, offset, size)
    with pytest.raises(LoadError):
        read(storage, -1, 1)


def test_float6_of_a_number_of_bytes_that_three_does_not_divide() -> None:
    short = Float6(BytesStorage(RAW[:8].tobytes()), 10, 3)
    np.testing.assert_array_equal(whole(short), float6(3)[:10])
    assert read(short, 36, 4) == np.float32(float6(3)[9]).tobytes()


@given(st.integers(0, 100), st.integers(0, 100), st.integers(-2, 110), st.integers(0, 110))
def test_a_slice_is_a_range_and_no_more(offset: int, size: int, start: int, length: int) -> None:
    part = Slice(INNER, offset, size)
    if 0 <= start <= start + length <= size:
        assert read(part, start, length) == RAW.tobytes()[offset + start : offset + start + length]
    else:
        with pytest.raises(LoadError):
            read(part, start, length)


def test_signs_are_flipped_where_asked() -> None:
    numbers = (RAW[:64].astype(np.float32) - 100).view(np.complex64)
    inner = BytesStorage(numbers.tobytes())
    for conjugate in (False, True):
        for negate in (False, True):
            flipped = Flipped(inner, "complex64", conjugate, negate)
            expected = -numbers if negate else numbers
            assert read(flipped, 8, 80) == (expected.conj() if conjugate else expected)[1:11].tobytes()
            assert flipped.size == 256
    halves = RAW[:20].astype(ml_dtypes.bfloat16)
    assert read(Flipped(BytesStorage(halves.tobytes()), "bfloat16", False, True), 2, 8) == (-halves)[1:5].tobytes()


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1 << 20])
def test_text_that_is_bytes(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = RAW[:300].tobytes() + b"ab\xe9\xff\x00\x80"
    monkeypatch.setattr(storages, "STEP", step)
    storage = Latin1Bytes(BytesStorage(raw.decode("latin-1").encode("utf-8")))
    assert storage.size == len(raw) == 306
    assert not storage.shippable
    for offset, size in ((0, 306), (5, 20), (305, 1), (306, 0), (0, 306)):
        assert read(storage, offset, size) == raw[offset : offset + size]
    for offset, size in ((306, 1), (0, 307), (-1, 1)):
        with pytest.raises(LoadError, match=f"bytes {offset}–{offset + size} of 306"):
            read(storage, offset, size)


@pytest.mark.parametrize("step", [2, 3, 1 << 20])
@pytest.mark.parametrize(
    ("text", "reason"),
    [(b"ab\xc3", "ends inside a character"), ("aĀb".encode(), "beyond one byte"), (b"a\x80b", "beyond one byte")],
)
def test_text_that_is_no_bytes(text: bytes, reason: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storages, "STEP", step)
    storage = Latin1Bytes(BytesStorage(text))
    for _ in range(2):  # a failure is not taken for a decoded file
        with pytest.raises(LoadError, match=reason):
            read(storage, 0, 1)


def test_the_file_of_decoded_text_is_closed_with_its_storage() -> None:
    storage = Latin1Bytes(BytesStorage(b"abc"))
    assert read(storage, 0, 3) == b"abc"
    file = storage.spool._file
    assert Path(str(file.name)).is_absolute() or isinstance(file.name, int)
    del storage
    gc.collect()
    assert file.closed


def test_texts_of_one_pickle_share_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool()
    texts = [bytes(range(each, each + 200)) for each in range(50)]
    bad = Latin1Bytes(BytesStorage("aĀb".encode()), spool)
    made = [Latin1Bytes(BytesStorage(raw.decode("latin-1").encode("utf-8")), spool) for raw in texts]
    for storage, raw in [*zip(made, texts, strict=True)][::-1]:
        with pytest.raises(LoadError, match="beyond one byte"):
            read(bad, 0, 1)
        assert read(storage, 3, 100) == raw[3:103]
    assert [read(storage, 0, 200) for storage in made] == texts
    assert spool._end <= 50 * 200 + 50 * bad.size  # each once, and what could not be decoded leaves its place empty


def test_a_full_disk_is_a_load_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Spool, pieces: object, size: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "write", full)
    with pytest.raises(LoadError, match="temporary file: No space left"):
        read(Latin1Bytes(BytesStorage(b"abc")), 0, 1)


def test_what_can_be_sent_follows_the_bytes_behind(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    file = Range(LocalSource(tmp_path / "x"), 0, 3)
    for inner, expected in ((file, True), (Latin1Bytes(file), False)):
        codes, part = Dequantised(inner, "|u1", 3, (1.0,), (0.0,)), Slice(inner, 0, 1)
        computed = (part, codes, Float4(inner, 6), Float6(inner, 4, 3), Flipped(inner, "u1", True, True))
        assert [each.shippable for each in computed] == [expected] * 5
