"""A base with an adapter is compared with what a library merged: rounding is no difference, anything else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import torch2grid as t2g
from tests.support import adapters
from tests.support.adapters import PEFT, Written
from tests.support.tools import torch2grid
from torch2grid_builtin.adapters import merge
from torch2grid_core import UsageError

Array = np.ndarray[Any, Any]
SHAPES = {"model.layers.0.self_attn.q_proj": (48, 32), "model.layers.0.mlp.down_proj": (32, 64)}


def base_of(dtype: Any = np.float32) -> dict[str, Array]:
    random = np.random.default_rng(7)
    found = {f"{name}.weight": random.normal(0, 0.05, shape).astype(dtype) for name, shape in SHAPES.items()}
    return {**found, "model.norm.weight": np.ones(32, dtype)}


def compared(folder: Path, base: dict[str, Array], written: Written, merged: dict[str, Array], *words: str) -> Any:
    save_file(base, folder / "base.safetensors")
    save_file({name: np.ascontiguousarray(each) for name, each in merged.items()}, folder / "merged.safetensors")
    written.write(folder / "adapter")
    return torch2grid("compare", "base.safetensors", "merged.safetensors", "--merge", "adapter", *words, cwd=folder)


def sum_of(base: dict[str, Array], written: Written, how: str) -> dict[str, Array]:
    """The merge as libraries compute it: in float32 and rounded once, or with the change rounded first."""
    merged = dict(base)
    for name, change in written.meant.items():
        weight = base[name.removeprefix("delta.")]
        if how == "once":
            made = (weight.astype(np.float32) + change.astype(np.float32)).astype(weight.dtype)
        elif how == "twice":
            made = (weight.astype(np.float32) + change.astype(weight.dtype).astype(np.float32)).astype(weight.dtype)
        else:
            made = weight.astype(np.float64) + change
        merged[name.removeprefix("delta.")] = made
    return merged


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("how", ["once", "twice"])
def test_a_merge_is_the_base_with_the_adapter(dtype: Any, how: str, tmp_path: Path) -> None:
    base, written = base_of(dtype), adapters.peft(np.random.default_rng(0), SHAPES, 8, 16)
    done = compared(tmp_path, base, written, sum_of(base, written, how), "--stats")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("same: 3 tensors")
    name = np.dtype(dtype).name
    assert f"base + adapter (2 weights changed) is compared, within the rounding of {name}" in done.stderr


@pytest.mark.parametrize("saved", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_merge_that_was_saved_as_another_dtype(saved: Any, tmp_path: Path) -> None:
    base, written = base_of(ml_dtypes.bfloat16), adapters.peft(np.random.default_rng(0), SHAPES, 8, 16)
    merged = {name: each.astype(np.float32).astype(saved) for name, each in sum_of(base, written, "once").items()}
    done = compared(tmp_path, base, written, merged, "--stats", "--ignore-dtype")
    assert done.returncode == 0, done.stdout + done.stderr


WRONG: dict[str, Any] = {
    "twice the scale": lambda base, w: {n: base[n] + 2 * w.meant.get(f"delta.{n}", 0) for n in base},
    "another sign": lambda base, w: {n: base[n] - w.meant.get(f"delta.{n}", 0) for n in base},
    "not merged": lambda base, w: dict(base),
    "one forgotten": lambda base, w: {n: base[n] + (w.meant.get(f"delta.{n}", 0) if "q_proj" in n else 0) for n in base},
    "another weight changed": lambda base, w: {
        n: base[n] + w.meant.get(f"delta.{n}", 0) + (0.5 if "norm" in n else 0) for n in base
    },
}


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_merge_is_different(wrong: str, dtype: Any, tmp_path: Path) -> None:
    base, written = base_of(dtype), adapters.peft(np.random.default_rng(0), SHAPES, 8, 64)
    wide = {name: each.astype(np.float64) for name, each in base.items()}
    merged = {name: np.asarray(each).astype(dtype) for name, each in WRONG[wrong](wide, written).items()}
    done = compared(tmp_path, base, written, merged, "--stats")
    assert done.returncode == 1, done.stdout


def test_one_weight_is_named_with_its_place(tmp_path: Path) -> None:
    base, written = base_of(), adapters.peft(np.random.default_rng(0), SHAPES, 8, 16)
    merged = sum_of(base, written, "once")
    merged["model.layers.0.self_attn.q_proj.weight"][3, 4] += 0.01
    done = compared(tmp_path, base, written, merged, "--format", "json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert "within the rounding of float32" in report["merged"]
    (difference,) = report["differences"]
    assert difference["name"] == "model.layers.0.self_attn.q_proj.weight"
    assert "one weight: [3, 4]" in difference["text"]


def test_dora_is_merged_as_its_definition_says(tmp_path: Path) -> None:
    base = base_of()
    matrices = {name.removesuffix(".weight"): each for name, each in base.items() if each.ndim == 2}
    written, merged = adapters.dora(np.random.default_rng(0), matrices)
    exact = {**base, **merged}
    found = merge(opened(base, tmp_path / "base.safetensors"), t2g.load(written.write(tmp_path / "adapter"))).checkpoint
    for name, each in exact.items():
        np.testing.assert_allclose(np.asarray(found[name]), each, rtol=0, atol=1e-6)
    done = compared(tmp_path, base, written, {name: each.astype(np.float32) for name, each in exact.items()}, "--stats")
    assert done.returncode == 0, done.stdout


def opened(tensors: dict[str, Array], path: Path) -> Any:
    save_file(tensors, path)
    return t2g.load(path)


def test_names_of_the_base_with_other_prefixes_and_with_underscores(tmp_path: Path) -> None:
    base = {f"{name.removeprefix('model.')}.weight": np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    held = opened(base, tmp_path / "base.safetensors")
    written = adapters.peft(np.random.default_rng(0), SHAPES)
    assert set(merge(held, t2g.load(written.write(tmp_path / "one"))).changes) == set(base)
    flat = {f"lora_te_{name.removesuffix('.weight').replace('.', '_')}": each.shape for name, each in base.items()}
    written = adapters.kohya(np.random.default_rng(0), flat, 4, 4)
    found = merge(held, t2g.load(written.write(tmp_path / "two"))).checkpoint
    for name, change in zip(flat, written.meant.values(), strict=True):
        target = next(each for each in base if each.removesuffix(".weight").replace(".", "_") == name.removeprefix("lora_te_"))
        np.testing.assert_allclose(np.asarray(found[target]), change, atol=1e-6)


def test_a_point_convolution_takes_a_linear_pair(tmp_path: Path) -> None:
    held = opened({"proj.weight": np.zeros((6, 5, 1, 1), np.float32)}, tmp_path / "base.safetensors")
    written = adapters.peft(np.random.default_rng(0), {"proj": (6, 5)})
    found = merge(held, t2g.load(written.write(tmp_path / "adapter"))).checkpoint["proj.weight"]
    assert found.shape == (6, 5, 1, 1)
    np.testing.assert_allclose(np.asarray(found)[..., 0, 0], written.meant["delta.proj.weight"], atol=1e-6)


def test_what_an_adapter_stores_whole_takes_the_place_of_the_base(tmp_path: Path) -> None:
    base, written = base_of(), adapters.peft(np.random.default_rng(0), SHAPES, 8, 16)
    merged = sum_of(base, written, "once")
    merged["model.norm.weight"] = np.full(32, 2, np.float32)
    written.stored[f"{PEFT}model.norm.modules_to_save.weight"] = merged["model.norm.weight"]
    assert compared(tmp_path, base, written, merged, "--stats").returncode == 0


@pytest.mark.parametrize("more", [0, 3])
def test_embeddings_that_are_stored_with_their_change(more: int, tmp_path: Path) -> None:
    """PEFT stores the embeddings that it adapts: they may have rows for tokens that the published base does not know."""
    name, columns = "model.embed_tokens", 16
    base, written = base_of(), adapters.peft(np.random.default_rng(0), SHAPES, 8, 16)
    merged = sum_of(base, written, "once")
    one = adapters.embedding(np.random.default_rng(1), name, 20 + more, columns, 8, 16)
    base[f"{name}.weight"] = np.ones((20, columns), np.float32)
    held = np.random.default_rng(2).normal(size=(20 + more, columns)).astype(np.float32)
    written.stored.update({**one.stored, f"{PEFT}{name}.base_layer.weight": held})
    merged[f"{name}.weight"] = (held + one.meant[f"delta.{name}.weight"]).astype(np.float32)
    done = compared(tmp_path, base, written, merged, "--stats")
    assert done.returncode == 0, done.stdout + done.stderr


def test_tokens_that_came_in_change_the_number_of_rows(tmp_path: Path) -> None:
    base, written = base_of(), adapters.peft(np.random.default_rng(0), SHAPES, 8, 16)
    base["lm_head.weight"] = np.ones((20, 8), np.float32)
    merged = sum_of(base, written, "once")
    merged["lm_head.weight"] = written.stored[f"{PEFT}lm_head.weight"] = np.full((23, 8), 2, np.float32)
    assert compared(tmp_path, base, written, merged, "--stats").returncode == 0


def test_what_cannot_be_merged_is_one_line(tmp_path: Path) -> None:
    written = adapters.peft(np.random.default_rng(0), SHAPES)
    base = base_of()
    cases: list[tuple[dict[str, Array], Written, str]] = [
        ({"other.weight": np.zeros((2, 2), np.float32)}, written, "has no weight model.layers.0.mlp.down_proj.weight"),
        ({name: each.T for name, each in base.items()}, written, "but the adapter's change is [32, 64]"),
        (base, Written(dict(base)), "is not an adapter"),
        (base, Written({**written.stored, "extra": np.ones(3, np.float32)}, {}, written.config), "for which the base has no"),
        (base, Written(written.stored, {}, {**written.config, "r": 99}), "cannot be merged"),
    ]
    for place, (tensors, each, text) in enumerate(cases):
        folder = tmp_path / str(place)
        folder.mkdir()
        done = compared(folder, {name: np.ascontiguousarray(array) for name, array in tensors.items()}, each, base)
        assert done.returncode == 2, text
        assert text in done.stderr
        assert "Traceback" not in done.stderr
    done = torch2grid("compare", "a", "b", "c", "--merge", "adapter", cwd=tmp_path)
    assert done.returncode == 2
    assert "--merge takes two checkpoints" in done.stderr


def test_python_merges_too(tmp_path: Path) -> None:
    base, written = base_of(), adapters.peft(np.random.default_rng(0), SHAPES, 8, 16)
    folder = written.write(tmp_path / "adapter")
    assert t2g.compare(base, sum_of(base, written, "once"), merge=folder).same
    assert not t2g.compare(base, base, merge=folder).same
    with pytest.raises(UsageError, match="is not an adapter"):
        t2g.compare(base, base, merge=base)


def test_two_adapters_are_compared_by_what_they_change(tmp_path: Path) -> None:
    """The same change by pairs of another rank is the same; another is not."""
    one = adapters.peft(np.random.default_rng(0), SHAPES, 4, 4)
    other = Written(dict(one.stored), {}, {**one.config, "r": 6, "lora_alpha": 6})
    for name, each in one.stored.items():
        more = (2, *each.shape[1:]) if "lora_A" in name else (each.shape[0], 2)
        other.stored[name] = np.concatenate([each, np.zeros(more, np.float32)], axis=0 if "lora_A" in name else 1)
    one.write(tmp_path / "a")
    other.write(tmp_path / "b")
    done = torch2grid("compare", "a", "b", "--stats", "--tolerance", "1e-7", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    adapters.peft(np.random.default_rng(1), SHAPES, 2, 4).write(tmp_path / "c")
    done = torch2grid("compare", "a", "c", "--stats", cwd=tmp_path)
    assert done.returncode == 1
    assert "different: 2 of 2 tensors changed" in done.stdout


def test_a_merge_by_mlx_is_the_base_with_the_adapter(tmp_path: Path) -> None:
    base, written = base_of(), adapters.mlx(np.random.default_rng(0), SHAPES, 8, 20.0)
    done = compared(tmp_path, base, written, sum_of(base, written, "once"), "--stats")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("same: 3 tensors")


def test_a_merge_of_dora_by_mlx(tmp_path: Path) -> None:
    base, written = base_of(), adapters.mlx(np.random.default_rng(0), SHAPES, 8, 2.0)
    written.config["fine_tune_type"] = "dora"
    merged = dict(base)
    for name in SHAPES:
        magnitude = np.random.default_rng(1).uniform(0.5, 2, SHAPES[name][0]).astype(np.float32)
        written.stored[f"{name}.m"] = magnitude
        joined = base[f"{name}.weight"].astype(np.float64) + written.meant[f"delta.{name}.weight"]
        made = joined * (magnitude / np.linalg.norm(joined, axis=1))[:, None]
        merged[f"{name}.weight"] = made.astype(np.float32)
    done = compared(tmp_path, base, written, merged, "--stats")
    assert done.returncode == 0, done.stdout + done.stderr


def test_biases_that_were_trained_beside_the_pairs(tmp_path: Path) -> None:
    base, written = base_of(), adapters.peft(np.random.default_rng(0), SHAPES, 8, 16, bias="all")
    merged = sum_of(base, written, "once")
    for name, shape in SHAPES.items():
        base[f"{name}.bias"] = np.zeros(shape[0], np.float32)
        merged[f"{name}.bias"] = written.stored[f"{PEFT}{name}.base_layer.bias"] = np.ones(shape[0], np.float32)
    assert compared(tmp_path, base, written, merged, "--stats").returncode == 0
    written.stored[f"{PEFT}{name}.lora_B.bias"] = np.ones(shape[0], np.float32)
    done = compared(tmp_path, base, written, merged)
    assert done.returncode == 2
    assert "base_layer.bias and also a change of it; it is unclear which of them is meant" in done.stderr


def biased(dtype: Any = np.float32, **config: Any) -> tuple[dict[str, Array], Written, dict[str, Array]]:
    """A base with biases, an adapter that changes them (``lora_bias``), and the merge: the addend times α/r."""
    random = np.random.default_rng(3)
    base, written = base_of(dtype), adapters.peft(np.random.default_rng(0), SHAPES, 8, 16, lora_bias=True, **config)
    merged = sum_of(base, written, "once")
    for name, shape in SHAPES.items():
        base[f"{name}.bias"] = random.normal(0, 0.1, shape[0]).astype(dtype)
        added = random.normal(0, 0.1, shape[0]).astype(np.float32)
        written.stored[f"{PEFT}{name}.lora_B.bias"] = added
        scale = 16 / (np.sqrt(8) if config.get("use_rslora") else 8)
        merged[f"{name}.bias"] = (base[f"{name}.bias"].astype(np.float32) + np.float32(scale) * added).astype(dtype)
    return base, written, merged


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("rslora", [False, True])
def test_a_merge_of_changes_of_biases(dtype: Any, rslora: bool, tmp_path: Path) -> None:
    base, written, merged = biased(dtype, use_rslora=rslora)
    done = compared(tmp_path, base, written, merged, "--stats")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "base + adapter (4 weights changed)" in done.stderr


@pytest.mark.parametrize("wrong", ["not changed", "without the factor", "one number"])
def test_a_wrong_merge_of_changes_of_biases_is_different(wrong: str, tmp_path: Path) -> None:
    base, written, merged = biased()
    name = "model.layers.0.mlp.down_proj"
    added = written.stored[f"{PEFT}{name}.lora_B.bias"]
    if wrong == "one number":
        merged[f"{name}.bias"][7] += 1e-3
    else:
        merged[f"{name}.bias"] = base[f"{name}.bias"] + (added if wrong == "without the factor" else 0)
    done = compared(tmp_path, base, written, merged, "--format", "json")
    assert done.returncode == 1
    assert [each["name"] for each in json.loads(done.stdout)["differences"]] == [f"{name}.bias"]


def test_a_base_without_the_bias_that_an_adapter_changes(tmp_path: Path) -> None:
    base, written, merged = biased()
    del base["model.layers.0.mlp.down_proj.bias"]
    done = compared(tmp_path, base, written, merged)
    assert done.returncode == 2
    assert "base.safetensors has no weight model.layers.0.mlp.down_proj.bias, which the adapter changes" in done.stderr
    written.stored[f"{PEFT}model.layers.0.mlp.down_proj.lora_B.bias"] = np.ones((2, 16), np.float32)
    done = compared(tmp_path, base, written, merged)
    assert done.returncode == 2
    assert "lora_B.bias is not a change of a bias (lora_bias)" in done.stderr
