"""The plugin manager that Python callers share, and anything that holds weights as a ``Checkpoint``, or as arrays."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from torch2grid_core import Checkpoint, PluginManager, Settings, UsageError
from torch2grid_core.commands import settings_from as settings_of_keywords
from torch2grid_core.measures import ArrayMapping
from torch2grid_core.selection import select


class TensorArrays(Mapping[str, np.ndarray[Any, Any]]):
    """A checkpoint's tensors as float32 arrays by name, each read when it is touched. ``checkpoint`` is what is behind."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._arrays = ArrayMapping(checkpoint)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape; nothing is read for it."""
        return self._arrays.shapes

    def __repr__(self) -> str:
        return f"<TensorArrays of {self.checkpoint.source!r}: {len(self)} tensors>"


@lru_cache(maxsize=1)
def manager() -> PluginManager:
    """The manager of what is installed, made on first use; plugins registered from Python are added to it.

    Warns of plugins that cannot be used.
    """
    found = PluginManager.discover()
    for line in found.problems():
        warnings.warn(f"torch2grid: {line}", stacklevel=2)
    return found


def with_transformer(settings: Settings) -> Settings:
    """*settings* with the transformer that they name, or the usual one. Warns, once, of one that will be slow.

    Raises ``UsageError`` for an unknown one.
    """
    plugins = manager()
    before = plugins.notes
    found = plugins.with_transformer(settings)
    for line in plugins.notes[len(before) :]:
        warnings.warn(f"torch2grid: {line}", stacklevel=4)
    return found


def as_checkpoint(model: Any, loader: str = "", raw: bool = False) -> Checkpoint:
    """*model*: a ``Checkpoint``, or whatever a loader opens: a path, an ``nn.Module``, a mapping of name to tensor or array …

    raw: without decoders. Raises ``UsageError`` for anything else, ``LoadError`` for a file that cannot be read.
    """
    held = model.checkpoint if isinstance(model, TensorArrays) else model
    return held if isinstance(held, Checkpoint) else manager().open(held, loader, raw=raw)


_OF_THE_COMMAND_LINE = {  # settings that mean nothing here, and what to write instead
    "output": "say where files go with .save(path)",
    "interactive": "the menu is of the command line; choose with tensors=, only= or skip=",
    "verbose": "nothing is said here; .checkpoint.skipped tells what was left out, and why",
    "quiet": "nothing is said here",
    "rule": "rules are asked by check(model, rule=…)",
}
_OF_PICTURES = (
    *("colormap", "reduce", "scale", "clip", "limits", "max_cells", "tensor_cells", "title", "plugin", "view"),
    *("format", "renderer", "listener"),
)
DRAWS_NOTHING = MappingProxyType(
    {**dict.fromkeys(_OF_PICTURES, "nothing is drawn here"), "threshold": "nothing is near zero here"}
)


def choosing(settings: Mapping[str, Any], **chosen: Any) -> dict[str, Any]:
    """*settings* behind those of *chosen* that were given: filters apply in this order."""
    return {**{name: value for name, value in chosen.items() if value is not None}, **settings}


def settings_from(
    given: Mapping[str, Any], without: Mapping[str, str] = MappingProxyType({}), *, rules: bool = False, **usual: Any
) -> Settings:
    """The settings of keyword arguments.

    without: names that mean nothing to the caller → why. rules: ``rule`` means something. usual: where these say nothing.
    Raises ``UsageError`` for an unknown name, with the nearest, for one without a meaning, and for a wrong value.
    """
    meaningless = {**_OF_THE_COMMAND_LINE, **without}
    for key in given:
        if key.replace("-", "_") in meaningless and not (rules and key == "rule"):
            raise UsageError(f"{key}: {meaningless[key.replace('-', '_')]}")
    settings = settings_of_keywords(manager(), given, output="", **usual)  # what is drawn stays in memory
    if settings.limits == "shared":
        raise UsageError("limits='shared' works on the command line alone, where a run has several models; give two numbers")
    return settings


def drawable(model: Any, settings: Settings, include_buffers: bool = False) -> Checkpoint:
    """What is drawn of *model* by *settings*: the part, after the filters, without bookkeeping unless it is asked for.

    Raises ``UsageError`` for an unknown part or filter, ``NotDrawable`` where nothing is left.
    """
    kept = [manager().create("filter", spec) for spec in settings.filter]
    opened = as_checkpoint(model, settings.loader or "", settings.raw)
    buffers = include_buffers or settings.include_buffers
    return select(opened, settings.part, kept, buffers, settings.slice).checkpoint


def view_with(name: str, **options: Any) -> dict[str, dict[str, Any]]:
    """The view *name* with those *options* that are not ``None``."""
    return {name: {key: value for key, value in options.items() if value is not None}}
