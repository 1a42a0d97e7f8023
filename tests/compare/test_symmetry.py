"""A with B finds what B with A finds: over every pair of the cases, pairs written here, and random ones."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.torch import save_file, save_model
from tests.support.compare.opened import MANAGER, compared
from tests.support.corpus import cases
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_core import Torch2GridError
from torch2grid_core.selection import select


def figures(delta):
    """What does not depend on which of the two comes first, NaN as a text so that it equals itself."""
    numbers = (delta.weights, delta.changed, delta.norm, delta.absmax, delta.cosine, delta.rank and delta.rank.directions)
    return tuple("NaN" if isinstance(each, float) and math.isnan(each) else each for each in numbers)


def facts(comparison, a="a", b="b"):
    """What was found, the first side called *a*."""
    match, deltas = comparison.match, comparison.deltas
    from_files = {pair.name: comparison.origins(pair.name) for pair in match.pairs}
    names = {name: frozenset({(a, one.said), (b, two.said)}) for name, (one, two) in from_files.items()}
    bad = {name: deltas[name].not_finite for name in deltas}
    only = [each for each in comparison.differences if each.kind in ("only_a", "only_b")]
    renamed = [each for each in comparison.differences if each.kind == "renamed"]
    return {
        "same": comparison.same,
        "matched": set(names.values()),
        "figures": {names[name]: figures(delta) for name, delta in deltas.items()},
        "norms": {names[name]: {a: _plain(delta.norm_a), b: _plain(delta.norm_b)} for name, delta in deltas.items()},
        "counted": len(comparison.counted),
        "changed": sum(bool(deltas[name].changed) for name in comparison.counted),
        "bad": {names[name]: {a: (each.nan_a, each.inf_a), b: (each.nan_b, each.inf_b)} for name, each in bad.items()},
        "kept": {names[name]: (each.nan_both, each.inf_both, each.turned) for name, each in bad.items()},
        "rounded": {names[name]: {"A": a, "B": b, "": ""}[delta.rounded] for name, delta in deltas.items()},
        "only": {(a if each.kind == "only_a" else b, each.name) for each in only},
        "renamed": len(renamed),
        "tied": comparison.tied,
        "apart": {({"a": a, "b": b}[each.side], each.name) for each in match.apart},
        "said": (sum(match.wrappers.values()), sum(match.spellings.values())),
        "shapes": {names[each.name] for each in comparison.differences if each.kind == "shape"},
        "dtypes": {names[each.name] for each in comparison.differences if each.kind == "dtype"},
    }


def _plain(value):
    return "NaN" if math.isnan(value) else value


def agree(a, b, **options):
    """Compare both ways, and hand back the first."""
    there, back = compared(a, b, **options), compared(b, a, **options)
    assert facts(there) == facts(back, "b", "a")
    return there


def opened(folder):
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("manifest.json", "README.md"):
            try:
                found.append(select(MANAGER.open(str(path))).checkpoint)
            except Torch2GridError:
                continue  # a part of something: others say whether it should open
    return found


def test_every_pair_of_the_cases():
    found = opened(cases("found"))
    assert len(found) > 25
    for a, b in itertools.combinations_with_replacement(found, 2):
        comparison = agree(a, b)
        if a is b:
            assert comparison.same, a.source


GENERATOR = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, generator=GENERATOR)


W, V, B = randn(12, 8), randn(12, 8), randn(12)
BAD = W.clone()
BAD[0, :3] = torch.tensor([math.nan, math.inf, -math.inf])
STATES = {
    "plain": {"fc.weight": W, "fc.bias": B},
    "changed": {"fc.weight": V, "fc.bias": B},
    "bad": {"fc.weight": BAD, "fc.bias": B},
    "worse": {"fc.weight": -BAD, "fc.bias": torch.full((12,), math.nan)},
    "wrapped": {"module.fc.weight": W, "module.fc.bias": B, "n_averaged": torch.tensor(4)},
    "prefixed": {"net.fc.weight": V, "net.fc.bias": B, "metric.x": randn(2)},
    "twice prefixed": {"x.net.fc.weight": V, "x.net.fc.bias": B},
    "two networks": {"g.fc.weight": W, "g.fc.bias": B, "d.fc.weight": V, "d.fc.bias": B},
    "half": {"fc.weight": W.half(), "fc.bias": B.bfloat16()},
    "transposed": {"fc.weight": W.T.contiguous(), "fc.bias": B.reshape(3, 4)},
    "turned": {"fc.weight": W.reshape(6, 16).T, "fc.bias": B.reshape(3, 4).T},
    "flat": {"fc.weight": W.flatten(), "fc.bias": B.reshape(4, 3)},
    "expanded": {"fc.weight": B.expand(5, 12), "fc.bias": B[:1].expand(12)},
    "written out": {"fc.weight": B.expand(5, 12).contiguous(), "fc.bias": B[:1].expand(12).contiguous()},
    "complex": {"fc.weight": torch.complex(W, V), "fc.bias": torch.complex(B, B)},
    "other complex": {"fc.weight": torch.complex(V, W), "fc.bias": torch.complex(B, -B)},
    "swapped": {"one.weight": W, "two.weight": V, "three.weight": W + 1},
    "moved": {"one.weight": V, "two.weight": W + 1, "three.weight": W},
    "renamed": {"one.weight": W, "2.weight": W.clone(), "3.weight": V, "b": B},
    "tied": {"wte.weight": W, "lm_head.weight": W, "b": B},
    "tied and viewed": {"wte.weight": W, "lm_head.weight": W, "rows": W[:3], "b": B},
    "once": {"lm_head.weight": W, "b": B},
    "two copies": {"wte.weight": W, "lm_head.weight": W.clone(), "b": B},
    "untied": {"wte.weight": W, "lm_head.weight": V, "b": B},
    "whole numbers": {"fc.weight": torch.arange(96).reshape(12, 8) + 2**60, "fc.bias": torch.arange(12)},
    "other whole numbers": {"fc.weight": torch.arange(96).reshape(12, 8) + 2**60 + 1, "fc.bias": torch.arange(12)},
    "empty key": {"": W, "b": B},
    "old weight norm": {"fc.weight_g": W[:, :1], "fc.weight_v": W, "ln.gamma": B, "ln.beta": B},
    "new weight norm": {
        "fc.parametrizations.weight.original0": W[:, :1],
        "fc.parametrizations.weight.original1": V,
        "ln.weight": B,
        "ln.bias": B,
    },
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every state as a file; what safetensors can hold, as one of these too."""
    folder = tmp_path_factory.mktemp("states")
    found = {}
    for name, state in STATES.items():
        torch.save(state, folder / f"{name}.pth")
        found[name] = select(MANAGER.open(str(folder / f"{name}.pth"))).checkpoint
    for name in ("plain", "once", "two copies", "untied", "bad"):
        save_file({key: value.clone() for key, value in STATES[name].items()}, folder / f"{name}.safetensors")
        found[f"{name}, safe"] = select(MANAGER.open(str(folder / f"{name}.safetensors"))).checkpoint
    module = torch.nn.ModuleDict({"wte": torch.nn.Embedding(12, 8), "lm_head": torch.nn.Linear(8, 12, bias=False)})
    module["wte"].weight = module["lm_head"].weight
    with torch.no_grad():
        module["wte"].weight.copy_(W)
    save_model(module, str(folder / "kept once.safetensors"))
    found["kept once, safe"] = select(MANAGER.open(str(folder / "kept once.safetensors"))).checkpoint
    return found


