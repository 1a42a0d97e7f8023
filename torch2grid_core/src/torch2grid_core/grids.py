"""What transformers and renderers work with: grids, layouts and their raster, colours and scales."""

from __future__ import annotations

from torch2grid_core._array import Array
from torch2grid_core._pictures.blocks import Block, Curve, Dim, Rect, Region
from torch2grid_core._pictures.choices import Reduction, ScaleKind
from torch2grid_core._pictures.layouts import (
    drawable_sizes,
    flat_run,
    is_vector,
    label_rows,
    matrix_layout,
    matrix_shape,
    vector_columns,
    weights_per_cell,
)
from torch2grid_core._pictures.pixels import (
    character_cells,
    colormap,
    default_map,
    encode_png,
    half_blocks,
    half_blocks_rgb,
    paint,
    signals,
)
from torch2grid_core._pictures.raster import reduce_array
from torch2grid_core._pictures.reductions import REDUCTIONS
from torch2grid_core._pictures.scale import ColorScale, color_scale
from torch2grid_core._pictures.signals import EMPTY, NOT_FINITE, OVER, UNDER, Signals
from torch2grid_core._pictures.window import CellWeights, Window, raster_window, weights_of_cell

__all__ = [
    "EMPTY",
    "NOT_FINITE",
    "OVER",
    "REDUCTIONS",
    "UNDER",
    "Array",
    "Block",
    "CellWeights",
    "ColorScale",
    "Curve",
    "Dim",
    "Rect",
    "Reduction",
    "Region",
    "ScaleKind",
    "Signals",
    "Window",
    "character_cells",
    "color_scale",
    "colormap",
    "default_map",
    "drawable_sizes",
    "encode_png",
    "flat_run",
    "half_blocks",
    "half_blocks_rgb",
    "is_vector",
    "label_rows",
    "matrix_layout",
    "matrix_shape",
    "paint",
    "raster_window",
    "reduce_array",
    "signals",
    "vector_columns",
    "weights_of_cell",
    "weights_per_cell",
]
