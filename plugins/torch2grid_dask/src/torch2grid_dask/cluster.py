"""A Dask cluster as an executor."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ClassVar

from torch2grid_core import ExecutorFactory, UsageError
from torch2grid_dask.work import answer, perform

_SECONDS = 10.0  # in which a scheduler has to answer
_LOOK, _ALONE = 0.5, 6.0  # between two looks at the workers; without any, after which nobody waits for one


class Dask(ExecutorFactory):
    """a Dask cluster: the one at an address, or workers of this machine"""

    name: ClassVar[str] = "dask"

    def open(self, address: str, jobs: int) -> AbstractContextManager[Executor]:
        return _opened(address, jobs)


@contextmanager
def _opened(address: str, jobs: int) -> Iterator[Executor]:
    import dask
    from distributed import Client, LocalCluster

    quiet = {"logging.distributed": "critical", "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
    with dask.config.set(quiet):
        cluster: Any = address
        if not address:
            cluster = LocalCluster(
                n_workers=jobs or None, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
            )
        try:
            client = Client(cluster, timeout=_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:  # a time-out is an OSError
            raise UsageError(f"--executor dask: no scheduler answers at {address}: check the address") from error
        try:
            executor = Cluster(client)
            try:
                yield executor
            finally:
                executor.shutdown(wait=True, cancel_futures=True)
        finally:
            with suppress(Exception):  # one that died has been told of
                client.close(timeout=_SECONDS)
            if not address:
                with suppress(Exception):
                    cluster.close(timeout=_SECONDS)


class Cluster(Executor):
    """Work on the workers of a ``distributed.Client``. Where none is left, every future fails."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._waiting: dict[Future[Any], Any] = {}
        self._closed = threading.Event()
        self._broken = ""
        threading.Thread(target=self._look, name="torch2grid: workers", daemon=True).start()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """See ``Executor.submit``."""
        work = pickle.dumps((function, arguments, named), protocol=pickle.HIGHEST_PROTOCOL)
        future: Future[Any] = Future()
        with self._lock:
            if self._broken:
                raise BrokenExecutor(self._broken)
            if self._closed.is_set():
                raise RuntimeError("it was shut down")
            theirs = self._client.submit(perform, work, pure=False)
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
            future.set_exception(error)
        theirs.release()

    def _look(self) -> None:
        """Watch the workers until it is shut down: work of a cluster without any would wait for ever."""
        alone = 0.0
        while not self._closed.wait(_LOOK):
            try:
                left = len(self._client.ncores()) if self._client.status == "running" else 0
            except Exception:  # the scheduler does not answer
                left = 0
            alone = 0.0 if left else alone + _LOOK
            if alone >= _ALONE or self._client.status in ("closed", "closing"):
                self._fail("the cluster has no workers any more" if alone >= _ALONE else "the scheduler is gone")
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
