"""How long the command takes before it does anything: ``python -m benchmarks.startup``.

Beside ``python -c "import numpy"``, and with 20 plugins installed beside none.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.tools import COMMAND, DIGITS, distribution

from benchmarks.measure import Result, in_turn, machine, table

LIGHT = """
from torch2grid_core import Lazy, hookimpl

@hookimpl
def torch2grid_transformers():
    return [Lazy("t2g_plain_{number}_heavy:Plain", "plain_{number}", "a grid of ones")]
"""  # as the template does it: nothing is imported before it is used
EAGER = """
from torch2grid_core import GridTransformer, hookimpl
import numpy as np

class Plain(GridTransformer):
    "a grid of ones"
    name = "plain_{number}"
    def transform(self, tensors):
        return np.ones((2, 2))

@hookimpl
def torch2grid_transformers():
    return [Plain]
"""  # as the shortest plugin does it: numpy comes with it
LIMITS = {"--version": 2.0, "--help": 3.0, "--stats of a small file": 3.5}


def main() -> int:
    """Print the table; exit code 1 where a limit is passed."""
    command = str(COMMAND)
    with tempfile.TemporaryDirectory() as folder:
        for kind, source in (("light", LIGHT), ("eager", EAGER)):
            for number in range(20):
                distribution(Path(folder) / kind, f"t2g-plain-{number}", source.replace("{number}", str(number)))
        contenders = {
            "import numpy": [sys.executable, "-c", "import numpy"],
            "--version": [command, "--version"],
            "--help": [command, "--help"],
            "--help, 20 plugins": ["env", f"PYTHONPATH={folder}/light", command, "--help"],
            "--help, 20 plugins that import numpy": ["env", f"PYTHONPATH={folder}/eager", command, "--help"],
            "--stats of a small file": [command, str(DIGITS), "--stats"],
        }
        results = in_turn(contenders, rounds=9)
    print(machine(), table(results, "import numpy"), sep="\n\n")
    return report(results)


def report(results: dict[str, Result]) -> int:
    """A line for each limit."""
    base = results["import numpy"].wall
    checks = [(name, results[name].wall / base, limit) for name, limit in LIMITS.items()]
    checks.append(("--help with 20 plugins to none", results["--help, 20 plugins"].wall / results["--help"].wall, 1.3))
    for name, ratio, limit in checks:
        print(f"{'ok  ' if ratio <= limit else 'OVER'} {name}: {ratio:.2f} (limit {limit})")
    return int(any(ratio > limit for _, ratio, limit in checks))


if __name__ == "__main__":
    sys.exit(main())
