"""Where the pickle machine stops: instructions, tuples, memo slots, containers, brackets, and strings that stay in the file."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from tests.support.loaders.machines import load, machine

from torch2grid_builtin._inert import limits, stream
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.values import LongBytes

WINDOW = stream.WINDOW


@pytest.fixture(autouse=True)
def _small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WINDOW", 16)  # the limits are looked at when the window moves


@pytest.fixture
def usual_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """For pickles of megabytes, which reach the limits as they are; in windows of 16 bytes they take a minute."""
    monkeypatch.setattr(stream, "WINDOW", WINDOW)


def string_opcodes(length: int) -> dict[str, bytes]:
    """A string of *length* letters by each opcode that makes one."""
    text = b"a" * length
    short = {b"\x8c": "<B", b"U": "<B", b"C": "<B"} if length < 256 else {}
    forms = {**short, b"X": "<I", b"T": "<i", b"B": "<I", b"\x8e": "<Q", b"\x8d": "<Q", b"\x96": "<Q"}
    return {
        **{code.hex(): code + struct.pack(form, length) + text for code, form in forms.items()},
        "V": b"V" + text + b"\n",
        "S": b"S'" + text[2:] + b"'\n",
        "F": b"F" + b"1" * length + b"\n",
        "LONG1": b"\x8a" + bytes([length]) + text,
        "LONG4": b"\x8b" + struct.pack("<i", length) + text,
    }


@pytest.mark.parametrize("name", string_opcodes(32))
def test_a_long_string_is_no_instruction(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for length, payload in ((32, 0), (33, 33), (100, 100)):
        reader = machine(string_opcodes(length)[name] + b".")
        reader.load()
        assert reader.payload == payload
    monkeypatch.setattr(limits, "OPCODE_BYTES", 2000)
    load((string_opcodes(33)[name] + b"0") * 180 + b"N.")  # 6,000 bytes and more, of which at most eleven each count
    with pytest.raises(Malformed, match="more instructions"):
        load((string_opcodes(32)[name] + b"0") * 60 + b"N" * 100)


def test_all_pickles_together_may_have_so_many_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPCODE_BYTES", 3000)
    reader = machine((b"N0" * 450 + b"N.") * 3 + b"N0" * 600)
    assert [reader.load() for _ in range(3)] == [None] * 3
    with pytest.raises(Malformed, match="more instructions"):
        reader.load()


@pytest.mark.parametrize("make", [b"(t", b"N\x85", b"NN\x86", b"NNN\x87"])
def test_tuples_are_counted(make: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TUPLES", 5)
    load((make + b"0") * 5 + b"N0" * 20 + b"N.")
    with pytest.raises(Malformed, match="more objects"):
        load((make + b"0") * 6 + b"N0" * 20 + b"N.")


def test_memo_slots_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMO", 5)
    load(b"N" + b"\x94" * 5 + b"N0" * 20 + b".")
    with pytest.raises(Malformed, match="more objects"):
        load(b"N" + b"\x94" * 6 + b"N0" * 20 + b".")


@pytest.mark.parametrize("make", [b"]", b"}", b"\x8f", b"(l", b"(d", b"(\x91", b"cos\nsystem\n)R", b"cos\nsystem\n)\x81"])
def test_containers_and_calls_are_counted(make: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONTAINERS", 3)
    reader = machine((make + b"0") * 3 + b"N.")
    reader.load()
    assert reader.containers == 3
    with pytest.raises(Malformed, match="more than 3 objects"):
        load((make + b"0") * 4 + b"N.")


def test_open_brackets_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MARKS", 3)
    assert load(b"(((N111N.") is None
    with pytest.raises(Malformed, match="more than 3 brackets"):
        load(b"((((N1111N.")


@pytest.mark.parametrize("name", sorted({"58", "8c", "8d", "54", "55", "42", "43", "8e", "96"}))
def test_what_is_longer_than_the_limit_stays_in_the_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TEXT_IN_MEMORY", 40)
    is_text = name in ("58", "8c", "8d")
    for before in range(4):
        value, after = load(b"N0" * before + string_opcodes(40)[name] + b"K\x07\x86.")
        assert (value, after) == ("a" * 40 if is_text else b"a" * 40, 7)
        value, after = load(b"N0" * before + string_opcodes(41)[name] + b"K\x07\x86.")
        assert isinstance(value, LongBytes)
        assert (value.is_text, value.storage.size, after) == (is_text, 41, 7)


def spent(data: bytes) -> int:
    """What reading *data* costs beyond its opcodes."""
    reader = machine(data)
    before = reader.work.left
    reader.load()
    return before - reader.work.left


SHARED = b"](NNNNNNNNNNe"  # ten entries
PAIRS = b"}(" + b"".join(b"K%cN" % key for key in range(10)) + b"u"
COUPLES = b"](" + b"NN\x86" * 10 + b"e"
OF_TEN = {
    "list": b"cbuiltins\nlist\n" + SHARED + b"\x85R",
    "deque": b"ccollections\ndeque\n" + SHARED + b"\x85R",
    "set": b"cbuiltins\nset\n" + SHARED + b"\x85R",
    "frozenset of a set": b"cbuiltins\nfrozenset\n\x8f(" + b"N" * 10 + b"\x90\x85R",
    "tuple": b"cbuiltins\ntuple\n" + SHARED + b"\x85R",
    "size": b"ctorch\nSize\n" + SHARED + b"\x85R",
    "dict": b"cbuiltins\ndict\n" + PAIRS + b"\x85R",
    "ordered": b"ccollections\nOrderedDict\n" + COUPLES + b"\x85R",
    "counter": b"ccollections\nCounter\n" + PAIRS + b"\x85R",
    "default": b"ccollections\ndefaultdict\nN" + PAIRS + b"\x86R",
    "object": b"ccopyreg\n_reconstructor\ncos\nC\ncbuiltins\nlist\n" + SHARED + b"\x87R",
    "new": b"ccopyreg\n__newobj__\n(cos\nC\nNNNNNNNNNtR",
}
LOOKED_AT = {"object": 20, "new": 9}  # values that are looked at for names, where one is harmless in some uses only


@pytest.mark.parametrize("name", OF_TEN)
def test_what_is_copied_is_paid_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = 10 * limits.COPIED + LOOKED_AT.get(name, 0)
    assert spent(OF_TEN[name] + b".") == cost
    assert spent(SHARED + b".") == spent(PAIRS + b".") == 0
    monkeypatch.setattr(limits, "WORK_ALWAYS", 3 * cost)
    load((OF_TEN[name] + b"0") * 3 + b"N.")
    with pytest.raises(Malformed, match="repeats its objects more often"):
        load((OF_TEN[name] + b"0") * 4 + b"N.")


def test_tuples_are_not_copied() -> None:
    for name in (b"cbuiltins\ntuple\n", b"ctorch\nSize\n"):
        assert spent(name + b"(NNNNt\x85R.") == 0
        assert load(name + b"(NNNNt\x85R.") == (None,) * 4
        assert load(name + b"](K\x01K\x02e\x85R.") == (1, 2)
        assert load(name + b")R.") == ()


ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01(K%ctcnumpy\ndtype\n\x8c\x02u1\x85R\x89"
)
AS_TEXT = {
    "encode": b"c_codecs\nencode\n%b\x8c\x06latin1\x86R",
    "bytes": b"cbuiltins\nbytes\n%b\x8c\x06latin1\x86R",
    "bytearray": b"cbuiltins\nbytearray\n%b\x8c\x06latin1\x86R",
    "array": ARRAY % 80 + b"%btb",
}


@pytest.mark.parametrize("name", AS_TEXT)
def test_bytes_that_were_text_are_paid_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = AS_TEXT[name] % string_opcodes(80)["58"]
    made = limits.ARRAY if name == "array" else 0
    assert spent(one + b".") == 80 // limits.TEXT + 1 + made
    monkeypatch.setattr(limits, "WORK_ALWAYS", 33 + 3 * made)
    monkeypatch.setattr(limits, "WORK_BYTES", 1 << 20)
    load((one + b"0") * 3 + b"N.")
    with pytest.raises(Malformed, match="repeats its objects more often"):
        load((one + b"0") * 4 + b"N.")


@pytest.mark.parametrize("name", ["encode", "array"])
def test_a_long_text_is_paid_for_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TEXT_IN_MEMORY", 40)
    made = limits.ARRAY if name == "array" else 0
    assert spent(AS_TEXT[name] % string_opcodes(80)["58"] + b".") == 80 // limits.TEXT + 1 + made


@pytest.mark.usefixtures("usual_window")
def test_few_bytes_make_no_crowd_of_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a tensor of its own, which is measured on its own: a pickle of kilobytes does not ask for a million."""
    monkeypatch.setattr(limits, "WORK_ALWAYS", limits.WORK_ALWAYS // 16)
    held = b"cnumpy.core.multiarray\n_reconstruct\nq\x000cnumpy\nndarray\nK\x00\x85C\x01b\x87q\x010"
    held += b"(K\x01K\x01\x85cnumpy\ndtype\n\x8c\x02u1\x85R\x89C\x01atq\x020"
    with pytest.raises(Malformed, match="repeats its objects more often"):
        load(b"\x80\x02" + held + b"](" + b"h\x00h\x01Rh\x02b" * (340_000 // 16) + b"e.")


@pytest.mark.usefixtures("usual_window")
def test_objects_tuples_slots_and_texts_share_one_budget_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMORY", limits.MEMORY // 8)
    parts = {"objects": b"}" * (1_900_000 // 8), "tuples": b"N\x85" * (3_900_000 // 8), "slots": b"N\x94" * (2_900_000 // 8)}
    for each in parts.values():
        load(b"\x80\x04(" + each + b"l.")
    with pytest.raises(Malformed, match="MiB of memory"):
        load(b"\x80\x04(" + b"".join(parts.values()) + b"l.")


@pytest.mark.usefixtures("usual_window")
def test_long_integers_are_paid_for() -> None:
    with pytest.raises(Malformed, match="MiB of memory"):
        load(b"\x80\x04(" + (b"\x8b" + (1 << 20).to_bytes(4, "little") + bytes(1 << 20)) * 2 * (limits.HELD >> 21) + b"l.")


def test_a_large_pickle_may_cost_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORK_ALWAYS", 100)
    assert [limits.Work(size).left for size in (0, 400, 404, 4000)] == [100, 100, 101, 1000]
    assert machine(b"N0" * 400 + b"N.").work.left == 200
    work = limits.Work()
    work.spend(100)
    with pytest.raises(Malformed, match="repeats its objects"):
        work.spend(1)


@pytest.mark.usefixtures("usual_window")
def test_few_bytes_cannot_ask_for_gigabytes() -> None:
    shared = b"cbuiltins\nlist\n\x940](" + b"N" * 1_000_000 + b"e\x85\x940"
    with pytest.raises(Malformed, match="repeats its objects more often"):
        load(b"\x80\x04" + shared + b"(" + b"h\x00h\x01R" * 10_000 + b"l.")


def test_calls_of_calls_end() -> None:
    call = b"ccopyreg\n__newobj__\n"
    with pytest.raises(Malformed, match="calls of calls without end"):
        load(call + b"\x940h\x00(" + b"h\x00" * 2000 + b"tR.")
    assert load(call + b"\x940h\x00(" + b"h\x00" * 20 + b"cos\nC\ntR.").path == "os.C"
    wrap = b"ctorch._tensor\n_rebuild_from_type_v2\n\x940"
    nested = b"(h\x00N" * 1500 + b"(cos\nC\nN)N"
    with pytest.raises(Malformed, match="calls of calls without end"):
        load(wrap + b"h\x00" + nested + b"t" + b"Nt" * 1500 + b"R.")


class Endless:
    """A pickle whose last line goes on for 4 GiB of one letter; *read* is how far it was looked at."""

    shippable = True
    size = 1 << 32

    def __init__(self, begun: bytes, letter: bytes) -> None:
        self.begun, self.letter, self.read = begun, letter, 0

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.read = max(self.read, offset + len(buffer))
        buffer[:] = self.letter * len(buffer)
        head = self.begun[offset : offset + len(buffer)]
        buffer[: len(head)] = head


LINES = {opcode: (opcode.encode(), b"1") for opcode in "FIL"} | {
    "S": (b"S'", b"a"),
    "V": (b"V", b"a"),
    "P": (b"P", b"a"),
    "module of c": (b"c", b"a"),
    "name of c": (b"cos\n", b"a"),
    "module of i": (b"(i", b"a"),
    "name of i": (b"(ios\n", b"a"),
    "p": (b"Np", b"1"),
    "g": (b"Np1\ng", b"1"),
}


@pytest.mark.usefixtures("usual_window")
@pytest.mark.parametrize("line", LINES)
def test_a_line_without_end_is_refused_after_little_was_read(line: str) -> None:
    storage = Endless(b"\x80\x02" + LINES[line][0], LINES[line][1])
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match=r"line of the pickle is longer|thousands of digits"):
            Interpreter(PickleStream(storage), CONSTRUCTORS).load()
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert storage.read < (limits.LINE_BYTES + (4 << 20) if line in "SV" else 1 << 16)
