"""The hooks of torch2grid, and the marker that implementations carry.

A plugin is a module (or any object) that an entry point in the group ``torch2grid`` names, with functions marked
``@hookimpl``. Every hook but the last takes no arguments and returns an iterable of classes, or of ``Lazy`` where the
class is expensive to import. Each class is constructible without arguments and has a ``name``; its docstring's first line
is what listings show.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from torch2grid_core._pictures.page import Page
    from torch2grid_core._settings import Settings

PROJECT = "torch2grid"
ENTRY_POINT_GROUP = "torch2grid"
BASE_GROUP = "torch2grid.base"  # of what comes with torch2grid: its names are its own, and --no-plugins leaves it
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

DEPRECATED = "torch2grid_written will be removed in 0.3; bring a Listener by torch2grid_listeners"


class Lazy:
    """A class that is imported when it is used: its import path ``pkg.module:Class``, its name and its summary.

    Args:
        path: the import path.
        name: of the class.
        summary: one line on what it does.
        facts: what torch2grid needs to know of the class without importing it. A renderer must give its ``formats``, and a
            source its ``schemes``. The others are a filter's ``flag`` (``True`` too), ``accepts`` of a loader of live objects,
            a renderer's ``folders``, ``ends`` and ``within`` of a decoder, and ``always`` of a listener.
    """

    def __init__(self, path: str, name: str, summary: str, **facts: Any) -> None:
        self.path, self.name, self.summary, self.facts = path, name, summary, facts

    def __repr__(self) -> str:
        return f"Lazy({self.path!r}, {self.name!r})"


class Hooks:
    """The specifications."""

    @hookspec
    def torch2grid_sources(self) -> Iterable[Any]:
        """Classes of ``SourceOpener``: they open locations such as ``s3://bucket/key``. Chosen by the scheme."""
        return ()

    @hookspec
    def torch2grid_loaders(self) -> Iterable[Any]:
        """Classes of ``Loader``: they open files or live objects. Chosen by the highest ``sniff``, or ``--loader NAME``."""
        return ()

    @hookspec
    def torch2grid_decoders(self) -> Iterable[Any]:
        """Classes of ``Decoder``: they compose tensors of stored ones. Asked of every checkpoint, unless ``--raw`` is given."""
        return ()

    @hookspec
    def torch2grid_filters(self) -> Iterable[Any]:
        """Classes of ``TensorFilter``: they choose tensors. Chosen by ``--filter NAME``."""
        return ()

    @hookspec
    def torch2grid_transformers(self) -> Iterable[Any]:
        """Classes of ``GridTransformer``: they make one grid of a model. Chosen by ``--plugin NAME``."""
        return ()

    @hookspec
    def torch2grid_views(self) -> Iterable[Any]:
        """Classes of ``View``: they draw pages. Chosen by ``--NAME`` or ``--view NAME``."""
        return ()

    @hookspec
    def torch2grid_renderers(self) -> Iterable[Any]:
        """Classes of ``Renderer``: they write pages as files. Chosen by ``--format``, or ``--renderer NAME``."""
        return ()

    @hookspec
    def torch2grid_rules(self) -> Iterable[Any]:
        """Classes of ``Rule``: they find defects for ``torch2grid check``."""
        return ()

    @hookspec
    def torch2grid_executors(self) -> Iterable[Any]:
        """Classes of ``ExecutorFactory``: they open executors. Chosen by ``--executor NAME``."""
        return ()

    @hookspec
    def torch2grid_listeners(self) -> Iterable[Any]:
        """Classes of ``Listener``: they hear of each page that is written. Chosen by ``--listener NAME``, or always at work."""
        return ()

    @hookspec
    def torch2grid_commands(self) -> Iterable[Any]:
        """Classes of ``Command``: subcommands of ``torch2grid``."""
        return ()

    @hookspec
    def torch2grid_settings(self) -> Iterable[Any]:
        """Classes of ``PluginSettings``: options of the plugin as a whole, ``--NAME-FIELD`` on the command line."""
        return ()

    @hookspec(warn_on_impl=DeprecationWarning(DEPRECATED))
    def torch2grid_written(self, page: Page, path: Path, run: Settings) -> None:
        """Called after each file is written, with its page. Goes in 0.3: a ``Listener`` hears more, and has options."""
