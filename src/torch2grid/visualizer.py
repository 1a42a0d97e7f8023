"""A picture of any 2-D array."""

from torch2grid._compat import visualize_grid

__all__ = ["visualize_grid"]
