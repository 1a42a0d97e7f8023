"""Views of the drawing command, of both checkpoints and of what changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.tools import torch2grid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(5)
    before = {f"{name}.weight": random.standard_normal((64, 48)).astype(np.float32) * 0.02 for name in ("fc1", "fc2")}
    after = {name: each.copy() for name, each in before.items()}
    after["fc2.weight"][9, 7] = 5.0
    for name, state in (("a", before), ("b", after), ("c", after)):
        save_file(state, tmp_path / f"{name}.safetensors")
    return tmp_path


def test_outliers_of_a_of_b_and_of_what_changed(folder: Path) -> None:
    done = torch2grid("compare", "a.safetensors", "b.safetensors", "--outliers", "-o", "out", cwd=folder)
    assert done.returncode == 1
    verdict = "different: 1 of 2 tensors changed, 1 of 6,144 weights"
    assert [line for line in done.stderr.splitlines() if line.startswith(verdict)]
    before, rest = done.stdout.split("\nB: Outliers of b.safetensors\n")
    after, delta = rest.split("\nΔ: Outliers of b.safetensors − a.safetensors\n")
    assert before.startswith("A: Outliers of a.safetensors\n")
    for text, is_there in ((before, False), (after, True), (delta, True)):
        first = text.splitlines()[4 if text is before else 3]
        assert first.startswith("fc2.weight  [9, 7] ") == is_there
    index = json.loads((folder / "out" / "index.json").read_text())["files"]
    assert [*index] == ["a/outliers_overview.png", "b/outliers_overview.png", "delta/outliers_overview.png"]
    assert index["delta/outliers_overview.png"]["title"] == "Δ: Outliers of b.safetensors − a.safetensors"


_FULL = "layers.4.fc.weight"
_PLANTED = {  # where the change is, and the first lines of the tables that tell it, of Δ
    "weight": (np.s_[9, 7], {0: (_FULL, "[9, 7]"), 1: (_FULL, "row", "9"), 2: (_FULL, "std")}),
    "column": (np.s_[:, 7], {1: (_FULL, "column", "7"), 2: (_FULL, "std")}),
    "row": (np.s_[9], {1: (_FULL, "row", "9"), 2: (_FULL, "std")}),
    "layer": (..., {2: (_FULL, "std")}),
    "NaN": (np.s_[9, 7], {0: (_FULL, "[9, 7]", "nan")}),
}


@pytest.mark.parametrize("planted", _PLANTED)
def test_the_only_change_is_the_first_line_of_what_changed(tmp_path: Path, planted: str) -> None:
    random = np.random.default_rng(6)
    state = {f"layers.{each}.fc.weight": random.standard_normal((64, 48)).astype(np.float32) * 0.02 for each in range(6)}
    save_file(state, tmp_path / "a.safetensors")
    place, expected = _PLANTED[planted]
    state[_FULL] = state[_FULL].copy()
    state[_FULL][place] *= np.nan if planted == "NaN" else 8
    save_file(state, tmp_path / "b.safetensors")
    done = torch2grid("compare", "a.safetensors", "b.safetensors", "--outliers", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.partition("\nΔ: Outliers of b.safetensors − a.safetensors\n")[2].splitlines()
    starts = [place + 3 for place, line in enumerate(lines) if line.startswith(("Largest", "Rows and", "Layers beside"))]
    for table, cells in expected.items():
        words = re.split(r"\s{2,}", lines[starts[table]].strip())
        assert tuple(words[: len(cells)]) == cells
        assert words[-1] == ("1 NaN" if planted == "NaN" else "yes")
    assert not [line for line in lines if line.startswith("layers.") and not line.startswith(_FULL)]


def test_values_of_a_part_and_their_change(folder: Path) -> None:
    words = ("--values", "--only", "fc2.weight", "--slice", "9, 6:8", "-q")
    done = torch2grid("compare", "a.safetensors", "b.safetensors", *words, cwd=folder)
    assert (done.returncode, done.stderr) == (1, "")
    titles = [line.partition(" ·")[0] for line in done.stdout.splitlines() if " · " in line]
    assert titles == [f"{letter}: fc2.weight[9, 6:8]" for letter in ("A", "B", "Δ")]
    same = torch2grid("compare", "b.safetensors", "c.safetensors", *words, cwd=folder)
    assert same.returncode == 0
    assert same.stdout.count("5.0") == 2  # Δ is 0


def test_any_view_and_what_none_has(folder: Path) -> None:
    done = torch2grid("compare", "a.safetensors", "b.safetensors", "--histogram", "--conv", "-o", "out", cwd=folder)
    assert done.returncode == 1
    assert "conv: nothing to draw in A, B and Δ" in done.stderr.splitlines()
    assert len(list((folder / "out").rglob("fc2.weight_hist.png"))) == 3
    declined = torch2grid("compare", "a.safetensors", "b.safetensors", "--vocabulary", "-q", cwd=folder)
    assert (declined.returncode, declined.stdout) == (2, "")
    assert "there are none" in declined.stderr
    series = torch2grid("compare", "a.safetensors", "b.safetensors", "c.safetensors", "--outliers", cwd=folder)
    assert (series.returncode, series.stdout) == (2, "")
    assert "view 'outliers' is drawn of two checkpoints and of Δ, not of a series" in series.stderr


def test_pages_of_tensors_say_what_was_found(folder: Path) -> None:
    for quiet in ((), ("-q",)):
        done = torch2grid("compare", "a.safetensors", "b.safetensors", "--layers", *quiet, cwd=folder)
        assert done.returncode == 1
        assert done.stdout.splitlines() == ["grids/compare/fc2.weight_delta.png"]
        assert ("different: 1 of 2 tensors changed" in done.stderr) == (not quiet)
