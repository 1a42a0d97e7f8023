"""``torch2grid compare`` of two Llamas of 1.1 billion bfloat16 weights, beside ``sft diff --delta`` and a loop over safe_open.

    python -m benchmarks.compare [ROUNDS]

Targets: see ``SECONDS``, ``MEMORY`` and ``TARGETS``. The wall time is the target of two cores that do nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ml_dtypes
import numpy as np
from tests.tools import COMMAND

from benchmarks.measure import in_turn, machine, table
from benchmarks.models import cache, model
from benchmarks.peers import peers

OURS, BARE = "torch2grid compare --stats", "the same, without ranks"
SFT, LOOP = "sft-cli 0.2.2, sft diff --delta", "loop over safe_open"
TARGETS = {SFT: 5.0, LOOP: 3.0}  # times as fast
SECONDS, MEMORY = 3.0, 400e6
_PIECE = 1 << 22


def tuned() -> Path:
    """The Llama with noise of a fortieth of its weights' size on every weight; made if it is not there."""
    source, path = model("llama.safetensors"), cache() / "llama_tuned.safetensors"
    if not path.exists():
        generator, temporary = np.random.default_rng(1), path.with_suffix(".part")
        with source.open("rb") as old, temporary.open("wb") as new:
            length = old.read(8)
            new.write(length + old.read(int.from_bytes(length, "little")))
            while piece := old.read(2 * _PIECE):
                weights = np.frombuffer(piece, ml_dtypes.bfloat16).astype(np.float32)
                weights += generator.standard_normal(len(weights), dtype=np.float32) * np.float32(5e-4)
                new.write(weights.astype(ml_dtypes.bfloat16).tobytes())
        temporary.rename(path)
    return path


def contenders() -> dict[str, list[str]]:
    """Each command, all with byte code kept and output buffered."""
    programs, pair = peers(), [str(model("llama.safetensors")), str(tuned())]
    same = ["env", "-u", "PYTHONDONTWRITEBYTECODE", "-u", "PYTHONUNBUFFERED", f"PYTHONPYCACHEPREFIX={cache() / 'pycache'}"]
    differ = ["bash", "-c", '"$@"; [ $? -eq 1 ]', "--"]  # what compare's exit code must be
    return {
        OURS: [*differ, *same, str(COMMAND), "compare", *pair, "--stats"],
        BARE: [*differ, *same, str(COMMAND), "compare", *pair, "--stats", "--rank-size", "0"],
        SFT: [*same, str(programs / "sft"), "diff", *pair, "--delta"],
        LOOP: [*same, str(programs / "python"), str(Path(__file__).with_name("compare_loop.py")), *pair],
    }


def main(rounds: int = 5) -> int:
    """Print the table; exit code 1 where a target is missed."""
    print(machine())
    results = in_turn(contenders(), rounds)
    print(f"\ntwo files of 2.2 GB, {rounds} rounds\n\n{table(results, OURS)}")
    ours = results[OURS]
    missed = [
        f"{results[name].wall / ours.wall:.1f} times as fast as {name}, not {least}"
        for name, least in TARGETS.items()
        if results[name].wall < least * ours.wall
    ]
    if ours.wall > SECONDS:
        missed.append(f"{ours.wall:.2f} s, not {SECONDS:g}")
    if ours.pss > MEMORY:
        missed.append(f"peak PSS of {ours.pss / 1e6:.0f} MB")
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
