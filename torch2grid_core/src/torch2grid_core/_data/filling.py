"""Whether a ``read_into`` of a plugin's own filled its buffer: memory that nobody wrote must not be drawn."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from torch2grid_core._guard import not_run, returned, staying

_PARTS = 8
_MARKS = (b"\x5a\x55\x3c\x0f", b"\xa5\xaa\xc3\xf0")  # none has a byte of the other in the same place


def unfilled(read_into: Callable[[int, memoryview], Any], offset: int, buffer: memoryview) -> str:
    """Call *read_into*, and say how it left some of *buffer* as it was; empty where it filled it.

    It returns nothing, or how many bytes it filled. The last two bytes are marked before, and four in each eighth of a longer
    buffer. Where a mark still stands, the weights may be so: another mark is tried. Two bytes at least, as one would have every
    256th buffer of any weights read twice. A hole between the marks is not noticed here: the kit looks at every byte.
    """
    places = _places(len(buffer))
    for mark in _MARKS:
        for place, size in places:
            buffer[place : place + size] = mark[:size]
        with staying():
            found = read_into(offset, buffer)
        if wrong := not_run("read_into", found):
            return wrong
        if found is not None and (not isinstance(found, Integral) or isinstance(found, bool)):
            return returned("read_into", found, "None, nor a number of bytes")
        if found is not None and found != len(buffer):
            return f"read_into filled {found:,} of the {len(buffer):,} bytes that it was asked for"
        places = [(place, size) for place, size in places if buffer[place : place + size] == mark[:size]]
        if not places:
            return ""
    if sum(places[-1]) == len(buffer):
        return f"read_into left the last of the {len(buffer):,} bytes that it was asked for as it was"
    left = f"byte {places[0][0]:,} among them"
    return f"read_into left some of the {len(buffer):,} bytes that it was asked for as they were, {left}"


def _places(length: int) -> list[tuple[int, int]]:
    """(offset, size) of the marks in a buffer of that *length*, the last at its end."""
    size = min(length, 2)
    inner = range(_PARTS) if length >= 8 * _PARTS else ()
    return [*((length * part // _PARTS, 4) for part in inner), *([(length - size, size)] if size else [])]
