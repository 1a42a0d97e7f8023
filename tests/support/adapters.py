"""Writers of adapters, in numpy alone: what a file stores, and the change of each weight that this stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

Array = np.ndarray[Any, Any]
PEFT = "base_model.model."


@dataclass
class Written:
    """stored: tensors by name. meant: changes of weights by name, float64. config: of ``adapter_config.json``."""

    stored: dict[str, Array] = field(default_factory=dict)
    meant: dict[str, Array] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path, name: str = "adapter_model.safetensors") -> Path:
        """The folder, with the file and its settings in it."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: np.ascontiguousarray(each) for key, each in self.stored.items()}, folder / name, self.metadata or None)
        if self.config:
            (folder / "adapter_config.json").write_text(json.dumps(self.config))
        return folder


def peft(
    random: np.random.Generator,
    shapes: Mapping[str, tuple[int, ...]],
    rank: int = 4,
    alpha: float = 8,
    dtype: Any = np.float32,
    *,
    name: str = "",
    ranks: Mapping[str, int] | None = None,
    **config: Any,
) -> Written:
    """LoRA as PEFT saves it: shapes of the weights by module; *name*: of the adapter, as in a state dict of the model."""
    found = Written(config={"peft_type": "LORA", "r": rank, "lora_alpha": alpha, **config})
    own = f".{name}" if name else ""
    for module, shape in shapes.items():
        r = (ranks or {}).get(module, rank)
        down = random.normal(0, 1 / np.sqrt(shape[1]), (r, *shape[1:])).astype(dtype)
        up = random.normal(0, 0.02, (shape[0], r)).astype(dtype)
        scale = alpha / (np.sqrt(r) if config.get("use_rslora") else r)
        found.stored[f"{PEFT}{module}.lora_A{own}.weight"] = down
        found.stored[f"{PEFT}{module}.lora_B{own}.weight"] = (
            up if len(shape) == 2 else up.reshape(*up.shape, *(1,) * (len(shape) - 2))
        )
        product = scale * (up.astype(np.float64) @ down.astype(np.float64).reshape(r, -1))
        meant = product.T if config.get("fan_in_fan_out") else product.reshape(shape)
        found.meant[f"delta.{module}.weight"] = meant
    if ranks:
        found.config["rank_pattern"] = dict(ranks)
    return found


def embedding(random: np.random.Generator, module: str, rows: int, width: int, rank: int, alpha: float) -> Written:
    """LoRA of an embedding, whose two matrices are parameters of the module."""
    down, up = random.normal(0, 1, (rank, rows)).astype(np.float32), random.normal(0, 1, (width, rank)).astype(np.float32)
    meant = alpha / rank * (up.astype(np.float64) @ down).T
    stored = {f"{PEFT}{module}.lora_embedding_A": down, f"{PEFT}{module}.lora_embedding_B": up}
    return Written(stored, {f"delta.{module}.weight": meant}, {"peft_type": "LORA", "r": rank, "lora_alpha": alpha})


def kohya(
    random: np.random.Generator, shapes: Mapping[str, tuple[int, ...]], rank: int, alpha: float | None, dtype: Any = np.float16
) -> Written:
    """LoRA as kohya's scripts write it: names with underscores, alpha a tensor, kernels too."""
    found = Written(metadata={"ss_network_module": "networks.lora"})
    for module, shape in shapes.items():
        down = random.normal(0, 0.1, (rank, *shape[1:])).astype(dtype)
        up = random.normal(0, 0.1, (shape[0], rank, *(1,) * (len(shape) - 2))).astype(dtype)
        found.stored[f"{module}.lora_down.weight"], found.stored[f"{module}.lora_up.weight"] = down, up
        if alpha is not None:
            found.stored[f"{module}.alpha"] = np.array(alpha, dtype)
        scale = 1.0 if alpha is None else alpha / rank
        flat = up.astype(np.float64).reshape(shape[0], rank) @ down.astype(np.float64).reshape(rank, -1)
        found.meant[f"delta.{module}"] = scale * flat.reshape(shape)
    return found


def mlx(
    random: np.random.Generator,
    shapes: Mapping[str, tuple[int, ...]],
    rank: int = 4,
    scale: float = 20.0,
    embeddings: Mapping[str, tuple[int, int]] | None = None,
    dtype: Any = np.float32,
) -> Written:
    """LoRA as mlx_lm saves it: (inputs, rank) and (rank, outputs), their factor in the settings; of embeddings as they are."""
    config = {"fine_tune_type": "lora", "lora_parameters": {"rank": rank, "scale": scale, "dropout": 0.0}, "num_layers": 2}
    found = Written(config=config)
    for module, (rows, columns) in {**shapes, **(embeddings or {})}.items():
        inside, outside = (rows, columns) if module in (embeddings or {}) else (columns, rows)
        first = random.uniform(-1, 1, (inside, rank)).astype(dtype)
        second = random.normal(0, 0.02, (rank, outside)).astype(dtype)
        found.stored[f"{module}.lora_a"], found.stored[f"{module}.lora_b"] = first, second
        product = scale * (first.astype(np.float64) @ second.astype(np.float64))
        found.meant[f"delta.{module}.weight"] = product if module in (embeddings or {}) else product.T
    return found


def dora(
    random: np.random.Generator, base: Mapping[str, Array], rank: int = 2, alpha: float = 4
) -> tuple[Written, dict[str, Array]]:
    """DoRA of every matrix of *base* (names without ``.weight``), and the merged weights, float64."""
    found = peft(random, {name: each.shape for name, each in base.items()}, rank, alpha, use_dora=True)
    merged = {}
    for name, weight in base.items():
        magnitude = random.uniform(0.5, 2, len(weight)).astype(np.float32)
        found.stored[f"{PEFT}{name}.lora_magnitude_vector"] = magnitude
        joined = weight.astype(np.float64) + found.meant.pop(f"delta.{name}.weight")
        merged[f"{name}.weight"] = joined * (magnitude / np.linalg.norm(joined, axis=1))[:, None]
        found.meant[f"delta.{name}.weight"] = merged[f"{name}.weight"] - weight
    return found, merged
