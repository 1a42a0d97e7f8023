"""Where a comparison is written: one file, several formats, the renderer that is asked for."""

from __future__ import annotations

import csv
import json
import re

import pytest
import torch
from PIL import Image
from tests.support.compare.training import SNAPSHOTS
from tests.support.tools import torch2grid

USUAL = ("--plugin", "flatten", "-q")


def compare(folder, *words, of=2):
    done = torch2grid("compare", *SNAPSHOTS[:of], *words, *USUAL, cwd=folder)
    assert done.returncode == (1 if of == 2 else 0), done.stderr
    return done


def head_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="head">(.*?)</script>', text, re.DOTALL).group(1))


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != "index.json"}


@pytest.mark.parametrize(("of", "name"), [(2, "compare"), (3, "series")])
def test_a_report_begins_with_the_table(tmp_path, of, name):
    done = compare(tmp_path, "-o", "run.html", of=of)
    assert (done.stdout, files(tmp_path)) == ("run.html\n", {"run.html"})
    head = head_of(tmp_path / "run.html")
    pages = [page["name"] for page in head["pages"]]
    assert (pages[0], head["first"]) == (name, 0)
    assert head["pages"][0]["table"]
    if of == 2:
        assert pages[1:] == ["compare_overview", "delta_atlas"]
    else:
        assert [page for page in pages if page.startswith("series_atlas")] == [f"series_atlas_{n:04}" for n in range(3)]
        assert "series_trends" in pages
    layers = compare(tmp_path, "--layers", "-o", "layers.html", of=of)
    assert layers.stdout == "layers.html\n"
    assert head_of(tmp_path / "layers.html")["pages"][0]["name"] == name


@pytest.mark.parametrize("of", [2, 3])
def test_an_animation_is_one_file(tmp_path, of):
    done = compare(tmp_path, "-o", "film/run.gif", of=of)
    assert done.stdout == "film/run.gif\n"
    assert files(tmp_path) == {"film/run.gif"}
    with Image.open(tmp_path / "film" / "run.gif") as film:
        assert film.n_frames == of
    for more in (("--layers",), ("--format", "png"), ("--atlas",)):
        wrong = torch2grid("compare", *SNAPSHOTS[:of], "-o", "run.gif", *more, "-q", cwd=tmp_path)
        assert wrong.returncode == 2
        assert "give a folder" in wrong.stderr


