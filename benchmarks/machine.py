"""What the figures were taken on, in lines for the report."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {cores()} cores, {memory:.0f} GB of memory, {platform.system()} {platform.release()}"


def cores() -> int:
    return len(os.sched_getaffinity(0))


def load() -> str:
    return f"{os.getloadavg()[0]:.1f} processes were running on average in the minute before"


def versions(names: Iterable[str]) -> str:
    """Python and the distributions *names*, as they are installed where this runs."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {metadata.version(name)}" for name in names)])


def versions_of(python: Path, names: Iterable[str]) -> str:
    """The same of another interpreter."""
    words = [str(python), "-c", "import sys; from benchmarks.machine import versions; print(versions(sys.argv[1:]))", *names]
    return subprocess.run(words, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.rstrip()


def commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(words, cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
