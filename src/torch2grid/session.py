"""The plugin manager that Python callers share, and anything that holds weights as a ``Checkpoint``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from torch2grid_core import Checkpoint, UsageError
from torch2grid_core.plugins.manager import PluginManager


@lru_cache(maxsize=1)
def manager() -> PluginManager:
    """The manager of what is installed, made on first use; plugins registered from Python are added to it."""
    return PluginManager.discover()


def as_checkpoint(model: Any) -> Checkpoint:
    """*model*: a path, a ``Checkpoint``, an ``nn.Module``, or a mapping of name to tensor or array.

    Raises ``UsageError`` for anything else, ``LoadError`` for a file that cannot be read.
    """
    if isinstance(model, Checkpoint):
        return model
    if isinstance(model, (str, os.PathLike)):
        return manager().open(os.fspath(model))
    if isinstance(model, Mapping):
        held = getattr(model, "checkpoint", None)
        if isinstance(held, Checkpoint):
            return held
        from torch2grid.live import from_mapping

        return from_mapping(model)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        from torch2grid.live import from_module

        return from_module(model)
    if torch is not None and isinstance(model, torch.Tensor):
        from torch2grid.live import from_mapping

        return from_mapping({"tensor": model}, source="tensor")
    raise UsageError(f"a path, a module, a state dict or a Checkpoint is needed, not {type(model).__name__}")
