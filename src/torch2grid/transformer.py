"""One grid of all weights, as an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid._api import grid

if TYPE_CHECKING:
    from typing import Unpack

    from torch2grid._keywords import DrawingFields


def to_neutral_grid(tensors: Any, plugin_name: str | None = None, **settings: Unpack[DrawingFields]) -> np.ndarray[Any, Any]:
    """The grid by *plugin_name* (``flatten`` unless given): 2-D float32, 0 where there is no weight.

    Raises ``UsageError`` for an unknown transformer.
    """
    return grid(tensors, plugin_name, **settings).grid.values
