"""The menu, from Python."""

from torch2grid._compat import interactive_mode

__all__ = ["interactive_mode"]
