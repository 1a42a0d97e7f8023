"""The plugin manager that Python callers share, and anything that holds weights as a ``Checkpoint``."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from torch2grid_core import Checkpoint, GridTransformer, PluginManager, Run, UsageError
from torch2grid_core.selection import select
from torch2grid_core.text import quoted


@lru_cache(maxsize=1)
def manager() -> PluginManager:
    """The manager of what is installed, made on first use; plugins registered from Python are added to it.

    Warns of plugins that cannot be used.
    """
    found = PluginManager.discover()
    for line in found.problems():
        warnings.warn(f"torch2grid: {line}", stacklevel=2)
    return found


def as_checkpoint(model: Any) -> Checkpoint:
    """*model*: a path, a ``Checkpoint``, an ``nn.Module``, a mapping of name to tensor or array, or one of these alone.

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
        from torch2grid._live import from_mapping

        return from_mapping(model)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        from torch2grid._live import from_module

        return from_module(model)
    if isinstance(model, np.ndarray) or (torch is not None and isinstance(model, torch.Tensor)):
        from torch2grid._live import from_mapping

        return from_mapping({"tensor": model}, source="tensor")
    raise UsageError(f"a path, a module, a state dict or a Checkpoint is needed, not {type(model).__name__}")


def drawable(model: Any, part: str = "", filters: Iterable[str] = (), include_buffers: bool = False) -> Checkpoint:
    """What is drawn of *model*: its *part* (the model of a training checkpoint), after *filters*, without bookkeeping.

    filters: names of filters, each with its options. Raises ``UsageError`` for an unknown part or filter, ``NotDrawable``
    where nothing is left.
    """
    kept = [manager().create("filter", spec) for spec in filters]
    return select(as_checkpoint(model), part, kept, include_buffers).checkpoint


def make_run(transformer: GridTransformer, settings: Mapping[str, Any], **usual: Any) -> Run:
    """A ``Run`` of *settings*, and of *usual* where they say nothing. Raises ``UsageError`` for an unknown setting."""
    unknown = sorted(set(settings) - set(Run.__dataclass_fields__))
    if unknown:
        raise UsageError(f"unknown setting {unknown[0]!r}; valid: {', '.join(sorted(Run.__dataclass_fields__))}")
    return Run(**{"transformer": transformer, **usual, **settings})


def view_spec(name: str, settings: dict[str, Any], options: Iterable[str]) -> str:
    """``name:key=value,…`` of those *options* that *settings* holds; they are taken out of it."""
    given = [f"{key}={quoted(settings.pop(key))}" for key in options if key in settings]
    return f"{name}:{','.join(given)}" if given else name
