"""The kernels of convolutions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch2grid._api import draw

if TYPE_CHECKING:
    from typing import Unpack

    from torch2grid._keywords import DrawingFields


def visualize_all_conv_layers(
    tensors: Any, output_dir: str | os.PathLike[str] = "grids/conv_kernels", **settings: Unpack[DrawingFields]
) -> list[Path]:
    """Write ``<output_dir>/<tensor>_grid.png`` for each convolution; the paths, none where there is no convolution."""
    return draw(tensors, ["conv"], **settings).flat().save(output_dir)
