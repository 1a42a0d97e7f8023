"""From a location that is no path to a ``Source``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch2grid_core._data.source import Source


class SourceOpener(ABC):
    """Opens locations of its *schemes*, lower-case: ``("s3",)`` for ``s3://bucket/key``.

    Credentials come from the environment or from the location, and stand in no message and in no pickled source.
    """

    name: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def open(self, location: str) -> Source:
        """What is at *location*, with nothing read but what says whether it is there. Raises ``LoadError``."""
