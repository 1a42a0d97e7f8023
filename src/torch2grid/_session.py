"""The plugin manager that Python callers share, and anything that holds weights as a ``Checkpoint``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from torch2grid._arrays import TensorArrays
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


def as_checkpoint(model: Any, raw: bool = False) -> Checkpoint:
    """*model*: a ``Checkpoint``, or whatever a loader opens: a path, an ``nn.Module``, a mapping of name to tensor or array …

    raw: without decoders. Raises ``UsageError`` for anything else, ``LoadError`` for a file that cannot be read.
    """
    held = model.checkpoint if isinstance(model, TensorArrays) else model
    return held if isinstance(held, Checkpoint) else manager().open(held, raw=raw)


def drawable(
    model: Any, part: str = "", filters: Iterable[str] = (), include_buffers: bool = False, raw: bool = False
) -> Checkpoint:
    """What is drawn of *model*: its *part* (the model of a training checkpoint), after *filters*, without bookkeeping.

    filters: names of filters, each with its options. Raises ``UsageError`` for an unknown part or filter, ``NotDrawable``
    where nothing is left.
    """
    kept = [manager().create("filter", spec) for spec in filters]
    return select(as_checkpoint(model, raw), part, kept, include_buffers).checkpoint


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
