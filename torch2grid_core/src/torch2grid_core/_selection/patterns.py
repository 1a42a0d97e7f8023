"""Choosing tensors by what a user types: numbers, ranges and patterns, the same on the command line and in the menu."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile

from torch2grid_core._errors import UsageError
from torch2grid_core._text import did_you_mean

_NUMBERS = re.compile(r"[\d\s,-]+")
_DEEPEST = 64  # components of a name that count: no model is deeper, but a hostile name may have millions


def matching(names: Sequence[str], pattern: str) -> list[str]:
    """The *names* that a glob pattern matches (``*``, ``?``, ``[…]``; case counts), in their order.

    A pattern that is a name itself matches that name, brackets and all.
    """
    return [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]


def numbered(names: Sequence[str], text: str) -> list[str]:
    """The *names* at positions such as ``1,3-5,7``, counted from 1, in their order.

    Raises ``UsageError`` for a number out of range, a range that runs backwards, or anything that is no number.
    """
    chosen: set[int] = set()
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", piece)
        if match is None:
            raise UsageError(f"{piece.strip()!r} is not a number or a range; write 1,3-5")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise UsageError(f"the range {piece.strip()} runs backwards; write {last}-{first}")
        if first < 1 or last > len(names):
            raise UsageError(f"{piece.strip()} is out of range: there are {len(names)} tensors, 1-{len(names)}")
        chosen.update(range(first - 1, last))
    return [name for position, name in enumerate(names) if position in chosen]


def chosen(names: Sequence[str], text: str) -> list[str]:
    """The *names* that *text* means: numbers and ranges, else one or more patterns separated by commas or spaces.

    Raises ``UsageError`` where nothing matches, with the nearest names.
    """
    if _NUMBERS.fullmatch(text) and any(char.isdigit() for char in text) and text not in names:
        return numbered(names, text.strip().strip(","))
    patterns = [text] if text in names else [piece for piece in re.split(r"[,\s]+", text) if piece]
    if not patterns:
        raise UsageError(f"{text!r} names nothing; write numbers or a pattern")
    kept: set[str] = set()
    for pattern in patterns:
        found = matching(names, pattern)
        if not found:
            raise UsageError(f"no tensor matches {pattern!r}{did_you_mean(pattern, names) if len(names) < 5000 else ''}")
        kept.update(found)
    return [name for name in names if name in kept]


def modules(names: Iterable[str]) -> dict[str, list[str]]:
    """*names* of tensors by the part of the model that they belong to, in order of first appearance.

    A part is a layer of a numbered stack (``model.layers.0`` holds ``model.layers.0.mlp.up_proj.weight``); where a name has
    no number, it is the first component behind what nearly all names begin with (``model.embed_tokens``). A tensor outside
    of any module is in the part named "".
    """
    paths = {name: name.split(".", _DEEPEST)[:-1] for name in names}
    shared: list[str] = []
    alike = list(paths.values())
    while True:
        depth = len(shared)
        alike = [path for path in alike if len(path) > depth + 1]
        most = Counter(path[depth] for path in alike).most_common(1)
        if not most or most[0][0].isdigit() or most[0][1] < 0.6 * len(paths):
            break
        shared.append(most[0][0])
        alike = [path for path in alike if path[depth] == most[0][0]]
    found: dict[str, list[str]] = {}
    for name, path in paths.items():
        depth = next((index + 1 for index, part in enumerate(path) if index and part.isdigit()), 0)
        if not depth:
            same = (here == there for here, there in zip(path, shared, strict=False))
            depth = 1 + sum(takewhile(bool, same))
        found.setdefault(".".join(path[:depth]), []).append(name)
    return found
