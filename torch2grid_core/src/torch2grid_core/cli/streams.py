"""Standard streams that may be closed, full or gone: a drawing goes on when nobody reads what it says."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

from torch2grid_core.errors import Torch2GridError


class _Guarded:
    """A text stream that falls silent once its reader is gone (``| head -1``). Any other failure is one clear line."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name = stream, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)

    def write(self, text: str) -> int:
        return self._try(self._stream.write, text) or len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except OSError as error:
            # what is buffered can never be written: let it go, or Python tries again at exit and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            if error.errno != errno.EPIPE:
                raise Torch2GridError(f"{self._name} cannot be written: {error.strerror}") from error
            return None


def guard_streams() -> None:
    """Make the three standard streams usable: closed ones read and write nothing, a reader that leaves is no error."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the caller closed it; it stays open for the life of the process
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, mode), encoding="utf-8"))
    if not isinstance(sys.stdout, _Guarded):
        sys.stdout = _Guarded(sys.stdout, "stdout")
