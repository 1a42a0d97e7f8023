"""Whole processes measured in turn: wall and processor time, peak memory of the process tree, and bytes read.

Contenders run A B A B …, so that a machine whose speed drifts treats them alike; medians are what is quoted, and ratios of
medians. Before the timed turns, each runs once *observed*, with the files that it reads dropped from the page cache: that run
says how much memory it takes and how much it reads, and is not timed, since the observer stops a process to look at it.

Memory is PSS (each shared page divided among its sharers) summed over the process tree, sampled from ``/proc/*/smaps_rollup``:
unlike RSS it does not count a page of forked workers twice. Linux only.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_INTERVAL = 0.02  # seconds between samples of memory
SLOW, VERY_SLOW = 20.0, 60.0  # seconds of the observed run from which on a contender takes two timed turns, or one

Command = Sequence[str]


@dataclass(frozen=True)
class Timed:
    """One run. wall, cpu: seconds; cpu is user and system time of all its processes."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Observed:
    """One run with a cold cache. pss: peak bytes; called: bytes that read calls gave, of whatever file (a memory map shows none
    of them); stored: bytes that came from the disk, mapped or not (0 where the file system has none); wall: seconds."""

    pss: int
    called: int
    stored: int
    wall: float


@dataclass(frozen=True)
class Result:
    """What one contender's runs showed; wall, cpu: medians, seconds. failed: a run ended with a wrong exit code."""

    name: str
    runs: tuple[Timed, ...]
    observed: Observed
    failed: bool

    @property
    def wall(self) -> float:
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        return statistics.median(run.cpu for run in self.runs)

    @property
    def pss(self) -> int:
        return self.observed.pss


def in_turn(
    contenders: Mapping[str, Command],
    rounds: int = 5,
    files: Mapping[str, Iterable[Path]] | None = None,
    codes: Mapping[str, int] | None = None,
) -> dict[str, Result]:
    """Each contender once observed, then *rounds* times in turn; one that is ``SLOW`` twice, ``VERY_SLOW`` once.

    files: what a contender reads, dropped from the page cache before it is observed. codes: the exit code of a contender's run
    that went well, where it is not 0.
    """
    files, codes = files or {}, codes or {}
    observed: dict[str, Observed] = {}
    timed: dict[str, list[Timed]] = {name: [] for name in contenders}
    failed: set[str] = set()
    for name, command in contenders.items():
        _drop(files.get(name, ()))
        observed[name], ended = _observe(command)
        failed |= {name} if ended != codes.get(name, 0) else set()
    turns = {
        name: 1 if run.wall > VERY_SLOW else min(2, rounds) if run.wall > SLOW else rounds for name, run in observed.items()
    }
    for turn in range(rounds):
        for name, command in contenders.items():
            if turn < turns[name]:
                run, ended = _time(command)
                timed[name].append(run)
                failed |= {name} if ended != codes.get(name, 0) else set()
    return {name: Result(name, tuple(timed[name]), observed[name], name in failed) for name in contenders}


def _drop(files: Iterable[Path]) -> None:
    """Let the page cache forget *files*."""
    for path in files:
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _start(command: Command) -> subprocess.Popen[bytes]:
    # Byte code is kept, as an installer keeps it: without it every run would compile our sources and none of the peers'.
    # Output is buffered, as it is in a pipe: some machines set PYTHONUNBUFFERED.
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")}
    return subprocess.Popen(command, env=kept, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _time(command: Command) -> tuple[Timed, int]:
    started = time.perf_counter()
    process = _start(command)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    return Timed(wall, usage.ru_utime + usage.ru_stime), process.returncode


def _observe(command: Command) -> tuple[Observed, int]:
    started, peak, done = time.perf_counter(), [0], threading.Event()
    process = _start(command)
    sampler = threading.Thread(target=_watch, args=(process.pid, peak, done))
    sampler.start()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet reaped: its counters can still be read
    done.set()
    sampler.join()
    called = _calls(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Observed(peak[0], called, usage.ru_inblock * 512, time.perf_counter() - started), process.returncode


def _watch(root: int, peak: list[int], done: threading.Event) -> None:
    while not done.wait(_INTERVAL):
        peak[0] = max(peak[0], sum(_pss(pid) for pid in _tree(root)))


def _tree(root: int) -> list[int]:
    """The process and its descendants."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                waiting += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except OSError:
            continue  # it has ended meanwhile
    return found


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def _calls(pid: int) -> int:
    """Bytes that *pid* and the children that it waited for were given by read calls."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    return 0


def machine() -> str:
    """One line on where this ran."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB of memory, {platform.system()} {platform.release()}"


def versions() -> str:
    """One line on what ran: Python, and the libraries that torch2grid computes and draws with."""
    names = ("torch2grid", "numpy", "matplotlib", "torch", "safetensors")
    return f"Python {sys.version.split()[0]}, " + ", ".join(f"{name} {metadata.version(name)}" for name in names)
