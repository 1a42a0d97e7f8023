"""Random beginnings of pickles, which import a marker at their end: whatever reader of Python's gets there, we have seen it.

``python -m tests.fuzz.beginnings`` makes 100,000. The readers are CPython's unpicklers in C and in Python, each with three
encodings, and joblib's. All of them may import harmless classes alone, and nothing else in the stream runs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import pickle
import random
import resource
import struct
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from joblib.numpy_pickle import NumpyUnpickler

from torch2grid_builtin._inert.hidden import program_in
from torch2grid_core.sources import BytesStorage

MARKER = ("t2g_marker", "reached")
HARMLESS = tuple(
    (module, name)
    for module, names in {
        "builtins": "dict list set frozenset tuple bytearray bytes int float bool complex slice range object str type",
        "collections": "OrderedDict defaultdict Counter deque ChainMap UserDict UserList",
        "numpy": "dtype ndarray float64 str_ void",
        "numpy._core.multiarray": "scalar _reconstruct",
        "types": "SimpleNamespace",
        "argparse": "Namespace",
        "datetime": "timedelta date timezone",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "uuid": "UUID",
        "copyreg": "_reconstructor __newobj__ __newobj_ex__",
        "_codecs": "encode",
        "pathlib": "PurePosixPath",
        "joblib.numpy_pickle": "NumpyArrayWrapper",
        "__builtin__": "long xrange unicode",
    }.items()
    for name in names.split()
)
WORDS = ("a", "append", "extend", "x", "O", "f8", "", "1", "0", "latin1", "__dict__", "update")
INTEGERS = (
    b"1",
    b"0",
    b"00",
    b"01",
    b" 1",
    b"0x1",
    b"1_0",
    b"-1",
    b"+1",
    b"1L",
    b"0b1",
    b"1\0zz",
    b"\0001",
    b"-0",
    b"007",
    b"1\x0b",
)
FLOATS = (b"1.0", b"1e5", b"inf", b"nan", b" 1", b"1_0", b".5", b"5.", b"0x1p0", b"1\0x", b"1e999", b"+nan")


class Reached(Exception):
    """The reader got to the marker."""


def _class_of(load: Callable[[Any, str, str], Any], reader: Any, module: str, name: str) -> Any:
    if (module, name) == MARKER:
        raise Reached
    if (module, name) in HARMLESS:
        return load(reader, module, name)
    raise pickle.UnpicklingError("another name")


class InC(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _class_of(pickle.Unpickler.find_class, self, module, name)


class InPython(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _class_of(pickle._Unpickler.find_class, self, module, name)


class OfJoblib(NumpyUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _class_of(NumpyUnpickler.find_class, self, module, name)


READERS: tuple[Callable[[io.BytesIO], Any], ...] = (
    *(lambda raw, coding=coding: InC(raw, encoding=coding) for coding in ("ASCII", "latin1", "bytes")),
    *(lambda raw, coding=coding: InPython(raw, encoding=coding) for coding in ("ASCII", "latin1", "bytes")),
    lambda raw: OfJoblib("", raw, True),
)


def reached(raw: bytes) -> bool:
    """True where any reader of Python's reads *raw* to the marker."""
    for reader in READERS:
        try:
            reader(io.BytesIO(raw)).load()
        except Reached:
            return True
        except Exception:
            continue
    return False


def seen(raw: bytes) -> bool:
    """True where we know that a reader may get to the marker: it, or that something was not read, is in the record."""
    return any(asked.kind == "hold" or asked.module == MARKER[0] for asked in program_in(BytesStorage(raw)).asked.values())


