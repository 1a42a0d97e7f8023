"""Each opcode of the pickle machine by its bytes: what it makes, what it takes, where its limits are (pickletools)."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import numpy as np
import pytest
from tests.loaders.test_machine import plain
from tests.support.loaders.machines import load, machine

from torch2grid_builtin._inert import limits, stream
from torch2grid_builtin._inert.actions import Asked
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.malformed import CutShort, Malformed
from torch2grid_builtin._inert.opcodes import unescape
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.values import Bag, Global, NumpyArray, OldString, Pairs, Stub, Tensor
from torch2grid_core.sources import BytesStorage

VALUES: dict[bytes, Any] = {
    b"\x80\x00N.": None,
    b"\x80\x05N.": None,
    b"\x95\x02\x00\x00\x00\x00\x00\x00\x00N.": None,
    b"NK\x010.": None,
    b"N(0.": None,
    b"N(K\x01K\x02000.": None,  # POP takes the values off, then the bracket
    b"N(K\x01K\x021.": None,
    b"K\x052\x86.": (5, 5),
    b"I00\n.": False,
    b"I01\n.": True,
    b"I0\n.": 0,
    b"I1\n.": 1,
    b"I-5\n.": -5,
    b"I +7 \n.": 7,
    b"L-12L\n.": -12,
    b"L12\n.": 12,
    b"\x8a\x00.": 0,
    b"\x8a\x01\xff.": -1,
    b"\x8a\x02\x00\x01.": 256,
    b"\x8b\x03\x00\x00\x00\x00\x00\x80.": -(2**23),
    b"F1.5\n.": 1.5,
    b"F-inf\n.": -float("inf"),
    b"F0." + b"3" * 500 + b"\n.": 1 / 3,
    b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.": 1.5,
    b"J\xfe\xff\xff\xff.": -2,
    b"M\xfe\xff.": 65534,
    b"S'a'\n.": OldString(b"a"),
    b'S"it\'s" \n.': OldString(b"it's"),
    b"S''\n.": OldString(b""),
    b"V\xe9\\u0100x\n.": "é\u0100x",
    b"T\x02\x00\x00\x00ab.": OldString(b"ab"),
    b"U\x02ab.": OldString(b"ab"),
    b"B\x02\x00\x00\x00ab.": b"ab",
    b"C\x02ab.": b"ab",
    b"\x8e\x02\x00\x00\x00\x00\x00\x00\x00ab.": b"ab",
    b"\x96\x02\x00\x00\x00\x00\x00\x00\x00ab.": b"ab",
    b"\x8d\x03\x00\x00\x00\x00\x00\x00\x00a\xc3\xa9.": "aé",
    b"X\x03\x00\x00\x00\xed\xa0\x80.": "\ud800",
    b"\x8c\x03\xed\xa0\x80.": "\ud800",
    b"\x8d\x03\x00\x00\x00\x00\x00\x00\x00\xed\xa0\x80.": "\ud800",
    b"C\x01a\x98.": b"a",
    b"Pname\n.": ("stored", "name"),
    b"K\x07Q.": ("stored", 7),
    b"].": [],
    b"(l.": [],
    b"(K\x01K\x02l.": [1, 2],
    b"}.": {},
    b"(d.": {},
    b"(K\x01K\x02K\x03K\x04d.": {1: 2, 3: 4},
    b"]K\x01aK\x02a.": [1, 2],
    b"](K\x01K\x02e.": [1, 2],
    b"}K\x01K\x02s.": {1: 2},
    b"}(K\x01K\x02K\x03K\x04u.": {1: 2, 3: 4},
    b"\x8f.": set(),
    b"\x8f(K\x01K\x02\x90.": {1, 2},
    b"(K\x01K\x02\x91.": {1, 2},
    b"K\x07p5\n0g5\n.": 7,
    b"K\x07q\x050h\x05.": 7,
    b"K\x07r\x05\x00\x00\x000j\x05\x00\x00\x00.": 7,
    b"K\x07\x94K\x08\x94\x86h\x01\x86.": ((7, 8), 8),
    b"(K\x01K\x02t.": (1, 2),
    b").": (),
    b"K\x01\x85.": (1,),
    b"K\x01K\x02\x86.": (1, 2),
    b"K\x01K\x02K\x03\x87.": (1, 2, 3),
    b"\x88.": True,
    b"\x89.": False,
}


@pytest.mark.parametrize("data", VALUES)
def test_an_opcode_makes_its_value(data: bytes) -> None:
    found = plain(load(data))
    assert found == VALUES[data]
    assert type(found) is type(VALUES[data])
    # The same wherever a window of the file ends.
    for shift in (7, 8, 15, 16, 17, 24):
        assert plain(load(b"N0" * shift + data)) == VALUES[data]


@pytest.fixture
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WINDOW", 16)


@pytest.mark.usefixtures("small_window")
@pytest.mark.parametrize("data", VALUES)
def test_an_opcode_may_lie_across_windows(data: bytes) -> None:
    for before in range(12):
        assert plain(load(b"N0" * before + b"K\x010" + data)) == VALUES[data]


REFUSED: dict[bytes, str] = {
    b"\x80\x06N.": "protocol 6",
    b"\x95\x03\x00\x00\x00\x00\x00\x00\x00N.": "3 bytes is claimed where 2 are left",
    b"0N.": "takes more than the stack",
    b"1N.": "takes more than the stack",
    b"2.": "takes more than the stack",
    b"I1x\n.": "an integer that is not valid",
    b"I\n.": "an integer that is not valid",
    b"I1" + b"0" * limits.DECIMAL_DIGITS + b"\n.": "thousands of digits",
    b"L12LL\n.": "an integer that is not valid",
    b"Fx\n.": "a number that is not valid",
    b"S'a\n.": "a text without quotes",
    b"Sa'\n.": "a text without quotes",
    b"S'\n.": "a text without quotes",
    b"S\"a'\n.": "a text without quotes",
    b"Saa\n.": "a text without quotes",
    b"S\n.": "a text without quotes",
    b"S'\\x4'\n.": "ValueError",
    b"\x98.": "takes more than the stack",
    b"\x97.": "buffers were stored outside",
    b"P\xe9\n.": "not UTF-8",
    b"c\xff\nx\n.": "not UTF-8",
    b"(i\xe9\nx\n.": "not UTF-8",
    b"K\x01(K\x02\x90.": "items added to a int",
    b"](K\x02\x90.": "items added to a list",
    b"}K\x02a.": "items appended to a Pairs",
    b"\x8f(K\x02e.": "items appended to a Bag",
    b"](K\x02K\x03u.": "a key set in a list",
    b"(K\x01d.": "a key without a value",
    b"g5\n.": "KeyError",
    b"h\x05.": "KeyError",
    b"Np-1\n.": "memo slot -1 is out of order",
    b"K\x01K\x02\x93.": "a name to import is not a text",
    b"X\x01\x00\x00\x00aK\x02\x93.": "a name to import is not a text",
    b"K\x01X\x01\x00\x00\x00a\x93.": "a name to import is not a text",
    b"cos\nsystem\n]R.": "arguments are not a tuple",
    b"cos\nsystem\n]\x81.": "arguments are not a tuple",
    b"(o.": "takes more than the stack",
    b"]}NNsb.": "state given to a list",
    b"]K\x01b.": "state given to a list",
    b"\xff.": "unknown opcode 0xff at byte 0",
    b"N\xfe.": "unknown opcode 0xfe at byte 1",
    b"NN.": "values left over",
    b"N(N.": "values left over",
    b".": "takes more than the stack",
    b"NK": "takes more than the stack, or the file",
    b"\x82\x01.": "private extension",
    b"\x83\x01\x00.": "private extension",
    b"\x84\x01\x00\x00\x00.": "private extension",
    b"T\xff\xff\xff\xff.": "-1 bytes is claimed",
    b"\x8b\xff\xff\xff\xff.": "-1 bytes is claimed",
}


@pytest.mark.parametrize("data", REFUSED)
def test_a_wrong_opcode_says_what_is_wrong(data: bytes) -> None:
    with pytest.raises(Malformed, match=REFUSED[data]):
        load(data)


def test_the_last_slot_and_the_longest_integer() -> None:
    assert load(b"Np4\n.") is None  # four bytes were taken
    assert load(b"Nr\x06\x00\x00\x00.") is None
    digits = b"1" * limits.DECIMAL_DIGITS
    assert load(b"I" + digits + b"\n.") == int(digits)


def test_bytes_that_end_too_soon_are_cut_short() -> None:
    for data in (
        b"J\x01\x00",
        b"N",
        b"",
        b"M\x01",
        b"G\x00",
        b"X\x01\x00",
        b"Iabc",
        b"\x8a\x05a",
        b"X\x05\x00\x00\x00ab",
        b"\x80",
    ):
        with pytest.raises(CutShort):
            load(data)


def test_every_escape_of_python_2() -> None:
    raw = rb"\n\r\t\\\'" + rb"\"\a\b\f\v\x41\xfF\1\12\101\777\q" + b"\\\n" + b"end"
    assert unescape(raw) == b"\n\r\t\\'\"\a\b\f\vA\xff\x01\nA\xff\\qend"
    every = bytes(range(256))
    assert load(b"S" + repr(every)[1:].encode("ascii") + b"\n.") == every


def test_the_garbage_collector_is_left_as_it_was() -> None:
    seen = []

    def watch(saved: Any) -> None:
        seen.append(gc.isenabled())

    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            Interpreter(PickleStream(BytesStorage(b"NQ.")), {}, watch).load()
            assert gc.isenabled() is enabled
        finally:
            gc.enable()
    assert seen == [False, False]


def test_nothing_is_kept_between_pickles() -> None:
    reader = machine(b"K\x07q\x01.h\x01.")
    assert reader.load() == 7
    with pytest.raises(Malformed, match="KeyError"):
        reader.load()
    assert (reader.stack, reader.marks, reader.memo) == ([], [], {})


def call(data: bytes) -> tuple[Stub, list[Asked]]:
    reader = machine(data)
    value = reader.load()
    assert isinstance(value, Stub)
    return value, reader.actions.sorted()


NAME = b"cos\nsystem\n"
MADE: dict[bytes, tuple[tuple[Any, ...], str, Any, str]] = {
    # what was made: arguments, how, keywords; as what it is listed
    NAME + b")R.": ((), "call", None, "call"),
    NAME + b"K\x01\x85R.": ((1,), "call", None, "call"),
    NAME + b")\x81.": ((), "new", None, "make"),
    NAME + b"K\x01\x85\x81.": ((1,), "new", None, "make"),
    NAME + b")N\x92.": ((), "new_ex", None, "call"),
    NAME + b")}\x92.": ((), "new_ex", {}, "call"),
    b"(" + NAME + b"o.": ((), "instance", None, "call"),
    b"(" + NAME + b"K\x01K\x02o.": ((1, 2), "call", None, "call"),
    b"(ios\nsystem\n.": ((), "instance", None, "call"),
    b"(K\x01K\x02ios\nsystem\n.": ((1, 2), "call", None, "call"),
    b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93K\x01\x85R.": ((1,), "call", None, "call"),
}


@pytest.mark.parametrize("data", MADE)
def test_what_a_call_would_have_been(data: bytes) -> None:
    stub, actions = call(data)
    args, how, kwargs, kind = MADE[data]
    assert (stub.path, stub.args, stub.how, plain(stub.kwargs)) == ("os.system", args, how, kwargs)
    assert type(stub.args) is tuple
    (asked,) = actions
    assert (asked.kind, asked.shown, asked.severity, asked.times) == (kind, stub, "error", 1)


def test_an_allowed_constructor_is_interpreted_unless_it_has_keywords() -> None:
    assert plain(load(b"ccollections\nOrderedDict\n)R.")) == {}
    assert plain(load(b"ccollections\nOrderedDict\n)}\x92.")) == {}  # as NEWOBJ makes it
    for keywords in (b"N", b"}U\x01aK\x01s"):
        reader = machine(b"ccollections\nOrderedDict\n)" + keywords + b"\x92.")
        assert isinstance(reader.load(), Stub)
        (asked,) = reader.actions.sorted()
        assert (asked.kind, asked.severity, asked.shown.path) == ("call", "error", "collections.OrderedDict")
    first, second = load(b"cos\nsystem\ncos\nsystem\n\x86.")
    assert first is second
    assert (first.module, first.name, first.handler) == ("os", "system", None)
    assert load(b"cbuiltins\nset\n.").handler is CONSTRUCTORS["builtins", "set"]


def test_what_would_have_been_put_into_an_object_is_kept() -> None:
    stub, _ = call(NAME + b")\x81K\x01a(K\x02K\x03eK\x04a(K\x05\x90.")
    assert stub.items == [1, 2, 3, 4, 5]
    stub, _ = call(NAME + b")\x81(K\x05K\x06\x90(K\x07\x90.")
    assert stub.items == [5, 6, 7]
    stub, _ = call(NAME + b")\x81K\x01K\x02s(K\x03K\x04K\x05K\x06uK\x07K\x08s.")
    assert stub.pairs == [(1, 2), (3, 4), (5, 6), (7, 8)]
    stub, _ = call(NAME + b")\x81K\x01bK\x02b.")
    assert stub.state == [1, 2]


def test_state_goes_where_it_belongs() -> None:
    mapping = load(b"}K\x05b.")
    assert isinstance(mapping, Pairs)
    assert mapping.state == 5
    reader = machine(NAME + b"K\x05b.")
    assert isinstance(reader.load(), Global)
    (asked,) = reader.actions.sorted()
    assert (asked.kind, asked.shown.path, asked.shown.args) == ("state", "os.system", (5,))
    array = load(pickle.dumps(np.arange(3, dtype=">i2")))
    assert isinstance(array, NumpyArray)
    assert isinstance(array.tensor, Tensor)
    assert array.tensor.lazy is not None
    assert array.tensor.lazy.numpy().tolist() == [0, 1, 2]
    meta = b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n)R"
    tensor = load(meta + b"\x88\x89N\x87b.")
    assert isinstance(tensor, Tensor)
    assert tensor.state == (True, False, None)
    # What set_ of torch.Tensor and __setstate__ of a parameter take, and more: they spread it out, a mapping's keys, too.
    states = [b"K\x05", b"}", b")", b"]", b"N", b"NN\x86", b"NNN\x87", b"(NNNNt", b"(NNNNNt", b"}U\x01aK\x05s"]
    for state in (*states, b"K\x05NN\x87", b"\x88\x89]\x87", b"}(K\x01NK\x02NK\x03NK\x04Nu"):
        with pytest.raises(Malformed, match="replace its numbers"):
            load(meta + state + b"b.")
    for name in ("data", "real", "imag"):
        key = b"U%c%s" % (len(name), name.encode())
        for state in (b"}%sK\x05s" % key, b"}%sK\x05sNN\x87" % key):
            with pytest.raises(Malformed, match="replace its numbers"):
                load(meta + state + b"b.")


def test_a_set_is_a_bag_of_its_own_items() -> None:
    found = load(b"(K\x01\x91.")
    assert isinstance(found, Bag)
    assert found.items == [1]
    assert isinstance(load(b"\x8f."), Bag)
