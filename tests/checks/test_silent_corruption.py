"""Silent corruption is found where it was planted, and what training or an initialisation leaves passes."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.support.checks.defects import errors, found_in, manager, save
from tests.support.checks.planting import KINDS, findings, is_found, networks, plant, suits
from tests.support.corpus import cases, needs_cases
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._rules.texture import Texture
from torch2grid_core.measures import Chunk

NEW = {"T108", "T109", "T110", *(f"T20{number}" for number in range(4, 10))}
SETTINGS = settings(max_examples=6, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.mark.parametrize("kind", KINDS)
@SETTINGS
@given(data=st.data())
def test_what_is_planted_at_a_random_place_of_a_real_network_is_found_there(tmp_path_factory, kind, data):
    name = data.draw(st.sampled_from([each for each in networks() if suits(kind, each)]))
    tensors, planted = plant(kind, name, data.draw(st.integers(0, 1 << 32)))
    found = findings(tensors, tmp_path_factory.mktemp("planted") / "planted.safetensors")
    assert is_found(tensors, planted, found), (planted, [(each.code, each.place) for each in found])
    assert {each.tensor for each in found if each.code in NEW and planted.tensor} <= {planted.tensor}


@needs_cases
@pytest.mark.parametrize(
    ("name", "code", "where"),
    [
        ("column-x8", "T204 warning", "model.layers.2.mlp.up_proj.weight[0, 28]: column 28 "),
        ("layer-x2.5", "T205 warning", "model.layers.2.mlp.up_proj.weight: std "),
        ("row-x50", "T204 error", "model.layers.1.mlp.up_proj.weight[26, 0]: row 26 "),
        ("untrained-rows", "T206 warning", "model.embed_tokens.weight[0, 0]: 20 of 64 rows "),
        ("zero-block", "T108 error", "model.layers.0.mlp.up_proj.weight[42, 10]: 18 weights zero "),
        ("shard-tail", "T108 error", "model.layers.3.mlp.up_proj.weight[5, 12]: 1,364 weights zero "),
        ("bit-flips", "T109 error", "model.layers.0.mlp.up_proj.weight[22, 14]: 2 of 1,536 weights "),
    ],
)
def test_planted_defects_of_the_cases_are_found_at_their_place(tmp_path, name, code, where):
    done = torch2grid("check", cases(f"formats/defect-{name}/ckpt"), "-q", "--fail-on", "warning", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    lines = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    assert [line for line in lines if line.startswith(f"{code} {where}")], done.stdout
    if name == "bit-flips":
        assert "|[22, 14]| = 1.493e+37, |[33, 5]| = 1.454e+37" in done.stdout


@needs_cases
def test_the_rules_are_silent_about_what_is_healthy():
    manifest = json.loads(cases("formats/manifest.json").read_text(encoding="utf-8"))
    paths = [cases(f"formats/{entry['entry']}") for entry in manifest if entry.get("expect") == "silent"]
    paths += [cases(f"formats/defect-{name}/ckpt") for name in ("none", "none-f16", "foreign-layer", "swapped-layers")]
    told = {str(path): [each.message for each in found_in(path) if each.code in NEW] for path in paths}
    assert sum(map(bool, told.values())) <= len(paths) / 10, told
    assert [each for path in paths for each in errors(found_in(path))] == []


DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.float64)
INITIALISATIONS = {
    "normal": lambda random, shape: random.normal(0, 0.02, shape),
    "uniform": lambda random, shape: random.uniform(-1, 1, shape) / np.sqrt(np.prod(shape[1:])),
    "laplace": lambda random, shape: random.laplace(0, 0.02, shape),
    "student": lambda random, shape: 0.02 * random.standard_t(5, shape),
    "truncated": lambda random, shape: np.clip(random.normal(0, 0.02, shape), -0.04, 0.04),
    "orthogonal": lambda random, shape: np.linalg.qr(random.standard_normal((max(shape), max(shape))))[0][
        : shape[0], : shape[1]
    ],
    "low rank": lambda random, shape: (
        random.normal(0, 0.1, (shape[0], 6)) @ random.normal(0, 0.1, (6, shape[1])) + random.normal(0, 1e-3, shape)
    ),
    "rows of many sizes": lambda random, shape: (
        random.normal(0, 0.02, shape) * np.exp(0.5 * random.standard_normal((shape[0], 1)))
    ),
    "pruned": lambda random, shape: random.normal(0, 0.02, shape) * (random.random(shape) > 0.9),
}


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
@SETTINGS
@given(
    seed=st.integers(0, 1 << 32),
    dtype=st.sampled_from(DTYPES),
    growth=st.sampled_from([0.0, 0.05, 0.3]),
    dimension=st.integers(0, 63),
)
def test_made_networks_pass(tmp_path_factory, initialisation, seed, dtype, growth, dimension):
    random, make = np.random.default_rng(seed), INITIALISATIONS[initialisation]
    tensors = {"embed_tokens.weight": make(random, (96, 64)), "norm.weight": random.normal(1, 0.1, 64)}
    for layer in range(6):
        for name, shape in (("attn.q_proj", (64, 64)), ("mlp.up_proj", (160, 64)), ("mlp.down_proj", (64, 160))):
            weight = make(random, shape) * (1 + growth) ** layer  # sizes that grow with depth
            weight[(slice(None), dimension) if name != "mlp.down_proj" else dimension] *= (
                6  # an outlier dimension of all layers
            )
            tensors[f"layers.{layer}.{name}.weight"] = weight
        tensors[f"layers.{layer}.norm.weight"] = random.normal(1, 0.1, 64)
    path = save(
        tmp_path_factory.mktemp("made") / "made.safetensors", {name: each.astype(dtype) for name, each in tensors.items()}
    )
    assert [(each.code, each.place, each.message) for each in found_in(path) if each.code in NEW] == []


def trained(random, *shape):
    return random.normal(0, 0.02, shape).astype(np.float32)


def new_in(path):
    return [(each.code, each.severity, each.tensor) for each in found_in(path) if each.code in NEW]


def test_what_networks_are_made_of_is_no_corruption(tmp_path):
    random = np.random.default_rng(3)
    masked = trained(random, 64, 64) * np.tril(np.ones((64, 64), np.float32))  # as of autoregressive networks
    dead = trained(random, 64, 64)
    dead[[5, 6, 40]] = 0
    dead[:, 20:40] = 0
    shared = trained(random, 48, 32)
    tensors = {
        "masked.weight": masked,
        "dead.weight": dead,
        "spectrum.weight": np.cos(2 * np.pi * np.outer(np.arange(33), np.arange(64)) / 64).astype(np.float32),
        **{f"heads.{number}.weight": shared for number in range(4)},
        "wpe.weight": np.repeat(trained(random, 16, 48), 4, axis=0),
    }
    assert new_in(save(tmp_path / "made.safetensors", tensors)) == []


def test_layers_that_are_shared_in_pairs_are_a_warning_and_one_copy_an_error(tmp_path):
    random = np.random.default_rng(4)
    layers = {f"layers.{number}.weight": trained(random, 48, 32) for number in range(8)}
    pairs = {name: layers[f"layers.{number // 2 * 2}.weight"] for number, name in enumerate(layers)}
    assert {each[:2] for each in new_in(save(tmp_path / "pairs.safetensors", pairs))} == {("T208", "warning")}
    one = {**layers, "layers.5.weight": layers["layers.2.weight"]}
    assert new_in(save(tmp_path / "one.safetensors", one)) == [("T208", "error", "layers.5.weight")]


def test_a_layer_that_is_another_as_a_whole_is_a_warning_and_a_part_of_one_an_error(tmp_path):
    """A network that is made deeper copies whole layers; what writes one tensor in another's place leaves the rest."""
    random = np.random.default_rng(6)
    layers = {
        f"layers.{number}.{name}": trained(random, *shape)
        for number in range(8)
        for name, shape in (("up.weight", (48, 32)), ("down.weight", (32, 48)), ("up.bias", (48,)))
    }
    whole = {**layers, **{name: layers[name.replace(".5.", ".2.")] for name in layers if ".5." in name}}
    found = [each for each in found_in(save(tmp_path / "whole.safetensors", whole)) if each.code == "T208"]
    assert {(each.severity, each.tensor) for each in found} == {
        ("warning", "layers.5.down.weight"),
        ("warning", "layers.5.up.weight"),
    }
    assert all("the network was made deeper with it" in each.message for each in found)
    part = {**whole, "layers.5.up.bias": layers["layers.5.up.bias"]}
    assert {each[:2] for each in new_in(save(tmp_path / "part.safetensors", part))} == {("T208", "error")}
    experts = {f"layers.{layer}.experts.{one}.weight": trained(random, 48, 32) for layer in range(2) for one in range(8)}
    experts["layers.1.experts.6.weight"] = experts["layers.1.experts.3.weight"]
    assert new_in(save(tmp_path / "experts.safetensors", experts)) == [("T208", "error", "layers.1.experts.6.weight")]