def test_every_pair_of_written_files(written):
    for (one, a), (two, b) in itertools.combinations_with_replacement(written.items(), 2):
        for options in ({}, {"ignore_dtype": True, "tolerance": 0.5}):
            comparison = agree(a, b, **options)
            assert comparison.same or one != two, one


@pytest.mark.parametrize(("one", "two"), list(itertools.product(("once", "kept once, safe", "tied"), ("tied", "two copies"))))
def test_tied_weights_are_the_same_however_often_they_are_kept(written, one, two):
    state = {name: tensor for name, tensor in written[one].items() if name != "b"}
    other = {name: tensor for name, tensor in written[two].items() if name != "b"}
    a, b = written[one].with_tensors(state), written[two].with_tensors(other)
    assert agree(a, b).same


@pytest.mark.parametrize("one", ["tied", "kept once, safe"])
def test_a_second_copy_that_differs_is_one_changed_tensor(written, one):
    state = {name: tensor for name, tensor in written[one].items() if name != "b"}
    other = {name: tensor for name, tensor in written["untied"].items() if name != "b"}
    comparison = agree(written[one].with_tensors(state), written["untied"].with_tensors(other))
    found = facts(comparison)
    assert (found["counted"], found["changed"], found["only"]) == (2, 1, set())
    (changed,) = [each.name for each in comparison.differences]
    assert comparison.deltas[changed].norm == pytest.approx((V - W).norm().item(), rel=1e-6)


