"""What is wrong with the bytes of a checkpoint."""

from __future__ import annotations


class Malformed(Exception):
    """The bytes are not what the format says; the loader adds the file's name. *advice* is for the user."""

    def __init__(self, reason: str, advice: str = "the file is damaged or was not made by PyTorch") -> None:
        super().__init__(reason)
        self.reason, self.advice = reason, advice


class CutShort(Malformed):
    """The bytes end before the pickle does."""
