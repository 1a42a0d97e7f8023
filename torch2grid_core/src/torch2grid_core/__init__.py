"""torch2grid's framework: what plugin authors import.

    from torch2grid_core import GridTransformer, hookimpl

Names are imported on first use, so that ``import torch2grid_core`` costs next to nothing.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from torch2grid_core.display import registered_by
from torch2grid_core.version import __version__ as __version__

registered_by("torch2grid_core.pictures.notebook")

_EXPORTS = {
    "engine.checking": ("Found", "check", "choose_rules"),
    "cli.options": ("settings_options",),
    "cli.telling": ("summary_line",),
    "engine": ("Seen", "draw", "measure", "workers"),
    "output.strict_json": ("json_text",),
    "output.writing": ("Output",),
    "plugins.manager": ("PluginManager",),
    "hookspecs": ("Lazy", "hookimpl"),
    "errors": ("LoadError", "NotDrawable", "PluginError", "Torch2GridError", "UsageError"),
    "data.action": ("Action", "ActionKind"),
    "data.checkpoint": ("Checkpoint", "Problem", "Skip"),
    "data.parts": ("ALL", "ContainerKind", "Part", "find_parts"),
    "data.dtypes": ("as_float", "is_complex", "is_floating"),
    "data.neighbours": ("Share", "share_of"),
    "data.local": ("LocalSource",),
    "data.source": ("Range", "Source", "SourceBase", "has_file"),
    "data.storage": (
        "ByteSwapped",
        "BytesStorage",
        "CheckedStorage",
        "DerivedNumbers",
        "DerivedStorage",
        "Joined",
        "Storage",
        "unchecked",
        "verify",
    ),
    "data.tensor": ("LazyTensor",),
    "data.joint": ("ComputedStorage", "JointTensor", "Tiled"),
    "kinds.command": ("Command",),
    "kinds.loader": ("Loader",),
    "kinds.renderer": ("Renderer", "Style"),
    "kinds.plugin_settings": ("PluginSettings",),
    "kinds.source_opener": ("SourceOpener",),
    "kinds.rule": ("Finding", "Rule", "Severity"),
    "kinds.tensor_filter": ("TensorFilter",),
    "kinds.transformer": ("GridTransformer", "LayoutTransformer"),
    "kinds.view": ("View",),
    "choosing.names": ("chosen", "matching", "modules", "numbered"),
    "measures.figures": ("Duplicates", "NotFinite", "Of", "Profile", "Summary", "Values"),
    "measures.grids": ("Raster", "Transformed"),
    "measures.need": ("Chunk", "Collector", "Need"),
    "pictures.colors": ("EMPTY", "NOT_FINITE", "OVER", "UNDER", "colormap", "default_map", "paint"),
    "pictures.blocks": ("Block", "Curve", "Rect", "Region"),
    "pictures.grid": ("Grid",),
    "pictures.layout": ("Layout",),
    "pictures.layouts": (
        "drawable_sizes",
        "flat_run",
        "is_vector",
        "label_rows",
        "matrix_layout",
        "matrix_shape",
        "vector_columns",
        "weights_per_cell",
    ),
    "pictures.locate": ("CellWeights", "weights_of_cell"),
    "pictures.page": ("Band", "Bar", "Boxes", "Heatmap", "Histogram", "Image", "Line", "Marginal", "Page", "Table", "Text"),
    "pictures.raster": ("REDUCTIONS", "reduce_array"),
    "pictures.scale": ("ColorScale", "ScaleKind", "color_scale"),
    "settings": ("Settings",),
    "choosing.selection": ("Selection", "select"),
    "summary.counted": ("counted_distribution",),
    "summary.distribution": ("Distribution",),
    "summary.duplicates": ("DuplicateGroup", "DuplicateUnits"),
    "summary.locate": ("first_index",),
    "summary.not_finite": ("NotFiniteCount",),
    "summary.profile": ("UnitProfile",),
    "text": ("human_count", "safe_filename", "visible"),
    "pictures.window": ("Window", "raster_window"),
    "pictures.halfblocks": ("half_blocks", "half_blocks_rgb"),
    "pictures.tables": ("display_width",),
    "pictures.png": ("encode_png",),
}
_WHERE = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = sorted(_WHERE)
_MOVED = {  # name → where it is, by which name, and what to write now
    "FileStorage": ("data.local", "FileStorage", "Range(LocalSource(path), offset, size)"),
    "Run": ("settings", "Settings", "torch2grid_core.Settings"),
    "standard_options": ("cli.options", "standard_options", "settings_options(…) with Settings.from_context"),
}

if TYPE_CHECKING:
    from torch2grid_core.choosing.names import chosen as chosen
    from torch2grid_core.choosing.names import matching as matching
    from torch2grid_core.choosing.names import modules as modules
    from torch2grid_core.choosing.names import numbered as numbered
    from torch2grid_core.choosing.selection import Selection as Selection
    from torch2grid_core.choosing.selection import select as select
    from torch2grid_core.cli.options import settings_options as settings_options
    from torch2grid_core.cli.telling import summary_line as summary_line
    from torch2grid_core.data.action import Action as Action
    from torch2grid_core.data.action import ActionKind as ActionKind
    from torch2grid_core.data.checkpoint import Checkpoint as Checkpoint
    from torch2grid_core.data.checkpoint import Problem as Problem
    from torch2grid_core.data.checkpoint import Skip as Skip
    from torch2grid_core.data.dtypes import as_float as as_float
    from torch2grid_core.data.dtypes import is_complex as is_complex
    from torch2grid_core.data.dtypes import is_floating as is_floating
    from torch2grid_core.data.joint import ComputedStorage as ComputedStorage
    from torch2grid_core.data.joint import JointTensor as JointTensor
    from torch2grid_core.data.joint import Tiled as Tiled
    from torch2grid_core.data.local import LocalSource as LocalSource
    from torch2grid_core.data.neighbours import Share as Share
    from torch2grid_core.data.neighbours import share_of as share_of
    from torch2grid_core.data.parts import ALL as ALL
    from torch2grid_core.data.parts import ContainerKind as ContainerKind
    from torch2grid_core.data.parts import Part as Part
    from torch2grid_core.data.parts import find_parts as find_parts
    from torch2grid_core.data.source import Range as Range
    from torch2grid_core.data.source import Source as Source
    from torch2grid_core.data.source import SourceBase as SourceBase
    from torch2grid_core.data.source import has_file as has_file
    from torch2grid_core.data.storage import BytesStorage as BytesStorage
    from torch2grid_core.data.storage import ByteSwapped as ByteSwapped
    from torch2grid_core.data.storage import CheckedStorage as CheckedStorage
    from torch2grid_core.data.storage import DerivedNumbers as DerivedNumbers
    from torch2grid_core.data.storage import DerivedStorage as DerivedStorage
    from torch2grid_core.data.storage import Joined as Joined
    from torch2grid_core.data.storage import Storage as Storage
    from torch2grid_core.data.storage import unchecked as unchecked
    from torch2grid_core.data.storage import verify as verify
    from torch2grid_core.data.tensor import LazyTensor as LazyTensor
    from torch2grid_core.engine import Seen as Seen
    from torch2grid_core.engine import draw as draw
    from torch2grid_core.engine import measure as measure
    from torch2grid_core.engine import workers as workers
    from torch2grid_core.engine.checking import Found as Found
    from torch2grid_core.engine.checking import check as check
    from torch2grid_core.engine.checking import choose_rules as choose_rules
    from torch2grid_core.errors import LoadError as LoadError
    from torch2grid_core.errors import NotDrawable as NotDrawable
    from torch2grid_core.errors import PluginError as PluginError
    from torch2grid_core.errors import Torch2GridError as Torch2GridError
    from torch2grid_core.errors import UsageError as UsageError
    from torch2grid_core.hookspecs import Lazy as Lazy
    from torch2grid_core.hookspecs import hookimpl as hookimpl
    from torch2grid_core.kinds.command import Command as Command
    from torch2grid_core.kinds.loader import Loader as Loader
    from torch2grid_core.kinds.plugin_settings import PluginSettings as PluginSettings
    from torch2grid_core.kinds.renderer import Renderer as Renderer
    from torch2grid_core.kinds.renderer import Style as Style
    from torch2grid_core.kinds.rule import Finding as Finding
    from torch2grid_core.kinds.rule import Rule as Rule
    from torch2grid_core.kinds.rule import Severity as Severity
    from torch2grid_core.kinds.source_opener import SourceOpener as SourceOpener
    from torch2grid_core.kinds.tensor_filter import TensorFilter as TensorFilter
    from torch2grid_core.kinds.transformer import GridTransformer as GridTransformer
    from torch2grid_core.kinds.transformer import LayoutTransformer as LayoutTransformer
    from torch2grid_core.kinds.view import View as View
    from torch2grid_core.measures.figures import Duplicates as Duplicates
    from torch2grid_core.measures.figures import NotFinite as NotFinite
    from torch2grid_core.measures.figures import Of as Of
    from torch2grid_core.measures.figures import Profile as Profile
    from torch2grid_core.measures.figures import Summary as Summary
    from torch2grid_core.measures.figures import Values as Values
    from torch2grid_core.measures.grids import Raster as Raster
    from torch2grid_core.measures.grids import Transformed as Transformed
    from torch2grid_core.measures.need import Chunk as Chunk
    from torch2grid_core.measures.need import Collector as Collector
    from torch2grid_core.measures.need import Need as Need
    from torch2grid_core.output.strict_json import json_text as json_text
    from torch2grid_core.output.writing import Output as Output
    from torch2grid_core.pictures.blocks import Block as Block
    from torch2grid_core.pictures.blocks import Curve as Curve
    from torch2grid_core.pictures.blocks import Rect as Rect
    from torch2grid_core.pictures.blocks import Region as Region
    from torch2grid_core.pictures.colors import EMPTY as EMPTY
    from torch2grid_core.pictures.colors import NOT_FINITE as NOT_FINITE
    from torch2grid_core.pictures.colors import OVER as OVER
    from torch2grid_core.pictures.colors import UNDER as UNDER
    from torch2grid_core.pictures.colors import colormap as colormap
    from torch2grid_core.pictures.colors import default_map as default_map
    from torch2grid_core.pictures.colors import paint as paint
    from torch2grid_core.pictures.grid import Grid as Grid
    from torch2grid_core.pictures.halfblocks import half_blocks as half_blocks
    from torch2grid_core.pictures.halfblocks import half_blocks_rgb as half_blocks_rgb
    from torch2grid_core.pictures.layout import Layout as Layout
    from torch2grid_core.pictures.layouts import drawable_sizes as drawable_sizes
    from torch2grid_core.pictures.layouts import flat_run as flat_run
    from torch2grid_core.pictures.layouts import is_vector as is_vector
    from torch2grid_core.pictures.layouts import label_rows as label_rows
    from torch2grid_core.pictures.layouts import matrix_layout as matrix_layout
    from torch2grid_core.pictures.layouts import matrix_shape as matrix_shape
    from torch2grid_core.pictures.layouts import vector_columns as vector_columns
    from torch2grid_core.pictures.layouts import weights_per_cell as weights_per_cell
    from torch2grid_core.pictures.locate import CellWeights as CellWeights
    from torch2grid_core.pictures.locate import weights_of_cell as weights_of_cell
    from torch2grid_core.pictures.page import Band as Band
    from torch2grid_core.pictures.page import Bar as Bar
    from torch2grid_core.pictures.page import Boxes as Boxes
    from torch2grid_core.pictures.page import Heatmap as Heatmap
    from torch2grid_core.pictures.page import Histogram as Histogram
    from torch2grid_core.pictures.page import Image as Image
    from torch2grid_core.pictures.page import Line as Line
    from torch2grid_core.pictures.page import Marginal as Marginal
    from torch2grid_core.pictures.page import Page as Page
    from torch2grid_core.pictures.page import Table as Table
    from torch2grid_core.pictures.page import Text as Text
    from torch2grid_core.pictures.png import encode_png as encode_png
    from torch2grid_core.pictures.raster import REDUCTIONS as REDUCTIONS
    from torch2grid_core.pictures.raster import reduce_array as reduce_array
    from torch2grid_core.pictures.scale import ColorScale as ColorScale
    from torch2grid_core.pictures.scale import ScaleKind as ScaleKind
    from torch2grid_core.pictures.scale import color_scale as color_scale
    from torch2grid_core.pictures.tables import display_width as display_width
    from torch2grid_core.pictures.window import Window as Window
    from torch2grid_core.pictures.window import raster_window as raster_window
    from torch2grid_core.plugins.manager import PluginManager as PluginManager
    from torch2grid_core.settings import Settings as Settings
    from torch2grid_core.summary.counted import counted_distribution as counted_distribution
    from torch2grid_core.summary.distribution import Distribution as Distribution
    from torch2grid_core.summary.duplicates import DuplicateGroup as DuplicateGroup
    from torch2grid_core.summary.duplicates import DuplicateUnits as DuplicateUnits
    from torch2grid_core.summary.locate import first_index as first_index
    from torch2grid_core.summary.not_finite import NotFiniteCount as NotFiniteCount
    from torch2grid_core.summary.profile import UnitProfile as UnitProfile
    from torch2grid_core.text import human_count as human_count
    from torch2grid_core.text import safe_filename as safe_filename
    from torch2grid_core.text import visible as visible


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f"torch2grid_core.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    if name in _MOVED:
        module, new_name, instead = _MOVED[name]
        warnings.warn(f"torch2grid_core.{name} goes in 0.3; use {instead}", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(f"torch2grid_core.{module}"), new_name)
    raise AttributeError(f"module 'torch2grid_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
