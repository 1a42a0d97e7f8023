"""Whole processes measured in turn: wall and processor time, and peak memory of the process tree.

Contenders run A B A B …, so that a machine whose speed drifts treats them alike; medians are what is quoted, and ratios of
medians. Memory is PSS (each shared page divided among its sharers) summed over the process tree, sampled from
``/proc/*/smaps_rollup``: unlike RSS it does not count a page of forked workers twice. Linux only.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_INTERVAL = 0.02  # seconds between samples of memory


@dataclass(frozen=True)
class Sample:
    """One run. wall, cpu: seconds (cpu is user and system time of all its processes); pss: peak bytes."""

    wall: float
    cpu: float
    pss: int
    code: int


@dataclass(frozen=True)
class Result:
    """The medians of one contender's runs."""

    name: str
    samples: tuple[Sample, ...]

    @property
    def wall(self) -> float:
        return statistics.median(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        return statistics.median(sample.cpu for sample in self.samples)

    @property
    def pss(self) -> float:
        return statistics.median(sample.pss for sample in self.samples)

    @property
    def failed(self) -> bool:
        return any(sample.code for sample in self.samples)


def run_once(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Sample:
    """Run *command* to its end, its output thrown away."""
    started = time.perf_counter()
    # Byte code is kept, as an installer keeps it: without it every run would compile our sources and none of the peers'.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        command, cwd=cwd, env={**kept, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak = [0]
    done = threading.Event()
    sampler = threading.Thread(target=_watch, args=(process.pid, peak, done))
    sampler.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    done.set()
    sampler.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Sample(wall, usage.ru_utime + usage.ru_stime, peak[0], process.returncode)


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


def in_turn(
    contenders: Mapping[str, Sequence[str]], rounds: int = 5, warmup: int = 1, cwd: Path | None = None
) -> dict[str, Result]:
    """Each contender once, then again, *rounds* times after *warmup* rounds that do not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for turn in range(warmup + rounds):
        for name, command in contenders.items():
            sample = run_once(command, cwd)
            if turn >= warmup:
                samples[name].append(sample)
    return {name: Result(name, tuple(taken)) for name, taken in samples.items()}


def table(results: Mapping[str, Result], against: str) -> str:
    """The results as a Markdown table, with the ratio of each one's wall time to that of *against*."""
    base = results[against]
    lines = ["| what | wall s | cpu s | peak PSS MB | wall ratio |", "| --- | ---: | ---: | ---: | ---: |"]
    for result in results.values():
        note = " (failed)" if result.failed else ""
        ratio = result.wall / base.wall
        lines.append(f"| {result.name}{note} | {result.wall:.2f} | {result.cpu:.2f} | {result.pss / 1e6:.0f} | {ratio:.2f} |")
    return "\n".join(lines)


def machine() -> str:
    """One line on where this ran."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {sys.platform}"
