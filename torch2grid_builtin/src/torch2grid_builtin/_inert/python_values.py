"""Python's own containers as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch2grid_builtin._inert.filled import is_factory
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.storages import Latin1Bytes, Spool
from torch2grid_builtin._inert.values import Bag, Global, LongBytes, OldString, Pairs, Stub, bytes_of_numbers, text

if TYPE_CHECKING:
    from torch2grid_builtin._inert.limits import Work
    from torch2grid_builtin._inert.machine import Machine


_COMPLEX, _BYTES = Global("builtins", "complex"), Global("builtins", "bytes")
_PLAIN = (str, bytes, OldString, int, float, bool)
LATIN = ("latin1", "latin-1", "iso-8859-1")


def _pairs(machine: Machine, kind: str, module: str, value: Any = None) -> Any:
    """A mapping of a mapping or of pairs. What else it is made of is asked for its keys and values: a call."""
    if isinstance(value, Pairs):
        machine.work.copied(len(value.pairs))
        machine.hashed(key for key, _ in value.pairs)
        return Pairs(kind, list(value.pairs))
    made = Pairs(kind)
    items = value.items if isinstance(value, Bag) else value
    if type(items) in (list, tuple):
        machine.work.copied(len(items))
        for item in items:
            if type(item) not in (list, tuple) or len(item) != 2:
                raise Malformed(f"broken pickle: a {kind} made of something else than pairs")
            made.pairs.append((item[0], item[1]))
        machine.hashed(key for key, _ in made.pairs)
    elif value is not None:
        return machine.calls(Global(module, kind), (value,))
    return made


def ordered_dict(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``OrderedDict()``, or of a list of pairs (Python 2)."""
    return _pairs(machine, "OrderedDict", "collections", *args[:1])


def plain_dict(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``dict()`` or of pairs."""
    return _pairs(machine, "dict", "builtins", *args[:1])


def default_dict(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``defaultdict(factory)``."""
    factory = args[0] if args else None
    if not is_factory(factory):  # it is called for what is missing
        return machine.calls(Global("collections", "defaultdict"), args)
    made = _pairs(machine, "defaultdict", "collections", *args[1:2])
    if type(made) is Pairs:
        made.factory = factory
    return made


def counter(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``Counter(dict)``, or of things to count, which become its keys."""
    counted = args[0] if args else None
    items: Any = counted.items if isinstance(counted, Bag) else counted
    if type(items) in (list, tuple):
        machine.hashed(items)
        return Pairs("Counter", [(item, 1) for item in copied(machine, items)])
    return _pairs(machine, "Counter", "collections", *args[:1])


def _made_of_items(module: str, name: str, make: Callable[[list[Any]], Any]) -> Callable[[Machine, tuple[Any, ...]], Any]:
    """``list(items)``, ``set(items)`` and their like, of a list, a tuple or a set.

    Whatever else is asked for its items gives others than the file shows, and runs code of its own on the way: it is a call.
    """
    callee = Global(module, name)

    def made(machine: Machine, args: tuple[Any, ...]) -> Any:
        items = args[0] if args else []
        items = items.items if isinstance(items, Bag) else items
        if make is tuple and type(items) is tuple:
            return items  # Python makes no copy of it
        if type(items) not in (list, tuple):
            return machine.calls(callee, args)
        if make is Bag:
            machine.hashed(items)
        return make(copied(machine, items))

    return made


_ITEMS = _made_of_items("collections", "deque", list)


def deque(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``deque(items, maxlen)``: the last of the items."""
    items, most = _ITEMS(machine, args[:1]), args[1] if len(args) > 1 else None
    if type(items) is not list or most is None:
        return items
    if type(most) is not int or most < 0:
        return machine.calls(Global("collections", "deque"), args)
    return items[len(items) - min(most, len(items)) :]


def copied(machine: Machine, items: list[Any] | tuple[Any, ...]) -> list[Any]:
    machine.work.copied(len(items))
    return list(items)


def number(kind: type) -> Callable[[Machine, tuple[Any, ...]], Any]:
    """``int(x)``, ``float(x)`` and ``bool(x)`` of a number, to the letter: a byte that differs moves all that follow it."""

    def made(machine: Machine, args: tuple[Any, ...]) -> Any:
        return kind(args[0]) if len(args) == 1 and type(args[0]) in (int, float, bool) else complex_number(machine, args)

    return made


def complex_number(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``complex(x, y)``, and a number of a text. An object is asked for its number: a call."""
    if not all(type(each) in _PLAIN for each in args):
        return machine.calls(_COMPLEX, args)
    return Stub(_COMPLEX, args, "new")


def byte_string(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``bytes()``, ``bytearray(bytes)``, ``bytearray(text, 'latin-1')``, ``bytes(numbers)``.

    Another encoding, or a way with what it has no byte for, gives other bytes than the text shows: it is a call.
    """
    value = args[0] if args else b""
    if type(value) is OldString:  # text, where it is loaded
        machine.work.text(len(value))
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return machine.calls(_BYTES, args)
    if type(value) is str or (type(value) is LongBytes and value.is_text):
        if len(args) != 2 or text(args[1]) not in LATIN:
            return machine.calls(_BYTES, args)
        if isinstance(value, LongBytes):
            return LongBytes(decoded(machine.work, value), False, value.spool)
        spelled = latin1(machine.work, str(value))
        machine.keep(spelled)
        return spelled
    if type(value) in (list, tuple):
        machine.work.copied(len(value))
        spelled = bytes_of_numbers(value)
        if len(spelled) != len(value):
            return machine.calls(_BYTES, args)
        machine.keep(spelled)
        return spelled
    known = len(args) < 2 and (type(value) is bytes or (type(value) is LongBytes and not value.old))
    return value if known else machine.calls(_BYTES, args)


def latin1(work: Work, value: str) -> bytes:
    """The bytes that were pickled as text. Raises ``Malformed`` where it has other characters."""
    work.text(len(value))
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise Malformed("broken pickle: bytes with characters beyond one byte") from error


def decoded(work: Work, value: LongBytes) -> Latin1Bytes:
    """A long text as the bytes that were pickled so."""
    work.text(value.storage.size)  # it is read to count its characters
    return Latin1Bytes(value.storage, value.spool or Spool())


CONSTRUCTORS: dict[tuple[str, str], Any] = {("collections", "OrderedDict"): ordered_dict}
CONSTRUCTORS |= {("collections", "defaultdict"): default_dict, ("collections", "Counter"): counter}
CONSTRUCTORS |= {
    ("collections", "deque"): deque,
    ("ordereddict", "OrderedDict"): ordered_dict,
}
for _builtins in ("builtins", "__builtin__"):
    CONSTRUCTORS |= {
        (_builtins, "dict"): plain_dict,
        (_builtins, "set"): _made_of_items("builtins", "set", Bag),
        (_builtins, "frozenset"): _made_of_items("builtins", "frozenset", Bag),
        (_builtins, "list"): _made_of_items("builtins", "list", list),
        (_builtins, "tuple"): _made_of_items("builtins", "tuple", tuple),
        (_builtins, "complex"): complex_number,
        (_builtins, "int"): number(int),
        (_builtins, "float"): number(float),
        (_builtins, "bool"): number(bool),
        (_builtins, "bytes"): byte_string,
        (_builtins, "bytearray"): byte_string,
    }
