"""The plugin manager that Python callers share, and anything that holds weights as a ``Checkpoint``."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from torch2grid_core import Checkpoint, PluginManager, Settings, UsageError, select
from torch2grid_core.plugins.added import settings_of
from torch2grid_core.settings import FIELDS, Setting, named


@lru_cache(maxsize=1)
def manager() -> PluginManager:
    """The manager of what is installed, made on first use; plugins registered from Python are added to it.

    Warns of plugins that cannot be used.
    """
    found = PluginManager.discover()
    for line in found.problems():
        warnings.warn(f"torch2grid: {line}", stacklevel=2)
    return found


def as_checkpoint(model: Any, loader: str = "") -> Checkpoint:
    """*model*: a path, a ``Checkpoint``, an ``nn.Module``, a mapping of name to tensor or array, or one of these alone.

    Raises ``UsageError`` for anything else, ``LoadError`` for a file that cannot be read.
    """
    if isinstance(model, Checkpoint):
        return model
    if isinstance(model, (str, os.PathLike)):
        return manager().open(os.fspath(model), loader)
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
    if isinstance(model, np.ndarray) or (torch is not None and isinstance(model, torch.Tensor)):
        from torch2grid.live import from_mapping

        return from_mapping({"tensor": model}, source="tensor")
    raise UsageError(f"a path, a module, a state dict or a Checkpoint is needed, not {type(model).__name__}")


def settings_from(given: Mapping[str, Any], **usual: Any) -> Settings:
    """The settings of keyword arguments. usual: where these say nothing.

    Raises ``UsageError`` for an unknown name, with the nearest, and for a wrong value.
    """
    known: Mapping[str, Setting] = FIELDS if set(given) <= set(FIELDS) else settings_of(manager())
    pairs = []
    for key, value in given.items():
        setting = named(known, key)
        try:
            pairs.append((setting, setting.parse(value)))
        except (ValueError, UsageError) as error:
            raise UsageError(f"{key}: {error}") from None
    settings = Settings.of(pairs, **usual)
    if settings.limits == "shared":
        raise UsageError("limits: shared ones are of the command line, over all models of a run; give two numbers")
    return settings


def drawable(model: Any, settings: Settings, include_buffers: bool = False) -> Checkpoint:
    """What is drawn of *model* by *settings*: the part, after the filters, without bookkeeping unless it is asked for.

    Raises ``UsageError`` for an unknown part or filter, ``NotDrawable`` where nothing is left.
    """
    kept = [manager().create("filter", spec) for spec in settings.filter]
    opened = as_checkpoint(model, settings.loader or "")
    return select(opened, settings.part, kept, include_buffers or settings.include_buffers).checkpoint


def view_with(name: str, **options: Any) -> dict[str, dict[str, Any]]:
    """The view *name* with those *options* that are not ``None``."""
    return {name: {key: value for key, value in options.items() if value is not None}}
