"""Adapters of low rank: their pairs, the changes of weights that these stand for, and a base with an adapter merged into it."""

from __future__ import annotations

from torch2grid_builtin._adapters.merging import Merged, merge
from torch2grid_builtin._adapters.pairs import Adapter, Pair, adapter_of
from torch2grid_builtin._adapters.spectrum import ChangeFigures, Changes, singular_values

__all__ = ["Adapter", "ChangeFigures", "Changes", "Merged", "Pair", "adapter_of", "merge", "singular_values"]
