"""The opcodes of the pickle machine, and what the rare ones do."""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.filled import give_state, judge_attributes
from torch2grid_builtin._inert.malformed import Broken, LongLine, Malformed
from torch2grid_builtin._inert.values import (
    LONG_NAME,
    PLAIN_KINDS,
    Bag,
    Built,
    Global,
    LongBytes,
    NumpyArray,
    NumpyDtype,
    OldString,
    Pairs,
    Stub,
    Tensor,
    is_plain,
)
from torch2grid_core.sources import Storage

if TYPE_CHECKING:
    from torch2grid_builtin._inert.machine import Machine


_WORD, _OF_INTEGER = 8, 32  # bytes of an integer that is no longer than most, and that one takes beside its digits
_OF_JOBLIB = "joblib.numpy_pickle.NumpyArrayWrapper"  # an object that is neither empty nor asked for anything


class Op:
    """Opcodes as the bytes that they are; the frequent ones are interpreted in ``Machine``, the others below."""

    MARK, STOP, POP, POP_MARK, DUP = b"(.012"
    FLOAT, INT, BININT, BININT1, LONG, BININT2, NONE = b"FIJKLMN"
    PERSID, BINPERSID, REDUCE, STRING, BINSTRING, SHORT_BINSTRING = b"PQRSTU"
    UNICODE, BINUNICODE, APPEND, BUILD, GLOBAL, DICT, EMPTY_DICT = b"VXabcd}"
    APPENDS, GET, BINGET, INST, LONG_BINGET, LIST, EMPTY_LIST, OBJ = b"eghijl]o"
    PUT, BINPUT, LONG_BINPUT, SETITEM, TUPLE, EMPTY_TUPLE, SETITEMS, BINFLOAT = b"pqrst)uG"
    PROTO, NEWOBJ, EXT1, EXT2, EXT4, TUPLE1, TUPLE2, TUPLE3 = range(0x80, 0x88)
    NEWTRUE, NEWFALSE, LONG1, LONG4 = range(0x88, 0x8C)
    BINBYTES, SHORT_BINBYTES = b"BC"
    SHORT_BINUNICODE, BINUNICODE8, BINBYTES8, EMPTY_SET, ADDITEMS, FROZENSET = range(0x8C, 0x92)
    NEWOBJ_EX, STACK_GLOBAL, MEMOIZE, FRAME, BYTEARRAY8, NEXT_BUFFER, READONLY_BUFFER = range(0x92, 0x99)


def _held(machine: Machine, items: list[Any]) -> list[Any]:
    """*items*, which a container gets: a name that is harmless only where it is called is a finding among them."""
    if machine.actions.judged:
        machine.actions.values(items, machine.work, excused=False)
    return items


def extend(machine: Machine, target: Any, items: list[Any]) -> None:
    """APPENDS: *items* at the end of a list, or of an object that would have been one. None go into anything: CPython's C looks
    at the target only where there are some.
    """
    if not items:
        return
    _held(machine, items)
    if type(target) is list:
        target.extend(items)
    elif type(target) is Stub:
        filled(machine, target, items)
        if target.items is None:
            target.items = []
        target.items.extend(items)
    else:
        raise wrong_target(target, f"broken pickle: items appended to a {type(target).__name__}")


def wrong_target(target: Any, reason: str) -> Malformed:
    """The error for an opcode that *target* has no method for: where it is a plain value, in every unpickler."""
    return (Broken if is_plain(target) else Malformed)(reason)


def filled(machine: Machine, target: Stub, items: list[Any]) -> None:
    """*items* are given to an object that is no plain container: whatever it calls ``append`` or ``__setitem__`` is called."""
    if items:
        machine.actions.note("items", target.function, target)


