"""One row of a large file costs the row and the headers; what other readers do with the file is asked when it matters."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.tools import COMMAND, torch2grid

import torch2grid as t2g
from torch2grid_core import LoadError, measure
from torch2grid_core.measures import Summary

ROWS, COLUMNS = 3000, 700
WEIGHTS = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)).astype(np.float32)
READ_ROW = "import sys, torch2grid; print(torch2grid.load(sys.argv[1])['w'][1234].sum())"


def safetensors(path: Path, size: int = WEIGHTS.nbytes) -> Path:
    """The weights, and what follows them to *size* bytes as a tensor of its own."""
    entries = {
        "w": {"dtype": "F32", "shape": [ROWS, COLUMNS], "data_offsets": [0, WEIGHTS.nbytes]},
        "x": {"dtype": "U8", "shape": [size - WEIGHTS.nbytes], "data_offsets": [WEIGHTS.nbytes, size]},
    }
    header = json.dumps(entries).encode().ljust(256)
    path.write_bytes(struct.pack("<Q", len(header)) + header + WEIGHTS.tobytes())
    return path


def stored(path: Path) -> Path:
    torch.save({"w": torch.from_numpy(WEIGHTS), "b": torch.zeros(5)}, path)
    return path


def bytes_read(path: Path, *words: str) -> int:
    """How many bytes of *path* the command *words* reads."""
    log = path.with_suffix(".log")
    for old in path.parent.glob(f"{log.name}.*"):
        old.unlink()
    tracing = ["strace", "-ff", "-y", "-e", "trace=read,pread64,readv,preadv,preadv2,mmap", "-o", str(log)]
    done = subprocess.run([*tracing, *words], cwd=path.parent, capture_output=True, text=True, check=False)
    if done.returncode and "ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    lines = "".join(each.read_text() for each in path.parent.glob(f"{log.name}.*")).splitlines()
    mine = [line for line in lines if f"/{path.name}>" in line]
    assert mine
    assert not [line for line in mine if "mmap(" in line]
    return sum(int(found[1]) for line in mine if (found := re.search(r"= (\d+)$", line)))


@pytest.mark.skipif(shutil.which("strace") is None or sys.platform != "linux", reason="strace is not installed")
@pytest.mark.parametrize("write", [safetensors, stored])
def test_a_row_costs_a_row(write, tmp_path):
    path = write(tmp_path / "model.bin")
    row = 4 * COLUMNS
    assert row <= bytes_read(path, sys.executable, "-c", READ_ROW, str(path)) <= row + 16_384
    chosen = (str(path), "--slice", "1234", "--only", "w")
    for words in (
        (*chosen, "--values"),
        (*chosen, "--values", "-q"),
        (*chosen, "--outliers"),
        (*chosen, "--layers", "--stats"),
    ):
        assert row <= bytes_read(path, str(COMMAND), *words) <= row + 32_000, words


@pytest.mark.skipif(shutil.which("strace") is None or sys.platform != "linux", reason="strace is not installed")
def test_the_pickle_of_many_tensors_is_read_once(tmp_path):
    path = tmp_path / "model.pth"
    small = {f"layers.{layer}.{name}.weight": torch.zeros(8) for layer in range(25) for name in "abcdefgh"}
    torch.save({"w": torch.from_numpy(WEIGHTS), **small}, path)
    with zipfile.ZipFile(path) as archive:
        pickled = next(each.file_size for each in archive.infolist() if each.filename.endswith("data.pkl"))
        directory = sum(46 + len(each.filename) for each in archive.infolist())
    assert pickled > 15_000
    read = bytes_read(path, str(COMMAND), str(path), "--slice", "1234", "--only", "w", "--values", "-q")
    assert pickled + directory <= read <= pickled + directory + 4 * COLUMNS + 15_000


@pytest.mark.skipif(shutil.which("strace") is None or sys.platform != "linux", reason="strace is not installed")
@pytest.mark.parametrize("write", [safetensors, stored])
def test_comparing_a_row_costs_a_row_of_each(write, tmp_path):
    path, other = write(tmp_path / "model.bin"), write(tmp_path / "other.bin")
    words = ("compare", str(path), str(other), "--slice", "1234", "--only", "w", "--stats")
    assert 4 * COLUMNS <= bytes_read(path, str(COMMAND), *words) <= 4 * COLUMNS + 32_000


def test_a_slice_says_what_the_file_itself_asks_for_and_what_is_not_looked_at(tmp_path):
    """What is known from opening the file is printed; for the rest nobody reads on, and a line says so."""

    class Evil:
        def __reduce__(self):
            return eval, ("1",)

    own = tmp_path / "own.pth"
    torch.save({"w": torch.from_numpy(WEIGHTS), "evil": Evil()}, own)
    polyglot = with_archive(tmp_path / "polyglot.safetensors", b"cos\nsystem\n(Vtouch evil\ntR.")
    index = {"metadata": {}, "weight_map": {"w": "own.pth"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for path in (own, tmp_path / "pytorch_model.bin.index.json"):
        done = torch2grid(str(path), "--slice", "7", "--only", "w", "--values", cwd=tmp_path)
        assert done.returncode == 0
        assert "not run: " in done.stderr, path
        assert "eval" in done.stderr
        assert "not looked at for a slice: checksums, what other readers make of the file;" in done.stderr
    done = torch2grid(str(polyglot), "--slice", "7", "--only", "w", "--values", cwd=tmp_path)
    assert done.returncode == 0
    assert "not looked at for a slice: what other readers make of the file;" in done.stderr
    assert "system" in torch2grid("check", str(polyglot), "--slice", "7", cwd=tmp_path).stdout


def with_archive(path: Path, pickled: bytes) -> Path:
    """A safetensors file that ends as an archive with *pickled*, with a longer comment than what is read first."""
    safetensors(path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/data.pkl", pickled)
        file.comment = b"." * 30_000
    raw = path.read_bytes()
    whole = safetensors(path, len(raw) - 264).read_bytes()
    path.write_bytes(whole + raw[len(whole) :])
    return path


def test_an_archive_far_from_the_end_is_told_wherever_it_matters(tmp_path):
    path = with_archive(tmp_path / "model.safetensors", b"cos\nsystem\n(Vtouch evil\ntR.")
    opened = t2g.load(path)
    np.testing.assert_array_equal(opened["w"][7], WEIGHTS[7])
    for each in (opened, t2g.load(path).select(["w"]), pickle.loads(pickle.dumps(t2g.load(path))), t2g.load(path).ordered()):
        assert any("system" in str(action) for action in each.not_run)
        assert "another reader than its own takes the file for a program" in each.notes
    assert "os.system" in torch2grid(str(path), "--stats", cwd=tmp_path).stderr
    assert "takes the file for a program" in torch2grid("tree", str(path), cwd=tmp_path).stderr
    done = torch2grid("check", str(path), "--rule", "not_run", cwd=tmp_path)
    assert done.returncode == 1
    assert "os.system" in done.stdout


def twice_ended(path: Path, distance: int) -> Path:
    """An archive with an earlier end, *distance* bytes from the end and inside a record, whose comment is all that follows."""
    raw = bytearray(stored(path).read_bytes())
    at = len(raw) - distance
    raw[at : at + 22] = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 46, at - 46, distance - 22)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("distance", [4_500, 30_000, 65_557])
def test_another_end_refuses_the_file_in_whatever_looks_at_all_of_it(distance, tmp_path):
    path = twice_ended(tmp_path / "model.pth", distance)
    stored(tmp_path / "other.pth")
    opened = t2g.load(path)
    for ask in (
        lambda: opened.not_run,
        lambda: list(measure(opened, {"all": Summary()})),
        lambda: t2g.check(path),
        lambda: t2g.compare(path, tmp_path / "other.pth"),
    ):
        with pytest.raises(LoadError, match="two ends"):
            ask()
    for words in (
        ("model.pth",),
        ("model.pth", "--layers", "-q"),
        ("check", "model.pth"),
        ("compare", "model.pth", "other.pth"),
    ):
        done = torch2grid(*words, cwd=tmp_path)
        assert done.returncode == (2 if words[0] in ("check", "compare") else 1), words
        assert "two ends" in done.stderr, words
