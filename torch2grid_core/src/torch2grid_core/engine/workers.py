"""How many processes a run is worth, and starting them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.engine.reading import most_pieces

_WORTH_BYTES = 48 << 20  # below this, starting processes and sending results costs more than a second core saves
_WORTH_PAGES = 12
_MOST_ON_WINDOWS = 61  # of a ProcessPoolExecutor there, which waits for as many handles as one call takes


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def workers(checkpoint: Checkpoint, jobs: int = 0, pages: int = 0) -> Iterator[Executor | None]:
    """An executor of *jobs* processes (0: one for each core), or ``None`` where one process does it as fast.

    pages: pictures that tensors will draw, as far as that is known. Processes are forked on Linux, before any thread is
    started; elsewhere they are spawned. On Windows there are 61 at most.
    """
    wanted, shares = jobs or cores(), sum(map(most_pieces, checkpoint.values()))
    worth = sum(tensor.nbytes for tensor in checkpoint.values()) >= _WORTH_BYTES or pages >= _WORTH_PAGES
    if wanted < 2 or not (worth or jobs) or shares < 2:
        yield None
        return
    import multiprocessing  # 15 ms that a small file does not pay
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    most = min(wanted, shares, _MOST_ON_WINDOWS) if sys.platform == "win32" else min(wanted, shares)
    executor = ProcessPoolExecutor(most, mp_context=context, initializer=_worker_signals)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _worker_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; workers end with it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # and a worker has nothing to clean up
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the parent's, too
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the parent, however it comes, and end at once: nobody takes results any more."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
