"""What openers of locations promise: sources that give the same bytes however they are read."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from torch2grid_core._data.source import HEAD_BYTES, TAIL_BYTES, Range, Source
from torch2grid_core._errors import LoadError
from torch2grid_core.testing._checking import check
from torch2grid_core.testing._expectation import expect
from torch2grid_core.testing._subject import Subject

_ADDRESS = 3000  # bytes that a pickled source has at most: less than a head


def _opened(subject: Subject) -> Iterator[Source]:
    """Every file that *files* made, those in folders too."""
    with subject.made("locations") as locations:
        pending = [subject.make().open(location) for location in locations]
        while pending:
            source = pending.pop()
            expect(isinstance(source, Source), f"open returned {type(source).__name__}, which lacks something of a Source")
            if source.is_folder:
                expect(list(source.entries) == sorted(source.entries), f"the entries of {source.shown} are not sorted")
                pending += [source.child(name) for name in source.entries]
            else:
                yield source


def _refused(source: Source, method: str, *words: Any) -> None:
    try:
        getattr(source, method)(*words)
    except LoadError:
        return
    expect(False, f"{method}{words} of {source.shown}, which has {source.size} bytes, is no LoadError")


@check("source")
def schemes(subject: Subject) -> None:
    """Its schemes are a tuple of lower-case words, and files= makes locations of them."""
    found = subject.make().schemes
    words = isinstance(found, tuple) and found and all(isinstance(each, str) and each.islower() for each in found)
    expect(words, f"schemes is {found!r}, not a tuple of lower-case words such as ('s3',)")
    with subject.made("locations") as locations:
        for location in locations:
            expect(location.partition("://")[0] in found, f"{location!r} is of no scheme of {found}")


@check("source")
def source_reads_agree(subject: Subject) -> None:
    """head, tail, a window, a range and any part of read give the same bytes."""
    for source in _opened(subject):
        size = source.size
        whole = source.read(0, size)
        expect(len(whole) == size, f"{source.shown} has {size} bytes, read gives {len(whole)}")
        expect(source.head == whole[:HEAD_BYTES], f"head of {source.shown} is not its first {HEAD_BYTES} bytes")
        tail = whole if size <= HEAD_BYTES else whole[-TAIL_BYTES:]
        expect(source.tail == tail, f"tail of {source.shown} is not its last {TAIL_BYTES} bytes")
        cuts = sorted({0, size // 3, size // 2, size})
        source.prefetch([(first, last - first) for first, last in pairwise(cuts)])
        for first in cuts:
            for last in (last for last in cuts if last >= first):
                buffer = bytearray(last - first)
                Range(source, first, last - first).read_into(0, memoryview(buffer))
                window = source.window(first, last - first)
                found = (source.read(first, last - first), bytes(buffer), window.read(0, window.size))
                expect(set(found) == {whole[first:last]}, f"bytes {first}–{last} of {source.shown} depend on how they are read")


@check("source")
def what_is_not_there(subject: Subject) -> None:
    """Bytes behind the end, a window that leaves it and a child of a file are LoadErrors."""
    for source in _opened(subject):
        for offset, length in ((source.size, 1), (0, source.size + 1), (-1, 1)):
            _refused(source, "read", offset, length)
            _refused(source, "window", offset, length)
        _refused(source, "child", "no such thing")


@check("source")
def source_pickles(subject: Subject) -> None:
    """A pickled copy reads the same bytes, has the same identity, and does not carry what was read."""
    for source in _opened(subject):
        whole = source.read(0, source.size)
        raw = pickle.dumps(source)
        expect(len(raw) < _ADDRESS, f"{source.shown} pickles to {len(raw)} bytes: it carries more than its address")
        copy = pickle.loads(raw)
        expect(copy.read(0, copy.size) == whole, f"a pickled copy of {source.shown} has other bytes")
        expect(copy.identity == source.identity, f"a pickled copy of {source.shown} has another identity")
