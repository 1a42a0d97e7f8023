"""Archives, headers and indices that lie are errors; what they may legally say is read."""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import time
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.loaders.opened import opened, same

from torch2grid_builtin._inert import limits
from torch2grid_builtin._loaders.safetensors import Safetensors
from torch2grid_builtin._loaders.sharded import Sharded
from torch2grid_builtin._loaders.zip_archive import ZipArchive, open_zip
from torch2grid_core import LoadError
from torch2grid_core.sources import LocalSource

WEIGHTS = {"w": torch.arange(12.0).reshape(3, 4), "b": torch.arange(5)}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    torch.save(WEIGHTS, tmp_path / "archive.pt")
    return tmp_path / "archive.pt"


def changed(path: Path, change: Callable[[bytearray], Any]) -> Path:
    raw = bytearray(path.read_bytes())
    change(raw)
    path.write_bytes(raw)
    return path


def central(raw: bytearray, name: bytes) -> int:
    """Where the central directory's entry of *name* begins."""
    return raw.rindex(b"PK\x01\x02", 0, raw.rindex(name))


def read_all(path: Path) -> None:
    for tensor in opened(path).values():
        tensor.numpy()


ZIP_LIES: dict[str, tuple[Callable[[bytearray], Any], str]] = {
    "cut short": (lambda raw: raw.__delitem__(slice(len(raw) - 30, None)), "without its end"),
    "in front": (lambda raw: raw.__setitem__(slice(0, 0), b"PK\x03\x04 more"), "front|damaged"),
    "local name": (lambda raw: raw.__setitem__(raw.index(b"archive/data/0") + 13, ord("7")), "another name"),
    "local size": (lambda raw: raw.__setitem__(raw.index(b"archive/data/0") - 12, 9), "twice, differently|bytes"),
    "encrypted": (lambda raw: raw.__setitem__(central(raw, b"archive/data/0") + 8, 1), "encrypted"),
    "method": (lambda raw: raw.__setitem__(central(raw, b"archive/data/0") + 10, 12), "not read"),
    "place": (lambda raw: raw.__setitem__(central(raw, b"archive/data/0") + 42, 1), "overlap"),
    "place of the first": (
        lambda raw: raw.__setitem__(central(raw, b"archive/data.pkl") + 42, 1),
        "of no record|directory says",
    ),
    "directory": (lambda raw: raw.__setitem__(central(raw, b"archive/data/0"), 0), "directory is damaged"),
}


@pytest.mark.parametrize("lie", ZIP_LIES)
def test_a_zip_that_lies_is_an_error(lie: str, archive: Path) -> None:
    change, message = ZIP_LIES[lie]
    with pytest.raises(LoadError, match=message):
        read_all(changed(archive, change))


