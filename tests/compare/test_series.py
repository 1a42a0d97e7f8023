"""A run over time: order, trends against numpy in float64, the digits run, the animation."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageSequence
from safetensors.torch import save_file
from tests.support.compare.training import RUN, SNAPSHOTS
from tests.support.tools import DIGITS, torch2grid
from tests.support.views.drawing import checkpoint_of

import torch2grid as t2g
from torch2grid_builtin._compare.order import in_order, natural
from torch2grid_builtin._compare.series import joint_series
from torch2grid_core import Checkpoint

UNTRAINED = DIGITS.parent / "digits_untrained.pth"


def models():
    return [torch.load(path, weights_only=True)["model"] for path in SNAPSHOTS]


def report(tmp_path, *words):
    done = torch2grid("compare", *words, "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_figures_of_the_digits_run_are_numpys(tmp_path):
    found = report(tmp_path, RUN)
    assert (found["order"], found["steps"]) == ("ordered by epoch in the files", [1, 3, 10, 30])
    states = models()
    for name, track in found["tensors"].items():
        arrays = [state[name].double().numpy() for state in states]
        assert track["norm"] == pytest.approx([np.linalg.norm(each) for each in arrays], rel=1e-10)
        assert track["std"] == pytest.approx([each.std() for each in arrays], rel=1e-9)
        assert track["absmax"] == [np.abs(each).max() for each in arrays]
        steps = [np.linalg.norm(after - before) / np.linalg.norm(before) for before, after in itertools.pairwise(arrays)]
        assert track["ratio"][0] is None
        assert track["ratio"][1:] == pytest.approx(steps, rel=1e-9)
        if arrays[0].ndim > 1:
            rows = [np.linalg.norm(each.reshape(len(each), -1), axis=1) for each in arrays]
            assert track["spread"] == pytest.approx([each.std() / each.mean() for each in rows], rel=1e-9)
            assert track["dead"] == [0, 0, 0, 0]


def test_the_untrained_symmetry_is_lost(tmp_path):
    found = report(tmp_path, UNTRAINED, *SNAPSHOTS)
    assert found["order"].startswith("ordered by name")
    for name in ("fc1.weight", "conv2.weight"):  # the hidden layers, whose units could be exchanged for one another
        track = found["tensors"][name]
        assert track["kurtosis"][0] == pytest.approx(-1.2, abs=0.1)  # uniform, as PyTorch draws them
        assert track["kurtosis"][-1] > 0
        assert track["spread"][0] < 0.1  # untrained units are alike
        assert track["spread"][-1] > 4 * track["spread"][0]


def test_dead_units_appear_when_they_die(tmp_path):
    for step in range(3):
        weight = torch.ones(8, 4) + torch.arange(4)
        weight[: 2 * step] = 0
        save_file({"fc.weight": weight}, tmp_path / f"{step}.safetensors", {"global_step": str(100 * step)})
    found = report(tmp_path, *(tmp_path / f"{step}.safetensors" for step in (2, 0, 1)))
    assert found["steps"] == [0, 100, 200]
    assert found["tensors"]["fc.weight"]["dead"] == pytest.approx([0, 2 / 12, 4 / 12])
    assert found["tensors"]["fc.weight"]["near"] == [0, 0.25, 0.5]


def test_order():
    def checkpoints(*facts):
        return [Checkpoint({}, source=source, metadata=metadata) for source, metadata in facts]

    by_step = in_order(checkpoints(("a", {"step": "20", "epoch": "1"}), ("b", {"step": "3", "epoch": "1"})))
    assert [each.source for each in by_step.checkpoints] == ["b", "a"]
    assert by_step.labels == ("step 3", "step 20")
    partly = in_order(checkpoints(("run-10", {"epoch": "1"}), ("run-9", {})))
    assert [each.source for each in partly.checkpoints] == ["run-9", "run-10"]
    assert partly.said.startswith("ordered by name")
    equal = in_order(checkpoints(("b", {"epoch": "1"}), ("a", {"epoch": "1"})))
    assert [each.source for each in equal.checkpoints] == ["a", "b"]
    given = in_order(checkpoints(("b", {"epoch": "1"}), ("a", {"epoch": "0"})), given=True)
    assert [each.source for each in given.checkpoints] == ["b", "a"]
    assert sorted(["e10", "e9", "e", "E2"], key=natural) == ["e", "E2", "e9", "e10"]
    assert sorted(["1²", "10", "9" * 5000, "2"], key=natural) == ["1²", "2", "10", "9" * 5000]


def test_tensors_that_not_all_have_are_left_out_and_said(tmp_path):
    states = [{"w": torch.ones(2, 2) * i, "v": torch.ones(3)} for i in (1, 2, 3)]
    del states[1]["v"]
    states[0]["old"] = torch.ones(1)
    for place, state in enumerate(states):
        torch.save({"model": state, "optimizer": {"state": {}, "param_groups": []}, "epoch": place}, tmp_path / f"{place}.pt")
    found = report(tmp_path, "0.pt", "1.pt", "2.pt")
    assert list(found["tensors"]) == ["w"]
    assert found["left_out"] == {"v": "not in epoch 1", "old": "only in epoch 0"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from([None, (4, 4), (2, 3)]), min_size=4, max_size=4), min_size=1, max_size=3))
def test_why_a_tensor_is_left_out_is_so(shapes):
    """Whichever snapshots have a tensor in which shape: the reason names those that have none, or what shape is in which."""
    snapshots = [
        {"w": np.ones((4, 4)) * place, **{f"t{i}": np.zeros(each[place]) for i, each in enumerate(shapes) if each[place]}}
        for place in range(4)
    ]
    ordered = in_order([checkpoint_of(arrays, source=f"step_{place}") for place, arrays in enumerate(snapshots)])
    joint, left_out = joint_series(ordered)
    for i, each in enumerate(shapes):
        name, held = f"t{i}", {place for place, shape in enumerate(each) if shape}
        if len(held) < 4 or len(set(each)) > 1:
            assert name not in joint
            told = left_out.get(name, "")
            assert bool(told) == bool(held)
            for part in told.split("; ") if told else []:
                places = {place for place, label in enumerate(ordered.labels) if label in part}
                if part.startswith("only in"):
                    assert places == held
                elif part.startswith("not in"):
                    assert places == set(range(4)) - held
                else:
                    assert places == held
                    for text in re.findall(r"(\d×\d)([^×]*)(?=, \d×|$)", part):
                        shape = tuple(map(int, text[0].split("×")))
                        assert {place for place in held if ordered.labels[place] in text[1]} == {
                            place for place in held if each[place] == shape
                        }
        else:
            assert name in joint


def test_a_folder_with_other_files_and_trainer_folders(tmp_path):
    for step in (10, 9, 100):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        save_file({"w": torch.full((4, 4), float(step))}, folder / "model.safetensors")
        torch.save({"state": {}, "param_groups": []}, folder / "optimizer.pt")
    (tmp_path / "run" / "log.txt").write_text("epoch 1")
    (tmp_path / "run" / "1²").write_text("no number")
    found = report(tmp_path, "run")
    assert found["tensors"]["w"]["absmax"] == [9, 10, 100]
    empty = tmp_path / "empty"
    empty.mkdir()
    done = torch2grid("compare", "empty", cwd=tmp_path)
    assert done.returncode == 2
    assert "no checkpoint in it" in done.stderr
    alone = torch2grid("compare", DIGITS, cwd=tmp_path)
    assert alone.returncode == 2
    assert "one checkpoint" in alone.stderr


def test_each_file_is_read_once(tmp_path, monkeypatch):
    from torch2grid_builtin._compare.series import Frames, compare_many
    from torch2grid_builtin._transformers.flatten import Flatten
    from torch2grid_core import Settings
    from torch2grid_core.sources import Range

    paths = []
    for step in range(4):
        save_file({"a": torch.randn(300, 400), "b": torch.randn(77)}, tmp_path / f"{step}.safetensors")
        paths.append(str(tmp_path / f"{step}.safetensors"))
    read: dict[str, int] = {}
    plain = Range.read_into

    def counting(self, offset, buffer):
        if self.offset:
            read[self.source.shown] = read.get(self.source.shown, 0) + len(buffer)
        plain(self, offset, buffer)

    monkeypatch.setattr(Range, "read_into", counting)
    ordered = in_order([t2g.load(path) for path in paths])
    pages = []
    compare_many(ordered, [Frames(Flatten(), ordered.labels)], lambda page, *_: pages.append(page), Settings(max_cells=64))
    assert len(pages) == 4
    assert read == dict.fromkeys(paths, 4 * (300 * 400 + 77))


def test_the_animated_atlas(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    done = torch2grid("compare", run, "--format", "gif,html", "--plugin", "flatten", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["grids/series_atlas.gif", "grids/series_atlas.html"]
    with Image.open(tmp_path / "grids" / "series_atlas.gif") as film:
        assert film.info["loop"] == 0
        frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]
    assert len(frames) == 4
    assert all((np.abs(one - two).max(axis=2) > 30).mean() > 0.01 for one, two in itertools.pairwise(frames))
    html = (tmp_path / "grids" / "series_atlas.html").read_text(encoding="utf-8")
    assert all(f"epoch {epoch}" in html for epoch in (1, 3, 10, 30))


@pytest.mark.parametrize(
    ("formats", "report", "files"),
    [
        ("png,gif", False, {".gif": 1, ".png": 5}),  # trends, and a page for each of four matrices and kernels
        ("json,gif", True, {".gif": 1}),
        ("json,png", True, {".png": 5}),
        ("json", True, {}),
    ],
)
def test_every_format_that_is_asked_for_is_written(tmp_path, formats, report, files):
    done = torch2grid("compare", *SNAPSHOTS[:3], "--format", formats, "--plugin", "flatten", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = [path.suffix for path in (tmp_path / "grids").rglob("*") if path.is_file() and path.name != "index.json"]
    assert {ending: written.count(ending) for ending in written} == files
    if report:
        assert json.loads(done.stdout)["steps"] == [1, 3, 10]
        assert len([line for line in done.stderr.splitlines() if line.startswith("grids/")]) == len(written)
    else:
        assert done.stdout.startswith("3 checkpoints" if "png" in formats else "grids/")


def test_an_animation_of_two_has_the_exit_code_of_diff(tmp_path):
    words = ("--format", "gif", "--plugin", "flatten", "-q")
    done = torch2grid("compare", *SNAPSHOTS[:2], *words, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "grids/series_atlas.gif\n", "")
    with Image.open(tmp_path / "grids" / "series_atlas.gif") as film:
        one, two = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]
    assert (np.abs(one - two).max(axis=2) > 30).mean() > 0.01
    same = torch2grid("compare", SNAPSHOTS[0], SNAPSHOTS[0], *words, cwd=tmp_path)
    assert same.returncode == 0
    both = torch2grid("compare", *SNAPSHOTS[:2], "--format", "json,png,gif", "-o", "both", *words[2:], cwd=tmp_path)
    assert both.returncode == 1
    assert json.loads(both.stdout)["total"]["changed"] > 9000
    assert {path.name for path in (tmp_path / "both").iterdir()} >= {"delta_atlas.png", "series_atlas.gif"}
    save_file({"other": torch.ones(2, 2)}, tmp_path / "other.safetensors")
    apart = torch2grid("compare", SNAPSHOTS[0], "other.safetensors", *words, cwd=tmp_path)
    assert apart.returncode == 1
    assert "only in" in apart.stdout


@pytest.mark.parametrize("output", ["-", "one.png"])
def test_an_animation_takes_a_folder(tmp_path, output):
    for count in (2, 3):
        done = torch2grid("compare", *SNAPSHOTS[:count], "--format", "gif", "-o", output, "-q", cwd=tmp_path)
        assert done.returncode == 2
        assert "give a folder" in done.stderr
    assert not list(tmp_path.iterdir())


def test_pictures_and_the_python_api(tmp_path):
    done = torch2grid("compare", *SNAPSHOTS, "--layers", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "grids" / "series_trends.png").is_file()
    assert len(list((tmp_path / "grids" / "series").glob("*_series.png"))) == 8
    pages = t2g.series([str(path) for path in SNAPSHOTS])
    assert [page.name for page in pages][:2] == ["series", "series_trends"]
    ratio = pages["series_trends"].panels[0]
    assert ratio.log
    assert 1e-3 in ratio.marks.values()
    assert t2g.series(str(RUN))["series"].data == pages["series"].data


def test_comparing_live_objects(tmp_path):
    before, after = models()[0], models()[-1]
    comparison = t2g.compare(before, after, layers=True)
    assert not comparison.same
    assert comparison.report["total"]["changed"] > 9000
    assert {page.name for page in comparison} >= {"compare", "compare_overview", "delta_atlas", "fc1.weight_delta"}
    np.testing.assert_allclose(
        comparison["fc1.weight_delta"].panels[2].grid.values, (after["fc1.weight"] - before["fc1.weight"]).numpy(), rtol=1e-6
    )
    assert t2g.compare(before, before).same
    comparison.save(tmp_path / "pictures")
    assert (tmp_path / "pictures" / "delta_atlas.png").is_file()


def test_where_nothing_changed_no_step_is_named(tmp_path):
    state = {"fc.weight": torch.ones(4, 3), "fc.bias": torch.ones(4)}
    for step in (100, 200, 300):
        state = {name: each + (step == 300 and name == "fc.bias") for name, each in state.items()}
        torch.save(state, tmp_path / f"step_{step}.pth")
    done = torch2grid("compare", ".", "--format", "csv", "-o", "-", "-q", cwd=tmp_path)
    rows = {row["Tensor"]: row for row in csv.DictReader(done.stdout.splitlines())}
    assert [(row["Largest ‖Δw‖/‖w‖"], row["At"]) for row in rows.values()] == [("0.0", ""), ("1.0", "step 300")]
