"""What an optimizer's state dict says beside its tensors: the settings of its parameter groups, and which parameter is which.

Format: ``Optimizer.state_dict()``, ``{"state": {key: {…}}, "param_groups": [{"params": [key, …], …}]}``; a key is the number
of a parameter in the order in which the groups hold them, or its name.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator
from typing import Any

from torch2grid_builtin._inert.limits import KEPT, Work
from torch2grid_builtin._inert.values import Pairs, Stub, key_text, text
from torch2grid_core.text import visible

_CONTAINERS, _WIDE = 2000, 1000  # looked into, and the longest of them
_DEPTH, _OPTIMIZERS, _GROUPS, _SETTINGS, _PARAMETERS = 3, 20, 100, 60, 200_000
_LARGEST = 2**53


def optimizer_facts(root: Any, work: Work | None = None) -> dict[str, str]:
    """Metadata ``<prefix>param_groups`` for each optimizer in *root*: its groups as JSON text, with plain settings only.

    A group's ``params`` are keys as text, in order; ``param_names``, where the file has them, in the same order; ``steps`` maps
    those of its keys to the number of steps where that is a plain number (a tensor's is among the tensors).

    Raises ``Malformed`` where that is more than *work* allows, as in a file that repeats its groups.
    """
    work = work or Work()
    known: dict[int, Any] = {}
    return {f"{prefix}param_groups": json.dumps(_groups(found, work, known)) for prefix, found in _optimizers(root, work)}


def _optimizers(root: Any, work: Work) -> Iterator[tuple[str, Pairs]]:
    waiting: deque[tuple[str, Any, int]] = deque([("", root, 0)])
    seen: set[int] = set()  # each object once, however often a file repeats it
    found = 0
    while waiting and found < _OPTIMIZERS and len(seen) < _CONTAINERS:
        prefix, value, depth = waiting.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        inside = _inside(value, work)
        if (
            isinstance(inside, Pairs)
            and isinstance(inside.get("param_groups"), list)
            and isinstance(inside.get("state"), Pairs)
        ):
            found += 1
            yield prefix, inside
        elif depth < _DEPTH and len(inside.pairs if isinstance(inside, Pairs) else inside) < _WIDE:
            entries = inside.entries() if isinstance(inside, Pairs) else enumerate(inside)
            for index, (key, item) in enumerate(entries):
                if isinstance(item, (Pairs, Stub, list, tuple)) and id(item) not in seen:
                    name = key_text(key, index)
                    work.text(len(prefix) + len(name))
                    waiting.append((f"{prefix}{name}.", item, depth + 1))


def _inside(value: Any, work: Work) -> Pairs | list[Any] | tuple[Any, ...]:
    """What a mapping, list or tuple holds; the attributes of an object."""
    if isinstance(value, Stub):
        return Pairs("dict", list(value.attributes(work)))
    return value if isinstance(value, (Pairs, list, tuple)) else ()


def _groups(optimizer: Pairs, work: Work, known: dict[int, Any]) -> list[dict[str, Any]]:
    """The groups of one optimizer. known: the numbers of steps of the states that were looked at, by their id."""
    steps = {}
    for index, (key, value) in enumerate(optimizer.get("state").pairs[:_PARAMETERS]):
        if id(value) not in known:
            known[id(value)] = value.get("step") if isinstance(value, Pairs) else None
        if _is_number(known[id(value)]):
            steps[_listed(key, index, work)] = known[id(value)]
    groups = []
    for group in optimizer.get("param_groups")[:_GROUPS]:
        if isinstance(group, Pairs):
            settings = settings_of(group, work)
            keys = settings.get("params")
            mine = {key: steps[key] for key in keys if key in steps} if isinstance(keys, list) else {}
            groups.append({**settings, "steps": mine} if mine else settings)
    return groups


def _listed(key: Any, index: int, work: Work) -> str:
    shown = visible(key_text(key, index))
    work.spend(KEPT + len(shown))
    return shown


def settings_of(group: Pairs, work: Work) -> dict[str, Any]:
    """The plain settings of one parameter group; its parameters as text."""
    found: dict[str, Any] = {}
    for key, value in group.pairs[:_SETTINGS]:
        name = text(key)
        if name is None:
            continue
        name = visible(name, 100)
        if name in ("params", "param_names") and isinstance(value, list):
            found[name] = [_listed(each, index, work) for index, each in enumerate(value[:_PARAMETERS])]
        elif _is_number(value) or value is None or type(value) is bool:
            found[name] = value
        elif type(value) is str:
            found[name] = visible(value[:1000], 200)
        elif isinstance(value, (list, tuple)) and len(value) <= 8 and all(_is_number(each) for each in value):
            found[name] = list(value)
    return found


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return -_LARGEST <= value <= _LARGEST
    return type(value) is float and math.isfinite(value)
