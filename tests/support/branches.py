"""What of the core and of the built-ins the tests executed, from the data of the last traced run (``make test``).

``python -m tests.support.branches`` prints lines and branches of each package and exits with 1 where fewer than ``LEAST`` of a
package's branches were taken. Lines do not count: there are more of them, and they are easier to reach. ``coverage report -m``
lists what is missing.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import coverage

from tests.support.tools import PROJECT

PACKAGES = ("torch2grid_core", "torch2grid_builtin")
LEAST = 92.0  # per cent of the branches of each package


def executed() -> dict[str, dict[str, Any]]:
    """Package → the totals of coverage's JSON report: ``num_branches``, ``covered_branches``, ``num_statements`` …"""
    data = coverage.Coverage(data_file=str(PROJECT / ".coverage"), config_file=str(PROJECT / "pyproject.toml"))
    data.load()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        for package in PACKAGES:
            data.json_report(include=[f"{PROJECT}/{package}/*"], outfile=str(report))
            found[package] = json.loads(report.read_text(encoding="utf-8"))["totals"]
    return found


def main() -> None:
    """Print a line for each package; exit with 1 where one is below ``LEAST``."""
    below = []
    for package, totals in executed().items():
        lines = 100 * totals["covered_lines"] / totals["num_statements"]
        branches = 100 * totals["covered_branches"] / totals["num_branches"]
        taken = f"{totals['covered_branches']} of {totals['num_branches']} branches"
        print(f"{package}: {taken} taken, {branches:.2f} %; lines {lines:.2f} %")
        if branches < LEAST:
            below.append(package)
    if below:
        raise SystemExit(f"below {LEAST:g} % of the branches: {', '.join(below)}; 'coverage report -m' lists what is missing")


if __name__ == "__main__":
    main()
