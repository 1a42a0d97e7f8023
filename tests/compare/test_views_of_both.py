"""Views of the drawing command, of both checkpoints and of what changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tests.support.tools import torch2grid

from torch2grid_core import PluginManager


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


def test_what_has_no_place_says_what_to_do(folder: Path) -> None:
    one = torch2grid("compare", "a.safetensors", "--outliers", "-q", cwd=folder)
    told = "a.safetensors is one checkpoint; a comparison takes two or more, or a folder of them"
    assert (one.returncode, one.stdout, one.stderr) == (2, "", f"torch2grid: {told}\n")
    table = torch2grid("compare", "a.safetensors", "b.safetensors", "--outliers", "-o", "x.csv", "-q", cwd=folder)
    instead = "leave the views out, or give a folder: --output FOLDER --format csv"
    told = f"--output x.csv takes the table of the comparison alone; {instead}"
    assert (table.returncode, table.stdout, table.stderr) == (2, "", f"torch2grid: {told}\n")
    words = ("--outliers", "--output", "FOLDER", "--format", "csv", "-q")
    assert torch2grid("compare", "a.safetensors", "b.safetensors", *words, cwd=folder).returncode == 1
    assert (folder / "FOLDER" / "delta" / "outliers.csv").exists()


def test_a_page_of_a_tensor_names_both_dtypes(folder: Path) -> None:
    wide = load_file(folder / "a.safetensors")
    for name in ("float16", "float32"):
        save_file({each: (value * 1.01).astype(name) for each, value in wide.items()}, folder / f"{name}.safetensors")
    for names, said in (
        (("a", "float16"), "float32 → float16"),
        (("float16", "a"), "float16 → float32"),
        (("a", "float32"), "float32"),
        (("float16", "half"), "float16"),
    ):
        save_file({each: (value * 2).astype("float16") for each, value in wide.items()}, folder / "half.safetensors")
        out = "_".join(names)
        torch2grid("compare", *(f"{each}.safetensors" for each in names), "--layers", "-o", out, "-q", cwd=folder)
        index = json.loads((folder / out / "index.json").read_text())["files"]
        title = index["compare/fc1.weight_delta.png"]["title"]
        assert title.startswith(f"fc1.weight · 64×48 · {said} · ")


def test_pages_of_tensors_say_what_was_found(folder: Path) -> None:
    for quiet in ((), ("-q",)):
        done = torch2grid("compare", "a.safetensors", "b.safetensors", "--layers", *quiet, cwd=folder)
        assert done.returncode == 1
        assert done.stdout.splitlines() == ["grids/compare/fc2.weight_delta.png"]
        assert ("different: 1 of 2 tensors changed" in done.stderr) == (not quiet)


VIEWS = sorted(PluginManager.discover(third_party=False).names("view"))


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two snapshots of a training of layers of several kinds, so that most views have something to draw."""
    place = tmp_path_factory.mktemp("training")
    torch.manual_seed(3)
    net = torch.nn.ModuleDict(
        {"embed_tokens": torch.nn.Embedding(12, 8), "conv": torch.nn.Conv2d(2, 4, 3), "fc": torch.nn.Linear(8, 6)}
    )
    optimizer = torch.optim.Adam(net.parameters())
    for name in ("a.pth", "b.pth"):
        sum(each.square().sum() for each in net.parameters()).backward()
        optimizer.step()
        torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, place / name)
    return place


@pytest.mark.parametrize("view", VIEWS)
def test_json_on_stdout_is_one_document_whatever_is_drawn_beside_it(training: Path, tmp_path: Path, view: str) -> None:
    pair = (training / "a.pth", training / "b.pth")
    done = torch2grid("compare", *pair, "--view", view, "--format", "json", "-q", cwd=tmp_path)
    drawn = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json") if path.name != "index.json"}
    assert json.loads(done.stdout)["same"] is False
    if done.returncode == 2:  # it has nothing to draw here, and says so
        assert not drawn
        return
    assert done.returncode == 1, done.stderr
    assert {line for line in done.stderr.splitlines() if line.startswith("grids/")} == drawn
    assert {each.split("/")[1] for each in drawn} <= {"a", "b", "delta"}
    for each in drawn:
        assert json.loads((tmp_path / each).read_text(encoding="utf-8"))


def test_json_on_stdout_stands_alone_with_everything_else(training: Path, tmp_path: Path) -> None:
    pair = (training / "a.pth", training / "b.pth")
    for of, words in (
        (2, ("--outliers", "--values", "--stats", "--layers", "--atlas", "--format", "json,png,csv,gif")),
        (2, ("--outliers", "--format", "json", "-o", "one.html")),
        (2, ("--lineage", "--format", "json,csv")),
        (3, ("--layers", "--atlas", "--stats", "--format", "json,html")),
    ):
        done = torch2grid("compare", *pair, *pair[: of - 2], *words, cwd=tmp_path)
        assert done.returncode in (0, 1), done.stderr
        assert json.loads(done.stdout), words
    for words in (("--outliers",), ("--layers",), ("--format", "json,csv")):
        done = torch2grid("compare", *pair, "--format", "json", "-o", "-", *words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--format json is the report on stdout" in done.stderr


@pytest.mark.parametrize("view", ["--histogram", "--view grid", "--outliers", "--view spectrum"])
def test_no_axis_and_no_colour_bar_of_what_changed_says_weight(folder: Path, view: str) -> None:
    """What is on them is a difference of two weights."""
    words = ("compare", "a.safetensors", "b.safetensors", *view.split(), "-o", "out", "--format", "json")
    torch2grid(*words, cwd=folder)
    found = [path for path in (folder / "out" / "delta").rglob("*.json") if path.name != "index.json"]
    labels = [
        panel[key]
        for path in found
        for panel in json.loads(path.read_text())["panels"]
        for key in ("label", "xlabel", "ylabel", "quantity")
        if key in panel
    ]
    assert not [label for label in labels if re.search(r"\bweight\b", label)]
    assert labels
