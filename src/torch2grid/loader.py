"""``load_torch_model``: open a checkpoint file."""

from __future__ import annotations

import os

from torch2grid._session import manager
from torch2grid_core import Checkpoint


def load_torch_model(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint at *path*, with nothing read but what describes it and none of its code run.

    Raises ``LoadError`` for a file that cannot be read.
    """
    return manager().open(os.fspath(path))
