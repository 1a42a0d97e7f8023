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
    part: str
    jobs: int
    executor: str | Executor | None
    include_buffers: bool
    raw: bool
    slice: Any
    filter: Named | TensorFilter | Sequence[Named | TensorFilter]
    loader: str | None
    only: str | Sequence[str]
    skip: str | Sequence[str]


class ComparingFields(SharedFields, total=False):
    """Those of a comparison, which has pages of its own."""

    tensors: str | Sequence[str]


class DrawingFields(SharedFields, total=False):
    """All but ``tensors`` and ``plugin``, for functions that have other arguments of these names."""

    view: Named | View | Sequence[Named | View]


class CommonFields(DrawingFields, total=False):
    """All but ``plugin``."""

    tensors: str | int | Sequence[str | int]


class SettingsFields(CommonFields, total=False):
    """The fields of ``Settings``, and the flags of the filters that come with torch2grid."""

    plugin: Named | GridTransformer | None
