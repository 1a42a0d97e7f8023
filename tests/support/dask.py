"""A Dask cluster of this machine, started by the tests, and the command with ``torch2grid-dask`` installed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.tools import PROJECT, torch2grid

SOURCE = PROJECT / "plugins" / "torch2grid_dask" / "src"
COMMAND = Path(sys.executable).parent / "torch2grid"


def installed(folder: Path) -> list[Path]:
    """Paths that bring the distribution, as an installation would."""
    site = folder / "site"
    about = site / "torch2grid_dask-0.1.0.dist-info"
    if not about.exists():
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torch2grid-dask\nVersion: 0.1.0\n")
        (about / "entry_points.txt").write_text("[torch2grid]\ndask = torch2grid_dask.plugin\n")
    return [SOURCE, site]


def environment(folder: Path, *path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*installed(folder), *path]))}


def run(folder: Path, *words: object, cwd: Path | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """The command, with the distribution installed."""
    return torch2grid(*words, cwd=cwd or folder, path=installed(folder), timeout=timeout)


class Running:
    """A scheduler and its workers as processes. address: of the scheduler. nannies: one for each worker, which starts it again.
    path: folders of other distributions that are installed there."""

    def __init__(self, folder: Path, workers: int, nannies: bool = False, path: Sequence[Path] = ()) -> None:
        self.folder, self.processes, self.nannies, self.path = folder, list[subprocess.Popen[bytes]](), nannies, path
        found = folder / "scheduler.json"
        self._start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(found))
        wait(lambda: found.exists() and found.read_text().strip().endswith("}"))
        import json

        self.address: str = json.loads(found.read_text())["address"]
        for _ in range(workers):
            self.add()

    def _start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *words]
        with (self.folder / f"{module}.{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment(self.folder, *self.path), stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def add(self) -> subprocess.Popen[bytes]:
        """One more worker, without the nanny that would start it again, or with it, as Dask does it by itself."""
        own = () if self.nannies else ("--no-nanny",)
        return self._start("dask_worker", self.address, "--nthreads", "1", *own, "--no-dashboard")

    def workers(self) -> int:
        from distributed import Client

        with Client(self.address, timeout=20, set_as_default=False) as client:
            return len(client.ncores())

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.kill()
        for process in self.processes:
            process.wait(20)


@contextlib.contextmanager
def cluster(folder: Path, workers: int = 2, nannies: bool = False, path: Sequence[Path] = ()) -> Iterator[Running]:
    """A cluster whose workers have another working folder than the tests."""
    pytest.importorskip("distributed")
    folder.mkdir(parents=True, exist_ok=True)
    running = Running(folder, workers, nannies, path)
    try:
        wait(lambda: running.workers() == workers)
        yield running
    finally:
        running.stop()


def wait(done: object, seconds: float = 90) -> None:
    limit = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.1)
