"""The settings of one drawing run, and the one way from a grid to a heatmap that follows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch2grid_core.pictures.grid import Grid
from torch2grid_core.pictures.page import Heatmap
from torch2grid_core.pictures.scale import DEFAULT_CLIP, ColorScale, ScaleKind, color_scale

if TYPE_CHECKING:
    from torch2grid_core.kinds.transformer import GridTransformer


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
    extra: dict[str, Any] = field(default_factory=dict)

    def color_scale(self, *grids: Grid) -> ColorScale:
        """One scale for *grids* by this run's ``scale``, ``clip`` and ``limits``."""
        return color_scale(grids, self.scale, self.clip, self.limits)

    def heatmap(self, grid: Grid, *, scale: ColorScale | None = None, **options: Any) -> Heatmap:
        """A heatmap panel of *grid*; *options* are the other fields of ``Heatmap``."""
        return Heatmap(grid, scale or self.color_scale(grid), label=options.pop("label", grid.cell_text()), **options)
