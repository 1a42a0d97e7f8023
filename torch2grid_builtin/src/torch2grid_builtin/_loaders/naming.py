"""What a tensor is called whose key in the file is empty: one rule for every format."""

from __future__ import annotations

from collections.abc import Container

NAMELESS = "tensor"  # also what the walk through a pickle calls a tensor that stands under no key


def tensor_name(key: str, others: Container[str] = ()) -> str:
    """The name of a tensor under *key* in a file: the key itself, ``tensor`` where it is empty.

    No file, row of a table or filter can show an empty name. others: names that are taken; ``tensor#2`` where that is one.
    """
    name, number = key or NAMELESS, 2
    while not key and name in others:
        name, number = f"{NAMELESS}#{number}", number + 1
    return name
