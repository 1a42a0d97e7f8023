"""The pickle machine: protocols 0 to 5 interpreted as data. Format: CPython's ``Lib/pickletools.py``."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable, Mapping
from typing import Any

from torch2grid_builtin.inert import limits
from torch2grid_builtin.inert.actions import Actions
from torch2grid_builtin.inert.allowed import CALL, IMPORT, MAKE
from torch2grid_builtin.inert.opcodes import RARE, extend, set_items
from torch2grid_builtin.inert.python_values import bytes_of_numbers
from torch2grid_builtin.inert.storages import Spool
from torch2grid_builtin.inert.stream import PickleStream
from torch2grid_builtin.inert.values import CutShort, Global, LongBytes, Malformed, Stub
from torch2grid_core import ActionKind

# What a way of calling needs of the name, and what it is where the name is not allowed it.
_NEEDED = {"call": CALL, "new": MAKE, "instance": MAKE, "new_ex": MAKE}
_KINDS: dict[str, ActionKind] = {"call": "call", "new": "make", "instance": "call", "new_ex": "call"}
_SPELLED = 12  # bytes of the shortest pickle that imports a name and calls it
_SHORT = 32  # bytes of strings that count as instructions: each makes an object
Handler = Callable[["Machine", tuple[Any, ...]], Any]
_u32 = struct.Struct("<I").unpack_from
_i32 = struct.Struct("<i").unpack_from
_u16 = struct.Struct("<H").unpack_from
_f64 = struct.Struct(">d").unpack_from


def refuse_persistent(saved: Any) -> Any:
    """The ``persistent_load`` of a pickle that stands alone."""
    raise Malformed("the pickle refers to a storage outside itself", "it is a part of a checkpoint, not one")


class Machine:
    """Reads one pickle after another from *stream*.

    constructors: what is interpreted, by (module, name); every other name becomes a ``Stub`` when it is called.
    persistent_load: gives the value of a persistent id, as the container defines it.
    actions: the record of what the pickles want done, by default one of its own. work: what the pickle may cost, by default
    that of the whole stream. inside: the machine whose pickle holds this one in a byte string; they share work, counts and the
    record. script: the pickle is of a TorchScript archive, whose classes ``__torch__.…`` are none of Python's.
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
    ) -> None:
        self.stream = stream
        self.constructors = constructors
        self.persistent_load = persistent_load
        self.depth: int = 0 if inside is None else inside.depth + 1
        self.work: limits.Work = work or (inside.work if inside is not None else limits.Work(stream.size))
        self.spool: Spool = Spool() if inside is None else inside.spool
        self.actions: Actions = actions if actions is not None else Actions() if inside is None else inside.actions
        self.script = script
        self.callee: Any = None  # of the judged call that is being interpreted
        self.containers: int = 0 if inside is None else inside.containers
        self.tuples: int = 0 if inside is None else inside.tuples
        self.again = False  # the pickle was read before: its opcodes count once
        self.payload = 0  # bytes of strings, which cost nothing to interpret
        self.globals: dict[tuple[str, str], Global] = {}
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The value of the next pickle. The stream stands behind its STOP. Raises ``Malformed``."""
        self.stack, self.marks, self.memo = [], [], {}
        collecting = gc.isenabled()
        gc.disable()  # everything stays reachable until the end: looking for garbage on the way costs half of the time
        place = self.stream.tell()
        begun = place - self.payload
        read = False
        try:
            value = self._run()
            read = True
            if self.depth:
                self.work.spend(limits.INNER_BYTE * (self.stream.tell() - self.payload - begun))
            return value
        except struct.error as error:
            raise CutShort("the pickle ends inside an opcode", "the file is cut short; fetch it again") from error
        except IndexError as error:
            raise Malformed("broken pickle: an opcode takes more than the stack, or the file, holds") from error
        except UnicodeError as error:
            raise Malformed("broken pickle: a text is not UTF-8") from error
        except RecursionError as error:
            raise Malformed("broken pickle: calls of calls without end", "it is hostile") from error
        except (ValueError, TypeError, OverflowError, KeyError) as error:
            raise Malformed(f"broken pickle: {type(error).__name__} near byte {self.stream.tell()}") from error
        finally:
            if collecting:
                gc.enable()
            if not self.again:
                self.work.opcodes -= max(self.stream.tell() - self.payload - begun, 0)
            if not read:
                self.actions.broken.append((self.stream.storage, place))
            self.stack, self.marks, self.memo = [], [], {}

    def _run(self) -> Any:
        # One long function with the frequent opcodes first: calling a method for each would cost three times as much.
        stream, memo, marks, stack = self.stream, self.memo, self.marks, self.stack
        data, pos, safe = stream.data, stream.pos, stream.safe
        begun = stream.tell() - self.payload
        most = min(self.work.opcodes, self.work.left // limits.INNER_BYTE) if self.depth else self.work.opcodes
        while True:
            if pos >= safe:
                pos = stream.opcode(pos)
                data, safe = stream.data, stream.safe
                if stream.base - self.payload - begun > most:
                    raise Malformed("the pickle has more instructions than any checkpoint", "it is not a checkpoint")
                if self.tuples > limits.TUPLES or len(memo) > limits.MEMO:
                    raise Malformed("the pickle makes more objects than any checkpoint", "it is not a checkpoint")
            op = data[pos]
            pos += 1
            if op == 0x71:  # BINPUT
                memo[data[pos]] = stack[-1]
                pos += 1
            elif op == 0x68:  # BINGET
                stack.append(memo[data[pos]])
                pos += 1
            elif op == 0x6A:  # LONG_BINGET
                stack.append(memo[_u32(data, pos)[0]])
                pos += 4
            elif op == 0x72:  # LONG_BINPUT
                index = _u32(data, pos)[0]
                pos += 4
                if index > stream.base + pos:  # every earlier one took at least a byte
                    raise Malformed(f"broken pickle: memo slot {index} is out of order")
                memo[index] = stack[-1]
            elif op == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif op == 0x4B:  # BININT1
                stack.append(data[pos])
                pos += 1
            elif op == 0x28:  # MARK
                if len(marks) >= limits.MARKS:
                    raise Malformed(f"more than {limits.MARKS} brackets are open at once", "it is hostile")
                marks.append(stack)
                stack = []
            elif op == 0x74:  # TUPLE
                closed = tuple(stack)
                self.tuples += 1
                stack = marks.pop()
                stack.append(closed)
            elif op == 0x85:  # TUPLE1
                stack[-1] = (stack[-1],)
                self.tuples += 1
            elif op == 0x86:  # TUPLE2
                second = stack.pop()
                stack[-1] = (stack[-1], second)
                self.tuples += 1
            elif op == 0x87:  # TUPLE3
                third, second = stack.pop(), stack.pop()
                stack[-1] = (stack[-1], second, third)
                self.tuples += 1
            elif op == 0x29:  # EMPTY_TUPLE
                stack.append(())
            elif op == 0x52:  # REDUCE
                args = stack.pop()
                stack[-1] = self.call(stack[-1], args)
            elif op == 0x58 or op == 0x8C:  # BINUNICODE, SHORT_BINUNICODE
                if op == 0x58:
                    length = _u32(data, pos)[0]
                    pos += 4
                else:
                    length = data[pos]
                    pos += 1
                if length <= limits.TEXT_IN_MEMORY and pos + length <= len(data):
                    value = data[pos : pos + length].decode("utf-8", "surrogatepass")
                    stack.append(value)
                    pos += length
                    if length > _SHORT:
                        self.payload += length
                        self.work.hold(value.__sizeof__())
                else:
                    pos = self._long_text(length, pos, stack)
                    data, safe = stream.data, stream.safe
            elif op == 0x4A:  # BININT
                stack.append(_i32(data, pos)[0])
                pos += 4
            elif op == 0x4D:  # BININT2
                stack.append(_u16(data, pos)[0])
                pos += 2
            elif op == 0x47:  # BINFLOAT
                stack.append(_f64(data, pos)[0])
                pos += 8
            elif op == 0x89:  # NEWFALSE
                stack.append(False)
            elif op == 0x88:  # NEWTRUE
                stack.append(True)
            elif op == 0x4E:  # NONE
                stack.append(None)
            elif op == 0x51:  # BINPERSID
                stack[-1] = self.persistent_load(stack[-1])
            elif op == 0x65:  # APPENDS
                items = stack
                stack = marks.pop()
                extend(self, stack[-1], items)
            elif op == 0x75:  # SETITEMS
                items = stack
                stack = marks.pop()
                set_items(self, stack[-1], items)
            elif op == 0x2E:  # STOP
                stream.pos = pos
                stream.close()
                value = stack.pop()
                if stack or marks:
                    raise Malformed("broken pickle: STOP with values left over")
                return value
            else:
                self.stack, stream.pos = stack, pos
                handler = RARE.get(op)
                if handler is None:
                    raise Malformed(f"broken pickle: unknown opcode 0x{op:02x} at byte {stream.tell() - 1}")
                handler(self)
                stack, pos, data, safe = self.stack, stream.pos, stream.data, stream.safe

    def _long_text(self, length: int, pos: int, stack: list[Any]) -> int:
        value, pos = self.string(length, pos, is_text=True)
        stack.append(value)
        return pos

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
        self.work.hold(len(raw))
        self.keep(raw)
        return raw, pos

    def keep(self, value: bytes | LongBytes) -> None:
        """Remember a byte string, which may be a pickle that something in the file loads."""
        actions = self.actions
        actions.strings.append(value)
        if type(value) is bytes:
            actions.held += len(value)
            if actions.held > limits.STRINGS_HELD:
                actions.drop_strings()

    def spent(self, length: int) -> None:
        """*length* bytes of the pickle were a string: only a short one counts as an instruction."""
        if length > _SHORT:
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
        module, name = _ascii(module), _ascii(name)
        if type(module) is not str or type(name) is not str:
            raise Malformed("broken pickle: a name to import is not a text")
        key = (module, name)
        found = self.globals.get(key)
        if found is None:
            plain = f"{module}.{name}".rpartition(".") if "." in name else (module, "", name)  # one path, however it is cut
            found = self.globals[key] = Global(module, name, self.constructors.get((plain[0], plain[2])))
            if self.script and module.startswith("__torch__"):
                found.allowed = MAKE
            if found.judged:
                self.actions.judged.append(found)
            elif found.allowed < IMPORT:
                self.actions.note("import", found)
        return found

    def call(self, function: Any, args: Any, how: str = "call", kwargs: Any = None) -> Any:
        """What ``function(*args)`` stands for: the interpretation of an allowed constructor, else a ``Stub``."""
        if type(args) is not tuple:
            raise Malformed("broken pickle: a call whose arguments are not a tuple")
        self.count()
        if type(function) is Global and function.handler is not None and kwargs is None:
            if function.judged:
                function.excused, self.callee = True, function  # the handler judges
                return function.handler(self, args)
            made = function.handler(self, args)
            if self.actions.judged:
                self.actions.values(args, self.work)
            return made
        stub = Stub(function, args, how, kwargs)
        if type(function) is not Global or function.allowed < _NEEDED[how]:
            self.actions.note(_KINDS[how], function, stub)
            self.keep_spelled(args)
        if self.actions.judged:
            self.actions.values(args, self.work)
            self.actions.values(kwargs, self.work)
        return stub

    def calls(self, function: Any, args: tuple[Any, ...]) -> Stub:
        """The stub of a call that a handler finds harmful: it is in the record, whatever the name is allowed."""
        stub = Stub(function, args)
        self.actions.note("call", function, stub, certain=True)
        self.keep_spelled(args)
        return stub

    def count(self) -> None:
        """One more container. Raises ``Malformed`` beyond the limit."""
        self.containers += 1
        if self.containers > limits.CONTAINERS:
            raise Malformed(f"the pickle makes more than {limits.CONTAINERS:,} objects", "it is not a checkpoint")


def _ascii(value: Any) -> Any:
    """A byte string of protocols 0 and 1, as Python 3 takes it for a text."""
    return value.decode("ascii") if type(value) is bytes else value
