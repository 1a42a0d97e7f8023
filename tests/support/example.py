"""A file of ``examples/`` as a module."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from tests.support.tools import PROJECT


def example(name: str) -> ModuleType:
    """``examples/NAME.py``, which other processes find, too."""
    folder = str(PROJECT / "examples")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)
