"""The order of tensors in tables, listings and pictures: as in the file, but numbered layers by their numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_DEEPEST = 64  # components of a name that count: no model is deeper, but a hostile name may have millions
_MODULES = 500_000  # five times as many as a model of 100,000 tensors can have; a hostile file may ask for millions

_Module = dict[Any, Any]  # component → module, or name of a tensor; under None the tensor that has the module's own name


def in_depth(names: Iterable[str]) -> list[str]:
    """*names* in the order of the model: as in the file, but for numbered siblings, which follow their numbers.

    A file that is sorted by name holds ``layers.10`` before ``layers.2``. A number is a whole component of a name, so ``conv1``
    stays before ``bn1`` where the file has them so. What belongs together stays together, where the first of it is. The
    names of more modules than any model has stay as they are.
    """
    given = list(names)
    known: dict[str | None, _Module] = {None: {}}  # by path; None: the root, as a path may be empty
    for name in given:
        path, last = _parted(name)
        module = known.get(path)
        if module is None:
            module = _made(known, path)
            if len(known) > _MODULES:
                return given
        inside = module.get(last)
        if isinstance(inside, dict):
            inside[None] = name
        else:
            module[last] = name
    found: list[str] = []
    _list(known[None], found)
    return found


def _parted(name: str) -> tuple[str | None, str]:
    """The path of the module that holds *name*, ``None`` for the root, and what is left."""
    if len(name) > _DEEPEST and name.count(".") > _DEEPEST:
        *parents, last = name.split(".", _DEEPEST)
        return ".".join(parents), last
    path, dot, last = name.rpartition(".")
    return path if dot else None, last


def _made(known: dict[str | None, _Module], path: str | None) -> _Module:
    """The module at *path*, made with those above it that are not known."""
    missing = []
    while path not in known:
        assert path is not None
        above, part = _parted(path)
        missing.append((path, part))
        path = above
    module = known[path]
    for path, part in reversed(missing):
        inside = module.get(part)
        if not isinstance(inside, dict):
            inside = module[part] = {} if inside is None else {None: inside}
        module = known[path] = inside
    return module


def _list(module: _Module, found: list[str]) -> None:
    """Append the names of *module* to *found*: its own first, and all that is numbered where the first of it is."""
    own = module.pop(None, None)
    if own is not None:
        found.append(own)
    parts = list(module)
    numbers = [part for part in parts if _is_number(part)] if len(parts) > 1 else []
    if numbers:
        first = parts.index(numbers[0])
        parts = [*parts[:first], *sorted(numbers, key=int), *(part for part in parts[first:] if not _is_number(part))]
    for part in parts:
        inside = module[part]
        if isinstance(inside, dict) and len(inside) == 1:  # most modules of a large model hold one tensor
            (only,) = inside.values()
            inside = only if isinstance(only, str) else inside
        if isinstance(inside, dict):
            _list(inside, found)
        else:
            found.append(inside)


def _is_number(part: str) -> bool:
    """True for a component that is a number: names may hold ``²``, or thousands of digits."""
    return part.isascii() and part.isdigit() and len(part) < 10
