"""Pickles inside pickles, which PyTorch loads from bytes: what they may cost is bounded for all of them together."""

from __future__ import annotations

import struct

import pytest
from tests.support.loaders.saved import dumped

from torch2grid_builtin._inert import limits, stream as stream_module
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.legacy import MAGIC, PROTOCOL, read_legacy
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_core.sources import BytesStorage


def inner(value: bytes) -> bytes:
    """A legacy stream without storages, around a pickled value."""
    return dumped(MAGIC) + dumped(PROTOCOL) + b"N." + value + b"]."


def called(raw: bytes, times: int = 1) -> bytes:
    """A pickle that has *raw* loaded so many times, from one byte string."""
    start = b"ctorch.storage\n_load_from_bytes\n\x940B" + struct.pack("<I", len(raw)) + raw + b"\x85\x940("
    return start + b"h\x00h\x01R" * times + b"l"


def test_pickles_in_pickles_share_what_they_may_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = inner(b"N.")
    outer = Interpreter(PickleStream(BytesStorage(called(raw, 3) + b".")), CONSTRUCTORS)
    before = outer.work.left
    assert outer.load() == [None] * 3
    cost = limits.INNER + limits.INNER_BYTE * len(raw) + 1  # each opcode once, and its argument looked at
    assert before - outer.work.left == 3 * cost
    # What stands in long strings is no instruction here either.
    longer = inner(b"X" + struct.pack("<I", 5000) + b"a" * 5000 + b".")
    outer = Interpreter(PickleStream(BytesStorage(called(longer) + b".")), CONSTRUCTORS)
    outer.load()
    assert before - outer.work.left == limits.INNER + limits.INNER_BYTE * (len(longer) - 5000) + 1
    monkeypatch.setattr(limits, "WORK_ALWAYS", 3 * cost)
    monkeypatch.setattr(limits, "WORK_BYTES", 1 << 20)
    for count in (3, 4):
        reader = Interpreter(PickleStream(BytesStorage(called(raw, count) + b".")), CONSTRUCTORS)
        if count == 3:
            reader.load()
        else:
            with pytest.raises(Malformed, match="repeats its objects"):
                reader.load()


def test_pickles_in_pickles_share_their_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "WINDOW", 16)
    lists = inner(b"](]]e.")  # three lists; those that are kept are counted, and the calls
    reader = Interpreter(PickleStream(BytesStorage(called(lists, 4) + b".")), CONSTRUCTORS)
    reader.load()
    assert reader.containers == 4 * (1 + 3) + 1
    tuples = inner(b"N\x85\x85\x85.")
    reader = Interpreter(PickleStream(BytesStorage(called(tuples, 4) + b".")), CONSTRUCTORS)
    reader.load()
    assert reader.tuples == 4 * 3 + 1
    monkeypatch.setattr(limits, "TUPLES", 12)
    for count in (3, 5):
        raw = called(tuples, count) + b"N0" * 20 + b"."
        reader = Interpreter(PickleStream(BytesStorage(raw)), CONSTRUCTORS)
        if count == 3:
            reader.load()
        else:
            with pytest.raises(Malformed, match="makes more objects"):
                reader.load()


def test_a_pickle_in_a_pickle_has_no_more_instructions_than_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "WINDOW", 16)
    monkeypatch.setattr(limits, "WORK_BYTES", 1 << 20)
    monkeypatch.setattr(limits, "WORK_ALWAYS", limits.INNER + limits.INNER_BYTE * 1000)
    load_inner(inner(b"N0" * 200 + b"N."))
    for count in (600, 5000):
        with pytest.raises(Malformed, match="more instructions"):
            load_inner(inner(b"N0" * count + b"N."))


def load_inner(raw: bytes) -> None:
    Interpreter(PickleStream(BytesStorage(called(raw) + b".")), CONSTRUCTORS).load()


def test_few_bytes_cannot_ask_for_a_billion_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORK_ALWAYS", 1 << 22)
    raw = inner(b"N.")
    for _ in range(limits.PICKLES):
        raw = inner(called(raw, 1000) + b".")
    with pytest.raises(Malformed, match="repeats its objects"):
        read_legacy(BytesStorage(raw), CONSTRUCTORS)
