"""A progress bar on stderr, for runs that a person waits for."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._text import visible

_PATIENCE = 0.5  # seconds without a bar: most runs end before, and a bar that flashes helps nobody


def watched(quiet: bool) -> bool:
    """True where a person watches: stderr is a terminal that can move its cursor, and nobody asked for silence."""
    return not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def progress_bar(checkpoint: Checkpoint, show: bool) -> Iterator[Callable[[LazyTensor, int], None] | None]:
    """What the engine tells of each tensor that is done, shown as a bar of bytes with rate and time left."""
    if not show:
        yield None
        return
    bar = _Bar(checkpoint.source)
    try:
        yield bar.advance
    finally:
        bar.stop()


def clear_line() -> None:
    """Make room on a terminal for a line of output where a bar is shown; the bar comes back below it."""
    if _Bar.shown:
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()


class _Bar:
    shown = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.done, self.started = 0, time.perf_counter()
        self._progress: Any = None
        self._task: Any = None

    def advance(self, tensor: LazyTensor, total: int) -> None:
        """Count one tensor of *total* bytes in all; the bar appears once the run has taken a while."""
        self.done += tensor.nbytes
        if self._progress is None:
            if time.perf_counter() - self.started < _PATIENCE or self.done >= total:
                return
            self._start(total)
        self._progress.update(self._task, completed=self.done, refresh=True)

    def _start(self, total: int) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        text = TextColumn("{task.description}")
        columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        # Drawn only when a tensor is done, never by a thread of its own, so that `clear_line` and paths cannot meet it.
        self._progress = Progress(
            *columns,
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress.start()
        _Bar.shown = True
        self._task = self._progress.add_task(escape(visible(os.path.basename(self.name), 30)), total=total)

    def stop(self) -> None:
        """Take the bar away; what follows is written as if it had not been there."""
        if self._progress is not None:
            self._progress.stop()
            _Bar.shown = False
