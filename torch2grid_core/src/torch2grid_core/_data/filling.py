"""Whether a ``read_into`` of a plugin's own filled its buffer: memory that nobody wrote must not be drawn."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from torch2grid_core._guard import not_run, returned, staying

_PARTS = 8
_MARKS = (b"\x5a\x55", b"\xa5\xaa")  # none has a byte of the other in the same place


def unfilled(read_into: Callable[[int, memoryview], Any], offset: int, buffer: memoryview) -> str:
    """Call *read_into*, and say how it left some of *buffer* as it was; empty where it filled it.

    It returns nothing, or how many bytes it filled. The last two bytes are marked before, and of a longer buffer two in each
    eighth. Where a mark still stands, the weights may be so: another mark is tried. Two bytes, as one would have every 256th
    buffer of any weights read twice. A hole between the marks is not noticed here; the conformance kit looks at every byte.
    """
    places = _places(len(buffer))
    for whole in _MARKS:
        mark = whole[: len(buffer)]
        for place in places:
            buffer[place : place + len(mark)] = mark
        with staying():
            found = read_into(offset, buffer)
        if wrong := not_run("read_into", found):
            return wrong
        if found is not None and (not isinstance(found, Integral) or isinstance(found, bool)):
            return returned("read_into", found, "None, nor a number of bytes")
        if found is not None and found != len(buffer):
            return f"read_into filled {found:,} of the {len(buffer):,} bytes that it was asked for"
        left = [place for place in places if mark and buffer[place : place + len(mark)] == mark]
        if not left:
            return ""
        places = left
    if places[-1] == len(buffer) - len(mark):
        return f"read_into left the last of the {len(buffer):,} bytes that it was asked for as it was"
    return f"read_into left some of the {len(buffer):,} bytes that it was asked for as they were, byte {places[0]:,} among them"


def _places(length: int) -> list[int]:
    """Where marks stand in a buffer of that *length*, the last at its end."""
    last = max(length - 2, 0)
    return [last * part // _PARTS for part in range(_PARTS + 1)] if length >= 4 * _PARTS else [last]
