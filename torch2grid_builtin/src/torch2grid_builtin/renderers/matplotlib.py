"""Figures by matplotlib: png, and svg and pdf in which everything but the cells is vector and text is text."""

from __future__ import annotations

from typing import Any, BinaryIO, ClassVar

from torch2grid_core import Page, Renderer, Style


class Matplotlib(Renderer):
    """Png, svg and pdf figures."""

    name: ClassVar[str] = "matplotlib"
    formats: ClassVar[tuple[str, ...]] = ("png", "svg", "pdf")

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write *page* to *target*. Raises ``ValueError`` for another format, ``UsageError`` for an unknown colour map."""
        from torch2grid_builtin.renderers.mpl_page import draw_page

        draw_page(page, style).save(target, format, _title(page))


def _title(page: Any) -> str:
    from torch2grid_core import visible

    return visible(page.title or page.name)
