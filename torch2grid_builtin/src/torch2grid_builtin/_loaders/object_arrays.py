"""Arrays of Python objects in records of zip archives: numpy loads their pickles, whatever the record is called."""

from __future__ import annotations

import re

from torch2grid_core import LoadError
from torch2grid_core.sources import BytesStorage

NUMPY = b"\x93NUMPY"
OBJECTS_LOOKED_AT = 1 << 20  # bytes of such a record, to name what it does: the pickles of attacks are small
_HEADER = re.compile(
    rb"""\{'descr': (?:'[<>|=]?[?bhilqBHILQefdgFDGiucSUmMV]\d*(?:\[\w+\])?'|\[[^oO\\#]*\]),"""
    rb""" 'fortran_order': (?:True|False), 'shape': \([\d, L]*\),? *\} *\n"""
)


def may_hold_objects(head: bytes) -> bool:
    """True where a record that begins with *head* may be an array of objects to numpy.

    Only what numpy writes is none: a header of a plain code, or of a structure without an ``O`` in it.
    """
    width = 2 if head[6:7] == b"\x01" else 4
    text = head[8 + width : 8 + width + int.from_bytes(head[8 : 8 + width], "little")]
    return _HEADER.fullmatch(text) is None


def name_objects(reason: str, head: bytes) -> str:
    """*reason* with what the pickle of the array, as far as it stands in *head*, wants done."""
    # Not above: a process that reads tensors out of archives does not need the machine that reads pickles.
    from torch2grid_builtin._inert.actions import Actions
    from torch2grid_builtin._inert.hidden import read_pickles, read_strings
    from torch2grid_builtin._inert.limits import Work
    from torch2grid_builtin._inert.malformed import Malformed
    from torch2grid_builtin._inert.report import refusal

    actions, work = Actions(), Work(len(head))
    width = 2 if head[6:7] == b"\x01" else 4
    start = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    try:
        read_pickles(BytesStorage(head), start, actions, work)
        read_strings(actions, work)
    except (Malformed, LoadError):
        pass  # what was seen until then is named
    return refusal(reason, actions)
