"""The classes of the first transformers, by the names that they had."""

from torch2grid_builtin.transformers import (
    Flatten as FlattenTransformer,
    LayerSeparated as LayerSeparatedTransformer,
    LayerWeighted as LayerWeightedTransformer,
    Normalized as NormalizedTransformer,
    Spiral as SpiralTransformer,
)

__all__ = [
    "FlattenTransformer",
    "LayerSeparatedTransformer",
    "LayerWeightedTransformer",
    "NormalizedTransformer",
    "SpiralTransformer",
]
