"""Series that all diagrams of a page share: one legend names them."""

from __future__ import annotations

from torch2grid_core import Page
from torch2grid_core.pages import Line


def shared_names(page: Page) -> tuple[str, ...]:
    """The names of the series, where all diagrams of *page* have the same several; they are written once then."""
    lines = [tuple(panel.y) for panel in page.panels if isinstance(panel, Line)]
    return lines[0] if len(lines) > 1 and len(lines[0]) > 1 and len(set(lines)) == 1 else ()
