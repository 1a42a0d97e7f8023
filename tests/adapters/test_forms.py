"""The change of a weight that each form of an adapter stands for, and what is left as it is stored."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import torch2grid as t2g
from tests.support import adapters
from tests.support.adapters import PEFT, Written
from tests.support.tools import torch2grid

SHAPES = {"model.layers.0.self_attn.q_proj": (12, 20), "model.layers.1.mlp.down_proj": (20, 7)}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def opened(written: Written, folder: Path) -> Any:
    return t2g.load(written.write(folder))


def assert_meant(written: Written, folder: Path) -> None:
    found = opened(written, folder)
    assert set(found) == set(written.meant)
    for name, meant in written.meant.items():
        assert found[name].shape == meant.shape
        np.testing.assert_allclose(np.asarray(found[name]), meant, rtol=0, atol=1e-6 * max(np.abs(meant).max(), 1e-3))


FORMS: dict[str, Any] = {
    "peft": lambda: adapters.peft(rng(), SHAPES),
    "peft as bfloat16": lambda: adapters.peft(rng(), SHAPES, dtype=ml_dtypes.bfloat16),
    "a state dict": lambda: adapters.peft(rng(), SHAPES, name="default"),
    "another name": lambda: adapters.peft(rng(), SHAPES, name="sql"),
    "rslora": lambda: adapters.peft(rng(), SHAPES, 9, 4, use_rslora=True),
    "fan_in_fan_out": lambda: adapters.peft(rng(), SHAPES, fan_in_fan_out=True),
    "rank_pattern": lambda: adapters.peft(rng(), SHAPES, ranks={"model.layers.1.mlp.down_proj": 2}),
    "more rank than either side": lambda: adapters.peft(rng(), SHAPES, 30, 16),
    "kernels": lambda: adapters.peft(rng(), {"conv1": (6, 5, 3, 3), "conv2": (6, 5, 7)}),
    "an embedding": lambda: adapters.embedding(rng(), "model.embed_tokens", 50, 8, 4, 2),
    "mlx": lambda: adapters.mlx(rng(), SHAPES),
    "mlx, of an embedding": lambda: adapters.mlx(rng(), SHAPES, 3, 0.5, {"model.embed_tokens": (50, 12)}),
    "mlx as bfloat16, square": lambda: adapters.mlx(rng(), {"layers.0.q_proj": (16, 16)}, 8, dtype=ml_dtypes.bfloat16),
    "kohya": lambda: adapters.kohya(rng(), {"lora_unet_down_0_to_q": (9, 12), "lora_te_mlp_fc1": (4, 3)}, 4, 2),
    "kohya's kernels": lambda: adapters.kohya(rng(), {"lora_unet_conv": (6, 5, 3, 3), "lora_unet_point": (6, 5, 1, 1)}, 4, 1),
    "kohya without alpha": lambda: adapters.kohya(rng(), {"lora_unet_to_q": (9, 12)}, 4, None),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_the_change_that_it_stands_for(form: str, tmp_path: Path) -> None:
    assert_meant(FORMS[form](), tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_raw_shows_what_is_stored(form: str, tmp_path: Path) -> None:
    written = FORMS[form]()
    assert set(t2g.load(written.write(tmp_path), raw=True)) == set(written.stored)


def renamed(written: Written, *pairs: tuple[str, str]) -> Written:
    def name(text: str) -> str:
        for old, new in pairs:
            text = text.replace(old, new)
        return text

    stored = {name(key): each for key, each in written.stored.items()}
    return Written(stored, dict(written.meant), written.config, written.metadata)


@pytest.mark.parametrize(
    "pairs",
    [
        ((PEFT, ""),),
        ((".lora_A.weight", ".lora.down.weight"), (".lora_B.weight", ".lora.up.weight"), (PEFT, "")),
        ((".lora_A.weight", "_lora.down.weight"), (".lora_B.weight", "_lora.up.weight"), (PEFT, "")),
        ((".lora_A.weight", ".lora_a.weight"), (".lora_B.weight", ".lora_b.weight"), (PEFT, "")),
        ((".lora_A.weight", ".lora_A"), (".lora_B.weight", ".lora_B")),
    ],
    ids=["no prefix", "diffusers", "attention processors", "torchtune", "parameters"],
)
def test_other_names_of_the_same_form(pairs: tuple[tuple[str, str], ...], tmp_path: Path) -> None:
    assert_meant(renamed(adapters.peft(rng(), SHAPES), *pairs), tmp_path)


@given(
    st.sampled_from(["peft", "kohya"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.5, 1.0, 8.0, -3.0, 48.0]),
    st.sampled_from([np.float16, np.float32, np.float64, ml_dtypes.bfloat16]),
    st.booleans(),
    st.integers(0, 9),
)
def test_any_shape_rank_and_dtype(
    form: str, rows: int, columns: int, rank: int, alpha: float, dtype: Any, backwards: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    written = (
        adapters.peft(random, {"layers.0.fc": (rows, columns)}, rank, alpha, dtype)
        if form == "peft"
        else adapters.kohya(random, {"lora_unet_fc": (rows, columns)}, rank, alpha, dtype)
    )
    if backwards:
        written.stored = dict(reversed(written.stored.items()))
    with tempfile.TemporaryDirectory() as folder:
        assert_meant(written, Path(folder))


@pytest.mark.parametrize(("rows", "columns", "rank"), [(700, 900, 3), (3, 300_000, 2), (300_000, 3, 2)])
def test_every_read_gives_the_same_digits(rows: int, columns: int, rank: int, tmp_path: Path) -> None:
    """Pieces, boxes and the whole: what is computed does not depend on how it is asked for."""
    found = opened(adapters.peft(rng(), {"fc": (rows, columns)}, rank), tmp_path)["delta.fc.weight"]
    whole = np.asarray(found)
    np.testing.assert_array_equal(np.concatenate([each.copy() for _, each in found.flat_chunks(1 << 18)]), whole.reshape(-1))
    for start in (0, 1, columns - 1, rows * columns // 2 + 1):
        stop = min(start + 2 * columns + 3, rows * columns)
        np.testing.assert_array_equal(found.read(start, stop), whole.reshape(-1)[start:stop])
    np.testing.assert_array_equal(found[rows // 2 :, columns // 3], whole[rows // 2 :, columns // 3])
    np.testing.assert_array_equal(found[::2, 1:3], whole[::2, 1:3])


def test_alpha_pattern_is_taken_by_name_and_by_the_end_of_a_name(tmp_path: Path) -> None:
    written = adapters.peft(rng(), SHAPES, 4, 8)
    patterns = {"self_attn.q_proj": 2, r"^model\.layers\.1\.mlp\.down_proj$": 16}
    written.config["alpha_pattern"] = patterns
    for name, times in zip(list(written.meant), (2 / 8, 16 / 8), strict=True):
        written.meant[name] = written.meant[name] * times
    assert_meant(written, tmp_path)


def test_a_change_of_a_bias_is_said_and_shown_as_stored(tmp_path: Path) -> None:
    written = adapters.peft(rng(), SHAPES, 4, 8, lora_bias=True)
    biases = {f"{PEFT}{module}.lora_B.bias": np.full(shape[0], 3, np.float32) for module, shape in SHAPES.items()}
    written.stored.update(biases)
    found = opened(written, tmp_path)
    assert set(found) == {*written.meant, *biases}
    for name, meant in written.meant.items():
        np.testing.assert_allclose(np.asarray(found[name]), meant, rtol=0, atol=1e-7)
    assert any("and 1 more: changes of biases (lora_bias), shown as stored" in note for note in found.notes)


def test_matrices_of_mlx_without_settings_have_no_factor(tmp_path: Path) -> None:
    written = adapters.mlx(rng(), SHAPES, 4, 1.0)
    written.config = {}
    assert_meant(written, tmp_path)
    assert any("alpha is not known" in note for note in opened(written, tmp_path).notes)


def test_matrices_of_experts_in_mlx_are_left_as_stored(tmp_path: Path) -> None:
    written = adapters.mlx(rng(), {})
    written.stored = {"mlp.up_proj.lora_a": np.ones((3, 4, 8), "f4"), "mlp.up_proj.lora_b": np.ones((3, 6, 4), "f4")}
    found = opened(written, tmp_path)
    assert set(found) == set(written.stored)
    assert any("those of several experts" in note for note in found.notes)


def test_names_of_mlx_in_the_order_of_peft_are_taken_by_their_shapes(tmp_path: Path) -> None:
    written = adapters.mlx(rng(), {"q_proj": (16, 16), "up_proj": (24, 16)})
    written.stored = {name: np.ascontiguousarray(each.T) for name, each in written.stored.items()}
    assert_meant(written, tmp_path)


REFUSED: dict[str, tuple[Any, str]] = {
    "another rank": (lambda w: w.config.update(r=16), "its settings say rank 16, and its matrices have 4"),
    "a wrong rank_pattern": (lambda w: w.config.update(rank_pattern={"q_proj": 2}), "its settings say rank 2"),
    "an expression": (lambda w: w.config.update(alpha_pattern={"(a+)+$": 2}), "alpha_pattern of adapter_config.json"),
    "an alpha that is none": (lambda w: w.config.update(alpha_pattern={"q_proj": "x"}), "alpha_pattern of adapter_config.json"),
    "another kind": (lambda w: w.config.update(peft_type="ADALORA"), "says ADALORA, not LoRA"),
    "QA-LoRA": (lambda w: w.config.update(use_qalora=True), "QA-LoRA"),
    "DoRA without magnitudes": (lambda w: w.config.update(use_dora=True), "its magnitude is not here"),
    "one of two": (lambda w: [w.stored.pop(name) for name in list(w.stored) if "lora_B" in name], "second matrix is not here"),
    "two alphas": (
        lambda w: w.stored.update({f"{PEFT}{module}.alpha": np.float32(3) for module in SHAPES}),
        "its settings say alpha 8, and the file 3",
    ),
    "integers": (
        lambda w: w.stored.update({n: each.astype(np.int32) for n, each in w.stored.items()}),
        "its matrices are int32",
    ),
    "a vector": (lambda w: w.stored.update({n: e.reshape(-1) for n, e in w.stored.items() if "_B" in n}), "do not fit"),
    "no rank": (
        lambda w: w.stored.update({n: e[:0] if "_A" in n else e[:, :0] for n, e in w.stored.items()}),
        "have no weights that can be shown",
    ),
    "an alpha of NaN": (
        lambda w: w.stored.update({f"{PEFT}{module}.alpha": np.float32("nan") for module in SHAPES}),
        "its alpha is nan",
    ),
    "an alpha of three": (
        lambda w: w.stored.update({f"{PEFT}{module}.alpha": np.ones(3, "f4") for module in SHAPES}),
        "its alpha is not a number",
    ),
    "a magnitude that is a matrix": (
        lambda w: w.stored.update({f"{PEFT}{m}.lora_magnitude_vector": np.ones((3, 4), "f4") for m in SHAPES}),
        "a magnitude of shape [3, 4]",
    ),
    "a magnitude of another length": (
        lambda w: w.stored.update({f"{PEFT}{m}.lora_magnitude_vector": np.ones(99, "f4") for m in SHAPES}),
        "a magnitude of shape [99] for weights of shape",
    ),
    "a magnitude along a third dimension": (
        lambda w: w.stored.update({f"{PEFT}{m}.dora_scale": np.ones((1, 1, 5), "f4") for m in SHAPES}),
        "a magnitude of shape [1, 1, 5]",
    ),
    "a third matrix": (
        lambda w: w.stored.update({f"{PEFT}{m}.lora_mid.weight": np.ones((4, 4), "f4") for m in SHAPES}),
        "a third matrix (lora_mid)",
    ),
    "other shapes": (lambda w: w.stored.update({n: e[:, :3] for n, e in w.stored.items() if "_B" in n}), "do not fit"),
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_contradicts_itself_is_left_as_stored_and_said(change: str, tmp_path: Path) -> None:
    written = adapters.peft(rng(), SHAPES)
    make, reason = REFUSED[change]
    make(written)
    found = opened(written, tmp_path)
    left = [name for name in written.stored if name in found]
    assert left
    assert [name for name in found if name not in written.stored] in ([], ["delta.model.layers.1.mlp.down_proj.weight"])
    assert any(reason in note and "not decoded" in note for note in found.notes), found.notes


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '"x"', "[" * 100_000, "\xff"])
def test_settings_that_cannot_be_read_are_said(text: str, tmp_path: Path) -> None:
    written = adapters.peft(rng(), SHAPES)
    written.write(tmp_path)
    (tmp_path / "adapter_config.json").write_bytes(text.encode("latin-1"))
    found = t2g.load(tmp_path)
    assert set(found) == set(written.stored)
    assert any("is not a JSON object" in note for note in found.notes)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4), st.data())
@settings(max_examples=settings().max_examples // 5)
def test_any_settings_are_followed_or_refused(value: Any, data: Any) -> None:
    """Nothing raises, and what is composed has the scale that the settings give."""
    written = adapters.peft(rng(), {"fc": (5, 4)}, 2, 8)
    keys = ["r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "fan_in_fan_out", "peft_type"]
    written.config[data.draw(st.sampled_from([*keys, "target_parameters", "init_lora_weights"]))] = value
    with tempfile.TemporaryDirectory() as folder:
        found = opened(written, Path(folder))
        assert set(found) in (set(written.meant), set(written.stored))
        for tensor in found.values():
            assert np.asarray(tensor).shape == tensor.shape


def test_without_settings_the_factor_is_not_known_and_said(tmp_path: Path) -> None:
    written = adapters.peft(rng(), {"fc": (5, 4)}, 2, 8)
    written.config = {}
    found = opened(written, tmp_path)
    np.testing.assert_allclose(np.asarray(found["delta.fc.weight"]), written.meant["delta.fc.weight"] / 4, atol=1e-7)
    assert "alpha is not known of delta.fc.weight: B·A is shown, without its factor" in found.notes
    assert "adapter: 1 pair, rank 2, alpha not known" in found.notes


def test_several_adapters_in_one_file_are_kept_apart(tmp_path: Path) -> None:
    one, two = (
        adapters.peft(np.random.default_rng(seed), {"fc": (5, 4)}, rank, 8, name=name)
        for seed, rank, name in ((0, 2, "speech"), (1, 3, "vision"))
    )
    written = Written({**one.stored, **two.stored})
    found = opened(written, tmp_path)
    assert set(found) == {"delta.speech.fc.weight", "delta.vision.fc.weight"}
    np.testing.assert_allclose(np.asarray(found["delta.vision.fc.weight"]), two.meant["delta.fc.weight"] * 3 / 8, atol=1e-7)


def test_settings_that_diffusers_writes_into_the_file(tmp_path: Path) -> None:
    written = renamed(adapters.peft(rng(), {"blocks.0.to_q": (6, 4)}, 2, 8), (PEFT, "transformer."))
    written.meant = {"delta.transformer.blocks.0.to_q.weight": written.meant["delta.blocks.0.to_q.weight"]}
    written.config, text = {}, {"transformer.r": 2, "transformer.lora_alpha": 8}
    written.metadata = {"lora_adapter_metadata": json.dumps(text)}
    assert_meant(written, tmp_path)


@pytest.mark.parametrize("kind", ["hada_w1_a", "lokr_w1"])
def test_other_kinds_of_adapters_are_named(kind: str, tmp_path: Path) -> None:
    written = Written({f"lora_unet_fc.{kind}": np.ones((4, 2), "f4"), "lora_unet_fc.alpha": np.float32(1)})
    found = opened(written, tmp_path)
    assert set(found) == set(written.stored)
    assert any(("LoHa" if "hada" in kind else "LoKr") in note for note in found.notes)


@pytest.mark.parametrize(
    "named", [["gate_up_proj", "down_proj", "gate.weight"], ["mlp.experts.gate_up_proj", "experts.down_proj"]]
)
def test_pairs_of_experts_are_left_and_the_others_are_shown(named: list[str], tmp_path: Path) -> None:
    """PEFT names the matrices of all experts of a layer after their module, and nests those of a second parameter."""
    written = adapters.peft(rng(), {"layers.0.q_proj": (16, 12), "layers.0.mlp.gate": (4, 12)})
    written.config["target_parameters"] = named
    experts = f"{PEFT}layers.0.mlp.experts"
    more = {f"{experts}.lora_A.weight": (16, 20), f"{experts}.lora_B.weight": (12, 16)}
    more |= {f"{experts}.base_layer.lora_A.weight": (4, 12), f"{experts}.base_layer.lora_B.weight": (40, 4)}
    written.stored.update({name: rng().normal(size=shape).astype(np.float32) for name, shape in more.items()})
    found = opened(written, tmp_path)
    assert set(found) == {"delta.layers.0.q_proj.weight", "delta.layers.0.mlp.gate.weight", *more}
    for name, meant in written.meant.items():
        np.testing.assert_allclose(np.asarray(found[name]), meant, atol=1e-6)
    (note,) = [each for each in found.notes if "not decoded" in each]
    assert "and 3 more: not decoded: it is of a parameter that is not a module (target_parameters)" in note


def test_a_model_with_pairs_in_it_keeps_its_other_weights(tmp_path: Path) -> None:
    written = adapters.peft(rng(), {"fc": (5, 4)}, 2, 8, name="default")
    written.stored[f"{PEFT}fc.base_layer.weight"] = np.ones((5, 4), np.float32)
    assert set(opened(written, tmp_path)) == {"delta.fc.weight", f"{PEFT}fc.base_layer.weight"}


def test_the_command_line_says_what_it_is(tmp_path: Path) -> None:
    adapters.peft(rng(), SHAPES, 4, 8).write(tmp_path / "adapter")
    done = torch2grid("tree", "adapter", cwd=tmp_path)
    assert "note: adapter: 2 pairs, rank 4, alpha 8" in done.stderr
    assert "LoRA of rank 4, alpha 8, of base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in done.stdout
    done = torch2grid("adapter", "--stats", cwd=tmp_path)
    assert "note: adapter: 2 pairs, rank 4, alpha 8" in done.stderr
    assert "2 tensors decoded by adapter" in done.stderr
    assert "delta.model.layers.0.self_attn.q_proj.weight" in done.stdout


def test_nobody_calls_an_adapter_that_has_not_been_trained_a_defect(tmp_path: Path) -> None:
    written = adapters.peft(rng(), {f"layers.{layer}.fc": (64, 64) for layer in range(4)}, 8, 16)
    written.stored = {name: each * 0 if "lora_B" in name else each for name, each in written.stored.items()}
    written.write(tmp_path / "adapter")
    done = torch2grid("check", "adapter", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_nan_in_a_pair_is_found(tmp_path: Path) -> None:
    written = adapters.peft(rng(), {"fc": (64, 64)}, 8, 16)
    written.stored[f"{PEFT}fc.lora_A.weight"][0, 3] = np.nan
    written.write(tmp_path / "adapter")
    done = torch2grid("check", "adapter", cwd=tmp_path)
    assert done.returncode == 1
    assert "delta.fc.weight[0, 3]: 64 of 4,096 weights are NaN" in done.stdout
