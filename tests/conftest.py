"""How the suite is spread over the cores, and which commands are traced when it is.

A process costs 0.2 s more under coverage, and most tests run the same code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.tools import TRACING

TRACED = ("checks", "cli", "compare", "interactive", "plugins")  # what runs the command line in all its ways


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for a command, a terminal or a browser."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 1


@pytest.fixture(scope="module", autouse=True)
def commands_are_traced_where_it_tells_something(request: pytest.FixtureRequest) -> Iterator[None]:
    """Elsewhere the processes that a test starts run as a user's do; what the tests call themselves is traced in any case."""
    if TRACING not in os.environ or request.path.parent.name in TRACED or request.path.name == "test_new_plugin.py":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(TRACING)
        yield
