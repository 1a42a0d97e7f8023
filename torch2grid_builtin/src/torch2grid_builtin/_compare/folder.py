"""The checkpoints in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch2grid_builtin._compare.order import natural
from torch2grid_core import Checkpoint, LoadError, Torch2GridError

# What a folder of a Hugging Face trainer's checkpoint holds the model in.
MODEL_FILES = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
_MOST = 10_000


def checkpoints_in(folder: str, open_one: Callable[[str], Checkpoint]) -> tuple[list[Checkpoint], int]:
    """The checkpoints in *folder* and one level below, by name, ``2`` before ``10``; and how many other files are there.

    Raises ``LoadError`` where there is none, or where the folder cannot be listed.
    """
    found, left = [], 0
    try:
        paths = sorted(Path(folder).iterdir(), key=lambda each: natural(each.name))
    except OSError as error:
        raise LoadError(folder, f"cannot be listed: {error.strerror}") from error
    for path in paths[:_MOST]:
        if path.name.startswith("."):
            continue
        places = [path] if path.is_file() else [path / name for name in MODEL_FILES if (path / name).is_file()][:1]
        for place in places:
            try:
                found.append(open_one(str(place)))
            except Torch2GridError:
                left += 1
    if not found:
        raise LoadError(folder, "is a folder without a checkpoint in it", "give the paths of checkpoints")
    return found, left
