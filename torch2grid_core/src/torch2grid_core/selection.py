"""Which tensors are shown: parts, filters, patterns and positions."""

from __future__ import annotations

from torch2grid_core._selection.patterns import chosen, matching, modules, numbered
from torch2grid_core._selection.selection import Selection, select

__all__ = ["Selection", "chosen", "matching", "modules", "numbered", "select"]
