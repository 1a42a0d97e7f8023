"""How long a test is traced: tracing takes half of the time again, and most of what a test runs, others have run."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

SLICE = 0.1  # seconds of the processor's time
BARREN = 10  # sets of parameters, one after the other, with which a test runs nothing new before it is traced no more
TRACING = "COVERAGE_PROCESS_CONFIG"  # in the environment of a Python that coverage is to start in


class Watch:
    """Looks at what coverage has collected, once in a ``SLICE``; calls *stop* where traced code runs and none of it was new."""

    def __init__(self, tracer: Any, stop: Callable[[], None]) -> None:
        self.executed: dict[str, set[Any]] = tracer._collector.data
        self.stop = stop
        self.known = self.before = self._count()
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, SLICE, SLICE)

    def end(self) -> int:
        """Look no more; how much was new."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        return self._count() - self.before

    def _count(self) -> int:
        return sum(map(len, self.executed.copy().values()))

    def _look(self, _: int, frame: FrameType | None) -> None:
        before, self.known = self.known, self._count()
        while frame is not None and frame.f_code.co_filename not in self.executed:
            frame = frame.f_back
        if frame is not None and self.known == before:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.stop()
