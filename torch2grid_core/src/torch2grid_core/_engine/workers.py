"""Where the work is done: how many processes a run is worth, starting them, and executors that a person chose."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._engine.reading import most_pieces
from torch2grid_core._engine.scheduling import NOT_PICKLED, is_not_pickled, workers_of
from torch2grid_core._errors import Torch2GridError
from torch2grid_core._guard import Origin, call, describe, describe_value, guarded, origin_of, returned
from torch2grid_core._kinds.running import ExecutorFactory
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.options import split_spec

_WORTH_BYTES = 48 << 20  # below this, starting processes and sending results costs more than a second core saves
_WORTH_PAGES = 12
Opener = Callable[[int], contextlib.AbstractContextManager[Executor]]  # takes the number of jobs


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def workers(
    checkpoint: Checkpoint, jobs: int = 0, pages: int = 0, fork: bool = False, opener: Opener | None = None
) -> Iterator[Executor | None]:
    """Open an executor of *jobs* processes (0: one for each core), or give ``None`` if one process does it as fast.

    Args:
        checkpoint: what will be read.
        jobs: number of processes.
        opener: opens the executor that the user chose (see ``executor_of``).
        pages: number of pictures that tensors will draw, as far as that is known.
        fork: this program does not use threads, so processes may be forked from it, which starts them sooner. If threads were
            started all the same, they are not forked.
    """
    if opener is not None:
        with opener(jobs) as chosen:
            yield chosen
        return
    wanted, shares = jobs or cores(), sum(map(most_pieces, checkpoint.values()))
    worth = sum(tensor.nbytes for tensor in checkpoint.values()) >= _WORTH_BYTES or pages >= _WORTH_PAGES
    if wanted < 2 or not (worth or jobs) or shares < 2:
        yield None
        return
    executor = _forked(min(wanted, shares)) if fork and sys.platform == "linux" and threading.active_count() == 1 else None
    if executor is None:
        from torch2grid_core._engine.processes import Processes  # what few runs need

        executor = Processes(min(wanted, shares))
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _forked(count: int) -> Executor:
    import multiprocessing  # 15 ms that a small file does not pay
    from concurrent.futures import ProcessPoolExecutor

    executor = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork"), initializer=_forked_signals)
    # All are forked with the first work. It may come late, when a thread that imports would leave them its locks for ever.
    executor.submit(_forked_now)
    return executor


def _forked_now() -> None:
    """Work that is none."""


def _forked_signals() -> None:
    from torch2grid_core._engine.processes import worker_signals

    worker_signals()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the parent, however it comes, and end at once: nobody takes results any more."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def executor_of(manager: PluginManager, given: str | Executor | None) -> Opener | None:
    """Return what opens the executor *given*. Nothing is opened yet.

    Args:
        manager: knows the executors of plugins.
        given: ``NAME:key=value,…``, ``NAME:URL``, or a ready executor, which stays open.

    Raises:
        UsageError: an unknown name, or a wrong option.
    """
    if not given:
        return None
    if isinstance(given, Executor):
        ready = Guarded(given, Origin("executor", type(given).__name__))
        return lambda jobs: contextlib.nullcontext(ready)
    name, colon, rest = given.partition(":")
    spec = f"{name}:address={rest}" if colon and re.match(r"[A-Za-z][\w+.-]*://", rest) else given
    name, options = split_spec(spec)
    address = options.pop("address", "")
    factory: ExecutorFactory = manager.find("executor", name).create(options)
    return lambda jobs: _opened(factory, address, jobs)


@contextlib.contextmanager
def _opened(factory: ExecutorFactory, address: str, jobs: int) -> Iterator[Executor]:
    origin = origin_of(factory)
    context = call(factory, factory.open, address, jobs)
    if not hasattr(context, "__enter__") or not hasattr(context, "__exit__"):
        raise origin.error(returned("open", context, "a context manager"))
    with guarded(origin, "open"):
        executor = context.__enter__()
    try:
        if not isinstance(executor, Executor):
            raise origin.error(f"open gives {describe_value(executor)}, not an Executor")
        yield Guarded(executor, origin)
    except BaseException as error:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            context.__exit__(type(error), error, error.__traceback__)
        raise
    with guarded(origin, "close"):
        context.__exit__(None, None, None)


class Guarded(Executor):
    """Another executor, whose failures are errors of *origin*: what it raises, and what becomes of a worker that dies."""

    def __init__(self, executor: Executor, origin: Origin) -> None:
        self._executor, self._origin = executor, origin

    @property
    def num_workers(self) -> int:
        """How many workers it has, 0 where it does not say. Raises ``PluginError``."""
        with guarded(self._origin, "num_workers"):
            return workers_of(self._executor)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """See ``Executor.submit``. Raises ``PluginError``."""
        with guarded(self._origin, "submit"):
            try:
                found = self._executor.submit(function, *arguments, **named)
            except NOT_PICKLED as error:
                if not is_not_pickled(error):
                    raise
                found = Future()  # it cannot travel: it is done here
                found.set_exception(error)
            if not isinstance(found, Future):
                raise self._origin.error(returned("submit", found, "a Future"))
            return _Guarded(found, self._origin)


class _Guarded(Future[Any]):
    """What becomes of *inner*: what is no error of the work itself is one of *origin*."""

    def __init__(self, inner: Future[Any], origin: Origin) -> None:
        super().__init__()
        self._inner, self.origin = inner, origin
        inner.add_done_callback(self._settle)

    def cancel(self) -> bool:
        """See ``Future.cancel``."""
        return super().cancel() and (self._inner.cancel() or True)

    def _settle(self, inner: Future[Any]) -> None:
        if not self.set_running_or_notify_cancel():
            return
        try:
            self.set_result(inner.result())
        except BaseException as error:
            if isinstance(error, (Torch2GridError, MemoryError)) or is_not_pickled(error):
                self.set_exception(error)
                return
            failure = self.origin.error(describe(error))
            failure.__cause__ = error
            self.set_exception(failure)
