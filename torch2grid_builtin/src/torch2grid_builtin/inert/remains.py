"""Names in a pickle that is refused: what stands behind the place where reading ended is searched, not interpreted."""

from __future__ import annotations

import re

from torch2grid_builtin.inert.actions import Actions
from torch2grid_builtin.inert.allowed import IMPORT
from torch2grid_builtin.inert.values import Global
from torch2grid_builtin.inert.verdicts import family
from torch2grid_core import LoadError

_WINDOW, _OVERLAP = 1 << 22, 1 << 10
SEARCHED = 64 << 20  # bytes that are searched
_WORD = rb"([A-Za-z_][\w.]{0,200})"
_GLOBAL = re.compile(rb"[ci]" + _WORD + rb"\r?\n" + _WORD + rb"\r?\n")
_MEMO = rb"(?:\x94|q.|r....)?"
_TEXT = rb"(?:\x8c.|X.\x00\x00\x00|S['\"])" + _WORD + rb"(?:['\"]\n)?" + _MEMO
_STACK_GLOBAL = re.compile(_TEXT + _TEXT + rb"\x93", re.DOTALL)


def note_remains(actions: Actions) -> None:
    """Add to *actions* the names of Python, numpy and PyTorch that the broken pickles import further on."""
    for storage, start in actions.broken:
        end = min(storage.size, start + SEARCHED)
        for place in range(start, end, _WINDOW):
            window = bytearray(min(_WINDOW + _OVERLAP, end - place))
            try:
                storage.read_into(place, memoryview(window))
            except LoadError:
                break
            for pattern in (_GLOBAL, _STACK_GLOBAL):
                for match in pattern.finditer(window):
                    _note(actions, match[1].decode(), match[2].decode())
    actions.broken = []


def _note(actions: Actions, module: str, name: str) -> None:
    found = Global(module, name)
    if family(module, name) and found.allowed < IMPORT and not actions.knows(found):
        actions.note("import", found, certain=True)