def test_an_average_of_another_step_is_in_order(tmp_path):
    random = np.random.default_rng(5)
    model = {f"{name}.weight": torch.tensor(trained(random, 48, 32)) for name in ("fc1", "fc2")}
    for about, factor, found in (("same", 1.0, ["T209"]), ("average", 0.999, [])):
        torch.save({"model": model, "ema": {name: factor * each for name, each in model.items()}}, tmp_path / f"{about}.pt")
        assert [each[0] for each in new_in(tmp_path / f"{about}.pt")] == found


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_is_seen_does_not_depend_on_how_a_tensor_is_cut(tmp_path, dtype):
    random, chunk = np.random.default_rng(6), (1 << 20) // np.dtype(dtype).itemsize
    values = random.normal(0, 0.02, 4 * chunk).astype(dtype)
    values[1000:1040], values[2 * chunk - 20 : 2 * chunk + 30] = 0, 0.5
    values[3 * chunk + 5] = 40
    values[-4096:] = values[5000:9096]
    tensor = manager().open(save(tmp_path / "cut.safetensors", {"fc.weight": values.reshape(1024, -1)}))["fc.weight"]

    def seen(*cuts):
        parts = []
        for start, stop in zip([0, *cuts], [*cuts, 4], strict=True):
            parts.append(Texture().collector({"fc.weight": tensor}))
            for place in range(start, stop):
                parts[-1].update(Chunk("fc.weight", place * chunk, values[place * chunk : (place + 1) * chunk]))
        for each in parts[:0:-1]:
            parts[0].merge(each)
        return Texture().finish(parts[0])

    whole = seen()
    assert whole.far[0] == 3 * chunk + 5
    assert len(whole.pairs) > 8
    assert len(whole.tiny) == 5
    for other in (seen(2), seen(1, 2, 3)):
        for name in ("alike", "tiny", "far", "sizes", "sample", "pairs"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(other, name))
        assert whole.next == other.next


