"""Renderers: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.testing.broken.registry import breaks

from torch2grid_core import Page, Renderer
from torch2grid_core.text import visible


class GoodRenderer(Renderer):
    """tables as text"""

    name = "toy"
    formats = ("toy", "html")
    combines = ("toy",)

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(f"{visible(page.title)}\n".replace("<", "&lt;").encode())
        for panel in page.panels:
            target.write(self.lines(panel.as_table()).replace("<", "&lt;").encode())

    def lines(self, table: Any) -> str:
        return "".join("\t".join(visible(text) for text in row) + "\n" for row in [table.columns, *table.texts()])

    def render_all(self, pages: Iterable[Page], target: Any, style: Any, format: str) -> None:
        for page in pages:
            self.render(page, target, style, format)


@breaks("renderer", "formats_are_named")
class OneFormatAsText(GoodRenderer):
    """an ending with its dot"""

    formats = (".toy",)
    combines = ()


@breaks("renderer", "every_panel_is_shown")
class KnowsHeatmaps(GoodRenderer):
    """expects a grid"""

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(b"".join(panel.grid.values.tobytes() for panel in page.panels))


@breaks("renderer", "odd_pages_are_shown")
class FirstPanel(GoodRenderer):
    """needs a panel"""

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(page.panels[0].title.encode() + b"\n")


@breaks("renderer", "hostile_text_is_harmless")
class TrustsTitles(GoodRenderer):
    """writes titles as they are"""

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(f"<h1>{page.title}</h1>".encode())


@breaks("renderer", "deterministic")
class Dated(GoodRenderer):
    """writes the time"""

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(f"{time.perf_counter_ns()}".encode())


@breaks("renderer", "combined_pages")
class CannotCombine(GoodRenderer):
    """says that it combines, and does not"""

    render_all = Renderer.render_all


@breaks("renderer", "pickling")
class HoldsAModule(GoodRenderer):
    """cannot travel"""

    def __init__(self) -> None:
        self.numpy = np


class GoodFolder(GoodRenderer):
    """a folder of files"""

    formats = ("toys",)
    combines = ()
    folders = ("toys",)

    def render_folder(self, pages: Iterable[Page], folder: Path, style: Any, format: str) -> None:
        for number, page in enumerate(pages):
            of = page.origin.model if page.origin else ""
            (folder / f"{number}.txt").write_text(f"{visible(page.title)} {visible(of)}", encoding="utf-8")


@breaks("renderer", "folders_are_written")
class NeedsAStep(GoodFolder):
    """trusts that every page has an origin"""

    def render_folder(self, pages: Iterable[Page], folder: Path, style: Any, format: str) -> None:
        for page in pages:
            if page.origin is None:
                raise ValueError("a page without an origin")
            (folder / f"{page.origin.step}.txt").write_text("")


@breaks("renderer", "folders_are_harmless")
class NamedAfterPages(GoodFolder):
    """puts names of the checkpoint into names of files"""

    def render_folder(self, pages: Iterable[Page], folder: Path, style: Any, format: str) -> None:
        for page in pages:
            (folder / f"{page.name.replace('/', '')}.txt").write_text("")
