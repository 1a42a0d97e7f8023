"""What workers render, put where the output goes by themselves: the pages of a terabyte do not pass through one process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch2grid_core._output.files import unwritable, whole_folder


@dataclass(frozen=True)
class Shelved:
    """A file on a shelf, by its name there."""

    name: str


@dataclass(frozen=True)
class Shelf:
    """A folder inside the output folder, with a name that nobody else knows. A worker that finds it shares the folder."""

    folder: Path

    def put(self, data: bytes) -> bytes | Shelved:
        """*data* as a file on the shelf; as it is where this process does not reach the folder, or cannot write there."""
        name = os.urandom(12).hex()
        try:
            with (self.folder / name).open("xb") as stream:
                stream.write(data)
        except OSError:
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
            return data
        return Shelved(name)

    def take(self, shelved: Shelved, path: Path) -> None:
        """Put the file at *path*, whole. Raises ``Torch2GridError`` where it cannot be there."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            (self.folder / shelved.name).replace(path)
        except OSError as error:
            raise unwritable(path, error) from error


@contextlib.contextmanager
def shelf(folder: Path) -> Iterator[Shelf]:
    """A shelf in *folder*, which goes at the end with all that nobody took. Raises ``Torch2GridError`` where there is none."""
    with whole_folder(folder) as made:
        yield Shelf(made.absolute())
