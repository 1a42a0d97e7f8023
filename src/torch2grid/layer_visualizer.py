"""A picture of each layer, and all of them on one sheet."""

from torch2grid._compat import create_layer_overview, visualize_layers

__all__ = ["create_layer_overview", "visualize_layers"]
