"""Histograms of the weights, and the statistics table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch2grid._api import draw

if TYPE_CHECKING:
    from typing import Unpack

    from torch2grid._keywords import DrawingFields


def visualize_all_histograms(
    tensors: Any, output_dir: str | os.PathLike[str] = "grids/histograms", **settings: Unpack[DrawingFields]
) -> list[Path]:
    """Write ``<output_dir>/<tensor>_hist.png`` for each tensor; the paths."""
    return draw(tensors, ["histogram:overview=false"], **settings).flat().save(output_dir)


def create_histogram_overview(
    tensors: Any, output_path: str | os.PathLike[str] = "grids/histogram_overview.png", **settings: Unpack[DrawingFields]
) -> Path:
    """Write all histograms on one sheet (the first of several, for very many); its path."""
    return draw(tensors, ["histogram:each=false"], **settings).first().save(output_path)[0]


def compare_layer_statistics(tensors: Any, **settings: Unpack[DrawingFields]) -> None:
    """Print the table of mean, std, min, max and share of near-zero weights."""
    print(draw(tensors, ["stats"], **settings))
