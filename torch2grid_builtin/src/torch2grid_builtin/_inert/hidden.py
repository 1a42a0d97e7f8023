"""Pickles where nobody looks: behind another one's STOP, in byte strings, in arrays of objects, beside ``data.pkl``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions, may_be_pickle
from torch2grid_builtin._inert.constructors import WITHOUT_STORAGES
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.machine import refuse_persistent
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.remains import SEARCHED, note_remains
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.values import LongBytes
from torch2grid_builtin._inert.verdicts import family
from torch2grid_core import LoadError
from torch2grid_core.sources import BytesStorage, Storage

_FAR = 1 << 16  # bytes, fewer than any limit of the machine allows; other formats break as pickles within their first ones
_NAME = re.compile(r"[A-Za-z_][\w.]*")


def read_pickles(storage: Storage, start: int, actions: Actions, work: Work, script: bool = False) -> int:
    """Add to *actions* what the pickles of *storage* from *start* on want done; the place behind the last one.

    Stops at what is none. What a broken one did before it broke is added where it names things as programs do, and the names
    further on. Raises ``Malformed`` where the work is used up.
    """
    while start < storage.size:
        found = Actions()
        machine = Interpreter(PickleStream(storage, start), WITHOUT_STORAGES, lambda saved: None, work, None, found, script)
        try:
            work.spend(limits.INNER)
            machine.load()
        except (Malformed, LoadError):
            if work.left < 0:
                raise
            # Other bytes than a pickle's hardly ever name a thing as programs do; one that does not speaks for itself alone.
            found.asked = {key: asked for key, asked in found.asked.items() if _NAME.fullmatch(asked.module + asked.name)}
            actions.merge(found)
            actions.broken += found.broken
            work.text(min(storage.size - start, SEARCHED))
            note_remains(actions, work)  # another unpickler may go on where this one stops
            return start
        actions.merge(found)
        start = machine.stream.tell()
    return start


def begins_pickle(storage: Storage, actions: Actions) -> bool:
    """True where a file of another format begins with a pickle: one that ends, or that imports something; *actions* gets it."""
    machine = Interpreter(PickleStream(storage), WITHOUT_STORAGES, lambda saved: None, actions=actions)
    try:
        machine.load()
    except (Malformed, LoadError):
        actions.broken = []
        return bool(actions or machine.globals)
    return True


def begins_program(storage: Storage, actions: Actions) -> bool:
    """True where a file of another format begins, read as a pickle, by importing something of Python's; *actions* gets it."""
    machine = Interpreter(PickleStream(storage), WITHOUT_STORAGES, lambda saved: None, actions=actions)
    with suppress(Malformed, LoadError):
        machine.load()
    actions.broken = []
    return any(family(asked.module, asked.name) for asked in actions.asked.values())


def program_in(storage: Storage) -> Actions:
    """What a file of another format would do, were it read as a pickle: nothing where it breaks before it imports a name.

    Its bytes are not known to be a pickle's: a name that no program has is none. Where it reads on beyond the limits of a
    checkpoint, or breaks only far inside, the names of Python's that stand further on are in the record, too.
    """
    found, work, ended = Actions(), Work(storage.size), []

    def ends(saved: Any) -> None:  # no unpickler knows a storage outside of a checkpoint
        ended.append(saved)
        refuse_persistent(saved)

    machine = Interpreter(PickleStream(storage), WITHOUT_STORAGES, ends, work, None, found)
    try:
        machine.load()
        if found.asked:
            read_pickles(storage, machine.stream.tell(), found, work)
    except (Malformed, LoadError):
        broken, found.broken = found.broken, []
        found.asked = {key: asked for key, asked in found.asked.items() if _NAME.fullmatch(asked.module + asked.name)}
        if found.asked or (machine.stream.tell() > _FAR and not ended):
            found.broken = broken
            with suppress(Malformed):
                note_remains(found)
    with suppress(Malformed):
        read_strings(found, work)
    return found


def read_strings(actions: Actions, work: Work) -> None:
    """Add what pickles in byte strings want done, and those in their strings: where anything in the file may load them.

    Raises ``Malformed`` where they are nested deeper than the limit, or the work is used up.
    """
    for depth in range(limits.PICKLES + 1):
        strings, actions.strings, actions.held = actions.strings, [], 0
        if not actions or not strings:
            return
        for storage in _like_pickles(strings, work):
            if depth == limits.PICKLES:
                raise Malformed("pickles are nested in pickles", "the file is hostile")
            read_pickles(storage, 0, actions, work)


def _like_pickles(strings: Iterable[bytes | LongBytes], work: Work) -> Iterable[Storage]:
    """Those that may import something; a long one is read as a pickle at once, which costs less than to search it."""
    for value in strings:
        if isinstance(value, bytes):
            work.text(len(value))
            if may_be_pickle(value):
                yield BytesStorage(value)
        elif isinstance(value, LongBytes):
            yield value.storage
