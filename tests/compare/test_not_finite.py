"""NaN and Inf in one of two checkpoints: said first, counted, and in no figure."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from tests.compare.test_two import differences, saved, weights
from tests.support.compare.opened import comparison_of
from tests.support.corpus import cases
from tests.support.tools import torch2grid

import torch2grid as t2g

STRICT = {"PYTHONWARNINGS": "error::RuntimeWarning"}  # what numpy warns of would end the run


def both_ways(tmp_path, *words):
    return [torch2grid("compare", *pair, *words, cwd=tmp_path, env=STRICT) for pair in (("a.pth", "b.pth"), ("b.pth", "a.pth"))]


def test_one_weight_that_is_nan(tmp_path):
    before, after = weights(), weights()
    before["layers.1.q.weight"][17, 9] = 0.012
    after["layers.1.q.weight"][17, 9] = math.nan
    after["layers.0.up.weight"] *= 2  # a larger change, but a number
    saved(tmp_path, before, after)
    there, back = both_ways(tmp_path, "--stats", "-q")
    assert (there.returncode, back.returncode, there.stderr, back.stderr) == (1, 1, "", "")
    title, _, _, first, second = there.stdout.splitlines()
    assert title.startswith("different: 2 of 12 tensors changed, 8,193 of 43,200 weights, 1 NaN in B only (A:")
    assert first.split()[:6] == ["layers.1.q.weight", "48×64", "float32", "nan", "nan", "nan"]
    assert first.endswith("one weight: [17, 9] 0.012 → NaN")
    assert second.split()[0] == "layers.0.up.weight"
    assert "1 NaN in A only" in back.stdout.splitlines()[0]
    assert back.stdout.splitlines()[3].endswith("one weight: [17, 9] NaN → 0.012")


def test_json_has_null_and_counts(tmp_path):
    after = weights()
    after["layers.1.q.weight"] += 0.5
    after["layers.1.q.weight"][3, :3] = torch.tensor([math.nan, math.inf, -math.inf])
    a, b = weights()["layers.1.q.weight"].double().numpy(), after["layers.1.q.weight"].double().numpy()
    saved(tmp_path, weights(), after)
    done, _ = both_ways(tmp_path, "--format", "json", "-q")
    report = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    (entry,) = [each for each in report["tensors"] if each["differences"]]
    for found in (entry, report["total"]):
        assert [found[key] for key in ("relative_l2", "cosine", "l2_a", "l2_b", "l2_delta", "max_abs_delta")] == [None] * 6
        assert found["nan"] == {"only_in_a": 0, "only_in_b": 1, "in_both": 0}
        assert found["inf"] == {"only_in_a": 0, "only_in_b": 2, "in_both": 0, "of_other_sign": 0}
        assert found["nan_or_inf"] == 3
    assert entry["first_nan_or_inf"]["index"] == [3, 0]
    assert entry["first_nan_or_inf"]["b"] == "NaN"
    known = np.isfinite(b)
    finite = entry["of_finite"]
    assert (finite["weights"], finite["changed"]) == (known.sum(), known.sum())
    assert finite["relative_l2"] == pytest.approx(np.linalg.norm((b - a)[known]) / np.linalg.norm(a[known]), rel=1e-9)
    assert finite["max_abs_delta"] == pytest.approx(np.abs(b - a)[known].max(), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_a_tensor_that_is_all_nan_has_no_figure(tmp_path, dtype):
    before, after = weights(), weights()
    before["layers.2.k.weight"] = before["layers.2.k.weight"].to(dtype)
    after["layers.2.k.weight"] = torch.full((48, 64), math.nan, dtype=dtype)
    ((kind, name, text),) = differences(tmp_path, before, after)
    assert (kind, name) == ("changed", "layers.2.k.weight")
    assert text.startswith("all 3,072 weights are NaN in B only, first [0, 0] ")
    delta = comparison_of(tmp_path / "a.pth", tmp_path / "b.pth").deltas[name]
    assert all(math.isnan(each) for each in (delta.relative, delta.cosine, delta.absmax))
    assert delta.rank is None


def test_nan_in_both_is_the_same_and_said(tmp_path):
    state = weights()
    state["layers.0.norm.weight"][:] = math.nan
    state["layers.0.q.weight"][0, 0] = -math.inf
    saved(tmp_path, state, state)
    for done in both_ways(tmp_path, "-q"):
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("same: 12 tensors, 43,200 weights, 64 NaN in both, 1 Inf in both (A: ")
    everything, _ = both_ways(tmp_path, "-q", "--stats", "--all")
    (row,) = [line for line in everything.stdout.splitlines() if line.startswith("layers.0.norm.weight")]
    assert row.split()[3] == "nan"  # of no finite weight there is no change


def test_an_inf_that_rounding_made_is_no_rounding(tmp_path):
    before, after = weights(), weights()
    before["layers.0.q.weight"][4, 5] = 1e6
    after["layers.0.q.weight"] = before["layers.0.q.weight"].half()
    for options in ({}, {"ignore_dtype": True}):
        *_, (kind, _, text) = differences(tmp_path, before, after, **options)
        assert kind == "changed"
        assert text.startswith("B is A rounded to float16, 1 Inf in B only, first [4, 5] 1e+06 → Inf")


def test_nan_is_rounded_to_nan(tmp_path):
    before = weights()
    before["layers.0.q.weight"][4, 5] = math.nan
    after = {**before, "layers.0.q.weight": before["layers.0.q.weight"].bfloat16()}
    assert differences(tmp_path, before, after, ignore_dtype=True) == []


def test_pictures_of_nan(tmp_path):
    before, after = weights(), weights()
    after["layers.0.q.weight"][:] = math.nan
    after["layers.0.k.weight"][0, 0] = math.nan
    before["layers.0.up.weight"][:] = after["layers.0.up.weight"][:] = math.nan
    saved(tmp_path, before, after)
    for words in (("--layers", "--all"), ("--format", "png,html,gif"), ()):
        for done in both_ways(tmp_path, *words, "-q"):
            assert (done.returncode, done.stderr) == (1, "")
    index = json.loads((tmp_path / "grids" / "index.json").read_text())["files"]
    assert "1 NaN in A only" in index["compare/layers.0.k.weight_delta.png"]["title"]
    assert "all 3,072 weights are NaN in A only" in index["compare/layers.0.q.weight_delta.png"]["title"]
    assert index["compare_overview.png"]["title"] == "Change from b.pth to a.pth · 3,073 NaN in A only"


def test_how_many_weights_changed_is_known_of_nan_too():
    generator = np.random.default_rng(4)
    before = {f"layers.{n}.fc.weight": generator.standard_normal((6, 5)).astype(np.float32) for n in range(60)}
    after = {name: each.copy() for name, each in before.items()}
    after["layers.7.fc.weight"][2, 3] = math.nan
    after["layers.9.fc.weight"][1] += 1
    for models in ((before, after), (after, before)):
        change, share = t2g.compare(*models)["compare_overview"].panels
        assert np.flatnonzero(np.isnan(change.grid.values)).tolist() == [7]
        assert share.grid.values[[7, 9], 0].tolist() == pytest.approx([1 / 30, 5 / 30])
    few = {name: before[name] for name in list(before)[:9]}
    _, shares = t2g.compare(few, {name: after[name] for name in few})["compare_overview"].panels
    assert (shares.values[0], shares.flags) == (pytest.approx(1 / 30), {0: "1 NaN in B only"})


def test_weights_whose_squares_overflow_have_no_cosine_of_1(tmp_path):
    before = {
        "w": torch.tensor([1e200, -1e200, 3e199], dtype=torch.float64),
        "v": torch.full((2, 2), 1e300, dtype=torch.float64),
    }
    after = {name: -tensor for name, tensor in before.items()}
    saved(tmp_path, before, after)
    for done in both_ways(tmp_path, "--stats", "-q", "--format", "json"):
        assert (done.returncode, done.stderr) == (1, "")
        report = json.loads(done.stdout)
        assert [each["cosine"] for each in report["tensors"]] == [None, None]
        assert report["tensors"][0]["max_abs_delta"] == 2e200


def test_whole_numbers_beyond_float64_have_their_difference(tmp_path):
    before = {"w": torch.tensor([[2**60, -(2**62)], [2**63 - 1, 0]])}
    after = {"w": torch.tensor([[2**60 + 1, -(2**62)], [-(2**63), 0]])}
    (found,) = differences(tmp_path, before, after)
    assert found[:2] == ("changed", "w")
    delta = comparison_of(tmp_path / "a.pth", tmp_path / "b.pth").deltas["w"]
    assert (delta.changed, delta.absmax) == (2, 2.0**64)
    assert comparison_of(tmp_path / "b.pth", tmp_path / "a.pth").deltas["w"].norm == delta.norm


@pytest.mark.parametrize("names", [("nan_a.pt", "nan_c.pt"), ("nan_a.pt", "nan_b.pt")])
def test_cases_with_nan_at_one_place(tmp_path, names):
    a, b = (cases(f"found/compare/{name}") for name in names)
    for pair in ((a, b), (b, a)):
        done = torch2grid("compare", *pair, "-q", cwd=tmp_path, env=STRICT)
        assert (done.returncode, done.stderr) == (0, "")
        assert "1 NaN in both" in done.stdout
