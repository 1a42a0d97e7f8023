"""When in a training a checkpoint was written: the step that it states, or that its name does; and what to call it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from torch2grid_core._text import without_secrets

# What training scripts call the number of steps so far, the finest first.
STEP_KEYS = (
    "global_step",
    "global_steps",
    "num_updates",
    "iteration",
    "iter",
    "step",
    "steps",
    "epoch",
    "current_epoch",
    "epochs",
)
_IN_NAMES = (*STEP_KEYS, "checkpoint", "ckpt")  # ``checkpoint-500`` of a Hugging Face trainer
_FSDP = re.compile(r"pytorch_model_fsdp_\d+")
_LARGEST = 1 << 53  # what a float64 counts to


def stated_step(metadata: Mapping[str, Any], key: str) -> float | None:
    """Return the finite number that *metadata* holds under *key*, as a number or as text; ``None`` if there is none."""
    value = metadata.get(key)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def step_of(source: str, metadata: Mapping[str, Any]) -> int | None:
    """The step of a checkpoint, ``None`` where nothing tells it.

    It is the first of ``STEP_KEYS`` that *metadata* states as a whole number, else that of ``named_step``.
    """
    for key in STEP_KEYS:
        number = stated_step(metadata, key)
        if number is not None and number.is_integer() and 0 <= number <= _LARGEST:
            return int(number)
    found = named_step(source)
    return None if found is None else found[1]


def named_step(source: str) -> tuple[str, int] | None:
    """Return what the name of a checkpoint counts and its number: ``("step", 1200)`` of ``epoch=3-step=1200.ckpt``.

    It is the number behind the first of ``STEP_KEYS`` in the name of the file, else of its folder. One behind ``checkpoint`` or
    ``ckpt`` counts steps.

    Args:
        source: a path or another location.

    Returns:
        One of ``STEP_KEYS`` with the number; ``None`` where the name has neither.
    """
    for name in (_parts(source)[-1:-3:-1]) if source else ():
        for key in _IN_NAMES:
            found = re.search(rf"(?<![a-z]){key}[-_=]?(\d{{1,15}})(?!\d)", name.lower())
            if found:
                return key if key in STEP_KEYS else "step", int(found[1])
    return None


def short_name(source: str) -> str:
    """What people call a checkpoint: a file's name without its ending, a folder's whole name.

    An index of shards and accelerate's folder of a model are named alike everywhere: they go by the folder that they are in.
    """
    if "://" in source:
        parts = _parts(source)
        name, folder = (parts or ("",))[-1], (parts or ("",))[-2:-1]
        is_folder = False
    else:
        path = PurePath(os.path.abspath(source))  # "." has a name too; links keep theirs
        name, folder, is_folder = path.name, (path.parent.name,), os.path.isdir(source)
    if name.endswith(".index.json") or _FSDP.fullmatch(name):
        return folder[0] if folder else name
    if is_folder:
        return name
    name = name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def _parts(source: str) -> tuple[str, ...]:
    source = without_secrets(source)
    return tuple(each for each in re.split(r"[/\\]", source.rpartition("://")[2]) if each)
