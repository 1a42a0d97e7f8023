"""The picture that torch2grid is named after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch2grid_builtin._transformers.flatten import Flatten
from torch2grid_builtin._views.describing import source_name
from torch2grid_builtin._views.limits import whole_model_run
from torch2grid_core import Checkpoint, Grid, Need, Page, Settings, View
from torch2grid_core.measures import Transformed
from torch2grid_core.text import human_count, visible


class GridView(View):
    """One grid of all weights."""

    name = "grid"

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"grid": Transformed(run.transformer or Flatten(), run.reduce, run.max_cells)}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """One page, ``neural_grid``, or ``neural_grid_NAME`` where the user chose a transformer."""
        grid: Grid = results["grid"]
        transformer = run.transformer or Flatten()
        chosen = run.transformer_name
        facts = [
            source_name(checkpoint),
            f"{human_count(checkpoint.parameters)} weights",
            visible(chosen or transformer.name, 60),
        ]
        page = Page(
            f"neural_grid_{chosen}" if chosen else "neural_grid",
            run.title or " · ".join(facts),
            (whole_model_run(run, checkpoint, grid).heatmap(grid, boundaries=True, labels=True),),
            about={"transformer": transformer.name, "tensors": len(checkpoint)},
        )
        return (page,)
