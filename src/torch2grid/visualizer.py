"""A picture of any 2-D array."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid._pages import Pages
from torch2grid._session import manager, settings_from
from torch2grid_core import Checkpoint, Grid, Page

if TYPE_CHECKING:
    from typing import Unpack

    from torch2grid._keywords import PictureFields


def visualize_grid(
    grid: Any, title: str = "Neural Grid", output_dir: str | os.PathLike[str] = "grids", **settings: Unpack[PictureFields]
) -> Path:
    """Write ``<output_dir>/neural_grid.png`` and return its path.

    grid: a 2-D array or a ``Grid``. Raises ``ValueError`` for an array that is not 2-D.
    """
    drawn = grid if isinstance(grid, Grid) else Grid(np.asarray(grid))
    run = settings_from({**settings, "title": title})
    page = Page("neural_grid", title, (run.heatmap(drawn),))
    view = manager().create("view", "grid")
    return Pages([(page, view)], run, Checkpoint({}, source=title)).save(output_dir)[0]
