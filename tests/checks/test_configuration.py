"""Rule T306: the ``config.json`` beside the weights, and what it says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.checks.defects import manager, rules
from tests.support.tools import torch2grid

from torch2grid_core import check

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 3,
    "hidden_size": 16,
    "vocab_size": 40,
    "tie_word_embeddings": False,
    "dtype": "float32",
}


def tensors(layers: int = 3, **changes: Any) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(4)
    shapes = {"model.embed_tokens.weight": (40, 16), "lm_head.weight": (40, 16), "model.norm.weight": (16,)}
    shapes |= {f"model.layers.{number}.mlp.up_proj.weight": (24, 16) for number in range(layers)}
    made = {name: rng.normal(size=shape).astype(np.float32) * 0.02 for name, shape in shapes.items()}
    return {name: array for name, array in {**made, **changes}.items() if array is not None}


def found(folder: Path, config: Any, weights: dict[str, np.ndarray[Any, Any]], name: str = "model.safetensors") -> list[str]:
    save_file(weights, folder / name)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (rule,) = [each for each in rules() if each.code == "T306"]
    return [f"{each.severity} {each.tensor}: {each.message}" for each in check(manager().open(folder / name), [rule])]


def test_a_model_that_is_as_stated_is_clean(tmp_path: Path) -> None:
    assert found(tmp_path, CONFIG, tensors()) == []
    more = {"model.layers.3.eh_proj.weight": tensors()["lm_head.weight"]}
    assert found(tmp_path, CONFIG, tensors(4, **more)) == []  # a layer more, of another build: it predicts a later token
    assert found(tmp_path, {**CONFIG, "decoder_layers": 4}, tensors(4)) == []
    assert found(tmp_path, {**CONFIG, "intermediate_size": 24}, tensors()) == []
    assert found(tmp_path, {**CONFIG, "intermediate_size": 12}, tensors()) == []  # twice as wide where layers share caches
    tied = tensors(**{"lm_head.weight": tensors()["model.embed_tokens.weight"]})
    assert found(tmp_path, {**CONFIG, "tie_word_embeddings": True}, tied) == []
    assert found(tmp_path, {**CONFIG, "vocab_size": 33}, tensors()) == []  # rows of padding
    assert found(tmp_path, {**CONFIG, "tie_word_embeddings": True}, tensors(**{"lm_head.weight": None})) == []


@pytest.mark.parametrize(
    ("changes", "layers", "without", "told"),
    [
        (
            {},
            5,
            "",
            (
                "warning : config.json says num_hidden_layers 3; there is model.layers.3 and 1 more beyond: "
                "what loads the model leaves it out"
            ),
        ),
        (
            {"tie_word_embeddings": True},
            3,
            "",
            (
                "error lm_head.weight: has other weights than model.embed_tokens.weight, and config.json says that they are "
                "tied: what loads the model may drop the head"
            ),
        ),
        (
            {"intermediate_size": 20},
            3,
            "",
            "error model.layers.0.mlp.up_proj.weight: has 24 rows, config.json says intermediate_size 20",
        ),
        ({}, 2, "", "error : config.json says num_hidden_layers 3; of model.layers. there is no 2"),
        (
            {"num_hidden_layers": 12},
            3,
            "",
            "error : config.json says num_hidden_layers 12; of model.layers. there is no 3, 4, 5, 6, 7 and 4 more",
        ),
        ({"hidden_size": 32}, 3, "", "error model.embed_tokens.weight: has 16 columns, config.json says hidden_size 32"),
        ({"vocab_size": 41}, 3, "", "error model.embed_tokens.weight: has 40 rows, config.json says vocab_size 41"),
        (
            {"dtype": "bfloat16"},
            3,
            "",
            "warning : most weights are float32, config.json says bfloat16; what loads the model may convert them",
        ),
        (
            {},
            3,
            "lm_head.weight",
            "error : config.json says that the head is not tied to the embedding, and there is no head (lm_head.weight)",
        ),
    ],
)
def test_what_is_not_as_stated_is_found(tmp_path: Path, changes: dict[str, Any], layers: int, without: str, told: str) -> None:
    weights = tensors(layers)
    weights.pop(without, None)
    assert found(tmp_path, {**CONFIG, **changes}, weights) == [told]
    assert torch2grid("check", tmp_path, "-q", "--select", "config", cwd=tmp_path).returncode == (1 if told[0] == "e" else 0)


@pytest.mark.parametrize(
    "config", ["{", "[]", "3", '{"num_hidden_layers": 9}', '{"model_type": "llama", "num_hidden_layers": "9"}', "[" * 9999]
)
def test_a_file_that_says_nothing_of_the_kind_is_left_alone(tmp_path: Path, config: str) -> None:
    assert found(tmp_path, config, tensors()) == []


def test_a_share_an_adapter_and_one_part_of_a_model_are_left_alone(tmp_path: Path) -> None:
    config = {**CONFIG, "num_hidden_layers": 9}
    assert found(tmp_path, config, tensors(), "model-00001-of-00004.safetensors") == []
    assert found(tmp_path, config, tensors(**{"model.embed_tokens.weight": None})) == []
    save_file(tensors(), tmp_path / "model.safetensors")
    done = torch2grid("check", "model.safetensors", "--only", "*.1.*", "--select", "config", "-q", cwd=tmp_path)
    assert done.stdout == ""  # what a filter leaves out cannot be missed
