"""What the pickles of one checkpoint want done, as they state it: counted by name, judged before anything is left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch2grid_builtin._inert import limits, verdicts
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.values import Global, LongBytes, Pairs, Stub

if TYPE_CHECKING:
    from torch2grid_builtin._inert.limits import Work
    from torch2grid_core import Severity
    from torch2grid_core.sources import ActionKind, Storage

# GLOBAL or INST, of a name: a line that ends with it, and a line that is one. Each is searched from where its letters begin,
# once however long it is: the opcode is looked for inside of them.
_LINES = re.compile(rb"(?<![\w.])([\w.]{2,})\r?\n(?=[A-Za-z_][\w.]*\r?\n)")
_NAMED = re.compile(rb"[ci][A-Za-z_]")
_STACK_GLOBAL = b"\x93"
_MOST: tuple[ActionKind, ...] = ("import", "items", "state", "make", "call", "run", "hold")  # the last says most of a name


class Asked:
    """A name, and the most that is done with it: *shown* is the first that did, *times* how often.

    module, name: of the callee. For a call of what another call returned, those of the name where the chain began, and
    *computed*. certain: an error whatever the name.
    """

    __slots__ = ("certain", "computed", "kind", "module", "name", "shown", "times")

    def __init__(self, module: str, name: str, kind: ActionKind, shown: Any, computed: bool, certain: bool) -> None:
        self.module, self.name, self.kind, self.shown, self.times = module, name, kind, shown, 1
        self.computed, self.certain = computed, certain

    @property
    def severity(self) -> Severity:
        return "error" if self.certain or self.computed else verdicts.severity(self.module, self.name, self.kind)

    @property
    def danger(self) -> tuple[int, int]:
        return verdicts.danger(self.module, self.name, self.kind, self.severity)


class Actions:
    """The record of all pickles of a checkpoint. What is allowed is not in it.

    strings: the byte strings of the pickles, which may be pickles themselves. judged: the names that were imported and are
    harmless only in some uses. broken: the pickles that were not read to their end, and where they begin.
    """

    def __init__(self) -> None:
        self.asked: dict[tuple[str, bool], Asked] = {}
        self.strings: list[bytes | LongBytes] = []
        self.held = 0  # bytes of them
        self.judged: list[Global] = []
        self.broken: list[tuple[Storage, int]] = []

    def __bool__(self) -> bool:
        return bool(self.asked or any(not found.excused for found in self.judged))

    def note(self, kind: ActionKind, function: Any, shown: Any = None, certain: bool = False) -> None:
        """*kind* is done with *function*, which is not allowed it. Raises ``Malformed`` beyond the limit of names."""
        if type(function) is Global:
            module, name, computed = function.module, function.name, False
        else:
            root = function.root if type(function) is Stub else function
            module, _, name = ("", "", type(root).__name__) if type(root) is not Global else (root.module, "", root.name)
            computed = True
        key = (f"{module}\n{name}", computed)
        found = self.asked.get(key)
        if found is None:
            if len(self.asked) >= limits.IMPORTED:
                raise Malformed(f"the pickle imports more than {limits.IMPORTED:,} names", "it is hostile")
            self.asked[key] = Asked(module, name, kind, function if shown is None else shown, computed, certain)
            return
        found.certain |= certain
        if found.kind == kind:
            found.times += 1
        elif _MOST.index(kind) > _MOST.index(found.kind):
            found.kind, found.shown, found.times = kind, function if shown is None else shown, 1

    def runs(self, source: str) -> None:
        """*source*, a record of the archive itself, is code that runs as the archive is loaded. Raises ``Malformed``."""
        if len(self.asked) >= limits.IMPORTED:
            raise Malformed(f"the archive runs more than {limits.IMPORTED:,} sources", "it is hostile")
        self.asked.setdefault((f"\n{source}", True), Asked("", source, "run", source, True, True))

    def holds(self, what: str) -> None:
        """The file holds *what*, a program perhaps, which could not be read: that is no less than one that was."""
        self.asked.setdefault((f"\n{what}", True), Asked("", what, "hold", what, True, True))

    def keep(self, wanted: Callable[[Asked], bool]) -> None:
        """Leave out the names that are not *wanted*: bytes that are no pickle's spell some."""
        self.asked = {key: asked for key, asked in self.asked.items() if asked.kind in ("run", "hold") or wanted(asked)}

    def knows(self, found: Global) -> bool:
        """True where the name is in the record."""
        return (f"{found.module}\n{found.name}", False) in self.asked

    def values(self, held: Any, work: Work, excused: bool = True) -> None:
        """Names that are harmless in some calls, where they are no callee but a value: in *held*, and in tuples inside it.

        They come to be called there unseen: as an attribute, or out of what a container or an object gives to another. Lists,
        mappings and sets are looked at as they are filled. work: what that may cost. excused: right in *held*, a file of
        numpy's that was made an array in memory is none.
        """
        waiting = [held]
        while waiting:
            here = waiting.pop()
            kind = type(here)
            if kind is not tuple and kind is not list and kind is not Pairs:
                continue
            items = [part for pair in here.pairs for part in pair] if kind is Pairs else here
            work.spend(len(items))
            for item in items:
                kind = type(item)
                if kind is tuple:
                    waiting.append(item)
                elif kind is Global and item.judged and not (excused and item.excused and item.handler is None):
                    self.note("import", item, certain=True)
            excused = False

    def drop_strings(self) -> None:
        """Let go of the byte strings that are certainly no pickles."""
        self.strings = [value for value in self.strings if type(value) is not bytes or may_be_pickle(value)]
        self.held = 0

    def merge(self, other: Actions) -> None:
        """Take over what *other* holds."""
        for key, asked in other.asked.items():
            mine = self.asked.setdefault(key, asked)
            if mine is not asked:
                mine.certain |= asked.certain
                if mine.kind == asked.kind:
                    mine.times += asked.times
                elif _MOST.index(asked.kind) > _MOST.index(mine.kind):
                    mine.kind, mine.shown, mine.times = asked.kind, asked.shown, asked.times
        self.strings += other.strings
        self.judged += other.judged

    def sorted(self) -> list[Asked]:
        """The most dangerous first, otherwise in the order of the file."""
        excused = {found.path for found in self.judged if found.excused}
        for found in self.judged:
            if found.path not in excused:
                self.note("import", found, certain=True)
        self.judged = []
        return sorted(self.asked.values(), key=lambda asked: asked.danger)


def may_be_pickle(raw: bytes) -> bool:
    """True where *raw* may import a name when it is loaded: all a pickle must do to be more than data."""
    if raw[:1] == b"\x80" and raw[1:2] <= b"\x05" and _STACK_GLOBAL in raw:
        return True
    return any(_NAMED.search(line[1]) for line in _LINES.finditer(raw))
