"""The settings that mean something in Python, as typed keyword arguments.

For type checkers alone: ``Settings`` of the core says what each is, and ``_session`` which of them are the command line's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypedDict

from torch2grid_core import GridTransformer, Listener, TensorFilter, View
from torch2grid_core.grids import Reduction, ScaleKind

Named = str | Mapping[str, Mapping[str, Any]]  # "spiral:clockwise=false" or {"spiral": {"clockwise": False}}
Patterns = str | Sequence[str]
Filters = Named | TensorFilter | Sequence[Named | TensorFilter]
Positions = str | int | Sequence[str | int]


class PictureFields(TypedDict, total=False):
    """How pictures look."""

    colormap: str | None
    reduce: Reduction
    scale: ScaleKind
    clip: float
    limits: tuple[float, float] | None
    threshold: float
    max_cells: int
    tensor_cells: int
    format: str | Sequence[str]
    renderer: str | None
    listener: Named | Listener | Sequence[Named | Listener]


class SharedFields(PictureFields, total=False):
    """What a model or several are read by, and how the work is done."""

    title: str
    jobs: int
    executor: str | Executor | None
    include_buffers: bool
    raw: bool
    loader: str | None


class ViewFields(SharedFields, total=False):
    """All but ``plugin``, for functions that name it."""

    view: Named | View | Sequence[Named | View]


class PageFields(ViewFields, total=False):
    """All but those that choose tensors, which the functions name."""

    plugin: Named | GridTransformer | None


class ChoosingFields(TypedDict, total=False):
    """What is looked at, and the flags of the filters that come with torch2grid."""

    part: str
    slice: Any
    filter: Filters
    only: Patterns
    skip: Patterns


class DrawingFields(ViewFields, ChoosingFields, total=False):
    """All but ``tensors`` and ``plugin``, for functions that have other arguments of these names."""


class SettingsFields(PageFields, ChoosingFields, total=False):
    """The fields of ``Settings``, and the flags of the filters that come with torch2grid."""

    tensors: Positions
