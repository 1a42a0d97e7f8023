"""What every picture of a tensor says about it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from torch2grid_core import Checkpoint, LazyTensor, visible

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


def layer_number(part: str) -> int:
    """The number that one component of a name is, -1 where it is none: names may hold ``²``, or thousands of digits."""
    return int(part) if part.isascii() and part.isdigit() and len(part) < 10 else -1


def in_depth(names: Iterable[str]) -> list[str]:
    """*names* in the order of depth: as in the file, but for numbered modules, which follow their numbers.

    A file that is sorted by name holds ``layers.10`` before ``layers.2``; what belongs together stays together, where the
    first of it is.
    """
    first: dict[tuple[str, ...], int] = {}
    keys: dict[str, list[tuple[int, int]]] = {}
    for place, name in enumerate(names):
        parts = tuple(name.split("."))
        key = []
        for depth in range(1, len(parts) + 1):
            part = parts[depth - 1]
            number = layer_number(part)
            whole = parts[:depth] if number < 0 else (*parts[: depth - 1], "")  # all numbers below a module are one stack
            key.append((first.setdefault(whole, place), number))
        keys[name] = key
    return sorted(keys, key=lambda name: keys[name])


def source_name(checkpoint: Checkpoint) -> str:
    """The last part of the path that a checkpoint came from, ``model`` for one from memory."""
    return visible(PurePath(checkpoint.source).name or "model", 80)
