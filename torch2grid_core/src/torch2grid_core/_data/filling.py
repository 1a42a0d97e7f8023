"""Whether a ``read_into`` of a plugin's own filled its buffer: memory that nobody wrote must not be drawn."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from torch2grid_core._guard import not_run, returned, staying

_MARKS = (b"\x5a\x55", b"\xa5\xaa")  # none has a byte of the other in the same place


def unfilled(read_into: Callable[[int, memoryview], Any], offset: int, buffer: memoryview) -> str:
    """Call *read_into*, and say how it left some of *buffer* as it was; empty where it filled it.

    It returns nothing, or how many bytes it filled. The last two bytes are marked before. Where the mark still stands, the
    weights may be so: another mark is tried. Two bytes, as one would have every 256th buffer of any weights read twice.
    """
    for whole in _MARKS:
        mark = whole[: len(buffer)]
        buffer[len(buffer) - len(mark) :] = mark
        with staying():
            found = read_into(offset, buffer)
        if wrong := not_run("read_into", found):
            return wrong
        if found is not None and (not isinstance(found, Integral) or isinstance(found, bool)):
            return returned("read_into", found, "None, nor a number of bytes")
        if found is not None and found != len(buffer):
            return f"read_into filled {found:,} of the {len(buffer):,} bytes that it was asked for"
        if not mark or buffer[len(buffer) - len(mark) :] != mark:
            return ""
    return f"read_into left the last of the {len(buffer):,} bytes that it was asked for as it was"
