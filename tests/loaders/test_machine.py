"""The pickle machine, opcode by opcode: what it makes, and what it refuses in bounded time."""

from __future__ import annotations

import datetime
import gc
import pickle
import struct
import time
from typing import Any

import pytest

from torch2grid_builtin._inert import limits, stream
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.machine import Machine
from torch2grid_builtin._inert.malformed import CutShort, Malformed
from torch2grid_builtin._inert.report import describe, not_run
from torch2grid_builtin._inert.stream import WINDOW, PickleStream
from torch2grid_builtin._inert.values import Bag, Global, LongBytes, Pairs, Stub
from torch2grid_core.sources import BytesStorage


def machine(data: bytes) -> Machine:
    return Interpreter(PickleStream(BytesStorage(data)), CONSTRUCTORS)


def load(data: bytes) -> Any:
    return machine(data).load()


def plain(value: Any) -> Any:
    """*value* with our containers as Python's."""
    if isinstance(value, Pairs):
        return {key: plain(item) for key, item in value.entries()}
    if isinstance(value, Bag):
        return {plain(item) for item in value.items}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    return value


VALUES = [
    *(None, True, False, 0, 255, 256, 65535, -1, 2**31 - 1, -(2**31), 2**40, -(2**70), 2**2100, 1.5, -0.0, float("inf")),
    *("", "text", "ünï\U0001f600", "line\nbreak", "x" * 300, b"", b"\x00\xff\n", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    *(
        [],
        [1, [2, [3]]],
        {},
        {"a": {"b": 1}, "c": [2]},
        {1, 2},
        frozenset({3}),
        list(range(2500)),
        {str(i): i for i in range(2500)},
    ),
]


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_of_every_protocol(protocol: int) -> None:
    for value in VALUES:
        data = pickle.dumps(value, protocol)
        assert plain(load(data)) == value, value
        for cut in range(len(data) if len(data) < 100 else 0):
            with pytest.raises(Malformed):
                load(data[:cut])


def test_a_memo_keeps_identity() -> None:
    inner: list[int] = [1]
    for protocol in range(6):
        first, second = load(pickle.dumps([inner, inner], protocol))
        assert first is second


def test_python_2_text_is_bytes() -> None:
    assert load(b"S'a\\x00\\n\\'\\101'\n.") == b"a\x00\n'A"
    assert load(b"U\x03abc.") == b"abc"
    assert load(b"T\x03\x00\x00\x00abc.") == b"abc"
    assert load(b"(S'k'\nI1\nd.").get("k") == 1
    assert load(b"I01\n.") is True
    assert load(b"L12L\n.") == 12


def test_several_pickles_one_after_another() -> None:
    both = machine(pickle.dumps(1) + pickle.dumps(["two"], 0))
    assert both.load() == 1
    assert both.load() == ["two"]


def test_windows_are_crossed_anywhere() -> None:
    for shift in (0, 1, 2, 5, 8):
        value = ["x" * (WINDOW // 16 - 40 + shift + index % 3) for index in range(40)] + list(range(1000))
        found = load(pickle.dumps(value, 2))
        texts = [item for item in found if isinstance(item, str)]
        assert [item for item in found if isinstance(item, int)] == list(range(1000))
        assert texts == [item for item in value if isinstance(item, str) and len(item) <= limits.TEXT_IN_MEMORY]


def test_long_strings_are_left_in_the_file() -> None:
    value = load(pickle.dumps({"k": b"\x01" * 100_000, "after": 1}, 4))
    long = value.get("k")
    assert isinstance(long, LongBytes)
    assert (long.storage.size, value.get("after")) == (100_000, 1)
    tail = bytearray(4)
    long.storage.read_into(99_996, memoryview(tail))
    assert tail == b"\x01" * 4


REFUSED = {
    "empty": b"",
    "no stop": b"\x80\x02N",
    "stop on an empty stack": b"\x80\x02.",
    "left over": b"\x80\x02NN.",
    "open bracket": b"(N.",
    "unknown opcode": b"\x80\x02\xff.",
    "protocol 99": b"\x80\x63N.",
    "memo slot missing": b"h\x05.",
    "text memo slot below none": b"Np-1\n.",
    "no mark": b"Nt.",
    "reduce on nothing": b"R.",
    "arguments no tuple": b"cos\nsystem\nNR.",
    "negative long": b"\x8b\xff\xff\xff\xff.",
    "text of 4 EiB": b"\x8d\x00\x00\x00\x00\x00\x00\x00\x40.",
    "bytes of 1 TiB": b"\x8e\x00\x00\x00\x00\x00\x01\x00\x00.",
    "negative binstring": b"T\xff\xff\xff\xff.",
    "frame beyond the end": b"\x80\x04\x95\xff\xff\x00\x00\x00\x00\x00\x00N.",
    "not UTF-8": b"X\x01\x00\x00\x00\xff.",
    "extension": b"\x82\x01.",
    "out-of-band buffer": b"\x97.",
    "persistent id": b"N\x51.",
    "append to a number": b"K\x01K\x02a.",
    "key without value": b"}(K\x01u.",
    "set item of a list": b"]K\x01K\x02s.",
    "state of a list": b"]}NNsb.",
    "number of letters": b"Iabc\n.",
    "text without quotes": b"Sabc\n.",
    "global without end": b"cos",
    "name that is no text": b"K\x01K\x02\x93.",
    "class that is no name": b"(o.",
    "ordered dict of numbers": b"ccollections\nOrderedDict\n(](K\x01K\x02etR.",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_a_broken_pickle_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        load(data)
    assert gc.isenabled()


def test_quadratic_and_exponential_pickles_are_refused_or_cheap() -> None:
    with pytest.raises(Malformed, match="digits"):
        load(b"L" + b"9" * 400_000 + b"L\n.")
    with pytest.raises(Malformed, match="brackets"):
        load(b"(" * (limits.MARKS + 1) + b".")
    with pytest.raises(CutShort):
        load(b"]" * 10)
    laughs = b"]q\x000" + b"".join(b"](h%ch%ceq%c0" % (index, index, index + 1) for index in range(100)) + b"h\x64."
    assert isinstance(load(laughs), list)


def test_too_many_objects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONTAINERS", 1000)
    with pytest.raises(Malformed, match="objects"):
        load(b"(" + b"}" * 1001 + b"t.")
    monkeypatch.setattr(stream, "WINDOW", 1 << 14)  # instructions and tuples are counted once a window
    monkeypatch.setattr(limits, "OPCODE_BYTES", 1 << 14)
    with pytest.raises(Malformed, match="instructions"):
        load(b"N0" * (2 << 14) + b"N.")
    monkeypatch.setattr(limits, "TUPLES", 1000)
    with pytest.raises(Malformed, match="objects"):
        load(b"N" + b"\x85" * (1 << 14) + b"N0" * 100 + b".")


def test_keys_that_collide_cost_nothing() -> None:
    modulus = 2**61 - 1
    pairs = b"".join(b"\x8a\x0b" + (index * modulus).to_bytes(11, "little") + b"N" for index in range(1, 20_000))
    value = load(b"}(" + pairs + b"u.")
    assert len(list(value.entries())) == 19_999


CALLS = {
    "posix.system('x')": b"cposix\nsystem\n(S'x'\ntR.".replace(b"S'x'\n", b"X\x01\x00\x00\x00x"),
    "os.system('y')": b"(X\x01\x00\x00\x00yios\nsystem\n.",
    "os.system('z')": b"(cos\nsystem\nX\x01\x00\x00\x00zo.",
    "making subprocess.Popen('a')": b"\x80\x04csubprocess\nPopen\nX\x01\x00\x00\x00a\x85\x81.",
    "subprocess.Popen('b')": b"\x80\x04csubprocess\nPopen\nX\x01\x00\x00\x00b\x85}\x92.",
    "builtins.getattr(posix, 'system')('c')": b"",
    "setting the state of torch.load": b"ctorch\nload\n}b.",
    "os.system('e')": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01e\x85R.",
}
CALLS["builtins.getattr(posix, 'system')('c')"] = (
    b"cbuiltins\ngetattr\n(X\x05\x00\x00\x00posixX\x06\x00\x00\x00systemtRX\x01\x00\x00\x00c\x85R."
)


@pytest.mark.parametrize("line", CALLS)
def test_what_would_have_been_called_is_kept(line: str) -> None:
    reader = machine(CALLS[line])
    value = reader.load()
    assert isinstance(value, Stub | Global)
    lines = [str(action) for action in not_run(reader.actions)]
    assert line in [each.replace("'posix'", "posix") for each in lines]
    assert {action.severity for action in not_run(reader.actions)} == {"error"}


def test_harmless_values_are_not_reported() -> None:
    reader = machine(pickle.dumps([datetime.date(2020, 1, 1), datetime.timedelta(1), slice(1, 2), complex(1, 2), range(3)]))
    reader.load()
    assert not_run(reader.actions) == []


def test_descriptions_are_short_and_printable() -> None:
    reader = machine(b"cos\n" + b"a" * 4000 + b"\x1b[31m\n(" + b"X\xff\x00\x00\x00" + b"\x07" * 255 + b"]tR.")
    reader.load()
    line = str(*not_run(reader.actions))
    assert len(line) < 900
    assert line.isprintable()
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert len(describe(deep)) < 100


def test_a_chain_of_calls_is_described_and_named_at_once() -> None:
    for length in (1, 2, 3, 4, 600, 200_000):
        reader = machine(b"cos\nsystem\n" + b")R" * length + b".")
        value = reader.load()
        assert value.path == "os.system"
        started = time.perf_counter()
        lines = [str(action) for action in not_run(reader.actions)]
        assert time.perf_counter() - started < 5
        assert lines[0] == "os.system()"
        assert len(lines) == min(length, 2)
        assert lines[1:] == ["os.system()()" + (f" (and {length - 2:,} more like it)" if length > 2 else "")][: length - 1]
        assert len(describe(value)) < 40


def test_many_calls_are_counted() -> None:
    call = b"cos\nsystem\n(J%stR0"
    reader = machine(b"".join(call % struct.pack("<i", index) for index in range(50)) + b"N.")
    reader.load()
    assert [str(action) for action in not_run(reader.actions)] == ["os.system(0) (and 49 more like it)"]


def test_no_number_of_names_hides_another() -> None:
    """What is listed is grouped by name and sorted by danger; the rest is counted, and says how bad it is."""
    harmless = b"cdatetime\ntimedelta\n(K\x01tR0" * 1000
    others = b"".join(b"cother.package%d\nThing\n)\x810" % index for index in range(2 * limits.NOT_RUN))
    torch = b"".join(b"ctorch.other\nname%d\n0" % index for index in range(2 * limits.NOT_RUN))
    reader = machine(b"\x80\x02" + harmless + others + torch + b"cnt\nsystem\n(X\x01\x00\x00\x00xtR.")
    reader.load()
    found = not_run(reader.actions)
    assert str(found[0]) == "nt.system('x')"
    assert len(found) == limits.NOT_RUN + 1
    assert {action.severity for action in found[1:]} == {"error"}
    assert str(found[-1]) == f"importing {3 * limits.NOT_RUN + 1:,} other names"
    reader = machine(b"\x80\x02" + others + b"N.")
    reader.load()
    assert {action.severity for action in not_run(reader.actions)} == {"note"}
