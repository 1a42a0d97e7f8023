"""The panels of a page, and functions that write pages."""

from __future__ import annotations

from torch2grid_core._display import plotted_by, saved_by
from torch2grid_core._engine.drawing import Prepare
from torch2grid_core._output.files import whole_file, write_file
from torch2grid_core._output.writing import Output, Rendered
from torch2grid_core._pictures.numbers import Numbers
from torch2grid_core._pictures.origin import PageOrigin
from torch2grid_core._pictures.page import (
    Band,
    Bar,
    Boxes,
    Cell,
    Heatmap,
    Histogram,
    Image,
    Line,
    Marginal,
    Ridges,
    Scatter,
    Table,
    Text,
    table_lines,
    text_lines,
)

__all__ = [
    "Band",
    "Bar",
    "Boxes",
    "Cell",
    "Heatmap",
    "Histogram",
    "Image",
    "Line",
    "Marginal",
    "Numbers",
    "Output",
    "PageOrigin",
    "Prepare",
    "Rendered",
    "Ridges",
    "Scatter",
    "Table",
    "Text",
    "plotted_by",
    "saved_by",
    "table_lines",
    "text_lines",
    "whole_file",
    "write_file",
]
