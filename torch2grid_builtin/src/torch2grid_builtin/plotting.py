"""Pages and grids in axes of matplotlib that a caller owns."""

from __future__ import annotations

from torch2grid_builtin._renderers.matplotlib.axes import plot

__all__ = ["plot"]
