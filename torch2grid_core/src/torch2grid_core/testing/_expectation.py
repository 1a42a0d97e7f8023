"""What a check expects."""

from __future__ import annotations


class NotConforming(AssertionError):
    """A plugin does not keep what its kind promises."""


def expect(condition: object, message: str) -> None:
    """Raise ``NotConforming`` unless *condition*; unlike ``assert``, under ``-O`` too."""
    if not condition:
        raise NotConforming(message)
