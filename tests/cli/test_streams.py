"""Standard streams that nobody reads, that are full, or that cannot spell what is written."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.tools import COMMAND, DIGITS, torch2grid

FULL = "torch2grid: stdout cannot be written: No space left on device"


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """Three files, each with a tensor whose name is not Latin."""
    rng = np.random.default_rng(0)
    for name in "abc":
        save_file({"权.weight": rng.standard_normal((300, 300), np.float32)}, tmp_path / f"{name}.safetensors")
    return [f"{name}.safetensors" for name in "abc"]


def into_closed(words: list[str], cwd: Path, *, out: bool, err: bool) -> subprocess.CompletedProcess[bytes]:
    """Run the command with stdout, stderr or both a pipe whose reader has left before the first byte."""
    read, write = os.pipe()
    os.close(read)
    try:
        return subprocess.run(
            [COMMAND, *words],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=write if out else subprocess.PIPE,
            stderr=write if err else subprocess.PIPE,
            timeout=120,
            check=False,
        )
    finally:
        os.close(write)


@pytest.mark.parametrize("out", [True, False])
def test_a_batch_is_drawn_to_its_end_when_nobody_reads_stderr(models: list[str], tmp_path: Path, out: bool) -> None:
    run = into_closed([*models, "gone.pth", "-o", "out", "--layers"], tmp_path, out=out, err=True)
    assert run.returncode == 1  # of the model that is not there
    for name in "abc":
        assert (tmp_path / "out" / name / "layer_overview.png").is_file()
    if not out:
        assert run.stdout.count(b".png\n") == 6


def test_a_full_stderr_costs_nothing(models: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        run = subprocess.run([COMMAND, *models], cwd=tmp_path, stdout=subprocess.PIPE, stderr=full, timeout=120, check=False)
    assert run.returncode == 0
    assert run.stdout.count(b".png\n") == 3


@pytest.mark.parametrize("format", ["png", "svg", "pdf", "html", "gif", "json", "csv", "text", "terminal"])
def test_data_for_a_reader_that_left_is_no_error(models: list[str], tmp_path: Path, format: str) -> None:
    run = into_closed([models[0], "-o", "-", "--format", format], tmp_path, out=True, err=False)
    assert run.returncode == 0, run.stderr
    (line,) = run.stderr.decode().splitlines()
    assert "1 tensor" in line


def test_several_pages_for_a_reader_that_left_are_no_error(models: list[str], tmp_path: Path) -> None:
    for name in ("pdf", "html", "gif", "json"):
        run = into_closed([models[0], "--layers", "--stats", "-o", "-", "--format", name], tmp_path, out=True, err=False)
        assert run.returncode == 0, (name, run.stderr)


def test_a_reader_that_leaves_in_the_middle_is_no_error(tmp_path: Path) -> None:
    """Frames of an animation are written by a library that looks for the descriptor; the pipe holds 64 kB."""
    rng = np.random.default_rng(0)
    save_file(
        {f"fc{index}.weight": rng.standard_normal((300, 300), np.float32) for index in range(4)}, tmp_path / "m.safetensors"
    )
    script = f"{COMMAND} m.safetensors --layers -q -o - --format gif | head -c 70000 | wc -c; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "70000", "")


@pytest.mark.parametrize("format", ["png", "pdf", "gif", "json", "csv", "text"])
def test_data_for_a_full_disk_is_one_clear_line(models: list[str], tmp_path: Path, format: str) -> None:
    with open("/dev/full", "wb") as full:
        words = [COMMAND, models[0], "-q", "-o", "-", "--format", format]
        run = subprocess.run(words, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, timeout=120, check=False)
    assert run.returncode == 1
    assert run.stderr.decode().splitlines() == [FULL]


def test_the_report_of_check_for_a_reader_that_left_is_no_error(tmp_path: Path) -> None:
    read = torch2grid("check", DIGITS, cwd=tmp_path).returncode
    assert into_closed(["check", str(DIGITS)], tmp_path, out=True, err=False).returncode == read


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:surrogateescape"])
def test_what_the_encoding_lacks_is_an_escape(models: list[str], tmp_path: Path, encoding: str) -> None:
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    run = torch2grid(models[0], "--stats", cwd=tmp_path, env=env)
    assert run.returncode == 0, run.stderr
    assert "\\u6743.weight" in run.stdout
    run = torch2grid(models[0], "-o", "权", cwd=tmp_path, env=env)
    assert (run.returncode, run.stdout) == (0, "\\u6743/neural_grid.png\n"), run.stderr
    assert (tmp_path / "权/neural_grid.png").is_file()


def test_data_on_stdout_is_utf_8_whatever_the_encoding(models: list[str], tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for name in ("json", "csv"):
        words = [COMMAND, models[0], "--stats", "-q", "-o", "-", "--format", name]
        run = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, timeout=120, check=False)
        assert run.returncode == 0, run.stderr
        text = run.stdout.decode("utf-8")
        rows = json.loads(text)["panels"][0]["rows"] if name == "json" else [*csv.reader(io.StringIO(text))][1:]
        assert rows[0][0] == "权.weight"
