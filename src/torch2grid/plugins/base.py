"""The base class of a transformer."""

from torch2grid_core import GridTransformer as TransformerPlugin

__all__ = ["TransformerPlugin"]
