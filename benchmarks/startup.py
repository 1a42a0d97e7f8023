"""How long the command takes before it does anything, beside the import of numpy; with 20 plugins beside none."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.tools import COMMAND, DIGITS, distribution

from benchmarks.task import Section, Task, at_most, section

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
NUMPY, HELP, PLUGINS = 'python -c "import numpy"', "--help", "--help, 20 plugins"
LIMITS = {"--version": 2.0, HELP: 3.0, "--stats of a small file": 3.5}  # times the import of numpy
WITH_PLUGINS = 1.3  # times --help without


def run(folder: Path, rounds: int) -> Section:
    for kind, source in (("light", LIGHT), ("eager", EAGER)):
        for number in range(20):
            distribution(folder / kind, f"t2g-plain-{number}", source.replace("{number}", str(number)))
    command = str(COMMAND)
    contenders = {
        NUMPY: [sys.executable, "-c", "import numpy"],
        "--version": [command, "--version"],
        HELP: [command, "--help"],
        PLUGINS: ["env", f"PYTHONPATH={folder}/light", command, "--help"],
        "--help, 20 plugins that import numpy": ["env", f"PYTHONPATH={folder}/eager", command, "--help"],
        "--stats of a small file": [command, str(DIGITS), "--stats"],
    }
    found = Task("Starting", contenders, NUMPY).measured(folder, 2 * rounds - 1)
    checks = [at_most(f"{name} to the import of numpy", found.ratio(name), limit) for name, limit in LIMITS.items()]
    with_plugins = found.results[PLUGINS].wall / found.results[HELP].wall
    checks.append(at_most("--help with 20 plugins to none", with_plugins, WITH_PLUGINS))
    return section(
        "Start-up", "`torch2grid` beside the import of numpy, which every tool that computes must pay.", [found], checks
    )
