"""The window over a pickle: what it gives wherever the bytes lie, how little it reads, and where it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from torch2grid_builtin._inert import stream
from torch2grid_builtin._inert.malformed import CutShort, LongLine
from torch2grid_builtin._inert.storages import Slice
from torch2grid_builtin._inert.stream import PickleStream, part
from torch2grid_core.sources import BytesStorage, LocalSource, Range, Storage

DATA = bytes(range(200))


class Watched:
    """A storage that keeps the ranges that were read."""

    shippable = True

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)
        self.reads: list[tuple[int, int]] = []

    def read_into(self, offset: int, buffer: memoryview) -> None:
        assert 0 <= offset <= offset + len(buffer) <= self.size
        self.reads.append((offset, offset + len(buffer)))
        buffer[:] = self.data[offset : offset + len(buffer)]


def content(storage: Storage) -> bytes:
    buffer = bytearray(storage.size)
    storage.read_into(0, memoryview(buffer))
    return bytes(buffer)


@pytest.fixture(autouse=True)
def _small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WINDOW", 32)


def test_the_window_moves_forwards_and_reads_each_byte_once() -> None:
    watched = Watched(DATA)
    found = PickleStream(watched, 10)
    assert (found.tell(), found.size, found.safe) == (10, 200, 0)
    assert found.advance(0) == 0
    assert (found.base, found.data, found.safe) == (10, DATA[10:42], 32 - 9)
    found.pos = 20
    assert found.tell() == 30
    assert found.advance(20) == 0
    assert (found.base, found.data, found.tell()) == (30, DATA[30:62], 30)
    found.advance(5, 50)
    assert (found.base, found.data, found.safe) == (35, DATA[35:85], 50 - 9)
    assert watched.reads == [(10, 42), (42, 62), (62, 85)]
    found.advance(140)
    assert (found.base, found.data, found.safe) == (175, DATA[175:], 25)  # at the end every byte is safe
    with pytest.raises(CutShort):
        found.advance(25)


def test_the_last_window_is_safe_to_its_end_and_no_other() -> None:
    for start, safe in ((167, 32 - 9), (168, 32), (169, 31), (199, 1)):
        found = PickleStream(Watched(DATA), start)
        found.advance(0)
        assert found.safe == safe, start


@given(
    st.lists(st.tuples(st.sampled_from(["take", "leave", "raw", "skip"]), st.integers(0, 70)), max_size=12), st.integers(0, 40)
)
def test_any_steps_give_the_bytes_in_order(steps: list[tuple[str, int]], start: int) -> None:
    watched = Watched(DATA)
    found = PickleStream(watched, start)
    place = start
    for step, count in steps:
        if place + count > len(DATA):
            with pytest.raises(CutShort, match=f"a string of {count} bytes is claimed where {len(DATA) - place} are left"):
                getattr(found, step)(*(() if step in ("raw", "skip") else (found.pos,)), count)
            assert found.tell() == place
            continue
        if step in ("raw", "skip"):
            got = getattr(found, step)(count)
        else:
            got, found.pos = getattr(found, step)(found.pos, count)
        assert (got if isinstance(got, bytes) else content(got)) == DATA[place : place + count]
        place += count
        assert found.tell() == place
        assert found.data == DATA[found.base : found.base + len(found.data)]


def test_what_is_left_in_the_file_is_not_read() -> None:
    watched = Watched(DATA)
    found = PickleStream(watched)
    left = found.skip(150)
    assert (watched.reads, found.tell(), left.size) == ([], 150, 150)
    assert found.raw(3) == DATA[150:153]
    assert watched.reads == [(150, 150 + 32)]
    near = found.skip(4)  # inside the window: it stays
    assert found.raw(2) == DATA[157:159]
    assert watched.reads == [(150, 182)]
    assert content(near) == DATA[153:157]


def test_negative_lengths_and_ends() -> None:
    found = PickleStream(Watched(DATA))
    found.check(0, 200)
    found.check(200, 0)
    for place, count, left in ((0, 201, 200), (200, 1, 0), (150, 51, 50), (300, 0, 0), (10, -1, 190)):
        with pytest.raises(CutShort, match=f"of {count} bytes is claimed where {left} are left"):
            found.check(place, count)
    assert found.take(0, 200) == (DATA, 200)
    assert found.take(200, 0) == (b"", 200)


def test_lines_of_any_length() -> None:
    lines = [b"", b"a", b"b" * 31, b"c" * 32, b"d" * 33, b"e" * 500, b""]
    raw = b"".join(line + b"\n" for line in lines)
    found = PickleStream(Watched(b"??" + raw + b"no end"), 2)
    for line in lines:
        got, found.pos = found.line(found.pos, 500)
        assert got == line
    assert found.tell() == 2 + len(raw)
    with pytest.raises(CutShort, match="does not end"):
        found.line(found.pos, 500)
    with pytest.raises(CutShort):
        PickleStream(Watched(b"")).line(0, 500)


@pytest.mark.parametrize("before", [b"", b"N" * 20])  # a line at the start of the window, and in its midst
def test_little_more_than_the_longest_line_is_read_to_find_that_one_is_longer(before: bytes) -> None:
    watched = Watched(before + b"x" * 5000 + b"\n")
    found = PickleStream(watched)
    found.raw(len(before))
    with pytest.raises(LongLine, match="longer than 200 bytes"):
        found.line(found.pos, 200)
    assert max(end for _, end in watched.reads) <= len(before) + 200 + 2 * 32
    assert found.tell() == len(before)
    assert len(found.data) <= 32
    with pytest.raises(LongLine):
        found.line(found.pos, 4999)
    assert found.line(found.pos, 5000) == (b"x" * 5000, 5001)
    assert found.ahead(3) == b"xxx"


def test_a_part_of_a_file_is_a_range_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(DATA)
    file = Range(LocalSource(path), 20, 100)
    found = part(file, 5, 10)
    assert isinstance(found, Range)
    assert (found.source, found.offset, found.size) == (file.source, 25, 10)
    assert content(found) == DATA[25:35]
    memory = BytesStorage(DATA)
    assert part(memory, 5, 10) == Slice(memory, 5, 10)
