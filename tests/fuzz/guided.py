"""Changes bytes of valid files towards code of the readers that none reached yet (atheris, which is libFuzzer).

``make fuzz-guided`` runs it for ten minutes on two cores. What is promised is what ``tests.fuzz.fuzz`` promises of any file,
whatever is in it: nothing but one of torch2grid's own errors, in printable characters, within 10 s and 2 GiB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SECONDS, MEGABYTES = 10, 2048  # of one file
LARGEST = 1 << 16  # bytes of a file
READ = 1 << 24  # bytes of a tensor that is read
_SEEDED = "torch2grid-guided-"


def _seed(folder: Path) -> int:
    """Write the small files of all formats that the other fuzzers change into *folder*; how many."""
    from tests.fuzz import exports, samples

    found = [*samples.samples(), *exports.samples()]
    for number, sample in enumerate(found):
        (folder / f"{number:03}").write_bytes(sample.raw)
    return len(found)


def _work(arguments: list[str]) -> None:
    """Be one libFuzzer. Does not return."""
    import atheris

    with atheris.instrument_imports(include=["torch2grid_builtin", "torch2grid_core"]):
        from tests.support.loaders.opened import loaders
        from tests.support.memory import REQUESTS, STORE, MemorySource

        from torch2grid_core import Torch2GridError
        from torch2grid_core._data.checkpoint import check_computed
        from torch2grid_core._data.opening import open_checkpoint

        found = loaders()

    def look(raw: bytes) -> None:
        STORE["file"] = raw
        REQUESTS.clear()
        try:
            checkpoint = open_checkpoint(MemorySource("file"), found)
            check_computed(checkpoint.values())
            for tensor in checkpoint.values():
                if tensor.nbytes <= READ:
                    for _ in tensor.chunks():
                        pass
        except Torch2GridError as error:
            if not str(error).isprintable():
                raise RuntimeError("the message has control characters") from error

    with atheris.instrument_imports(include=["torch2grid_builtin", "torch2grid_core"]):  # readers import some modules late
        for path in sorted(Path(arguments[0]).iterdir()):
            look(path.read_bytes())
    atheris.Setup([sys.argv[0], *arguments], look)
    atheris.Fuzz()


def _started(number: int, seconds: int, seed: int, corpus: Path, keep: Path, log: Path) -> subprocess.Popen[Any]:
    """One libFuzzer of several that share *corpus*."""
    options = {
        "max_total_time": seconds,
        "timeout": SECONDS,
        "rss_limit_mb": MEGABYTES,
        "max_len": LARGEST,
        "seed": seed + number + 1,
        "artifact_prefix": f"{keep}/",
        "reload": 1,
        "print_final_stats": 1,
    }
    words = [f"-{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.fuzz.guided", "--work", str(corpus), *words]
    with log.open("wb") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)


def _stated(log: str, name: str) -> int:
    """A number that libFuzzer prints at its end."""
    return next((int(line.split()[-1]) for line in log.splitlines() if line.startswith(f"stat::{name}:")), 0)


def main() -> int:
    """Fuzz, and say how much was looked at; 1 where a promise did not hold, with the file kept."""
    parser = argparse.ArgumentParser(description="Change bytes of valid checkpoints towards new code of the readers.")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_broken"), help="folder for files that break a promise")
    given = parser.parse_args()
    started = time.perf_counter()
    given.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_SEEDED) as folder:
        corpus, logs = Path(folder) / "corpus", [Path(folder) / f"log{number}" for number in range(given.workers)]
        corpus.mkdir()
        seeds = _seed(corpus)
        running = [_started(number, given.seconds, given.seed, corpus, given.keep, log) for number, log in enumerate(logs)]
        codes = [each.wait() for each in running]
        told = [log.read_text("utf-8", "replace") for log in logs]
        kept = len(list(corpus.iterdir()))
    files = sum(_stated(each, "number_of_executed_units") for each in told)
    for code, each in zip(codes, told, strict=True):
        if code:
            print("\n".join(each.splitlines()[-40:]), file=sys.stderr)
    broken = [path for path in given.keep.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-", "leak-", "slow-"))]
    print(f"{files:,} files from {seeds} seeds, {kept - seeds:,} of them of use: {len(broken)} broke a promise, ", end="")
    print(f"{time.perf_counter() - started:.0f} s")
    return 1 if broken or any(codes) or not files else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _work(sys.argv[2:])
    sys.exit(main())
