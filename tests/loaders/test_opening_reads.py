"""Opening a checkpoint reads what describes its tensors, in few reads, and none of their weights."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.loaders.test_one_row import bytes_read
from tests.support.hostile.evasions import short, text
from tests.support.tools import COMMAND, torch2grid

import torch2grid as t2g
from torch2grid_core import LoadError
from torch2grid_core._data import local

ARRAYS = {f"a{index}": np.random.default_rng(index).normal(size=(500, 128)).astype(np.float32) for index in range(40)}


def write(path: Path, kind: str) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
    if kind == "npz":
        np.savez(path, **ARRAYS)
    elif kind == "compressed npz":
        np.savez_compressed(path, **ARRAYS)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")


def counted_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is read of files of this machine from now on."""
    sizes: list[int] = []
    read_at, bytes_at = local._Open.read_at, local._Open.bytes_at

    def reading(self: Any, buffer: memoryview, offset: int) -> int:
        sizes.append(len(buffer))
        return read_at(self, buffer, offset)

    def giving(self: Any, offset: int, length: int) -> bytes:
        sizes.append(length)
        return bytes_at(self, offset, length)

    monkeypatch.setattr(local._Open, "read_at", reading)
    monkeypatch.setattr(local._Open, "bytes_at", giving)
    return sizes


ROW = 4096


def sparse(path: Path, length: int, size: int, end: bytes = b"") -> Path:
    """One matrix of zeros, of about *size* bytes that take no place on the disk, behind a header of *length* bytes."""
    rows = size // ROW
    entry = {"w": {"dtype": "F32", "shape": [rows, ROW // 4], "data_offsets": [0, rows * ROW]}}
    header = json.dumps(entry, separators=(",", ":")).encode()
    assert len(header) <= length
    with path.open("wb") as file:
        file.write(struct.pack("<Q", length) + header.ljust(length))
        file.truncate(8 + length + rows * ROW)
        file.seek(-len(end), os.SEEK_END)
        file.write(end)
    return path


@pytest.mark.parametrize("more", [0, 0x09, 0x22, 0x27, 0x30, 0x31], ids=hex)
def test_opening_reads_the_header_and_little_more_whatever_its_length(
    more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The length of a header is what an unpickler would begin with: an opcode, and blanks, quotes and digits behind it."""
    sizes = counted_reads(monkeypatch)
    for low in range(256):
        length = low + 256 * more
        length += 512 * (length < 75)
        for end in (b"", b"\n"):
            path = sparse(tmp_path / "m.safetensors", length, 1 << 30, end)
            del sizes[:]
            found = t2g.load(path)
            assert sum(sizes) <= length + 40_000, length
            assert found["w"].shape == ((1 << 30) // ROW, ROW // 4)
            assert not found["w"][7].any()
            assert sum(sizes) <= length + 40_000 + ROW, length


LENGTHS = [ord(opcode) + 256 * (opcode in "F") for opcode in "FILSVcgipP"]


@pytest.mark.skipif(shutil.which("strace") is None or sys.platform != "linux", reason="strace is not installed")
@pytest.mark.parametrize("length", [*LENGTHS, 0x1022, 0x2253])
def test_tree_and_a_row_read_little_of_any_file(length: int, tmp_path: Path) -> None:
    path = sparse(tmp_path / "m.safetensors", length, 1 << 30)
    row = (str(path), "--values", "--slice", "1234", "--only", "w", "-q", "-o", "row.npy")
    assert bytes_read(path, str(COMMAND), *row) <= length + ROW + 65_536
    assert bytes_read(path, str(COMMAND), "tree", str(path)) <= length + (1 << 20)


def test_a_file_without_line_ends_is_clean_and_one_with_a_program_behind_them_is_not(tmp_path: Path) -> None:
    """A line of text that is longer than is held in memory is read all the same, where the whole file is looked at."""
    size, far = 70 << 20, b"\n0" + short("os") + short("system") + b"\x93" + text("true") + b"\x85R."
    clean, found = [], []
    for length in [*LENGTHS, 0x2253]:
        clean.append(sparse(tmp_path / f"clean{length}.safetensors", length, size))
        found.append(sparse(tmp_path / f"far{length}.safetensors", length, size, far))
    for path in clean:
        assert t2g.load(path).not_run == (), path
    ill = {path.name for path in found if any("os.system" in str(each) for each in t2g.load(path).not_run)}
    assert ill == {f"far{length}.safetensors" for length in (ord("I"), ord("V"))}
    done = torch2grid("check", *sorted(ill), "--jobs", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("os.system") >= 2


@pytest.mark.parametrize("kind", ["npz", "compressed npz", "legacy", "zip"])
def test_opening_reads_headers_alone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("x.npz" if "npz" in kind else "x.pth")
    write(path, kind)
    sizes = counted_reads(monkeypatch)
    found = t2g.load(path)
    assert path.stat().st_size > 9_000_000
    assert sum(sizes) < 120_000 + 6000 * len(ARRAYS)
    assert len(sizes) < 40 + 4 * len(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(found[name][3:5, 7], array[3:5, 7])


@pytest.mark.parametrize("kind", ["npz", "compressed npz"])
def test_an_array_whose_header_was_read_alone_is_checked_in_a_pass(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write(path, kind)
    raw = bytearray(path.read_bytes())
    raw[150_000] ^= 1
    path.write_bytes(raw)
    found = t2g.load(path)
    with pytest.raises(LoadError, match=r"'a0.npy' (is damaged|unpacks to|cannot be unpacked)"):
        list(found["a0"].chunks())
