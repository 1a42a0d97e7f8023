"""Python's own containers as data, and the calls that are never worth a line in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch2grid_builtin.inert.values import Bag, Global, LongBytes, Malformed, Pairs, Stub

if TYPE_CHECKING:
    from torch2grid_builtin.inert.limits import Work
    from torch2grid_builtin.inert.machine import Machine


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
    return Bag(_copy(machine, items.items if isinstance(items, Bag) else items))


def sequence(machine: Machine, args: tuple[Any, ...]) -> list[Any]:
    """``list(items)``, ``deque(items)``."""
    return _copy(machine, args[0] if args else [])


def _copy(machine: Machine, items: Any) -> list[Any]:
    if type(items) not in (list, tuple):
        return []
    machine.work.copied(len(items))
    return list(items)


def fixed(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``tuple(items)``."""
    items = args[0] if args else ()
    return items if type(items) is tuple else tuple(_copy(machine, items))


def number(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``int(x)``, ``float(x)`` and ``bool(x)`` of a number are that number; anything else, and ``complex``, is a stub."""
    if len(args) == 1 and type(args[0]) in (int, float, bool):
        return args[0]
    return Stub(Global("builtins", "complex"), args, "new")


def byte_string(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``bytes()``, ``bytearray(bytes)``, ``bytearray(text, 'latin-1')``."""
    value = args[0] if args else b""
    if type(value) is str:
        return latin1(machine.work, value)
    return value if type(value) in (bytes, LongBytes) else b""


def latin1(work: Work, value: str) -> bytes:
    """The bytes that were pickled as text. Raises ``Malformed`` where it has other characters."""
    work.text(len(value))
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise Malformed("broken pickle: bytes with characters beyond one byte") from error


def reconstructor(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``copyreg._reconstructor(class, base, state)``: an object of protocols 0 and 1; of a container, its content too."""
    if len(args) < 3:
        raise Malformed("broken pickle: an object with too few parts")
    made = Stub(args[0], (), "new")
    content = args[2]
    if isinstance(content, Pairs):
        made.pairs = content.pairs
    elif type(content) in (list, tuple):
        made.items = _copy(machine, content)
    elif content is not None:
        made.args = (content,)
    return made


def newobj(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``copyreg.__newobj__(class, *args)``."""
    if not args:
        raise Malformed("broken pickle: an object without a class")
    machine.work.copied(len(args))
    return machine.call(args[0], args[1:], "new")


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
        (_builtins, "complex"): number,
        (_builtins, "int"): number,
        (_builtins, "float"): number,
        (_builtins, "bool"): number,
        (_builtins, "bytes"): byte_string,
        (_builtins, "bytearray"): byte_string,
    }
for _copyreg in ("copyreg", "copy_reg"):
    CONSTRUCTORS |= {(_copyreg, "_reconstructor"): reconstructor, (_copyreg, "__newobj__"): newobj}

# Plain values that are everywhere in training checkpoints: making them would do nothing, so they are not reported.
HARMLESS = {
    *("torch.device", "torch.Generator", "torch.jit._pickle.build_intlist", "torch.jit._pickle.build_doublelist"),
    *("torch.jit._pickle.build_boollist", "torch.jit._pickle.build_tensorlist", "torch.jit._pickle.restore_type_tag"),
    *("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.Path", "pathlib.PurePosixPath", "pathlib._local.PosixPath"),
    *("datetime.datetime", "datetime.date", "datetime.timedelta", "datetime.time", "datetime.timezone"),
    *("decimal.Decimal", "fractions.Fraction", "uuid.UUID", "builtins.slice", "__builtin__.slice"),
    *("builtins.range", "__builtin__.xrange", "builtins.object", "argparse.Namespace", "types.SimpleNamespace"),
    *("torch.Tensor", "torch.torch.Size", "numpy.random._pickle.__randomstate_ctor", "numpy.random.__RandomState_ctor"),
    *("numpy.scalar", "_codecs.encode", "builtins.complex", "torch.storage.TypedStorage"),
}