def test_two_records_of_one_name_are_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as made:
        made.writestr("a/data.pkl", b"N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("a/data.pkl", b"N.")
    with pytest.raises(LoadError, match="two records"):
        opened(tmp_path / "x.pt")


def test_a_comment_and_zip64_records_are_read(tmp_path: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(tmp_path / "y.pt", "w") as new:
        for name in old.namelist():
            with new.open(name, "w", force_zip64=True) as record:
                record.write(old.read(name))
        new.comment = b"a comment"
    checkpoint = opened(tmp_path / "y.pt")
    assert all(same(checkpoint[name], WEIGHTS[name]) for name in WEIGHTS)
    with zipfile.ZipFile(tmp_path / "y.pt", "a") as made:
        made.comment = b"PK\x05\x06 a comment that looks like an end"
    with pytest.raises(LoadError, match="followed by something else"):  # PyTorch takes it for the end, too
        opened(tmp_path / "y.pt")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"w": torch.zeros(100_000)}, tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "x") as old, zipfile.ZipFile(tmp_path / "y", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert not opened(tmp_path / "y")["w"].numpy().any()
    monkeypatch.setattr(limits, "INFLATE_ALWAYS", 100_000)
    with pytest.raises(LoadError, match="bomb"):
        opened(tmp_path / "y")
    monkeypatch.setattr(limits, "PICKLE_INFLATED", 10)
    with pytest.raises(LoadError, match="bomb"):
        opened(tmp_path / "y")


def arrays(path: Path, count: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for index in range(count):
            made.writestr(f"{index}.npy", npy(np.zeros(5000, np.uint8)))
    return path


def test_records_that_are_a_bomb_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 5128  # of an array with its header
    monkeypatch.setattr(limits, "INFLATE_RATIO", 1)
    monkeypatch.setattr(limits, "INFLATE_ALWAYS", 20 * size)
    assert len(opened(arrays(tmp_path / "20.npz", 20))) == 20
    with pytest.raises(LoadError, match=r"unpacks from \d+ to more than \d+ bytes.*bomb"):
        opened(arrays(tmp_path / "21.npz", 21))
    monkeypatch.setattr(limits, "INFLATE_RATIO", 21 * size / (tmp_path / "21.npz").stat().st_size)
    assert len(opened(tmp_path / "21.npz")) == 21
    archive = ZipArchive(LocalSource(tmp_path / "20.npz"))
    monkeypatch.setattr(limits, "INFLATE_RATIO", 1)
    for _ in range(30):  # a record is unpacked once
        archive.storage("0.npy").read_into(0, memoryview(bytearray(10)))


def temporary() -> int:
    """How many temporary files of ours this process has open."""
    links = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if name.isdigit() and _is_open(name)]
    return sum("torch2grid-" in link or ("(deleted)" in link and "/#" in link) for link in links)


def _is_open(name: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{name}")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_what_was_unpacked_goes_with_the_checkpoint(tmp_path: Path) -> None:
    gc.collect()
    before = temporary()
    checkpoint = opened(arrays(tmp_path / "x.npz", 3))
    assert not checkpoint["0"].numpy().any()
    assert temporary() == before + 1
    del checkpoint
    gc.collect()
    assert temporary() == before


def test_a_directory_is_read_once_and_kept_as_long_as_its_source(tmp_path: Path) -> None:
    source = LocalSource(arrays(tmp_path / "x.npz", 3))
    archive = open_zip(source)
    assert open_zip(source) is archive
    gone = weakref.ref(archive)
    del archive
    assert gone() is not None
    del source
    gc.collect()
    assert gone() is None


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_thousands_of_long_texts_that_are_bytes_need_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TEXT_IN_MEMORY", 100)
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x80\x85"
    head += b"cnumpy\ndtype\nU\x02u1\x85R\x89"
    one = head + b"c_codecs\nencode\n" + text("é".encode() * 128) + b"U\x06latin1\x86Rtb"
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02](" + one * 1200 + b"e.")
    gc.collect()
    before = temporary()
    checkpoint = opened(tmp_path / "x.pkl")
    assert {tensor.numpy().tobytes() for tensor in checkpoint.values()} == {b"\xe9" * 128}
    assert temporary() == before + 1


def test_a_deflated_record_that_claims_another_size(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.npy", b"\0" * 1000)
    raw = bytearray((tmp_path / "x").read_bytes())
    struct.pack_into("<L", raw, 22, 900)
    struct.pack_into("<L", raw, raw.rindex(b"PK\x01\x02") + 24, 900)
    (tmp_path / "x").write_bytes(raw)
    storage = ZipArchive(LocalSource(tmp_path / "x")).storage("x.npy")
    with pytest.raises(LoadError, match="more than the 900 bytes"):
        storage.read_into(0, memoryview(bytearray(10)))


def test_a_zip_of_something_else_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("readme.txt", "hello")
    with pytest.raises(LoadError, match="without a checkpoint: its only file is not one"):
        opened(tmp_path / "x.zip")


def written(path: Path, header: Any, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


def described(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_every_dtype_of_safetensors(tmp_path: Path) -> None:
    tensor = described("F4", [3, 2], [0, 3])
    codes = np.array([0x21, 0x43, 0x65], np.uint8)
    checkpoint = opened(written(tmp_path / "x", {"w": tensor}, codes.tobytes()))
    assert checkpoint["w"].numpy().astype(np.float32).tolist() == [[0.5, 1.0], [1.5, 2.0], [3.0, 4.0]]
    assert [chunk.astype(float).tolist() for chunk in checkpoint["w"].chunks(4)] == [[0.5, 1.0, 1.5, 2.0], [3.0, 4.0]]
    six = described("F6_E2M3", [4], [0, 3])
    packed = (0b001000 | 0b010000 << 6 | 0b101000 << 12 | 0b000001 << 18).to_bytes(3, "little")
    assert opened(written(tmp_path / "x", {"w": six}, packed))["w"].numpy().tolist() == [1.0, 2.0, -1.0, 0.125]


HEADERS: dict[str, tuple[Any, str]] = {
    "metadata twice": (b'{"__metadata__":{},"__metadata__":{},"w":' + json.dumps(described()).encode() + b"}", "twice"),
    "field twice": (b'{"w":{"dtype":"I32",' + json.dumps(described()).encode()[1:] + b"}", "two dtype"),
    "overlap": ({"a": described(), "b": described(offsets=[4, 12])}, "overlaps"),
    "hole": ({"a": described(offsets=[8, 16])}, "hole"),
    "behind": ({"a": described()}, "fill 8"),
    "beyond": ({"a": described(shape=[6], offsets=[0, 24])}, "reaches to byte"),
    "size": ({"a": described(shape=[3], offsets=[0, 16])}, "has 16 bytes"),
    "negative": ({"a": described(shape=[-2, -1])}, "no shape"),
    "truth": ({"a": described(shape=[True, 2])}, "no shape"),
    "float": ({"a": described(offsets=[0.0, 8.0])}, "whole number"),
    "deep": (b'{"a":' + b"[" * 50_000, "not the JSON"),
    "metadata": ({"__metadata__": {"a": 1}, "w": described()}, "__metadata__"),
    "no tensors": ({}, "but its tensors fill 0"),
}


@pytest.mark.parametrize("lie", HEADERS)
def test_a_safetensors_header_that_lies_is_an_error(lie: str, tmp_path: Path) -> None:
    header, message = HEADERS[lie]
    with pytest.raises(LoadError, match=message):
        Safetensors().load(LocalSource(written(tmp_path / "x.safetensors", header, b"\0" * 16)))


def test_a_shape_of_millions_of_lengths_is_refused_at_once(tmp_path: Path) -> None:
    for length, message in ((1000, "holds no tensors|dimensions|an address"), (1_000_000, "an address")):
        started = time.process_time()
        with pytest.raises(LoadError, match=message):
            opened(written(tmp_path / "x.safetensors", {"w": described("F32", [9] * length)}, bytes(8)))
        assert time.process_time() - started < 3
    with pytest.raises(LoadError, match="1000 dimensions"):
        opened(written(tmp_path / "x.safetensors", {"w": described("F32", [1] * 999 + [2])}, bytes(8)))


def test_an_unknown_dtype_is_skipped_beside_a_good_one(tmp_path: Path) -> None:
    header = {"a": described("F3_ALIEN", [2], [0, 8]), "b": described(offsets=[8, 16]), "__metadata__": {"by": "a test"}}
    checkpoint = opened(written(tmp_path / "x", header, b"\0" * 16))
    assert list(checkpoint) == ["b"]
    assert checkpoint.skipped[0].name == "a"
    assert checkpoint.metadata == {"by": "a test"}


def sharded(folder: Path, files: dict[str, dict[str, torch.Tensor]], weight_map: dict[str, Any]) -> Path:
    for name, tensors in files.items():
        torch.save(tensors, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return folder


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="without an"):
        Sharded().load(LocalSource(tmp_path))
    files = {"1.bin": {"w": WEIGHTS["w"]}, "2.bin": {"b": WEIGHTS["b"]}}
    folder = sharded(tmp_path, files, {"b": "2.bin", "w": "1.bin"})
    checkpoint = opened(folder)
    assert list(checkpoint) == ["b", "w"]
    assert all(same(checkpoint[name], WEIGHTS[name]) for name in WEIGHTS)
    assert checkpoint.format == "2 shards of PyTorch zip"
    (folder / "other.index.json").write_text("{}")
    with pytest.raises(LoadError, match="2 checkpoints"):
        opened(folder)


@pytest.mark.parametrize(
    "name", ["../1.bin", "/etc/passwd", "a/../../1.bin", "C:\\x", "\\\\host\\x", "..\\1.bin", "", ".", "a\0b"]
)
def test_a_shard_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    torch.save(WEIGHTS, tmp_path / "1.bin")
    with pytest.raises(LoadError, match="outside its folder"):
        opened(sharded(inside, {}, {"w": name}))


def test_a_missing_shard_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"names the shard 1\.bin, which is not there; fetch it again"):
        opened(sharded(tmp_path, {}, {"w": "1.bin"}))
    with pytest.raises(LoadError, match="names no tensors"):
        opened(sharded(tmp_path, {}, {}))


def test_one_file_under_two_names_is_one_shard(tmp_path: Path) -> None:
    checkpoint = opened(sharded(tmp_path, {"1.bin": WEIGHTS}, {"w": "1.bin", "b": "././1.bin"}))
    assert list(checkpoint) == ["w", "b"]
    assert checkpoint.format == "1 shard of PyTorch zip"


def test_what_shards_say_is_kept(tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "1.bin": {"w": WEIGHTS["w"], "extra": torch.zeros(2), "meta": torch.empty(2, device="meta")},
        "2.bin": {"b": WEIGHTS["b"], "extra": torch.ones(2), "named": torch.empty(3, device="meta")},
    }
    folder = sharded(tmp_path, files, {"w": "1.bin", "b": "2.bin", "named": "2.bin"})
    torch.save(files["2.bin"], tmp_path / "2.bin", _use_new_zipfile_serialization=False)
    with open(tmp_path / "2.bin", "ab") as file:
        file.write(b"more")
    checkpoint = opened(folder)
    assert list(checkpoint) == ["w", "b", "extra"]
    assert checkpoint["extra"].numpy().tolist() == [0, 0]
    assert sorted(skip.name for skip in checkpoint.skipped) == ["meta", "named"]
    told = "\n".join(checkpoint.notes)
    assert "2.bin: 4 bytes behind the last storage were not read" in told
    assert "2.bin holds extra that 1.bin holds too" in told


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), **options)
    return buffer.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.filterwarnings("ignore:Stored array in format")
def test_npy_of_every_version(version: tuple[int, int], tmp_path: Path) -> None:
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6, dtype=">i2").reshape(3, 2)), np.float32(3)):
        (tmp_path / "x.npy").write_bytes(npy(array, version=version))
        found = opened(tmp_path / "x.npy")["x"]
        assert found.numpy().tolist() == np.asarray(array).tolist()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (npy(np.arange(6.0))[:-1], "needs 48 bytes"),
        (npy(np.arange(6.0))[:20], "longer than the file"),
        (npy(np.arange(6.0)).replace(b"(6,)", b"(-6)"), "cannot be read|impossible"),
        (npy(np.arange(6.0)).replace(b"(6,)", b"x() "), "cannot be read"),
        (npy(np.array([None], dtype=object), allow_pickle=True), "Python objects"),
        (npy(np.array(["text"])), "not numbers"),
    ],
)
def test_npy_that_lies_or_holds_no_numbers(raw: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(raw)
    with pytest.raises(LoadError, match=message):
        opened(tmp_path / "x.npy")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_arrays_that_are_none(save: Any, tmp_path: Path) -> None:
    save(tmp_path / "x.npz", w=np.arange(4.0), o=np.array([None], dtype=object), s=np.array("text"))
    checkpoint = opened(tmp_path / "x.npz")
    assert list(checkpoint) == ["w"]
    assert checkpoint["w"].numpy().tolist() == [0, 1, 2, 3]
    assert {skip.name for skip in checkpoint.skipped} == {"o.npy", "s.npy"}


def test_no_changed_header_of_an_npz_opens_otherwise(tmp_path: Path) -> None:
    """Also where it says that there is nothing to read, and no pass would come to the checksum."""
    array = np.arange(4.0)
    np.savez(tmp_path / "x.npz", w=array)
    raw = (tmp_path / "x.npz").read_bytes()
    begin = raw.index(b"\x93NUMPY")
    written = raw[begin : raw.index(array.tobytes())]
    names = [b"<f8", b"(4,)", b"False"]
    others = [
        [b"|f8", b">f8", b"<f4", b"<c8", b"<i8", b"<f16", b"<c32", b"|S8"],
        [b"(0,)", b"(3,)", b"(2,2)", b"(0,4)", b"()"],
        [b"True"],
    ]
    changes = [written.replace(name, other) for name, row in zip(names, others, strict=True) for other in row]
    changes = [each.rstrip().ljust(len(written) - 1) + b"\n" for each in changes]
    for place in range(len(written)):
        changes += [written[:place] + bytes([written[place] ^ 1 << bit]) + written[place + 1 :] for bit in range(8)]
    for header in changes:
        assert len(header) == len(written)
        (tmp_path / "y.npz").write_bytes(raw[:begin] + header + raw[begin + len(header) :])
        with pytest.raises(LoadError):
            opened(tmp_path / "y.npz")["w"].numpy()


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as made:
        for name in ("sys_info", "pickle", "storages"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            made.addfile(link)
    with pytest.raises(LoadError, match="member 'sys_info' that is a link, which readers take differently"):
        opened(tmp_path / "x.tar")


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_what_a_pickle_may_cost_follows_its_size(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "pickle":
        (tmp_path / "x").write_bytes(pickle.dumps({"w": np.ones(3)}))
    else:
        torch.save(WEIGHTS, tmp_path / "x", _use_new_zipfile_serialization=form == "zip")
    monkeypatch.setattr(limits, "WORK_ALWAYS", 0)
    monkeypatch.setattr(limits, "WORK_BYTES", 1)
    assert "w" in opened(tmp_path / "x")
    monkeypatch.setattr(limits, "WORK_BYTES", 1 << 20)
    with pytest.raises(LoadError, match=r"x: the pickle repeats its objects more often"):
        opened(tmp_path / "x")
