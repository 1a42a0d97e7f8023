"""The examples of a listener and of a format that is a folder: they conform, and do what they say through the command."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from tests.support.tools import PROJECT, torch2grid

from torch2grid_core import PluginManager
from torch2grid_core.testing import Bound, conformance

EXAMPLES = PROJECT / "examples"
MANIFEST, BOARD = EXAMPLES / "manifest_listener.py", EXAMPLES / "tensorboard_renderer.py"


def brought(path: Path) -> PluginManager:
    """What ``--load-plugin`` would bring."""
    manager = PluginManager()
    manager.load_file(str(path))
    return manager


@conformance(brought(MANIFEST))
def test_the_manifest_conforms(check: Bound) -> None:
    check()


@conformance(brought(BOARD))
def test_the_board_conforms(check: Bound) -> None:
    pytest.importorskip("tensorboard")
    check()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for step in (100, 2000):
        arrays = {name: step * rng.normal(size=(6, 8)).astype(np.float32) for name in ("fc1.weight", "=cmd|' /C calc'!A0")}
        np.savez(tmp_path / f"net_step_{step}.npz", **arrays)
    return tmp_path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_manifest_of_several_runs(folder: Path) -> None:
    columns = "file page model step part source sha256"
    for step in (100, 2000):
        words = ("--layers", "--load-plugin", MANIFEST, "--listener", f"manifest:columns={columns}")
        done = torch2grid(f"net_step_{step}.npz", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
    found = rows(folder / "grids" / "manifest.csv")
    assert list(found[0]) == columns.split()
    assert [(row["model"], row["step"]) for row in found] == [("net_step_100", "100")] * 3 + [("net_step_2000", "2000")] * 3
    assert {row["source"] for row in found} == {"net_step_100.npz", "net_step_2000.npz"}
    for row in found[3:]:
        assert row["sha256"] == hashlib.sha256((folder / row["file"]).read_bytes()).hexdigest()
    assert "'=cmd|' /C calc'!A0" in [row["page"] for row in found]  # a name from the file, which no spreadsheet runs


def test_its_options(folder: Path) -> None:
    words = (
        "--load-plugin",
        MANIFEST,
        "-o",
        "all.pdf",
        "--layers",
        "--listener",
        "manifest:path=m.csv,columns=file,append=false",
    )
    for _ in range(2):
        assert torch2grid("net_step_100.npz", *words, cwd=folder).returncode == 0
    assert rows(folder / "m.csv") == [{"file": "all.pdf"}] * 3
    done = torch2grid("net_step_100.npz", *words[:-1], "manifest:columns=colour", cwd=folder)
    assert done.returncode == 2
    assert "columns are some of file, page," in done.stderr
    assert "not colour" in done.stderr


def test_tensorboard_reads_the_step_and_the_names(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step in (100, 2000):
        words = ("--layers", "--histogram", "--stats", "--load-plugin", BOARD, "--format", "tensorboard,png", "-o", "runs/a")
        done = torch2grid(f"net_step_{step}.npz", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert f"runs/a/events.out.tfevents.{step:012d}.net_step_{step}" in done.stdout.splitlines()
    board = EventAccumulator(str(folder / "runs" / "a"), size_guidance={"images": 0, "histograms": 0, "tensors": 0})
    board.Reload()
    image = board.Images("layers/fc1.weight")
    assert [(each.step, each.width, each.height) for each in image] == [(100, 8, 6), (2000, 8, 6)]
    assert {each.encoded_image_string[:8] for each in image} == {b"\x89PNG\r\n\x1a\n"}
    histogram = board.Histograms("histograms/fc1.weight_hist")
    assert [(each.step, each.histogram_value.num) for each in histogram] == [(100, 48), (2000, 48)]
    assert histogram[1].histogram_value.max > 1000 > histogram[0].histogram_value.max > 50
    texts = {each.step: each.tensor_proto.string_val[0].decode() for each in board.Tensors("checkpoint")}
    assert {step: f"| model | net_step_{step} |" in text for step, text in texts.items()} == {100: True, 2000: True}
    assert "| Layer Name |" in board.Tensors("stats")[0].tensor_proto.string_val[0].decode()
    assert (folder / "runs" / "a" / "layers" / "fc1.weight.png").is_file()


def test_a_run_for_each_model(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    words = ("--load-plugin", BOARD, "--renderer", "tensorboard:run={model},step=7", "--format", "tensorboard", "-o", "runs")
    (folder / "plain.npz").write_bytes((folder / "net_step_100.npz").read_bytes())
    for name in ("net_step_100", "plain"):
        done = torch2grid(f"{name}.npz", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
    made = sorted(each.relative_to(folder / "runs").as_posix() for each in (folder / "runs").rglob("events*"))
    assert made == [
        "net_step_100/events.out.tfevents.000000000100.net_step_100",
        "plain/events.out.tfevents.000000000007.plain",
    ]
