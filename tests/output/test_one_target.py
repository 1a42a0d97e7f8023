"""One file or stdout as the target of a run: what reaches it, and what is said where nothing does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.tools import torch2grid

RAISING = """
from torch2grid_core import GridTransformer

class Raising(GridTransformer):
    "raises when it is asked for a grid"
    name = "raising"

    def transform(self, tensors):
        raise ValueError("no such grid")
"""


@pytest.fixture
def dense(tmp_path: Path) -> str:
    """A network without convolutions."""
    rng = np.random.default_rng(0)
    weights = {"fc.weight": rng.standard_normal((9, 10), np.float32), "fc.bias": rng.standard_normal(9, np.float32)}
    save_file(weights, tmp_path / "dense.safetensors")
    return "dense.safetensors"


@pytest.mark.parametrize("target", ["out.png", "out.pdf", "folder", "-"])
def test_a_transformer_that_raises_is_what_is_said(dense: str, tmp_path: Path, target: str) -> None:
    (tmp_path / "raising.py").write_text(RAISING, encoding="utf-8")
    run = torch2grid(dense, "--load-plugin", "raising.py", "-o", target, cwd=tmp_path)
    assert run.returncode == 1, run.stderr
    (line,) = run.stderr.splitlines()
    assert "'raising'" in line
    assert "ValueError: no such grid" in line
    assert not (tmp_path / target).exists()


@pytest.mark.parametrize("target", ["conv.png", "conv.pdf", "folder", "-"])
def test_a_view_that_has_nothing_to_draw_is_what_is_said(dense: str, tmp_path: Path, target: str) -> None:
    run = torch2grid(dense, "--conv", "-o", target, cwd=tmp_path)
    assert run.returncode == 1, run.stderr
    (line,) = run.stderr.splitlines()
    assert line == f"torch2grid: {dense}: conv: nothing to draw among 2 tensors"


def test_two_equal_checkpoints_are_the_same_where_a_file_was_to_show_what_changed(dense: str, tmp_path: Path) -> None:
    run = torch2grid("compare", dense, dense, "--atlas", "-o", "delta.png", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert not (tmp_path / "delta.png").exists()
    run = torch2grid("compare", dense, dense, "--stats", "-o", "delta.png", cwd=tmp_path)
    assert run.returncode == 2
    assert "--output delta.png: nothing was drawn as png" in run.stderr
    run = torch2grid("compare", dense, dense, "--stats", "-o", "-", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("same: 2 tensors")


@pytest.mark.parametrize("words", [("-o", "-"), ("-o", "-", "--format", "text")])
def test_a_report_of_its_own_format_does_not_follow_text_to_the_screen(
    dense: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    run = torch2grid(dense, "--dead-neurons", *words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "Dead neurons: 0 of 19 units" in run.stdout
    assert "json" not in run.stdout
    assert [path.name for path in tmp_path.iterdir()] == [dense]


@pytest.mark.parametrize("target", ["dead.png", "dead.svg", "dead.pdf", "dead.html"])
def test_one_picture_takes_the_picture_of_a_view_with_a_report(dense: str, tmp_path: Path, target: str) -> None:
    run = torch2grid(dense, "--dead-neurons", "-o", target, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == target
    assert {path.name for path in tmp_path.iterdir()} == {dense, target}
    assert not (tmp_path / target).read_bytes().startswith(b"{")


@pytest.mark.parametrize("words", [("-o", "dead.json"), ("-o", "-", "--format", "json")])
def test_one_object_takes_the_report_with_the_rest(dense: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    run = torch2grid(dense, "--dead-neurons", *words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    text = run.stdout if "-" in words else (tmp_path / "dead.json").read_text(encoding="utf-8")
    formats = [page["format"] for page in json.loads(text)["pages"]]
    assert formats == ["torch2grid page 1", "torch2grid page 1", "torch2grid dead neurons 1"]


def test_a_folder_takes_the_report_whatever_the_format(dense: str, tmp_path: Path) -> None:
    run = torch2grid(dense, "--dead-neurons", "--format", "svg", "-o", "out", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "dead_neurons_overview.svg",
        "dead_neurons_report.json",
        "index.json",
    }


REPORTING = """
from torch2grid_core import Page, View
from torch2grid_core.pages import Text

class Reporting(View):
    "writes a report"
    name = "reporting"

    def pages(self, checkpoint, results, run):
        yield Page("report", "Report", (Text("x"),), formats=("json",))
