"""How values show themselves in a notebook. What draws them registers its functions here, by type: data knows no pictures."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torch2grid_core._errors import UsageError

_FUNCTIONS: dict[tuple[str, type], Callable[[Any], Any]] = {}
_WAITING: list[str] = []  # modules that register functions when they are imported


def registered_by(module: str) -> None:
    """Import *module*, which calls ``register``, when something is shown for the first time, and not before."""
    _WAITING.append(module)


def register(cls: type, html: Callable[[Any], str], png: Callable[[Any], bytes | None] | None = None) -> None:
    """Show values of *cls* and of its subclasses by these functions."""
    _FUNCTIONS["html", cls] = html
    if png is not None:
        _FUNCTIONS["png", cls] = png


_PLOT: list[Callable[[Any, Any, str | None], Any]] = []


def plotted_by(function: Callable[[Any, Any, str | None], Any]) -> None:
    """Register *function*, which draws pages and grids.

    It is called with the value, axes or ``None``, and the name of a colour map or ``None``. It returns the axes.
    """
    _PLOT[:] = [function]


def drawn_into(value: Any, ax: Any, colormap: str | None) -> Any:
    """The axes into which *value* was drawn. Raises ``UsageError`` where nothing draws."""
    if not _PLOT:
        raise UsageError("no imported package draws into axes; import torch2grid")
    return _PLOT[0](value, ax, colormap)


_SAVE: list[Callable[[Any, Any, str], Any]] = []


def saved_by(function: Callable[[Any, Any, str], Any]) -> None:
    """Register *function*, which saves pages.

    It is called with page, path and formats, and returns the paths that were written.
    """
    _SAVE[:] = [function]


def saved_as(value: Any, path: Any, format: str) -> Any:
    """The files that *value* was written to. Raises ``UsageError`` where nothing writes."""
    if not _SAVE:
        raise UsageError("no imported package writes files; import torch2grid")
    return _SAVE[0](value, path, format)


def shown(value: Any, form: str) -> Any:
    """*value* as ``html`` or ``png``; ``None``, which leaves its ``repr``, where nothing is registered for its type."""
    while _WAITING:
        importlib.import_module(_WAITING.pop())
    found = (_FUNCTIONS.get((form, cls)) for cls in type(value).__mro__)
    function = next(filter(None, found), None)
    return None if function is None else function(value)


def as_html(self: Any) -> str | None:
    """What a class that a notebook shows has as ``_repr_html_``."""
    text: str | None = shown(self, "html")
    return text


def as_png(self: Any) -> bytes | None:
    """What one that is a picture too has as ``_repr_png_``."""
    png: bytes | None = shown(self, "png")
    return png
