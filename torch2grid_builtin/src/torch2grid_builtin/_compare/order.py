"""In which order checkpoints of one run were written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from torch2grid_builtin._compare.names import short_names
from torch2grid_core import Checkpoint

# What training scripts call the number of steps so far, the finest first.
KEYS = ("global_step", "global_steps", "num_updates", "iteration", "iter", "step", "steps", "epoch", "current_epoch", "epochs")


@dataclass(frozen=True)
class Ordered:
    """Checkpoints from first to last. steps: where each is on the axis of time; labels: what it is called; said: by what."""

    checkpoints: tuple[Checkpoint, ...]
    steps: tuple[float, ...]
    labels: tuple[str, ...]
    said: str
    unit: str


def in_order(checkpoints: Sequence[Checkpoint], given: bool = False) -> Ordered:
    """By a step that every file states, another in each, else by name, ``2`` before ``10``; *given*: as they are."""
    if not given:
        for key in KEYS:
            numbers = [_number(each.metadata.get(key)) for each in checkpoints]
            known = [number for number in numbers if number is not None]
            if len(known) == len(checkpoints) == len(set(known)):
                ranked = sorted(zip(known, checkpoints, strict=True), key=lambda pair: pair[0])
                steps = tuple(number for number, _ in ranked)
                labels = tuple(f"{key} {number:g}" for number in steps)
                return Ordered(tuple(each for _, each in ranked), steps, labels, f"ordered by {key} in the files", key)
        checkpoints = sorted(checkpoints, key=lambda each: (natural(PurePath(each.source).name), natural(each.source)))
    names = short_names([each.source for each in checkpoints])
    said = "in the order given" if given else "ordered by name: no step that all files state tells them apart"
    return Ordered(tuple(checkpoints), tuple(map(float, range(len(names)))), tuple(names), said, "snapshot")


def natural(text: str) -> tuple[Any, ...]:
    """A key by which numbers inside a text are compared as numbers."""
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part.lower()) for part in re.split(r"(\d{1,18})", text))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
