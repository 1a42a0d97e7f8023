"""Calls that are harmless only with some arguments: they call what they are given, give it back, or look it up by name.

A use that checkpoints have is interpreted, or becomes a stub that is ``judged``. Any other is in the record as a call.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch2grid_builtin._inert.allowed import ALLOWED, IMPORT, JUDGED, MAKE, METHODS
from torch2grid_builtin._inert.filled import is_factory, object_in
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.python_values import copied
from torch2grid_builtin._inert.values import Bag, Global, LongBytes, OldString, Pairs, Stub

if TYPE_CHECKING:
    from torch2grid_builtin._inert.machine import Machine

_BASES = frozenset(
    [
        "object",
        "dict",
        "list",
        "tuple",
        "set",
        "frozenset",
        "str",
        "unicode",
        "int",
        "long",
        "float",
        "complex",
        "bytes",
        "bytearray",
    ]
)
_CONTAINERS = frozenset(["dict", "list", "tuple", "set", "frozenset"])
_EXCEPTION = re.compile(r"(builtins|exceptions)\.[A-Z]\w+")
_PLAIN = (str, bytes, OldString, int, float, bool, LongBytes)
_OWN_METHODS = ("_infer_parameters", "_lazy_load_hook")  # of a lazy module, which its own hooks hold
_CYCLIC = "torch.optim.lr_scheduler.CyclicLR"  # its policies are functions of a number
_BIT_GENERATORS = "numpy.random._pickle.__bit_generator_ctor"


def _harmless(machine: Machine, args: tuple[Any, ...]) -> Stub:
    return Stub(machine.callee, args, "judged")


def _is_builtin(value: Any, *names: str) -> bool:
    if type(value) is not Global:
        return False
    module, _, last = value.path.rpartition(".")
    return module in ("builtins", "__builtin__") and last in names


def reconstructor(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``copyreg._reconstructor(class, base, state)``: an object of protocols 0 and 1; of a container, its content too.

    It calls ``base(state)`` on the way, so only the plain types of Python are harmless as a base.
    """
    if len(args) < 3:
        raise Malformed("broken pickle: an object with too few parts")
    kind, base, content = args[:3]
    machine.actions.values(content, machine.work, excused=False)
    if type(kind) is Global and kind.handler is not None:
        if _is_builtin(base, "object") and content is None:
            return machine.call(kind, (), "new")
        machine.calls(kind, args)
    made = Stub(kind, (), "new")
    if type(kind) is not Global or kind.allowed < MAKE:
        machine.actions.note("make", kind, made)
    plain = _is_builtin(base, *_BASES)
    if not plain or not _is_content(machine, base.name, content):
        machine.actions.note("call", base, Stub(base, (content,)), certain=True)
    if isinstance(content, Pairs):
        made.pairs = content.pairs
    elif type(content) in (list, tuple):
        made.items = copied(machine, content)
    elif content is not None:
        made.args = (content,)
    return made


def _is_content(machine: Machine, base: str, content: Any) -> bool:
    """True where the plain type *base* makes its object of *content* without asking it for anything."""
    kind = type(content)
    if base == "object" or content is None:
        return True
    if base not in _CONTAINERS:
        return kind in _PLAIN or (kind is list and object_in(machine, content) is None)
    items = content.items if kind is Bag else content
    if base == "dict" and kind in (list, tuple):
        machine.work.spend(len(items))
        if not all(type(item) in (list, tuple) and len(item) == 2 for item in items):
            return False
        machine.hashed(item[0] for item in items)
    elif base in ("set", "frozenset") and type(items) in (list, tuple):
        machine.hashed(items)
    return kind in (list, tuple, Pairs) or (kind is Bag and base != "dict")


