"""Numbers as numpy writes them."""

from __future__ import annotations

from typing import Any, BinaryIO, ClassVar

import numpy as np

from torch2grid_core import Page, Renderer, Style
from torch2grid_core.pages import Heatmap, Numbers

Array = np.ndarray[Any, Any]


class Npy(Renderer):
    """The numbers of a tensor as one array."""

    name: ClassVar[str] = "npy"
    formats: ClassVar[tuple[str, ...]] = ("npy",)
    tables: ClassVar[tuple[str, ...]] = ()

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write the first panel: numbers in their dtype, the cells of a heatmap, any other panel as the texts of its table.

        A dtype that numpy has not itself (bfloat16, float8) becomes float32, which holds each of its numbers.
        """
        np.lib.format.write_array(target, _array(page), allow_pickle=False)


def _array(page: Page) -> Array:
    panel = page.panels[0] if page.panels else None
    if isinstance(panel, Numbers):
        return panel.values if panel.values.dtype.type.__module__ == "numpy" else panel.values.astype(np.float32)
    if isinstance(panel, Heatmap):
        return panel.grid.values
    return np.array([] if panel is None else panel.as_table().texts(), dtype=np.str_)
