"""Checkpoints of one run: those of a folder, the order in which they were written, and what they are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from torch2grid_core import Checkpoint, LoadError, Torch2GridError
from torch2grid_core.sources import STEP_KEYS, named_step, stated_step
from torch2grid_core.text import visible

SNAPSHOT = "snapshot"  # the unit of an axis of time where no step is known
# What a folder of a Hugging Face trainer's checkpoint holds the model in.
MODEL_FILES = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
_MOST = 10_000


@dataclass(frozen=True)
class Ordered:
    """Checkpoints from first to last. steps: where each is on the axis of time; labels: what it is called; said: by what."""

    checkpoints: tuple[Checkpoint, ...]
    steps: tuple[float, ...]
    labels: tuple[str, ...]
    said: str
    unit: str


def in_order(checkpoints: Sequence[Checkpoint], given: bool = False) -> Ordered:
    """By a step that every file states, another in each, else by that in their names, else by name, ``2`` before ``10``.

    given: as they are.
    """
    found = _stated(checkpoints) or _named(checkpoints)
    if found is None:
        if not given:
            checkpoints = sorted(checkpoints, key=lambda each: (natural(PurePath(each.source).name), natural(each.source)))
        labels = tuple(short_names([each.source for each in checkpoints]))
        said = "in the order given" if given else f"ordered by name: {_why_by_name(checkpoints)}"
        return Ordered(tuple(checkpoints), tuple(map(float, range(len(labels)))), labels, said, SNAPSHOT)
    key, numbers, where = found
    ranked = sorted(zip(numbers, checkpoints, strict=True), key=lambda pair: pair[0])
    if given and [number for number, _ in ranked] != numbers:  # the axis of time has them in this order all the same
        labels = tuple(f"{key} {step_text(number)}" for number in numbers)
        return Ordered(tuple(checkpoints), tuple(map(float, range(len(labels)))), labels, "in the order given", SNAPSHOT)
    steps = tuple(number for number, _ in ranked)
    said = "in the order given" if given else f"ordered by {key} {where}"
    return Ordered(tuple(each for _, each in ranked), steps, tuple(f"{key} {step_text(each)}" for each in steps), said, key)


def _stated(checkpoints: Sequence[Checkpoint]) -> tuple[str, list[float], str] | None:
    """What all files state, another number in each: its key, the numbers, and where they stand."""
    for key in STEP_KEYS:
        numbers = _distinct([stated_step(each.metadata, key) for each in checkpoints])
        if numbers:
            return key, numbers, "in the files"
    return None


def _named(checkpoints: Sequence[Checkpoint]) -> tuple[str, list[float], str] | None:
    """The same of their names: ``step_100.safetensors``, ``checkpoint-100``."""
    found = [named_step(each.source) for each in checkpoints]
    keys = {None if each is None else each[0] for each in found}
    numbers = _distinct([None if each is None else float(each[1]) for each in found])
    key = keys.pop() if len(keys) == 1 else None
    return (key, numbers, "in their names") if key is not None and numbers else None


def _why_by_name(checkpoints: Sequence[Checkpoint]) -> str:
    """Why no steps order them: some have none, two have the same, names count unlike things, or nothing is called a step."""
    named = [named_step(each.source) for each in checkpoints]
    kinds = {each[0] for each in named if each is not None}
    asked = [(key, [stated_step(each.metadata, key) for each in checkpoints], "in the files") for key in STEP_KEYS]
    if len(kinds) == 1:
        asked.append((next(iter(kinds)), [None if each is None else float(each[1]) for each in named], "in their names"))
    key, numbers, where = min(asked, key=lambda each: each[1].count(None))  # the first, where several are as good
    known, total = [number for number in numbers if number is not None], len(numbers)
    if len(known) == total:
        step, often = Counter(known).most_common(1)[0]
        return f"{often} of {total} checkpoints have {key} {step_text(step)} {where}"
    if len(kinds) > 1 and len(known) < total - named.count(None):
        return f"their names count unlike things: {', '.join(sorted(kinds))}"
    if known:
        return f"no {key} {where} for {total - len(known)} of {total} checkpoints"
    if any(char.isdecimal() for each in checkpoints for char in PurePath(each.source).name):
        return "neither the files nor their names call a number a step"
    return "neither the files nor their names state a step"


def _distinct(numbers: Sequence[float | None]) -> list[float]:
    """The numbers, of two checkpoints or more; nothing where one has none, or two have the same."""
    known = [number for number in numbers if number is not None]
    return known if 1 < len(known) == len(numbers) == len(set(known)) else []


def step_text(step: float) -> str:
    """A step with all its digits: 1234567, 2.5."""
    return f"{step:.0f}" if step.is_integer() else f"{step:.6g}"


def natural(text: str) -> tuple[Any, ...]:
    """A key by which numbers inside a text are compared as numbers."""
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part.lower()) for part in re.split(r"(\d{1,18})", text))


@dataclass(frozen=True)
class Names:
    """What pictures call the two checkpoints."""

    a: str
    b: str

    @classmethod
    def of(cls, a: Checkpoint, b: Checkpoint) -> Names:
        """The short names of two."""
        return cls(*short_names([a.source, b.source]))


def short_names(sources: Sequence[str]) -> list[str]:
    """The last part of each path, or more of them until all are different; three at most."""
    parts = [_parts(source) for source in sources]
    for count in (1, 2, 3):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            break
    return [visible(name, 60) for name in names]


def _parts(source: str) -> tuple[str, ...]:
    """The folders and the name of a path; of a location such as ``s3://bucket/key``, its beginning is one."""
    scheme, colon, rest = source.partition("://")
    if colon and scheme.isalnum():
        first, *others = [each for each in rest.split("/") if each] or [""]
        return (f"{scheme}://{first}", *others)
    return PurePath(source).parts or (source or "model",)


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
        place = path if path.is_file() else next((path / name for name in MODEL_FILES if (path / name).is_file()), path)
        try:
            found.append(open_one(str(place)))
        except Torch2GridError:
            left += not place.is_dir()
    if not found:
        raise LoadError(folder, "is a folder with no checkpoint in it", "give the paths of checkpoints")
    return found, left