def set_items(machine: Machine, target: Any, items: list[Any]) -> None:
    """SETITEMS: keys and values in turn."""
    if len(items) % 2:
        if type(target) is Stub:
            filled(machine, target, items)
        raise Broken("broken pickle: a key without a value")
    _held(machine, items)
    machine.hashed(items[::2])
    pairs = zip(items[::2], items[1::2], strict=True)
    if type(target) is Pairs:
        target.pairs.extend(pairs)
    elif type(target) is Stub:
        filled(machine, target, items)
        if target.pairs is None:
            target.pairs = []
        target.pairs.extend(pairs)
    elif type(target) is list:
        for place, value in pairs:
            if type(place) not in (int, bool) or not -len(target) <= place < len(target):
                what = "broken pickle: a key set in a list that has no such item"
                raise (Broken if is_plain(place) or type(place) is bytes else Malformed)(what)
            if target[place] is not value:  # what saved it kept the last alone; what looked at the list before saw another
                machine.actions.holds("a list whose items are replaced")
            target[place] = value
    elif items:
        raise wrong_target(target, f"broken pickle: a key set in a {type(target).__name__}")


def _fixed(machine: Machine, form: str) -> int:
    """The fixed argument at the stream's place, which moves behind it."""
    stream = machine.stream
    (value,) = struct.unpack_from(form, stream.data, stream.pos)
    stream.pos += struct.calcsize(form)
    return int(value)


def _line(machine: Machine, most: int = LONG_NAME) -> bytes:
    raw, machine.stream.pos = machine.stream.line(machine.stream.pos, most)
    machine.spent(len(raw))
    if len(raw) > _LONG:
        machine.work.text(len(raw))
        machine.work.hold(5 * len(raw))  # the text that its escapes become, of up to four bytes a character
    return raw


def _left_line(machine: Machine, most: int = LONG_NAME) -> Storage:
    """A line of more than *most* bytes, left in the file. Raises ``LongLine`` where the pickle is what is shown."""
    if machine.whole:
        raise LongLine(most)
    found = machine.stream.rest_of_line()
    machine.spent(found.size)
    return found


def _module(machine: Machine, encoding: str) -> str:
    """The line of a module. Raises ``Broken``, too, for a long one that begins as none: data, which may go on for long."""
    begun = machine.stream.ahead(LONG_NAME + 1)
    if b"\n" not in begun and len(begun) > LONG_NAME:
        text = codecs.getincrementaldecoder(encoding)().decode(begun)  # its last character may be cut
        if not text.replace(".", "_").isidentifier():
            raise Broken("broken pickle: a long name to import is not valid")
    return _line(machine).decode(encoding)


_OF_INTEGERS = frozenset(b"0123456789abcdefABCDEFxXoOlL_+- \t\r\v\f")
_OF_FLOATS = frozenset(b"0123456789_+-.eEinftyINFTYaA \t\r\v\f")


def _numeral(machine: Machine, allowed: frozenset[int] = _OF_INTEGERS) -> tuple[bytes, bool]:
    """A number of a line, and whether a zero byte ends it. Raises ``Malformed`` for such a one where a pickle must be whole."""
    begun = machine.stream.tell()
    try:
        raw, cut, machine.stream.pos = machine.stream.numeral(machine.stream.pos, allowed)
    except LongLine as error:
        raise Malformed("broken pickle: a number that is not valid, or has thousands of digits") from error
    machine.spent(machine.stream.tell() - begun - 1)
    if len(raw) > limits.SHORT:
        machine.work.hold(len(raw))  # at least as much as the number
    if cut and machine.whole:
        raise Malformed("broken pickle: a number with a zero byte in it")
    return raw, cut


def _string(machine: Machine, form: str, is_text: bool) -> None:
    length = _fixed(machine, form)
    value, machine.stream.pos = machine.string(length, machine.stream.pos, is_text)
    machine.stack.append(value)


def _pop_mark(machine: Machine) -> list[Any]:
    items = machine.stack
    machine.stack = machine.marks.pop()
    return items


def _proto(machine: Machine) -> None:
    protocol = _fixed(machine, "<B")
    if protocol > 5:
        raise Broken(f"pickle protocol {protocol} does not exist yet")


def _frame(machine: Machine) -> None:
    machine.stream.open_frame(_fixed(machine, "<Q"))


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        _pop_mark(machine)


def _drop_mark(machine: Machine) -> None:
    _pop_mark(machine)


def _dup(machine: Machine) -> None:
    machine.stack.append(machine.stack[-1])


def _int(machine: Machine) -> None:
    raw, cut = _numeral(machine)
    if cut:
        machine.stack.append(_of_c(raw) if raw else 0)  # CPython's C takes it so
    else:
        machine.stack.append({b"00": False, b"01": True}[raw] if raw in (b"00", b"01") else _written(raw))


