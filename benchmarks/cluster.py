"""Work on a Dask cluster of this machine, with Dask's own settings: beside the pool, and what only a cluster shows."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tests.support.dask import Running, cluster, installed
from tests.support.remote import installed as installed_remote
from tests.support.tools import COMMAND

from benchmarks.machine import cores
from benchmarks.measure import family, processor_time, run_once
from benchmarks.models import model, title
from benchmarks.remote import far
from benchmarks.task import Check, Section, at_least, at_most, markdown, megabytes, seconds

LARGE, MANY, MOST = "llama.safetensors", "ten_thousand.safetensors", "hundred_thousand.safetensors"
SAME, CHANGED, FETCHED = "llama_1m.safetensors", "llama_1m_tuned.safetensors", "llama_100m.safetensors"
SLOWLY = 1e6  # bytes a second for each connection: workers wait, however few cores they share
TIMES, SECONDS, MEMORY, FASTER, NOBODY = 1.2, 1.5, 350.0, 3.0, 10.0
IDLE, WORKING = 2.0, 2.0  # seconds of a cluster without work; of work, until nobody is left to do it


def run(folder: Path, rounds: int) -> Section:
    cwd = folder / "empty"
    cwd.mkdir()
    with _cluster(folder / "cluster", cores()) as running:
        rows, checks = _beside_the_pool(running, cwd, rounds)
        checks += [_same(running, folder), *_all_killed(running, cwd)]
    fetched, waiting = _fetched(folder, cwd)
    about = (
        f"A scheduler and {cores()} workers, each with its nanny, as `dask worker` starts them, run already. Processor time is"
        " that of the command and of the cluster, less what an idle one takes; memory is that of the command alone."
    )
    slow = (
        f"`--stats` of {title(FETCHED)} on a server 30 ms away that gives each connection {SLOWLY / 1e6:g} MB/s, so that"
        " workers wait rather than count:"
    )
    head = ["`--stats` of", "wall s", "by the pool", "cpu s", "by the pool", "memory MB"]
    text = "\n\n".join([about, markdown(head, rows), slow, markdown(["workers", "wall s"], fetched)])
    return Section("A cluster", text, [*checks, waiting])


def _cluster(folder: Path, workers: int) -> AbstractContextManager[Running]:
    """As Dask starts it by itself, and able to ask web servers."""
    folder.mkdir()
    return cluster(folder, workers, nannies=True, path=installed_remote(folder))


def _on(running: Running, *words: object) -> list[str]:
    """The command of *words*, whose work the cluster does."""
    paths = ":".join(map(str, [*installed(running.folder), *running.path]))
    return ["env", f"PYTHONPATH={paths}", str(COMMAND), *map(str, words), "--executor", f"dask:{running.address}"]


def _beside_the_pool(running: Running, cwd: Path, rounds: int) -> tuple[list[list[str]], list[Check]]:
    rows, checks = [], []
    for name in (LARGE, MANY, MOST):
        words = str(model(name)), "--stats", "-q"
        walls, times, bytes_, pool_walls, pool_times, codes = [], [], [], [], [], set()
        for turn in range(min(rounds, 3) + 1 if name != MOST else 1):
            idle, before, begun = _idle(running), _taken(running), time.monotonic()
            here, code = run_once(_on(running, *words), cwd)
            there = _taken(running) - before - idle * (time.monotonic() - begun)
            pool, other = run_once([str(COMMAND), *words, "--jobs", str(cores())], cwd)
            codes |= {code, other}
            if turn or name == MOST:  # else it warms up
                walls.append(here.wall)
                times.append(here.cpu + there)
                bytes_.append(here.rss)
                pool_walls.append(pool.wall)
                pool_times.append(pool.cpu)
        wall, cpu, pool_wall, pool_cpu = map(statistics.median, (walls, times, pool_walls, pool_times))
        rows.append([title(name), *map(seconds, (wall, pool_wall, cpu, pool_cpu)), megabytes(max(bytes_))])
        checks.append(Check(f"A cluster: {title(name)} went well", codes == {0}, f"exit codes {sorted(codes)}"))
        if name == LARGE:
            checks.append(at_most("A cluster: times the processor time of the pool", cpu / pool_cpu, TIMES))
        elif name == MANY:
            checks.append(at_most(f"A cluster: {title(name)}, the whole command", wall, SECONDS, " s"))
        else:
            checks.append(at_most(f"A cluster: memory of the driver, {title(name)}", max(bytes_) / 1e6, MEMORY, " MB"))
    return rows, checks


def _taken(running: Running) -> float:
    """Processor time of the cluster so far."""
    return sum(processor_time(each.pid) for each in running.processes)


def _idle(running: Running) -> float:
    """Processor time that the cluster takes in a second without work."""
    before = _taken(running)
    time.sleep(IDLE)
    return (_taken(running) - before) / IDLE


def _same(running: Running, folder: Path) -> Check:
    """Whether one process, the pool and the cluster give the same, bit by bit."""
    one, two = str(model(SAME)), str(model(CHANGED))
    different = []
    for words in (
        (one, "--stats"),
        (one, "-o", "grid.png"),
        (one, "--layers", "-o", "layers"),
        ("check", one),
        ("compare", one, two, "--stats"),
    ):
        found = set()
        for way, command in (("one", _local(words, 1)), ("pool", _local(words, cores())), ("dask", _on(running, *words, "-q"))):
            cwd = folder / f"{way} {len(found)} {' '.join(Path(word).name for word in words)}"
            cwd.mkdir()
            found.add(_result(command, cwd))
        if len(found) > 1:
            told = "; ".join(f"exit code {code}, files {digest[:8]}, {said[-200:]!r}" for code, said, digest in sorted(found))
            different.append(f"{' '.join(Path(word).name for word in words)}: {told}")
    return Check("A cluster: one process, the pool and the cluster give the same", not different, ", ".join(different) or "yes")


def _local(words: Sequence[str], jobs: int) -> list[str]:
    return [str(COMMAND), *words, "-q", "--jobs", str(jobs)]


def _result(command: Sequence[str], cwd: Path) -> tuple[int, str, str]:
    """The exit code of a command, what it says, and a digest of the files that it leaves in *cwd*."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = hashlib.sha256()
    for path in sorted(cwd.rglob("*")):
        if path.is_file():
            found.update(str(path.relative_to(cwd)).encode() + path.read_bytes())
    return done.returncode, done.stdout, found.hexdigest()