"""


@pytest.mark.parametrize("words", [("-o", "x.png"), ("-o", "x.pdf"), ("-o", "-"), ("-o", "-", "--format", "png")])
def test_a_report_alone_is_not_written_as_what_it_is_not(dense: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "reporting.py").write_text(REPORTING, encoding="utf-8")
    run = torch2grid(dense, "--load-plugin", "reporting.py", "--reporting", *words, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    wanted = {"x.png": "png", "x.pdf": "pdf", "-": words[-1].replace("-", "text")}[words[1]]
    assert run.stderr.splitlines()[-1].startswith(f"torch2grid: --output {words[1]}: nothing was drawn as {wanted}")
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {dense, "reporting.py"}


def test_a_report_alone_is_written_as_what_it_is(dense: str, tmp_path: Path) -> None:
    (tmp_path / "reporting.py").write_text(REPORTING, encoding="utf-8")
    words = (dense, "--load-plugin", "reporting.py", "--reporting", "-q")
    run = torch2grid(*words, "-o", "x.json", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "x.json\n"), run.stderr
    run = torch2grid(*words, "-o", "-", "--format", "json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))


def test_a_table_for_a_picture_on_stdout_is_an_error_as_for_a_file(dense: str, tmp_path: Path) -> None:
    run = torch2grid(dense, "--stats", "-o", "-", "--format", "png", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert "--output -: nothing was drawn as png" in run.stderr
    assert "fc.weight" in run.stderr  # the table


@pytest.mark.parametrize("view", ["values", "stats", "stats:detail=true"])
@pytest.mark.parametrize("target", ["x.png", "x.svg"])
def test_a_table_for_a_picture_is_refused_before_it_is_printed(dense: str, view: str, target: str, tmp_path: Path) -> None:
    words = ("--view", view)
    run = torch2grid(dense, *words, "-o", target, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        f"torch2grid: --output {target}: nothing was drawn as {target[2:]}; tables need a data format, such as csv\n"
    )
    assert not (tmp_path / target).exists()
    drawn = torch2grid(dense, *words, "--grid", "-o", target, cwd=tmp_path)  # one page is a picture, so the table is printed
    assert drawn.returncode == 0, drawn.stderr
    assert {target, "fc.bias"} <= set(drawn.stdout.replace(" ·", "\n").split())
    assert (tmp_path / target).exists()


@pytest.mark.parametrize("view", ["--values", "--stats"])
def test_a_folder_that_gets_nothing_is_told(dense: str, view: str, tmp_path: Path) -> None:
    printed = torch2grid(dense, view, "-o", "folder/", cwd=tmp_path)
    assert printed.returncode == 0
    assert "fc.bias" in printed.stdout
    assert "nothing was written to folder/: tables are printed; --format csv writes them there\n" in printed.stderr
    written = torch2grid(dense, view, "-o", "folder/", "--format", "csv", cwd=tmp_path)
    assert "nothing was written" not in written.stderr
    assert all((tmp_path / line).is_file() for line in written.stdout.splitlines())
    assert "nothing" not in torch2grid(dense, view, cwd=tmp_path).stderr
    assert torch2grid(dense, view, "-o", "other/", "-q", cwd=tmp_path).stderr == ""


@pytest.mark.parametrize(
    ("view", "table"), [("--outliers", "outliers"), ("--dead-neurons", "dead_neurons"), ("--spectrum", "spectrum")]
)
def test_one_csv_has_the_table_of_a_view_that_draws_too(dense: str, view: str, table: str, tmp_path: Path) -> None:
    run = torch2grid(dense, view, "-o", "o.csv", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "o.csv\n"), run.stderr
    every = torch2grid(dense, view, "-o", "all", "--format", "csv", "-q", cwd=tmp_path)
    assert f"all/{table}.csv" in every.stdout.split()
    assert (tmp_path / "o.csv").read_bytes() == (tmp_path / f"all/{table}.csv").read_bytes()
    told = f"o.csv has the table of {table} without its pictures; --output FOLDER --format csv writes them, too\n"
    assert (told in run.stderr) == (len(every.stdout.split()) > 1)


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (("--values",), "two.npy"),
        (("--stats", "--values"), "two.csv"),
        (("--layers", "--stats"), "two.csv"),
        (("--layers",), "two.csv"),
        (("--outliers", "--stats"), "two.csv"),
    ],
)
def test_more_pages_than_one_file_takes_are_an_error_that_says_how(
    dense: str, words: tuple[str, ...], target: str, tmp_path: Path
) -> None:
    run = torch2grid(dense, *words, "-o", target, cwd=tmp_path)
    ending = target.rpartition(".")[2]
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        f"torch2grid: --output {target} takes one page and this run makes more; "
        f"give a folder: --output FOLDER --format {ending}\n"
    )
    assert not (tmp_path / target).exists()
    said = torch2grid(dense, *words, "--output", "FOLDER", "--format", ending, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert len(list((tmp_path / "FOLDER").rglob(f"*.{ending}"))) > 1
