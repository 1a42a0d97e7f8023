"""``torch2grid --stats`` beside weightlens, sft-cli and the plain loop over safe_open.

    python -m benchmarks.stats [ROUNDS]

The targets, as ratios of wall times, and of memory: see ``TARGETS`` and ``MEMORY``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.tools import COMMAND

from benchmarks.measure import Result, in_turn, machine, table
from benchmarks.models import cache, model
from benchmarks.peers import peers

OURS, LENS, SFT, LOOP = "torch2grid --stats", "weightlens 0.3.0, lens analyze", "sft-cli 0.2.2, sft stat", "loop over safe_open"
TARGETS = {
    "gpt2.safetensors": {LENS: 9.0, SFT: 7.0, LOOP: 4.5},
    "llama.safetensors": {LENS: 15.0, SFT: 15.0, LOOP: 5.0},
}
MEMORY, SPREAD = 350e6, 1.2  # peak PSS in bytes, and the most that it may differ between the models


def contenders(path: Path) -> dict[str, list[str]]:
    """Each command, all with byte code kept and output buffered."""
    programs = peers()
    same = ["env", "-u", "PYTHONDONTWRITEBYTECODE", "-u", "PYTHONUNBUFFERED", f"PYTHONPYCACHEPREFIX={cache() / 'pycache'}"]
    return {
        OURS: [*same, str(COMMAND), str(path), "--stats"],
        LENS: [*same, str(programs / "lens"), "analyze", str(path)],
        SFT: [*same, str(programs / "sft"), "stat", str(path)],
        LOOP: [*same, str(programs / "python"), str(Path(__file__).with_name("plain_loop.py")), str(path)],
    }


def main(rounds: int = 5) -> int:
    """Print the tables; exit code 1 where a target is missed."""
    print(machine())
    missed, memory = [], []
    for name, targets in TARGETS.items():
        path = model(name)
        results = in_turn(contenders(path), rounds)
        print(f"\n{name}, {path.stat().st_size / 1e6:.0f} MB, {rounds} rounds\n\n{table(results, OURS)}")
        missed += misses(results, targets)
        memory.append(results[OURS].pss)
    if max(memory) > MEMORY or max(memory) > SPREAD * min(memory):
        missed.append(f"peak PSS of {', '.join(f'{each / 1e6:.0f} MB' for each in memory)}")
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


def misses(results: dict[str, Result], targets: dict[str, float]) -> list[str]:
    """A line for each target that is not met."""
    ratios = {name: results[name].wall / results[OURS].wall for name in targets}
    return [
        f"{ratios[name]:.1f} times as fast as {name}, not {least}" for name, least in targets.items() if ratios[name] < least
    ]


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
