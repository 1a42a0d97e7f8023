"""What a listener promises: it hears of a run, whatever its pages are of, and leaves the files where they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch2grid_core._kinds.running import Listener
from torch2grid_core._pictures.origin import PageOrigin
from torch2grid_core._settings import Settings
from torch2grid_core.testing._samples import SAMPLE_ORIGIN, sample_pages
from torch2grid_core.testing._subject import Subject, check, expect

_BYTES = b"a file of the run\n"


@contextmanager
def _inside() -> Iterator[Path]:
    """A new folder that is the working folder as long as this lasts, so that a relative path of an option is harmless."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def _heard(listener: Listener, folder: Path, origin: PageOrigin, error: BaseException | None = None) -> None:
    """Let *listener* hear of a run, one file a page and then one of all pages. The files must stay as they are."""
    run = Settings(output=str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    listener.started(origin, run)
    pages = list(sample_pages().values())
    together = folder / "all.pdf"
    single = [folder / f"page_{number}.png" for number in range(len(pages))]
    for path in (*single, together):
        path.write_bytes(_BYTES)
    for page, path in [*zip(pages, single, strict=True), *((page, together) for page in pages)]:
        listener.written(page.with_origin(origin), path, origin, run)
        _expect_unchanged(path)
    listener.finished(origin, run, error)
    for path in (*single, together):
        _expect_unchanged(path)


def _expect_unchanged(path: Path) -> None:
    expect(path.is_file() and path.read_bytes() == _BYTES, f"{path.name} is no longer what the run wrote")


@check("listener")
def hears_a_run(subject: Subject) -> None:
    """It takes the start, pages of every kind, a file of several, and the end, of any checkpoint; files stay as they are."""
    for origin in (SAMPLE_ORIGIN, PageOrigin()):
        with _inside() as folder:
            _heard(subject.make(), folder / "out", origin)


@check("listener")
def hears_of_failure(subject: Subject) -> None:
    """It takes a run that wrote nothing, one that failed, and one that was interrupted."""
    for error in (None, ValueError("a failure"), KeyboardInterrupt()):
        with _inside() as folder:
            listener = subject.make()
            listener.started(SAMPLE_ORIGIN, Settings(output=str(folder / "out")))
            listener.finished(SAMPLE_ORIGIN, Settings(output=str(folder / "out")), error)
            _heard(subject.make(), folder / "out", SAMPLE_ORIGIN, error)


@check("listener")
def runs_are_apart(subject: Subject) -> None:
    """Two runs, an instance each, at the same time and into one folder: neither disturbs the other."""
    with _inside() as folder:
        first, second = subject.make(), subject.make()
        run = Settings(output=str(folder / "out"))
        first.started(SAMPLE_ORIGIN, run)
        _heard(second, folder / "out", SAMPLE_ORIGIN)
        page = next(iter(sample_pages().values()))
        path = folder / "out" / "page_0.png"
        first.written(page, path, SAMPLE_ORIGIN, run)
        first.finished(SAMPLE_ORIGIN, run, None)
        _expect_unchanged(path)
