"""The worst files that the limits of the reader let through, opened one by one: how long, and how much memory.

    python -m tests.hostile.large
    python -m tests.hostile.large --only zip --only texts

All of them take about ten minutes and 400 MiB of disk. Each is made to cost as much as possible for its size: up to 114 MiB
of opcodes, millions of containers, keys, calls or arrays of one number, records or tensors without a byte. Each must be opened
or refused within 30 s of processor time and in an address space of 1 GiB above a good file's; exits 1 where one is not. Files
are made in a temporary folder, one after another.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path

from tests.support.tools import DIGITS

from torch2grid_builtin._inert.legacy import MAGIC
from torch2grid_core import PluginManager, Torch2GridError

GGUF = Path(__file__).parents[2] / "plugins/torch2grid_gguf/src"
SECONDS, ABOVE = 30, 1 << 30
MIB = 1 << 20
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\nq\x000cnumpy\nndarray\nq\x010cnumpy\ndtype\nX\x02\0\0\0f4K\0K\x01\x87Rq\x020"
ONE = b"h\x00h\x01K\x00\x85C\x01b\x87R(K\x01K\x01\x85h\x02\x89C\x04aaaatb"

SHARED = b"cbuiltins\nlist\nq\x000](" + b"N" * MIB + b"eq\x02\x85q\x010"

STATE = b"cos\nC\n)\x81}(" + b"".join(b"J" + struct.pack("<i", index) + b"N" for index in range(100_000)) + b"N"


def files() -> Iterator[tuple[str, Iterable[bytes]]]:
    """What it is, and its bytes in pieces."""
    yield from pickles()
    for count, length in ((1_100_000, 8), (4_000_000, 8), (2900, 65_000)):
        yield f"{count:,} records in a zip", _records(count, length)
    for count in (290_000, 1_100_000):
        yield f"{count:,} arrays in an npz", _arrays(count)
    yield "300,000 storages in a zip", _storages(300_000)
    yield "440,000 storages in a zip", _storages(440_000)
    yield "500,000 storages in a zip", _storages(500_000)
    yield "names in an index", [b'{"weight_map":{', b",".join(b'"%x":"a"' % index for index in range(2_900_000)), b"}}"]
    for count in (400_000, 700_000, 900_000, 1_900_000):
        yield f"{count:,} safetensors", _tensors(count)
    for count in (500_000, 3_000_000):
        yield f"{count:,} tensors in a GGUF", _gguf(count)
    yield (
        "metadata of safetensors",
        _header(b'{"__metadata__":{', b",".join(b'"%06d":""' % each for each in range(900_000)), b"}}"),
    )


def _records(count: int, length: int) -> Iterator[bytes]:
    return _zip((b"%0*d" % (length, index), b"") for index in range(count))


def _arrays(count: int) -> Iterator[bytes]:
    header = b"{'descr':'<f4','fortran_order':False,'shape':()}\n"
    data = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + b"data"
    return _zip((b"%x.npy" % index, data) for index in range(count))


def _storages(count: int) -> Iterator[bytes]:
    """The smallest pickle of *count* tensors with a record each: everything but the keys is in the memo."""
    names = (b"ctorch._utils\n_rebuild_tensor\n", b"ctorch\nByteStorage\n", b"X\x07\0\0\0storage", b"X\x03\0\0\0cpu")
    start = b"\x80\x02" + b"".join(name + b"q%c0" % slot for slot, name in enumerate(names)) + b"("
    ones = (b"h\0((h\2h\1X%c\0\0\0%xh\3K\1tQK\0))tR" % (len(b"%x" % index), index) for index in range(count))
    pickle = b"".join((start, *ones, b"l."))
    yield from _zip(((b"a/data.pkl", pickle), *((b"a/data/%x" % index, b"1") for index in range(count))))


def _zip(records: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    place, directory, count = 0, [], 0
    for name, data in records:
        crc = zlib.crc32(data)
        local = b"PK\x03\x04" + struct.pack("<5H3L2H", 0, 0, 0, 0, 0, crc, len(data), len(data), len(name), 0) + name + data
        fields = struct.pack("<6H3L5H2L", 0, 0, 0, 0, 0, 0, crc, len(data), len(data), len(name), 0, 0, 0, 0, 0, place)
        directory.append(b"PK\x01\x02" + fields + name)
        place, count = place + len(local), count + 1
        yield local
    size, start = sum(map(len, directory)), place
    yield from directory
    yield b"PK\x06\x06" + struct.pack("<Q2H2L4Q", 44, 0, 0, 0, 0, count, count, size, start)
    yield b"PK\x06\x07" + struct.pack("<LQL", 0, start + size, 1) + b"PK\x05\x06"
    yield struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def _tensors(count: int) -> Iterator[bytes]:
    one = b'"%x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return _header(b"{", b",".join(one % index for index in range(count)), b"}")


def _gguf(count: int) -> Iterator[bytes]:
    yield b"GGUF" + struct.pack("<IQQ", 3, count, 0)
    for start in range(0, count, 10_000):
        names = (b"%x" % index for index in range(start, min(start + 10_000, count)))
        yield b"".join(struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 0, 0, 0) for name in names)
    yield bytes(64)


def _header(*pieces: bytes) -> Iterator[bytes]:
    yield struct.pack("<Q", sum(map(len, pieces)))
    yield from pieces


def pickles() -> Iterator[tuple[str, Iterable[bytes]]]:
    """What it is, and its bytes in pieces."""
    yield "opcodes that do nothing", [b"\x80\x02", *repeat(b"N0" * MIB, 57), b"N."]
    yield "brackets", [b"\x80\x02", *repeat(b"(" * 90_000 + b"1" * 90_000, 120), b"N."]
    yield "lists", [b"\x80\x02(", *repeat(b"]" * MIB, 19), b"l."]
    yield "lists, as many as may be", [b"\x80\x02(", b"]" * 1_900_000, b"l."]
    yield "lists in lists", [b"\x80\x02", b"]" * MIB, b"a" * (MIB - 1), b"."]
    yield "tuples in tuples", [b"\x80\x02N", *repeat(b"\x85" * MIB, 23), b"."]
    yield "tuples", [b"\x80\x02(", *repeat(b"N\x85" * MIB, 7), b"t."]
    yield "memo slots", [b"\x80\x04N", *repeat(b"\x94" * MIB, 20), b"."]
    yield "small numbers", [b"\x80\x02(", *repeat(b"K\x01" * MIB, 11), b"t."]
    yield "long numbers", [b"\x80\x02(", *repeat(b"\x8a\x08aaaaaaaa" * MIB, 2), b"t."]
    yield "keys", [b"\x80\x02}(", *(b"J" + struct.pack("<i", index) + b"N" for index in range(3_900_000)), b"u."]
    yield "one key again and again", [b"\x80\x02}(", *repeat(b"K\x01N" * MIB, 7), b"u."]
    yield "short texts", [b"\x80\x02(", *repeat(b"\x8c\x01a" * MIB, 7), b"t."]
    yield "texts", [b"\x80\x02(", *repeat(b"\x8c\x21" + b"a" * 33, 3_000_000), b"t."]
    yield "long texts", [b"\x80\x02(", *repeat(b"X" + struct.pack("<I", 60_000) + b"a" * 60_000, 1900), b"l."]
    yield "one line of text", [b"V", b"a" * (110 * MIB), b"\n."]
    yield "a line without end", [b"V", b"a" * (300 * MIB)]
    yield "names to import", [b"\x80\x02(", *(b"ca\n%d\n" % index for index in range(2_000_000)), b"t."]
    yield "calls", [b"\x80\x02(", *repeat(b"cos\nsystem\n)R", 1_600_000), b"t."]
    yield "states of one object", [b"\x80\x02cos\nsystem\nq\x000h\x00)R", b"}b" * 1_900_000, b"."]
    yield "copies of a list", [b"\x80\x02(", SHARED, *repeat(b"h\x00h\x01R" * 1000, 10), b"l."]
    yield "one list in a list", [b"\x80\x02(", SHARED, *repeat(b"h\x02" * MIB, 11), b"l."]
    held = b"\x80\x03" + ARRAY
    yield "a list with an array, shared", [held, b"](", b"N" * 100_000, ONE, b"eq\x030(", b"h\x03" * MIB, b"l."]
    yield "a mapping, shared", [held, b"}(", b"K\x01N" * 100_000, b"N", ONE, b"uq\x030(", b"h\x03" * MIB, b"l."]
    yield "an object, shared", [held, STATE, ONE, b"ubq\x030(", b"h\x03" * MIB, b"l."]
    yield "pickles in pickles", [START, PICKLES_IN_PICKLES, b"."]
    yield "pickles in a pickle", [START, _inside(b"(" + b"K\x01\x85" * 50_000 + b"l", 1000), b"."]
    yield "arrays of one number", [b"\x80\x03", ARRAY, b"(", *repeat(ONE, 700_000), b"l."]


def _inside(value: bytes, times: int) -> bytes:
    """A list of what a byte string holds, unpickled so many times."""
    raw = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b".M\xe9\x03.N." + value + b".]."
    start = b"ctorch.storage\n_load_from_bytes\n\x940B" + struct.pack("<I", len(raw)) + raw + b"\x85\x940("
    return start + b"h\x00h\x01R" * times + b"l"


START = b"\x80\x02" + b"N0" * 50  # so that the magic number inside is not at the beginning
PICKLES_IN_PICKLES = _inside(_inside(_inside(b"N", 1000), 1000), 1000)


def opened_alone(path: str) -> int:
    """Open *path* in this process under the limit of memory; prints one line, 1 where it took too long or failed."""
    manager = PluginManager.discover(third_party=False)
    sys.path.insert(0, str(GGUF))
    manager.register(importlib.import_module("torch2grid_gguf.plugin"))
    manager.open(str(DIGITS))
    before = _peak()
    resource.setrlimit(resource.RLIMIT_AS, (before + ABOVE, before + ABOVE))
    started = time.process_time()
    try:
        became = f"{len(manager.open(path)):,} tensors"
    except Torch2GridError as error:
        became = str(error).removeprefix(f"{path}: ")
    seconds = time.process_time() - started
    fine = seconds < SECONDS and "MemoryError" not in became
    print(f"{seconds:8.1f} s {(_peak() - before) >> 20:6} MiB  {became[:90]}{'' if fine else '  TOO MUCH'}")
    return 0 if fine else 1


def _peak() -> int:
    return int(Path("/proc/self/status").read_text().split("VmPeak:")[1].split()[0]) * 1024


def every(folder: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, list[Path]]]:
    """Each kind that is *wanted*, and its files, which are there until the next one is asked for."""
    for what, pieces in files():
        path = folder / "large"
        if not wanted(what):
            continue
        with open(path, "wb") as file:
            file.writelines(pieces)
        yield what, [path]
    from tests.support.hostile import costly  # which takes its archives from here

    for kind, write in costly.KINDS.items():
        what = kind.replace("_", " ")
        if wanted(what):
            with tempfile.TemporaryDirectory(dir=folder) as inside:
                yield what, write(Path(inside), 1.0)


def main() -> int:
    """Make and open each of them in a process of its own; 1 where one took too much."""
    parser = argparse.ArgumentParser("python -m tests.hostile.large", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="WORDS", help="only kinds whose names hold this; may be repeated")
    parser.add_argument("file", nargs="?", help="open this file alone, in this process")
    given = parser.parse_args()
    if given.file:
        return opened_alone(given.file)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="torch2grid-large-") as folder:
        for what, paths in every(Path(folder), lambda what: not given.only or any(each in what for each in given.only)):
            for path in paths:
                print(f"{what + ',':28}{path.stat().st_size >> 20:4} MiB:", end="", flush=True)
                failed += subprocess.run([sys.executable, "-m", "tests.hostile.large", str(path)], check=False).returncode != 0
    print(f"{failed} took too much" if failed else "none took too much")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
