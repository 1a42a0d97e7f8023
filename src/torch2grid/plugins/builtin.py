"""The transformers that come with torch2grid."""

from torch2grid_builtin._transformers.flatten import Flatten as FlattenTransformer
from torch2grid_builtin._transformers.layer_separated import LayerSeparated as LayerSeparatedTransformer
from torch2grid_builtin._transformers.layer_weighted import LayerWeighted as LayerWeightedTransformer
from torch2grid_builtin._transformers.normalized import Normalized as NormalizedTransformer
from torch2grid_builtin._transformers.spiral import Spiral as SpiralTransformer

__all__ = [
    "FlattenTransformer",
    "LayerSeparatedTransformer",
    "LayerWeightedTransformer",
    "NormalizedTransformer",
    "SpiralTransformer",
]
