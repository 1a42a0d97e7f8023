"""Files of every format that a built-in loader reads, by the libraries that own the formats."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from tests.fuzz.exports import old_program
from tests.support.corpus import real
from tests.support.distributed import made as distributed
from tests.support.exports import onnx
from tests.support.tools import DIGITS
from torch.distributed.tensor import Shard
from torch.package import PackageExporter

from torch2grid_core import PluginManager


def _state() -> OrderedDict[str, torch.Tensor]:
    torch.manual_seed(0)
    weight = torch.randn(6, 5)
    return OrderedDict(
        [
            ("fc.weight", weight),
            ("fc.bias", torch.randn(6)),
            ("head.weight", weight),
            ("turned.weight", torch.randn(4, 7).t()),
            ("half.weight", torch.randn(3, 3).to(torch.bfloat16)),
            ("steps", torch.tensor(7)),
            ("none", torch.empty(0, 3)),
        ]
    )


def _separate() -> dict[str, torch.Tensor]:
    return {name: tensor.clone().contiguous() for name, tensor in _state().items()}


def _arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "w": random.normal(size=(5, 4)),
        "b": np.arange(4, dtype=np.int16),
        "f": np.asfortranarray(random.normal(size=(3, 4))),
    }


def npy(folder: Path) -> list[Path]:
    np.save(folder / "w.npy", _arrays()["w"])
    np.save(folder / "f.npy", _arrays()["f"])
    return [folder / "w.npy", folder / "f.npy"]


def npz(folder: Path) -> list[Path]:
    np.savez(folder / "plain.npz", **_arrays())
    np.savez_compressed(folder / "packed.npz", **_arrays())
    return [folder / "plain.npz", folder / "packed.npz"]


def plain_pickle(folder: Path) -> list[Path]:
    (folder / "w.pkl").write_bytes(pickle.dumps(_arrays()))
    return [folder / "w.pkl"]


def one_safetensors(folder: Path) -> list[Path]:
    safetensors.torch.save_file(_separate(), folder / "w.safetensors")
    return [folder / "w.safetensors"]


def sharded(folder: Path) -> list[Path]:
    state = _separate()
    safetensors.torch.save_file({"fc.weight": state["fc.weight"]}, folder / "a.safetensors")
    safetensors.torch.save_file({"fc.bias": state["fc.bias"]}, folder / "b.safetensors")
    index = {"metadata": {}, "weight_map": {"fc.weight": "a.safetensors", "fc.bias": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return [folder / "model.safetensors.index.json"]


def torch_zip(folder: Path) -> list[Path]:
    torch.save(_state(), folder / "w.pth")
    return [folder / "w.pth"]


def torch_package(folder: Path) -> list[Path]:
    with PackageExporter(folder / "w.pt") as exporter, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of torch.package, about its own storages
        exporter.save_pickle("weights", "w.pkl", dict(_state()))
    return [folder / "w.pt"]


def torch_legacy(folder: Path) -> list[Path]:
    torch.save(_state(), folder / "w.pth", _use_new_zipfile_serialization=False)
    return [folder / "w.pth"]


def torch_tar(folder: Path) -> list[Path]:
    return [Path(shutil.copyfile(real("burn/reader/tar_2d_tensor.tar"), folder / "w.tar"))]


def archives(folder: Path) -> list[Path]:
    """A zip and a tar of one checkpoint each, beside a text."""
    (folder / "held").mkdir()
    torch.save(_state(), folder / "held" / "model.pth")
    (folder / "held" / "README.txt").write_text("A model.")
    return [Path(shutil.make_archive(str(folder / "saved"), kind, folder / "held")) for kind in ("zip", "tar")]


def modules(folder: Path) -> list[Any]:
    return [torch.nn.Linear(3, 2), torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))]


def objects(folder: Path) -> list[Any]:
    return [{"a": np.arange(6.0), "b": {"c": torch.ones(2, 3)}}, np.ones((2, 2)), torch.zeros(3)]


def training(folder: Path) -> list[Path]:
    """A training checkpoint, which has an optimizer's state."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 3))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "training.pth")
    return [folder / "training.pth"]


def language(folder: Path) -> list[Path]:
    """A language model's embedding and head, with rows that were never trained."""
    random = np.random.default_rng(0)
    state = {name: random.standard_normal((80, 16)).astype(np.float32) for name in ("embed_tokens.weight", "lm_head.weight")}
    state["embed_tokens.weight"][70:] *= 0.01
    np.savez(folder / "language.npz", **state)
    return [folder / "language.npz"]


class _Printed:
    def __reduce__(self) -> Any:
        return print, ("this must not be printed",)


def ill(folder: Path) -> list[Path]:
    """Networks with the defects that none of the kit's samples has."""
    random = np.random.default_rng(0)
    state = {key: tensor.numpy() for key, tensor in PluginManager.discover(third_party=False).open(DIGITS).items()}
    state["fc1.weight"][3:] = state["fc1.weight"][2]  # units alike
    state["fc2.weight"][0, 0] = 2e4
    state["conv1.weight"].reshape(-1)[::4] = 1e-42
    made = {
        "constant.weight": np.full((32, 64), 0.5, np.float32),
        "fresh.weight": (500 * random.uniform(-0.1, 0.1, (64, 100))).astype(np.float32),
        "beyond.weight": np.where(np.arange(4096) % 2, 7e4, 1e-12).astype(np.float32).reshape(64, 64),
    }
    torch.save(
        {**{key: torch.from_numpy(each) for key, each in {**state, **made}.items()}, "x": _Printed()}, folder / "ill.pth"
    )
    (index,) = sharded(folder)
    text = json.loads(index.read_text())
    text["metadata"] = {"total_size": 7}
    index.write_text(json.dumps(text))
    return [folder / "ill.pth", index]


