"""How many processes a run is worth, and starting them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._engine.executors import Opener
from torch2grid_core._engine.reading import most_pieces

_WORTH_BYTES = 48 << 20  # below this, starting processes and sending results costs more than a second core saves
_WORTH_PAGES = 12


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def workers(
    checkpoint: Checkpoint, jobs: int = 0, pages: int = 0, fork: bool = False, opener: Opener | None = None
) -> Iterator[Executor | None]:
    """An executor of *jobs* processes (0: one for each core), or ``None`` where one process does it as fast.

    opener: of the executor that the person chose, for all of it (see ``executor_of``). pages: pictures that tensors will draw,
    as far as that is known. fork: this program has no use for threads, so that processes may be forked from it, which starts
    them sooner; they are not where threads were started all the same.
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

    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork"), initializer=_forked_signals)


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
