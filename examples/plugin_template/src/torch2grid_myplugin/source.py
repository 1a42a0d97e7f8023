"""A source: locations of a scheme of their own, for every loader and command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch2grid_core import LoadError, SourceOpener
from torch2grid_core.sources import Joined, LocalSource, Range, SourceBase


class Pieces(SourceBase):
    """The pieces of a file as one, read at any offset; pickled, it is no more than its address."""

    def __init__(self, shown: str, name: str, pieces: Sequence[LocalSource]) -> None:
        self.shown, self.name = shown, name
        self.joined = Joined([Range(piece) for piece in pieces])
        self.size = self.joined.size
        self.identity = tuple(piece.identity for piece in pieces)

    def read(self, offset: int, length: int) -> bytes:
        self.inside(offset, length)  # LoadError where that is not there
        buffer = bytearray(length)
        self.joined.read_into(offset, memoryview(buffer))
        return bytes(buffer)


class PiecesOpener(SourceOpener):
    """pieces://PATH: the files PATH.00, PATH.01 … as one"""

    name = "pieces"
    schemes = ("pieces",)

    def open(self, location: str) -> Pieces:
        path = Path(location.removeprefix("pieces://"))
        found = sorted(path.parent.glob(f"{path.name}.[0-9][0-9]"))
        if not found:
            raise LoadError(location, f"there is no {path.name}.00", "check the path")
        return Pieces(location, path.name, [LocalSource(each) for each in found])
