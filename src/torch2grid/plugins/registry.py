"""The transformers that are there, and adding one's own."""

from __future__ import annotations

import os
from functools import lru_cache

from torch2grid._session import manager
from torch2grid_core import GridTransformer, PluginManager, UsageError


class PluginRegistry:
    """A view of a plugin manager that knows transformers only."""

    def __init__(self, plugins: PluginManager | None = None) -> None:
        self._plugins = plugins or manager()

    def list_plugins(self) -> dict[str, str]:
        """Name → one-line description, sorted by name."""
        return {name: each.summary for name, each in self._plugins.names("transformer").items()}

    def get(self, name: str) -> GridTransformer:
        """An instance of the transformer *name*, which may carry options (``spiral:clockwise=false``).

        Raises ``UsageError`` for an unknown name.
        """
        instance: GridTransformer = self._plugins.create("transformer", name)
        return instance

    def register(self, plugin: GridTransformer) -> None:
        """Make an instance available under its name, in place of one that was registered before.

        Raises ``UsageError`` for anything but a transformer.
        """
        if not isinstance(plugin, GridTransformer):
            raise UsageError(f"{type(plugin).__name__} is no transformer; it must be a subclass of TransformerPlugin")
        self._plugins.add(plugin)

    def load_from_file(self, path: str | os.PathLike[str]) -> list[str]:
        """Load the transformers of a Python file; their names. Raises ``UsageError`` or ``PluginError``."""
        record = self._plugins.load_file(os.fspath(path))
        return [each.name for each in record.provides("transformer")]


@lru_cache(maxsize=1)
def get_registry() -> PluginRegistry:
    """The registry that the Python API uses."""
    return PluginRegistry()
