"""What a pickle machine holds, and what its opcodes and constructors do with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.allowed import CALL, EMPTY_WHEN_NEW, IMPORT, MAKE
from torch2grid_builtin._inert.filled import Filled, given, is_foreign, is_held
from torch2grid_builtin._inert.malformed import Broken, Malformed
from torch2grid_builtin._inert.storages import Spool
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.values import LONG_NAME, Global, LongBytes, OldString, Pairs, Stub, bytes_of_numbers, is_plain
from torch2grid_core.sources import ActionKind

# What a way of calling needs of the name, and what it is where the name is not allowed it.
_NEEDED = {"call": CALL, "new": MAKE, "instance": MAKE, "new_ex": MAKE}
_KINDS: dict[str, ActionKind] = {"call": "call", "new": "make", "instance": "call", "new_ex": "call"}
_SPELLED = 12  # bytes of the shortest pickle that imports a name and calls it
_ARGUMENTS = 16  # more than checkpoints give to any call
_NO_ARGUMENTS = (int, float, bool, type(None))  # what no unpickler spreads out over a call
_BY_JOBLIB = "NumpyArrayWrapper"  # the class whose objects joblib replaces by the numbers behind them, by whatever path
_SHORT_NAME = 256
Handler = Callable[["Machine", tuple[Any, ...]], Any]


def refuse_persistent(saved: Any) -> Any:
    """The ``persistent_load`` of a pickle that stands alone."""
    raise Broken("the pickle refers to a storage outside itself", "it is a part of a checkpoint, not one")


class Machine:
    """The state of an ``Interpreter``, as those who handle opcodes and calls see it.

    constructors: what is interpreted, by (module, name); every other name becomes a ``Stub`` when it is called.
    persistent_load: gives the value of a persistent id, as the container defines it.
    actions: the record of what the pickles want done, by default one of its own. work: what the pickle may cost, by default
    that of the whole stream. inside: the machine whose pickle holds this one in a byte string; they share work, counts and the
    record. script: the pickle is of a TorchScript archive, whose classes ``__torch__.…`` are none of Python's. whole: nothing
    is left over where the pickle ends, as in every honest one; otherwise it is read as CPython reads it, to see what it does.
    """

    def __init__(
        self,
        stream: PickleStream,
        constructors: Mapping[tuple[str, str], Handler],
        persistent_load: Callable[[Any], Any] = refuse_persistent,
        work: limits.Work | None = None,
        inside: Machine | None = None,
        actions: Actions | None = None,
        script: bool = False,
        whole: bool = True,
    ) -> None:
        self.stream = stream
        self.constructors = constructors
        self.persistent_load = persistent_load
        self.depth: int = 0 if inside is None else inside.depth + 1
        self.work: limits.Work = work or (inside.work if inside is not None else limits.Work(stream.size))
        self.spool: Spool = Spool() if inside is None else inside.spool
        self.actions: Actions = actions if actions is not None else Actions() if inside is None else inside.actions
        self.script = script
        self.whole = whole
        self.handling = False  # of a call or a state: what goes wrong there, a real unpickler may survive
        # How much is made before the pickle is refused; a machine that reads into arrays allows itself more.
        self.most_containers, self.most_tuples, self.most_memo = limits.CONTAINERS, limits.TUPLES, limits.MEMO
        self.most_memory = limits.MEMORY
        self.memo_outside: int = 0 if inside is None else inside.memo_outside + len(inside.memo)
        self.filled = Filled()
        self.holding = False  # an object was made that may hold anything
        self.callee: Any = None  # of the judged call that is being interpreted
        self.containers: int = 0 if inside is None else inside.containers
        self.tuples: int = 0 if inside is None else inside.tuples
        self.again = False  # the pickle was read before: its opcodes count once
        self.payload = 0  # bytes of strings, which cost nothing to interpret
        self.globals: dict[tuple[str, str], Global] = {}
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def new_memo(self) -> dict[int, Any]:
        """The memo that the next pickle begins with."""
        return {}

    def tidy(self) -> None:
        """Let go of what is not needed: called every so many bytes."""

    def check_size(self) -> None:
        """Raise ``Malformed`` where what was made is more than any checkpoint has: called every so many bytes."""
        slots = len(self.memo)
        if self.tuples > self.most_tuples or slots > self.most_memo:
            raise Malformed("the pickle makes more objects than any checkpoint", "it is not a checkpoint")
        memory = limits.OBJECT * self.containers + limits.TUPLE * self.tuples + limits.SLOT * (slots + self.memo_outside)
        if memory + limits.HELD - self.work.held > self.most_memory:
            raise Malformed(f"its objects take more than {self.most_memory >> 20} MiB of memory", "it is not a checkpoint")

    def string(self, length: int, pos: int, is_text: bool) -> tuple[Any, int]:
        """The string of *length* bytes at *pos* in the window: in memory where it is short, else left in the file."""
        self.spent(length)
        if length > limits.TEXT_IN_MEMORY:
            storage, pos = self.stream.leave(pos, length)
            left = LongBytes(storage, is_text, self.spool)
            if not is_text:
                self.keep(left)
            return left, pos
        raw, pos = self.stream.take(pos, length)
        if is_text:
            value = raw.decode("utf-8", "surrogatepass")
            self.work.hold(value.__sizeof__())
            return value, pos
        self.work.hold(raw.__sizeof__())
        self.keep(raw)
        return raw, pos

    def keep(self, value: bytes | LongBytes) -> None:
        """Remember a byte string, which may be a pickle that something in the file loads."""
        actions = self.actions
        actions.strings.append(value)
        if isinstance(value, bytes):
            actions.held += len(value)
            if actions.held > limits.STRINGS_HELD:
                actions.drop_strings()

    def spent(self, length: int) -> None:
        """*length* bytes of the pickle were a string: only a short one counts as an instruction."""
        if length > limits.SHORT:
            self.payload += length

    def keep_spelled(self, args: tuple[Any, ...]) -> None:
        """Remember the byte strings that the arguments of a call spell as numbers or as text."""
        for value in args:
            if type(value) is str and len(value) > _SPELLED:
                self.work.text(len(value))
                if value.isascii() or max(value) < "\u0100":
                    self.keep(value.encode("latin-1"))
            elif type(value) in (list, tuple) and len(value) > _SPELLED and type(value[0]) is int:
                self.work.copied(len(value))
                self.keep(bytes_of_numbers(value))

    def find_global(self, module: Any, name: Any) -> Global:
        """The stand-in of ``module.name``, one for each name."""
        module = _name(module)
        name = _name(name, module)
        key = (module, name)
        found = self.globals.get(key)
        if found is None:
            plain = f"{module}.{name}".rpartition(".") if "." in name else (module, "", name)  # one path, however it is cut
            length = len(module) + len(name)
            if length > _SHORT_NAME:  # longer than any of Python's
                self.work.text(length)
                self.work.hold(2 * length)
            found = self.globals[key] = Global(module, name, self.constructors.get((plain[0], plain[2])))
            if found.handler is None and name.rpartition(".")[2] == _BY_JOBLIB:
                self.actions.holds("an array as joblib writes it, in a file that joblib did not write")
            if self.script and module.startswith("__torch__"):
                found.allowed = MAKE
            if found.judged:
                self.actions.judged.append(found)
            elif found.allowed < IMPORT:
                self.holding = True
                self.actions.note("import", found)
        return found

    def call(self, function: Any, args: Any, how: str = "call", kwargs: Any = None) -> Any:
        """What ``function(*args)`` stands for: the interpretation of an allowed constructor, else a ``Stub``.

        Each opcode and function that makes an object comes here, so that a class which is interpreted is, however it is made.
        """
        if type(function) is not Global and type(function) is not Stub:
            known = is_plain(function) or type(function) is bytes
            raise (Broken if known else Malformed)(f"broken pickle: a {type(function).__name__} is called")
        if type(args) is not tuple:
            what = "broken pickle: a call whose arguments are not a tuple"
            raise (Broken if type(args) in _NO_ARGUMENTS else Malformed)(what)
        if len(args) > _ARGUMENTS:
            self.work.copied(len(args))  # each call looks at them, and a pickle may give them to any number
        self.count()
        if type(function) is Global and function.handler is not None:
            if how == "new_ex":
                if type(kwargs) is not Pairs or kwargs.pairs:  # no checkpoint makes it so
                    return self.calls(function, args, how, kwargs)
                how = "new"
            before, self.handling = self.handling, True
            if how == "new" and function.path in EMPTY_WHEN_NEW:
                args = ()
            if function.judged:
                function.excused, self.callee = True, function  # the handler judges
                made = function.handler(self, args)
                self.handling = before
                return made
            made = function.handler(self, args)
            self.handling = before
            if self.holding and args and given(self, function, args, how) is not None:
                self.calls(function, args)
            if self.actions.judged:
                self.actions.values(args, self.work)
            return made
        stub = Stub(function, args, how, kwargs)
        if type(function) is not Global or function.allowed < _NEEDED[how]:
            self.actions.note(_KINDS[how], function, stub)
            self.keep_spelled(args)
        elif self.holding and args and given(self, function, args, how) is not None:
            self.calls(function, args)
        self.holding = self.holding or is_held(stub) or is_foreign(stub)
        if self.actions.judged:
            self.actions.values(args, self.work)
            self.actions.values(kwargs, self.work)
        return stub

    def calls(self, function: Any, args: tuple[Any, ...], how: str = "call", kwargs: Any = None) -> Stub:
        """The stub of a call that a handler finds harmful: it is in the record, whatever the name is allowed."""
        stub = Stub(function, args, how, kwargs)
        self.actions.note("call", function, stub, certain=True)
        self.keep_spelled(args)
        return stub

    def hashed(self, keys: Iterable[Any]) -> None:
        """*keys* become keys of a mapping or items of a set: what ``__hash__`` of an object's class calls is called.

        Raises ``Malformed`` where telling tuples apart would cost too much.
        """
        for key in keys:
            if type(key) is tuple:
                self._weigh(key)
            elif self.holding and is_held(key):
                self.filled.keys.append(key)

    def _weigh(self, key: tuple[Any, ...]) -> None:
        """Take off what hashing a tuple costs, with those inside it as often as they stand there."""
        waiting = [key]
        while waiting:
            here = waiting.pop()
            self.work.copied(len(here))
            waiting.extend(each for each in here if type(each) is tuple)

    def count(self) -> None:
        """One more container. Raises ``Malformed`` beyond the limit."""
        self.containers += 1
        if self.containers > self.most_containers:
            raise Malformed(f"the pickle makes more than {self.most_containers:,} objects", "it is not a checkpoint")


def _name(value: Any, module: str = "") -> str:
    """A module, or a name of *module*, that is imported. Raises ``Malformed``; ``Broken`` for what no unpickler takes for one.

    A byte string of protocols 0 and 1 is a text to Python 3.
    """
    if type(value) is LongBytes:
        raise _long()
    try:
        found = value.decode("ascii") if type(value) is OldString else value
    except UnicodeDecodeError as error:  # an unpickler may be told another encoding
        raise Malformed("broken pickle: a name to import is not in ASCII") from error
    if type(found) is not str:
        known = is_plain(value) or type(value) is bytes
        raise (Broken if known else Malformed)("broken pickle: a name to import is not a text")
    if len(found) > LONG_NAME:
        # No module has a long name that is none: it is the header of another format, say. An attribute may be called anything.
        if not (module or found).replace(".", "_").isidentifier():
            raise Broken("broken pickle: a long name to import is not valid")
        raise _long()
    return found


def _long() -> Malformed:
    return Malformed(f"broken pickle: a name to import is longer than {LONG_NAME} bytes", "it is hostile")
