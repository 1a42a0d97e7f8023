"""Files that one reader takes for data and another for a program: numbers of joblib, archives behind others, odd numerals.

Each file is loaded for real in a child process, and the code of each only creates a folder or a file.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tests.hostile.test_evasions import said_of, touched
from tests.hostile.test_other_readers import Scripted
from tests.support.hostile.evasions import CANARY, Evasion, Files, before, both, call, name, text
from tests.support.hostile.loading import left
from tests.support.tools import torch2grid

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the children are forked, and call what Linux has"),
    pytest.mark.filterwarnings("ignore"),
]


def mkdir(path: str) -> bytes:
    """Opcodes that make the folder *path* and leave the stack as it was."""
    return b"cos\nmkdir\n(" + text(path) + b"tR0"


def wrapped(payload: bytes) -> bytes:
    """An array of joblib whose numbers are opcodes: what only joblib takes off the stream."""
    dtype = call(name("numpy", "dtype"), text("u1"))
    state = b"}(" + text("shape") + both(b"K" + bytes([len(payload)])) + text("dtype") + dtype + b"u"
    return name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81" + state + b"b" + payload


def stream(pickled: bytes) -> bytes:
    """A legacy stream of one pickle and no storages."""
    parts = [b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"M\xe9\x03.", b"}."]
    return b"".join(b"\x80\x02" + part for part in parts) + b"\x80\x02" + pickled + b"." + b"\x80\x02]."


def octal(path: str) -> bytes:
    """``_load_from_bytes`` of bytes with a numeral that is octal to Python's own unpickler: 0150 is 104 there."""
    hidden = stream(b"}" + mkdir(path))
    numbers = b"".join(b"I0150\n" if each == 104 else b"K" + bytes([each]) for each in hidden)
    return call(name("torch.storage", "_load_from_bytes"), call(name("builtins", "bytes"), b"](" + numbers + b"e"))


def old_string(path: str) -> bytes:
    """``bytes`` of a string of Python 2, which PyTorch decodes first: two bytes become one."""
    hidden = stream(b"}" + mkdir(path))
    raw = hidden.decode("latin-1").encode()
    made = call(name("builtins", "bytes"), b"T" + struct.pack("<i", len(raw)) + raw, text("latin1"))
    return call(name("torch.storage", "_load_from_bytes"), made)


def test_pickles_that_another_reader_reads_otherwise(tmp_path: Path) -> None:
    files, evasions = Files(tmp_path), []
    for label, payload in (("joblib", lambda path: wrapped(mkdir(path))), ("octal", octal), ("old string", old_string)):
        for kind, suffix, how in (("zip", ".pt", "torch"), ("plain", ".pkl", "pickle")):
            file = f"{len(evasions)}{suffix}"
            made = payload(f"{CANARY}/{len(evasions)}")
            if kind == "zip":
                files.write_zip(file, before, made)
            else:
                (tmp_path / file).write_bytes(b"\x80\x02}" + text("x") + made + b"s.")
            evasions.append(Evasion(f"{label}; {kind}", file, how, ""))
    held = io.BytesIO()
    np.savez(held, w=np.ones(2), o=np.array([None], object))
    evil = b"\x80\x02" + wrapped(mkdir(f"{CANARY}/{len(evasions)}")) + b"."
    with zipfile.ZipFile(held) as archive, zipfile.ZipFile(tmp_path / "j.npz", "w") as out:
        for each in archive.namelist():
            raw = archive.read(each)
            out.writestr(each, raw[: raw.index(b"\n") + 1] + evil if each == "o.npy" else raw)
    evasions.append(Evasion("joblib; npz", "j.npz", "numpy", ""))
    ran = touched(tmp_path, evasions)
    said = said_of(tmp_path, [each.file for each in evasions])
    assert len(ran) >= 3
    for each in evasions:
        if each.file in ran:
            assert "mkdir" in said[each.file] or "begins with 0" in said[each.file], (each, said[each.file])


def script(shift: int) -> bytes:
    """A TorchScript archive that writes a file as it is loaded, to stand *shift* bytes behind the beginning of a file."""
    plain = io.BytesIO()
    torch.jit.save(torch.jit.script(Scripted()), plain)
    held = io.BytesIO()
    held.write(bytes(shift))
    with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(held, "a") as out:
        for each in archive.namelist():
            raw = archive.read(each)
            if each.endswith(".py"):
                raw = raw.replace(b"    self.training = ", b'    torch.save(torch.ones([1]), "t2g-made")\n    self.training = ')
            out.writestr(each, raw)
    return held.getvalue()[shift:]


def test_an_archive_of_torchscript_behind_another_format(tmp_path: Path) -> None:
    """PyTorch finds it by its directory, at the end of the file."""
    size = len(script(0))
    save_file({"w": np.zeros(size, np.uint8)}, tmp_path / "a.safetensors")
    head = (tmp_path / "a.safetensors").read_bytes()[:-size]
    (tmp_path / "a.safetensors").write_bytes(head + script(len(head)))
    np.save(tmp_path / "b.npy", np.zeros(size, np.uint8))
    head = (tmp_path / "b.npy").read_bytes()[:-size]
    (tmp_path / "b.npy").write_bytes(head + script(len(head)))
    torch.save({"w": torch.ones(2)}, tmp_path / "d.pt", _use_new_zipfile_serialization=False)
    head = (tmp_path / "d.pt").read_bytes()
    (tmp_path / "d.pt").write_bytes(head + script(len(head)))
    loading, ran = "import sys, torch; torch.jit.load(sys.argv[1])", 0
    names = ["a.safetensors", "b.npy", "d.pt"]
    for file in names:
        ran += "t2g-made" in left(loading, tmp_path / file, folder=tmp_path / f"in {file}")
    assert ran >= 2
    for file, found in said_of(tmp_path, names).items():
        assert "torch.save" in found, (file, found)


def test_honest_files_that_end_like_an_archive_are_clean(tmp_path: Path) -> None:
    save_file({"w": np.frombuffer(b"PK\x05\x06" + bytes(60), np.uint8).copy()}, tmp_path / "a.safetensors")
    run = torch2grid("check", "--no-plugins", "a.safetensors", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