@pytest.mark.parametrize(("of", "name"), [(2, "compare"), (3, "series")])
def test_csv_is_the_table(tmp_path, of, name):
    done = compare(tmp_path, "--format", "csv", "-o", "out", of=of)
    assert done.stdout == f"out/{name}.csv\n"
    assert files(tmp_path) == {f"out/{name}.csv"}
    compare(tmp_path, "-o", "one.csv", of=of)
    text = (tmp_path / "one.csv").read_text(encoding="utf-8")
    assert text == (tmp_path / "out" / f"{name}.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))
    assert rows[0][0] == "Tensor"
    assert len(rows) == 9
    assert compare(tmp_path, "--format", "csv", "-o", "-", of=of).stdout.splitlines() == text.splitlines()
    compare(tmp_path, "-o", "one.json", of=of)
    printed = compare(tmp_path, "--format", "json", of=of).stdout
    assert json.loads((tmp_path / "one.json").read_text(encoding="utf-8")) == json.loads(printed)


@pytest.mark.parametrize("of", [2, 3])
def test_several_formats_at_once(tmp_path, of):
    done = compare(tmp_path, "--format", "csv,json,png,gif", "-o", "out", of=of)
    assert json.loads(done.stdout)
    found = files(tmp_path)
    assert {line for line in done.stderr.splitlines() if "/" in line} == found
    assert "out/series_atlas.gif" in found
    assert {name for name in found if name.endswith(".csv")} == {f"out/{'compare' if of == 2 else 'series'}.csv"}
    assert len([name for name in found if name.endswith(".png")]) == (2 if of == 2 else 5)


@pytest.mark.parametrize("of", [2, 3])
def test_the_renderer_and_its_options(tmp_path, of):
    for words, milliseconds in (("gif:seconds=0.1", 100), ("gif:seconds=0.3", 300)):
        compare(tmp_path, "--format", "png,gif", "--renderer", words, "-o", "film", of=of)
        with Image.open(tmp_path / "film" / "series_atlas.gif") as film:
            assert film.info["duration"] == milliseconds
        compare(tmp_path, "--renderer", words, "-o", "one.gif", of=of)
        with Image.open(tmp_path / "one.gif") as film:
            assert film.info["duration"] == milliseconds
    compare(tmp_path, "-o", "large.html", of=of)
    compare(tmp_path, "--renderer", f"html:megabytes={0.06 * of + 0.02:g}", "-o", "small.html", of=of)
    small, large = ((tmp_path / f"{name}.html").stat().st_size for name in ("small", "large"))
    assert small <= (0.06 * of + 0.02) * 1e6 < large
    for words, told in (
        (("--renderer", "nosuch"), "unknown renderer 'nosuch'"),
        (("--renderer", "matplotlib", "--format", "gif"), "writes png, svg, pdf, jpg, jpeg, webp, not gif"),
        (("--renderer", "gif:seconds=99", "--format", "gif"), "seconds must be between"),
        (("--renderer", "gif:sekonds=1", "--format", "gif"), "sekonds"),
    ):
        wrong = torch2grid("compare", *SNAPSHOTS[:of], *words, "-o", "wrong", cwd=tmp_path)
        assert wrong.returncode == 2, words
        assert told in wrong.stderr
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize("of", [2, 3])
@pytest.mark.parametrize(
    ("file", "renderer"), [("x.gif", "matplotlib"), ("x.html", "matplotlib"), ("x.csv", "gif"), ("x.png", "html")]
)
def test_a_renderer_that_does_not_write_the_file_is_refused(tmp_path, of, file, renderer):
    option = {"matplotlib": ":theme=dark", "gif": ":seconds=0.1", "html": ":megabytes=3"}[renderer]
    wrong = torch2grid("compare", *SNAPSHOTS[:of], "-o", file, "--renderer", renderer + option, *USUAL, cwd=tmp_path)
    assert wrong.returncode == 2, wrong.stdout
    told = wrong.stderr.strip().splitlines()[-1]
    assert f"--renderer {renderer} writes" in told
    assert f"not {file[2:]}" in told
    assert files(tmp_path) == set()


def test_a_recording_takes_what_a_series_takes(tmp_path):
    import torch2grid as t2g

    net = torch.nn.Linear(6, 4)
    recorder = t2g.GradientRecorder(net)
    for step in range(3):
        net.zero_grad()
        net(torch.ones(2, 6)).square().sum().backward()
        recorder.record(step)
    recorder.save(tmp_path / "recording.safetensors")
    done = torch2grid("compare", "recording.safetensors", "-o", "run.html", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "run.html\n")
    assert [page["name"] for page in head_of(tmp_path / "run.html")["pages"]][:2] == ["series", "series_trends"]
    done = torch2grid("compare", "recording.safetensors", "--format", "csv", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "grids/series.csv\n")
    wrong = torch2grid("compare", "recording.safetensors", "-o", "run.gif", "-q", cwd=tmp_path)
    assert wrong.returncode == 2


@pytest.mark.parametrize("file", ["delta.png", "delta.svg", "delta.npy"])
def test_a_file_for_one_picture_is_the_change_of_the_whole_model_and_the_verdict_is_said(tmp_path, file):
    done = torch2grid("compare", *SNAPSHOTS[:2], "-o", file, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, f"{file}\n")
    assert done.stderr.splitlines()[-1].startswith("different: ")
    quiet = torch2grid("compare", *SNAPSHOTS[:2], "-o", file, "-q", cwd=tmp_path)
    assert (quiet.stdout, quiet.stderr) == (f"{file}\n", "")


@pytest.mark.parametrize(("top", "told"), [(7, "(1 row not shown)"), (6, "(2 rows not shown)")])
def test_rows_that_are_not_shown_are_counted(tmp_path, top, told):
    done = torch2grid("compare", *SNAPSHOTS[:2], "--stats", "-q", "--top", str(top), cwd=tmp_path)
    assert told in done.stdout.splitlines()[0]
