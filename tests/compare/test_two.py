"""Planted differences: each is reported as what it is, and nothing else; figures against numpy in float64."""

from __future__ import annotations

import itertools
import json
import math

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.torch import save_file
from tests.support.compare.opened import comparison_of
from tests.support.tools import DIGITS, torch2grid

import torch2grid as t2g
from torch2grid_builtin._compare.delta import DeltaCollector, DeltaOf, minus
from torch2grid_core.measures import Chunk


def weights(seed=0):
    """A small transformer-like state dict."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for layer in range(3):
        for name, shape in (("q", (48, 64)), ("k", (48, 64)), ("up", (128, 64)), ("norm", (64,))):
            state[f"layers.{layer}.{name}.weight"] = torch.randn(shape, generator=generator)
    return state


def saved(tmp_path, a, b):
    torch.save(a, tmp_path / "a.pth")
    torch.save(b, tmp_path / "b.pth")
    return tmp_path / "a.pth", tmp_path / "b.pth"


def differences(tmp_path, a, b, **settings):
    comparison = comparison_of(*saved(tmp_path, a, b), **settings)
    return [(each.kind, each.name, each.text) for each in comparison.differences]


def test_equal_files_are_the_same(tmp_path):
    assert differences(tmp_path, weights(), weights()) == []


def test_one_weight(tmp_path):
    changed = weights()
    before = changed["layers.1.up.weight"][5, 7].item()
    changed["layers.1.up.weight"][5, 7] = 9.0
    (found,) = differences(tmp_path, weights(), changed)
    assert found == ("changed", "layers.1.up.weight", f"one weight: [5, 7] {before:.6g} → 9")


@pytest.mark.parametrize(("axis", "word"), [(0, "row 11 of 48"), (1, "column 11 of 64")])
def test_one_row_or_column(tmp_path, axis, word):
    changed = weights()
    changed["layers.0.q.weight"].select(axis, 11).add_(0.01)
    ((kind, name, text),) = differences(tmp_path, weights(), changed)
    assert (kind, name) == ("changed", "layers.0.q.weight")
    assert text.startswith(word)


SLICED = {  # of row 11 of w, weights of column 7 of v, kernel 2 of conv, rows 5 and 6 of matrix 1 of experts
    ("w", "11"): "row 11 of 48, every weight",
    ("w", "11:12"): "row 11 of 48, every weight",
    ("w", "10:13"): "row 11 of 48, 64 weights (33.333%)",
    ("w", "11, 3:9"): "row 11 of 48, every weight",
    ("w", "11, 3"): "one weight: [11, 3] 1 → 2",
    ("v", "11"): "one weight: [11, 7] 1 → 2",
    ("v", "10:14"): "rows 11, 13 of 48, column 7 of 64, 2 weights (0.781%)",
    ("v", ":, 7"): "column 7 of 64, rows 11, 13 of 48, 2 weights (4.167%)",
    ("v", ":, 7:8"): "column 7 of 64, rows 11, 13 of 48, 2 weights (4.167%)",
    ("v", "11:14:2, 7"): "column 7 of 64, every weight",
    ("conv", "2"): "output channel 2 of 8, every weight",
    ("conv", "2:3"): "output channel 2 of 8, every weight",
    ("experts", "1"): "matrix 1 of 4, rows 5–6 of 32, 96 weights (6.250%)",
}


WHERE = (  # tensor, what changed of it → where that is, in the words of its dimensions
    ("w", np.s_[3:9, 7], "rows 3–8 of 48, column 7 of 64"),
    ("w", np.s_[20:44], "rows 20–43 of 48"),
    ("w", np.s_[:, 40:], "columns 40–63 of 64"),
    ("bias", np.s_[[3, 9]], "indices 3, 9 of 64"),
    ("conv.weight", np.s_[:, 2], "input channel 2 of 4"),
    ("conv.weight", np.s_[5, 2], "output channel 5 of 8, input channel 2 of 4"),
    ("conv.weight", np.s_[:, :, 1, 1], "kernel row 1 of 3, kernel column 1 of 3"),
    ("conv1d.weight", np.s_[:, :, 4], "tap 4 of 5"),
    ("experts", np.s_[2, :, 7], "matrix 2 of 4, column 7 of 48"),
    ("experts", np.s_[:, 5], "row 5 of 32"),
    ("position_embedding", np.s_[:, 5], "dimension 1, index 5 of 20"),
    ("attn.in_proj_weight", np.s_[64:128], "rows 64–127 of 192 (K)"),
    ("attn.in_proj_weight", np.s_[130], "row 130 of 192 (V)"),
    ("attn.in_proj_weight", np.s_[60:70], "rows 60–69 of 192"),
    ("attn.c_attn.weight", np.s_[:, 64:128], "columns 64–127 of 192 (K)"),
)
SHAPES = {
    "w": (48, 64),
    "bias": (64,),
    "conv.weight": (8, 4, 3, 3),
    "conv1d.weight": (8, 4, 5),
    "experts": (4, 32, 48),
    "position_embedding": (1, 20, 64),
    "attn.in_proj_weight": (192, 64),
    "attn.c_attn.weight": (64, 192),
}


@pytest.mark.parametrize(("name", "index", "where"), WHERE)
def test_a_change_is_placed_along_each_dimension_that_confines_it(tmp_path, name, index, where):
    random = np.random.default_rng(0)
    before = random.standard_normal(SHAPES[name]).astype(np.float32)
    after = before.copy()
    after[index] += random.standard_normal(after[index].shape).astype(np.float32)
    ((_, _, text),) = differences(tmp_path, {name: torch.tensor(before)}, {name: torch.tensor(after)}, rank_size=0)
    assert text == f"{where}, {np.count_nonzero(before != after):,} weights ({100 * (before != after).mean():.3f}%)"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99), st.sampled_from([0.02, 0.3, 1.0]))
def test_places_are_those_of_every_change_in_chunks_of_any_size(shape, seed, share):
    random = np.random.default_rng(seed)
    moved = random.random(shape) < share
    collector = DeltaCollector(DeltaOf(), t2g.load({"w": np.zeros(shape, np.float32)})["w"])
    start, flat = 0, moved.reshape(-1)
    while start < flat.size:
        stop = start + int(random.integers(1, 30))
        collector._places(start, flat[start:stop])
        start = stop
    for axis in range(len(shape)):
        others = tuple(each for each in range(len(shape)) if each != axis)
        found = [index for run in collector._runs(axis) for index in run]
        assert found == np.flatnonzero(moved.any(axis=others)).tolist()


@pytest.fixture(scope="module")
def sliced(tmp_path_factory):
    place = tmp_path_factory.mktemp("sliced")
    shapes = {"w": (48, 64), "v": (48, 64), "conv": (8, 4, 3, 3), "experts": (4, 32, 48)}
    before = {name: torch.ones(shape) for name, shape in shapes.items()}
    after = {name: each.clone() for name, each in before.items()}
    for changed in (after["w"][11], after["v"][11:14:2, 7], after["conv"][2], after["experts"][1, 5:7]):
        changed += 1
    for name, state in (("a", before), ("b", after)):
        save_file(state, place / f"{name}.safetensors")
    return place


@pytest.mark.parametrize(("name", "part"), SLICED)
def test_a_part_names_what_it_is_of_the_whole(sliced, name, part):
    words = ("--only", name, "--slice", part, "--rank-size", "0", "--format", "json")
    report = json.loads(torch2grid("compare", "a.safetensors", "b.safetensors", *words, cwd=sliced).stdout)
    assert [each["text"] for each in report["differences"]] == [SLICED[name, part]]


def test_a_low_rank_update(tmp_path):
    changed, generator = weights(), torch.Generator().manual_seed(5)
    update = torch.randn(128, 4, generator=generator) @ torch.randn(4, 64, generator=generator)
    changed["layers.2.up.weight"] += 0.01 * update
    ((kind, name, text),) = differences(tmp_path, weights(), changed)
    assert (kind, name) == ("changed", "layers.2.up.weight")
    assert text.startswith("low rank: 4 directions")
    delta = comparison_of(tmp_path / "a.pth", tmp_path / "b.pth").deltas[name]
    values = np.linalg.svd(update.double().numpy(), compute_uv=False)
    assert delta.rank.stable == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-3)


@pytest.mark.parametrize("spoilt", [[2], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_the_matrices_of_a_stack_are_matrices(tmp_path, spoilt):
    generator = torch.Generator().manual_seed(5)
    before = {"layers.0.experts.up_proj": torch.randn(8, 64, 48, generator=generator)}
    changed = {name: tensor.clone() for name, tensor in before.items()}
    updates = torch.randn(len(spoilt), 64, 48, generator=generator)
    changed["layers.0.experts.up_proj"][spoilt] += updates
    ((_, name, text),) = differences(tmp_path, before, changed)
    assert text == ("matrix 2 of 8, 3,072 weights (12.500%)" if len(spoilt) == 1 else "every weight")
    delta = comparison_of(tmp_path / "a.pth", tmp_path / "b.pth").deltas[name]
    values = np.linalg.svd(updates.double().numpy(), compute_uv=False)
    assert delta.rank.stable == pytest.approx(((values**2).sum(axis=1) / values[:, 0] ** 2).max(), rel=0.01)


def test_a_low_rank_update_of_every_matrix_of_a_stack(tmp_path):
    generator = torch.Generator().manual_seed(5)
    before = {"layers.0.experts.up_proj": torch.randn(20, 64, 48, generator=generator)}
    update = torch.randn(20, 64, 3, generator=generator) @ torch.randn(20, 3, 48, generator=generator)
    changed = {name: tensor + 0.01 * update for name, tensor in before.items()}
    ((_, _, text),) = differences(tmp_path, before, changed)
    assert text == "low rank: 3 directions hold 99.9 % of Δ of each matrix, every weight"


def test_a_swapped_pair_of_names(tmp_path):
    changed = weights()
    one, two = "layers.0.q.weight", "layers.2.k.weight"
    changed[one], changed[two] = changed[two], changed[one]
    (found,) = differences(tmp_path, weights(), changed)
    assert found[:2] == ("swapped", one)
    assert two in found[2]


def test_a_cycle_of_names_is_told_one_by_one(tmp_path):
    changed, names = weights(), [f"layers.{layer}.q.weight" for layer in range(3)]
    values = [changed[name] for name in names]
    for name, value in zip(names, values[1:] + values[:1], strict=True):
        changed[name] = value
    found = differences(tmp_path, weights(), changed)
    assert [(kind, name) for kind, name, _ in found] == [("holds", name) for name in names]
    assert [text for _, _, text in found] == [f"holds what {name} of A held" for name in names[1:] + names[:1]]


def test_zeros_that_became_other_zeros_are_nobodys_copy(tmp_path):
    before, after = weights(), weights()
    for state in (before, after):
        state["x.bias"], state["y.bias"] = torch.zeros(64), torch.zeros(64)
    before["y.bias"] += 1
    after["x.bias"] += 2
    found = differences(tmp_path, before, after)
    assert [(kind, name) for kind, name, _ in found] == [("changed", "x.bias"), ("changed", "y.bias")]


def test_a_missing_and_an_extra_tensor(tmp_path):
    before, after = weights(), weights()
    del after["layers.1.norm.weight"]
    after["head.weight"] = torch.ones(3, 64)
    assert differences(tmp_path, before, after) == [
        ("only_a", "layers.1.norm.weight", "64 float32"),
        ("only_b", "head.weight", "3×64 float32"),
    ]


def test_a_renamed_tensor_is_found_by_its_weights(tmp_path):
    after = {name.replace("2.up", "2.rise"): value for name, value in weights().items()}
    (found,) = differences(tmp_path, weights(), after)
    assert found == ("renamed", "layers.2.rise.weight", "layers.2.up.weight of A, the same weights")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_a_dtype_change_is_rounding_and_nothing_else(tmp_path, dtype):
    after = weights()
    name = "layers.0.up.weight"
    after[name] = after[name].to(dtype)
    word = str(dtype).removeprefix("torch.")
    expected = [("dtype", name, f"float32 → {word}"), ("rounded", name, f"B is A rounded to {word}")]
    assert differences(tmp_path, weights(), after) == expected
    assert differences(tmp_path, weights(), after, ignore_dtype=True) == []
    back = differences(tmp_path, after, weights())
    assert back == [("dtype", name, f"{word} → float32"), ("rounded", name, f"A is B rounded to {word}")]


def test_a_change_beside_a_dtype_change_is_seen(tmp_path):
    after = weights()
    name = "layers.0.up.weight"
    after[name] = after[name].bfloat16()
    after[name][3, 3] += 1
    found = differences(tmp_path, weights(), after, ignore_dtype=True)
    assert [(kind, each) for kind, each, _ in found] == [("changed", name)]


def test_widening_without_loss_is_a_dtype_change_only(tmp_path):
    before = {name: value.bfloat16() for name, value in weights().items()}
    after = {name: value.float() for name, value in before.items()}
    found = differences(tmp_path, before, after)
    assert {kind for kind, _, _ in found} == {"dtype"}
    assert differences(tmp_path, before, after, ignore_dtype=True) == []


def test_other_sharding_and_another_format_of_equal_weights(tmp_path):
    state = weights()
    torch.save(state, tmp_path / "a.pth")
    for count in (1, 3):
        folder = tmp_path / f"shards{count}"
        folder.mkdir()
        index = {}
        for number in range(count):
            part = dict(itertools.islice(state.items(), number, None, count))
            file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
            save_file({name: value.contiguous() for name, value in part.items()}, folder / file)
            index |= dict.fromkeys(part, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    for one, two in (("a.pth", "shards3"), ("shards1", "shards3")):
        comparison = comparison_of(tmp_path / one, tmp_path / two)
        assert comparison.same
        assert len(comparison.deltas) == len(state)


def test_wrapped_names_match_and_it_is_said(tmp_path):
    after = {f"module._orig_mod.{name}": value for name, value in weights().items()}
    after["module._orig_mod.layers.0.q.weight"] = after["module._orig_mod.layers.0.q.weight"] + 1
    comparison = comparison_of(*saved(tmp_path, weights(), after))
    assert [each.name for each in comparison.differences] == ["module._orig_mod.layers.0.q.weight"]
    assert comparison.match.wrappers == {"module._orig_mod. in B": len(after)}


def test_a_prefix_of_one_side_is_taken_off_and_said(tmp_path):
    after = {f"transformer.{name}": value for name, value in weights().items()}
    comparison = comparison_of(*saved(tmp_path, weights(), after))
    assert comparison.same
    assert comparison.match.wrappers == {"transformer. in B": len(after)}


def test_a_name_that_could_be_two_matches_neither(tmp_path):
    before = {"fc.weight": torch.randn(4, 4)}
    after = {"module.fc.weight": torch.randn(4, 4), "model.fc.weight": torch.randn(4, 4)}
    assert sorted(kind for kind, _, _ in differences(tmp_path, before, after)) == ["only_a", "only_b", "only_b"]


def test_reshaped_and_transposed_weights(tmp_path):
    before = {"w": torch.randn(6, 4), "v": torch.randn(5, 3), "u": torch.randn(2, 2)}
    after = {"w": before["w"].T.contiguous(), "v": before["v"].reshape(15), "u": torch.randn(3, 3)}
    assert differences(tmp_path, before, after) == [
        ("shape", "w", "6×4 → 4×6, transposed, the same weights"),
        ("shape", "v", "5×3 → 15, reshaped, the same weights"),
        ("shape", "u", "2×2 → 3×3, not compared"),
    ]


def test_a_renamed_tensor_is_known_however_it_is_stored(tmp_path):
    turned = torch.randn(1500, 1600).T
    one, two = {"old": turned.contiguous()}, {"new": turned}
    assert differences(tmp_path, one, two) == [("renamed", "new", "old of A, the same weights")]
    assert differences(tmp_path, two, one) == [("renamed", "old", "new of A, the same weights")]
    other = turned.contiguous()
    other[-1, -1] += 1
    assert [kind for kind, _, _ in differences(tmp_path, {"old": other}, two)] == ["only_a", "only_b"]


def test_expanded_tensors_of_one_side_are_never_written_out(tmp_path):
    few = torch.arange(16.0)
    before, after = {"old": few.expand(2**45, 16)}, {"new": few.expand(2**45, 16), "other": (few + 1).expand(2**44, 16)}
    assert differences(tmp_path, before, after) == [
        ("renamed", "new", "old of A, the same weights"),
        ("only_b", "other", "17592186044416×16 float32, 1×16 stored, repeated to 17592186044416×16"),
    ]


def test_tolerance(tmp_path):
    after = weights()
    after["layers.0.q.weight"] += 0.001
    assert differences(tmp_path, weights(), after, tolerance=0.0011) == []
    assert len(differences(tmp_path, weights(), after, tolerance=0.0009)) == 1


def test_nan_and_inf(tmp_path):
    before, after = weights(), weights()
    for state in (before, after):
        state["layers.0.up.weight"][2, :4] = torch.tensor([math.nan, math.inf, -math.inf, math.nan])
    assert differences(tmp_path, before, after) == []
    after["layers.0.up.weight"][2, 1] = -math.inf
    after["layers.0.up.weight"][90, 0] = math.nan
    comparison = comparison_of(*saved(tmp_path, before, after))
    (found,) = comparison.differences
    assert found.text.startswith("1 NaN in B only, 1 Inf of the other sign, first [2, 1] Inf → −Inf, ")
    delta = comparison.deltas[found.name]
    assert (delta.broken, delta.changed, delta.squares) == (2, 2, 0.0)
    assert all(math.isnan(each) for each in (delta.relative, delta.cosine, delta.absmax, delta.norm))


@pytest.mark.parametrize(
    ("one", "two"),
    [("float32", "float32"), ("bfloat16", "bfloat16"), ("float16", "float32"), ("float64", "float64"), ("int8", "int8")],
)
def test_figures_are_numpys(tmp_path, one, two):
    generator = np.random.default_rng(1)
    a64 = generator.standard_normal((300, 700)) * 20
    b64 = a64 + generator.standard_normal((300, 700)) * (generator.random((300, 700)) < 0.3)
    kind = {"bfloat16": ml_dtypes.bfloat16}
    a, b = a64.astype(kind.get(one, one)), b64.astype(kind.get(two, two))
    names = {"bfloat16": torch.bfloat16}
    as_torch = [torch.from_numpy(x.astype(np.float64)).to(names.get(n, getattr(torch, n))) for x, n in ((a, one), (b, two))]
    comparison = comparison_of(*saved(tmp_path, {"w": as_torch[0]}, {"w": as_torch[1]}))
    delta = comparison.deltas["w"]
    x, y = a.astype(np.float64), b.astype(np.float64)
    d = y - x
    assert delta.weights == x.size
    assert delta.changed == np.count_nonzero(d)
    assert delta.norm == pytest.approx(np.linalg.norm(d), rel=1e-12)
    assert delta.relative == pytest.approx(np.linalg.norm(d) / np.linalg.norm(x), rel=1e-12)
    assert delta.cosine == pytest.approx((x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-12)
    assert delta.absmax == np.abs(d).max()
    index, before, after = delta.largest
    assert (index, before, after) == (np.abs(d).argmax(), x.flat[index], y.flat[index])
    values = np.linalg.svd(d, compute_uv=False)
    exact = (values**2).sum() / values[0] ** 2
    assert delta.rank.stable == pytest.approx(exact, rel=0.01)  # noise: no direction stands out
    assert delta.rank.directions is None


def test_each_byte_is_read_once(tmp_path, monkeypatch):
    from torch2grid_core.sources import Range

    changed = {name: value + 0.1 * torch.randn_like(value) for name, value in weights().items()}
    save_file(weights(), tmp_path / "a.safetensors")
    save_file(changed, tmp_path / "b.safetensors")
    read: dict[str, int] = {}
    plain = Range.read_into

    def counting(self, offset, buffer):
        if self.offset:  # not the header
            read[self.source.shown] = read.get(self.source.shown, 0) + len(buffer)
        plain(self, offset, buffer)

    monkeypatch.setattr(Range, "read_into", counting)
    comparison = comparison_of(tmp_path / "a.safetensors", tmp_path / "b.safetensors", pictures=True)
    assert len(comparison.differences) == len(changed)
    size = sum(value.numel() * 4 for value in changed.values())
    assert list(read.values()) == [size, size]


def test_exit_codes_and_what_is_printed(tmp_path):
    after = weights()
    after["layers.1.up.weight"][5, 7] = 9.0
    saved(tmp_path, weights(), after)
    same = torch2grid("compare", "a.pth", "a.pth", cwd=tmp_path)
    assert (same.returncode, same.stdout) == (0, "same: 12 tensors, 43,200 weights (A: a.pth, B: a.pth)\n"), same.stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    different = torch2grid("compare", "a.pth", "b.pth", cwd=tmp_path)
    assert different.returncode == 1
    assert "one weight: [5, 7]" in different.stdout
    assert different.stdout.splitlines()[0].startswith("different: 1 of 12 tensors changed, 1 of 43,200 weights")
    assert (tmp_path / "grids" / "delta_atlas.png").is_file()
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 no")
    for words in (["a.pth", "broken.pth"], ["a.pth", "nowhere.pth"], [], ["a.pth", "b.pth", "--part", "x"], ["a.pth", "--no"]):
        bad = torch2grid("compare", *words, cwd=tmp_path)
        assert bad.returncode == 2, (words, bad.stdout)
        assert len(bad.stderr.splitlines()) <= 2
        assert "Traceback" not in bad.stderr
    bad = torch2grid("compare", "a.pth", "nowhere.pth", cwd=tmp_path, env={"TORCH2GRID_DEBUG": "1"})
    assert bad.returncode == 2
    assert "Traceback" in bad.stderr


def test_json_is_the_report_and_nothing_else(tmp_path):
    after = weights()
    after["layers.0.norm.weight"][0] += 1
    saved(tmp_path, weights(), after)
    done = torch2grid("compare", "a.pth", "b.pth", "--format", "json", cwd=tmp_path)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["format"] == "torch2grid compare 1"
    assert report["same"] is False
    assert report["total"]["changed"] == 1
    (entry,) = [each for each in report["tensors"] if each["differences"]]
    assert entry["name"] == "layers.0.norm.weight"
    assert entry["largest"]["index"] == [0]
    assert not (tmp_path / "grids").exists()


def test_no_name_in_the_report_is_a_terminals_command(tmp_path):
    hostile = "a\x9b31m\u202e.weight"  # a C1 control that begins an escape sequence, and one that turns the line round
    saved(tmp_path, {hostile: torch.zeros(3, 3)}, {hostile: torch.ones(3, 3)})
    done = torch2grid("compare", "a.pth", "b.pth", "--format", "json", cwd=tmp_path)
    assert not {"\x9b", "\u202e"} & set(done.stdout)
    assert json.loads(done.stdout)["tensors"][0]["name"] == hostile


def test_pages_of_a_training_checkpoint_and_its_model(tmp_path):
    run = DIGITS.parents[4] / "examples" / "digits_run"
    done = torch2grid("compare", run / "epoch_01.pth", DIGITS, "--layers", "-q", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert len(list((tmp_path / "grids" / "compare").glob("*_delta.png"))) == 8
    index = json.loads((tmp_path / "grids" / "index.json").read_text())["files"]
    a, b, delta, own = index["compare/fc1.weight_delta.png"]["heatmaps"]
    assert a["limits"] == b["limits"] == delta["limits"] != own["limits"]
    one = torch.load(run / "epoch_01.pth", weights_only=True)["model"]["fc1.weight"]
    two = torch.load(DIGITS, weights_only=True)["fc1.weight"]
    assert abs(delta["largest"]["value"]) == (two - one).abs().max().item()


@given(st.data())
def test_the_change_of_integers_is_that_of_integers(data):
    """Of any two kinds, 64 bits and unsigned ones too: Δ is 0 only where they are equal, and rounded once."""
    kinds = [np.dtype(name) for name in ("int8", "int32", "uint32", "int64", "uint64")]
    one, two = data.draw(st.sampled_from(kinds)), data.draw(st.sampled_from(kinds))
    near = data.draw(st.sampled_from([0, 2**31, 2**53, 2**60, 2**63, -(2**63), 2**64]))
    sides = []
    for dtype in (one, two):
        info = np.iinfo(dtype)
        numbers = st.one_of(st.integers(info.min, info.max), st.integers(-3, 3).map(lambda each: near + each))
        held = data.draw(st.lists(numbers, min_size=6, max_size=6))
        sides.append(np.array([min(max(each, info.min), info.max) for each in held], dtype))
    before, after = sides
    exact = [int(b) - int(a) for a, b in zip(before.tolist(), after.tolist(), strict=True)]
    assert minus(after, before).astype(np.float64).tolist() == [float(each) for each in exact]
    collector = DeltaCollector(DeltaOf(), t2g.load({"w": before})["w"])
    collector.update(Chunk("w", 0, members={"a": before, "b": after}))
    delta = collector.result()
    assert delta.changed == sum(each != 0 for each in exact)
    assert delta.finite_absmax == float(max(map(abs, exact)))
    if delta.largest is not None:
        place, a, b = delta.largest
        assert (a, b) == (before.tolist()[place], after.tolist()[place])


def test_a_float_beside_a_large_integer_is_compared_with_it_and_not_with_it_rounded():
    before, after = np.array([2**60 + 1, 2**53 + 1, 7, -(2**62)]), np.array([2.0**60, 2.0**53, 6.5, np.inf])
    assert minus(after, before).tolist() == [-1, -1, -0.5, np.inf]
    assert minus(before, after).tolist() == [1, 1, 0.5, -np.inf]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_large_integers_differ_in_every_table_and_picture_alike(tmp_path, dtype):
    before = np.arange(2**60, 2**60 + 240, dtype=dtype).reshape(20, 12)
    after = before.copy()
    after[5] += 1
    np.savez(tmp_path / "a.npz", i=before)
    np.savez(tmp_path / "b.npz", i=after)
    done = torch2grid("compare", "a.npz", "b.npz", "--format", "json", "-q", cwd=tmp_path)
    (found,) = json.loads(done.stdout)["tensors"]
    assert found["changed"] == 12
    assert found["largest"]["b"] - found["largest"]["a"] == 1
    done = torch2grid("compare", "a.npz", "b.npz", "--values", "--only", "i", "--slice", "5,:3", cwd=tmp_path)
    assert [line.split() for line in done.stdout.splitlines()[-3:]] == [[str(column), "1.0"] for column in range(3)]
    page = next(each for each in t2g.compare(tmp_path / "a.npz", tmp_path / "b.npz", layers=True) if each.name == "i_delta")
    for name in ("Δ on a scale about 0, as wide as that of A and B", "Δ on a scale of its own"):
        cells = page.panels[page.panel_names.index(name)].grid.values
        assert cells.max(axis=1).tolist() == [float(row == 5) for row in range(20)]
    histogram = page.panels[page.panel_names.index("histogram of Δ")]
    assert "95.00%" in str(histogram.summary["unchanged"])
