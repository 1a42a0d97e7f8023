"""A pytest plugin for runs under a mutant: fast tests first, no shrinking, no deadlines, bounded memory."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings

_ROOM = 3 << 29  # bytes of address space beside what is mapped when the tests have been imported
_MAPPED = Path("/proc/self/statm")

settings.register_profile(
    "mutants",
    database=None,
    deadline=None,  # a slow moment is no kill
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("mutants")


def pytest_collection_finish() -> None:
    """Bound the process: a mutant that never stops ends soon when it also takes memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY and _MAPPED.exists():
        mapped = int(_MAPPED.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + _ROOM, hard))


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """The tests that mutmut found to be fast first: most mutants are killed by any of several."""
    stats = Path("mutmut-stats.json")
    if stats.exists():
        seconds = json.loads(stats.read_text(encoding="utf-8"))["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))
