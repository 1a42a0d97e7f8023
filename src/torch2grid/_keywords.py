"""The settings as typed keyword arguments. For type checkers alone: ``Settings`` of the core says what each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypedDict

from torch2grid_core import GridTransformer, TensorFilter, View
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


class DrawingFields(PictureFields, total=False):
    """All but ``tensors`` and ``plugin``, for functions that have other arguments of these names."""

    output: str
    title: str
    part: str
    interactive: bool
    jobs: int
    executor: str | Executor | None
    verbose: bool
    quiet: bool
    include_buffers: bool
    raw: bool
    filter: Named | TensorFilter | Sequence[Named | TensorFilter]
    view: Named | View | Sequence[Named | View]
    loader: str | None
    only: str | Sequence[str]
    skip: str | Sequence[str]


class CommonFields(DrawingFields, total=False):
    """All but ``plugin``."""

    tensors: str | int | Sequence[str | int]


class SettingsFields(CommonFields, total=False):
    """The fields of ``Settings``, and the flags of the filters that come with torch2grid."""

    plugin: Named | GridTransformer | None