def _long(machine: Machine) -> None:
    raw, cut = _numeral(machine)
    machine.stack.append(_of_c(raw) if cut else _written(raw.removesuffix(b"L")))


def _of_c(raw: bytes) -> int:
    """The integer that C reads in *raw*. Raises ``Broken`` where it is none."""
    if len(raw) > limits.DECIMAL_DIGITS:
        raise Malformed("broken pickle: an integer of thousands of digits")
    try:
        return int(raw, 8 if re.fullmatch(rb"[+-]?0[0-7]+", raw) else 0)
    except ValueError as error:
        raise Broken("broken pickle: an integer that is not valid") from error


def _written(raw: bytes) -> int:
    """A number as Python writes it. One that begins with 0 is octal to some unpicklers, and decimal to others."""
    if re.match(rb"\s*[+-]?0[\d_]", raw):
        raise Malformed("broken pickle: an integer that begins with 0")
    return _decimal(raw)


def _decimal(raw: bytes) -> int:
    """Raises ``Broken`` for what no unpickler takes for a number, ``Malformed`` for what one may, as C does ``0x10``."""
    if len(raw) <= limits.DECIMAL_DIGITS and re.fullmatch(rb"\s*[+-]?\d+(_\d+)*\s*", raw):
        return int(raw)
    some = re.fullmatch(rb"\s*[+-]?(0[xXoObB])?[0-9a-fA-F_]+[lL]?\s*", raw)
    what = "broken pickle: an integer that is not valid, or has thousands of digits"
    raise (Malformed if some else Broken)(what)


def _long1(machine: Machine) -> None:
    _long_bytes(machine, _fixed(machine, "<B"))


def _long4(machine: Machine) -> None:
    _long_bytes(machine, _fixed(machine, "<i"))


def _long_bytes(machine: Machine, count: int) -> None:
    raw, machine.stream.pos = machine.stream.take(machine.stream.pos, count)
    machine.spent(count)
    if count > _WORD:
        machine.work.hold(count + _OF_INTEGER)
    machine.stack.append(int.from_bytes(raw, "little", signed=True))


def _float(machine: Machine) -> None:
    raw, _ = _numeral(machine, _OF_FLOATS)
    if len(raw) > limits.DECIMAL_DIGITS or b"_" in raw:
        raise Malformed("broken pickle: a number that is not valid, or has thousands of digits")
    try:
        machine.stack.append(float(raw))
    except ValueError as error:
        raise Broken("broken pickle: a number that is not valid") from error


def _quoted(machine: Machine) -> None:
    begun, _ = machine.stream.take(machine.stream.pos, 1)
    if begun not in b"'\" \t\r\v\f":  # known before the line is read, which other bytes than a pickle's may not end for long
        raise Broken("broken pickle: a text without quotes")
    try:
        raw = _line(machine, limits.LINE_BYTES).strip()
    except LongLine:
        _look_at_quotes(begun, _left_line(machine, limits.LINE_BYTES))
        raise
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in (b"'", b'"'):
        raise Broken("broken pickle: a text without quotes")
    value = unescape(raw[1:-1])
    machine.keep(value)
    machine.stack.append(OldString(value))


def _look_at_quotes(begun: bytes, line: Storage) -> None:
    """Raise ``Broken`` where no quote ends *line*, or another than the one that it begins with."""
    end = bytearray(64)
    line.read_into(line.size - len(end), memoryview(end))
    last = bytes(end.strip()[-1:])
    if last and (last not in b"'\"" or (begun in b"'\"" and last != begun)):
        raise Broken("broken pickle: a text without quotes")


_LONG = 4096  # bytes of a line whose decoding is paid for
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"', b"a": b"\a", b"b": b"\b"}
_ESCAPES |= {b"f": b"\f", b"v": b"\v", b"\n": b""}


