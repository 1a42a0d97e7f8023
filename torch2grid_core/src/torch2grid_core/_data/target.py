"""Folders that a plugin writes to, such as ``s3://bucket/folder``."""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path
from typing import Protocol


class Target(Protocol):
    """A folder of files by their names below it, ``a/b.png``. It pickles without credentials.

    What fails is a ``Torch2GridError``.
    """

    @property
    def shown(self) -> str:
        """Its location for messages, without anything that may be a secret."""

    def put(self, name: str, content: bytes | Path) -> None:
        """Store *content*, or that of a file, as *name*: all of it, or nothing."""

    def get(self, name: str, most: int) -> bytes | None:
        """Return what is stored as *name*; ``None`` if nothing is. Raises ``Torch2GridError`` for more than *most* bytes."""

    def names(self) -> Set[str]:
        """Return the names of all that is stored below it."""

    def move(self, name: str, to: str) -> None:
        """Rename what is stored as *name* to *to*, without it passing through this process."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove what is stored under these names."""
