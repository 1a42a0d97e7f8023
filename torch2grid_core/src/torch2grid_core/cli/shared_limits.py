"""``--limits shared``: one colour scale for every picture of a run, found by a pass before the pictures are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from torch2grid_core.cli.drawing import Drawing
from torch2grid_core.engine import Drawn, Engine, workers
from torch2grid_core.kinds.view import View
from torch2grid_core.pictures.page import Heatmap, Page
from torch2grid_core.summary.distribution import Distribution


def cells_of(page: Page, view: View) -> Drawn:
    """The page without its panels; its entry holds the distribution of the cells that its heatmaps draw."""
    values, sizes = Distribution(), Distribution()
    for panel in page.panels:
        if isinstance(panel, Heatmap):
            drawn = panel.grid.drawn()
            values.update(drawn)
            sizes.update(np.abs(drawn))
    return Drawn(replace(page, panels=()), view, {}, {"values": values, "sizes": sizes})


def shared_limits(drawing: Drawing, models: Sequence[str]) -> tuple[float, float] | None:
    """Limits that suit the cells of all *models* together, by the run's ``scale`` and ``clip``.

    A model that cannot be read is left to the drawing pass, which reports it. ``None`` where no picture has cells.
    """
    values, sizes = Distribution(), Distribution()

    def take(drawn: Drawn) -> None:
        assert drawn.entry is not None
        values.merge(drawn.entry["values"])
        sizes.merge(drawn.entry["sizes"])

    for model in models:
        try:
            checkpoint = drawing.quietly_open(model).checkpoint
            with workers(checkpoint, drawing.given["jobs"], len(checkpoint)) as executor:
                Engine(executor).run(checkpoint, drawing.views, take, drawing.run, cells_of)
        except Exception:
            continue
    if not values.finite:
        return None
    run = drawing.run
    if run.scale == "minmax" or (run.scale == "auto" and values.min >= 0):
        low, high = values.quantile(1 - run.clip), values.quantile(run.clip)
        low = 0.0 if values.min >= 0 and low < 0.5 * high else low
    else:
        high = sizes.quantile(run.clip) or sizes.max or 1.0
        low = -high
    return (low, high) if low < high else (low - 0.5, low + 0.5)
