"""The transformers of torch2grid by their classes, for who makes one in code or derives from one."""

from __future__ import annotations

from torch2grid_builtin._transformers.atlas import Atlas
from torch2grid_builtin._transformers.flatten import Flatten, Normalized, Spiral
from torch2grid_builtin._transformers.hilbert import Hilbert
from torch2grid_builtin._transformers.layer_separated import LayerSeparated
from torch2grid_builtin._transformers.layer_weighted import LayerWeighted

__all__ = ["Atlas", "Flatten", "Hilbert", "LayerSeparated", "LayerWeighted", "Normalized", "Spiral"]
