"""Workers of our own: nothing of the caller's program is imported or forked, and what goes wrong in one is an error here."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from torch2grid_core import PluginManager
from torch2grid_core._engine.processes import Processes
from torch2grid_core.measures import workers


def test_results_errors_and_prints_come_back(capfd: pytest.CaptureFixture[str]) -> None:
    executor = Processes(2)
    found = [executor.submit(pow, 2, number) for number in range(50)]
    assert [each.result() for each in found] == [2**number for number in range(50)]
    assert executor.submit(os.getpid).result() != os.getpid()
    assert executor.submit(int, "11", base=2).result() == 3
    executor.submit(print, "said in a worker").result()
    with pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 1, 0).result()
    executor.shutdown()
    assert "said in a worker" in capfd.readouterr().err
    with pytest.raises(RuntimeError):
        executor.submit(pow, 1, 1)


def test_no_more_processes_are_started_than_there_is_work() -> None:
    executor = Processes(64)
    for number in range(5):
        assert executor.submit(abs, -number).result() == number
    assert len(executor._threads) <= 2
    executor.shutdown()


def test_what_cannot_travel_is_said_and_the_worker_goes_on() -> None:
    executor = Processes(1)
    with pytest.raises(pickle.PicklingError):
        executor.submit(lambda: 1).result()
    with pytest.raises(pickle.PicklingError):  # a result
        executor.submit(threading.Lock).result()
    assert executor.submit(abs, -1).result() == 1
    executor.shutdown()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_worker_that_is_killed_breaks_the_executor() -> None:
    executor = Processes(1)
    pid = executor.submit(os.getpid).result()
    waiting = executor.submit(time.sleep, 60)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(BrokenExecutor):
        waiting.result(timeout=30)
    with pytest.raises(BrokenExecutor):
        executor.submit(abs, -1)
    executor.shutdown()


SCRIPT = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
import torch2grid as t2g
print("once")
pages = t2g.layers("model.safetensors", jobs=2)
print(len(pages.save("out")))
"""


def test_an_unguarded_script_with_threads_draws_in_several_processes(tmp_path: Path) -> None:
    arrays = {f"w{number}": np.ones((300, 300), np.float32) for number in range(20)}
    save_file(arrays, tmp_path / "model.safetensors")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["once", "21"]), done.stderr
    assert len(list((tmp_path / "out").rglob("*.png"))) == 21


def test_nothing_is_forked_where_threads_were_started(tmp_path: Path) -> None:
    save_file({f"w{number}": np.ones(3, np.float32) for number in range(3)}, tmp_path / "model.safetensors")
    checkpoint = PluginManager.discover().open(str(tmp_path / "model.safetensors"))
    with workers(checkpoint, jobs=2) as executor:
        assert isinstance(executor, Processes)
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        with workers(checkpoint, jobs=2, fork=True) as executor:
            assert isinstance(executor, Processes)
    finally:
        end.set()
        thread.join()
    if sys.platform == "linux":  # in a process of its own: pytest's has a thread
        program = (
            "from torch2grid_core import PluginManager\n"
            "from torch2grid_core._engine.workers import workers\n"
            "with workers(PluginManager.discover().open('model.safetensors'), jobs=2, fork=True) as executor:\n"
            "    print(type(executor).__name__)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "ProcessPoolExecutor\n"), done.stderr
