"""The settings of one drawing run, and the one way from a grid to a heatmap that follows them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from torch2grid_core._errors import UsageError
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.page import Heatmap
from torch2grid_core._pictures.scale import DEFAULT_CLIP, ColorScale, ScaleKind, color_scale

if TYPE_CHECKING:
    from torch2grid_core._kinds.transformer import GridTransformer


@dataclass(frozen=True)
class Run:
    """What the user asked for, for views and renderers to follow.

    transformer: of the unified grid, ``None`` for the default. threshold: |weight| below it is near zero. title: the
    user's own, empty for none. limits: fixed colour limits. max_cells: a side of the unified grid; tensor_cells: a side
    of one tensor's page.
    """

    transformer: GridTransformer | None = None
    transformer_name: str = ""
    reduce: str = "mean"
    scale: ScaleKind = "auto"
    clip: float = DEFAULT_CLIP
    limits: tuple[float, float] | None = None
    threshold: float = 1e-6
    title: str = ""
    colormap: str | None = None
    max_cells: int = 2048
    tensor_cells: int = 1024

    def __post_init__(self) -> None:
        """Raises ``UsageError`` for a setting that no picture can follow."""
        from torch2grid_core._pictures.raster import REDUCTIONS

        if self.reduce not in REDUCTIONS:
            raise UsageError(f"unknown reduction {self.reduce!r}; valid: {', '.join(REDUCTIONS)}")
        if self.scale not in get_args(ScaleKind):
            raise UsageError(f"unknown scale {self.scale!r}; valid: {', '.join(get_args(ScaleKind))}")
        ranges = {"clip": (0.5, 1.0), "threshold": (0.0, 1e308), "max_cells": (1, 16384), "tensor_cells": (1, 16384)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise UsageError(f"{name} is {value!r}; a number from {low:g} to {high:g} is needed")
        if self.limits is not None:
            low, high = self.limits
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise UsageError(f"limits {low:g},{high:g}: the first must be below the second, both finite")

    def color_scale(self, *grids: Grid) -> ColorScale:
        """One scale for *grids* by this run's ``scale``, ``clip`` and ``limits``."""
        return color_scale(grids, self.scale, self.clip, self.limits)

    def heatmap(self, grid: Grid, *, scale: ColorScale | None = None, **options: Any) -> Heatmap:
        """A heatmap panel of *grid*; *options* are the other fields of ``Heatmap``."""
        return Heatmap(grid, scale or self.color_scale(grid), label=options.pop("label", grid.cell_text()), **options)
