"""Models whose matrices are stored in four bits, as the libraries of these formats write them: random codes, written once.

``python -m benchmarks.packed NAME SCHEME`` makes one; ``packed`` does so in a process of its own, see ``measure``.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.models import MODELS, cache

GROUP, BLOCK = 128, 64  # weights that share a scale; those of bitsandbytes
_KIND = 1  # to be raised where the bytes of the same shapes change
_WIDTH = {"I32": 4, "BF16": 2, "F16": 2, "I64": 8, "U8": 1, "F32": 4}


class Stored(NamedTuple):
    """A tensor of the file. make: its bytes, from numpy's random generator."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[Any], Any]


def _random(generator: Any, dtype: str, count: int) -> Any:
    return generator.bytes(count * _WIDTH[dtype])


def _scales(generator: Any, dtype: str, count: int) -> Any:
    import ml_dtypes
    import numpy as np

    values = generator.uniform(0.002, 0.004, count).astype(np.float32)
    return values.astype({"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32}[dtype]).tobytes()


def _codes(name: str, dtype: str, *shape: int) -> Stored:
    return Stored(name, dtype, shape, lambda generator: _random(generator, dtype, math.prod(shape)))


def _numbers(name: str, dtype: str, *shape: int) -> Stored:
    return Stored(name, dtype, shape, lambda generator: _scales(generator, dtype, math.prod(shape)))


def _constant(name: str, dtype: str, raw: bytes) -> Stored:
    return Stored(name, dtype, (len(raw) // _WIDTH[dtype],), lambda _: raw)


def _int4(front: str, rows: int, columns: int) -> list[Stored]:
    return [
        _codes(f"{front}weight_packed", "I32", rows, columns // 8),
        _numbers(f"{front}weight_scale", "BF16", rows, columns // GROUP),
        _constant(f"{front}weight_shape", "I64", struct.pack("<2q", rows, columns)),
    ]


def _gptq(front: str, rows: int, columns: int) -> list[Stored]:
    groups = struct.pack(f"<{columns}i", *(column // GROUP for column in range(columns)))
    return [
        _codes(f"{front}qweight", "I32", columns // 8, rows),
        _codes(f"{front}qzeros", "I32", columns // GROUP, rows // 8),
        _numbers(f"{front}scales", "F16", columns // GROUP, rows),
        _constant(f"{front}g_idx", "I32", groups),
    ]


def _awq(front: str, rows: int, columns: int) -> list[Stored]:
    return [
        _codes(f"{front}qweight", "I32", columns, rows // 8),
        _codes(f"{front}qzeros", "I32", columns // GROUP, rows // 8),
        _numbers(f"{front}scales", "F16", columns // GROUP, rows),
    ]


def _nf4(front: str, rows: int, columns: int) -> list[Stored]:
    blocks = rows * columns // BLOCK
    table = [
        -1,
        -0.6962,
        -0.5251,
        -0.3949,
        -0.2844,
        -0.1848,
        -0.0911,
        0,
        0.0796,
        0.1609,
        0.2461,
        0.3379,
        0.4407,
        0.5626,
        0.723,
        1,
    ]
    state = {"quant_type": "nf4", "blocksize": BLOCK, "shape": [rows, columns], "dtype": "bfloat16"}
    state |= {"nested_blocksize": 256, "nested_offset": 0.05, "nested_dtype": "float32"}
    nested = struct.pack("<256f", *((index - 127.5) / 127.5 for index in range(256)))
    return [
        _codes(f"{front}weight", "U8", rows * columns // 2, 1),
        _codes(f"{front}weight.absmax", "U8", blocks),
        _numbers(f"{front}weight.nested_absmax", "F32", -(-blocks // 256)),
        _constant(f"{front}weight.nested_quant_map", "F32", nested),
        _constant(f"{front}weight.quant_map", "F32", struct.pack("<16f", *table)),
        _constant(f"{front}weight.quant_state.bitsandbytes__nf4", "U8", json.dumps(state).encode()),
    ]


class Scheme(NamedTuple):
    """A format: what it stores of a matrix, and what ``config.json`` says."""

    stored: Callable[[str, int, int], list[Stored]]
    config: dict[str, Any]


_WEIGHTS = {"num_bits": 4, "group_size": GROUP, "strategy": "group", "symmetric": True, "type": "int"}
_FOUR = {"bits": 4, "group_size": GROUP}
SCHEMES = {
    "int4": Scheme(_int4, {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": _WEIGHTS}}}),
    "gptq": Scheme(_gptq, {"quant_method": "gptq", "checkpoint_format": "gptq", "desc_act": False, **_FOUR}),
    "awq": Scheme(_awq, {"quant_method": "awq", "version": "gemm", "zero_point": True, **_FOUR}),
    "nf4": Scheme(_nf4, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
}


def packed(name: str, scheme: str) -> Path:
    """The file of one of ``MODELS`` with its matrices in *scheme*; it is made if it is not there."""
    folder = cache() / f"{name}.{scheme}"
    key = folder / "key"
    if not key.exists() or key.read_text() != _key(name, scheme):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        words = [sys.executable, "-m", "benchmarks.packed", name, scheme]
        subprocess.run(words, cwd=Path(__file__).parents[1], check=True)
        key.write_text(_key(name, scheme))
    return folder / "model.safetensors"


def _key(name: str, scheme: str) -> str:
    """What the file was made from."""
    return hashlib.sha256(json.dumps([_KIND, scheme, MODELS[name][0]()]).encode()).hexdigest()


def _make(name: str, scheme: str) -> None:
    import numpy as np

    tensors: list[Stored] = []
    for each, shape in MODELS[name][0]().items():
        if len(shape) == 2:
            tensors += SCHEMES[scheme].stored(each.removesuffix("weight"), *shape)
        else:
            tensors.append(_numbers(each, "BF16", *shape))
    header, offset = {}, 0
    for tensor in tensors:
        end = offset + math.prod(tensor.shape) * _WIDTH[tensor.dtype]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder, generator = cache() / f"{name}.{scheme}", np.random.default_rng(0)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            file.write(tensor.make(generator))
    (folder / "config.json").write_text(json.dumps({"quantization_config": SCHEMES[scheme].config}))


if __name__ == "__main__":
    _make(sys.argv[1], sys.argv[2])
