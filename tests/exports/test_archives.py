"""Zip and tar archives of one checkpoint, NeMo's among them, and forms that are refused."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save as safetensors_bytes
from tests.hostile.test_evasions import said_of
from tests.support.distributed import made
from tests.support.loaders.opened import opened, same
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_core import LoadError

STATE = {"fc.weight": torch.arange(12.0).reshape(3, 4), "fc.bias": torch.ones(3)}


def checkpoint(state: Mapping[str, torch.Tensor] = STATE) -> bytes:
    target = io.BytesIO()
    torch.save(dict(state), target)
    return target.getvalue()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return target.getvalue()


def deflated(files: Mapping[str, bytes]) -> bytes:
    return zipped(files, zipfile.ZIP_DEFLATED)


def tarred(files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, raw in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(raw), 1.5  # a float, which pax writes in a header of its own
            archive.addfile(info, io.BytesIO(raw))
    return target.getvalue()


def gnu(files: Mapping[str, bytes]) -> bytes:
    return tarred(files, tarfile.GNU_FORMAT)


def packed(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tarred(files))


PACKERS: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "zip": zipped,
    "deflated": deflated,
    "tar": tarred,
    "gnu": gnu,
    "tar.gz": packed,
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["model.pth", "run/one/model.pth", f"{'long/' * 30}{'x' * 90}.pth", "./a/ü.pth"])
def test_an_archive_of_one_checkpoint(packer: str, name: str, tmp_path: Path) -> None:
    files = {"notes.txt": b"hello", name: checkpoint(), "config.json": b"{}"}
    (tmp_path / "a.bin").write_bytes(PACKERS[packer](files))
    found = opened(tmp_path / "a.bin")
    assert found.format == f"PyTorch zip in a {'zip' if packer in ('zip', 'deflated') else 'tar'} archive"
    assert all(same(found[each], value) for each, value in STATE.items())
    assert list(found) == list(STATE)
    assert found.not_run == ()


@pytest.mark.parametrize("packer", PACKERS)
def test_one_of_several_is_named_by_its_path(packer: str, tmp_path: Path) -> None:
    other = {"w": torch.full((2, 2), 5.0)}
    (tmp_path / "a.zip").write_bytes(PACKERS[packer]({"one.pth": checkpoint(), "in/two.pth": checkpoint(other)}))
    run = torch2grid("a.zip", cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "archive of 2 checkpoints: one.pth, in/two.pth; give the path of one of them: a.zip/one.pth" in run.stderr
    run = torch2grid("a.zip/in/two.pth", "--stats", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "a.zip/in/two.pth: PyTorch zip, 1 tensor, 4 parameters" in run.stderr
    assert t2g.load(tmp_path / "a.zip" / "in" / "two.pth")["w"][0, 0] == 5
    for wrong in ("a.zip/three.pth", "a.zip/one.pth/more", "a.zip/../a.zip/x"):
        run = torch2grid(wrong, cwd=tmp_path)
        assert run.returncode == 1
        assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("form", [tarred, packed])
def test_nemo(form: Callable[[Mapping[str, bytes]], bytes], tmp_path: Path) -> None:
    config = {"./model_config.yaml": b"target: x\n", "./tokenizer.model": b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02"}
    (tmp_path / "a.nemo").write_bytes(form({**config, "./model_weights.ckpt": checkpoint()}))
    found = opened(tmp_path / "a.nemo")
    assert found.format == "PyTorch zip in a NeMo archive"
    assert all(same(found[each], value) for each, value in STATE.items())
    made.dcp(tmp_path / "weights", dict(STATE), objects={"step": 3})
    parts = {f"./model_weights/{path.name}": path.read_bytes() for path in (tmp_path / "weights").iterdir()}
    (tmp_path / "b.nemo").write_bytes(form({**config, **parts}))
    found = opened(tmp_path / "b.nemo")
    assert "distributed checkpoint of" in found.format
    assert found.format.endswith("in a NeMo archive")
    assert all(same(found[each], value) for each, value in STATE.items())
    run = torch2grid("check", "b.nemo", cwd=tmp_path)
    assert run.returncode in (0, 1)
    assert "not_run" not in run.stdout


def test_formats_without_checksums_are_checked_as_records(tmp_path: Path) -> None:
    weights = {"w": np.arange(1000, dtype=np.float32)}
    for form in (zipped, deflated):
        raw = form({"model.safetensors": safetensors_bytes(weights)})
        (tmp_path / "a.zip").write_bytes(raw)
        assert opened(tmp_path / "a.zip")["w"].numpy().tolist() == weights["w"].tolist()
        spoilt = bytearray(raw)
        spoilt[len(raw) // 2] ^= 1
        (tmp_path / "a.zip").write_bytes(spoilt)
        with pytest.raises(LoadError, match=r"CRC-32|unpacked"):
            opened(tmp_path / "a.zip")["w"].numpy()
    (tmp_path / "a.tar").write_bytes(tarred({"model.safetensors": safetensors_bytes(weights)}))
    assert t2g.stats(str(tmp_path / "a.tar")) is not None


def test_what_is_beside_a_model_is_no_second_one(tmp_path: Path) -> None:
    files = {"m/model.safetensors": safetensors_bytes({"w": np.ones(3, np.float32)}), "m/optimizer.pt": checkpoint()}
    (tmp_path / "a.zip").write_bytes(zipped(files))
    found = opened(tmp_path / "a.zip")
    assert list(found) == ["w"]
    assert "model.safetensors is shown; beside it: optimizer.pt" in found.notes


def member(name: str, kind: bytes = b"0", size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.GNU_FORMAT)


MODEL = checkpoint()
PADDED = MODEL + bytes(-len(MODEL) % 512)
END = bytes(1024)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "a way out": (zipped({"../../x.pth": MODEL}), "outside of it"),
    "an absolute name": (zipped({"/x.pth": MODEL}), "outside of it"),
    "out of a tar": (tarred({"a/../../x.pth": MODEL}), "outside of it"),
    "a file that is a folder": (zipped({"a": b"1", "a/x.pth": MODEL}), "two files 'a'"),
    "two of one name": (tarred({"./x.pth": MODEL, "x.pth": MODEL}), "two files 'x.pth'"),
    "an archive in one": (zipped({"in.zip": zipped({"x.pth": MODEL})}), "is an archive in an archive"),
    "a sparse file": (member("x.pth", b"S", len(MODEL)) + PADDED + END, "tar archive"),
    "beyond the end": (member("x.pth", size=10**9) + PADDED, "tar archive"),
    "nothing": (tarred({"readme.md": b"hi"}), "without a checkpoint: its only file is not one"),
    "long": (tarred({"a" * 256 + "/x.pth": MODEL}), "a name of more than 255 characters"),
    "deep": (zipped({"a/" * 100 + "x.pth": MODEL}), "in more than 64 folders"),
}


@pytest.mark.parametrize("kind", [*HOSTILE, "a bomb"])
def test_archives_that_are_refused(kind: str, tmp_path: Path) -> None:
    raw, told = HOSTILE.get(kind) or (deflated({"model.safetensors": bytes(300 << 20)}), "decompression bomb")
    (tmp_path / "a.bin").write_bytes(raw)
    with pytest.raises(LoadError) as caught:
        opened(tmp_path / "a.bin")
    assert told in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_bomb_of_gzip_in_a_nemo_file(tmp_path: Path) -> None:
    (tmp_path / "a.nemo").write_bytes(
        gzip.compress(tarred({"model_config.yaml": b"", "model_weights.ckpt": bytes(300 << 20)}), 9)
    )
    run = torch2grid("a.nemo", cwd=tmp_path)
    assert run.returncode == 1
    assert "unpacks from" in run.stderr


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.pth").write_bytes(MODEL)
    (tmp_path / "a.tar").write_bytes(member("model.pth", b"2", link=str(tmp_path / "secret.pth")) + END)
    with pytest.raises(LoadError, match="without a checkpoint: it holds no files"):
        opened(tmp_path / "a.tar")


EVIL = b"\x80\x02cos\nmkdir\n(X\x08\x00\x00\x00t2g-madetR."


def test_what_an_archive_would_run_is_said(tmp_path: Path) -> None:
    """In the checkpoint, beside it, and where PyTorch takes the outer archive for its own."""
    for name, raw in {
        "inner.zip": zipped({"m.pkl": EVIL}),
        "beside.zip": zipped({"model.pth": MODEL, "optimizer.pkl": EVIL}),
        "inner.tar": tarred({"m.pkl": EVIL}),
        "inner.tar.gz": packed({"m.pkl": EVIL}),
        "legacy.tar": tarred({"model.pth": MODEL, "pickle": EVIL, "storages": b"\x80\x02K\0."}),
        "link.tar": member("pickle", b"2", link="evil") + member("model.pth", size=len(MODEL)) + PADDED + END,
    }.items():
        (tmp_path / name).write_bytes(raw)
    said = said_of(tmp_path, ["inner.zip", "beside.zip", "inner.tar", "inner.tar.gz", "legacy.tar", "link.tar"])
    for name in ("inner.zip", "beside.zip", "inner.tar", "inner.tar.gz", "legacy.tar"):
        assert "os.mkdir" in said[name], (name, said[name])
    assert "torch.save" not in said["link.tar"]
    assert "tar archive" in said["link.tar"]
