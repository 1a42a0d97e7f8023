"""Real networks as arrays, files made of them, and defects to plant."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.corpus import real, root
from tests.support.tools import DIGITS

from torch2grid import _safetensors_file as safetensors_file
from torch2grid_core import PluginManager, Rule, check
from torch2grid_core.commands import choose_rules

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
    return safetensors_file.save(tensors, path, {})


def found_in(path: Path, **options: str):
    """What all rules find in a file."""
    return check(manager().open(path), rules(**options))


def errors(found) -> list[str]:
    return [f"{each.code} {each.place}: {each.message}" for each in found if each.severity == "error"]
