"""How bytes are handed out: windows ahead of a pass, blocks that are kept, rows, threads."""

from __future__ import annotations

import atexit
import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.remote.server import Server, serving

from torch2grid_core import LoadError
from torch2grid_core.sources import Range
from torch2grid_core.testing import Bound, conformance
from torch2grid_remote import limits, reading
from torch2grid_remote.files import RemoteFile
from torch2grid_remote.reading import Reader
from torch2grid_remote.web import Web

CONTENT = random.Random(7).randbytes(3_000_000)


class File:
    """A file that notes what is fetched of it. gate: nothing arrives before it is set."""

    def __init__(self, size: int) -> None:
        self.size, self.identity = size, object()
        self.fetched: list[tuple[int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.wrong = -1  # a request from here on fails

    def byte(self, place: int) -> int:
        return place // 4096 % 251

    def fetch(self, start: int, buffer: memoryview, tell: object = None) -> None:
        self.gate.wait()
        self.fetched.append((start, len(buffer)))
        if 0 <= self.wrong <= start:
            raise LoadError("file", "is broken")
        buffer[:] = (np.arange(start, start + len(buffer)) // 4096 % 251).astype(np.uint8).data
        if callable(tell):
            tell(len(buffer))

    @property
    def bytes(self) -> int:
        return sum(length for _, length in self.fetched)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 64 KiB, of which there is room for four."""
    monkeypatch.setattr(limits, "WINDOW", 64 << 10)
    monkeypatch.setattr(limits, "AHEAD", 256 << 10)
    monkeypatch.setattr(limits, "NEAR", 4096)
    monkeypatch.setattr(reading, "_SMALL", 4096)


def passed(reader: Reader, file: File, start: int, stop: int, step: int = 4096) -> None:
    """Read a range from start to end, and look at it."""
    for offset in range(start, stop, step):
        buffer = bytearray(min(step, stop - offset))
        reader.read_into(file, offset, memoryview(buffer))
        assert (buffer[0], buffer[-1]) == (file.byte(offset), file.byte(offset + len(buffer) - 1))


@pytest.mark.usefixtures("small")
def test_a_pass_fetches_each_byte_once_by_whole_windows() -> None:
    reader, file = Reader(), File(4 << 20)
    reader.prefetch(file, [(10 * 4096, 240 * 4096)])  # as many as there are connections, twice
    passed(reader, file, 10 * 4096, 250 * 4096)
    assert file.bytes == 240 * 4096
    assert sorted(file.fetched)[1:-1] == [(edge, 64 << 10) for edge in range(64 << 10, 15 * (64 << 10), 64 << 10)]
    until = time.monotonic() + 10  # the thread that fetched the last window lets go of it, once it has told the reader
    while reader.windows and time.monotonic() < until:
        time.sleep(0.001)
    assert (reader.windows, reader.held, list(reader.queue)) == ({}, 0, [])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("windows", "whole"), [(0.5, 0), (1.5, 0), (5, 0), (9, 8), (12.5, 8), (16, 16)])
def test_no_connection_waits_for_the_last_of_what_is_fetched_together(windows: float, whole: int) -> None:
    reader, file = Reader(), File(4 << 20)
    size = int(windows * limits.WINDOW)
    reader.prefetch(file, [(0, size)])
    passed(reader, file, 0, size)
    lengths = [length for _, length in sorted(file.fetched)]
    assert sum(lengths) == size
    assert lengths[:whole] == [limits.WINDOW] * whole
    rest = lengths[whole:]
    assert len(rest) <= limits.CONNECTIONS
    assert max(rest, default=0) - min(rest, default=0) <= 4096  # they end at the same time
    assert min(rest, default=limits.WINDOW) >= limits.WINDOW // 8 - 4096


@pytest.mark.usefixtures("small")
def test_there_is_never_more_than_there_is_room_for() -> None:
    reader, file = Reader(), File(4 << 20)
    reader.prefetch(file, [(0, 2 << 20)])
    most = 0
    for offset in range(0, 2 << 20, 4096):
        passed(reader, file, offset, offset + 4096)
        most = max(most, reader.held)
    assert most <= 256 << 10
    assert file.bytes == 2 << 20


@pytest.mark.usefixtures("small")
def test_what_nobody_takes_makes_room_for_what_is_asked_for() -> None:
    reader, file = Reader(), File(8 << 20)
    reader.prefetch(file, [(0, 2 << 20)])
    passed(reader, file, 0, 4096)
    reader.prefetch(file, [(4 << 20, 2 << 20)])
    passed(reader, file, 4 << 20, 6 << 20)
    assert reader.held <= 256 << 10


@pytest.mark.usefixtures("small")
def test_what_is_asked_for_twice_comes_once() -> None:
    reader, file = Reader(), File(4 << 20)
    for _ in range(3):
        reader.prefetch(file, [(0, 150 << 10)])
    reader.prefetch(file, [(100 << 10, 100 << 10)])
    passed(reader, file, 0, 200 << 10)
    assert file.bytes == 200 << 10


@pytest.mark.usefixtures("small")
def test_threads_share_what_comes() -> None:
    reader, file = Reader(), File(4 << 20)
    reader.prefetch(file, [(0, 4 << 20)])
    wrong: list[BaseException] = []

    def read(start: int) -> None:
        try:
            passed(reader, file, start, start + (1 << 20))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(each << 20,)) for each in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
        assert not each.is_alive()
    assert wrong == []


@pytest.mark.usefixtures("small")
def test_a_failure_is_told_to_whoever_reads_it_and_to_nobody_else() -> None:
    reader, file = Reader(), File(4 << 20)
    file.wrong = 128 << 10
    reader.prefetch(file, [(0, 256 << 10)])
    passed(reader, file, 0, 128 << 10)
    for _ in range(2):
        with pytest.raises(LoadError, match="is broken"):
            passed(reader, file, 128 << 10, 130 << 10)
    file.wrong = -1
    passed(reader, file, 128 << 10, 130 << 10)


def test_threads_end_when_there_is_nothing_to_do() -> None:
    reader, file = Reader(), File(100 << 20)
    reader.prefetch(file, [(0, 20 << 20)])
    passed(reader, file, 0, 20 << 20, 1 << 20)
    for each in threading.enumerate():
        if each.name == "torch2grid-remote":
            each.join(10)
    assert (reader.threads, reader.idle) == (0, 0)


def test_reads_that_follow_each_other_become_fewer_requests() -> None:
    reader, file = Reader(), File(100 << 20)
    passed(reader, file, 4096, 4096 + (8 << 20), 16384)
    assert len(file.fetched) <= 20
    assert file.bytes <= 16 << 20
    scattered = File(1 << 30)
    for offset in range(0, 1 << 30, 64 << 20):
        passed(reader, scattered, offset, offset + 4096)
    assert scattered.bytes <= 16 * limits.HEAD


def test_rows_close_together_are_one_request_and_others_one_each() -> None:
    reader, file = Reader(), File(64 << 20)
    rows = [bytearray(4096) for _ in range(100)]
    reader.read_rows(file, 4096, 32768, [memoryview(row) for row in rows])
    assert [row[0] for row in rows] == [file.byte(4096 + place * 32768) for place in range(100)]
    assert len(file.fetched) == 1
    far = File(1 << 30)
    reader.read_rows(far, 0, 4 << 20, [memoryview(row) for row in rows])
    assert [row[0] for row in rows] == [far.byte(place * (4 << 20)) for place in range(100)]
    assert far.bytes == 100 * 4096


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "x.bin").write_bytes(CONTENT)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "a b&c%#.bin").write_bytes(CONTENT[:50_000])
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "y").write_bytes(b"yes")
    with serving(tmp_path) as found:
        yield found


def test_a_file_is_read_at_any_offset(served: Server) -> None:
    source = Web().open(f"{served.url}/x.bin")
    assert (source.size, source.name, source.shown) == (len(CONTENT), "x.bin", f"{served.url}/x.bin")
    assert source.head == CONTENT[:4096]
    assert source.tail == CONTENT[-(69 << 10) :]
    random.seed(1)
    for _ in range(200):
        start = random.randrange(len(CONTENT))
        length = random.randrange(min(len(CONTENT) - start, 100_000) + 1)
        assert source.read(start, length) == CONTENT[start : start + length]
    for start, length in ((-1, 5), (0, len(CONTENT) + 1), (len(CONTENT), 1), (5, -1)):
        with pytest.raises(LoadError):
            source.read(start, length)
    assert isinstance(source, RemoteFile)
    rows = [bytearray(100) for _ in range(20)]
    source.read_rows(1000, 5000, [memoryview(row) for row in rows])
    assert [bytes(row) for row in rows] == [CONTENT[at : at + 100] for at in range(1000, 101_000, 5000)]
    with pytest.raises(LoadError):
        source.read_rows(1000, 500_000, [memoryview(row) for row in rows])
    piece = bytearray(1000)
    Range(source, 500, 2000).read_into(300, memoryview(piece))
    assert piece == CONTENT[800:1800]


def test_a_folder_lists_what_its_page_links_to(served: Server) -> None:
    folder = Web().open(f"{served.url}/")
    assert folder.is_folder
    assert folder.entries == ("a b&c%#.bin", "empty", "sub", "x.bin")
    assert folder.child("a b&c%#.bin").read(40_000, 100) == CONTENT[40_000:40_100]
    assert folder.child("empty").size == 0
    assert folder.child("sub/y").read(0, 3) == b"yes"
    assert folder.child("sub").entries == ("y",)
    for name in ("", ".", "..", "../x.bin", "sub/../x.bin", "/x.bin", "sub//y", "none", "x.bin/y", "a\0"):
        with pytest.raises(LoadError):
            folder.child(name)
    served.lists = False
    with pytest.raises(LoadError):
        Web().open(f"{served.url}/sub/")


def test_neighbours_of_a_file_are_found_by_their_names(served: Server) -> None:
    source = Web().open(f"{served.url}/x.bin")
    assert source.folder is not None
    asked = len(served.requests)
    assert source.folder.entries == ()
    assert len(served.requests) == asked
    assert source.folder.child("sub/y").read(0, 3) == b"yes"


def locations(folder: Path) -> list[str]:
    """Files for the kit, on a server that lasts as long as this process."""
    (folder / "x.bin").write_bytes(CONTENT[:200_000])
    (folder / "sub").mkdir()
    (folder / "sub" / "y").write_bytes(b"yes")
    url = _stack.enter_context(serving(folder)).url
    return [f"{url}/x.bin", f"{url}/"]


_stack = contextlib.ExitStack()
atexit.register(_stack.close)


@conformance(Web, files=locations)
def test_it_passes_the_kit(check: Bound) -> None:
    check()
