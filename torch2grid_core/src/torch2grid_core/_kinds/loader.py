"""From a file or folder to a ``Checkpoint``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from torch2grid_core._data.action import Action
from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.source import Source


class Loader(ABC):
    """Opens one family of checkpoint files, or of live objects.

    ``sniff`` looks at content (``source.head``, ``source.read``, ``source.entries``), never at the name alone, and must not
    raise for a file of another format. ``load`` reads headers only and returns lazy tensors; it raises ``LoadError``.

    accepts: ``"bytes"``: it is shown files and folders; ``"objects"``: what Python callers hold, as ``source.object``.
    """

    name: ClassVar[str]
    accepts: ClassVar[Literal["bytes", "objects"]] = "bytes"

    @abstractmethod
    def sniff(self, source: Source) -> int:
        """0: not this format; 1: the right container (any zip, say); 2: exactly this format."""

    @abstractmethod
    def load(self, source: Source) -> Checkpoint:
        """The checkpoint, with nothing read but what describes it."""

    def runs(self, source: Source) -> Sequence[Action]:
        """What a reader of this format would do with *source*, which another loader opens: none but for formats that are code.

        Every loader is asked, whichever opens the file: one may be of two formats. It must not raise, and end at the first
        bytes of a file that is none of its own.
        """
        return ()
