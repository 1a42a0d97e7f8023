"""What a renderer promises: every page, in each of its formats, as bytes."""

from __future__ import annotations

import io
import pickle
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch2grid_core._kinds.view import Style
from torch2grid_core._output.files import files_below
from torch2grid_core._output.index import NAMES
from torch2grid_core._pictures.page import Page
from torch2grid_core._text import safe_filename, visible
from torch2grid_core.testing._samples import as_texts, sample_pages
from torch2grid_core.testing._subject import Subject, check, expect

_MARKUP = ("html", "svg", "xml")


def _rendered(renderer: Any, page: Page, format: str) -> bytes:
    target = io.BytesIO()
    renderer.render(page, target, Style(), format)
    expect(not target.closed, f"{format}: render closed its target, which is the caller's")
    return target.getvalue()


class _Pages:
    """Pages as a run hands them over: they have a number, and come one after the other, as often as asked."""

    def __init__(self, *pages: Page) -> None:
        self._pages = pages

    def __len__(self) -> int:
        return len(self._pages)

    def __iter__(self) -> Iterator[Page]:
        return iter(self._pages)


def _files(renderer: Any) -> list[str]:
    """The formats of one page a file."""
    return [each for each in renderer.formats if each not in renderer.folders]


@contextmanager
def _folder(renderer: Any, pages: Sequence[Page], format: str) -> Iterator[dict[str, bytes]]:
    """What ``render_folder`` wrote: name → bytes, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder, inside = Path(name), Path(name) / "new"
        inside.mkdir()
        renderer.render_folder(_Pages(*pages), inside, Style(), format)
        beside = [each.name for each in folder.iterdir() if each.name != "new"]
        expect(not beside, f"{format}: render_folder wrote {', '.join(beside)} outside of its folder")
        try:
            found = files_below(inside)
        except ValueError as error:
            expect(False, f"{format}: render_folder: {error}")
        expect(NAMES[0] not in found, f"{format}: render_folder writes {NAMES[0]}, and so does the run")
        yield {each: (inside / each).read_bytes() for each in found}


@check("renderer")
def formats_are_named(subject: Subject) -> None:
    """formats is a tuple of lower-case file endings; combines and folders each name some of them."""
    made = subject.make()
    expect(isinstance(made.formats, tuple) and made.formats, f"formats is {made.formats!r}, not a tuple of endings")
    for each in (*made.formats, *made.combines, *made.folders):
        expect(isinstance(each, str) and re.fullmatch(r"[a-z0-9_-]+", each), f"{each!r} is not a lower-case file ending")
    expect(set(made.combines) <= set(made.formats), f"combines {made.combines} beside formats {made.formats}")
    expect(set(made.folders) <= set(made.formats), f"folders {made.folders} beside formats {made.formats}")
    expect(not set(made.combines) & set(made.folders), f"{made.folders}: a folder takes all pages anyway; it is not combined")


@check("renderer")
def every_panel_is_shown(subject: Subject) -> None:
    """A page with every kind of panel is written in each format; so is a panel of an unknown kind, through its table."""
    renderer, pages = subject.make(), sample_pages()
    for each in _files(renderer):
        for about in ("panels", "unknown"):
            expect(_rendered(renderer, pages[about], each), f"{each}: nothing was written for the page of {about}")


@check("renderer")
def odd_pages_are_shown(subject: Subject) -> None:
    """A page of a line of text, and one of NaN, infinities and empty cells are written; one without panels is no error."""
    renderer, pages = subject.make(), sample_pages()
    for each in _files(renderer):
        for about in ("bare", "plain", "not_finite"):
            data = _rendered(renderer, pages[about], each)
            expect(data or about == "bare", f"{each}: nothing was written for the page of {about}")


@check("renderer")
def hostile_text_is_harmless(subject: Subject) -> None:
    """Titles and names come from files: no control sequence and no markup of theirs gets through."""
    renderer = subject.make()
    for each in _files(renderer):
        data = _rendered(renderer, sample_pages()["names"], each)
        expect(b"\x1b]0;" not in data, f"{each}: an escape sequence of a name is in the output")
        if each in _MARKUP:
            expect(b"<script>alert(1)" not in data, f"{each}: markup of a name is in the output as markup")


@check("renderer")
def deterministic(subject: Subject) -> None:
    """The same page gives the same bytes, from a pickled copy too, and the page stays as it was."""
    renderer, page = subject.make(), sample_pages()["panels"]
    before = as_texts(page)
    for each in _files(renderer):
        first = _rendered(renderer, page, each)
        expect(_rendered(pickle.loads(pickle.dumps(renderer)), page, each) == first, f"{each}: other bytes the second time")
    expect(as_texts(page) == before, "the page was changed by drawing it")


@check("renderer")
def combined_pages(subject: Subject) -> None:
    """Formats that it combines take several pages as one file, which may be iterated more than once."""
    renderer, pages = subject.make(), sample_pages()
    for each in renderer.combines:
        target = io.BytesIO()
        renderer.render_all(_Pages(pages["plain"], pages["not_finite"]), target, Style(), each)
        expect(not target.closed and target.tell(), f"{each}: render_all wrote nothing")


@check("renderer")
def folders_are_written(subject: Subject) -> None:
    """Formats that are folders take one page and several, with every kind of panel, of any checkpoint and of none."""
    renderer, pages = subject.make(), sample_pages()
    for each in renderer.folders:
        for about in (["panels"], ["unknown", "plain"], ["bare", "not_finite", "names"], list(pages)):
            with _folder(renderer, [pages[name] for name in about], each) as files:
                expect(files, f"{each}: render_folder wrote nothing for pages of {', '.join(about)}")
        with _folder(renderer, [pages["panels"].with_origin(None)], each) as files:
            expect(files, f"{each}: render_folder wrote nothing for a page without an origin")


@check("renderer")
def folders_are_harmless(subject: Subject) -> None:
    """No name of a file holds what a name in a checkpoint holds: control characters, or a way out of the folder."""
    renderer, pages = subject.make(), sample_pages()
    for each in renderer.folders:
        with _folder(renderer, [pages["names"]], each) as files:
            for name, data in files.items():
                expect(visible(name, 4096) == name, f"{each}: a file is named {visible(name)}, by a name in the checkpoint")
                expect(
                    all(safe_filename(part.lstrip(".")) == part.lstrip(".") for part in name.split("/")),
                    f"{each}: {name!r} is no name everywhere",
                )
                ending = name.rpartition(".")[2]
                expect(ending not in _MARKUP or b"<script>alert(1)" not in data, f"{each}: {name} holds markup of a name")
