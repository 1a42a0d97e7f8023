"""Transformers of one's own, by the names that users know."""

from torch2grid.plugins.base import TransformerPlugin
from torch2grid.plugins.registry import PluginRegistry, get_registry

__all__ = ["PluginRegistry", "TransformerPlugin", "get_registry"]
