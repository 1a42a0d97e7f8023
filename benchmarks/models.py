"""Models of well-known shapes with random weights, written once into the cache folder.

``python -m benchmarks.models NAME`` makes one; ``model`` does so in a process of its own, see ``measure``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

Shapes = dict[str, tuple[int, ...]]
_STD = 0.02
_KIND = 1  # to be raised where the weights of the same shapes change
_SPARE = 2 << 30  # bytes of disk that are left alone


def cache() -> Path:
    """Where models and other tools are kept: ``$TORCH2GRID_BENCH``, else ``~/.cache/torch2grid-bench``."""
    folder = Path(os.environ.get("TORCH2GRID_BENCH") or Path.home() / ".cache" / "torch2grid-bench")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def gpt2() -> Shapes:
    """GPT-2, 124 million parameters."""
    shapes: Shapes = {"wte.weight": (50257, 768), "wpe.weight": (1024, 768)}
    for layer in range(12):
        block = f"h.{layer}."
        for norm in ("ln_1", "ln_2"):
            shapes.update({f"{block}{norm}.weight": (768,), f"{block}{norm}.bias": (768,)})
        for name, rows, columns in (
            ("attn.c_attn", 768, 2304),
            ("attn.c_proj", 768, 768),
            ("mlp.c_fc", 768, 3072),
            ("mlp.c_proj", 3072, 768),
        ):
            shapes.update({f"{block}{name}.weight": (rows, columns), f"{block}{name}.bias": (columns,)})
    return {**shapes, "ln_f.weight": (768,), "ln_f.bias": (768,)}


def llama(hidden: int = 2048, layers: int = 22, vocabulary: int = 32000) -> Shapes:
    """A Llama's; as it stands TinyLlama's, 1.1 billion parameters."""
    inner = hidden * 11 // 4
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(layers):
        block = f"model.layers.{layer}."
        for name, rows in (("q_proj", hidden), ("k_proj", hidden // 8), ("v_proj", hidden // 8), ("o_proj", hidden)):
            shapes[f"{block}self_attn.{name}.weight"] = (rows, hidden)
        shapes.update({f"{block}mlp.{name}.weight": (inner, hidden) for name in ("gate_proj", "up_proj")})
        shapes[f"{block}mlp.down_proj.weight"] = (hidden, inner)
        shapes.update({f"{block}{name}.weight": (hidden,) for name in ("input_layernorm", "post_attention_layernorm")})
    return {**shapes, "model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def small() -> Shapes:
    """Five hundred tensors, a million parameters."""
    shapes: Shapes = {}
    for number in range(250):
        shapes.update({f"blocks.{number}.linear.weight": (64, 64), f"blocks.{number}.norm.weight": (64,)})
    return shapes


def many(count: int) -> Shapes:
    """As many small matrices."""
    return {f"layers.{number}.weight": (16, 16) for number in range(count)}


def squares() -> Shapes:
    """Ten square matrices, 1.9 million parameters."""
    return {f"layers.{number}.weight": (436, 436) for number in range(10)}


MODELS: dict[str, tuple[Callable[[], Shapes], str, str]] = {
    "gpt2.safetensors": (gpt2, "float32", "GPT-2, 124 M float32"),
    "gpt2.pth": (gpt2, "float32", "GPT-2, 124 M float32, .pth"),
    "llama.safetensors": (llama, "bfloat16", "a Llama, 1.1 B bfloat16"),
    "llama_tuned.safetensors": (llama, "bfloat16", "the same Llama, each weight a little changed"),
    "small.safetensors": (small, "float32", "500 small tensors, 1 M float32"),
    "thousand.pth": (partial(many, 1_000), "float32", "1,000 small tensors, .pth"),
    "ten_thousand.safetensors": (partial(many, 10_000), "float32", "10,000 small tensors"),
    "hundred_thousand.safetensors": (partial(many, 100_000), "float32", "100,000 small tensors"),
    "squares.safetensors": (squares, "float32", "ten matrices, 1.9 M float32"),
    "llama_1m.safetensors": (partial(llama, 128, 4, 1000), "bfloat16", "0.95 M bfloat16"),
    "llama_1m_tuned.safetensors": (partial(llama, 128, 4, 1000), "bfloat16", "the same, each weight a little changed"),
    "llama_10m.safetensors": (partial(llama, 256, 12, 4000), "bfloat16", "10 M bfloat16"),
    "llama_100m.safetensors": (partial(llama, 768, 12, 16000), "bfloat16", "99 M bfloat16"),
    "llama_1gb.safetensors": (partial(llama, 1024, 16), "float32", "241 M float32"),
    "llama_4b.safetensors": (partial(llama, 3072, 38), "bfloat16", "4.0 B bfloat16"),
}  # file → its shapes, its dtype, what it is


def title(name: str) -> str:
    return MODELS[name][2]


def dtype(name: str) -> str:
    return MODELS[name][1]


def tensors(name: str) -> list[str]:
    """The names of its tensors, in the order of the file."""
    return list(MODELS[name][0]())


def parameters(name: str) -> int:
    return sum(math.prod(shape) for shape in MODELS[name][0]().values())


def room(name: str) -> str:
    """Why the file cannot be made, or kept in memory while it is read again and again; nothing where it can."""
    size = parameters(name) * {"float32": 4, "bfloat16": 2}[dtype(name)]
    free = shutil.disk_usage(cache()).free
    if not _made(name) and free < size + _SPARE:
        return f"{size / 1e9:.0f} GB do not fit on a disk with {free / 1e9:.0f} GB free"
    lines = Path("/proc/meminfo").read_text().splitlines()
    memory = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))
    return f"{size / 1e9:.0f} GB do not stay in {memory / 1e9:.0f} GB of memory" if size > 0.6 * memory else ""


def model(name: str) -> Path:
    """The path of one of ``MODELS``; it is made if it is not there. Raises ``OSError`` where it has no room."""
    if not _made(name):
        if why := room(name):
            raise OSError(f"{name}: {why}")
        subprocess.run([sys.executable, "-m", "benchmarks.models", name], cwd=Path(__file__).parents[1], check=True)
    return cache() / name


def distributed(name: str) -> Path:
    """The folder of the same weights as ``torch.distributed.checkpoint`` saves them, each tensor's rows over four ranks."""
    path, folder = model(name), cache() / f"{name}.dcp"
    key = folder / "key"
    if not key.exists() or key.read_text() != _key(name):
        shutil.rmtree(folder, ignore_errors=True)
        words = [sys.executable, str(Path(__file__).parent / "scripts" / "distributed_folder.py"), str(path), str(folder)]
        subprocess.run(words, cwd=Path(__file__).parents[1], env={**os.environ, "PYTHONPATH": "."}, check=True)
        key.write_text(_key(name))
    return folder


