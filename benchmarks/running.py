"""One benchmark in the process that this is called in."""

from __future__ import annotations

import importlib
import tempfile
import traceback
from pathlib import Path

from benchmarks.models import cache
from benchmarks.task import Benchmark, Check, Section


def run_one(name: str, rounds: int) -> Section:
    """The section of one benchmark; where it breaks, one that says so."""
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        try:
            benchmark: Benchmark = importlib.import_module(f"benchmarks.{name}").run
            return benchmark(Path(folder), rounds)
        except Exception as error:
            traceback.print_exc()
            what = f"{type(error).__name__}: {error}"
            return Section(name, f"It broke: {what}", [Check(f"{name} ran to its end", False, what)], whole=False)
