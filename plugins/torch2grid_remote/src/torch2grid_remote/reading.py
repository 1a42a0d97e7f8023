"""What a process has fetched of remote files and not yet handed out: blocks that are kept, and windows ahead of a pass."""

from __future__ import annotations

import mmap
import os
import sys
import threading
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Protocol

from torch2grid_remote import limits
from torch2grid_remote.retrying import Tell

_SMALL = 256 << 10  # bytes of what is kept when it was read once
_AROUND = 256  # bytes of padding behind a record
_EDGE = 4096  # bytes: where a range is cut, so that few reads lie on both sides
_SPARE = 8  # buffers that are kept for windows to come


class Fetched(Protocol):
    """A file, as it is read here: its content never changes under one *identity*."""

    @property
    def identity(self) -> Hashable: ...

    @property
    def size(self) -> int: ...

    def fetch(self, start: int, buffer: memoryview, tell: Tell | None = None) -> None:
        """Fill *buffer* from byte *start* by requests. Raises ``LoadError``."""


class Window:
    """A range of a file that is wanted, on its way or here."""

    __slots__ = ("_taken", "buffer", "done", "error", "file", "readers", "start", "state", "stop")

    def __init__(self, file: Fetched, start: int, stop: int) -> None:
        self.file, self.start, self.stop = file, start, stop
        self.buffer: bytearray | mmap.mmap | None = None
        self.done, self.readers = 0, 0
        self.state = "queued"  # then "coming", then "here" or "failed"
        self.error: BaseException | None = None

        self._taken: list[tuple[int, int]] = []  # what has been handed out of it, sorted

    @property
    def size(self) -> int:
        return self.stop - self.start

    def take(self, start: int, stop: int) -> None:
        """Note what was handed out; a short gap in it is what nobody wanted."""
        kept = []
        for first, last in self._taken:
            if first <= stop + limits.NEAR and start <= last + limits.NEAR:
                start, stop = min(start, first), max(stop, last)
            else:
                kept.append((first, last))
        self._taken = sorted([*kept, (start, stop)])

    @property
    def is_taken(self) -> bool:
        """True where all of it has been handed out, but for what lies around records."""
        if len(self._taken) != 1:
            return False
        ((first, last),) = self._taken
        return first <= self.start + limits.NEAR and last >= self.stop - _AROUND