def _key(name: str) -> str:
    """What the file was made from."""
    shapes, dtype, _ = MODELS[name]
    return hashlib.sha256(json.dumps([_KIND, name, dtype, shapes()]).encode()).hexdigest()


def _key_file(name: str) -> Path:
    return cache() / f"{name}.key"


def _made(name: str) -> bool:
    return (cache() / name).exists() and _key_file(name).exists() and _key_file(name).read_text() == _key(name)


def _make(name: str) -> None:
    shapes, dtype, _ = MODELS[name]
    temporary = cache() / f"{name}.part"
    try:
        write = _write_torch if name.endswith(".pth") else _write_safetensors
        write(temporary, shapes(), dtype, _tuned if "_tuned." in name else _weights)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.rename(cache() / name)
        _key_file(name).write_text(_key(name))
    finally:
        temporary.unlink(missing_ok=True)


Weights = Callable[[Shapes, str], Iterator[tuple[str, Any]]]


def _weights(shapes: Shapes, dtype: str) -> Iterator[tuple[str, Any]]:
    import ml_dtypes
    import numpy as np

    generator = np.random.default_rng(0)
    for name, shape in shapes.items():
        values = generator.standard_normal(math.prod(shape), dtype=np.float32) * np.float32(_STD)
        if len(shape) == 1 and name.endswith("weight"):
            values += 1
        yield name, values.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype).reshape(shape)


def _tuned(shapes: Shapes, dtype: str) -> Iterator[tuple[str, Any]]:
    """Noise of a fortieth of the weights' size on every weight."""
    import numpy as np

    generator = np.random.default_rng(1)
    for name, weights in _weights(shapes, dtype):
        noise = generator.standard_normal(weights.shape, dtype=np.float32) * np.float32(_STD / 40)
        yield name, (weights.astype(np.float32) + noise).astype(weights.dtype)


def _write_safetensors(path: Path, shapes: Shapes, dtype: str, weights: Weights) -> None:
    width, offset, header = {"float32": 4, "bfloat16": 2}[dtype], 0, {}
    for name, shape in shapes.items():
        end = offset + math.prod(shape) * width
        header[name] = {"dtype": {4: "F32", 2: "BF16"}[width], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, values in weights(shapes, dtype):
            values.tofile(file)


def _write_torch(path: Path, shapes: Shapes, dtype: str, weights: Weights) -> None:
    import torch

    torch.save({name: torch.from_numpy(values) for name, values in weights(shapes, dtype)}, path)


if __name__ == "__main__":
    _make(sys.argv[1])
