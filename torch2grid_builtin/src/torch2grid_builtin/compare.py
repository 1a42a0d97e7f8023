"""Checkpoints side by side: two of them measured and drawn, a series of them, a recording of gradients."""

from __future__ import annotations

from torch2grid_builtin._compare.choosing import SameTensors
from torch2grid_builtin._compare.lineage import lineage_of, lineage_page
from torch2grid_builtin._compare.names_file import read_names
from torch2grid_builtin._compare.order import checkpoints_in, in_order
from torch2grid_builtin._compare.pages import PAIR_CELLS, DeltaAtlas, PairPages, comparison_table, overview_page, transformer_of
from torch2grid_builtin._compare.series import (
    Frames,
    Series,
    compare_many,
    is_recording,
    joint_series,
    recorded_distribution,
    recorded_series,
)
from torch2grid_builtin._compare.series_pages import (
    GRADIENTS,
    Quantity,
    moved_most,
    ridges_page,
    series_pages,
    series_table,
    trends_page,
)
from torch2grid_builtin._compare.two import Comparing, Tolerance

__all__ = [
    "GRADIENTS",
    "PAIR_CELLS",
    "Comparing",
    "DeltaAtlas",
    "Frames",
    "PairPages",
    "Quantity",
    "SameTensors",
    "Series",
    "Tolerance",
    "checkpoints_in",
    "compare_many",
    "comparison_table",
    "in_order",
    "is_recording",
    "joint_series",
    "lineage_of",
    "lineage_page",
    "moved_most",
    "overview_page",
    "read_names",
    "recorded_distribution",
    "recorded_series",
    "ridges_page",
    "series_pages",
    "series_table",
    "transformer_of",
    "trends_page",
]
