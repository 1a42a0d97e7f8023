"""A Dask cluster as an executor."""

from __future__ import annotations

import logging
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ClassVar

from torch2grid_core import ExecutorFactory, UsageError
from torch2grid_dask.work import answer, perform, plugins

_SECONDS = 10.0  # in which a scheduler has to answer
_LOOK, _ALONE = 0.5, 6.0  # between two looks at the workers; without any, after which nobody waits for one
_SILENT = 30.0  # after which a scheduler that says nothing is given up


class Dask(ExecutorFactory):
    """a Dask cluster: the one at an address, or workers of this machine"""

    name: ClassVar[str] = "dask"

    def open(self, address: str, jobs: int) -> AbstractContextManager[Executor]:
        return _opened(address, jobs)


@contextmanager
def _opened(address: str, jobs: int) -> Iterator[Executor]:
    import dask
    from distributed import LocalCluster

    _quieten()
    quiet = {
        "logging.distributed": "critical",
        "distributed.admin.large-graph-warning-threshold": "1TB",  # a picture that a worker is to compress is one
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    }
    with dask.config.set(quiet):
        cluster: Any = address
        try:
            if not address:
                with _uninterrupted():
                    cluster = LocalCluster(
                        n_workers=jobs or None, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
                    )
            with _of(cluster, address) as executor:
                yield executor
        finally:
            if not isinstance(cluster, str):
                with suppress(Exception):
                    cluster.close(timeout=_SECONDS)


@contextmanager
def _of(cluster: Any, address: str) -> Iterator[Executor]:
    """The executor of a running cluster."""
    from distributed import Client

    try:
        client = Client(cluster, timeout=_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:  # a time-out is an OSError
        raise UsageError(f"--executor dask: no scheduler answers at {address}: check the address") from error
    except TypeError as error:
        if "TLS" not in str(error):
            raise
        told = "needs certificates: set distributed.comm.tls (ca-file, client.cert, client.key) in Dask's configuration"
        raise UsageError(f"--executor dask: {address} {told}") from error
    try:
        executor = Cluster(client)
        try:
            yield executor
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
    finally:
        with suppress(Exception):  # one that died has been told of
            client.close(timeout=_SECONDS)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: a terminal sends it to all of them, and the driver alone answers it, once
    they are there to be ended.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which lets the signal through again, and does nothing the second time
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))  # where another thread lets it through
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which threads and processes to come inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt


class _Quiet(logging.Filter):
    """Leaves out what Dask logs of its own tasks that ended early: what became of a run is told in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        told = record.getMessage()
        if record.exc_info and record.exc_info[2] is not None:
            told += "".join(traceback.format_tb(record.exc_info[2]))
        return "distributed" not in told


_QUIET = _Quiet()


def _quieten() -> None:
    for name in ["distributed", *logging.root.manager.loggerDict]:  # some of which have a level of their own
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for name in ("asyncio", "tornado.application", "tornado.general"):
        logging.getLogger(name).addFilter(_QUIET)  # once, however often it is added


_GONE = "the scheduler is gone"


def _told(error: BaseException) -> BaseException:
    """*error*, or the failure of the cluster that it means."""
    if type(error).__name__ == "KilledWorker":
        return BrokenExecutor("workers were killed at this work, one after the other, perhaps for memory")
    if type(error).__name__ == "FutureCancelledError" and "scheduler" in str(error):
        return BrokenExecutor(_GONE)
    return error


class Cluster(Executor):
    """Work on the workers of a ``distributed.Client``. Where none is left, every future fails."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._waiting: dict[Future[Any], Any] = {}
        self._closed = threading.Event()
        self._broken = ""
        threading.Thread(target=self._look, name="torch2grid: workers", daemon=True).start()

    @property
    def num_workers(self) -> int:
        """Threads of all workers that it has now, 0 where the scheduler does not say."""
        with suppress(Exception):  # who watches the workers tells of it
            return sum(self._threads().values())
        return 0

    def _threads(self) -> dict[str, int]:
        """The number of threads of each worker."""
        found: dict[str, int] = self._client.sync(self._client.scheduler.ncores, callback_timeout=_ALONE)
        return found

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """See ``Executor.submit``."""
        work = pickle.dumps((function, arguments, named), protocol=pickle.HIGHEST_PROTOCOL)
        future: Future[Any] = Future()
        with self._lock:
            if self._broken:
                raise BrokenExecutor(self._broken)
            if self._closed.is_set():
                raise RuntimeError("it was shut down")
            theirs = self._client.submit(perform, work, plugins(), pure=False)
            self._waiting[future] = theirs
        theirs.add_done_callback(lambda done: self._settle(future, done))
        return future

    def _settle(self, future: Future[Any], theirs: Any) -> None:
        with self._lock:
            if self._waiting.pop(future, None) is None:
                return
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(answer(theirs.result()))
        except BaseException as error:
            future.set_exception(_told(error))
        theirs.release()

    def _look(self) -> None:
        """Watch the workers until it is shut down: work of a cluster without any would wait for ever."""
        seen = heard = time.monotonic()
        while not self._closed.wait(_LOOK):
            began = time.monotonic()
            try:
                if self._client.status == "running":
                    left = self._threads()
                    heard = time.monotonic()
                    seen = heard if left else seen
                else:
                    heard = began  # it is gone: nobody waits as long as for one that is busy
            except Exception:  # the scheduler does not answer
                seen += time.monotonic() - began  # nobody knows whether there are workers
            now = time.monotonic()
            if self._client.status in ("closed", "closing"):
                self._fail(_GONE)
            elif now - heard >= _SILENT:
                self._fail(f"the scheduler has not answered for {_SILENT:.0f} s")
            elif now - seen >= _ALONE:
                self._fail("the cluster has no workers left" if self._client.status == "running" else _GONE)
            else:
                continue
            return

    def _fail(self, told: str) -> None:
        with self._lock:
            self._broken = told
            waiting, self._waiting = dict(self._waiting), {}
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(BrokenExecutor(told))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ``Executor.shutdown``."""
        with self._lock:
            waiting = dict(self._waiting)
        if cancel_futures:
            for future, theirs in waiting.items():
                if future.cancel():
                    with suppress(Exception):
                        theirs.cancel()
        elif wait:
            for future in waiting:
                with suppress(BaseException):
                    future.exception()
        self._closed.set()
