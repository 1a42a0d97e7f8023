"""Names in a pickle that is refused: what stands behind the place where reading ended is searched, not interpreted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.allowed import IMPORT
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.values import Global
from torch2grid_builtin._inert.verdicts import ROOTS, family
from torch2grid_core import LoadError

_WINDOW, _OVERLAP = 1 << 22, 1 << 10
SEARCHED = 64 << 20  # bytes that are searched
_WORD = rb"([A-Za-z_][\w.]{0,200})"
# A line is searched from where its letters begin, once however long it is; the module may begin at any of them.
_GLOBAL = re.compile(rb"(?<![\w.])([\w.]{3,})\r?\n(?=" + _WORD + rb"\r?\n)")
_LINE = 2  # of work, for a line
_MEMO = rb"(?:\x94|q.|r....)?"
_TEXT = rb"(?:\x8c.|X.\x00\x00\x00|S['\"])" + _WORD + rb"(?:['\"]\n)?" + _MEMO
_STACK_GLOBAL = re.compile(_TEXT + _TEXT + rb"\x93", re.DOTALL)


def note_remains(actions: Actions, work: Work | None = None) -> None:
    """Add to *actions* the names of Python, numpy and PyTorch that the broken pickles import further on.

    work: what that may cost. Raises ``Malformed`` where it is used up.
    """
    for storage, start in actions.broken:
        end = min(storage.size, start + SEARCHED)
        for place in range(start, end, _WINDOW):
            window = bytearray(min(_WINDOW + _OVERLAP, end - place))
            try:
                storage.read_into(place, memoryview(window))
            except LoadError:
                break
            found = {(match[1], match[2]) for match in _STACK_GLOBAL.finditer(window)}
            if work is not None:
                work.spend(_LINE * window.count(b"\n"))
            lines = {(match[1][-200:], match[2]) for match in _GLOBAL.finditer(window)}
            if work is not None:
                work.spend(sum(len(line) for line, _ in lines))
            found.update((module, name) for line, name in lines for module in _modules(line))
            for module, name in sorted(found):
                _note(actions, module.decode(), name.decode())
    actions.broken = []


@cache
def _begun() -> re.Pattern[bytes]:
    """Where a module of Python, numpy or PyTorch may begin. It takes milliseconds to compile, and is rarely needed."""
    return re.compile(rb"[ci](?=(?:" + b"|".join(re.escape(name.encode()) for name in sorted(ROOTS)) + rb")(?:\.|$))")


def _modules(line: bytes) -> Iterator[bytes]:
    """The modules of Python, numpy and PyTorch that may end *line*, behind their opcode, which is a letter as well."""
    for match in _begun().finditer(line):
        yield line[match.end() :]
        if not match.start():  # the line begins with it: what stands further on in it is a part of the name
            return


def _note(actions: Actions, module: str, name: str) -> None:
    found = Global(module, name)
    if family(module, name) and found.allowed < IMPORT and not actions.knows(found):
        actions.note("import", found, certain=True)
