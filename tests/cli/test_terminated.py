"""Signals, as users, schedulers and terminals send them: nothing half-written stays, no temporary file, no process."""

from __future__ import annotations

import contextlib
import gzip
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.tools import COMMAND, DIGITS, interruptible

SLOW = """
import pathlib
import time
import numpy as np
from torch2grid_core import GridTransformer

class Slow(GridTransformer):
    "waits"
    name = "slow"

    def transform(self, tensors):
        pathlib.Path("began").touch()
        time.sleep(60)
        return np.ones((2, 2))
"""

SLOW_PAGES = """
import pathlib
import time
from torch2grid_core import Page, View
from torch2grid_core.measures import Summary
from torch2grid_core.pages import Text

class Slow(View):
    "waits in each worker"
    name = "slow"

    def tensor_needs(self, tensor, run):
        return {"figures": Summary()}

    def tensor_pages(self, tensor, results, run):
        pathlib.Path("began").touch()
        time.sleep(60)
        yield Page(tensor.name, tensor.name, (Text("slow"),))
"""


def soon(true: Callable[[], bool], seconds: float = 30) -> bool:
    """Wait until *true* says so, *seconds* at most; what it says."""
    for _ in range(int(seconds / 0.05)):
        if true():
            return True
        time.sleep(0.05)
    return true()


def children(process: int) -> list[int]:
    """The processes that *process* started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            told = entry.read_text().rpartition(")")[2].split()
            if int(told[1]) == process:
                found.append(int(entry.parent.name))
    return found


ENDS = [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted"), (signal.SIGHUP, 129, "hung up")]


@pytest.mark.parametrize(("number", "code", "said"), ENDS)
def test_a_signal_while_it_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, said: str
) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    (tmp_path / "model.pth.gz").write_bytes(gzip.compress(DIGITS.read_bytes()))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    words = [str(COMMAND), "model.pth.gz", "--load-plugin", "slow.py", "--plugin", "slow", "-o", "out"]
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible)
    assert soon(lambda: (tmp_path / "began").exists())
    assert bool(list(temporary.iterdir())) == (sys.platform != "linux")  # the unpacked checkpoint has no name there
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == code
    assert told.splitlines()[-1] == f"torch2grid: {said}"
    assert not list(temporary.iterdir())
    assert not list(tmp_path.glob("out/**/*"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes and open files in /proc")
def test_nothing_outlives_a_command_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow.py").write_text(SLOW_PAGES, encoding="utf-8")
    (tmp_path / "model.pth.gz").write_bytes(gzip.compress(DIGITS.read_bytes()))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    words = [str(COMMAND), "model.pth.gz", "--load-plugin", "slow.py", "--view", "slow", "--jobs", "3", "-o", "out"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL, preexec_fn=interruptible)
    assert soon(lambda: (tmp_path / "began").exists())
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGHUP)  # workers leave it to the parent, which waits for none of them
    process.kill()
    process.wait()
    assert soon(lambda: not any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers))
    assert not list(temporary.iterdir())


def test_who_ignores_hanging_up_is_not_ended_by_it(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW.replace("sleep(60)", "sleep(2)"), encoding="utf-8")
    words = ["nohup", str(COMMAND), str(DIGITS), "--load-plugin", "slow.py", "--plugin", "slow", "-o", "out"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible)
    assert soon(lambda: (tmp_path / "began").exists())
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert list(tmp_path.glob("out/*.png"))
