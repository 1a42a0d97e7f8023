"""One grid of all weights, as an array."""

from torch2grid._compat import to_neutral_grid

__all__ = ["to_neutral_grid"]