class Maker:
    """Makes beginnings of pickles. *random* decides everything."""

    def __init__(self, random: random.Random) -> None:
        self.random = random

    def beginning(self) -> bytes:
        """Some values, each perhaps changed, behind a protocol or none."""
        choice = self.random.choice
        raw = choice([b"", b"\x80\x04", b"\x80\x02"])
        for place in range(self.random.randrange(1, 4)):
            raw += choice([b"", self.change(0)]) if place and self.random.random() < 0.3 else self.value()
        if self.random.random() < 0.1 and raw:
            place = self.random.randrange(len(raw))
            raw = raw[:place] + bytes([self.random.randrange(256)]) + raw[place + 1 :]
        return raw

    def value(self, depth: int = 0) -> bytes:
        """One value, or what looks like one."""
        which, choice = self.random.random(), self.random.choice
        if depth > 3 or which < 0.25:
            return choice([self.string, self.number, self.number])()
        if which < 0.35:
            return self.name()
        if which < 0.45:
            return choice([b"}", b"]", b")", b"\x8f"])
        if which < 0.55:
            return b"(" + self.values(depth, 4) + choice([b"t", b"l", b"d", b"\x91"])
        if which < 0.65:
            return self.value(depth + 1) + choice([b"\x85", self.value(depth + 1) + b"\x86"])
        if which < 0.78:
            return self.name() + choice([b")", self.tuple(depth)]) + choice([b"R", b"R", b"\x81"])
        if which < 0.80:
            return self.array()
        if which < 0.83:
            return b"(" + self.name() + self.values(depth, 3) + b"o"
        if which < 0.85:
            module, name = choice(HARMLESS)
            return b"(" + self.values(depth, 3) + f"i{module}\n{name}\n".encode()
        if which < 0.87:
            return self.name() + self.tuple(depth) + choice([b"}", self.value(depth + 1)]) + b"\x92"
        if which < 0.90:
            place = self.random.randrange(4)
            return choice([b"h" + bytes([place]), b"g" + choice(INTEGERS) + b"\n", b"j" + struct.pack("<I", place)])
        return self.value(depth + 1) + self.change(depth)

    def change(self, depth: int) -> bytes:
        """Opcodes that do something to the value before them, or to the memo."""
        which, choice = self.random.random(), self.random.choice
        if which < 0.2:
            return self.value(depth + 1) + b"a"
        if which < 0.35:
            return b"(" + self.values(depth, 3) + choice([b"e", b"\x90"])
        if which < 0.5:
            return b"(" + self.values(depth, 4) + b"u"
        if which < 0.6:
            return self.value(depth + 1) + self.value(depth + 1) + b"s"
        if which < 0.8:
            return self.value(depth + 1) + b"b"
        place = self.random.randrange(4)
        if which < 0.95:
            memo = [b"\x94", b"q" + bytes([place]), b"r" + struct.pack("<I", place), b"p" + choice(INTEGERS) + b"\n"]
            return choice(memo)
        frame, protocol = b"\x95" + struct.pack("<Q", self.random.randrange(9)), b"\x80" + bytes([self.random.randrange(7)])
        return choice([frame, protocol, b"2", b"\x98", b"0", b"1", b"\x97", b"20"])

    def values(self, depth: int, most: int) -> bytes:
        return b"".join(self.value(depth + 1) for _ in range(self.random.randrange(most)))

    def tuple(self, depth: int) -> bytes:
        return b"(" + self.values(depth, 4) + b"t"

    def string(self) -> bytes:
        text = self.random.choice(WORDS).encode()
        if self.random.random() < 0.02:
            text = b"a" * (1 << 16) + text  # longer than what is kept in memory
        long = [(b"X", "<I"), (b"\x8d", "<Q"), (b"\x96", "<Q"), (b"B", "<I"), (b"T", "<i")]
        short = [(b"\x8c", "<B"), (b"U", "<B"), (b"C", "<B")] if len(text) < 256 else []
        lines = [b"V" + text + b"\n", b"S'" + text + b"'\n"]
        opcode, form = self.random.choice([*long, *short])
        return self.random.choice([*lines, *[opcode + struct.pack(form, len(text)) + text] * 5])

    def number(self) -> bytes:
        choice = self.random.choice
        small = self.random.randrange(-3, 4)
        lines = [b"I" + choice(INTEGERS) + b"\n", b"L" + choice(INTEGERS) + b"L\n", b"F" + choice(FLOATS) + b"\n"]
        fixed = [b"K" + bytes([small & 3]), b"J" + struct.pack("<i", small), b"\x8a\x01\x01", b"\x8b\x01\0\0\0\x01", b"\x8a\0"]
        return choice([*lines, *fixed, b"G" + struct.pack(">d", 1.5), b"N", b"\x88", b"\x89"])

    def name(self) -> bytes:
        module, name = self.random.choice(HARMLESS)
        texts = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
        return self.random.choice([f"c{module}\n{name}\n".encode(), texts + b"\x93"])

    def array(self) -> bytes:
        """An array as joblib writes it: its numbers stand in the stream."""
        count = self.random.randrange(5)
        state = pickle.dumps(
            {
                "subclass": np.ndarray,
                "shape": (count,),
                "order": "C",
                "dtype": np.dtype("u1"),
                "allow_mmap": False,
                "numpy_array_alignment_bytes": self.random.choice([None, 16]),
            },
            2,
        )[2:-1]
        padding = b"\0" if self.random.random() < 0.5 else b""
        numbers = bytes(self.random.choice(b".0N)\xffR") for _ in range(count))
        return b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + state + b"b" + padding + numbers


@contextlib.contextmanager
def bounded(more: int = 512 << 20) -> Iterator[None]:
    """This process may take no more than *more* bytes beyond what it has: a changed number asks Python for any amount."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def differences(runs: int, seed: int) -> tuple[int, list[bytes]]:
    """How many of *runs* beginnings some reader reads to the marker, and those of them where we see neither it nor a reason."""
    maker, count, missed = Maker(random.Random(seed)), 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(runs):
            raw = maker.beginning() + f"c{MARKER[0]}\n{MARKER[1]}\n.".encode()
            with bounded():
                found = reached(raw)
            if found:
                count += 1
                if not seen(raw):
                    missed.append(raw)
    return count, missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    begun = time.monotonic()
    count, missed = differences(chosen.runs, chosen.seed)
    took = time.monotonic() - begun
    print(f"{chosen.runs:,} beginnings, {count:,} read to the marker, {len(missed):,} of them unseen, {took:.0f} s")
    for raw, times in Counter(missed).most_common(20):
        print(times, raw[:200])
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
