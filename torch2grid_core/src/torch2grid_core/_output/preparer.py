"""A page as the bytes of each wanted format, made where it was drawn."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch2grid_core._errors import PluginError
from torch2grid_core._guard import call, guarded, origin_of
from torch2grid_core._kinds.view import Renderer, Style, View
from torch2grid_core._output.index import entry_of
from torch2grid_core._pictures.page import Page


@dataclass(frozen=True)
class Rendered:
    """What was made of a page before it is written.

    files: format → bytes. entry: what the index of the output folder says of it. failures: formats that could not be rendered.
    """

    files: Mapping[str, bytes]
    entry: Mapping[str, Any]
    failures: Mapping[str, PluginError] = field(default_factory=dict)


@dataclass(frozen=True)
class Preparer:
    """Renders a page where it was drawn, perhaps in another process: all that this takes is pickled with it.

    formats: asked for by the user; single: one target, a file or stdout, takes what is written in the one format.
    renderers: by format; a format that is not among them is left to the parent. whole: pages travel back with their
    panels, because somebody looks at them. combine: one file takes all pages, at the end; nothing is rendered before.
    """

    formats: tuple[str, ...]
    single: bool
    renderers: Mapping[str, Renderer]
    style: Style
    whole: bool = False
    combine: bool = False

    def __call__(self, page: Page, view: View) -> tuple[Page, Rendered]:
        rendered: dict[str, bytes] = {}
        failures: dict[str, PluginError] = {}
        wanted = self.wanted(page, view)
        for name in wanted:
            if self._can(name):
                try:
                    rendered[name] = self.render(page, name)
                except PluginError as error:
                    if len(wanted) == 1:
                        raise
                    failures[name] = error  # the other formats are written all the same
        keep = self.whole or not page.folder or len(rendered) + len(failures) < len(wanted)
        with guarded(origin_of(view), f"page {page.name!r}"):
            entry = entry_of(page)
        return page if keep else replace(page, panels=()), Rendered(rendered, entry, failures)

    def wanted(self, page: Page, view: View) -> tuple[str, ...]:
        """The formats that *page* is written in."""
        if self.combine:
            return self.formats if not page.formats or self.formats[0] in page.formats else ()
        if page.formats:
            return tuple(name for name in page.formats if name in self.formats) if self.single else page.formats
        if self.single and (page.kind != "table" or self.suits_tables(self.formats[0])):
            return self.formats
        if page.kind == "table":  # a table is text on the screen unless a data format is asked for
            return tuple(name for name in self.formats if self.suits_tables(name)) or ("text",)
        return self.formats or (view.default_format,)

    def suits_tables(self, name: str) -> bool:
        """True for a format whose renderer says that tables are at home in it."""
        if name not in self.renderers:
            return False
        tables = self.renderers[name].tables
        return tables is None or name in tables

    def on_screen(self, name: str) -> bool:
        """True for a format that is shown rather than kept."""
        return name == "text" or (name in self.renderers and name in self.renderers[name].screen)

    def _can(self, name: str) -> bool:
        return not self.combine and name in self.renderers

    def render(self, page: Page, name: str) -> bytes:
        """The bytes of *page* in one format."""
        stream = io.BytesIO()
        renderer = self.renderers[name]
        call(renderer, renderer.render, page, stream, self.style, name)
        if stream.closed or (page.panels and not stream.tell()):
            what = "closed its target" if stream.closed else "wrote nothing"
            raise origin_of(renderer).error(f"render: {what} for page {page.name!r} as {name}")
        return stream.getvalue()
