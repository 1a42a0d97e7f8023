"""One small model in each form that is read remotely, with its tensors beside what no row of them fits in one request."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.support.distributed.made import dcp

FORMS = ("safetensors", "shards", "pth", "gguf", "dcp")


def tensors() -> dict[str, torch.Tensor]:
    """About 9 MB: one of more than a window, and many small ones."""
    generator = torch.Generator().manual_seed(5)
    made = {"embed.weight": torch.randn(1500, 700, generator=generator)}
    for layer in range(6):
        made[f"layers.{layer}.attention.weight"] = torch.randn(300, 200, generator=generator)
        made[f"layers.{layer}.norm.weight"] = torch.randn(200, generator=generator)
        made[f"layers.{layer}.mlp.weight"] = torch.randn(200, 500, generator=generator)
    return made


def write(folder: Path, form: str) -> str:
    """Write the model in *folder*; its path there."""
    made = tensors()
    if form == "safetensors":
        save_file(made, folder / "model.safetensors")
        return "model.safetensors"
    if form == "pth":
        torch.save(made, folder / "model.pth")
        return "model.pth"
    if form == "gguf":
        from gguf import GGUFWriter

        writer = GGUFWriter(folder / "model.gguf", "llama")
        for name, tensor in made.items():
            writer.add_tensor(name, tensor.numpy().astype(np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return "model.gguf"
    if form == "dcp":
        (folder / "dcp").mkdir()
        dcp(folder / "dcp", made)
        return "dcp"
    shards(folder / "shards", made, 3)
    return "shards"


def shards(folder: Path, made: dict[str, torch.Tensor], count: int) -> None:
    """Write *made* as *count* shards with their index."""
    folder.mkdir(exist_ok=True)
    weight_map = {}
    for number in range(count):
        names = list(made)[number::count]
        file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        save_file({name: made[name] for name in names}, folder / file)
        weight_map.update(dict.fromkeys(names, file))
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
