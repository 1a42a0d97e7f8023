"""Regular files, and nothing else: whatever a path has become since it was looked at, opening it does not wait."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY"))


def open_regular(path: str | Path) -> int:
    """A descriptor of the file at *path*. Raises ``OSError`` where there is none, and at once for a pipe or a device."""
    descriptor = os.open(path, _FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file")
    return descriptor


def read_regular(path: str | Path, most: int) -> bytes:
    """The content of the file at *path*. Raises ``OSError`` as ``open_regular`` does, and for one of more than *most* bytes."""
    with os.fdopen(open_regular(path), "rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"is larger than {most >> 20} MiB")
    return content
