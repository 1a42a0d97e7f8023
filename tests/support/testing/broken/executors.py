"""Executors: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from tests.support.testing.broken.registry import breaks

from torch2grid_core import ExecutorFactory


class GoodExecutor(ExecutorFactory):
    """threads"""

    name = "toy"

    def open(self, address: str, jobs: int) -> Any:
        return ThreadPoolExecutor(jobs)


class _DoesTheLast(ThreadPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        arguments = tuple(max(7, each) if isinstance(each, int) else each for each in arguments)
        return super().submit(function, *arguments, **named)


@breaks("executor", "work_is_done")
class DoesOtherWork(GoodExecutor):
    """changes what it is given"""

    def open(self, address: str, jobs: int) -> Any:
        return _DoesTheLast(jobs)


class _Wraps(ThreadPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        def wrapped() -> Any:
            try:
                return function(*arguments, **named)
            except Exception as error:
                raise RuntimeError(str(error)) from error

        return super().submit(wrapped)


@breaks("executor", "errors_come_back")
class WrapsErrors(GoodExecutor):
    """makes another error of each"""

    def open(self, address: str, jobs: int) -> Any:
        return _Wraps(jobs)


class _Repeats(ThreadPoolExecutor):
    first: Any = None

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        self.first = self.first or super().submit(function, *arguments, **named)
        return self.first


@breaks("executor", "digits_are_those_of_one_worker")
class Repeats(GoodExecutor):
    """keeps the first result"""

    def open(self, address: str, jobs: int) -> Any:
        return _Repeats(jobs)


_FOREVER = ThreadPoolExecutor(1)


@breaks("executor", "it_ends_with_its_context")
class NeverEnds(GoodExecutor):
    """leaves its threads behind"""

    def open(self, address: str, jobs: int) -> Any:
        endless: Executor = _FOREVER
        return nullcontext(endless)
