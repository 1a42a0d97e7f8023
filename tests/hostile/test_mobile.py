"""Programs for mobile devices: what their instructions do is told, wherever they stand, and whatever the file is besides."""

from __future__ import annotations

import io
import struct
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from tests.hostile.test_evasions import said_of
from tests.hostile.test_programs import joined, records
from tests.support.hostile.loading import left
from tests.support.tools import torch2grid

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the files are loaded where Linux has them"),
    pytest.mark.filterwarnings("ignore"),
]

MADE = "t2g-made"
MOBILE = "import sys, torch.jit.mobile as mobile; mobile._load_for_lite_interpreter(sys.argv[1])"
SCRIPT = "import sys, torch; torch.jit.load(sys.argv[1])"


class Writes(torch.nn.Module):
    """Its ``__setstate__`` saves what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.arange(4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.w

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return (self.w, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.w = state[0]
        self.training = state[1]
        torch.save(state[0], "t2g-made")


def ran(file: Path, how: str, folder: Path) -> bool:
    return MADE in left(how, file, folder=folder)


def test_instructions_beside_harmless_code(tmp_path: Path) -> None:
    """The interpreter of mobile devices reads ``bytecode.pkl`` alone, whatever the code in the archive says."""
    torch.jit.script(Writes())._save_for_lite_interpreter(str(tmp_path / "whole.ptl"))
    kept = records(tmp_path / "whole.ptl")
    code = next(each for each in kept if b"torch.save(" in kept[each])
    kept[code] = kept[code].replace(b"torch.save(", b"print(")
    without = {each: raw for each, raw in kept.items() if each != code}
    capitals = {each.upper() if each == "bytecode.pkl" else each: raw for each, raw in kept.items()}
    made = {"beside.ptl": kept, "alone.ptl": without, "capitals.ptl": capitals}
    for file, parts in made.items():
        joined(tmp_path / file, parts)
    assert {each for each in made if ran(tmp_path / each, MOBILE, tmp_path / f"in {each}")} >= {"beside.ptl", "alone.ptl"}
    said = said_of(tmp_path, list(made))
    assert {each for each in made if "torch.save" not in said[each]} == set()


def flatbuffer_in_a_tar(path: Path, program: bytes) -> None:
    """A tar of a good file whose first name is where the program's first table is, and the four letters of its format."""
    (root,) = struct.unpack("<I", program[:4])
    place = next(
        each for each in range(0x61616C, 0x7A7A6C, 0x100) if (each - root) % 16 == 0 and 0x61 <= each >> 8 & 0xFF <= 0x7A
    )
    good, held = save({"w": np.ones(3, np.float32)}), io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, raw in (("x", good), ("notes", bytes(place - root + len(program)))):
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
    raw = bytearray(held.getvalue())
    raw[:100] = (struct.pack("<I", place) + b"PTMF").ljust(100, b"\0")
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    raw[place - root : place - root + len(program)] = program
    path.write_bytes(raw)


def test_a_flatbuffer_that_is_another_file_too(tmp_path: Path) -> None:
    torch.jit.save_jit_module_to_flatbuffer(torch.jit.script(Writes()), str(tmp_path / "program.ff"))
    program = (tmp_path / "program.ff").read_bytes()
    assert program[4:8] == b"PTMF"
    flatbuffer_in_a_tar(tmp_path / "model.tar", program)
    assert ran(tmp_path / "model.tar", SCRIPT, tmp_path / "in")
    (tmp_path / "model.pkl").write_bytes(b"(J\x10\x00PTMF\x001\x80\x02}X\x01\x00\x00\x00w]s.")
    said = said_of(tmp_path, ["model.tar", "model.pkl", "program.ff"])
    assert "program for mobile devices" in said["model.tar"]
    assert all(said.values())


def test_an_honest_program_for_mobile_devices_is_clean(tmp_path: Path) -> None:
    model = torch.jit.script(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Dropout()))
    model._save_for_lite_interpreter(str(tmp_path / "honest.ptl"))
    run = torch2grid("check", "--no-plugins", "honest.ptl", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no finding" in run.stderr
