"""What workers render, put where the output goes by themselves: the pages of a terabyte do not pass through one process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch2grid_core._data.target import Target
from torch2grid_core._output.files import unwritable, whole_folder


@dataclass(frozen=True)
class Shelf:
    """A folder inside the output folder, with a name that nobody else knows. A worker that finds it shares the folder."""

    folder: Path

    def put(self, data: bytes) -> str:
        """Put *data* on the shelf; its name there, none where this process does not reach it, or cannot write there."""
        name = os.urandom(12).hex()
        try:
            with (self.folder / name).open("xb") as stream:
                stream.write(data)
        except OSError:
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
            return ""
        return name

    def take(self, name: str, path: Path) -> None:
        """Put what is called *name* at *path*, whole. Raises ``Torch2GridError`` where it cannot be there."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).replace(path)
        except OSError as error:
            raise unwritable(path, error) from error


@dataclass(frozen=True)
class TargetShelf:
    """The same in a target; a worker without credentials for it does not reach it."""

    target: Target
    folder: str

    def put(self, data: bytes) -> str:
        """Put *data* on the shelf; its name there, none where this process cannot write there."""
        name = os.urandom(12).hex()
        try:
            self.target.put(f"{self.folder}/{name}", data)
        except Exception:  # the driver tells of it, which writes it then
            return ""
        return name

    def move(self, name: str, to: str) -> None:
        """Let what is called *name* be *to* of the target. Raises ``Torch2GridError``."""
        self.target.move(f"{self.folder}/{name}", to)


@contextlib.contextmanager
def shelf_of(target: Target) -> Iterator[TargetShelf]:
    """A shelf in *target*, which goes at the end with all that nobody took."""
    folder = f".torch2grid.{os.urandom(6).hex()}.part"
    try:
        yield TargetShelf(target, folder)
    finally:
        with contextlib.suppress(Exception):  # what went wrong was told
            target.remove([name for name in target.names() if name.startswith(f"{folder}/")])


@contextlib.contextmanager
def shelf(folder: Path) -> Iterator[Shelf]:
    """A shelf in *folder*, which goes at the end with all that nobody took. Raises ``Torch2GridError`` where there is none."""
    with whole_folder(folder) as made:
        yield Shelf(made.absolute())
