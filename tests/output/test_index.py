"""``index.json`` is strict JSON in UTF-8, whatever the names and the numbers of a run are."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.tools import COMMAND, DIGITS, torch2grid

from torch2grid_core.text import json_text


def strict(path: Path) -> dict[str, Any]:
    """The JSON object in *path*, by RFC 8259: UTF-8, and no NaN nor Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    files: dict[str, Any] = json.loads(path.read_bytes().decode("utf-8"), parse_constant=refuse)["files"]
    return files


def surrogates(path: Path) -> list[str]:
    """A pickle whose names no encoding has a word for."""
    names = ["\ud800.weight", "a\udfff", "\udcff\u202e.bias"]
    path.write_bytes(pickle.dumps({name: np.arange(12, dtype="<f4").reshape(3, 4) + at for at, name in enumerate(names)}))
    return names


def test_names_that_no_encoding_has_are_kept_as_they_are(tmp_path: Path) -> None:
    names = surrogates(tmp_path / "odd.pkl")
    for _ in range(2):  # the second run reads the index of the first
        run = torch2grid("odd.pkl", "--layers", "--stats", "--format", "png,json,csv,svg,html", cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        files = strict(tmp_path / "grids" / "index.json")
        assert {entry["about"]["tensor"] for file, entry in files.items() if file.startswith("layers/")} == set(names)
        assert {
            entry["heatmaps"][0]["largest"]["tensor"] for file, entry in files.items() if file.endswith(".png") and "/" in file
        } == set(names)
        assert all((tmp_path / "grids" / file).is_file() for file in files)


def test_weights_that_json_has_no_word_for_leave_it_strict(tmp_path: Path) -> None:
    weights = np.zeros((4, 5), np.float32)
    weights[0] = [np.inf, -np.inf, np.nan, 1, 2]
    save_file({"w": weights, "none": np.full((3, 3), np.nan, np.float32)}, tmp_path / "m.safetensors")
    run = torch2grid("m.safetensors", "--layers", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    heatmap = strict(tmp_path / "grids" / "index.json")["layers/w.png"]["heatmaps"][0]
    assert all(isinstance(limit, float) for limit in heatmap["limits"])
    assert heatmap["largest"]["value"] == 2


ABOUT = """
import numpy as np
from torch2grid_core import Page, View
from torch2grid_core.pages import Text

class Odd:
    def __str__(self):
        raise ValueError("has no text")

class About(View):
    "numbers of NumPy"
    name = "about"

    def pages(self, checkpoint, results, run):
        numbers = {"n": np.int64(3), "x": np.float32(0.5), "all": np.arange(3), "nan": float("nan")}
        about = {**numbers, "\\ud800": {1: (2,)}, 5: b"x"}
        yield Page("about", "", (Text("x"),), about=about)

class Textless(View):
    "what has no text"
    name = "textless"

    def pages(self, checkpoint, results, run):
        yield Page("textless", "", (Text("x"),), about={"n": Odd()})
"""


def test_what_a_view_says_of_its_page_may_be_numbers_of_numpy(tmp_path: Path) -> None:
    (tmp_path / "about.py").write_text(ABOUT, encoding="utf-8")
    run = torch2grid(DIGITS, "--load-plugin", "about.py", "--about", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    about = strict(tmp_path / "grids" / "index.json")["about.png"]["about"]
    assert about == {"n": 3, "x": 0.5, "all": [0, 1, 2], "nan": "NaN", "\ud800": {"1": [2]}, "5": [120]}


def test_what_has_no_text_is_the_error_of_its_view(tmp_path: Path) -> None:
    (tmp_path / "about.py").write_text(ABOUT, encoding="utf-8")
    run = torch2grid(DIGITS, "--load-plugin", "about.py", "--textless", "--grid", cwd=tmp_path)
    assert run.returncode == 1
    (line,) = [each for each in run.stderr.splitlines() if "textless" in each]
    assert "ValueError: has no text" in line
    assert "'textless'" in line
    assert set(strict(tmp_path / "grids" / "index.json")) == {"neural_grid.png"}  # the other view is drawn


@pytest.mark.parametrize("name", ["\ud800", "x" * 5000, "a\u0000b", "../x"])
def test_files_of_an_index_that_cannot_be_looked_for_are_gone(tmp_path: Path, name: str) -> None:
    (tmp_path / "grids").mkdir()
    (tmp_path / "grids" / "index.json").write_text(
        json.dumps({"format": "torch2grid index 1", "files": {name: {}}}), encoding="utf-8"
    )
    run = torch2grid(DIGITS, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert set(strict(tmp_path / "grids" / "index.json")) == {"neural_grid.png"}


@pytest.mark.parametrize(
    "content",
    [b'{"files": {"a": 1}}', b'[{"my": "data"}]', b"no JSON\xff", b"", b"[" * 100_000, b'{"n": ' + b"7" * 5000 + b"}"],
    ids=["alike", "list", "text", "empty", "deep", "digits"],
)
def test_an_index_of_somebody_else_stays_and_ours_stands_beside_it(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "grids"
    folder.mkdir()
    (folder / "index.json").write_bytes(content)
    for name in ("flatten", "spiral"):  # the second run finds what the first called its index
        run = torch2grid(DIGITS, "--plugin", name, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        (line,) = [each for each in run.stderr.splitlines() if "index.json" in each]
        assert "grids/index.json was not written by torch2grid" in line
        assert "torch2grid.index.json" in line
    assert (folder / "index.json").read_bytes() == content
    pictures = {path.name for path in folder.glob("*.png")}
    assert len(pictures) == 2
    assert set(strict(folder / "torch2grid.index.json")) == pictures


def test_where_both_names_are_taken_nothing_is_overwritten(tmp_path: Path) -> None:
    names = ("index.json", "torch2grid.index.json")
    for name in names:
        (tmp_path / name).write_text("[1]")
    run = torch2grid(DIGITS, "-o", ".", cwd=tmp_path)
    assert run.returncode == 1
    assert len([line for line in run.stderr.splitlines() if "index.json" in line]) == 1
    assert [(tmp_path / name).read_text() for name in names] == ["[1]", "[1]"]
    assert (tmp_path / "neural_grid.png").is_file()


def test_runs_that_end_together_lose_no_entry(tmp_path: Path) -> None:
    """Each run has its own tensor, so its own file; all meet at the index."""
    for at in range(6):
        save_file({f"only{at}": np.ones((2, 3), np.float32)}, tmp_path / f"m{at}.safetensors")
    runs = [subprocess.Popen([COMMAND, f"m{at}.safetensors", "--layers", "-q"], cwd=tmp_path) for at in range(6)]
    assert [run.wait(120) for run in runs] == [0] * 6
    files = {path.relative_to(tmp_path / "grids").as_posix() for path in (tmp_path / "grids").rglob("*.png")}
    assert {f"layers/only{at}.png" for at in range(6)} <= files
    assert set(strict(tmp_path / "grids" / "index.json")) == files
    assert not [path for path in (tmp_path / "grids").iterdir() if path.name.startswith(".")]


def test_merges_at_one_moment_lose_no_entry(tmp_path: Path) -> None:
    """Six processes that wait for a start and then merge twenty times each."""
    code = (
        "import sys, pathlib\nfrom torch2grid_core._output.index import merge_index\nsys.stdin.readline()\n"
        "for n in range(20): merge_index(pathlib.Path('.'), {f'{sys.argv[1]}_{n}': {}})"
    )
    for at in range(6):
        for number in range(20):
            (tmp_path / f"{at}_{number}").touch()
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(at)], cwd=tmp_path, stdin=subprocess.PIPE, text=True)
        for at in range(6)
    ]
    for run in runs:
        assert run.stdin is not None
        with run.stdin as start:
            start.write("go\n")
    assert [run.wait(60) for run in runs] == [0] * 6
    assert len(strict(tmp_path / "index.json")) == 120


def test_json_text_escapes_what_hides_and_keeps_what_shows() -> None:
    assert json_text({"权": "é – \u202e\u2028\ud83d"}) == '{"权": "é – \\u202e\\u2028\\ud83d"}'
    assert json_text("\U0001f600\U000e0001") == '"\U0001f600\\udb40\\udc01"'
    assert json.loads(json_text([np.float16(0.1), np.bool_(True), np.array(3), None])) == [
        float(np.float16(0.1)),
        True,
        3,
        None,
    ]
    assert json_text([float("inf"), float("-inf"), float("nan")]) == '["Infinity", "-Infinity", "NaN"]'
