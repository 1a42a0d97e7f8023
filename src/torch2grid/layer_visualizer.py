"""A picture of each layer, and all of them on one sheet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch2grid._api import draw

if TYPE_CHECKING:
    from typing import Unpack

    from torch2grid._keywords import DrawingFields


def visualize_layers(
    tensors: Any, output_dir: str | os.PathLike[str] = "grids/layers", **settings: Unpack[DrawingFields]
) -> list[Path]:
    """Write ``<output_dir>/<tensor>.png`` for each tensor; the paths."""
    return draw(tensors, ["layers:overview=false"], **settings).flat().save(output_dir)


def create_layer_overview(
    tensors: Any, output_path: str | os.PathLike[str] = "grids/layer_overview.png", **settings: Unpack[DrawingFields]
) -> Path:
    """Write all tensors on one sheet (the first of several, for very many); its path."""
    return draw(tensors, ["layers:each=false"], **settings).first().save(output_path)[0]
