"""A renderer: pages as bytes of a format."""

from __future__ import annotations

from typing import BinaryIO

from torch2grid_core import Page, Renderer, Style
from torch2grid_core.text import visible


class Tsv(Renderer):
    """tables with tabs between the columns"""

    name = "tsv"
    formats = ("tsv",)

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        target.write(f"# {visible(page.title)}\n".encode())  # names come from files: visible() makes them harmless
        for panel in page.panels:
            table = panel.as_table()  # every panel has one
            target.writelines(("\t".join(map(visible, row)) + "\n").encode() for row in (table.columns, *table.texts()))
