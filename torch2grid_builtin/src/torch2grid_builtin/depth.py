"""The order of tensors in a model: as in the file, but numbered layers by their numbers."""

from __future__ import annotations

from collections.abc import Iterable

_DEEPEST = 64  # components of a name that count: no model is deeper, but a hostile name may have millions


def _layer_number(part: str) -> int:
    """The number that one component of a name is, -1 where it is none: names may hold ``²``, or thousands of digits."""
    return int(part) if part.isascii() and part.isdigit() and len(part) < 10 else -1


def in_depth(names: Iterable[str]) -> list[str]:
    """*names* in the order of depth: as in the file, but for numbered modules, which follow their numbers.

    A file that is sorted by name holds ``layers.10`` before ``layers.2``; what belongs together stays together, where the
    first of it is.
    """
    numbers: dict[tuple[int, str], int] = {}  # a module is a number
    first: dict[tuple[int, str | None], int] = {}
    keys: dict[str, list[tuple[int, int]]] = {}
    for place, name in enumerate(names):
        module, key = 0, []
        for part in name.split(".", _DEEPEST):
            number = _layer_number(part)
            member = None if number >= 0 else part  # all numbers below a module are one stack
            key.append((first.setdefault((module, member), place), number))
            module = numbers.setdefault((module, part), len(numbers) + 1)
        keys[name] = key
    return sorted(keys, key=lambda name: keys[name])
