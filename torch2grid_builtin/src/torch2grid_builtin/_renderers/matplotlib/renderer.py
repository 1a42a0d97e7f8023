"""Figures by matplotlib: png, and svg and pdf in which everything but the cells is vector and text is text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO, ClassVar

from torch2grid_core import Page, Renderer, Style
from torch2grid_core.text import visible


class Matplotlib(Renderer):
    """Png, svg and pdf figures."""

    name: ClassVar[str] = "matplotlib"
    formats: ClassVar[tuple[str, ...]] = ("png", "svg", "pdf")
    combines: ClassVar[tuple[str, ...]] = ("pdf",)
    tables: ClassVar[tuple[str, ...]] = ()  # pictures of tables help nobody while the screen shows them as text

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write *page* to *target*. Raises ``ValueError`` for another format, ``UsageError`` for an unknown colour map."""
        from torch2grid_builtin._renderers.matplotlib.page import draw_page

        draw_page(page, style).save(target, format, _title(page))

    def warm_up(self) -> None:
        """Import matplotlib."""
        from torch2grid_builtin._renderers.matplotlib import page  # noqa: F401

    def render_all(self, pages: Iterable[Page], target: BinaryIO, style: Style, format: str) -> None:
        """Write all *pages* as one pdf, overviews first. Raises ``UsageError`` for an unknown colour map."""
        from torch2grid_builtin._renderers.matplotlib.canvas import save_book
        from torch2grid_builtin._renderers.matplotlib.page import draw_page

        title = next((_title(page) for page in pages if not page.folder), "torch2grid")
        ordered = (page for folder in (False, True) for page in pages if bool(page.folder) is folder)
        save_book((draw_page(page, style) for page in ordered), target, title)


def _title(page: Page) -> str:
    return visible(page.title or page.name)
