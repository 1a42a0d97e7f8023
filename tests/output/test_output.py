"""Where pages become files: names that stay in the folder and apart, whole files or none, an index of one's own."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.tools import torch2grid
from tests.support.views.drawing import checkpoint_of, drawn_of

from torch2grid_builtin._views.layers import LayersView
from torch2grid_core import Page, PluginManager, Settings, Torch2GridError, UsageError
from torch2grid_core._output.files import Namer, whole_file
from torch2grid_core._output.index import NAMES
from torch2grid_core._output.writing import Output
from torch2grid_core.pages import Text

HOSTILE = [
    "../../etc/passwd",
    "/absolute",
    "..",
    ".",
    "",
    "a/../../b",
    "C:\\windows\\system32",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "new\nline\r\ttab\x00null",
    "w" * 5000,
    "abc\u202edef.gpj",
    "<script>alert(1)</script>",
    "$\\frac{a}{b}$",
    "CON",
    "con.weight",
    "aux.txt",
    "LPT1",
    "trailing. ",
    " .leading",
    "-rf",
    'a:b|c?d*e"f',
    "\ud800alone",
    "e\u0301",
    "\u00e9",
    "权重" * 100,
]


def page(name: str, folder: str = "layers") -> Page:
    return Page(name, "title", (Text("x"),), folder=folder)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_one_file_in_its_folder(name, tmp_path):
    stem = Namer().stem(page(name))
    folder, _, base = stem.partition("/")
    assert folder == "layers"
    assert base
    assert "/" not in base
    assert "\\" not in base
    assert base.isprintable()
    assert not base.startswith((".", " "))
    assert len(base.encode()) <= 130
    path = tmp_path / f"{stem}.png"
    path.parent.mkdir()
    path.write_bytes(b"x")  # every file system that tests run on takes it
    assert path.resolve().parent == (tmp_path / "layers").resolve()
    assert base.split(".")[0].lower() not in {"con", "aux", "nul", "prn", "lpt1"}


def test_a_hostile_folder_stays_below_too(tmp_path):
    for folder in ("../up", "/root", "a/../../b", "..", "x\x1b/y"):
        stem = Namer().stem(page("w", folder))
        assert (tmp_path / stem).resolve().is_relative_to(tmp_path.resolve())
        assert not stem.startswith("/")
        assert ".." not in stem.split("/")


@given(st.lists(st.text(max_size=40) | st.sampled_from(HOSTILE), unique=True, max_size=30))
def test_two_pages_never_share_a_file_whatever_their_names(names):
    namer = Namer()
    stems = [namer.stem(page(name)) for name in [*names, *names]]  # from two views, say
    assert len({stem.casefold() for stem in stems}) == 2 * len(names)  # disks of Windows and macOS ignore case
    assert [Namer().stem(page(name)) for name in names[:1]] == stems[:1]


def test_a_renderer_that_cannot_write_a_format_says_so(tmp_path):
    np.save(tmp_path / "w.npy", np.ones((3, 4), np.float32))
    for asked in (("--format", "png"), ("--format", "png,svg"), ("-o", "w.png"), ("-o", "-"), ("--stats", "--format", "text")):
        run = torch2grid("w.npy", *asked, "--renderer", "json", cwd=tmp_path)
        assert run.returncode == 2, asked
        (line,) = run.stderr.splitlines()
        assert "--renderer json writes json, not " in line
        assert not (tmp_path / "grids").exists()
    plain = torch2grid("w.npy", "--renderer", "json", cwd=tmp_path)
    assert (plain.returncode, plain.stdout) == (0, "grids/neural_grid.png\n")
    assert plain.stderr.count("--renderer json writes json, not png") == 1
    both = torch2grid("w.npy", "--format", "png,json", "--renderer", "json", cwd=tmp_path)
    assert both.stdout.split() == ["grids/neural_grid.png", "grids/neural_grid.json"]
    own = torch2grid("w.npy", "--dead-neurons", "--renderer", "json", cwd=tmp_path)
    for run in (both, own):
        assert run.returncode == 0
        assert "--renderer" not in run.stderr


def test_pages_of_one_name_from_two_instances_of_a_view_are_both_there(tmp_path):
    np.save(tmp_path / "w.npy", np.random.default_rng(0).normal(size=(40, 50)))
    two = ("--view", "histogram:bars=10,overview=false", "--view", "histogram:bars=50,overview=false", "--format", "png,json")
    run = torch2grid("w.npy", *two, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    files = sorted(path.relative_to(tmp_path / "grids").as_posix() for path in (tmp_path / "grids").rglob("*.*"))
    assert sorted(run.stdout.split()) == sorted(f"grids/{file}" for file in files if file != "index.json")
    assert sorted(json.loads((tmp_path / "grids/index.json").read_text())["files"]) == [f for f in files if f != "index.json"]
    stems = {file.rpartition(".")[0] for file in files} - {"index"}
    for stem in stems - {each for each in stems if not each.endswith("_2")}:
        first, second = (tmp_path / f"grids/{each}.json" for each in (stem.removesuffix("_2"), stem))
        assert first.read_bytes() != second.read_bytes()  # each pair of formats is of one page
    assert len(files) == 2 * len(stems) + 1
    assert any(stem.endswith("_2") for stem in stems)


def test_case_and_what_becomes_the_same_are_told_apart():
    namer = Namer()
    assert namer.stem(page("Layer.weight")) == "layers/Layer.weight"
    assert namer.stem(page("layer.weight")) == "layers/layer.weight_2"
    assert namer.stem(page("a/b")) == "layers/a_b"
    assert namer.stem(page("a:b")) == "layers/a_b_2"
    assert namer.stem(page("a_b_2")) == "layers/a_b_2_2"
    assert namer.stem(page("a?b")) == "layers/a_b_3"
    assert namer.stem(page("a_b", "other")) == "other/a_b"


def draw(folder, arrays, run=None, formats=("png",)):
    said: list[str] = []
    output = Output(PluginManager.discover(), folder, run or Settings(), formats=formats, say=said.append)
    view = LayersView()
    with output.for_views([view]):
        for drawn in drawn_of(checkpoint_of(arrays), [view], run, prepare=output.prepare):
            output.take(*drawn)
    return said


def test_the_index_says_what_each_file_shows(tmp_path):
    array = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    array[5, 6] = -9
    said = draw(tmp_path, {"fc.weight": array})
    index = json.loads((tmp_path / NAMES[0]).read_text(encoding="utf-8"))
    assert index["format"] == "torch2grid index 1"
    assert set(index["files"]) == {"layers/fc.weight.png", "layer_overview.png"}
    assert sorted(said) == sorted(str(tmp_path / name) for name in index["files"])
    entry = index["files"]["layers/fc.weight.png"]
    assert entry["about"] == {"tensor": "fc.weight", "shape": [20, 30], "dtype": "float32"}
    (heatmap,) = entry["heatmaps"]
    assert heatmap["cells"] == [20, 30]
    assert heatmap["cell"] == [1, 1]
    assert heatmap["reduce"] == "mean"
    assert heatmap["weights"] == 600
    assert heatmap["largest"] == {"tensor": "fc.weight", "index": 5 * 30 + 6, "value": -9.0, "cell": [5, 6]}
    assert heatmap["limits"][0] == -heatmap["limits"][1]


def test_a_second_run_overwrites_its_own_files_and_no_others(tmp_path):
    draw(tmp_path, {"a": np.ones((9, 9), np.float32), "b": np.ones((9, 9), np.float32)})
    foreign = tmp_path / "layers" / "mine.png"
    foreign.write_bytes(b"mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    draw(tmp_path, {"a": np.arange(81.0).reshape(9, 9)})
    assert foreign.read_bytes() == b"mine"
    assert (tmp_path / "layers/b.png").read_bytes() == before[tmp_path / "layers/b.png"]
    assert (tmp_path / "layers/a.png").read_bytes() != before[tmp_path / "layers/a.png"]
    index = json.loads((tmp_path / NAMES[0]).read_text(encoding="utf-8"))["files"]
    assert set(index) == {"layers/a.png", "layers/b.png", "layer_overview.png"}
    (tmp_path / "layers/b.png").unlink()
    draw(tmp_path, {"a": np.ones((9, 9), np.float32)})
    assert set(json.loads((tmp_path / NAMES[0]).read_text(encoding="utf-8"))["files"]) == {"layers/a.png", "layer_overview.png"}
    again = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not [name for name in again if name.endswith(".part")]


@pytest.mark.parametrize("damage", ["", "not json", "[1]", '{"files": 3}', "\x00\xff"])
def test_what_is_no_index_stays_and_the_next_name_is_begun(tmp_path, damage):
    (tmp_path / NAMES[0]).write_text(damage, encoding="utf-8")
    draw(tmp_path, {"a": np.ones((3, 3), np.float32)})
    assert (tmp_path / NAMES[0]).read_text(encoding="utf-8") == damage
    assert set(json.loads((tmp_path / NAMES[1]).read_text(encoding="utf-8"))["files"]) == {"layers/a.png", "layer_overview.png"}


def test_the_same_run_writes_the_same_bytes(tmp_path):
    arrays = {"w": np.random.default_rng(1).standard_normal((40, 30)).astype(np.float32)}
    for name in ("one", "two"):
        draw(tmp_path / name, arrays, formats=("png", "svg", "pdf"))
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def write_half(path):
    with whole_file(path) as stream:
        stream.write(b"half")
        raise RuntimeError


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "sub" / "file.bin"
    with pytest.raises(RuntimeError):
        write_half(path)
    assert list(path.parent.iterdir()) == []
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]
    with whole_file(path) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_place_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Torch2GridError, match=r"cannot be written.*--output"), whole_file(tmp_path / "file" / "x.png"):
        pass


def test_one_file_takes_one_page(tmp_path):
    arrays = {"a": np.ones((3, 3), np.float32), "b": np.ones((3, 3), np.float32)}
    with pytest.raises(UsageError, match="takes one picture"):
        draw(tmp_path / "one.png", arrays, formats=())
    assert not (tmp_path / "one.png").exists()
    with pytest.raises(UsageError, match="--format asks for svg"):
        draw(tmp_path / "one.png", arrays, formats=("svg",))
