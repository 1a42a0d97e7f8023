"""Batches, and surroundings that are not friendly: an interrupt, a pipe that closes, folders and disks that take nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from tests.support.tools import COMMAND, DIGITS, interruptible, torch2grid


@pytest.fixture
def sweep(tmp_path: Path) -> list[str]:
    """20 files, three of them broken, in one folder."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "sweep"
    folder.mkdir()
    names = []
    for index in range(20):
        path = folder / f"step{index:02}.safetensors"
        save_file({"w": rng.normal(scale=index + 1, size=(32, 32)).astype(np.float32)}, path)
        names.append(f"sweep/{path.name}")
    (folder / "step03.safetensors").write_bytes(b"not a checkpoint")
    (folder / "step11.safetensors").write_bytes((folder / "step12.safetensors").read_bytes()[:900])
    (folder / "step17.safetensors").unlink()
    return names


def test_failures_do_not_stop_the_rest(sweep: list[str], tmp_path: Path) -> None:
    run = torch2grid(*sweep, "--layers", "--grid", cwd=tmp_path)
    assert run.returncode == 1
    good = [index for index in range(20) if index not in (3, 11, 17)]
    for index in range(20):
        files = sorted(path.name for path in (tmp_path / f"grids/step{index:02}").rglob("*.png"))
        assert files == (["layer_overview.png", "neural_grid.png", "w.png"] if index in good else [])
    rows = [line.split() for line in run.stderr.splitlines() if re.match(r"sweep/step\d\d", line) and ":" not in line]
    assert [row[1] for row in rows] == ["drawn" if index in good else "failed" for index in range(20)]
    assert [row[2] for row in rows if row[1] == "drawn"] == ["3"] * 17
    assert run.stderr.splitlines()[-1] == "17 of 20 models drawn, 3 failed"
    for name in ("step03", "step11", "step17"):
        assert len([line for line in run.stderr.splitlines() if name in line and ": " in line]) == 1


def test_an_interrupt_keeps_what_is_finished_and_says_what_is_left(sweep: list[str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, *sweep, "--layers"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "grids/step06/layer_overview.png").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
    last = [line for line in told.splitlines() if "models drawn" in line][-1]
    drawn, left = (int(re.search(pattern, last)[1]) for pattern in (r"^(\d+) of 20", r"(\d+) not started"))  # type: ignore[index]
    assert drawn >= 5
    assert left >= 1
    for path in (tmp_path / "grids").rglob("*.png"):
        Image.open(path).load()  # every file that is there is whole
    assert not list((tmp_path / "grids").rglob("*.part"))


def test_shared_limits_put_all_models_on_one_scale(sweep: list[str], tmp_path: Path) -> None:
    run = torch2grid(sweep[0], sweep[9], "--limits", "shared", "--layers", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    limits = set()
    for index in (0, 9):
        document = json.loads((tmp_path / f"grids/step{index:02}/index.json").read_text())
        limits |= {tuple(entry["heatmaps"][0]["limits"]) for entry in document["files"].values()}
    ((low, high),) = limits
    assert low == -high
    assert 15 < high < 40  # step09 has a standard deviation of 10: its tail, not step00's, sets the scale


def test_shared_limits_say_which_model_is_not_in_them(sweep: list[str], tmp_path: Path) -> None:
    models = [sweep[0], sweep[3], sweep[17], sweep[9]]
    run = torch2grid(*models, "--limits", "shared", "--layers", cwd=tmp_path)
    assert run.returncode == 1
    told = [line.partition(": the shared limits leave out")[0] for line in run.stderr.splitlines() if "shared limits" in line]
    assert told == [sweep[3], sweep[17]]
    clean = torch2grid(sweep[0], sweep[9], "--limits", "shared", "--layers", "-o", "clean", cwd=tmp_path)
    assert "shared limits" not in clean.stderr


def test_one_file_for_many_models_is_refused(sweep: list[str], tmp_path: Path) -> None:
    run = torch2grid(sweep[0], sweep[1], "-o", "one.png", cwd=tmp_path)
    assert run.returncode == 2
    assert "give a folder" in run.stderr


def test_names_that_meet_get_folders_of_their_own(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "Model.pth").write_bytes(DIGITS.read_bytes())
    run = torch2grid("a/Model.pth", "b/Model.pth", cwd=tmp_path)
    assert run.stdout.split() == ["grids/Model/neural_grid.png", "grids/Model_2/neural_grid.png"]


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"COLUMNS": "20"}])
def test_headless_and_dumb(tmp_path: Path, env: dict[str, str]) -> None:
    run = torch2grid(DIGITS, "--layers", "--stats", cwd=tmp_path, env={"DISPLAY": "", **env})
    assert run.returncode == 0, run.stderr
    assert "\x1b" not in run.stdout + run.stderr
    assert "grids/layer_overview.png" in run.stdout


def test_stdout_closed_early(tmp_path: Path) -> None:
    script = f"{COMMAND} {DIGITS} --layers | head -1"
    run = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert len(run.stdout.splitlines()) == 1
    assert "Traceback" not in run.stderr
    assert "BrokenPipe" not in run.stderr


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.isdir("/proc/self"), reason="needs /proc to refuse root")
def test_a_folder_that_takes_nothing_is_one_clear_line(tmp_path: Path) -> None:
    # Root may write into read-only folders, but nobody may into /proc.
    locked = Path("/proc/self") if os.geteuid() == 0 else tmp_path / "locked"
    if os.geteuid() != 0:
        locked.mkdir(mode=0o500)
    run = torch2grid(DIGITS, "-o", locked / "grids", cwd=tmp_path)
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert "cannot be written" in line
    assert "--output" in line


def test_a_full_disk_leaves_no_half_files(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        run = torch2grid(DIGITS, "--layers", "-o", disk / "grids", cwd=tmp_path)
        assert run.returncode == 1
        assert "No space left on device" in run.stderr
        assert "Traceback" not in run.stderr
        files = [path for path in disk.rglob("*") if path.is_file()]
        assert not [path for path in files if path.suffix == ".part"]
        for path in files:
            if path.suffix == ".png":
                Image.open(path).load()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_goes_by_its_whole_name_and_an_index_of_shards_by_its_folders(tmp_path: Path) -> None:
    for name in ("run-0.1", "run-0.2", "bert-1.5b", "gpt-2.5b"):
        folder = tmp_path / name
        folder.mkdir()
        if name.startswith("run"):
            save_file({"w": np.ones((2, 2), np.float32)}, folder / "model.safetensors")
            continue
        save_file({"w": np.ones((2, 2), np.float32)}, folder / "model-00001-of-00001.safetensors")
        index = {"metadata": {}, "weight_map": {"w": "model-00001-of-00001.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    models = ["run-0.1", "run-0.2/", *(f"{name}/model.safetensors.index.json" for name in ("bert-1.5b", "gpt-2.5b"))]
    run = torch2grid(*models, "run-0.1/model.safetensors", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    folders = [path.split("/")[1] for path in run.stdout.split()]
    assert folders == ["run-0.1", "run-0.2", "bert-1.5b", "gpt-2.5b", "model"]
    inside = torch2grid(".", "../run-0.2", "-o", "out", cwd=tmp_path / "run-0.1")
    assert [path.split("/")[1] for path in inside.stdout.split()] == ["run-0.1", "run-0.2"]
