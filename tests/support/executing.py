"""A plugin of executors: threads, spawned processes, and some that fail."""

from __future__ import annotations

import signal
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from torch2grid_core import ExecutorFactory


@dataclass(frozen=True)
class Threads(ExecutorFactory):
    """threads of this process; writes its address into the file of that option"""

    name = "threads"

    log: str = field(default="", metadata={"help": "a file for the address and the number of jobs"})

    def open(self, address: str, jobs: int) -> AbstractContextManager[Executor]:
        if self.log:
            Path(self.log).write_text(f"{address} {jobs}")
        return ThreadPoolExecutor(jobs or 2)


class Spawned(ExecutorFactory):
    """processes that are spawned"""

    name = "spawned"

    def open(self, address: str, jobs: int) -> AbstractContextManager[Executor]:
        return ProcessPoolExecutor(jobs or 2, mp_context=get_context("spawn"))


class _Refusing(ThreadPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        raise ConnectionError("nobody\nanswers")


class Refuses(ExecutorFactory):
    """takes no work"""

    name = "refuses"

    def open(self, address: str, jobs: int) -> AbstractContextManager[Executor]:
        return _Refusing(1)


class Unreachable(ExecutorFactory):
    """cannot be opened"""

    name = "unreachable"

    def open(self, address: str, jobs: int) -> AbstractContextManager[Executor]:
        raise OSError(f"{address} does not answer")


class _Dying(ProcessPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        return super().submit(signal.raise_signal, signal.SIGTERM)  # os._exit cannot travel where coverage has wrapped it


class Dies(ExecutorFactory):
    """has workers that die"""

    name = "dies"

    def open(self, address: str, jobs: int) -> AbstractContextManager[Executor]:
        return _Dying(1, mp_context=get_context("spawn"))


class _Losing(ThreadPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        def lose() -> None:
            raise EOFError("the line was cut")

        return super().submit(lose)


class Loses(ExecutorFactory):
    """loses what it was given"""

    name = "loses"

    def open(self, address: str, jobs: int) -> AbstractContextManager[Executor]:
        return _Losing(1)
