"""Where the pickle machine stops: instructions, tuples, memo slots, containers, brackets, and strings that stay in the file."""

from __future__ import annotations

import struct

import pytest
from tests.loaders.machines import load, machine

from torch2grid_builtin.inert import limits, stream
from torch2grid_builtin.inert.values import LongBytes, Malformed


@pytest.fixture(autouse=True)
def _small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WINDOW", 16)  # the limits are looked at when the window moves


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


def test_each_pickle_may_have_so_many_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPCODE_BYTES", 1000)
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
