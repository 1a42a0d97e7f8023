"""The client of pages in a browser: what the HTML report is drawn by, for other pages that show grids."""

from __future__ import annotations

from torch2grid_builtin._renderers.titles import titles
from torch2grid_builtin._viewer.bundle import bundled, imported, modules
from torch2grid_builtin._viewer.packing import planes, rounded

__all__ = ["bundled", "imported", "modules", "planes", "rounded", "titles"]
