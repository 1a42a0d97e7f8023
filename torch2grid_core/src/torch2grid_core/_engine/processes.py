"""Workers that are processes of our own: they import nothing of the caller's program, and are not forked from it.

So a script without ``if __name__ == "__main__"`` works, and a notebook in which torch has started threads.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import IO, Any, NamedTuple

_LENGTH = 8  # bytes in front of each message


class _Work(NamedTuple):
    future: Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]


class Processes(Executor):
    """Up to *count* worker processes, each started when there is work for it.

    A function or argument that cannot be pickled, or that a worker cannot import, is a ``pickle.PicklingError`` of its future.
    """

    def __init__(self, count: int) -> None:
        self.num_workers, self._work = count, queue.SimpleQueue[_Work | None]()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)
        self._lock, self._closed, self._broken = threading.Lock(), False, False

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """See ``Executor.submit``."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed or self._broken:
                raise BrokenExecutor("a worker process was killed") if self._broken else RuntimeError("it was shut down")
            self._work.put(_Work(future, function, arguments, named))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self.num_workers:
                thread = threading.Thread(target=self._serve, daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ``Executor.shutdown``."""
        with self._lock:
            self._closed = True
            while cancel_futures:
                try:
                    work = self._work.get_nowait()
                except queue.Empty:
                    break
                if work is not None:
                    work.future.cancel()
            for _ in self._threads:
                self._work.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _serve(self) -> None:
        """Hand work to one worker, until there is no more."""
        worker: subprocess.Popen[bytes] | None = None
        try:
            while (work := self._work.get()) is not None:
                if work.future.set_running_or_notify_cancel():
                    worker = worker or _started()
                    self._ask(worker, work)
                self._idle.release()
        finally:
            if worker is not None:
                for stream in (worker.stdin, worker.stdout):
                    with contextlib.suppress(OSError):
                        stream.close()  # type: ignore[union-attr]
                worker.wait()

    def _ask(self, worker: subprocess.Popen[bytes], work: _Work) -> None:
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            message = pickle.dumps((work.function, work.arguments, work.named), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            work.future.set_exception(pickle.PicklingError(str(error)))
            return
        try:
            send(worker.stdin, message)
            answer = receive(worker.stdout)
        except OSError:
            answer = None
        if answer is None:
            self._broken = True
            work.future.set_exception(BrokenExecutor("a worker process was killed"))
            return
        try:
            done, value = pickle.loads(answer)
        except Exception as error:
            work.future.set_exception(pickle.PicklingError(str(error)))
            return
        if done:
            work.future.set_result(value)
        else:
            work.future.set_exception(value)


def _started() -> subprocess.Popen[bytes]:
    """A worker, which is told where this process finds its modules."""
    command = [sys.executable, "-c", "from torch2grid_core._engine.processes import work; work()"]
    # Without site-packages of its own it would look for them again; the caller's working folder is not among them.
    alone = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "MKL", "OMP")}  # there is a worker for each core
    environment = {**alone, **os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def send(stream: IO[bytes], message: bytes) -> None:
    """Write *message* with its length in front. Raises ``OSError`` where nobody reads any more."""
    stream.write(len(message).to_bytes(_LENGTH, "little"))
    stream.write(message)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """The next message, ``None`` at the end of the stream."""
    length = stream.read(_LENGTH)
    if len(length) < _LENGTH:
        return None
    size = int.from_bytes(length, "little")
    message = stream.read(size)
    return message if len(message) == size else None


def work() -> None:
    """The worker: does what it is sent, one after the other, and ends at once with the process that started it."""
    worker_signals()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plugin prints is no answer
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while (message := receive(requests)) is not None:
            waiting.put(message)
        os._exit(0)  # nobody takes results any more

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            send(answers, _answer(waiting.get()))
        except OSError:
            os._exit(1)


def worker_signals() -> None:
    """Leave signals to the parent: Ctrl-C is its to handle, and workers end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a worker has nothing to clean up
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _answer(message: bytes) -> bytes:
    try:
        function, arguments, named = pickle.loads(message)  # the parent's, over a pipe of its own
    except Exception as error:
        return pickle.dumps((False, pickle.PicklingError(str(error))))
    try:
        found = True, function(*arguments, **named)
    except Exception as error:
        found = False, error
    try:
        return pickle.dumps(found, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return pickle.dumps((False, pickle.PicklingError(str(error))))
