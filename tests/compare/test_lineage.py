"""Evidence of shared training: none where there was none, and strong where there was."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, strategies as st
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._compare.lineage import RELATED, _evidence, fisher, lineage_of, lineage_of_three, p_text, spearman
from torch2grid_builtin._compare.two import Comparing, Tolerance
from torch2grid_core import PluginManager

HIDDEN, LAYERS = 96, 4


def trained(count, seed, steps=120, begin=None):
    """The first layers of *count* small networks, trained on handwritten digits: (count, hidden, inputs), and all they are."""
    random = np.random.default_rng(seed)
    digits = load_digits()
    inputs, labels = digits.data / 16, np.eye(10)[digits.target]
    if begin is None:
        first = random.normal(0, 0.15, (count, HIDDEN, 64))
        second = random.normal(0, 0.15, (count, 10, HIDDEN))
    else:
        first, second = (each.copy() for each in begin)
    for _ in range(steps):
        chosen = random.integers(len(inputs), size=(count, 32))
        x, y = inputs[chosen], labels[chosen]
        hidden = np.maximum(x @ first.transpose(0, 2, 1), 0)
        found = hidden @ second.transpose(0, 2, 1)
        found = np.exp(found - found.max(axis=2, keepdims=True))
        error = found / found.sum(axis=2, keepdims=True) - y
        back = (error @ second) * (hidden > 0)
        second -= 0.5 * error.transpose(0, 2, 1) @ hidden / 32
        first -= 0.5 * back.transpose(0, 2, 1) @ x / 32
    return first, second


def test_p_is_uniform_for_networks_trained_apart_and_tiny_for_those_trained_further():
    first, second = trained(400, 1)
    assert not np.allclose(first[0], trained(1, 1, steps=0)[0][0])
    apart = [math.exp(_evidence("", first[2 * pair], first[2 * pair + 1]).log_p) for pair in range(200)]
    assert scipy.stats.kstest(apart, "uniform").pvalue > 0.05
    further, _ = trained(20, 2, begin=(first[:20], second[:20]))
    for before, after in zip(first[:20], further, strict=True):
        assert not np.allclose(before, after)
        assert _evidence("", before, after).log_p < math.log(RELATED)


def test_the_order_of_units_is_found_again():
    first, _ = trained(2, 3)
    order = np.random.default_rng(4).permutation(HIDDEN)
    noisy = first[0][order] + np.random.default_rng(5).normal(0, 0.01, first[0].shape)
    found = _evidence("", first[0], noisy)
    assert found.log_p > math.log(RELATED)
    assert np.array_equal(order[np.array(found.order)], np.arange(HIDDEN))
    assert _evidence("", first[0], first[1]).order is None


@given(st.permutations(range(12)))
def test_spearman_is_that_of_scipy(order):
    correlation, log_p = spearman(np.array(order))
    theirs = scipy.stats.spearmanr(range(12), order, alternative="greater")
    assert correlation == pytest.approx(theirs.statistic, abs=1e-12)
    assert log_p == pytest.approx(max(math.log(max(theirs.pvalue, 1e-300)), -math.lgamma(13)), abs=1e-6)


@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=30))
def test_fisher_is_that_of_scipy(values):
    theirs = scipy.stats.combine_pvalues(values, method="fisher").pvalue
    assert math.exp(fisher([math.log(each) for each in values])) == pytest.approx(theirs, rel=1e-6)


def test_p_values_in_words():
    assert p_text(math.log(0.42)) == "0.42"
    assert p_text(-5000) == "below 1e-300"
    assert p_text(None) == "unknown"


def model(seed=0):
    random = np.random.default_rng(seed)
    shapes = {"self_attn.q_proj": (64, 64), "mlp.gate_proj": (192, 64), "mlp.up_proj": (192, 64), "mlp.down_proj": (64, 192)}
    return {
        f"layers.{layer}.{name}.weight": random.normal(0, 0.02, shape).astype(np.float32)
        for layer in range(LAYERS)
        for name, shape in shapes.items()
    }


def noisy(tensors, size, seed=9):
    random = np.random.default_rng(seed)
    return {name: (each + random.normal(0, size, each.shape)).astype(np.float32) for name, each in tensors.items()}


def with_adapter(tensors):
    random = np.random.default_rng(8)
    change = {name: 0.01 * random.normal(0, 1, (64, 4)) @ random.normal(0, 1, (4, 64)) for name in tensors if "q_proj" in name}
    return {name: (each + change.get(name, 0)).astype(np.float32) for name, each in tensors.items()}


def permuted(tensors):
    random, found = np.random.default_rng(7), dict(tensors)
    for layer in range(LAYERS):
        order = random.permutation(192)
        for name in ("gate_proj", "up_proj"):
            found[f"layers.{layer}.mlp.{name}.weight"] = tensors[f"layers.{layer}.mlp.{name}.weight"][order]
        down = f"layers.{layer}.mlp.down_proj.weight"
        found[down] = np.ascontiguousarray(tensors[down][:, order])
    return found


def turned(tensors):
    """As GPT-2 names and stores them: inputs are rows."""
    names = {
        "self_attn.q_proj": "attn.q",
        "mlp.gate_proj": "mlp.gate",
        "mlp.up_proj": "mlp.c_fc",
        "mlp.down_proj": "mlp.c_proj",
    }
    found = {}
    for name, each in tensors.items():
        _, layer, kind = name.removesuffix(".weight").split(".", 2)
        found[f"h.{layer}.{names[kind]}.weight"] = np.ascontiguousarray(each.T)
    return found


def opened(folder, name, tensors):
    save_file(tensors, folder / f"{name}.safetensors")
    return PluginManager.discover(third_party=False).open(folder / f"{name}.safetensors")


def compared(one, other):
    return Comparing(one, other).compare(Tolerance())


@pytest.mark.parametrize(
    ("make", "verdict"),
    [
        (dict, "identical"),
        (lambda own: {name: each.astype(ml_dtypes.bfloat16) for name, each in own.items()}, "converted"),
        (lambda own: noisy(own, 0.002), "fine-tuned"),
        (lambda own: noisy(own, 0.03), "continued"),
        (with_adapter, "adapter merged"),
        (permuted, "permuted"),
        (lambda own: model(1), "unrelated"),
        (lambda own: {name: each[:20, :20].copy() for name, each in noisy(own, 0.1).items()}, "inconclusive"),
    ],
)
@pytest.mark.parametrize("stored", [dict, turned])
def test_each_kind_of_change_has_its_verdict(tmp_path, make, verdict, stored):
    a = opened(tmp_path, "a", stored(model()))
    found = lineage_of(compared(a, opened(tmp_path, "b", stored(make(model())))))
    assert found.verdict == verdict, found.why


def test_of_three_the_last_may_be_a_merge(tmp_path):
    one, other = model(), noisy(model(), 0.01)
    merged = {name: (0.3 * one[name] + 0.7 * other[name]).astype(np.float16) for name in one}
    a, b, c, d = (
        opened(tmp_path, name, tensors)
        for name, tensors in {"a": one, "b": other, "c": merged, "d": noisy(model(), 0.01, 3)}.items()
    )
    found, mixed = lineage_of_three(compared(a, b), compared(a, c), compared(b, c))
    assert found.verdict == "merged"
    assert mixed.share_a == pytest.approx(0.3, abs=1e-2)
    assert mixed.share_b == pytest.approx(0.7, abs=1e-2)
    found, mixed = lineage_of_three(compared(a, b), compared(a, d), compared(b, d))
    assert found.verdict == "continued"
    assert "C beside A, the nearer" in found.why
    assert mixed.rest > 0.5


def with_dead(tensors):
    """As models with dead units are: most rows of the feed-forward layers are zero."""
    found = dict(tensors)
    for name in tensors:
        if "gate_proj" in name or "up_proj" in name:
            found[name] = tensors[name].copy()
            found[name][40:] = 0
    return found


def along_one(tensors):
    """Incoming weights that have a large part in common, as of inputs that are all positive."""
    common = np.random.default_rng(3).normal(0, 0.05, 64)
    return {name: (each + (common if each.shape[1] == 64 else 0)).astype(np.float32) for name, each in tensors.items()}


def in_few_dimensions(tensors):
    few = np.random.default_rng(5).normal(0, 1, (8, 64))
    return {name: (each[:, :8] @ few if each.shape[1] == 64 else each).astype(np.float32) for name, each in tensors.items()}


@pytest.mark.parametrize("make", [with_dead, along_one, in_few_dimensions])
@pytest.mark.parametrize("seed", range(1, 6))
def test_models_apart_are_no_relatives_whatever_their_units_are_like(tmp_path, make, seed):
    a, b = opened(tmp_path, "a", make(model())), opened(tmp_path, "b", make(model(seed)))
    found = lineage_of(compared(a, b))
    assert found.verdict in ("unrelated", "inconclusive"), found.why
    assert found.log_p > math.log(1e-3)


@pytest.mark.parametrize("value", [0.1, -2.0])
def test_units_that_are_all_alike_are_no_evidence(tmp_path, value):
    flat = {name: np.full_like(each, value) for name, each in model().items()}
    a, b = opened(tmp_path, "a", model()), opened(tmp_path, "b", flat)
    for one, other in ((a, b), (b, a)):
        assert lineage_of(compared(one, other)).verdict in ("unrelated", "inconclusive")


def rounded(tensors, size, levels):
    """Quantised in runs of so many weights, and written out as floating numbers."""
    found = {}
    for name, each in tensors.items():
        runs = each.reshape(-1, size)
        step = np.abs(runs).max(axis=1, keepdims=True) / levels
        found[name] = (np.round(runs / step) * step).reshape(each.shape).astype(np.float32)
    return found


def pruned(tensors, share):
    return {name: np.where(np.abs(each) < np.quantile(np.abs(each), share), 0, each) for name, each in tensors.items()}


def without_a_layer(tensors):
    return {name: each for name, each in tensors.items() if "layers.3." not in name}


def renamed(tensors):
    """Under other names, with gains that no content tells apart."""
    gains = {f"blocks.{layer}.norm.weight": np.ones(64, np.float32) for layer in range(LAYERS)}
    return {**{name.replace("layers", "blocks"): each for name, each in tensors.items()}, **gains}


def with_a_nan(tensors):
    found = {name: each.copy() for name, each in tensors.items()}
    found["layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    return found


@pytest.mark.parametrize(
    ("make", "verdict", "why"),
    [
        (lambda own: rounded(own, 32, 7), "converted", "no more than 16 different weights in 32 of each matrix of B"),
        (lambda own: pruned(own, 0.5), "converted", "50.0% of them set to 0"),
        (lambda own: noisy(pruned(own, 0.75), 1e-3), "continued", "more than 0.3"),
        (lambda own: pruned(noisy(own, 1e-3), 0.5), "fine-tuned", "0.3 at most"),
        (without_a_layer, "identical", "that both have are the same; 4 tensors in A alone"),
        (renamed, "converted", "rounded or renamed; 4 tensors in B alone"),
        (with_a_nan, "damaged", "the same weights, but 1 NaN in B only"),
        (lambda own: noisy(with_a_nan(own), 2e-3), "fine-tuned", "over 3 layers; 1 NaN in B only"),
        (lambda own: {name: 0 * each for name, each in own.items()}, "damaged", "every weight of B is 0"),
        (lambda own: {"layers.0.mlp.up_proj.weight": own["layers.0.mlp.up_proj.weight"]}, "identical", "15 tensors in A alone"),
    ],
)
def test_what_was_done_without_training_is_named(tmp_path, make, verdict, why):
    found = lineage_of(compared(opened(tmp_path, "a", model()), opened(tmp_path, "b", make(model()))))
    assert found.verdict == verdict, found.why
    assert why in found.why


def test_a_merge_may_take_each_tensor_in_shares_of_its_own(tmp_path):
    one, other = model(), noisy(model(), 0.01)
    layers = {name: int(name.split(".")[1]) for name in one}
    cut = {name: (one if layers[name] < 2 else other)[name] for name in one}
    sloping = {name: (one[name] * layers[name] / 4 + other[name] * (1 - layers[name] / 4)).astype(np.float32) for name in one}
    a, b, c, d = (opened(tmp_path, name, tensors) for name, tensors in {"a": one, "b": other, "c": cut, "d": sloping}.items())
    found, mixed = lineage_of_three(compared(a, b), compared(a, c), compared(b, c))
    assert (found.verdict, mixed.a_alone, mixed.b_alone) == ("merged", 8, 8)
    assert "8 tensors from A alone, 8 tensors from B alone" in found.why
    found, mixed = lineage_of_three(compared(a, b), compared(a, d), compared(b, d))
    assert found.verdict == "merged"
    assert mixed.by_tensor < 1e-3 < mixed.rest


def test_of_three_each_is_called_by_its_letter(tmp_path):
    one, other = model(), noisy(model(), 0.05)
    ill = noisy(other, 0.001)
    ill["layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    a, b, c = (opened(tmp_path, name, tensors) for name, tensors in {"a": one, "b": other, "c": ill}.items())
    found, _ = lineage_of_three(compared(a, b), compared(a, c), compared(b, c))
    assert found.why.startswith("C beside B, the nearer: ‖Δ‖/‖B‖ ")
    assert found.why.endswith("1 NaN in C only")


def test_nan_leaves_a_layer_out_and_is_no_evidence(tmp_path):
    ill = noisy(model(), 0.002)
    ill["layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    found = lineage_of(compared(opened(tmp_path, "a", model()), opened(tmp_path, "b", ill)))
    assert found.verdict == "fine-tuned"
    assert len(found.layers) == LAYERS - 1


def test_the_command(tmp_path):
    for name, tensors in {"a": model(), "b": permuted(model()), "c": model(1)}.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    done = torch2grid("compare", "a.safetensors", "b.safetensors", "--lineage", "--format", "json", "-q", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    data = json.loads(done.stdout)
    assert data["verdict"] == "permuted"
    order = np.random.default_rng(7).permutation(192)
    assert np.array_equal(order[data["layers"][0]["order"]], np.arange(192))
    done = torch2grid("compare", "a.safetensors", "c.safetensors", "--lineage", "-q", cwd=tmp_path)
    assert done.stdout.startswith("unrelated: no trace of a shared order of units: p ")
    assert "What this supposes" in done.stdout
    assert torch2grid("compare", "a.safetensors", "a.safetensors", "--lineage", cwd=tmp_path).returncode == 0
    for more in (["a.safetensors", "--lineage"], ["a.safetensors", "b.safetensors", "--lineage", "--layers"]):
        done = torch2grid("compare", *more, cwd=tmp_path)
        assert done.returncode == 2
        assert "--lineage" in done.stderr


def test_no_torch_is_needed(tmp_path):
    code = "import sys, torch2grid_builtin._compare.lineage as own; own._scipy(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


def test_python_has_the_page():
    found = t2g.compare(model(), noisy(model(), 0.002), lineage=True)["lineage"]
    assert found.data["verdict"] == "fine-tuned"
    assert len(found.panels[0].rows) == LAYERS


def test_of_a_wide_layer_some_units_are_compared_and_its_order_is_found_all_the_same():
    random = np.random.default_rng(2)
    wide = random.normal(0, 0.02, (1500, 40)).astype(np.float32)
    found = _evidence("", wide, wide + random.normal(0, 0.002, wide.shape).astype(np.float32))
    assert (found.units, found.compared) == (1500, 1024)
    assert found.log_p < math.log(RELATED)
    order = random.permutation(1500)
    assert np.array_equal(order[np.array(_evidence("", wide, wide[order]).order)], np.arange(1500))
    wider = random.normal(0, 0.02, (4500, 48)).astype(np.float32)
    order = random.permutation(4500)
    assert np.array_equal(order[np.array(_evidence("", wider, wider[order]).order)], np.arange(4500))
    twice = np.concatenate([wider[:2250], wider[:2250]])
    assert _evidence("", twice, twice[order]).order is None  # two units of A are one of B


def test_three_through_the_command_and_gaps(tmp_path):
    one, other = model(), noisy(model(), 0.01)
    save_file(one, tmp_path / "a.safetensors")
    save_file(other, tmp_path / "b.safetensors")
    save_file({name: (0.5 * one[name] + 0.5 * other[name]).astype(np.float32) for name in one}, tmp_path / "c.safetensors")
    save_file({name: each[:40] for name, each in model(4).items()}, tmp_path / "small.safetensors")
    done = torch2grid("compare", *(f"{name}.safetensors" for name in "abc"), "--lineage", "-q", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("merged: C is 0.5·A + 0.5·B")
    done = torch2grid("compare", "a.safetensors", "b.safetensors", "small.safetensors", "--lineage", cwd=tmp_path)
    assert done.stdout.startswith("inconclusive: C beside A, the nearer: no feed-forward layer")
    ill = noisy(model(), 0.002)
    for name in ill:
        ill[name][0, 0] = np.nan
    save_file(ill, tmp_path / "ill.safetensors")
    done = torch2grid("compare", "a.safetensors", "b.safetensors", "ill.safetensors", "--lineage", cwd=tmp_path)
    assert done.stdout.startswith("inconclusive: "), done.stdout
    names = tmp_path / "names.csv"
    names.write_text("old,new\n" + "".join(f"{name},{name}\n" for name in one), encoding="utf-8")
    done = torch2grid("compare", "a.safetensors", "b.safetensors", "--lineage", "--names", "names.csv", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
