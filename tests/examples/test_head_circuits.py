"""``examples/head_circuits.py``: singular values that a plain computation confirms, from the weights it is about alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.example import example
from tests.support.tools import PROJECT, torch2grid

from torch2grid_core.testing import Bound, conformance

EXAMPLE = PROJECT / "examples" / "head_circuits.py"
random = np.random.default_rng(11)
WIDE, SIZE, LAYERS = 24, 4, 3


def model() -> dict[str, np.ndarray]:
    """Three layers with 4 heads, the last with 2 keys for them; what else there is is larger."""
    found = {"embedding.weight": random.normal(size=(500, WIDE))}
    for layer in range(LAYERS):
        keys = 4 if layer < 2 else 2
        for name, rows in (("q_proj", 4 * SIZE), ("k_proj", keys * SIZE), ("v_proj", keys * SIZE)):
            found[f"layers.{layer}.attn.{name}.weight"] = random.normal(size=(rows, WIDE))
    return {name: values.astype(np.float32) for name, values in found.items()}


def pages(folder: Path, *words: object) -> dict[str, Any]:
    done = torch2grid(
        "m.safetensors",
        "--load-plugin",
        EXAMPLE,
        "--view",
        f"head_circuits:size={SIZE}",
        "--format",
        "json",
        *words,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("grids/**/*.json")}
    return {name: page for name, page in found.items() if "panels" in page}


def attention(folder: Path) -> list[Path]:
    """A checkpoint that the view is for."""
    wide = {f"layers.0.attn.{each}_proj.weight": random.normal(size=(128, 24)).astype(np.float32) for each in "qkv"}
    save_file(wide, folder / "m.safetensors")
    return [folder / "m.safetensors"]


@conformance(example("head_circuits").HeadCircuitsView, samples=attention)
def test_it_conforms(check: Bound) -> None:
    check()


def test_the_values_are_those_of_the_products(tmp_path: Path) -> None:
    weights = model()
    weights["layers.1.attn.k_proj.weight"][2 * SIZE, 3] = np.nan
    save_file(weights, tmp_path / "m.safetensors")
    found = pages(tmp_path, "--jobs", 2)
    norms = np.array(
        [[np.nan if cell is None else cell for cell in row] for row in found["head_circuits"]["panels"][0]["values"]], float
    )
    assert norms.shape == (LAYERS, 4)
    for layer in range(LAYERS):
        query, key = (weights[f"layers.{layer}.attn.{name}_proj.weight"].astype(float) for name in "qk")
        lines = found[f"layers.{layer}.attn"]["panels"][0]["y"]
        for head in range(4):
            at = head if layer < 2 else head // 2
            product = query[head * SIZE : (head + 1) * SIZE].T @ key[at * SIZE : (at + 1) * SIZE] / np.sqrt(SIZE)
            if np.isnan(product).any():
                assert (layer, head) == (1, 2)
                assert np.isnan(norms[layer, head])
                continue
            values = np.linalg.svd(product, compute_uv=False)[:SIZE]
            np.testing.assert_allclose(np.array(lines[f"head {head}"], float), values, rtol=1e-5)
            np.testing.assert_allclose(norms[layer, head], np.linalg.norm(product), rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "line"),
    [
        ("5", "no query and key weights of heads of 5 rows; head_circuits:size=… says how many"),
        ("0", "a head has at least 1 row, not 0"),
    ],
)
def test_heads_of_another_size_are_said(size: str, line: str, tmp_path: Path) -> None:
    save_file(model(), tmp_path / "m.safetensors")
    done = torch2grid("m.safetensors", "--load-plugin", EXAMPLE, "--view", f"head_circuits:size={size}", cwd=tmp_path)
    assert done.returncode != 0
    assert line in done.stderr
    assert "Traceback" not in done.stderr
