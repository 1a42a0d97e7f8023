"""Whole processes measured in turn: wall and processor time, peak memory of the process tree, and bytes read.

Contenders run A B A B …, so that a machine whose speed drifts treats them alike; medians are what is quoted, and ratios of
medians. Each is warmed up by one run that does not count, and at the end runs once *observed*, with the files that it reads
dropped from the page cache: that run says how much memory it takes, how much it reads, and whether it did what it should. It is
not timed, since the observer stops a process to look at it.

Memory is PSS (each shared page divided among its sharers) summed over the process tree, sampled from ``/proc/*/smaps_rollup``:
unlike RSS it does not count a page of forked workers twice. It does count pages of mapped files, which a machine that is short
of memory can drop; a second sum leaves those out. The measuring process imports neither numpy nor torch, whose pages
it would share with the measured ones. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_INTERVAL = 0.02  # seconds between samples of memory
SLOW, VERY_SLOW = 20.0, 60.0  # seconds of the warm-up from which on it counts, as one of two timed runs, or as the only one
_PATIENCE = 900.0  # seconds; what takes longer is killed, and has failed
_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")  # of the environment: nothing that steers Python or torch2grid

Command = Sequence[str]
Proof = str | Path  # text that the output must hold, or a file that the run must leave


@dataclass(frozen=True)
class Timed:
    """One run. wall, cpu: seconds; cpu is user and system time of all its processes. rss: resident bytes of the one that had
    most."""

    wall: float
    cpu: float
    rss: int


@dataclass(frozen=True)
class Observed:
    """One run with a cold cache. pss: peak bytes; own: the same without pages of mapped files. called: bytes that its read
    calls gave, from files (a memory map shows none) and from its own processes. stored: bytes that came from the disk, mapped
    or not (0 where the file system has no disk)."""

    pss: int
    own: int
    called: int
    stored: int


@dataclass(frozen=True)
class Result:
    """What one contender's runs showed; wall, cpu: medians, seconds. failure: what went wrong, if anything did."""

    name: str
    runs: tuple[Timed, ...]
    observed: Observed
    failure: str = ""

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
    rounds: int,
    cwd: Path,
    files: Mapping[str, Iterable[Path]] | None = None,
    proofs: Mapping[str, Proof] | None = None,
    codes: Mapping[str, int] | None = None,
) -> dict[str, Result]:
    """Each contender warmed up, then *rounds* times in turn, then once observed. Slow ones take fewer turns, see ``SLOW``.

    cwd: an empty folder to run in. files: what a contender reads, dropped from the page cache before it is observed. proofs: of
    having done it. codes: the exit code of a run that went well, where it is not 0.
    """
    files, proofs, codes = files or {}, proofs or {}, codes or {}
    timed: dict[str, list[Timed]] = {}
    ended: dict[str, list[int]] = {}

    def take(name: str) -> Timed:
        run, code = run_once(contenders[name], cwd)
        ended.setdefault(name, []).append(code)
        return run

    turns = {}
    for name in contenders:
        first = take(name)
        timed[name] = [first] if first.wall > SLOW else []
        turns[name] = 0 if first.wall > VERY_SLOW else 1 if first.wall > SLOW else rounds
    for turn in range(rounds):
        for name in contenders:
            if turn < turns[name]:
                timed[name].append(take(name))
    results = {}
    for name, command in contenders.items():
        observed, code, wrong = _observe(command, cwd, files.get(name, ()), proofs.get(name))
        bad = sorted({code for code in (*ended[name], code) if code != codes.get(name, 0)})
        failure = f"exit code {', '.join(map(str, bad))}" if bad else wrong
        results[name] = Result(name, tuple(timed[name]), observed, failure)
    return results


def _start(command: Command, cwd: Path, output: int) -> tuple[subprocess.Popen[bytes], threading.Timer]:
    kept = {key: os.environ[key] for key in _PASSED if key in os.environ}
    process = subprocess.Popen(
        command, cwd=cwd, env=kept, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    timer = threading.Timer(_PATIENCE, _kill, [process.pid])
    timer.start()
    return process, timer


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def run_once(command: Command, cwd: Path) -> tuple[Timed, int]:
    """One run, and its exit code."""
    started = time.perf_counter()
    process, timer = _start(command, cwd, subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Timed(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024), process.returncode


def _observe(command: Command, cwd: Path, files: Iterable[Path], proof: Proof | None) -> tuple[Observed, int, str]:
    """What was seen, the exit code, and what is missing of the proof."""
    if isinstance(proof, Path):
        proof.unlink(missing_ok=True)
    _drop(files)
    with tempfile.TemporaryFile() as output:
        process, timer = _start(command, cwd, output.fileno())
        peak, done = _Memory(), threading.Event()
        sampler = threading.Thread(target=_watch, args=(process.pid, peak, done))
        sampler.start()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not reaped: its counters can still be read
        timer.cancel()
        done.set()
        sampler.join()
        called = _calls(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    if isinstance(proof, Path):
        wrong = "" if proof.is_file() else f"no {proof.name}"
    else:
        wrong = "" if proof is None or proof in text else f"{proof!r} not in its output"
    return Observed(peak.pss, peak.own, called, usage.ru_inblock * 512), process.returncode, wrong


def _drop(files: Iterable[Path]) -> None:
    """Let the page cache forget *files*, what was just written of them included."""
    for path in files:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@dataclass
class _Memory:
    """Peaks, in bytes, of all processes together."""

    pss: int = 0
    own: int = 0


def _watch(root: int, peak: _Memory, done: threading.Event) -> None:
    while True:
        found = [_memory(pid) for pid in family(root)]
        peak.pss = max(peak.pss, sum(each.get("Pss", 0) for each in found))
        peak.own = max(peak.own, sum(each.get("Pss", 0) - each.get("Pss_File", 0) for each in found))
        if done.wait(_INTERVAL):
            return


def family(root: int) -> list[int]:
    """The process, and those that it and they have started."""
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


def processor_time(root: int) -> float:
    """Seconds that the process and its descendants have taken so far; those that ended count where they were waited for."""
    found = 0
    for pid in family(root):
        with contextlib.suppress(OSError):
            found += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return found / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> dict[str, int]:
    """Bytes by the names of smaps_rollup; nothing of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def _calls(pid: int) -> int:
    """Bytes that *pid* and the children that it waited for were given by read calls."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))


def able() -> None:
    """Raises ``RuntimeError`` where this machine does not show what is measured."""
    for path in ("/proc/self/smaps_rollup", "/proc/self/io", f"/proc/self/task/{os.getpid()}/children"):
        try:
            Path(path).read_text()
        except OSError as error:
            raise RuntimeError(f"memory and bytes cannot be measured here: {error}") from error
    if missing := {"Pss", "Pss_File"} - _memory(os.getpid()).keys():
        raise RuntimeError(f"memory cannot be measured here: smaps_rollup does not say {', '.join(sorted(missing))}")