def newobj(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``copyreg.__newobj__(class, *args)``."""
    if not args:
        raise Malformed("broken pickle: an object without a class")
    machine.work.copied(len(args))
    return machine.call(args[0], args[1:], "new")


def newobj_ex(machine: Machine, args: tuple[Any, ...]) -> Any:
    """``copyreg.__newobj_ex__(class, args, kwargs)``."""
    if len(args) != 3:
        raise Malformed("broken pickle: an object without a class")
    return machine.call(args[0], args[1], "new_ex", args[2])


def attribute(machine: Machine, args: tuple[Any, ...]) -> Stub | Global:
    """``getattr(owner, name)``: a function of PyTorch's table, a lazy module's own method, a policy of ``CyclicLR``."""
    owner, name = args if len(args) == 2 else (None, None)
    if type(owner) is Global and owner.path == "torch._C._VariableFunctionsClass" and name in METHODS:
        return _harmless(machine, args)
    if type(owner) is Global and type(name) is str and owner.path == _CYCLIC and f"{_CYCLIC}.{name}" in ALLOWED:
        return _harmless(machine, args)
    if type(owner) is Global and owner.path == "zoneinfo.ZoneInfo" and name == "_unpickle":
        return machine.find_global(owner.module, "ZoneInfo._unpickle")
    if type(owner) is Stub and name in _OWN_METHODS and owner.path.startswith("torch.nn.modules."):
        return _harmless(machine, args)
    return machine.calls(machine.callee, args)


def type_of(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``type(None)``, as the type of a plain value is pickled; with three arguments it makes a class."""
    plain = len(args) == 1 and (args[0] is None or (type(args[0]) is Global and args[0].last in ("Ellipsis", "NotImplemented")))
    return _harmless(machine, args) if plain else machine.calls(machine.callee, args)


def partial(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``functools.partial(function)``: calls nothing, and is as harmless as its function; a call of it is a call of its own."""
    function = args[0] if args else None
    if _is_policy(function) and (len(args) == 1 or object_in(machine, args[1:]) is None):
        return _harmless(machine, args)
    if (
        type(function) is Global
        and not function.judged
        and function.allowed >= IMPORT
        and (len(args) == 1 or object_in(machine, args[1:]) is None)
        and (function.path != "collections.defaultdict" or len(args) == 1 or is_factory(args[1]))
    ):
        return _harmless(machine, args)
    return machine.calls(machine.callee, args)


def _is_policy(function: Any) -> bool:
    """True for what ``attribute`` found to be a function of ``CyclicLR``."""
    if type(function) is not Stub or function.how != "judged" or function.path.rpartition(".")[2] != "getattr":
        return False
    owner = function.args[0]
    return type(owner) is Global and owner.path == _CYCLIC


def named(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """A call whose arguments are plain values: a text, a number or nothing."""
    plain = all(type(each) in (str, bytes, OldString, int, float, bool, type(None)) for each in args)
    return _harmless(machine, args) if plain else machine.calls(machine.callee, args)


def time_zone(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``ZoneInfo._unpickle(key, from_cache)``: reads the zone's file, of those that Python has, by its name."""
    known = len(args) == 2 and type(args[0]) is str and re.fullmatch(r"[A-Za-z][\w+-]{0,40}(/[\w+-]{1,40}){0,3}", args[0], re.A)
    return _harmless(machine, args) if known and type(args[1]) in (int, bool) else machine.calls(machine.callee, args)


def status(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``os.stat_result((numbers), {more of them})``: a tuple with names."""
    first, more = (*args, None)[:2] if len(args) in (1, 2) else (None, None)
    plain = type(first) is tuple and (more is None or type(more) is Pairs)
    if plain:
        held = [*first, *(part for pair in (more.pairs if more is not None else ()) for part in pair)]
        machine.work.copied(len(held))
        plain = all(type(each) in (str, int, float, type(None)) for each in held)
    return _harmless(machine, args) if plain else machine.calls(machine.callee, args)


def fraction(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``fractions.Fraction('1/3')``: with an exponent, few digits ask for a number without end."""
    machine.work.text(sum(len(each) for each in args if type(each) is str))
    plain = all(type(each) is int or (type(each) is str and each.strip("-").replace("/", "").isdecimal()) for each in args)
    return _harmless(machine, args) if plain else machine.calls(machine.callee, args)


def bit_generator(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``__bit_generator_ctor(name or class)``: calls a class that it is given."""
    of_numpy = len(args) <= 1 and all(type(each) is str or _is_random(each) for each in args)
    return _harmless(machine, args) if of_numpy else machine.calls(machine.callee, args)


def random_state(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``__randomstate_ctor(generator, constructor)`` and its like: calls the second argument with the first."""
    callee = machine.callee
    generator, *constructors = args or ("MT19937",)
    known = type(generator) is str or (
        type(generator) is Stub and generator.path == _BIT_GENERATORS and generator.how == "judged"
    )
    for each in constructors:
        known = known and type(each) is Global and each.path == _BIT_GENERATORS
        if known:
            each.excused = True
    return Stub(callee, args, "judged") if known else machine.calls(callee, args)


def seed_sequence(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """``__pyx_unpickle_SeedSequence(class, checksum, state)``: makes an object of the class."""
    of_numpy = bool(args) and _is_random(args[0]) and object_in(machine, args[1:]) is None
    return _harmless(machine, args) if of_numpy else machine.calls(machine.callee, args)


def _is_random(value: Any) -> bool:
    return type(value) is Global and value.allowed >= IMPORT and value.module.startswith("numpy.random.")


def stub(machine: Machine, args: tuple[Any, ...]) -> Stub:
    """A call that is judged elsewhere."""
    return _harmless(machine, args)


def same(machine: Machine, args: tuple[Any, ...]) -> Any:
    """What gives its first argument back: TorchScript's ``build_intlist(data)``, ``restore_type_tag(value, type)``."""
    return args[0] if args else machine.calls(machine.callee, args)


CONSTRUCTORS: dict[tuple[str, str], Any] = {
    **{(path.partition(".")[0], path.partition(".")[2]): named for path in JUDGED if _EXCEPTION.fullmatch(path)},
    ("os", "stat_result"): status,
    ("zoneinfo.ZoneInfo", "_unpickle"): time_zone,
    ("functools", "partial"): partial,
    ("logging", "getLogger"): named,
    ("re", "_compile"): named,
    ("re", "compile"): named,
    ("fractions", "Fraction"): fraction,
    ("numpy.random", "__RandomState_ctor"): random_state,
    ("numpy.random._pickle", "__randomstate_ctor"): random_state,
    ("numpy.random._pickle", "__generator_ctor"): random_state,
    ("numpy.random._pickle", "__bit_generator_ctor"): bit_generator,
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"): seed_sequence,
}
for _kind in ("Address", "Network", "Interface"):
    CONSTRUCTORS |= {("ipaddress", f"IPv{version}{_kind}"): named for version in (4, 6)}
for _copyreg in ("copyreg", "copy_reg"):
    CONSTRUCTORS |= {(_copyreg, "_reconstructor"): reconstructor, (_copyreg, "__newobj__"): newobj}
    CONSTRUCTORS |= {(_copyreg, "__newobj_ex__"): newobj_ex}
for _builtins in ("builtins", "__builtin__"):
    CONSTRUCTORS |= {(_builtins, "getattr"): attribute, (_builtins, "type"): type_of}
for _build in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag"):
    CONSTRUCTORS |= {("torch.jit._pickle", _build): same}
