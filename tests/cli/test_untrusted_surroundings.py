"""What stands around a run is not trusted: the working folder, names, pipes and links."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.support.tools import DIGITS, torch2grid


def test_an_empty_name_is_an_error(tmp_path: Path) -> None:
    done = torch2grid("", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "torch2grid: '': is not a path; give the path of a checkpoint\n"


@pytest.mark.parametrize("module", ["numpy", "click", "json"])
def test_modules_of_the_working_folder_are_not_imported(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text("open('ran', 'w')\n")
    command = [sys.executable, "-m", "torch2grid", str(DIGITS), "--stats", "-q"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "fc1.weight" in done.stdout
    assert not (tmp_path / "ran").exists()


def test_names_become_files_that_every_system_and_command_takes(tmp_path: Path) -> None:
    names = ("COM¹", "com1.weight", "LPT³.x", "-rf", "--output", "nul")
    save_file({name: torch.randn(3, 3) for name in names}, tmp_path / "m.safetensors")
    done = torch2grid("m.safetensors", "--layers", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = sorted(path.name for path in (tmp_path / "grids" / "layers").iterdir())
    assert written == sorted(f"_{name}.png" for name in names)


def test_a_link_never_leads_out_of_the_output_folder(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "grids").mkdir()
    (tmp_path / "grids" / "layers").symlink_to(tmp_path / "outside")
    done = torch2grid(DIGITS, "--layers", cwd=tmp_path)
    assert done.returncode == 1
    assert "grids/layers: a link in it leads out of grids; remove it" in done.stderr
    assert not list((tmp_path / "outside").iterdir())


def test_an_index_that_is_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors.index.json")
    done = torch2grid("model.safetensors.index.json", cwd=tmp_path, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "is not a regular file" in done.stderr
    torch.save({"w": torch.ones(2, 2)}, tmp_path / "m.pth")
    (tmp_path / "grids").mkdir()
    os.mkfifo(tmp_path / "grids" / "index.json")
    done = torch2grid("m.pth", cwd=tmp_path, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)


def test_an_index_that_is_nested_without_end_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": ' + "[" * 200_000)
    done = torch2grid("model.safetensors.index.json", cwd=tmp_path, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