def unescape(raw: bytes) -> bytes:
    """The bytes of a Python 2 string literal without its quotes."""

    def one(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if code[:1] == b"x":
            return bytes([int(code[1:], 16)])
        if code[:1].isdigit():
            return bytes([int(code, 8) & 0xFF])
        return _ESCAPES.get(code, b"\\" + code)

    return re.sub(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", one, raw, flags=re.DOTALL)


def _raw_unicode(machine: Machine) -> None:
    value: str | LongBytes
    try:
        value = _line(machine, limits.LINE_BYTES).decode("raw-unicode-escape")
    except LongLine:
        value = LongBytes(_left_line(machine, limits.LINE_BYTES), True, machine.spool)
    machine.stack.append(value)


def _old_string(machine: Machine, form: str) -> None:
    """A ``str`` of Python 2."""
    _string(machine, form, False)
    value = machine.stack[-1]
    if type(value) is LongBytes:
        value.old = True
    else:
        machine.stack[-1] = OldString(value)


def _binstring(machine: Machine) -> None:
    _old_string(machine, "<i")


def _short_binstring(machine: Machine) -> None:
    _old_string(machine, "<B")


def _short_bytes(machine: Machine) -> None:
    _string(machine, "<B", False)


def _binbytes(machine: Machine) -> None:
    _string(machine, "<I", False)


def _bytes8(machine: Machine) -> None:
    _string(machine, "<Q", False)


def _unicode8(machine: Machine) -> None:
    _string(machine, "<Q", True)


def _next_buffer(machine: Machine) -> None:
    raise Broken("the pickle's buffers were stored outside it")


def _readonly(machine: Machine) -> None:
    machine.stack.append(machine.stack.pop())


def _extension(machine: Machine) -> None:
    raise Broken("the pickle uses a private extension code", "nothing is known about it outside the program that wrote it")


def _persid(machine: Machine) -> None:
    try:
        saved = _line(machine).decode("ascii")
    except LongLine:
        _left_line(machine)
        saved = ""  # nobody looks at a text
    machine.stack.append(machine.persistent_load(saved))


def _empty_list(machine: Machine) -> None:
    machine.count()
    machine.stack.append([])


def _empty_dict(machine: Machine) -> None:
    machine.count()
    machine.stack.append(Pairs())


def _empty_set(machine: Machine) -> None:
    machine.count()
    machine.stack.append(Bag())


def _list(machine: Machine) -> None:
    machine.count()
    items = _held(machine, _pop_mark(machine))
    machine.stack.append(items)


def _dict(machine: Machine) -> None:
    machine.count()
    items = _pop_mark(machine)
    pairs = Pairs()
    set_items(machine, pairs, items)
    machine.stack.append(pairs)


def _frozenset(machine: Machine) -> None:
    machine.count()
    items = _held(machine, _pop_mark(machine))
    machine.hashed(items)
    machine.stack.append(Bag(items))


def _additems(machine: Machine) -> None:
    items = _held(machine, _pop_mark(machine))
    machine.hashed(items)
    target = machine.stack[-1]
    if not items:  # as CPython's C, which looks at the target only where there are some
        return
    if type(target) is Bag:
        target.items.extend(items)
    elif type(target) is Stub:
        filled(machine, target, items)
        if target.items is None:
            target.items = []
        target.items.extend(items)
    else:
        raise wrong_target(target, f"broken pickle: items added to a {type(target).__name__}")


def _append(machine: Machine) -> None:
    value = machine.stack.pop()
    extend(machine, machine.stack[-1], [value])


def _setitem(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    set_items(machine, machine.stack[-1], [key, value])


def _get(machine: Machine) -> None:
    if not machine.memo:  # known before the line is read, which other bytes than a pickle's may not end for long
        raise KeyError("the memo is empty")
    machine.stack.append(machine.memo[_decimal(_numeral(machine)[0])])


def _put(machine: Machine) -> None:
    value = machine.stack[-1]  # before the line is read, as in ``_get``
    index = _decimal(_numeral(machine)[0])
    if index < 0:
        raise Broken(f"broken pickle: memo slot {index} is out of order")
    machine.memo[index] = value


def _global(machine: Machine) -> None:
    module, name = _module(machine, "utf-8"), _line(machine).decode("utf-8")
    machine.stack.append(machine.find_global(module, name))


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.find_global(module, name))


def _inst(machine: Machine) -> None:
    module, name = _module(machine, "ascii"), _line(machine).decode("ascii")
    args = tuple(_pop_mark(machine))
    machine.stack.append(machine.call(machine.find_global(module, name), args, "call" if args else "instance"))


def _obj(machine: Machine) -> None:
    items = _pop_mark(machine)
    function, args = items[0], items[1:]
    machine.stack.append(machine.call(function, tuple(args), "call" if args else "instance"))


def _newobj(machine: Machine) -> None:
    args = machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], args, "new")


