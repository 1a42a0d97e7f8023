"""Python's own containers as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch2grid_builtin.inert.malformed import Malformed
from torch2grid_builtin.inert.values import Bag, Global, LongBytes, Pairs, Stub, bytes_of_numbers, text

if TYPE_CHECKING:
    from torch2grid_builtin.inert.limits import Work
    from torch2grid_builtin.inert.machine import Machine


_COMPLEX, _BYTES = Global("builtins", "complex"), Global("builtins", "bytes")
LATIN = ("latin1", "latin-1", "iso-8859-1")


def _pairs(machine: Machine, kind: str, value: Any) -> Pairs:
    if isinstance(value, Pairs):
        machine.work.copied(len(value.pairs))
        return Pairs(kind, list(value.pairs))
    made = Pairs(kind)
    items = value.items if isinstance(value, Bag) else value
    if type(items) in (list, tuple):
        machine.work.copied(len(items))
        for item in items:
            if type(item) not in (list, tuple) or len(item) != 2:
                raise Malformed(f"broken pickle: a {kind} made of something else than pairs")
            made.pairs.append((item[0], item[1]))
    return made


def ordered_dict(machine: Machine, args: tuple[Any, ...]) -> Pairs:
    """``OrderedDict()``, or of a list of pairs (Python 2)."""
    return _pairs(machine, "OrderedDict", args[0] if args else None)


def plain_dict(machine: Machine, args: tuple[Any, ...]) -> Pairs:
    """``dict()`` or of pairs."""
    return _pairs(machine, "dict", args[0] if args else None)


def default_dict(machine: Machine, args: tuple[Any, ...]) -> Pairs:
    """``defaultdict(factory)``."""
    return _pairs(machine, "defaultdict", args[1] if len(args) > 1 else None)


def counter(machine: Machine, args: tuple[Any, ...]) -> Pairs:
    """``Counter(dict)``."""
    return _pairs(machine, "Counter", args[0] if args else None)


def bag(machine: Machine, args: tuple[Any, ...]) -> Bag:
    """``set(list)``, ``frozenset(list)``."""
    items = args[0] if args else []
    return Bag(copied(machine, items.items if isinstance(items, Bag) else items))


def sequence(machine: Machine, args: tuple[Any, ...]) -> list[Any]:
    """``list(items)``, ``deque(items)``."""
    return copied(machine, args[0] if args else [])


def copied(machine: Machine, items: Any) -> list[Any]:
    if type(items) not in (list, tuple):
        return []
    machine.work.copied(len(items))
    return list(items)


def fixed(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``tuple(items)``."""
    items = args[0] if args else ()
    return items if type(items) is tuple else tuple(copied(machine, items))


def number(kind: type) -> Callable[[Machine, tuple[Any, ...]], Any]:
    """``int(x)``, ``float(x)`` and ``bool(x)`` of a number, to the letter: a byte that differs moves all that follow it."""

    def made(machine: Machine, args: tuple[Any, ...]) -> Any:
        return kind(args[0]) if len(args) == 1 and type(args[0]) in (int, float, bool) else complex_number(machine, args)

    return made


def complex_number(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``complex(x, y)``, and a number of a text."""
    return Stub(_COMPLEX, args, "new")


def byte_string(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``bytes()``, ``bytearray(bytes)``, ``bytearray(text, 'latin-1')``, ``bytes(numbers)``.

    Another encoding, or a way with what it has no byte for, gives other bytes than the text shows: it is a call.
    """
    value = args[0] if args else b""
    if type(value) is str:
        if len(args) != 2 or text(args[1]) not in LATIN:
            return machine.calls(_BYTES, args)
        value = latin1(machine.work, value)
        machine.keep(value)
    elif type(value) in (list, tuple):
        machine.work.copied(len(value))
        value = bytes_of_numbers(value)
        machine.keep(value)
    return value if type(value) in (bytes, LongBytes) else b""


def latin1(work: Work, value: str) -> bytes:
    """The bytes that were pickled as text. Raises ``Malformed`` where it has other characters."""
    work.text(len(value))
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise Malformed("broken pickle: bytes with characters beyond one byte") from error


CONSTRUCTORS: dict[tuple[str, str], Any] = {("collections", "OrderedDict"): ordered_dict}
CONSTRUCTORS |= {("collections", "defaultdict"): default_dict, ("collections", "Counter"): counter}
CONSTRUCTORS |= {("collections", "deque"): sequence, ("ordereddict", "OrderedDict"): ordered_dict}
for _builtins in ("builtins", "__builtin__"):
    CONSTRUCTORS |= {
        (_builtins, "dict"): plain_dict,
        (_builtins, "set"): bag,
        (_builtins, "frozenset"): bag,
        (_builtins, "list"): sequence,
        (_builtins, "tuple"): fixed,
        (_builtins, "complex"): complex_number,
        (_builtins, "int"): number(int),
        (_builtins, "float"): number(float),
        (_builtins, "bool"): number(bool),
        (_builtins, "bytes"): byte_string,
        (_builtins, "bytearray"): byte_string,
    }
