"""What several tests use: the installed command in a subprocess, small files, and distributions that only the path knows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.forked import run as run_forked

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).parent / "torch2grid"
DIGITS = PROJECT / "torch2grid_builtin" / "src" / "torch2grid_builtin" / "data" / "digits_trained.pth"
TRACING = "COVERAGE_PROCESS_CONFIG"  # in the environment of a Python that coverage is to start in


def torch2grid(
    *words: object,
    cwd: Path,
    path: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 120,
    preexec_fn: Callable[[], None] | None = None,
    new: bool = False,
    merged: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run the installed ``torch2grid`` in *cwd*; *path*: folders put first on the import path.

    new: never as a fork of a process that has imported it (``tests/support/forked.py``), which is faster by half a second.
    merged: what it says on stderr stands in stdout, where it was said.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **(env or {})}
    command = [str(COMMAND), *map(str, words)]
    if not new and preexec_fn is None:
        forked = run_forked(command, cwd=cwd, environment=environment, stdin=stdin or "", timeout=timeout, merged=merged)
        if forked is not None:
            return forked
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        input=stdin if stdin is not None else "",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
        preexec_fn=preexec_fn,
    )


def interruptible() -> None:
    """For ``preexec_fn`` of a command that is sent a signal, and gets this environment as it is.

    A shell starts what runs in the background with SIGINT ignored, nohup with SIGHUP, and their children inherit that. Nor is
    the command traced: an interrupt that comes while coverage holds its lock leaves the process waiting for itself.
    """
    for number in (signal.SIGINT, *([signal.SIGHUP] if sys.platform != "win32" else [])):
        signal.signal(number, signal.SIG_DFL)
    os.environ.pop(TRACING, None)


def distribution(folder: Path, name: str, source: str, *, version: str = "1.0", entry: str = "") -> Path:
    """A distribution as an installer leaves it, in *folder*: a module, and a ``.dist-info`` with an entry point."""
    module = name.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[torch2grid]\n{entry or module} = {module}\n", encoding="utf-8")
    return folder
