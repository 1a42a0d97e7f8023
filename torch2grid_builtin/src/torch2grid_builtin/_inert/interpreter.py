"""The pickle machine: protocols 0 to 5 interpreted as data. Format: CPython's ``Lib/pickletools.py``."""

from __future__ import annotations

import gc
import struct
from contextlib import suppress
from typing import Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.limits import SHORT
from torch2grid_builtin._inert.machine import Machine
from torch2grid_builtin._inert.malformed import Broken, CutShort, Malformed
from torch2grid_builtin._inert.opcodes import RARE, extend, set_items

_u32 = struct.Struct("<I").unpack_from
_i32 = struct.Struct("<i").unpack_from
_u16 = struct.Struct("<H").unpack_from
_DECODED = ("utf-8", "ascii", "rawunicodeescape")  # of texts, which every unpickler decodes so
_f64 = struct.Struct(">d").unpack_from


class Interpreter(Machine):
    """Reads one pickle after another from its stream; see ``Machine`` for what it is made of."""

    def load(self) -> Any:
        """The value of the next pickle. The stream stands behind its STOP. Raises ``Malformed``."""
        self.stack, self.marks, self.memo, self.handling = [], [], self.new_memo(), False
        collecting = gc.isenabled()
        gc.disable()  # everything stays reachable until the end: looking for garbage on the way costs half of the time
        place = self.stream.tell()
        begun = place - self.payload
        read = False
        try:
            value = self._run()
            read = True
            self.filled.judge(self)
            if self.depth:
                self.work.spend(limits.INNER_BYTE * (self.stream.tell() - self.payload - begun))
            return value
        except struct.error as error:
            raise CutShort("the pickle ends inside an opcode", "the file is cut short; fetch it again") from error
        except IndexError as error:
            what = "broken pickle: an opcode takes more than the stack, or the file, holds"
            raise (Malformed if self.handling else Broken)(what) from error
        except UnicodeError as error:
            of_all = not self.handling and getattr(error, "encoding", "") in _DECODED
            raise (Broken if of_all else Malformed)("broken pickle: a text is not UTF-8") from error
        except RecursionError as error:
            raise Malformed("broken pickle: calls of calls without end", "it is hostile") from error
        except (ValueError, TypeError, OverflowError, KeyError) as error:
            absent = type(error) is KeyError and not self.handling  # of the memo
            what = f"broken pickle: {type(error).__name__} near byte {self.stream.tell()}"
            raise (Broken if absent else Malformed)(what) from error
        finally:
            if collecting:
                gc.enable()
            if not self.again:
                self.work.opcodes -= max(self.stream.tell() - self.payload - begun, 0)
            if not read:
                self.actions.broken.append((self.stream.storage, place))
                with suppress(Malformed):  # another reader has run what stands before the place where it broke
                    self.filled.judge(self)
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
                self.tidy()
                self.check_size()
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
                memo[_u32(data, pos)[0]] = stack[-1]
                pos += 4
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
                    if length > SHORT:
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
                if self.whole and (stack or marks):
                    raise Malformed("broken pickle: STOP with values left over")
                return value
            else:
                self.stack, stream.pos = stack, pos
                handler = RARE.get(op)
                if handler is None:
                    raise Broken(f"broken pickle: unknown opcode 0x{op:02x} at byte {stream.tell() - 1}")
                handler(self)
                stack, pos, data, safe = self.stack, stream.pos, stream.data, stream.safe

    def _long_text(self, length: int, pos: int, stack: list[Any]) -> int:
        value, pos = self.string(length, pos, is_text=True)
        stack.append(value)
        return pos
