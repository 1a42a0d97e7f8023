"""How the suite is spread over the cores, and how it is traced for ``tests/support/branches.py``."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support import traced
from tests.support.forked import NEVER, TRACED
from tests.support.tools import TRACING

# numpy and torch read these when they are imported. There is a worker for each core: a product of matrices that is spread over
# threads waits for the other workers' tests, and waits busily. The command sets them itself (tests/docs/test_needs.py).
for library in ("OPENBLAS", "MKL", "OMP"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# Every run says the same of the same code; `pytest --hypothesis-profile random` tries other examples.
# How long an example takes says more about what else the machine does than about the example.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None, max_examples=40)
hypothesis.settings.register_profile("random", deadline=None, max_examples=200)
hypothesis.settings.load_profile("same")

# The files about the command as a process of its own; elsewhere it may be forked (tests/support/forked.py).
NEW_PROCESSES = (
    *("cli/test_stdout", "cli/test_streams", "cli/test_surroundings"),
    *("cli/test_untrusted_surroundings", "hostile/test_first_bytes"),
)
# The files that take longest, in this order: begun last, one of them would run alone while the other cores wait.
LONGEST = (
    *("explore/test_browser", "docs/test_code_blocks", "dask/test_cluster", "remote/test_faults", "hostile/test_costly"),
    *("testing/test_builtins_conform", "remote/test_same_results", "views/test_every_format", "examples/test_new_plugin"),
    *("interactive/test_menu", "explore/test_gate", "transformers/test_atlas_rows", "hostile/test_evasions"),
    *("engine/test_executors", "checks/test_rules", "cli/test_streams", "decoders/test_schemes", "summary/test_coincidence"),
    *("cli/test_command_line", "cli/test_options_of_plugins", "interactive/test_screen", "explore/test_server"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first (``make test`` keeps files together, and their order)."""
    place = {name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(_file(item.path), len(place)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported stays: looking among it for garbage, again and again, takes a twelfth of the time.

    Nor is it traced: the process that forks commands imports the same.
    """
    tracing = _tracing()
    if tracing is not None:
        tracing.stop()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()
        if tracing is not None:
            tracing.start()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for a command, a terminal or a browser."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 1


class Tracing:
    """Coverage of this process, stopped and started for each test."""

    def __init__(self, tracer: Any) -> None:
        self.tracer, self.exit, self.exit_untraced = tracer, os._exit, sys.modules["posix"]._exit
        # At each start it looks for sources that are imported already, also among names of torch that are no modules.
        tracer._warn_preimported_source = False
        # In each fork it notes who started it, for which Python looks through the sources of all modules.
        sys.modules["coverage.collector"].short_stack = str  # type: ignore[attr-defined]
        control: Any = sys.modules["coverage.control"]
        self.patched, self.patch = [tracer], control.apply_patches
        control.apply_patches = self.patch_once

    def patch_once(self, tracer: Any, *more: Any) -> None:
        """Wrap ``os._exit``, and what a fork calls, for *tracer*; not again at each start, as coverage does.

        After a thousand tests a fork would call a thousand functions, and could not end: it would go on with the tests.
        """
        if tracer not in self.patched:  # that of a fork, which writes its own file, and not that of its parent
            os._exit = self.exit_untraced
            self.patch(tracer, *more)
            self.patched.append(tracer)

    def stop(self) -> None:
        """Trace no more. What forks now writes nothing at its end."""
        self.tracer.stop()
        os._exit = self.exit_untraced

    def start(self) -> None:
        """Trace again."""
        self.tracer.start()
        os._exit = self.exit


@cache
def _tracing() -> Tracing | None:
    """Of this process, where coverage traces it and a clock can stop it."""
    coverage = sys.modules.get("coverage")
    tracer = coverage.Coverage.current() if coverage is not None and hasattr(signal, "setitimer") else None
    return None if tracer is None else Tracing(tracer)


def _file(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test is traced for ``TRACED`` seconds of the processor's time, with its fixtures and commands, or not at all."""
    tracing = _tracing()
    if tracing is None:
        return (yield)
    stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            tracing.stop()

    before, variable, begun = signal.signal(signal.SIGPROF, stop), os.environ.get(TRACING), time.process_time()
    if traced.is_traced(item.nodeid) or _file(item.path) in NEW_PROCESSES:
        signal.setitimer(signal.ITIMER_PROF, TRACED)
    else:
        stop()
        os.environ.pop(TRACING, None)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        if variable is not None:
            os.environ[TRACING] = variable
        if traced.FOLDER in os.environ:
            traced.record(tracing.tracer._collector.data, item.nodeid, time.process_time() - begun)
        if stopped:
            tracing.start()


@pytest.fixture(scope="module", autouse=True)
def in_processes_of_their_own(request: pytest.FixtureRequest) -> Iterator[None]:
    """The commands of some files are never forks."""
    with pytest.MonkeyPatch.context() as patch:
        if _file(request.path) in NEW_PROCESSES:
            patch.setenv(NEVER, "0")
        yield
