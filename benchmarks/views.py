"""Pictures of every tensor beside one ``plt.figure`` a tensor: ``python -m benchmarks.views [ROUNDS]``.

The targets are seconds of wall time on two idle cores, and bytes: see ``SECONDS``, ``BOTH`` and ``MEMORY``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.tools import COMMAND

from benchmarks.measure import Result, in_turn, machine, table
from benchmarks.models import cache, model

LAYERS, HISTOGRAM, TOGETHER = "--layers", "--histogram", "--layers --histogram"
NAIVE = {"layers": "one plt.figure each: heatmaps", "histogram": "one plt.figure each: histograms"}
LLAMA = "--layers of 1.1 billion parameters"
SECONDS = {LAYERS: 12.0, HISTOGRAM: 10.0, LLAMA: 25.0}
BOTH = 1.7  # times the slower one that both views together may take
MEMORY = 500e6  # peak PSS in bytes, of all processes together


def main(rounds: int = 3) -> int:
    """Print the tables; exit code 1 where a target is missed."""
    print(machine())
    same = ["env", "-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPYCACHEPREFIX={cache() / 'pycache'}"]
    naive = str(Path(__file__).with_name("one_figure_each.py"))
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out"

        def ours(path: Path, views: str) -> list[str]:
            return [*same, str(COMMAND), str(path), *views.split(), "-o", out]

        small = {views: ours(model("gpt2.safetensors"), views) for views in (LAYERS, HISTOGRAM, TOGETHER)}
        small |= {
            NAIVE[kind]: [*same, sys.executable, naive, str(model("gpt2.pth")), kind, out] for kind in ("layers", "histogram")
        }
        results = in_turn(small, rounds)
        print(f"\nGPT-2, 148 tensors, {rounds} rounds\n\n{table(results, LAYERS)}")
        large = in_turn({LLAMA: ours(model("llama.safetensors"), LAYERS)}, rounds)
        print(f"\nLlama, 201 tensors, {rounds} rounds\n\n{table(large, LLAMA)}\n")
    return report(results | large)


def report(results: dict[str, Result]) -> int:
    """A line for each target; 1 where one is missed."""
    slower = max(results[LAYERS].wall, results[HISTOGRAM].wall)
    checks = [(f"{name}, s", results[name].wall, limit) for name, limit in SECONDS.items()]
    checks.append(("both views to the slower one", results[TOGETHER].wall / slower, BOTH))
    checks += [(f"{name}, MB", results[name].pss / 1e6, MEMORY / 1e6) for name in (LAYERS, HISTOGRAM, TOGETHER, LLAMA)]
    for name, found, limit in checks:
        print(f"{'ok  ' if found <= limit else 'OVER'} {name}: {found:.2f} (limit {limit:g})")
    return int(any(found > limit for _, found, limit in checks) or any(each.failed for each in results.values()))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
