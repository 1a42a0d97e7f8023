"""Whether a ``read_into`` of a plugin's own filled its buffer: memory that nobody wrote must not be drawn."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from torch2grid_core._guard import not_run, returned, staying

_MARKS = (0x55, 0xAA)  # no byte is both


def unfilled(read_into: Callable[[int, memoryview], Any], offset: int, buffer: memoryview) -> str:
    """Call *read_into*, and say how it left some of *buffer* as it was; empty where it filled it.

    It returns nothing, or how many bytes it filled. The last byte is marked before: where the mark still stands, as the
    weights may have it, another mark is tried.
    """
    for mark in _MARKS:
        if buffer:
            buffer[-1] = mark
        with staying():
            found = read_into(offset, buffer)
        if wrong := not_run("read_into", found):
            return wrong
        if found is not None and (not isinstance(found, Integral) or isinstance(found, bool)):
            return returned("read_into", found, "None, nor a number of bytes")
        if found is not None and found != len(buffer):
            return f"read_into filled {found:,} of the {len(buffer):,} bytes that it was asked for"
        if not buffer or buffer[-1] != mark:
            return ""
    return f"read_into left the last of the {len(buffer):,} bytes that it was asked for as it was"