def test_tied_weights_that_change_together_are_one_changed_tensor(tmp_path):
    for name, value in (("a", W), ("b", V)):
        torch.save({"wte.weight": value, "lm_head.weight": value, "b": B}, tmp_path / f"{name}.pth")
    done = torch2grid("compare", "a.pth", "b.pth", "--stats", "-q", cwd=tmp_path)
    assert done.stdout.startswith("different: 1 of 2 tensors changed, 96 of 108 weights, ‖Δ‖/‖A‖ ")
    assert "tied to wte.weight, the same change" in done.stdout


names = st.sampled_from(["a.weight", "a.bias", "module.a.weight", "b.weight", "wte.weight", "lm_head.weight", "", "n.gamma"])
values = st.sampled_from([0.0, 1.0, -2.5, 1e30, math.nan, math.inf, -math.inf])
arrays = st.tuples(
    st.sampled_from([(4,), (2, 2), (1, 4), (4, 1)]),
    st.lists(values, min_size=4, max_size=4),
    st.sampled_from(["float32", "float16", "float64", "complex64"]),
)


@st.composite
def checkpoints(draw):
    """Two checkpoints of a few tensors, of which some are shared, repeated or tied."""
    made = draw(st.lists(arrays, min_size=1, max_size=4))
    tensors = [torch.tensor(numbers).to(getattr(torch, dtype)).reshape(shape) for shape, numbers, dtype in made]
    sides = draw(st.tuples(*[st.dictionaries(names, st.sampled_from(tensors), min_size=1, max_size=5)] * 2))
    return [dict(side) for side in sides]


@given(checkpoints())
def test_random_pairs(pair):
    a, b = (select(t2g.load(state)).checkpoint for state in pair)
    agree(a, b)
    assert agree(a, a).same


def test_the_command_answers_alike(tmp_path):
    for name in ("plain", "bad", "wrapped", "tied", "once", "prefixed"):
        torch.save(STATES[name], tmp_path / f"{name}.pth")
    for one, two in (("plain", "bad"), ("plain", "wrapped"), ("tied", "once"), ("bad", "prefixed")):
        there, back = (
            torch2grid("compare", f"{each[0]}.pth", f"{each[1]}.pth", "--format", "json", "-q", cwd=tmp_path)
            for each in ((one, two), (two, one))
        )
        assert there.returncode == back.returncode in (0, 1)
        assert (there.stderr, back.stderr) == ("", "")
        first, second = json.loads(there.stdout), json.loads(back.stdout)
        for key in ("tensors", "weights", "changed", "l2_delta", "max_abs_delta", "cosine", "nan_or_inf"):
            assert first["total"][key] == second["total"][key]
        assert (first["only_in_a"], first["only_in_b"]) == (second["only_in_b"], second["only_in_a"])
