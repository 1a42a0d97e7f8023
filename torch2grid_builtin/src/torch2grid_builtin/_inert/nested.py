"""Pickles in the byte strings of a pickle: RLlib keeps the state of a worker so."""

from __future__ import annotations

from typing import Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.machine import Machine
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.values import LongBytes, Pairs
from torch2grid_core.sources import BytesStorage, Storage

_MOST = 1000


def opened_strings(root: Any, machine: Machine) -> Any:
    """*root*, with what a pickle in a byte string right under a key of it says in place of that string.

    What such pickles want done is recorded with the actions of *machine*. Raises ``Malformed`` where there are thousands, or
    one of them costs more than is left.
    """
    if not isinstance(root, Pairs):
        return root
    machine.work.pairs(len(root.pairs))
    done = 0
    for place, (key, value) in enumerate(root.pairs):
        storage = _pickle_in(value)
        if storage is None:
            continue
        done += 1
        if done > _MOST or machine.depth >= limits.PICKLES:
            raise Malformed("pickles are nested in pickles", "the file is hostile")
        machine.work.spend(limits.INNER)
        stream = PickleStream(storage)
        inner = Interpreter(stream, machine.constructors, inside=machine)
        try:
            inside = inner.load()
        except Malformed:
            machine.work.spend(0)  # raises where the pickle was given up because it cost too much
            continue  # bytes that only begin and end like a pickle
        finally:
            machine.containers, machine.tuples = inner.containers, inner.tuples
        if stream.tell() == storage.size:
            root.pairs[place] = key, inside
    return root


def _pickle_in(value: Any) -> Storage | None:
    """The bytes of *value* where it is a byte string that begins and ends as a pickle of protocol 2 and later."""
    if isinstance(value, bytes) and len(value) > 2:
        storage: Storage = BytesStorage(value)
    elif isinstance(value, LongBytes) and not value.is_text:
        storage = value.storage
    else:
        return None
    ends = bytearray(3)
    storage.read_into(0, memoryview(ends)[:2])
    storage.read_into(storage.size - 1, memoryview(ends)[2:])
    return storage if ends[0] == 0x80 and 2 <= ends[1] <= 5 and ends[2:] == b"." else None
