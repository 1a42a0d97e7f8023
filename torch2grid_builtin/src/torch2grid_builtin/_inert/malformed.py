"""What is wrong with the bytes of a checkpoint."""

from __future__ import annotations


class Malformed(Exception):
    """The bytes are not what the format says; the loader adds the file's name. *advice* is for the user."""

    def __init__(self, reason: str, advice: str = "the file is damaged or was not made by PyTorch") -> None:
        super().__init__(reason)
        self.reason, self.advice = reason, advice


class Broken(Malformed):
    """No unpickler goes on here. Any other ``Malformed`` is a reason of ours: CPython may read on, and run what follows."""


class CutShort(Broken):
    """The bytes end before the pickle does."""


class LongLine(Malformed):
    """A line is longer than a pickle has there."""

    def __init__(self, most: int) -> None:
        super().__init__(f"a line of the pickle is longer than {most:,} bytes", "it is not a checkpoint, damaged or hostile")