def _all_killed(running: Running, cwd: Path) -> list[Check]:
    """What a command does when all workers, and who would start them again, are killed at their work."""
    words = _on(running, "check", *[str(model(LARGE))] * 8, "-q")
    process = subprocess.Popen(words, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(WORKING)
    for pid in [pid for each in running.processes[1:] for pid in family(each.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    told = process.communicate(timeout=120)[1]
    taken = time.monotonic() - begun
    lines = len(told.splitlines())
    return [
        at_most("A cluster: all workers killed, until the command ends", taken, NOBODY, " s"),
        Check("A cluster: all workers killed, one line", lines == 1 and process.returncode == 2, told.strip()),
    ]


def _fetched(folder: Path, cwd: Path) -> tuple[list[list[str]], Check]:
    """How long one worker and four take to fetch, as a table, and how many times as fast four are."""
    walls = {}
    with far(model(FETCHED).parent, SLOWLY) as server, far(model(FETCHED).parent) as fast:
        for workers in (1, 4):
            with _cluster(folder / f"cluster of {workers}", workers) as running:
                run_once(_on(running, f"{fast.url}/{FETCHED}", "--stats", "-q"), cwd)  # so that all have imported it
                taken, code = run_once(_on(running, f"{server.url}/{FETCHED}", "--stats", "-q"), cwd)
            walls[workers] = taken.wall if code == 0 else float("nan")
    rows = [[str(workers), seconds(wall)] for workers, wall in walls.items()]
    return rows, at_least("A cluster: times as fast with four workers on the server as with one", walls[1] / walls[4], FASTER)
