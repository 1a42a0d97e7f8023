"""Pages that wait on disk until all of them can be written together: three hundred of them do not fit in memory."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from typing import Any

from torch2grid_core._errors import Torch2GridError
from torch2grid_core._pictures.page import Page


class Spool:
    """Pages in the order they came, in a temporary file of our own. Iterates as often as asked; a context closes it."""

    def __init__(self) -> None:
        self._file: Any = None
        self._places: list[int] = []

    def __len__(self) -> int:
        return len(self._places)

    def add(self, page: Page) -> None:
        """Put *page* at the end.

        Raises what ``pickle`` does for a page that holds what cannot be stored, ``Torch2GridError`` where the disk is full.
        """
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="torch2grid-")  # noqa: SIM115 - closed by __exit__
            self._places.append(self._file.seek(0, 2))
            pickle.dump(page, self._file, protocol=pickle.HIGHEST_PROTOCOL)
        except OSError as error:
            reason = f"pages cannot be kept in a temporary file: {error.strerror}"
            raise Torch2GridError(f"{reason}; point TMPDIR to a disk with room") from error

    def __iter__(self) -> Iterator[Page]:
        for place in list(self._places):
            self._file.seek(place)
            yield pickle.load(self._file)  # what ``add`` wrote, in a file that has no name

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._places = None, []

    def __del__(self) -> None:
        self.__exit__()  # a run that failed leaves no open file
