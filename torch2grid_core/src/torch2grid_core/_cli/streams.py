"""Standard streams that may be closed, full or gone: a drawing goes on when nobody reads what it says."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterable
from typing import Any

from torch2grid_core._errors import Torch2GridError


class _Guarded:
    """A stream that falls silent once its reader is gone (``| head -1``), and so do the bytes below it.

    Any other failure is one clear line, or silence too where there is no *name* to say it of.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name = stream, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)

    @property
    def buffer(self) -> _Guarded:
        return _GuardedBytes(self._stream.buffer, self._name)

    def write(self, data: Any) -> int:
        written = self._try(self._stream.write, data)
        return len(data) if written is None else written

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except OSError as error:
            # what is buffered can never be written: let it go, or Python tries again at exit and complains
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if self._name and error.errno != errno.EPIPE:
                raise Torch2GridError(f"{self._name} cannot be written: {error.strerror}") from error
            return None


class _GuardedBytes(_Guarded):
    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")  # a library that writes to the descriptor itself would miss the guard


def guard_streams() -> None:
    """Make the three standard streams usable: closed ones read and write nothing, a reader that leaves is no error.

    stderr is silent where it cannot be written: there is nowhere to say so. What stdout's encoding lacks is an escape, as it
    is on stderr.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the caller closed it; it stays open for the life of the process
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, mode), encoding="utf-8"))
    if not isinstance(sys.stdout, _Guarded):
        if isinstance(sys.stdout, io.TextIOWrapper):
            utf8 = sys.stdout.encoding.lower() == "utf-8"  # with "surrogateescape", names of files pass as they are
            if sys.stdout.errors in (("strict",) if utf8 else ("strict", "surrogateescape")):
                sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout = _Guarded(sys.stdout, "stdout")
    if not isinstance(sys.stderr, _Guarded):
        sys.stderr = _Guarded(sys.stderr, "")