def sines(length, size, *, turned=False):
    """A table of positions as Whisper, fairseq and Marian make it: the sines, then the cosines."""
    angles = np.outer(np.arange(length), 10000.0 ** -(np.arange(size // 2) / (size // 2)))
    table = np.concatenate((np.sin(angles), np.cos(angles)), axis=1).astype(np.float32)
    return np.repeat(table, 2, axis=1) if turned else table


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_tables_of_sines_are_in_order_under_any_name_and_a_block_that_went_is_not(tmp_path, dtype):
    random = np.random.default_rng(6)
    padded = sines(1026, 256)
    padded[1] = 0
    tables = {
        "x.weight": sines(512, 128),
        "y.table": sines(1500, 384),
        "padded.weights": padded,
        "turned": sines(1024, 32, turned=True),
        "fourier.weight": np.cos(2 * np.pi * np.outer(np.arange(64), np.arange(64)) / 64).astype(np.float32),
        "fc.weight": trained(random, 64, 64),
    }
    tables = {name: table.astype(dtype) for name, table in tables.items()}
    path = save(tmp_path / "tables.safetensors", tables)
    assert new_in(path) == []
    assert [each for each in found_in(path) if each.severity == "error"] == []
    # In two bytes, most of a table's cosines are runs of ones.
    for name in ("x.weight", "y.table", "turned", "fc.weight") if dtype is np.float32 else ("fc.weight",):
        ill = {**tables, name: tables[name].copy()}
        ill[name][31, 1:24] = 0
        assert new_in(save(tmp_path / "ill.safetensors", ill)) == [("T108", "error", name)]


def test_blocks_that_are_laid_out_again_are_a_warning_and_the_whole_twice_an_error(tmp_path):
    random = np.random.default_rng(7)
    keys = trained(random, 4, 8, 48)
    for name, rows, severity in (
        ("shared-keys", np.repeat(keys, 3, axis=0).reshape(-1, 48), "warning"),
        ("upsampling", np.repeat(keys.reshape(-1, 48), 4, axis=0), "warning"),
        ("twice", np.concatenate((keys, keys)).reshape(-1, 48), "error"),
        ("one-missing", np.concatenate((np.repeat(keys.reshape(-1, 48), 2, axis=0)[:-1], trained(random, 1, 48))), "error"),
    ):
        found = found_in(save(tmp_path / f"{name}.safetensors", {"k_proj.weight": np.ascontiguousarray(rows)}))
        assert [(each.code, each.severity) for each in found if each.code == "T202"] == [("T202", severity)], name


def test_sums_of_a_few_are_no_dead_units_and_a_zeroed_half_is(tmp_path):
    random = np.random.default_rng(8)
    bank = np.maximum(0, 1 - np.abs(np.arange(257)[:, None] / 2 - np.arange(60))).astype(np.float32)  # most bins are above
    half = trained(random, 64, 64)
    half[32:] = 0
    found = found_in(save(tmp_path / "bank.safetensors", {"front.bank": bank, "fc.weight": half}))
    severities = {(each.tensor, each.severity) for each in found if each.code == "T201"}
    assert severities == {("front.bank", "warning"), ("fc.weight", "error")}


@settings(suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_rule_fails_where_most_units_are_dead_and_one_is_large(data):
    """Medians of dead units are zero: nothing is divided by them, and the large unit is named all the same."""
    random = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    shape = data.draw(st.tuples(st.integers(16, 40), st.integers(16, 40)))
    values = random.normal(0, 0.02, shape).astype(np.float32)
    living = data.draw(st.integers(2, shape[0]))
    values[living:] = 0
    values[0] *= np.float32(data.draw(st.sampled_from([1.0, 400.0, 1e20])))
    values[:, data.draw(st.integers(0, shape[1])) :] = 0
    found = t2g.check({f"layers.{layer}.up_proj.weight": values if layer == 2 else values[::-1] for layer in range(5)})
    assert not [one for one in found if "inf" in one.message.split() or "nan" in one.message.split()]
