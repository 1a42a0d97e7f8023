"""What joblib dumps: arrays in the midst of a pickle; and pickles in byte strings, as RLlib keeps them."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from tests.support.corpus import cases
from tests.support.loaders.opened import named, opened, same
from tests.support.tools import torch2grid

from torch2grid_builtin._inert import limits
from torch2grid_core import LoadError

joblib = pytest.importorskip("joblib")  # scikit-learn, which the tests need, brings it

RANDOM = np.random.default_rng(0)
ARRAYS: dict[str, Any] = {
    "fc1.weight": RANDOM.normal(size=(30, 20)).astype(np.float32),
    "fortran": np.asfortranarray(RANDOM.normal(size=(4, 5, 3))),
    "big": np.arange(6, dtype=">i4"),
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 3), np.float32),
    "half": np.arange(5, dtype=np.float16),
    "bytes": np.arange(7, dtype=np.uint8),
    "complex": np.array([1 + 2j, 3j], np.complex64),
    "view": np.arange(24.0).reshape(4, 6)[::2, 1:4],
    "bfloat": np.arange(4).astype(ml_dtypes.bfloat16),
    "inside": {"list": [np.ones(2), (np.zeros(3),)]},
}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_of_every_kind(protocol: int, tmp_path: Path) -> None:
    joblib.dump(ARRAYS, tmp_path / "x.joblib", protocol=protocol)
    checkpoint = opened(tmp_path / "x.joblib").part("all")
    expected = dict(named(ARRAYS))
    assert checkpoint.format == "joblib"
    assert list(checkpoint) == list(expected)
    for name, array in expected.items():
        assert checkpoint[name].shape == array.shape
        assert checkpoint[name].numpy().tolist() == array.tolist()
        assert checkpoint[name].dtype == array.dtype.newbyteorder("=")


def test_text_structures_and_objects_are_skipped_and_what_follows_is_read(tmp_path: Path) -> None:
    odd = {
        "text": np.array(["ab", "c"]),
        "dates": np.array(["2020-01-01"], "M8[D]"),
        "pairs": np.zeros(3, [("a", "f4"), ("b", "i8")]),
        "records": np.rec.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")]),
        "objects": np.array([None, np.ones(2), "x"], dtype=object),
        "mixed": np.zeros(2, [("a", "f4"), ("b", "O")]),
        "w": np.arange(4.0),
    }
    joblib.dump(odd, tmp_path / "x.joblib")
    checkpoint = opened(tmp_path / "x.joblib").part("all")
    assert checkpoint["w"].numpy().tolist() == [0, 1, 2, 3]
    assert checkpoint["objects.1"].numpy().tolist() == [1, 1]
    assert {"text", "pairs", "objects", "mixed"} <= {skip.name for skip in checkpoint.skipped}


def test_an_estimator_opens_under_the_names_of_its_attributes(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression

    estimator = LinearRegression().fit(np.arange(20.0).reshape(10, 2) ** 2, np.arange(10.0))
    joblib.dump(estimator, tmp_path / "x.joblib")
    assert opened(tmp_path / "x.joblib")["coef_"].numpy().tolist() == estimator.coef_.tolist()
    forest = RandomForestRegressor(2).fit(np.arange(20.0).reshape(10, 2), np.arange(10.0))
    joblib.dump({"forest": forest, "w": np.arange(4.0)}, tmp_path / "y.joblib")
    assert "w" in opened(tmp_path / "y.joblib").part("all")


def by_hand(dtype: str, shape: tuple[int, ...], data: bytes, alignment: int | None = None, padding: bytes = b"") -> bytes:
    """The bytes of ``{"w": array}`` as joblib writes it, of 1.1 without an *alignment*."""
    state = {"subclass": np.ndarray, "shape": shape, "order": "C", "dtype": np.dtype(dtype), "allow_mmap": True}
    if alignment is not None:
        state["numpy_array_alignment_bytes"] = alignment
    inside = pickle.dumps(state, 2)[2:-1]
    wrapper = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + inside + b"b"
    return b"\x80\x02}X\x01\x00\x00\x00w" + wrapper + padding + data + b"s."


def test_the_format_by_hand_with_and_without_padding(tmp_path: Path) -> None:
    data = struct.pack("<6f", *range(6))
    for alignment, padding in ((None, b""), (16, b"\x00"), (16, b"\x05\xff\xff\xff\xff\xff"), (64, b"\xff" * 256)):
        (tmp_path / "x").write_bytes(by_hand("<f4", (2, 3), data, alignment, padding))
        assert opened(tmp_path / "x")["w"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_what_lies_is_an_error(tmp_path: Path) -> None:
    data = struct.pack("<6f", *range(6))
    for raw, message in (
        (by_hand("<f4", (2, 3), data[:-8]), "broken pickle|ends|claimed"),
        (by_hand("<f4", (2**40, 2**20), data), "claimed where"),
        (by_hand("<f4", (2**62, 2**62), data), "claimed where|impossible|shape"),
        (by_hand("<f4", (2, 3), data, 16, b"\xff"), "claimed where"),
        (b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81Nb.", "without shape and dtype"),
        (b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}X\x05\x00\x00\x00shape)sb.", "without a dtype"),
        (by_hand("<f4", (2, 3), data).replace(b"X\x02\x00\x00\x00f4", b"X\x02\x00\x00\x00q4"), "of unknown length"),
        (by_hand("<f4", (2, 3), data).replace(b"X\x02\x00\x00\x00f4", b"X\x02\x00\x00\x00S0"), "another length than stated"),
        (b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81.", "holds no tensors"),
    ):
        (tmp_path / "x").write_bytes(raw)
        with pytest.raises(LoadError, match=message):
            opened(tmp_path / "x")


def test_objects_nested_without_end_are_refused(tmp_path: Path) -> None:
    head = (
        b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(X\x05\x00\x00\x00shape)X\x05\x00\x00\x00dtypecnumpy\ndtype\n"
    )
    head += b"X\x02\x00\x00\x00O8K\x00K\x01\x87Rub"
    (tmp_path / "x").write_bytes(head * 1000 + b"." * 1000)
    with pytest.raises(LoadError, match=r"broken pickle"):  # joblib gives what is inside to pickle, which knows no such arrays
        opened(tmp_path / "x")


def test_compressed_dumps_are_named_or_opened(tmp_path: Path) -> None:
    for method, told in (
        ("zlib", "is compressed with zlib, as joblib compresses"),
        ("bz2", "bzip2"),
        ("lzma", "lzma"),
        ("xz", "xz"),
    ):
        joblib.dump({"w": np.arange(50.0)}, tmp_path / method, compress=(method, 3))
        done = torch2grid(method, cwd=tmp_path)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert told in line
    joblib.dump({"w": np.arange(50.0)}, tmp_path / "gzip", compress=("gzip", 3))
    assert opened(tmp_path / "gzip")["w"].numpy().tolist() == list(range(50))


def test_a_nan_in_an_array_is_found(tmp_path: Path) -> None:
    array = np.ones((4, 4), np.float32)
    array[2, 3] = np.nan
    joblib.dump({"layers": [array]}, tmp_path / "x.joblib")
    done = torch2grid("check", "x.joblib", cwd=tmp_path)
    assert done.returncode == 1
    assert "T101 error layers.0[2, 3]: 1 of 16 weights is NaN" in done.stdout


class Evil:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch evil",)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickles_in_byte_strings_are_opened(protocol: int, tmp_path: Path) -> None:
    weights = {"fc1.weight": RANDOM.normal(size=(30, 20)).astype(np.float32), "fc1.bias": np.full(30, np.nan)}
    worker = pickle.dumps({"state": {"default_policy": {"weights": weights}}}, protocol)
    long = pickle.dumps({"w": np.arange(30_000.0)}, protocol)
    state = {
        "worker": worker,
        "other": long,
        "mark": b"\x80\x02 no pickle.",
        "evil": pickle.dumps([Evil()], protocol),
        "x": None,
    }
    (tmp_path / "x").write_bytes(pickle.dumps(state, protocol))
    checkpoint = opened(tmp_path / "x").part("all")
    for name, array in weights.items():
        assert same(checkpoint[f"worker.state.default_policy.weights.{name}"], array)
    assert checkpoint["other.w"].numpy().tolist() == list(range(30_000))
    assert any("system('touch evil')" in str(action) for action in checkpoint.not_run)
    done = torch2grid("check", "x", cwd=tmp_path)
    assert done.returncode == 1
    assert "worker.state.default_policy.weights.fc1.bias" in done.stdout
    assert not (tmp_path / "evil").exists()


def test_many_pickles_in_byte_strings_share_what_they_may_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORK_ALWAYS", limits.WORK_ALWAYS // 16)
    inner = pickle.dumps([[None] * 10 for _ in range(1000)])
    (tmp_path / "x").write_bytes(pickle.dumps({str(number): inner for number in range(1500 // 16)}))
    with pytest.raises(LoadError, match=r"pickles are nested in pickles|more often than any checkpoint"):
        opened(tmp_path / "x")


def test_the_cases() -> None:
    joblibs, rllib = opened(cases("found/picklers/arrays.joblib")), opened(cases("found/picklers/rllib_checkpoint"))
    assert [tensor.size for tensor in joblibs.values()] == [6000, 300, 1500, 5]
    assert [tensor.size for tensor in rllib.values()] == [6000, 300, 1500, 5]
    loaded = joblib.load(cases("found/picklers/arrays.joblib"))
    assert all(same(joblibs[name], array) for name, array in loaded.items())
    assert torch.tensor(rllib["fc1.weight" if "fc1.weight" in rllib else next(iter(rllib))].numpy()).isfinite().all()