def _newobj_ex(machine: Machine) -> None:
    kwargs, args = machine.stack.pop(), machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], args, "new_ex", kwargs)


def _build(machine: Machine) -> None:
    target = machine.stack[-2]
    if isinstance(target, Built):  # of which there may be millions
        target.build(machine, machine.stack.pop())
        return
    from torch2grid_builtin._inert.numpy_values import build_array, build_dtype
    from torch2grid_builtin._inert.torch_values import build_tensor

    state = machine.stack.pop()
    target = machine.stack[-1]
    machine.handling = True
    if machine.actions.judged:
        machine.actions.values(state, machine.work, excused=False)
    if isinstance(target, Stub):
        give_state(machine, target, state)
    elif isinstance(target, Pairs):
        judge_attributes(machine, Global("collections", target.kind), state)
        target.state = state
    elif isinstance(target, Tensor):
        judge_attributes(machine, Global("torch", "Tensor"), state)
        build_tensor(machine.work, target, state)
    elif isinstance(target, NumpyArray):
        build_array(machine, target, state)
    elif isinstance(target, NumpyDtype):
        build_dtype(machine, target, state)
    elif isinstance(target, Global):
        machine.actions.note("state", target, Stub(target, (state,), "state"), certain=True)  # a class or a module is changed
    elif not _is_nothing(state):
        what = f"broken pickle: state given to a {type(target).__name__}"
        raise wrong_target(target, what) if _is_plain_state(state) else Malformed(what)
    machine.handling = False


def _is_nothing(state: Any) -> bool:
    """True for a state that some unpicklers give to anything: they look only at what it holds."""
    if type(state) is tuple and len(state) == 2:
        return _is_nothing(state[0]) and _is_nothing(state[1])
    return type(state) in (bytes, *PLAIN_KINDS) and not (
        state.pairs if type(state) is Pairs else state.items if type(state) is Bag else state
    )


def _is_plain_state(state: Any) -> bool:
    """True for a state, or its halves, of plain values: what has no attributes takes none of it."""
    halves = state if type(state) is tuple else (state,)
    return all(type(half) in PLAIN_KINDS or (type(half) is Stub and half.path == _OF_JOBLIB) for half in halves)


RARE: dict[int, Callable[[Machine], None]] = {
    Op.PROTO: _proto,
    Op.FRAME: _frame,
    Op.POP: _pop,
    Op.POP_MARK: _drop_mark,
    Op.DUP: _dup,
    Op.INT: _int,
    Op.LONG: _long,
    Op.LONG1: _long1,
    Op.LONG4: _long4,
    Op.FLOAT: _float,
    Op.STRING: _quoted,
    Op.UNICODE: _raw_unicode,
    Op.BINSTRING: _binstring,
    Op.SHORT_BINSTRING: _short_binstring,
    Op.SHORT_BINBYTES: _short_bytes,
    Op.BINBYTES: _binbytes,
    Op.BINBYTES8: _bytes8,
    Op.BYTEARRAY8: _bytes8,
    Op.BINUNICODE8: _unicode8,
    Op.NEXT_BUFFER: _next_buffer,
    Op.READONLY_BUFFER: _readonly,
    Op.EXT1: _extension,
    Op.EXT2: _extension,
    Op.EXT4: _extension,
    Op.PERSID: _persid,
    Op.EMPTY_LIST: _empty_list,
    Op.EMPTY_DICT: _empty_dict,
    Op.EMPTY_SET: _empty_set,
    Op.LIST: _list,
    Op.DICT: _dict,
    Op.FROZENSET: _frozenset,
    Op.ADDITEMS: _additems,
    Op.APPEND: _append,
    Op.SETITEM: _setitem,
    Op.GET: _get,
    Op.PUT: _put,
    Op.GLOBAL: _global,
    Op.STACK_GLOBAL: _stack_global,
    Op.INST: _inst,
    Op.OBJ: _obj,
    Op.NEWOBJ: _newobj,
    Op.NEWOBJ_EX: _newobj_ex,
    Op.BUILD: _build,
}
