"""Which tests are traced: few of them, which together run every branch that any of them runs.

Most tests run the same code as others, and tracing makes a command half as slow again and pure Python two to four times as
slow. ``traced.txt`` names the tests that are traced, with the processes that they start. With the name of a file stands its
checksum: a file that has changed since, or is not listed, is traced whole. ``make traced`` runs the suite, all of it traced,
and writes the list anew. That is due where many files have changed, or where branches are missing that a test does run.
"""

from __future__ import annotations

import marshal
import os
import sys
import time
import zlib
from collections import defaultdict
from functools import cache
from pathlib import Path

LIST = Path(__file__).with_suffix(".txt")
PROJECT = Path(__file__).parents[2]
FOLDER = "TORCH2GRID_TESTS_TRACED"  # a variable: everything is traced, and what each test has run is written into this folder
LEAST = 1  # arcs that nothing cheaper runs, for each second that a test takes: one with fewer is not worth its tracing
Arcs = dict[str, set[int]]  # file of ours → pairs of lines, as coverage packs them


def is_traced(nodeid: str) -> bool:
    """True where the list has the test, or does not know its file as it is now."""
    if FOLDER in os.environ:
        return True
    file = file_of(nodeid)
    checksum, tests = chosen().get(file, ("", frozenset()))
    return nodeid in tests or checksum != checksum_of(file)


def file_of(nodeid: str) -> str:
    """The file of a test, below the project's folder."""
    return nodeid.partition("::")[0]


@cache
def chosen() -> dict[str, tuple[str, frozenset[str]]]:
    """File of tests → its checksum, and the tests of it that are traced."""
    found = {}
    for block in LIST.read_text(encoding="utf-8").rstrip("\n").split("\n\n"):
        head, *tests = block.split("\n")
        file, checksum = head.split()
        found[file] = (checksum, frozenset(f"{file}::{test}" for test in tests))
    return found


@cache
def checksum_of(file: str) -> str:
    """Of the text of a file of tests."""
    return f"{zlib.crc32((PROJECT / file).read_bytes()):08x}"


def record(data: Arcs, test: str, seconds: float) -> None:
    """Write down what a test has run in this process, and let coverage forget it."""
    write(test, seconds, data)
    for lines in data.values():
        lines.clear()


def write(test: str, seconds: float, arcs: Arcs) -> None:
    """A file that says what *test*, or a command of it, has run and how long it took."""
    folder = Path(os.environ[FOLDER])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{os.getpid()}-{time.time_ns()}").write_bytes(marshal.dumps((test, seconds, arcs)))


def main() -> None:
    """Write the list from what is in the folder of the command line."""
    seconds: dict[str, float] = defaultdict(float)
    arcs: dict[str, set[int]] = defaultdict(set)
    numbers: dict[tuple[str, int], int] = {}
    for path in Path(sys.argv[1]).iterdir():
        test, took, found = marshal.loads(path.read_bytes())
        seconds[test] += took
        arcs[test].update(numbers.setdefault((file, arc), len(numbers)) for file, lines in found.items() for arc in lines)
    tests: dict[str, list[str]] = {file: [] for file in sorted(set(map(file_of, seconds)))}
    found = choose(seconds, arcs)
    for test in sorted(found):
        tests[file_of(test)].append(test.partition("::")[2])
    blocks = ("\n".join([f"{file} {checksum_of(file)}", *names]) for file, names in tests.items())
    LIST.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    took, of = sum(map(seconds.__getitem__, found)), sum(seconds.values())
    print(f"{len(found):,} of {len(seconds):,} tests are traced, which took {took:,.0f} of {of:,.0f} seconds")


def choose(seconds: dict[str, float], arcs: dict[str, set[int]]) -> list[str]:
    """Tests that run nearly all arcs: always the one that runs most new ones for its time."""
    left, found = dict(arcs), []
    while left:
        worth, best = max((len(each) / (seconds[test] + 0.03), test) for test, each in left.items())
        if worth < LEAST:
            break
        found.append(best)
        new = left.pop(best)
        left = {test: rest for test, each in left.items() if (rest := each - new)}
    return found


if __name__ == "__main__":
    main()
