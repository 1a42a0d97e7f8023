"""Real networks as arrays, files made of them, and defects to plant."""

from __future__ import annotations

import functools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from tests.corpus import real, root
from tests.tools import DIGITS

from torch2grid_core import PluginManager, Rule, check, choose_rules

_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int8": "I8",
    "bool": "BOOL",
}
_REAL = (
    "silero/silero_vad_16k.safetensors",
    "fracast/model.safetensors",
    "burn/mnist/mnist.safetensors",
    "captum/titanic_model.pt",
)
HEALTHY: tuple[str, ...] = ("digits", *(_REAL if root() is not None else ()))  # networks that came out of training


def source(name: str) -> Path:
    return DIGITS if name == "digits" else real(name)


@functools.cache
def manager() -> PluginManager:
    return PluginManager.discover(third_party=False)


@functools.cache
def rules(**options: str) -> list[Rule]:
    names = manager().names("rule")
    return choose_rules(manager().create("rule", options.get(name, name)) for name in names)


@functools.cache
def arrays(name: str) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a real network; not to be changed in place."""
    return {key: tensor.numpy() for key, tensor in manager().open(source(name)).items()}


def save(path: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> Path:
    """A .safetensors file, of any dtype that the format knows."""
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())
    return path


def found_in(path: Path, **options: str):
    """What all rules find in a file."""
    return check(manager().open(path), rules(**options))


def errors(found) -> list[str]:
    return [f"{each.code} {each.place}: {each.message}" for each in found if each.severity == "error"]
