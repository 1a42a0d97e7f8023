"""Pickles where nobody looks: behind another one's STOP, in byte strings, in arrays of objects, beside ``data.pkl``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions, Asked, may_be_pickle
from torch2grid_builtin._inert.constructors import WITHOUT_STORAGES
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.legacy import class_beside
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.machine import Handler, refuse_persistent
from torch2grid_builtin._inert.malformed import Broken, CutShort, Malformed
from torch2grid_builtin._inert.remains import SEARCHED, note_remains
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.values import Global, LongBytes, PersistentValue, Stub, text
from torch2grid_builtin._inert.verdicts import ROOTS, family
from torch2grid_core import LoadError
from torch2grid_core.sources import BytesStorage, Joined, NotRead, Storage

_LITTLE = 1 << 15  # bytes behind the header of a file that are read as a pickle when it is opened
_NAME = re.compile(r"[A-Za-z_][\w.]*")


def read_pickles(
    storage: Storage,
    start: int,
    actions: Actions,
    work: Work,
    script: bool = False,
    search: bool = True,
    constructors: Mapping[tuple[str, str], Handler] = WITHOUT_STORAGES,
) -> int:
    """Add to *actions* what the pickles of *storage* from *start* on want done; the place behind the last one.

    Stops at what is none to any unpickler. What a broken one did before it broke is added where it names things as programs do;
    with *search*, the names further on, too. One that only we stop at is in the record, as CPython may run what follows.
    Raises ``Malformed`` where the work is used up.
    """
    while start < storage.size:
        found = Actions()
        machine = second_reading(storage, start, found, work, partial(_stands_for, found, work), script, constructors)
        try:
            work.spend(limits.INNER)
            machine.load()
        except (Malformed, LoadError) as error:
            if work.left < 0:
                raise
            # Other bytes than a pickle's hardly ever name a thing as programs do; one that does not speaks for itself alone.
            found.keep(_is_name)
            note_stop(error, found)
            actions.merge(found)
            if search:
                actions.broken += found.broken
                work.text(min(storage.size - start, SEARCHED))
                note_remains(actions, work)  # another unpickler may go on where this one stops
            return start
        actions.merge(found)
        start = machine.stream.tell()
    return start


def _stands_for(actions: Actions, work: Work, saved: Any) -> Any:
    """The ``persistent_load`` of a second reading: the class that an id names, or what nothing is known of."""
    if type(saved) is not tuple or not saved:
        return PersistentValue()
    work.spend(len(saved))
    if actions.judged:
        actions.values(saved, work, excused=False)
    kind = text(saved[0])
    if kind == "reduce_package":
        return package_call(saved, actions)
    if kind == "module" and len(saved) > 1:  # of a legacy stream
        return class_beside(saved[1], saved[2:])
    return class_beside(saved[0], saved[1:]) if type(saved[0]) is Global else PersistentValue()  # of a tar


def package_call(saved: tuple[Any, ...], actions: Actions) -> Stub:
    """``("reduce_package", …, function, args)``: ``torch.package`` calls the function. Raises ``Malformed``."""
    function, args = saved[-2:] if len(saved) in (3, 4) else (None, ())
    if type(args) is not tuple:
        raise Malformed("broken package: a call whose arguments are not a tuple")
    script = type(function) is Global and function.path == "torch.jit._script.unpackage_script_module"
    if script and len(args) == 1 and type(args[0]) is str and args[0].isdecimal():
        return Stub(function, args, "judged")  # a module of TorchScript, whose code is looked at
    made = Stub(function, args)
    actions.note("call", function, made)
    return made


def second_reading(
    storage: Storage,
    start: int,
    actions: Actions,
    work: Work | None = None,
    persistent_load: Callable[[Any], Any] = refuse_persistent,
    script: bool = False,
    constructors: Mapping[tuple[str, str], Handler] = WITHOUT_STORAGES,
) -> Interpreter:
    """A machine for bytes that nothing is shown of: it reads on wherever an unpickler of CPython does."""
    stream = PickleStream(storage, start, framed=False)
    return Interpreter(stream, constructors, persistent_load, work, None, actions, script, whole=False)


def note_stop(error: Malformed | LoadError, actions: Actions) -> None:
    """Add to *actions* a pickle that was not read to its end, unless no unpickler would go on there, or nobody looked."""
    if not isinstance(error, (Broken, NotRead)):
        actions.holds(f"a pickle that is not read to its end ({error.reason})")


def _is_name(asked: Asked) -> bool:
    """True for what a program could name: in a module of Python's or PyTorch's an attribute may be called anything."""
    return _NAME.fullmatch(asked.module + asked.name) is not None or asked.module.partition(".")[0] in ROOTS


def begins_pickle(storage: Storage, actions: Actions) -> bool:
    """True where a file of another format begins with a pickle: one that ends, or that imports something; *actions* gets it."""
    machine = second_reading(storage, 0, actions)
    try:
        machine.load()
        read_pickles(storage, machine.stream.tell(), actions, machine.work, search=False)
    except (Malformed, LoadError) as error:
        actions.broken = []
        note_stop(error, actions)
        return bool(actions or machine.globals)
    return True


class _Little:
    """A storage of which only a little is read: for more, ``NotRead`` is raised."""

    shippable = False

    def __init__(self, whole: Storage) -> None:
        self.whole, self.size, self.left = whole, whole.size, _LITTLE

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.left -= len(buffer)
        if self.left < 0:
            raise NotRead("<beginning>", "no more is read of a file of another format")
        self.whole.read_into(offset, buffer)


def begins_program(head: bytes, rest: Storage, actions: Actions) -> bool:
    """True where a file of another format begins, read as a pickle, by importing something of Python's; *actions* gets it.

    head: what is in memory of it. rest: what follows, of which little is read: ``program_in`` reads on.
    """
    probe = Actions()
    if not _begins(BytesStorage(head), probe) and not _is_program(probe):
        return False  # nearly all end there, and nothing is read for them
    _begins(Joined((BytesStorage(head), _Little(rest))), actions)
    return _is_program(actions)


def _begins(storage: Storage, actions: Actions) -> bool:
    """Read a pickle at the beginning of *storage* for what it does; True where the bytes end before it."""
    cut = False
    try:
        second_reading(storage, 0, actions).load()
    except (Malformed, LoadError) as error:
        cut = isinstance(error, CutShort)
        note_stop(error, actions)
    actions.broken = []
    return cut


def _is_program(actions: Actions) -> bool:
    return any(asked.kind == "hold" or family(asked.module, asked.name) for asked in actions.asked.values())


def program_in(storage: Storage, work: Work | None = None) -> Actions:
    """What a file of another format would do, were it read as a pickle: nothing where every unpickler ends before it does.

    Its bytes are not known to be a pickle's: a name that no program has is none. Where it is one, or may be, and breaks, the
    names of Python's that stand further on are in the record, too.
    """
    found, work = Actions(), work or Work(storage.size)
    machine = second_reading(storage, 0, found, work)
    try:
        machine.load()
        read_pickles(storage, machine.stream.tell(), found, work, search=bool(found.asked))
    except (Malformed, LoadError) as error:
        broken, found.broken = found.broken, []
        found.keep(_is_name)
        note_stop(error, found)
        if found.asked:
            found.broken = broken
            with suppress(Malformed):
                note_remains(found)
    try:
        read_strings(found, work)
    except Malformed as error:
        note_stop(error, found)
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
