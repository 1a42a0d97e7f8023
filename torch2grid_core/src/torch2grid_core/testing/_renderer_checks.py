"""What a renderer promises: every page, in each of its formats, as bytes."""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

from torch2grid_core._kinds.view import Style
from torch2grid_core._pictures.page import Page
from torch2grid_core.testing._samples import as_texts, sample_pages
from torch2grid_core.testing._subject import Subject, check, expect

_MARKUP = ("html", "svg", "xml")


def _rendered(renderer: Any, page: Page, format: str) -> bytes:
    target = io.BytesIO()
    renderer.render(page, target, Style(), format)
    expect(not target.closed, f"{format}: render closed its target, which is the caller's")
    return target.getvalue()


@check("renderer")
def formats_are_named(subject: Subject) -> None:
    """formats is a tuple of lower-case file endings, and combines names some of them."""
    made = subject.make()
    expect(isinstance(made.formats, tuple) and made.formats, f"formats is {made.formats!r}, not a tuple of endings")
    for each in (*made.formats, *made.combines):
        expect(isinstance(each, str) and re.fullmatch(r"[a-z0-9_-]+", each), f"{each!r} is not a lower-case file ending")
    expect(set(made.combines) <= set(made.formats), f"combines {made.combines} beside formats {made.formats}")


@check("renderer")
def every_panel_is_shown(subject: Subject) -> None:
    """A page with every kind of panel is written in each format; so is a panel of an unknown kind, through its table."""
    renderer, pages = subject.make(), sample_pages()
    for each in renderer.formats:
        for about in ("panels", "unknown"):
            expect(_rendered(renderer, pages[about], each), f"{each}: nothing was written for the page of {about}")


@check("renderer")
def odd_pages_are_shown(subject: Subject) -> None:
    """A page of a line of text, and one of NaN, infinities and empty cells are written; one without panels is no error."""
    renderer, pages = subject.make(), sample_pages()
    for each in renderer.formats:
        for about in ("bare", "plain", "not_finite"):
            data = _rendered(renderer, pages[about], each)
            expect(data or about == "bare", f"{each}: nothing was written for the page of {about}")


@check("renderer")
def hostile_text_is_harmless(subject: Subject) -> None:
    """Titles and names come from files: no control sequence and no markup of theirs gets through."""
    renderer = subject.make()
    for each in renderer.formats:
        data = _rendered(renderer, sample_pages()["names"], each)
        expect(b"\x1b]0;" not in data, f"{each}: an escape sequence of a name is in the output")
        if each in _MARKUP:
            expect(b"<script>alert(1)" not in data, f"{each}: markup of a name is in the output as markup")


@check("renderer")
def deterministic(subject: Subject) -> None:
    """The same page gives the same bytes, from a pickled copy too, and the page stays as it was."""
    renderer, page = subject.make(), sample_pages()["panels"]
    before = as_texts(page)
    for each in renderer.formats:
        first = _rendered(renderer, page, each)
        expect(_rendered(pickle.loads(pickle.dumps(renderer)), page, each) == first, f"{each}: other bytes the second time")
    expect(as_texts(page) == before, "the page was changed by drawing it")


@check("renderer")
def combined_pages(subject: Subject) -> None:
    """Formats that it combines take several pages as one file, which may be iterated more than once."""
    renderer, pages = subject.make(), sample_pages()
    for each in renderer.combines:
        target = io.BytesIO()
        renderer.render_all([pages["plain"], pages["not_finite"]], target, Style(), each)
        expect(not target.closed and target.tell(), f"{each}: render_all wrote nothing")
