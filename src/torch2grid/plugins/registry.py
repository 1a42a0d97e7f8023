"""The transformers that are there, and adding one"s own."""

from torch2grid._compat import PluginRegistry, get_registry

__all__ = ["PluginRegistry", "get_registry"]
