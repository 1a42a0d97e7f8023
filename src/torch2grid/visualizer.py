"""A picture of any 2-D array."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from torch2grid._pages import Pages
from torch2grid._session import manager
from torch2grid_core import Checkpoint, Grid, Page, Run


def visualize_grid(
    grid: Any, title: str = "Neural Grid", output_dir: str | os.PathLike[str] = "grids", **settings: Any
) -> Path:
    """Write ``<output_dir>/neural_grid.png`` and return its path.

    grid: a 2-D array or a ``Grid``. settings: fields of ``Run``, such as ``limits`` or ``colormap``.
    Raises ``ValueError`` for an array that is not 2-D.
    """
    drawn = grid if isinstance(grid, Grid) else Grid(np.asarray(grid))
    run = Run(title=title, **settings)
    page = Page("neural_grid", title, (run.heatmap(drawn),))
    view = manager().create("view", "grid")
    return Pages([(page, view)], run, Checkpoint({}, source=title)).save(output_dir)[0]
