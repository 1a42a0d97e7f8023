"""Small files whose objects stand in them again and again, through the command line in processes with limits of time and space.

Each would cost minutes or gigabytes where what is looked at or copied were not counted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hostile import large
from tests.support.hostile.running import GIB, Runs
from tests.support.tools import DIGITS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of address space, pidfd and /proc are Linux's")

REPEATS = "repeats its objects more often than any checkpoint"
MANY = b"](" + b"N" * 1_000_000 + b"e"
HELD = b"\x80\x03" + large.ARRAY
KEYS = b"".join(b"J" + index.to_bytes(4, "little") for index in range(50_000))
STATES = b"".join(b"J" + index.to_bytes(4, "little") + b"h\x03" for index in range(50_000))
OPTIMIZERS = (
    *(b"}X\x04\0\0\0stepK\x07sq\x030", b"}(" + STATES + b"uq\x040", b"}X\x06\0\0\0params](" + KEYS + b"esq\x050"),
    *(b"](" + b"h\x05" * 100 + b"eq\x060", b"}(X\x01\0\0\0w" + large.ONE),
    *(
        b"X%c\0\0\0%s}(X\x05\0\0\0stateh\x04X\x0c\0\0\0param_groupsh\x06u" % (len(name), name)
        for name in (b"%d" % each for each in range(20))
    ),
    b"u",
)
CASES = {
    "copies of a list": (b"\x80\x02cbuiltins\nlist\nq\x000" + MANY + b"\x85q\x010(" + b"h\x00h\x01R" * 10_000 + b"l", REPEATS),
    "copies of a text": (
        b"\x80\x02c_codecs\nencode\nq\x000X\x00\xff\0\0"
        + b"a" * 0xFF00
        + b"X\x06\0\0\0latin1\x86q\x010("
        + b"h\x00h\x01R" * 100_000
        + b"l",
        REPEATS,
    ),
    "a list of nothing": (b"\x80\x02" + MANY + b"q\x000(" + b"h\x00" * 100_000 + b"l", "holds no tensors"),
    "a list of nothing and a tensor": (
        HELD + b"](" + b"N" * 100_000 + large.ONE + b"eq\x030(" + b"h\x03" * 100_000 + b"l",
        REPEATS,
    ),
    "pickles in pickles": (large.START + large.PICKLES_IN_PICKLES, REPEATS),
    "groups of optimizers": (HELD + b"".join(OPTIMIZERS), REPEATS),
    "a chain of calls": (b"ctorch\ndevice\n" + b")R" * 100_000, "holds no tensors"),
    "a short chain of calls": (b"cos\nsystem\n" + b")R" * 600, "not run: os.system()"),
    "calls of calls": (b"ccopyreg\n__newobj__\nq\x000h\x00(" + b"h\x00" * 2000 + b"tR", "calls of calls without end"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    made = Runs(tmp_path_factory.mktemp("runs"))
    yield made
    made.close()


@pytest.mark.parametrize("name", CASES)
def test_what_repeats_itself_is_refused_in_time(name: str, runs: Runs, tmp_path: Path) -> None:
    good = runs.forked(["--no-plugins", DIGITS])
    raw, message = CASES[name]
    (tmp_path / "x.pkl").write_bytes(raw + b".")
    result = runs.forked(["--no-plugins", tmp_path / "x.pkl"], good.peak + GIB)
    assert result.code is not None, "it did not end"
    assert result.is_clean_error(), result
    assert message in result.err