class Reader:
    """Hands out the bytes of remote files to any number of threads.

    Threads of its own fetch what ``prefetch`` was told, in that order, and end when there is nothing left to do. What nobody
    foretold is fetched by whoever asks, in blocks that are kept, which grow while reads follow each other.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.windows: dict[Hashable, list[Window]] = {}  # by file, sorted by where they start
        self.queue: deque[Window] = deque()
        self.threads = self.idle = 0  # how many there are, and how many of them have not looked at the queue yet
        self.held = 0  # bytes of windows that are coming or here
        self.spare: list[bytearray | mmap.mmap] = []
        self.blocks: OrderedDict[tuple[Hashable, int], bytes] = OrderedDict()  # by file and start; the last used last
        self.kept = 0
        self.starts: dict[Hashable, list[int]] = {}  # of the blocks of each file, sorted

    # -- windows ahead of a pass

    def prefetch(self, file: Fetched, ranges: Iterable[tuple[int, int]], near: int = limits.NEAR // 16) -> None:
        """Begin to fetch these ranges (offset, size), in this order, those that are *near* each other by one request."""
        with self.lock:
            windows = [
                window
                for start, stop in _joined(ranges, file.size, near)
                for missing in self._missing(file, start, stop)
                for window in _cut(*missing, limits.WINDOW)
            ]
            for first, last in _evened(windows):
                self._add(Window(file, first, last))
            self._staff()

    def _missing(self, file: Fetched, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """What of a range is neither a window already nor kept in a block."""
        if self._block(file, start, stop - start) is not None:
            return
        for window in list(self.windows.get(file.identity, ())):
            if window.start < stop and start < window.stop and window.state != "failed":
                if start < window.start:
                    yield start, window.start
                start = max(start, window.stop)
        if start < stop:
            yield start, stop

    def _add(self, window: Window) -> None:
        own = self.windows.setdefault(window.file.identity, [])
        own.insert(bisect_right(own, window.start, key=lambda each: each.start), window)
        self.queue.append(window)

    def _staff(self) -> None:
        """Start as many threads as there is work, and room, for."""
        if self.queue and self.queue[0].readers and not self._fits(self.queue[0].size):
            self._make_room(self.queue[0].size)
        held = self.held + sum(each.size for each in islice(self.queue, self.idle))
        for window in list(islice(self.queue, self.idle, limits.OPENING)):
            most = limits.OPENING if window.size <= _SMALL else limits.CONNECTIONS
            if self.threads >= most or (held and held + window.size > limits.AHEAD):
                break
            held += window.size
            self.threads += 1
            self.idle += 1
            threading.Thread(target=self._work, name="torch2grid-remote", daemon=True).start()

    def _fits(self, size: int) -> bool:
        return self.held + size <= limits.AHEAD or self.held == 0

    def _make_room(self, size: int) -> None:
        """Give up what is here and nobody took: it was fetched for somebody who never came."""
        for own in list(self.windows.values()):
            for each in list(own):
                if self._fits(size):
                    return
                if each.state == "here" and not each.readers:
                    self._forget(each)

    def _work(self) -> None:
        """Fetch windows until there are none, or no room for the next."""
        started = True
        while True:
            with self.lock:
                self.idle -= started
                started = False
                if not self.queue or not self._fits(self.queue[0].size):
                    self.threads -= 1
                    return
                window = self.queue.popleft()
                self.held += window.size
                window.state = "coming"
                window.buffer = self._buffer(window.size)
            self._get(window)

    def _get(self, window: Window) -> None:
        def tell(count: int) -> None:
            with self.lock:
                window.done += count
                if window.readers:
                    self.changed.notify_all()

        assert window.buffer is not None
        try:
            window.file.fetch(window.start, memoryview(window.buffer)[: window.size], tell)
            state, error = "here", None
        except BaseException as raised:  # told to whoever reads it
            state, error = "failed", raised
        with self.lock:
            window.state, window.error = state, error
            if state == "failed":
                self._forget(window)
            elif window.is_taken and not window.readers:
                self._drop(window)
            self._staff()
            self.changed.notify_all()

    def _buffer(self, size: int) -> bytearray | mmap.mmap:
        for place, spare in enumerate(self.spare):
            if size <= len(spare) <= 2 * size:
                return self.spare.pop(place)
        while self.spare and self.held + sum(map(len, self.spare)) > limits.AHEAD:  # *size* is held already
            self.spare.pop()
        if size <= _SMALL:
            return bytearray(size)
        return mmap.mmap(-1, size)  # given back at once: the heaps of so many threads would keep what was freed

    def _drop(self, window: Window) -> None:
        """Let go what was taken, but for a small piece, which may be read again; and go on with what waited for room."""
        if window.buffer is not None and window.size <= _SMALL:
            self._keep(window.file, window.start, bytes(memoryview(window.buffer)[: window.size]))
        self._forget(window)
        self._staff()

    def _forget(self, window: Window) -> None:
        own = self.windows.get(window.file.identity, [])
        if window in own:
            own.remove(window)
            if not own:
                del self.windows[window.file.identity]
        if window.buffer is not None:
            self.held -= window.size
            if len(self.spare) < _SPARE and len(window.buffer) >= limits.WINDOW // 8:
                self.spare.append(window.buffer)
            window.buffer = None

    # -- reading

    def read_into(self, file: Fetched, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* from byte *offset*. Raises ``LoadError``."""
        if len(buffer) > limits.GROWTH:
            self.prefetch(file, [(offset, len(buffer))])
        while len(buffer):
            count = self._take(file, offset, buffer) or self._kept(file, offset, buffer) or self._now(file, offset, buffer)
            offset, buffer = offset + count, buffer[count:]

    def read_rows(self, file: Fetched, offset: int, step: int, buffers: Sequence[memoryview]) -> None:
        """Fill *buffers*, which are equally long, from *offset*, each *step* bytes on. Raises ``LoadError``.

        What lies between is fetched, too, where that costs less than a request for each.
        """
        rows = [(offset + place * step, len(buffer)) for place, buffer in enumerate(buffers)]
        self.prefetch(file, rows, limits.NEAR)
        for (start, _), buffer in zip(rows, buffers, strict=True):
            self.read_into(file, start, buffer)

    def _take(self, file: Fetched, offset: int, buffer: memoryview) -> int:
        """Fill the beginning of *buffer* from a window; how much."""
        with self.lock:
            window = self._window(file, offset)
            if window is None:
                return 0
            window.readers += 1
            try:
                if window.state == "queued":
                    self._hasten(window)
                place = offset - window.start
                count = min(len(buffer), window.stop - offset)
                while window.state in ("queued", "coming") and window.done < place + count:
                    self.changed.wait()
            finally:
                window.readers -= 1
            if window.error is not None:
                raise window.error
            if window.buffer is None:  # given up for another
                return 0
            window.readers += 1
            stored = window.buffer
        buffer[:count] = memoryview(stored)[place : place + count]
        with self.lock:
            window.readers -= 1
            window.take(offset, offset + count)
            if window.is_taken and window.state == "here" and not window.readers:
                self._drop(window)
        return count

    def _window(self, file: Fetched, offset: int) -> Window | None:
        own = self.windows.get(file.identity, [])
        place = bisect_right(own, offset, key=lambda each: each.start) - 1
        found = own[place] if place >= 0 else None
        return found if found is not None and offset < found.stop else None

    def _hasten(self, window: Window) -> None:
        """Let *window* be the next."""
        if self.queue[0] is not window:
            self.queue.remove(window)
            self.queue.appendleft(window)
        self._staff()

    # -- blocks

    def keep(self, file: Fetched, start: int, block: bytes) -> None:
        """Keep *block*, which begins at byte *start*, for reads to come."""
        with self.lock:
            self._keep(file, start, block)

    def _keep(self, file: Fetched, start: int, block: bytes) -> None:
        key, own = (file.identity, start), self.starts.setdefault(file.identity, [])
        if key in self.blocks:
            self.kept -= len(self.blocks.pop(key))
        else:
            own.insert(bisect_right(own, start), start)
        self.blocks[key] = block
        self.kept += len(block)
        while self.kept > limits.BLOCKS and len(self.blocks) > 1:
            (identity, first), old = self.blocks.popitem(last=False)
            self.kept -= len(old)
            self.starts[identity].remove(first)
            if not self.starts[identity]:
                del self.starts[identity]

    def lose(self, identity: Hashable) -> None:
        """Keep no block of that file any more."""
        with self.lock:
            for start in self.starts.pop(identity, ()):
                self.kept -= len(self.blocks.pop((identity, start)))

    def _block(self, file: Fetched, offset: int, length: int) -> tuple[int, bytes] | None:
        """The block that holds *length* bytes from *offset*, and where it begins."""
        own = self.starts.get(file.identity, [])
        for start in reversed(own[: bisect_right(own, offset)]):
            block = self.blocks[file.identity, start]
            if offset + length <= start + len(block):
                self.blocks.move_to_end((file.identity, start))
                return start, block
        return None

    def _kept(self, file: Fetched, offset: int, buffer: memoryview) -> int:
        with self.lock:
            found = self._block(file, offset, 1)
        if found is None:
            return 0
        start, block = found
        part = block[offset - start : offset - start + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def _now(self, file: Fetched, offset: int, buffer: memoryview) -> int:
        """Fetch what nobody foretold. A read that follows another closely fetches more than it needs, each twice as much."""
        length = len(buffer)
        with self.lock:
            own = self.starts.get(file.identity, [])
            place = bisect_right(own, offset) - 1
            before = len(self.blocks[file.identity, own[place]]) if place >= 0 else 0
            close = place > 0 and offset - own[place] - before <= limits.NEAR  # not behind the header, which is no row
            own_window = next((each.start for each in self.windows.get(file.identity, ()) if each.start > offset), file.size)
        if length >= limits.GROWTH:
            file.fetch(offset, buffer)
            return length
        wanted = max(length, min(2 * before, limits.GROWTH) if close else limits.HEAD // 2)
        stop = max(min(offset + wanted, file.size, own_window), offset + length)
        block = bytearray(stop - offset)
        file.fetch(offset, memoryview(block))
        buffer[:] = memoryview(block)[:length]
        if length < limits.WINDOW // 8 or len(block) > length:
            self.keep(file, offset, bytes(block))
        return length


def _joined(ranges: Iterable[tuple[int, int]], size: int, near: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of ranges (offset, size), those that follow each other closely as one, none beyond the file."""
    first = last = -1
    for offset, length in ranges:
        start, stop = max(offset, 0), min(offset + length, size)
        if start >= stop:
            continue
        if first >= 0 and last <= start <= last + near:
            last = stop
            continue
        if first >= 0:
            yield first, last
        first, last = start, stop
    if first >= 0:
        yield first, last


def _cut(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """A range of a file, cut at multiples of *size*."""
    while start < stop:
        end = min((start // size + 1) * size, stop)
        yield start, end
        start = end


def _evened(windows: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """*windows*, the last of them in equal pieces where they are too few for all connections: one more than there are
    connections would take as long as twice as many.
    """
    whole = len(windows) - len(windows) % limits.CONNECTIONS
    yield from windows[:whole]
    rest = list(_joined(((start, stop - start) for start, stop in windows[whole:]), sys.maxsize, 0))
    size = sum(stop - start for start, stop in rest)
    if not whole and size <= limits.WINDOW // 2:  # so little costs one request
        yield from windows
        return
    share = max(size / limits.CONNECTIONS, limits.WINDOW / 8)
    for start, stop in rest:
        pieces = max(round((stop - start) / share), 1)
        edges = ((start + (stop - start) * each // pieces) // _EDGE * _EDGE for each in range(1, pieces))
        yield from pairwise([start, *edges, stop])


_reader: tuple[int, Reader] | None = None
_making = threading.Lock()


def reader() -> Reader:
    """That of this process; after a fork a new one, with the blocks that were kept."""
    global _reader
    found = _reader
    if found is not None and found[0] == os.getpid():
        return found[1]
    with _making:
        if _reader is None or _reader[0] != os.getpid():
            made = Reader()
            if _reader is not None:
                old = _reader[1]
                made.blocks, made.starts, made.kept = old.blocks, old.starts, old.kept
            _reader = os.getpid(), made
        return _reader[1]


def in_threads(work: Callable[[str], None], names: Iterable[str]) -> None:
    """Do *work* of each name, ``limits.OPENING`` at a time. What fails is left for whoever asks for it again."""
    waiting = deque(names)

    def take() -> None:
        while True:
            try:
                name = waiting.popleft()
            except IndexError:
                return
            try:
                work(name)
            except Exception:  # which is told when it is read
                continue

    threads = [threading.Thread(target=take, daemon=True) for _ in range(min(len(waiting), limits.OPENING))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