def silent(folder: Path) -> list[Path]:
    """A network with each kind of silent corruption, and averages that were never updated."""
    random = np.random.default_rng(0)

    def made(*shape: int) -> np.ndarray[Any, Any]:
        return random.normal(0, 0.02, shape).astype(np.float32)

    state = {f"layers.{layer}.up_proj.weight": made(64, 48) for layer in range(6)}
    state |= {f"layers.{layer}.norm.weight": 1 + made(48) for layer in range(6)}
    state["layers.1.norm.weight"][5] = 400
    state["layers.2.up_proj.weight"] *= 9
    state["layers.4.up_proj.weight"] = state["layers.0.up_proj.weight"].copy()
    names = ("hole", "flip", "twice", "scaled")
    state |= {f"{name}.weight": made(64, 48) for name in names}
    state["hole.weight"].reshape(-1)[100:140] = 0
    state["flip.weight"][7, 9] = 1e30
    state["twice.weight"].reshape(-1)[2000:2500] = state["twice.weight"].reshape(-1)[100:600]
    state["scaled.weight"][11] *= 100
    state["embed_tokens.weight"] = made(128, 48) * np.where(np.arange(128) % 4, 10, 1)[:, None].astype(np.float32)
    tensors = {key: torch.from_numpy(each) for key, each in state.items()}
    torch.save({"model": tensors, "ema": {key: each.clone() for key, each in tensors.items()}}, folder / "ema.pth")
    torch.save(tensors, folder / "silent.pth")
    return [folder / "silent.pth", folder / "ema.pth"]


def configured(folder: Path) -> list[Path]:
    """A language model without its last layer, and the configuration that states it."""
    state = {"model.embed_tokens.weight": torch.randn(24, 8), "model.layers.0.up_proj.weight": torch.randn(16, 8)}
    safetensors.torch.save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 8}))
    return [folder / "model.safetensors"]


def attention(folder: Path) -> list[Path]:
    """Two layers of attention whose heads share keys, one with a NaN, and the configuration that says how many there are."""
    torch.manual_seed(0)
    state = {}
    for layer in range(2):
        for name, shape in (("q_proj", (16, 12)), ("k_proj", (8, 12)), ("v_proj", (8, 12)), ("o_proj", (12, 16))):
            state[f"layers.{layer}.self_attn.{name}.weight"] = torch.randn(shape)
    state["layers.1.self_attn.q_proj.weight"][3, 3] = torch.nan
    safetensors.torch.save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "num_attention_heads": 4}))
    return [folder / "model.safetensors"]


def mixture(folder: Path) -> list[Path]:
    """Experts, apart and stacked, with a router and a shared one; a NaN in one."""
    torch.manual_seed(0)
    state = {f"layers.0.mlp.experts.{expert}.up_proj.weight": torch.randn(6, 5) for expert in range(3)}
    state["layers.0.mlp.experts.1.up_proj.weight"][3, 3] = torch.nan
    state |= {
        "layers.1.mlp.experts.up_proj": torch.randn(4, 6, 5),
        "layers.1.mlp.shared_expert.up_proj.weight": torch.randn(6, 5),
    }
    state |= {f"layers.{layer}.mlp.gate.weight": torch.randn(3 + layer, 5) for layer in range(2)}
    safetensors.torch.save_file(state, folder / "mixture.safetensors")
    return [folder / "mixture.safetensors"]


def _whole() -> distributed.State:
    return {name: tensor for name, tensor in distributed.model().items() if tensor.ndim}


def onnx_models(folder: Path) -> list[Path]:
    (folder / "w.onnx").write_bytes(onnx.model(onnx.graph([onnx.tensor("w", np.arange(12, dtype=np.float32).reshape(3, 4))])))
    return [folder / "w.onnx"]


def programs(folder: Path) -> list[Path]:
    (folder / "w.pt2").write_bytes(old_program())
    return [folder / "w.pt2"]


FILES = {
    "archive": archives,
    "dcp": lambda folder: [distributed.dcp(folder / "saved", distributed.model())],
    "deepspeed": lambda folder: [distributed.zero(folder / f"stage{stage}", [_whole()], 2, stage) for stage in (2, 3)],
    "megatron": lambda folder: [distributed.megatron(folder / "saved", distributed.gpt())],
    "ranks": lambda folder: [distributed.dtensors(folder / "saved", _whole(), (2,), {"0.weight": [Shard(0)]})],
    "sliced-safetensors": lambda folder: [distributed.sliced(folder / "saved", _whole())],
    "module": modules,
    "state-dict": objects,
    "npy": npy,
    "npz": npz,
    "onnx": onnx_models,
    "pickle": plain_pickle,
    "safetensors": one_safetensors,
    "sharded": sharded,
    "torch-export": programs,
    "torch-legacy": torch_legacy,
    "torch-package": torch_package,
    "torch-tar": torch_tar,
    "torch-zip": torch_zip,
}
