"""Flips bytes of the files of folders that several ranks wrote, and cuts them short: each opens, or is a clean error.

What is promised, and checked here for every change: nothing but one of torch2grid's own errors is raised, within seconds; and
what opens under the checksums of zip archives has, of each tensor whose description is the same, the same numbers.
``python -m tests.fuzz.folders`` runs it.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from tests.support.distributed import made
from tests.support.loaders.opened import opened
from torch.distributed.tensor import Shard

from torch2grid_core import Torch2GridError

SECONDS = 10
LARGE = 1 << 24
Numbers = dict[str, bytes]


def _small() -> made.State:
    torch.manual_seed(3)
    return {"a.weight": torch.randn(7, 5), "a.bias": torch.randn(7), "b.weight": torch.randn(4, 7)}


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "dcp": lambda folder: made.dcp(folder, _small(), objects={"step": 3}, paths={"a.bias": ("a.bias",)}),
    "sliced": lambda folder: made.sliced(folder, _small()),
    "ranks": lambda folder: made.dtensors(folder, _small(), (2,), {name: [Shard(0)] for name in _small()}),
    "zero 2": lambda folder: made.zero(folder, [_small()], 2, 2),
    "zero 3": lambda folder: made.zero(folder, [_small()], 2, 3),
    "megatron": lambda folder: made.megatron(folder, made.gpt(1), layers=1),
}
SEALED = frozenset(FOLDERS) - {"sliced"}  # safetensors has no checksums


def numbers(folder: Path) -> Numbers:
    """Name, shape and dtype of each tensor, and its numbers. Raises ``Torch2GridError``."""
    found = {}
    for name, tensor in opened(folder).items():
        if tensor.nbytes <= LARGE:
            found[f"{name} {tensor.shape} {tensor.dtype}"] = np.ascontiguousarray(tensor.numpy()).tobytes()
    return found


def changed(raw: bytes, rng: random.Random) -> bytes:
    """A bit, a byte, a few bytes, or the end cut off."""
    at = rng.randrange(len(raw))
    kind = rng.random()
    if kind < 0.15:
        return raw[:at]
    spoilt = bytearray(raw)
    if kind < 0.6:
        spoilt[at] ^= 1 << rng.randrange(8)
    else:
        for place in range(at, min(at + rng.randint(1, 4), len(raw))):
            spoilt[place] = rng.randrange(256)
    return bytes(spoilt)


def fuzz(kind: str, runs: int, seed: int, folder: Path) -> Iterator[str]:
    """What became of each of *runs* changes: ``error``, ``equal``, ``otherwise``, or ``broken: …``."""
    rng = random.Random(f"{seed} {kind}")
    place = FOLDERS[kind](folder / "made")
    good = numbers(place)
    files = sorted(path for path in place.rglob("*") if path.is_file() and path.suffix != ".txt")
    files += [path for path in files if path.name == ".metadata"] * 2  # which says the most
    for _ in range(runs):
        path = rng.choice(files)
        raw = path.read_bytes()
        started = time.perf_counter()
        path.write_bytes(changed(raw, rng))
        try:
            found = numbers(place)
            wrong = [name for name in found if name in good and found[name] != good[name]]
            became = "equal" if found == good else "otherwise"
            if wrong and kind in SEALED and path.name != ".metadata":
                became = f"broken: other numbers under a checksum, in {path.name}: {wrong[:3]}"
        except Torch2GridError as error:
            became = "error" if str(error).isprintable() else "broken: the message has control characters"
        except Exception as error:
            became = f"broken: {type(error).__name__}: {error} in {path.name}"
        if time.perf_counter() - started > SECONDS:
            became = f"broken: took more than {SECONDS} s"
        if became.startswith("broken"):
            shutil.copy(path, folder / f"broken_{rng.randrange(1 << 30)}_{path.name}")
        path.write_bytes(raw)
        yield became


def main() -> int:
    """Fuzz, and print a table; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description="Change bytes of the files of distributed checkpoints.")
    parser.add_argument("--runs", type=int, default=20_000, help="changes of each kind of folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one kind of folder")
    given = parser.parse_args()
    broken = 0
    for kind in [given.only] if given.only else FOLDERS:
        counts = Counter[str]()
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="torch2grid-fuzz-") as folder:
            for became in fuzz(kind, given.runs, given.seed, Path(folder)):
                counts[became.partition(":")[0]] += 1
                if became.startswith("broken"):
                    broken += 1
                    print(f"{kind}: {became}", file=sys.stderr)
        print(f"{kind:10}{dict(counts)} {time.perf_counter() - started:.0f} s", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
