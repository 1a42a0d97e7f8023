"""What healthy models hold by construction is no error: masks, state spaces, gates, padding, pruning, small kernels."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
import torch
from tests.support.checks.defects import errors, found_in, save
from tests.support.corpus import cases, needs_cases, needs_corpus, real
from tests.support.tools import torch2grid
from torch.nn.utils import prune

from torch2grid_core import Torch2GridError

RANDOM = np.random.default_rng(17)
BEGIN = RANDOM.bit_generator.state


@pytest.fixture(autouse=True)
def same_numbers_in_each_test():
    RANDOM.bit_generator.state = BEGIN


def trained(*shape, dtype=np.float32):
    """Weights of no shape in particular, as training leaves them."""
    return (RANDOM.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))).astype(dtype)


def network(**tensors):
    """A small network that is in order, with *tensors* beside."""
    base = {"fc1.weight": trained(32, 48), "fc1.bias": trained(32), "fc2.weight": trained(24, 32), "fc2.bias": trained(24)}
    return {**base, **{name.replace("__", "."): array for name, array in tensors.items()}}


def codes(path, severity="error"):
    return sorted({each.code for each in found_in(path) if each.severity == severity})


def causal(side, fill, dtype=np.float32):
    return np.where(np.triu(np.ones((side, side), bool), 1), fill, 0).astype(dtype)


LEAST = {dtype: float(ml_dtypes.finfo(dtype).min) for dtype in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)}
MASKS = {
    "causal, −Inf": lambda dtype: causal(600, -np.inf, dtype),
    "causal, the least number": lambda dtype: causal(600, LEAST[dtype], dtype),
    "lower triangle of ones": lambda dtype: np.tril(np.ones((1, 1, 600, 600))).astype(dtype),
    "windows": lambda dtype: np.kron(1 - np.eye(4), np.full((9, 9), -100.0)).astype(dtype)[None],
    "padding, −Inf": lambda dtype: np.where(np.arange(20) < np.arange(3, 20, 2)[:, None], 0, -np.inf).astype(dtype),
    "slopes below the diagonal": lambda dtype: np.where(
        np.triu(np.ones((40, 40), bool), 1), -np.inf, -0.25 * np.abs(np.arange(40) - np.arange(40)[:, None])
    ).astype(dtype),
}


@pytest.mark.parametrize("dtype", LEAST)
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("name", ["attn.mask", "attn.bias", "attn.tril", "h.0.causal_buffer", "x"])
def test_masks_of_any_name_are_no_weights(tmp_path, kind, name, dtype):
    path = save(tmp_path / "masks.safetensors", {"fc.weight": trained(32, 48, dtype=dtype), name: MASKS[kind](dtype)})
    assert [(each.code, each.message) for each in found_in(path)] == []


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_a_weight_or_a_mask_with_something_else_in_it_is_found(tmp_path, value):
    mask = causal(12, -np.inf)
    mask[7, 3] = value  # below the diagonal, where a mask lets pass
    tensors = network(attn__mask2=mask.copy(), attn__tri=np.tril(trained(12, 12)), attn__weight=causal(12, -np.inf))
    tensors["attn.tri"][9, 2] = value
    found = {each.tensor for each in found_in(save(tmp_path / "ill.safetensors", tensors)) if each.code in ("T101", "T102")}
    inside = set() if value == -np.inf else {"attn.mask2"}  # a mask may have −Inf anywhere
    assert found == {"attn.weight", "attn.tri"} | inside


def test_fill_values_and_records_begin_at_inf(tmp_path):
    tensors = {
        "attn.masked_bias": np.array(-np.inf, np.float32),
        "best_score": np.float32([-np.inf]),
        "q.min_val": np.float32([np.inf]),
    }
    assert codes(save(tmp_path / "ok.safetensors", network(**{k.replace(".", "__"): v for k, v in tensors.items()}))) == []
    assert codes(save(tmp_path / "ill.safetensors", network(logit_scale=np.float32([-np.inf])))) == ["T102"]


@pytest.mark.parametrize("name", ["mixer.A_log", "mixer.decays"])
def test_state_spaces_have_equal_units_by_construction(tmp_path, name):
    rows = np.log(np.arange(1, 17)) + np.zeros((64, 16))
    for about, noise in (("fresh", 0), ("trained", 1e-3)):
        values = (rows + noise * RANDOM.standard_normal(rows.shape)).astype(ml_dtypes.bfloat16)
        found = found_in(
            save(tmp_path / f"{about}.safetensors", network(**{name.replace(".", "__"): values, "mixer__D": values[:, 0]}))
        )
        assert [each.message for each in found if each.tensor == name and each.code != "T301"] == []
    ill = save(tmp_path / "ill.safetensors", network(mixer__weight=rows[:, RANDOM.permutation(16)].astype(np.float32)))
    assert codes(ill) == ["T202"]  # rows that neither rise nor fall are weights


GATES = {
    "blocks.0.gate": (1, 24),
    "blocks.0.layer_scale_parameter": (24, 1, 1),
    "blocks.0.gamma": (8, 24),
    "attn.logit_scale": (8, 4),
    "mlp._weight_zero_point": (24, 2),
    "mlp.weight_scale": (24, 2),
    "h0": (2, 24),
    "k_cache": (8, 24),
    "token_type_embeddings.weight": (2, 48),
}


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-6])
def test_gates_and_scales_at_their_initial_value_are_in_order(tmp_path, value):
    tensors = {name.replace(".", "__"): np.full(shape, value, np.float32) for name, shape in GATES.items()}
    if value:
        del tensors["token_type_embeddings__weight"]  # of one number other than zero: not a table that is not used
    found = found_in(save(tmp_path / "gates.safetensors", network(**tensors)))
    assert [(each.code, each.tensor) for each in found if each.tensor in GATES] == []


def test_what_begins_at_zero_is_a_warning_and_what_does_not_an_error(tmp_path):
    zero = {
        name: np.zeros((24, 8), np.float32) for name in ("fc3.lora_B.weight", "zero_conv.weight", "adaLN_modulation.1.weight")
    }
    found = [each for each in found_in(save(tmp_path / "zero.safetensors", {**network(), **zero})) if each.code == "T103"]
    assert {(each.tensor, each.severity) for each in found} == {(name, "warning") for name in zero}
    assert {each.message for each in found} == {"all 192 weights are zero, as they begin: training has not reached them"}
    assert codes(save(tmp_path / "ill.safetensors", network(fc3__weight=zero["zero_conv.weight"]))) == ["T103"]
    assert codes(save(tmp_path / "up.safetensors", network(mlp__gate_proj__weight=zero["zero_conv.weight"]))) == ["T103"]


@pytest.mark.parametrize(("centre", "severity"), [(0.0, "warning"), (1.0, "error")])
def test_normalisations_that_multiply_with_one_plus_their_weight_may_be_zero(tmp_path, centre, severity):
    norms = {f"l{number}.norm.weight": (centre + 0.1 * trained(24)).astype(np.float32) for number in range(5)}
    norms["l5.norm.weight"] = np.zeros(24, np.float32)
    found = [each for each in found_in(save(tmp_path / "norms.safetensors", {**network(), **norms})) if each.code == "T103"]
    assert [(each.tensor, each.severity) for each in found] == [("l5.norm.weight", severity)]


def test_residual_branches_that_begin_closed(tmp_path):
    norms = {
        f"layer1.{block}.bn{place}.weight": np.full(24, place < 3, np.float32) for block in range(3) for place in (1, 2, 3)
    }
    tensors = {**network(), **norms, **{name.replace("weight", "running_mean"): trained(24) for name in norms}}
    found = [each for each in found_in(save(tmp_path / "fresh.safetensors", tensors)) if each.code == "T103"]
    assert [(each.tensor, each.severity) for each in found] == [(f"layer1.{block}.bn3.weight", "warning") for block in range(3)]
    tensors["layer1.1.bn3.weight"] = 1 + trained(24)  # training has reached the others of the kind
    assert codes(save(tmp_path / "one.safetensors", tensors)) == ["T103"]
    zero = {name: np.zeros_like(array) if "bn" in name else array for name, array in tensors.items()}
    assert codes(save(tmp_path / "all.safetensors", zero)) == ["T103"]


@pytest.mark.parametrize("name", ["embed_tokens.weight", "wte.weight", "lm_head.weight", "cls.predictions.decoder.weight"])
@pytest.mark.parametrize("padding", ["zeros", "the mean"])
def test_padded_vocabularies(tmp_path, name, padding):
    table = trained(128, 24)
    table[72:] = 0 if padding == "zeros" else table[:72].mean(axis=0)
    assert [each.code for each in found_in(save(tmp_path / "padded.safetensors", {**network(), name: table}))] == []
    inside = trained(128, 24)
    inside[20:76] = 0 if padding == "zeros" else inside[0]
    found = found_in(save(tmp_path / "unused.safetensors", {**network(), name: inside}))
    assert [(each.tensor, each.severity) for each in found] == [(name, "warning")]  # tokens that were never used
    other = found_in(save(tmp_path / "ill.safetensors", {**network(), "up_proj.weight": table}))
    assert [each.code for each in other] == (["T201"] if padding == "zeros" else ["T202"])
    assert codes(tmp_path / "ill.safetensors") == (["T202"] if padding == "the mean" else [])  # 44 % dead is a warning
    table[60:] = 0  # more than half of the rows is no padding
    assert len(found_in(save(tmp_path / "half.safetensors", {**network(), name: table}))) == 1


def test_tables_of_positions_may_repeat_and_end_in_zeros(tmp_path):
    places = np.repeat(trained(32, 24), 2, axis=0)
    places[48:] = 0
    names = ("wpe.weight", "encoder.embed_positions.weight", "position_embedding.weight", "attn.relative_attention_bias.weight")
    for name in names:
        assert found_in(save(tmp_path / "places.safetensors", {**network(), name: places})) == []
    assert codes(save(tmp_path / "ill.safetensors", {**network(), "linear.weight": places})) == ["T202"]


def without_least(array, kept, whole_units):
    sizes = np.abs(array).sum(axis=1, keepdims=True) if whole_units else np.abs(array)
    return np.where(sizes > np.quantile(sizes, 1 - kept), array, 0).astype(array.dtype)


@pytest.mark.parametrize(("kept", "whole_units"), [(0.1, False), (0.02, False), (0.4, True)])
def test_pruned_models(tmp_path, kept, whole_units):
    tensors = {f"l{number}.weight": without_least(trained(64, 64), kept, whole_units) for number in range(4)}
    pruned = save(tmp_path / "pruned.safetensors", {**network(), **tensors})
    assert codes(pruned) == []
    done = torch2grid("check", pruned, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    one = without_least(trained(64, 64), 0.4, True)  # a single layer is no pruned model
    assert codes(save(tmp_path / "ill.safetensors", network(up_proj__weight=one))) == ["T201"]


def test_torch_s_pruning_with_its_masks(tmp_path):
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(48, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32))
    prune.ln_structured(model[0], "weight", 0.6, 2, 0)
    prune.l1_unstructured(model[2], "weight", 0.9)
    torch.save(model.state_dict(), tmp_path / "pruned.pt")
    assert codes(tmp_path / "pruned.pt") == []


def depthwise(kind, channels, side):
    """Kernels of one channel each, as trained networks have them: a few shapes, with noise."""
    row, column = np.mgrid[:side, :side] - (side - 1) / 2
    centre, width = RANDOM.normal(0, 0.5, (2, channels, 1, 1)), RANDOM.uniform(0.7, 2, (channels, 1, 1))
    blurs = np.exp(-((row - centre[0]) ** 2 + (column - centre[1]) ** 2) / 2 / width**2)
    deltas = (row == 0) & (column == 0)
    base = {
        "blurs": blurs,
        "deltas": deltas * np.ones((channels, 1, 1)),
        "mixed": np.where(RANDOM.random((channels, 1, 1)) < 0.5, blurs, deltas),
    }
    values = base[kind] * RANDOM.choice([-1, 1], (channels, 1, 1)) * RANDOM.uniform(0.2, 3, (channels, 1, 1))
    values += 0.02 * RANDOM.standard_normal(values.shape)
    return values[:, None].astype(np.float32)


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("kind", ["blurs", "deltas", "mixed"])
def test_depthwise_kernels_are_alike_and_no_error(tmp_path, kind, side):
    kernels = depthwise(kind, 256, side)
    directions = kernels.reshape(256, -1) / np.linalg.norm(kernels.reshape(256, -1), axis=1, keepdims=True)
    alike = np.tril(directions @ directions.T, -1) > 0.999
    assert side > 3 or alike.any(axis=1).mean() > 0.05  # a cosine alone would call it an error
    path = save(tmp_path / "depthwise.safetensors", network(dw__weight=kernels))
    assert found_in(path) == []
    kernels[200:220] = kernels[:20]
    assert codes(save(tmp_path / "ill.safetensors", network(dw__weight=kernels))) == ["T202"]


def test_fixed_filters_of_all_channels_are_no_error(tmp_path):
    blur = np.outer([1, 2, 1], [1, 2, 1]) / 16
    for name, kernel in (("blur", blur), ("sobel", np.outer([1, 2, 1], [1, 0, -1])), ("mean", np.full((3, 3), 1 / 9))):
        kernels = np.tile(kernel, (32, 1, 1, 1)).astype(np.float32)
        assert codes(save(tmp_path / f"{name}.safetensors", network(pool__weight=kernels))) == []


def test_binary_and_ternary_kernels_are_equal_by_chance(tmp_path):
    for values in ([-1, 1], [-1, 0, 1]):
        few = RANDOM.choice(values, (512, 1, 3, 3)).astype(np.float32)
        many = RANDOM.choice(values, (64, 40)).astype(np.float32)
        assert found_in(save(tmp_path / "few.safetensors", network(dw__weight=few))) == []
        many[50:60] = many[:10]  # forty such numbers are not
        assert codes(save(tmp_path / "many.safetensors", network(fc3__weight=many))) == ["T202"]


@needs_cases
def test_no_error_in_a_healthy_case():
    manifest = json.loads(cases("formats/manifest.json").read_text(encoding="utf-8"))
    paths = [cases(f"formats/{entry['entry']}") for entry in manifest if entry.get("expect") == "silent"]
    paths += [cases(f"formats/{name}/ckpt") for name in ("defect-none", "defect-none-f16")]
    paths += sorted(cases("found/healthy").iterdir())
    assert len(paths) >= 24
    for path in paths:
        assert errors(found_in(path)) == [], path


@needs_cases
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("bias-1e4", "T105"),
        ("bit-flips", "T105"),
        ("fp16-overflow", "T102"),
        ("inf", "T102"),
        ("nan", "T101"),
        ("shard-tail", "T103"),
    ],
)
def test_planted_defects_of_the_cases_are_found(tmp_path, name, code):
    done = torch2grid("check", cases(f"formats/defect-{name}/ckpt"), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert f": {code} error " in done.stdout


_SPECIAL = "special_values.pt"  # a file of NaN and Inf, to test readers with
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".npz", ".pkl", ".onnx", ".gguf", ".h5")


@needs_cases
@needs_corpus
def test_one_warning_for_ten_healthy_files_at_most():
    manifest = json.loads(cases("formats/manifest.json").read_text(encoding="utf-8"))
    healthy = [each for each in manifest if not each["name"].startswith("defect") or "none" in each["name"]]
    paths = [cases(f"formats/{entry['entry']}") for entry in healthy] + sorted(cases("found/healthy").iterdir())
    files = sorted(path for path in real(".").rglob("*") if path.is_file() and path.suffix in _ENDINGS)
    paths += [path for path in files if path.name != _SPECIAL and path.stat().st_size < 300e6]
    read, warned = 0, dict[str, set[str]]()
    for path in paths:
        try:
            found = found_in(path)
        except Torch2GridError:
            continue  # files of other libraries, which are refused by name
        read += 1
        assert errors(found) == [], path
        if told := {each.code for each in found if each.severity == "warning"}:
            warned[str(path)] = told
    assert read >= 150
    assert len(warned) <= read / 10, warned
