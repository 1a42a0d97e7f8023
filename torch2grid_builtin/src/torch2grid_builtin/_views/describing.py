"""What every picture of a tensor says about it."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.text import visible

TOTAL = "(all tensors)"  # the name of the last row of tables


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as people write it: ``64×3×7×7``, ``one number`` for ()."""
    return "×".join(map(str, shape)) if shape else "one number"


def tensor_title(tensor: LazyTensor) -> str:
    """Name, original shape and dtype, and how the numbers were stored where that is not how they are read."""
    facts = [visible(tensor.name), shape_text(tensor.shape), tensor.dtype.name]
    return " · ".join([*facts, visible(tensor.note)] if tensor.note else facts)


def about(tensor: LazyTensor) -> dict[str, Any]:
    """The same for the index of the output folder."""
    return {"tensor": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype.name}


def source_name(checkpoint: Checkpoint) -> str:
    """The last part of the path that a checkpoint came from, ``model`` for one from memory."""
    return visible(PurePath(checkpoint.source).name or "model", 80)
