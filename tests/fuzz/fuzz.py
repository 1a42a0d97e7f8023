"""Flips bytes of valid files and cuts them short: each must open equal, or be a clean error. ``make fuzz`` runs it.

What is promised, and checked here for every change:

- Nothing but a ``LoadError`` (or another of torch2grid's own errors) is raised, within seconds.
- Where a checksum covers the tensors (zip, npz, gzip), what opens is equal: names, shapes, dtypes, every bit, what was
  skipped. A changed byte under a checksum is an error; in deflated data, unless it unpacks to the same.
- Elsewhere (legacy streams and tars, plain pickles, safetensors, npy) a cut file is an error, and so is a change in a
  tar's header, which has a checksum. A changed number is that number, and nothing else changes. Of a changed description
  what opens is what it now says, such as another name: the table counts those, since nothing in the file tells.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.fuzz.samples import NUMBERS, SEALED, Sample, samples
from tests.support.loaders.opened import opened

from torch2grid_core import Torch2GridError

LARGE = 1 << 24  # bytes of a tensor that a changed shape has blown up: its numbers are not compared
SECONDS = 10
Content = tuple[dict[str, tuple[tuple[int, ...], str, str]], tuple[str, ...]]


@dataclass(frozen=True)
class Change:
    """A changed file. first: the first byte that differs; count: how many may; 0 where the file was cut at *first*."""

    raw: bytes
    first: int
    count: int


def content(path: Path) -> Content:
    """Name → (shape, dtype, digest of the numbers), and what is said of the rest. Raises ``Torch2GridError``."""
    checkpoint = opened(path)
    tensors = {}
    for name, tensor in checkpoint.items():
        numbers = np.ascontiguousarray(tensor.numpy()).tobytes() if tensor.nbytes <= LARGE else b"large"
        tensors[name] = (tensor.shape, tensor.dtype.name, hashlib.sha256(numbers).hexdigest())
    said = [f"{skip.name}: {skip.reason}" for skip in checkpoint.skipped]
    return tensors, (*said, *checkpoint.not_run, *checkpoint.notes)


def change(sample: Sample, rng: random.Random) -> Change:
    """One random change: a bit, a byte, up to four bytes (a CRC-32 notices any such), or the end cut off."""
    raw = bytearray(sample.raw)
    kind = rng.random()
    if kind < 0.2:
        first = rng.randrange(len(raw))
        return Change(bytes(raw[:first]), first, 0)
    first = rng.randrange(len(raw))
    if kind < 0.6:
        raw[first] ^= 1 << rng.randrange(8)
        return Change(bytes(raw), first, 1)
    count = min(1 if kind < 0.8 else rng.randint(2, 4), len(raw) - first)
    raw[first : first + count] = bytes(byte ^ rng.randint(0, 255) for byte in raw[first : first + count])
    return Change(bytes(raw), first, count)


class Broken(AssertionError):
    """A promise that did not hold."""


def verdict(sample: Sample, good: Content, changed: Change, path: Path) -> str:
    """What became of *changed*, written to *path*: ``equal``, ``error``, ``a number``, ``said``, ``a name``, ``otherwise``.

    Raises ``Broken`` where that is not what is promised.
    """
    path.write_bytes(changed.raw)
    started = time.process_time()  # a busy machine may stop a process for longer
    try:
        found = content(path)
    except Torch2GridError as error:
        if not str(error).isprintable():
            raise Broken("the message has control characters") from error
        return "error"
    except Exception as error:
        raise Broken(f"{type(error).__name__}: {error}") from error
    finally:
        if time.process_time() - started > SECONDS:
            raise Broken(f"took more than {SECONDS} s")
    touched = [
        index for index in range(changed.first, changed.first + changed.count) if changed.raw[index] != sample.raw[index]
    ]
    places = {sample.place(index) for index in touched}
    if found == good:
        if SEALED in places and not _unpacks_equal(sample, changed, touched):
            raise Broken("a change under a checksum went unnoticed")
        return "equal"
    if sample.whole and found[0] == good[0] and set(good[1]) < set(found[1]):
        return "said"  # the numbers are the same, and what is odd about the file is said
    if sample.whole:
        raise Broken(f"opened otherwise under a checksum: {_difference(good, found)}")
    if not changed.count:
        raise Broken(f"was cut short, and opened otherwise: {_difference(good, found)}")
    if SEALED in places:
        raise Broken(f"a change under a checksum opened otherwise: {_difference(good, found)}")
    (before, said), (after, saying) = good, found
    facts = [[each[:2] for each in tensors.values()] for tensors in (before, after)]
    if places == {NUMBERS}:
        if said != saying or list(before) != list(after) or facts[0] != facts[1]:
            raise Broken(f"changed numbers changed more than numbers: {_difference(good, found)}")
        return "a number"
    if said != saying:
        return "said"
    return "a name" if sorted(before.values()) == sorted(after.values()) else "otherwise"


def _unpacks_equal(sample: Sample, changed: Change, touched: list[int]) -> bool:
    """True where the bytes are packed, and unpack to what they were: bits behind the end of a deflated stream."""
    record = next(each for each in sample.sealed if any(index in each for index in touched))
    if sample.raw[:2] == b"\x1f\x8b":
        record = range(len(sample.raw))
    try:
        unpackers = [zlib.decompressobj(31 if record.start == 0 else -15) for _ in range(2)]
        before, after = (
            unpacker.decompress(raw[record.start : record.stop])
            for unpacker, raw in zip(unpackers, (sample.raw, changed.raw), strict=True)
        )
    except zlib.error:
        return False
    return before == after


def _difference(good: Content, found: Content) -> str:
    (before, said), (after, saying) = good, found
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return f"{names[:5]} of {len(before)} and {len(after)} tensors, {set(said) ^ set(saying)}"


def fuzz(runs: int, seed: int, folder: Path) -> Iterator[tuple[Sample, Change, str]]:
    """*runs* changes of each sample, with what became of each; ``broken: …`` where a promise did not hold."""
    for sample in samples():
        rng = random.Random(f"{seed} {sample.name}")
        path = folder / "changed"
        path.write_bytes(sample.raw)
        good = content(path)
        for _ in range(runs):
            changed = change(sample, rng)
            try:
                became = verdict(sample, good, changed, path)
            except Broken as broken:
                became = f"broken: {broken}"
            yield sample, changed, became


def main() -> int:
    """Fuzz, print a table, and keep every file that broke a promise; 1 if there was one."""
    parser = argparse.ArgumentParser(description="Change bytes of valid checkpoints and see what torch2grid makes of them.")
    parser.add_argument("--runs", type=int, default=2000, help="changes of each of the twelve files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_broken"), help="folder for files that break a promise")
    given = parser.parse_args()
    counts: dict[str, Counter[str]] = {}
    broken = 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="torch2grid-fuzz-") as folder:
        for sample, changed, became in fuzz(given.runs, given.seed, Path(folder)):
            kind = became.partition(":")[0]
            counts.setdefault(sample.name, Counter())[kind] += 1
            if kind == "broken":
                broken += 1
                given.keep.mkdir(parents=True, exist_ok=True)
                kept = given.keep / f"{sample.name.replace(', ', '_').replace(' ', '_')}_{broken}"
                kept.write_bytes(changed.raw)
                print(f"{kept}: byte {changed.first}, {changed.count or 'cut'}: {became}", file=sys.stderr)
    columns = ("error", "equal", "a number", "said", "a name", "otherwise", "broken")
    print(f"{'':20}" + "".join(f"{column:>11}" for column in columns))
    for name, count in counts.items():
        print(f"{name:20}" + "".join(f"{count[column]:11,}" for column in columns))
    total = sum(sum(count.values()) for count in counts.values())
    print(f"{total:,} changed files, seed {given.seed}: {broken} broke a promise, {time.perf_counter() - started:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
