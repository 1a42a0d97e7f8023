"""How the suite is spread over the cores, and what of it is traced for ``tests/support/branches.py``.

Tracing costs a command of ours half of its time again, and pure Python twice to four times its time: most tests run the same
code as others, and one that takes long runs the same lines again and again.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked import NEVER, TRACED
from tests.support.tools import TRACING

# numpy and torch read these when they are imported. There is a worker for each core: a product of matrices that is spread over
# threads waits for the other workers' tests, and waits busily. The command sets them itself (tests/docs/test_needs.py).
for library in ("OPENBLAS", "MKL", "OMP"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# The files whose commands take branches that hardly anything else takes.
COMMANDS_TRACED = (
    *("checks/test_check_command", "compare/test_gradients", "compare/test_optimizer", "compare/test_series"),
    *("compare/test_names", "compare/test_not_finite", "compare/test_targets", "compare/test_two"),
    *("cli/test_command_line", "cli/test_config", "cli/test_docs_command_line", "cli/test_parts", "cli/test_stdout"),
    *("cli/test_surroundings", "examples/test_new_plugin", "interactive/test_menu"),
    *("plugins/test_broken_plugins", "plugins/test_misbehaving", "tree/test_tree_command"),
    *("hostile/test_carriers", "hostile/test_gadgets", "hostile/test_programs", "hostile/test_two_readers"),
    *("hostile/test_evasions", "hostile/test_first_bytes", "hostile/test_one_door", "hostile/test_second_readings"),
    *("adapters/test_cases", "adapters/test_merging", "adapters/test_view", "compare/test_exports", "compare/test_quantised"),
    *("exports/test_archives", "exports/test_exported", "exports/test_manifest", "exports/test_onnx"),
    *("docs/test_formats_table", "hostile/test_other_readers"),
    *("checks/test_configuration", "checks/test_expectations", "checks/test_manifests", "checks/test_report_formats"),
    *("checks/test_watching", "hostile/test_exported_code", "hostile/test_mobile", "plugins/test_who_is_blamed"),
    *("distributed/test_many_blocks", "distributed/test_passes", "distributed/test_zstd"),
    *(
        "insight/test_experts",
        "insight/test_heads",
        "insight/test_quantization",
        "insight/test_spectrum",
        "insight/test_vocabulary",
    ),
    *("compare/test_lineage",),
    *("loaders/test_replaced_numbers", "decoders/test_cases", "distributed/test_manifest", "distributed/test_folders"),
)
# The files that run over again, a thousand times, what others run.
NOT_TRACED = ("renderers/test_pixels", "transformers/test_large", "transformers/test_places", "views/test_every_format")
# The files about the command as a process of its own; elsewhere it may be forked (tests/support/forked.py).
NEW_PROCESSES = (
    *("cli/test_command_line", "cli/test_stdout", "cli/test_streams", "cli/test_surroundings"),
    *("cli/test_untrusted_surroundings", "hostile/test_first_bytes", "plugins/test_broken_plugins"),
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


def pytest_sessionstart() -> None:
    """A command that a test runs in this process may not fork it: the fork has pytest in it, and has gone on with the tests.

    Where there are threads, workers are started anew.
    """
    threading.Thread(target=threading.Event().wait, daemon=True).start()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What was imported stays: looking among it for garbage, again and again, takes a twelfth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for a command, a terminal or a browser."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 1


def _file(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Each test is traced for ``TRACED`` seconds of the processor's time, with its fixtures."""
    coverage = sys.modules.get("coverage")
    tracer = coverage.Coverage.current() if coverage is not None else None
    if tracer is None or not hasattr(signal, "setitimer"):
        return (yield)
    tracer._warn_preimported_source = False  # it looks for these at each start, also among names of torch that are no modules
    # In each fork it notes who started it, for which Python looks through the sources of all modules: up to a minute.
    sys.modules["coverage.collector"].short_stack = str  # type: ignore[attr-defined]
    stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            tracer.stop()

    before = signal.signal(signal.SIGPROF, stop)
    if _file(item.path) in NOT_TRACED:
        stop()
    else:
        signal.setitimer(signal.ITIMER_PROF, TRACED)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        if stopped:
            tracer.start()


@pytest.fixture(scope="module", autouse=True)
def traced_where_it_tells_something(request: pytest.FixtureRequest) -> Iterator[None]:
    """Elsewhere the processes that a test starts run as a user's do; what the tests call themselves is traced in most files."""
    name = _file(request.path)
    with pytest.MonkeyPatch.context() as patch:
        if name in NEW_PROCESSES:
            patch.setenv(NEVER, "0")
        if name not in COMMANDS_TRACED:
            patch.delenv(TRACING, raising=False)
        yield
