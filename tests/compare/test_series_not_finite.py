"""NaN and Inf in a run: when they came first, in every trend, and no line where there is no weight."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_core.pages import Band, Heatmap, Ridges, Text

STRICT = {"PYTHONWARNINGS": "error::RuntimeWarning"}  # what numpy warns of would end the run
STEPS = (20, 40, 60, 80)
FIRST = "first NaN: global_step 60, 12 tensors, first in layers.0.attn.in_proj_weight"


def run(folder, bad=12, many=6):
    """A run whose first *bad* tensors are all NaN from step 60 on, and one weight of the embedding at step 80."""
    generator = torch.Generator().manual_seed(0)
    kinds = (("attn.in_proj_weight", (24, 8)), ("attn.in_proj_bias", (24,)), ("fc.weight", (16, 8)), ("fc.bias", (16,)))
    state = {f"layers.{layer}.{name}": shape for layer in range(many) for name, shape in kinds}
    state = {name: torch.randn(shape, generator=generator) for name, shape in state.items()}
    state["emb.weight"] = torch.randn(40, 8, generator=generator)
    paths = []
    for step in STEPS:
        state = {name: value + 0.01 * torch.randn(value.shape, generator=generator) for name, value in state.items()}
        if step >= 60:
            state |= {name: torch.full_like(state[name], math.nan) for name in list(state)[:bad]}
        if step == 80:
            state["emb.weight"][3, 4] = math.nan
        paths.append(folder / f"step_{step}.pth")
        torch.save({"model": state, "global_step": step}, paths[-1])
    return [str(path) for path in paths]


def test_the_first_nan_is_said(tmp_path):
    paths = run(tmp_path)
    done = torch2grid("compare", *paths, "--stats", cwd=tmp_path, env=STRICT)
    assert done.returncode == 0, done.stderr
    title, header, _, *rows = done.stdout.splitlines()
    assert title.endswith(f" · {FIRST}")
    assert FIRST in done.stderr.splitlines()
    assert header.split()[-5:] == ["NaN", "last", "Inf", "last", "Since"]
    names = [row.split()[0] for row in rows]
    assert [name.split(".")[1] for name in names[:12]] == ["0"] * 4 + ["1"] * 4 + ["2"] * 4  # those with NaN, in their order
    assert names[12] == "emb.weight"
    assert rows[0].split()[-4:] == ["192", "0", "global_step", "60"]
    assert rows[12].split()[-4:] == ["1", "0", "global_step", "80"]
    healthy = torch2grid("compare", *paths[:2], *paths[:1], "--stats", "-q", cwd=tmp_path, env=STRICT)
    assert "NaN" not in healthy.stdout


def test_json_has_null_and_counts(tmp_path):
    done = torch2grid("compare", *run(tmp_path), "--format", "json", "-q", cwd=tmp_path, env=STRICT)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    first = found["first_nan"]
    assert (first["label"], first["place"], len(first["tensors"])) == ("global_step 60", 2, 12)
    assert first["tensors"][0] == "layers.0.attn.in_proj_weight"
    assert found["first_inf"] is None
    gone, one = (found["tensors"][name] for name in ("layers.0.fc.weight", "emb.weight"))
    assert (gone["nan"], gone["inf"]) == ([0, 0, 128, 128], [0, 0, 0, 0])
    for figure in ("norm", "mean", "std", "absmax", "kurtosis", "near", "dead", "spread"):
        assert [value is None for value in gone[figure]] == [False, False, True, True], figure
    assert [value is None for value in gone["ratio"]] == [True, False, True, True]  # nor from NaN to NaN
    assert one["nan"] == [0, 0, 0, 1]
    assert [value is None for value in one["ratio"]] == [True, False, False, False]  # of the others
    assert one["norm"][3] is not None


def test_every_trend_is_marked_and_no_line_is_flat(tmp_path):
    pages = t2g.series(run(tmp_path, bad=4, many=1), layers=True)  # few enough for lines
    trends = pages["series_trends"]
    assert "first NaN: global_step 60, 4 tensors" in trends.title
    assert len(trends.panels) >= 4
    for panel in trends.panels:
        assert panel.flags == {2: "first NaN"}
        for name, values in panel.y.items():
            lost = slice(3, None) if "emb" in name else slice(2, None)
            assert f"NaN from {80 if 'emb' in name else 60}" in name
            assert np.isnan(values[lost]).all() or "emb" in name  # one weight of many: the line goes on with the others
            assert np.isfinite(values[1]) or ("bias" in name and panel.title.startswith("spread"))  # vectors have no units
    page = pages["layers.0.fc.weight_series"]
    ridge, band = page.panels
    assert isinstance(ridge, Ridges)
    assert isinstance(band, Band)
    assert ridge.labels == tuple(f"global_step {step}" for step in STEPS)
    assert ridge.flags == {2: "all 128 NaN", 3: "all 128 NaN"}
    assert [np.isnan(row).all() for row in ridge.shares] == [False, False, True, True]
    assert band.labels == ("global_step 20", "global_step 40")
    assert pages["emb.weight_series"].panels[0].flags == {3: "1 NaN"}
    assert "first NaN: global_step 60, in layers.0.fc.weight" in page.title


def test_cells_of_what_is_lost_are_lost(tmp_path):
    trends = t2g.series(run(tmp_path))["series_trends"]  # 13 matrices, and vectors with NaN
    assert FIRST in trends.title
    assert len(trends.panels) >= 4
    for panel in trends.panels:
        assert isinstance(panel, Heatmap)
        steps = [int(name) for _, name in panel.column_names]
        for (_, name), row in zip(panel.row_names, panel.grid.values, strict=True):
            layer = int(name.split(".")[1]) if name.startswith("layers") else -1
            since = 60 if 0 <= layer < 3 else math.inf
            assert name.partition(" ")[2] == ("(NaN from 60)" if 0 <= layer < 3 else "(NaN from 80)" if layer < 0 else "")
            assert [bool(np.isnan(value)) for value in row] == [step >= since for step in steps], (panel.title, name)


@pytest.mark.parametrize("many", [4, 20])
def test_one_nan_hides_no_figure_however_many_tensors_there_are(tmp_path, many):
    """A tensor grows a hundred thousandfold and has one NaN: as a line or as a row, its figures are those of the others."""
    rng, paths = np.random.default_rng(0), []
    weights = {f"layers.{layer}.weight": rng.normal(size=(16, 16)) for layer in range(many)}
    for step in STEPS:
        if step == 80:
            weights["layers.1.weight"] = weights["layers.1.weight"] * 1e5
            weights["layers.1.weight"][4, 5] = math.nan
            weights["layers.2.weight"][3, 3] = math.inf
        paths.append(str(tmp_path / f"step_{step}.pth"))
        torch.save({"model": {name: torch.tensor(each) for name, each in weights.items()}, "global_step": step}, paths[-1])
    pages = t2g.series(paths)
    finite = weights["layers.1.weight"][np.isfinite(weights["layers.1.weight"])]
    for figure, panel in zip(pages["series_trends"].panel_names, pages["series_trends"].panels, strict=True):
        assert isinstance(panel, Heatmap) == (many > 8)
        if isinstance(panel, Heatmap):
            rows = {name: values for (_, name), values in zip(panel.row_names, panel.grid.values, strict=True)}
            assert np.isfinite(panel.grid.values).all(), figure
            assert set(panel.stand_out[:2]) == {1, 2}  # their names say it, whatever there is no room for
        else:
            rows = panel.y
        (row,) = (values for name, values in rows.items() if name.replace(".weight", "") == "layers.1 (NaN from 80)")
        assert np.isfinite(row[-1]), figure
        if figure == "std":
            assert any(math.isclose(row[-1], value, rel_tol=1e-4) for value in (finite.std(), np.log10(finite.std())))
    columns, rows = pages["series"].panels[0].columns, pages["series"].panels[0].rows
    largest = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}["layers.1.weight"]
    assert largest["Largest ‖Δw‖/‖w‖"] == pytest.approx(1e5, rel=0.01)
    assert largest["At"] == "global_step 80"


def test_pictures_in_every_format(tmp_path):
    paths = run(tmp_path, bad=4, many=1)  # all matrices but one are NaN
    for words in (
        ("--layers",),
        ("--format", "gif,html", "-o", "film"),
        ("--format", "svg", "-o", "svg"),
        ("--atlas", "-o", "atlas"),
    ):
        done = torch2grid("compare", *paths, *words, "-q", cwd=tmp_path, env=STRICT, timeout=300)
        assert (done.returncode, done.stderr) == (0, ""), words
    drawing = (tmp_path / "svg" / "series_trends.svg").read_text(encoding="utf-8")
    pages = t2g.series(paths, layers=True)
    assert drawing.count("first NaN") >= len(pages["series_trends"].panels)
    pages.save(tmp_path / "pages", format="html,json")
    data = json.loads((tmp_path / "pages" / "series_trends.json").read_text(encoding="utf-8"))
    assert "first NaN" in json.dumps(data["panels"][0]["flags"])


def test_a_terminal_says_where(tmp_path):
    paths = run(tmp_path, bad=4, many=1)
    done = torch2grid("compare", *paths, "--format", "terminal", "-o", "-", "-q", cwd=tmp_path, env=STRICT)
    assert (done.returncode, done.stderr) == (0, "")
    panels = len(t2g.series(paths)["series_trends"].panels)
    assert done.stdout.count("! 60: first NaN\n") >= panels


def test_a_tensor_that_is_nan_throughout(tmp_path):
    for step in STEPS:
        torch.save({"w": torch.full((4, 4), math.nan), "v": torch.randn(4, 4), "global_step": step}, tmp_path / f"{step}.pth")
    paths = [str(tmp_path / f"{step}.pth") for step in STEPS]
    done = torch2grid("compare", *paths, "--layers", cwd=tmp_path, env=STRICT)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].endswith("· first NaN: global_step 20, in w")
    pages = t2g.series(paths, layers=True)
    (panel,) = pages["w_series"].panels
    assert isinstance(panel, Text)
    assert panel.text.splitlines()[0] == "No weight is finite:"
    assert panel.text.count("all 16 NaN") == 4


def test_the_first_inf_is_said_too(tmp_path):
    for step in STEPS:
        state = {"w": torch.randn(4, 4), "v": torch.randn(4)}
        if step > 20:
            state["v"][2] = -math.inf
        torch.save({"model": state, "global_step": step}, tmp_path / f"{step}.pth")
    pages = t2g.series([str(tmp_path / f"{step}.pth") for step in STEPS])
    assert pages["series"].title.endswith("first Inf: global_step 40, in v")
    assert pages["series_trends"].panels[0].flags == {1: "first Inf"}
    assert "v (Inf from 40)" in pages["series_trends"].panels[0].y  # a vector with Inf is among what is drawn


def test_a_recording_of_gradients_says_it(tmp_path):
    net = torch.nn.Linear(6, 4)
    recorder = t2g.GradientRecorder(net)
    for step in range(4):
        net.zero_grad()
        loss = (net(torch.ones(2, 6)) * (math.nan if step >= 2 else 1.0)).sum()
        loss.backward()
        recorder.record(step)
    pages = t2g.series(recorder)
    assert "first NaN: step 2, 2 tensors, first in weight" in pages["series"].title
    assert pages["series_trends"].panels[0].flags == {2: "first NaN"}


def test_weights_tied_in_the_last_checkpoint_only_have_tracks_of_their_own(tmp_path):
    for step, together in ((1, False), (2, False), (3, True)):
        weight = torch.randn(6, 4)
        head = weight if together else torch.randn(6, 4)
        torch.save({"model": {"wte.weight": weight, "head.weight": head}, "step": step}, tmp_path / f"{step}.pth")
    done = torch2grid("compare", "1.pth", "2.pth", "3.pth", "--format", "json", "-q", cwd=tmp_path)
    assert set(json.loads(done.stdout)["tensors"]) == {"wte.weight", "head.weight"}
    for step in (1, 2, 3):
        weight = torch.randn(6, 4)
        torch.save({"model": {"wte.weight": weight, "head.weight": weight}, "step": step}, tmp_path / f"{step}.pth")
    done = torch2grid("compare", "1.pth", "2.pth", "3.pth", "--format", "json", "-q", cwd=tmp_path)
    assert set(json.loads(done.stdout)["tensors"]) == {"wte.weight"}


def test_a_run_with_expanded_snapshots(tmp_path):
    row = torch.arange(1.0, 7.0)
    for step, value in ((1, row.expand(4, 6)), (2, row.expand(4, 6).contiguous()), (3, 2 * row.expand(4, 6).contiguous())):
        torch.save({"w": value, "step": step}, tmp_path / f"{step}.pth")
    done = torch2grid("compare", "1.pth", "2.pth", "3.pth", "--format", "json", "-q", cwd=tmp_path)
    track = json.loads(done.stdout)["tensors"]["w"]
    assert track["ratio"] == [None, 0.0, 1.0]
    assert track["norm"] == pytest.approx([2 * row.norm().item()] * 2 + [4 * row.norm().item()])
