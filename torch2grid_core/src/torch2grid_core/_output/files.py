"""Whole files or none, and stdout as the one target that is not a file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from torch2grid_core._errors import Torch2GridError

STDOUT = "-"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at *path* when the block ends well, and leaves nothing behind when it does not.

    Raises ``Torch2GridError`` naming *path* where it cannot be written.
    """
    # The name is known before the file is there, so that an interrupt at any moment finds what to remove.
    temporary = path.parent / f".{path.name[:40]}.{os.urandom(6).hex()}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:
            yield stream
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def stay_inside(folder: Path, root: Path) -> None:
    """Raise ``Torch2GridError`` where a link on the way from *root* down to *folder* leads out of *root*."""
    if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root)):
        raise Torch2GridError(f"{folder}: a link in it leads out of {root}; remove it, or choose another place with --output")


@contextlib.contextmanager
def open_target(path: Path) -> Iterator[BinaryIO]:
    """Where a page's bytes go: a whole file, or stdout."""
    if str(path) != STDOUT:
        with whole_file(path) as stream:
            yield stream
        return
    sys.stdout.flush()
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _unwritable(path: Path, error: OSError) -> Torch2GridError:
    return Torch2GridError(f"{path}: cannot be written: {error.strerror or error}; choose another place with --output")
