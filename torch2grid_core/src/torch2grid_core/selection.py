"""Which tensors are shown: parts, filters, patterns and positions."""

from __future__ import annotations

from torch2grid_core._selection import Selection, chosen, matching, modules, numbered, select

__all__ = ["Selection", "chosen", "matching", "modules", "numbered", "select"]
