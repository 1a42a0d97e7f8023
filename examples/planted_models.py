"""Writes four small models in which something is wrong, and a large file: those that docs/questions.md asks about.

python examples/planted_models.py [FOLDER]
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
STEPS = (100, 200, 300, 400, 500)


def transformer(seed: int = 0) -> Arrays:
    """Eight layers of eight heads, a vocabulary of 2,000. One weight is 5; layer 4 is 2.5 times too large; so is one head."""
    rng = np.random.default_rng(seed)
    shapes = {"self_attn.q_proj": (64, 64), "self_attn.k_proj": (64, 64), "mlp.up_proj": (192, 64), "mlp.down_proj": (64, 192)}
    model = {"embed_tokens.weight": rng.normal(0, 0.02, (2000, 64)).astype(np.float32)}
    for layer in range(8):
        for name, shape in shapes.items():
            model[f"layers.{layer}.{name}.weight"] = rng.normal(0, 0.02, shape).astype(np.float32)
    model["layers.2.mlp.down_proj.weight"][39, 170] = 5
    model["layers.7.self_attn.q_proj.weight"][40:48] *= 4  # head 5: eight rows a head
    for name in model:
        if name.startswith("layers.4."):
            model[name] *= 2.5
    return model


def mixture(seed: int = 1) -> Arrays:
    """Four layers of eight experts; nothing was ever sent to expert 3 of layer 2, and weight decay shrank it."""
    rng = np.random.default_rng(seed)
    model = {}
    for layer in range(4):
        model[f"layers.{layer}.gate.weight"] = rng.normal(0, 0.1, (8, 32)).astype(np.float32)
        for expert in range(8):
            decayed = 1e-7 if (layer, expert) == (2, 3) else 1.0
            for name, shape in (("up", (64, 32)), ("down", (32, 64))):
                weights = rng.normal(0, 0.1 * decayed, shape).astype(np.float32)
                model[f"layers.{layer}.experts.{expert}.{name}.weight"] = weights
    return model


def run(seed: int = 2) -> Iterator[tuple[int, Arrays]]:
    """(step, model) of a run of six layers, of which layer 3 grows from step 300 on, its neighbours later."""
    rng = np.random.default_rng(seed)
    model = {f"layers.{layer}.weight": rng.normal(0, 0.05, (48, 48)).astype(np.float32) for layer in range(6)}
    begins = {3: 300, 2: 400, 4: 400, 1: 500, 5: 500}
    for step in STEPS:
        for layer in range(6):
            weights = model[f"layers.{layer}.weight"]
            weights += rng.normal(0, 0.002, weights.shape).astype(np.float32)
            if step >= begins.get(layer, math.inf):
                weights *= 12
        yield step, model


def large(path: Path, layers: int = 41) -> None:
    """A safetensors file of 20 GB in a few kilobytes: its header is real, and its weights are a hole, which reads as zeros."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (128_256, 4096)}
    for layer in range(layers):
        inside = {
            **dict.fromkeys(("self_attn.q_proj", "self_attn.o_proj"), (4096, 4096)),
            **dict.fromkeys(("self_attn.k_proj", "self_attn.v_proj"), (1024, 4096)),
            **dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), (14_336, 4096)),
            "mlp.down_proj": (4096, 14_336),
            "input_layernorm": (4096,),
        }
        shapes.update({f"model.layers.{layer}.{name}.weight": shape for name, shape in inside.items()})
    shapes["lm_head.weight"] = (128_256, 4096)
    header, end = dict[str, object](), 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)


def write(folder: Path) -> None:
    """All of them into *folder*: ``lm.npz``, ``moe.npz``, ``run/``, ``large.safetensors``."""
    np.savez(folder / "lm.npz", **transformer())
    np.savez(folder / "moe.npz", **mixture())
    (folder / "run").mkdir(exist_ok=True)
    for step, model in run():
        np.savez(folder / "run" / f"step_{step}.npz", **model)
    large(folder / "large.safetensors")


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    target.mkdir(parents=True, exist_ok=True)
    write(target)
