"""The framework of torch2grid: what plugin authors import.

    from torch2grid_core import GridTransformer, hookimpl

Names are imported on first use, so that ``import torch2grid_core`` costs next to nothing.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from torch2grid_core._display import registered_by
from torch2grid_core._version import __version__ as __version__

registered_by("torch2grid_core._pictures.notebook")

_WHERE = {
    "_data.checkpoint": "Checkpoint Severity",
    "_data.parts": "Part",
    "_data.tensor": "LazyTensor",
    "_engine.checking": "check",
    "_engine.drawing": "draw",
    "_engine.measuring": "measure",
    "_errors": "LoadError NotDrawable PluginError Torch2GridError UsageError",
    "_hookspecs": "Lazy hookimpl",
    "_kinds.reading": "Decoder Loader SourceOpener TensorFilter",
    "_kinds.running": "Command ExecutorFactory Listener PluginSettings",
    "_kinds.view": "Finding Renderer Rule Style View",
    "_measures.need": "Need",
    "_pictures.grid": "Grid",
    "_pictures.layout": "Layout",
    "_pictures.page": "Page",
    "_measures.transformer": "GridTransformer LayoutTransformer",
    "_plugins.manager": "PluginManager",
    "_settings": "Settings",
}
_HOMES = {name: home for home, names in _WHERE.items() for name in names.split()}
# homes of what stood here
_SUBMODULES = ("sources", "measures", "grids", "pages", "text", "commands", "selection")
_GONE = {  # name → where it is, by which name, and what to write now
    "FileStorage": ("_data.local", "FileStorage", "torch2grid_core.sources.Range(LocalSource(path), offset, size)"),
    "Run": ("_settings", "Settings", "torch2grid_core.Settings"),
    "standard_options": ("_cli.options", "standard_options", "torch2grid_core.commands.settings_options"),
}
_REPLACED = {  # name → what does its work now, in another way: there can be no alias
    "Engine": "torch2grid_core.draw(checkpoint, views, settings) draws, torch2grid_core.measure(checkpoint, needs) measures",
    "Measure": "a need of your own is a torch2grid_core.Need, with a torch2grid_core.measures.Collector",
    "MeasureCollector": "derive from torch2grid_core.measures.Collector, which a torch2grid_core.Need hands out",
}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from torch2grid_core._data.checkpoint import Checkpoint as Checkpoint, Severity as Severity
    from torch2grid_core._data.parts import Part as Part
    from torch2grid_core._data.tensor import LazyTensor as LazyTensor
    from torch2grid_core._engine.checking import check as check
    from torch2grid_core._engine.drawing import draw as draw
    from torch2grid_core._engine.measuring import measure as measure
    from torch2grid_core._errors import (
        LoadError as LoadError,
        NotDrawable as NotDrawable,
        PluginError as PluginError,
        Torch2GridError as Torch2GridError,
        UsageError as UsageError,
    )
    from torch2grid_core._hookspecs import Lazy as Lazy, hookimpl as hookimpl
    from torch2grid_core._kinds.reading import (
        Decoder as Decoder,
        Loader as Loader,
        SourceOpener as SourceOpener,
        TensorFilter as TensorFilter,
    )
    from torch2grid_core._kinds.running import (
        Command as Command,
        ExecutorFactory as ExecutorFactory,
        Listener as Listener,
        PluginSettings as PluginSettings,
    )
    from torch2grid_core._kinds.view import (
        Finding as Finding,
        Renderer as Renderer,
        Rule as Rule,
        Style as Style,
        View as View,
    )
    from torch2grid_core._measures.need import Need as Need
    from torch2grid_core._measures.transformer import GridTransformer as GridTransformer, LayoutTransformer as LayoutTransformer
    from torch2grid_core._pictures.grid import Grid as Grid
    from torch2grid_core._pictures.layout import Layout as Layout
    from torch2grid_core._pictures.page import Page as Page
    from torch2grid_core._plugins.manager import PluginManager as PluginManager
    from torch2grid_core._settings import Settings as Settings


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"torch2grid_core.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _GONE:
        home, now, instead = _GONE[name]
        _moved(name, instead)
        return getattr(importlib.import_module(f"torch2grid_core.{home}"), now)
    if name in _REPLACED:  # an AttributeError would lose its text in `from torch2grid_core import …`
        raise ImportError(f"torch2grid_core.{name} is gone: {_REPLACED[name]}", name=__name__)
    if not name.startswith("_"):
        for home in _SUBMODULES:
            module = importlib.import_module(f"torch2grid_core.{home}")
            if name in module.__all__:
                _moved(name, f"torch2grid_core.{home}.{name}")
                return getattr(module, name)
    raise AttributeError(f"module 'torch2grid_core' has no attribute {name!r}")


def _moved(name: str, instead: str) -> None:
    warnings.warn(f"torch2grid_core.{name} will be removed in 0.3; use {instead}", DeprecationWarning, stacklevel=3)


def __dir__() -> list[str]:
    return __all__
