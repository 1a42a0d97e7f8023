"""Runs the command line in processes of their own, with limits: the tests start it as a module, and it forks for each run.

It imports everything once, so that a run costs a fork and not half a second of imports. Requests and replies are lines of
JSON on stdin and stdout. With ``once`` and a request as arguments it is the process itself, without fork or preparation.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.support.forked import know_installed

SECONDS = 30


def prepare() -> None:
    """Import what any run may import."""
    for package in ("torch2grid_core", "torch2grid_builtin"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            with contextlib.suppress(ImportError):  # a run that needs it says so
                importlib.import_module(module.name)
    importlib.import_module("matplotlib.backends.backend_agg")
    know_installed()
    gc.collect()
    gc.freeze()  # so that the collector of garbage copies none of it into a fork


def peak() -> int:
    """The largest address space that this process had, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmPeak:")[1].split()[0]) * 1024


def here(request: dict[str, Any]) -> int:
    """Run ``torch2grid WORDS`` in this process under the limits of *request*; the exit code.

    Its stdout and stderr go to the files *out* and *err*; *report* gets the number of tensors that were opened and the peak.
    """
    os.chdir(request["cwd"])
    for stream, name in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), stream)
    if request["bytes"]:
        resource.setrlimit(resource.RLIMIT_AS, (request["bytes"], request["bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    report: dict[str, Any] = {"tensors": None}
    try:
        code = _main(request["words"], report)
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    Path(request["report"]).write_text(json.dumps({**report, "peak": peak()}))
    return code


def _main(words: list[str], report: dict[str, Any]) -> int:
    from torch2grid_core import PluginManager
    from torch2grid_core._cli.main import main

    open_really = PluginManager.open

    def counted(self: Any, *given: Any, **options: Any) -> Any:
        checkpoint = open_really(self, *given, **options)
        report["tensors"] = len(checkpoint)
        return checkpoint

    PluginManager.open = counted  # type: ignore[method-assign]
    try:
        main(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def forked(request: dict[str, Any]) -> dict[str, Any]:
    """The same in a process of its own, killed after ``SECONDS``."""
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.setsid()
        os._exit(here(request))
    handle = os.pidfd_open(child)
    in_time = bool(select.select([handle], [], [], SECONDS)[0])
    if not in_time:
        os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(handle)
    return {"code": code if in_time else None, "seconds": time.perf_counter() - started}


def serve() -> None:
    """Answer requests until stdin ends."""
    prepare()
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line))), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would be part of every address space
    if sys.argv[1:2] == ["once"]:
        os._exit(here(json.loads(sys.argv[2])))
    serve()
