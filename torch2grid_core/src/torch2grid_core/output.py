"""Where pages become files: safe and unique names, whole files or none, and an index of what they show."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from torch2grid_core.engine.tasks import Drawn
from torch2grid_core.errors import PluginError, Torch2GridError, UsageError
from torch2grid_core.kinds.renderer import Renderer, Style
from torch2grid_core.kinds.view import View
from torch2grid_core.options import split_spec
from torch2grid_core.pictures.page import Heatmap, Page
from torch2grid_core.pictures.tables import table_lines
from torch2grid_core.plugins.guard import call, origin_of
from torch2grid_core.plugins.manager import PluginManager
from torch2grid_core.run import Run
from torch2grid_core.spool import Spool
from torch2grid_core.text import safe_filename, visible

INDEX = "index.json"
STDOUT = "-"
# A folder may have a dot in its name; these are files that nobody means as one.
_PICTURE_ENDINGS = {"jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp", "eps", "ps", "png", "svg", "pdf", "xlsx", "txt", "md"}
_INDEX_FORMAT = "torch2grid index 1"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at *path* when the block ends well, and leaves nothing behind when it does not.

    Raises ``Torch2GridError`` naming *path* where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


@contextlib.contextmanager
def _target(path: Path) -> Iterator[BinaryIO]:
    """Where a page's bytes go: a whole file, or stdout."""
    if str(path) != STDOUT:
        with whole_file(path) as stream:
            yield stream
        return
    sys.stdout.flush()
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> Torch2GridError:
    return Torch2GridError(f"{path}: cannot be written: {error.strerror or error}; choose another place with --output")


class Namer:
    """Relative paths for pages: safe on every file system, and unique where upper and lower case are the same."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()

    def stem(self, page: Page) -> str:
        """``folder/name`` without ending; the same page name gives the same stem, two names never do."""
        key = (page.folder, page.name)
        if key not in self._given:
            folder = "/".join(safe_filename(part) for part in page.folder.split("/") if part)
            base = safe_filename(page.name)
            stem, number = base, 2
            while f"{folder}/{stem}".casefold() in self._taken:
                stem, number = f"{base}_{number}", number + 1
            self._taken.add(f"{folder}/{stem}".casefold())
            self._given[key] = f"{folder}/{stem}" if folder else stem
        return self._given[key]


@dataclass(frozen=True)
class Preparer:
    """Renders a page where it was drawn, perhaps in another process: all that this takes is pickled with it.

    formats: asked for by the user; single: one file is written, in the one format. renderers: by format; a format that is
    not among them is left to the parent. whole: pages travel back with their panels, because somebody looks at them.
    combine: one file takes all pages, at the end; nothing is rendered before.
    """

    formats: tuple[str, ...]
    single: bool
    renderers: Mapping[str, Renderer]
    style: Style
    whole: bool = False
    combine: bool = False

    def __call__(self, page: Page, view: View) -> Drawn:
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
        return Drawn(page if keep else replace(page, panels=()), view, rendered, _entry(page), failures)

    def wanted(self, page: Page, view: View) -> tuple[str, ...]:
        """The formats that *page* is written in."""
        if self.combine:
            return self.formats if not page.formats or self.formats[0] in page.formats else ()
        if page.formats:
            return page.formats
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


class Output:
    """Takes pages from the engine and writes them. Used as a context: what is not finished is not there.

    target: a folder, or a file whose ending is a known format, which then takes exactly one page, or all of them where the
    format's renderer combines; ``-`` is stdout, which takes one format in the same way (text, where none is asked for).
    formats: asked for by the user, else each view's own. say: receives the path of each file, and the text of tables;
    stderr does where stdout takes another format. shown: looks at each page.
    """

    def __init__(
        self,
        manager: PluginManager,
        target: str | os.PathLike[str],
        run: Run,
        *,
        formats: Iterable[str] = (),
        renderer: str = "",
        say: Callable[[str], None] = print,
        shown: Callable[[Page], None] | None = None,
    ) -> None:
        self.manager, self.run, self.say, self.shown = manager, run, say, shown
        self._forced = renderer
        self._namer = Namer()
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._single: tuple[Page, bytes] | None = None
        self.written: list[Path] = []
        self._failed: dict[str, PluginError] = {}  # format → the first failure of its renderer
        path = Path(target)
        wanted = tuple(dict.fromkeys(formats))
        ending = path.suffix.lstrip(".").lower()
        if str(target) == STDOUT:
            wanted = wanted or ("text",)
            if len(wanted) > 1:
                raise UsageError(f"--output - takes one format, --format asks for {', '.join(wanted)}")
            on_screen = wanted[0] == "text" or wanted[0] in self._renderer(wanted[0]).screen
            ending = "" if on_screen else wanted[0]
            self.say = _to_stderr if ending else say
        if not str(target):
            raise UsageError("--output is empty; give a folder or a file")
        if ending in _PICTURE_ENDINGS and ending not in manager.formats() and not path.is_dir():
            raise UsageError(f"--output {path}: no renderer writes {ending}; formats: {', '.join(manager.formats())}")
        self.file = path if ending and ending in manager.formats() and not path.is_dir() else None
        self.folder = path.parent if self.file else path
        if self.file:
            if wanted not in ((), (ending,)):
                raise UsageError(f"--output {path} is one {ending} file, --format asks for {', '.join(wanted)}")
            wanted = (ending,)
        renderers = {name: self._renderer(name) for name in wanted if name != "text"}  # an unknown one ends the run here
        combine = self.file is not None and ending in renderers[ending].combines
        style = Style(colormap=run.colormap)
        self.prepare = Preparer(wanted, self.file is not None, renderers, style, manager.listens(), combine)
        self._all = Spool()  # the pages that wait for the one file

    def for_views(self, views: Iterable[View]) -> Output:
        """The same output, its renderers ready for what *views* draw by default: pages can then be rendered in workers."""
        names = {view.default_format for view in views if not self.prepare.formats} - {"text", *self.prepare.renderers}
        self._add(names)
        return self

    def _add(self, names: Iterable[str]) -> None:
        added = {name: self._renderer(name) for name in names}
        if added:
            self.prepare = replace(self.prepare, renderers={**self.prepare.renderers, **added})

    def _renderer(self, name: str) -> Renderer:
        found = self.manager.renderer_for(name, self._forced)
        forced, options = split_spec(self._forced) if self._forced else ("", {})
        renderer: Renderer = found.create(options if forced in (found.name, found.qualified) else None)
        return renderer

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._entries:
            with contextlib.suppress(Torch2GridError):
                self._write_index()

    def close(self) -> None:
        """Write what waits for the end: the one file, and the index.

        Raises the ``PluginError`` of a renderer that failed while the other formats were written.
        """
        if self.file and self._single:
            page, data = self._single
            self._single = None
            self._place(page, self.file, data)
        if self.file and len(self._all):
            self._write_all(self.file, self.prepare.formats[0])
        if self._entries:
            self._write_index()
        for error in self._failed.values():
            raise error
        if self.file and str(self.file) != STDOUT and not self.written:
            wanted = self.prepare.formats[0]
            raise UsageError(f"--output {self.file}: nothing was drawn as {wanted}; a table goes to a file of data")

    def _write_all(self, path: Path, name: str) -> None:
        """All pages that were taken, as one file; a single one as it would be alone."""
        renderer = self.prepare.renderers[name]
        pages = iter(self._all)
        first = next(pages)
        with self._all, _target(path) as stream:
            if len(self._all) == 1:
                stream.write(self.prepare.render(first, name))
            else:
                call(renderer, renderer.render_all, self._all, stream, self.prepare.style, name)
        self._report(first, path)

    def add(self, page: Page, view: View) -> None:
        """Render and write a page that did not come from the engine."""
        self.take(self.prepare(page, view))

    def take(self, drawn: Drawn) -> None:
        """Write a page in each wanted format. The engine's sink."""
        page = drawn.page
        if self.shown is not None:
            self.shown(page)
        for name in self.prepare.wanted(page, drawn.view):
            if name == "text":
                self.say("\n".join(text_lines(page)))
                continue
            if self.prepare.combine:
                self._all.add(page)
                continue
            if name in drawn.failures:
                self._failed.setdefault(name, drawn.failures[name])
                continue
            if name not in drawn.rendered:
                self._add([name])
            data = drawn.rendered[name] if name in drawn.rendered else self.prepare.render(page, name)
            if self.prepare.on_screen(name) and not self.file:
                self.say(data.decode("utf-8", "replace").rstrip("\n") + "\n")
            elif self.file:
                if self._single is not None:
                    raise UsageError(f"--output {self.file} takes one picture and this run draws more; give a folder")
                self._single = (page, data)
            else:
                path = self.folder / f"{self._namer.stem(page)}.{name}"
                self._place(page, path, data)
                self._entries[path.relative_to(self.folder).as_posix()] = drawn.entry or _entry(page)

    def _place(self, page: Page, path: Path, data: bytes) -> None:
        with _target(path) as stream:
            stream.write(data)
        self._report(page, path)

    def _report(self, page: Page, path: Path) -> None:
        if str(path) == STDOUT:
            return
        self.written.append(path)
        self.say(str(path))
        self.manager.written(page, path, self.run)

    def _write_index(self) -> None:
        """Merge this run's entries into the folder's index; entries of files that are gone are dropped."""
        path = self.folder / INDEX
        entries = {name: entry for name, entry in _read_index(path).items() if (self.folder / name).is_file()}
        entries.update(self._entries)
        document = {"format": _INDEX_FORMAT, "files": dict(sorted(entries.items()))}
        with whole_file(path) as stream:
            stream.write(json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")


def _read_index(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    files = document.get("files") if isinstance(document, dict) else None
    return files if isinstance(files, dict) else {}


def _entry(page: Page) -> dict[str, Any]:
    """What the index says of a page: its tensor, and for each heatmap the reduction, the scale and the largest weight."""
    heatmaps = []
    for panel in page.panels:
        if isinstance(panel, Heatmap):
            grid, scale = panel.grid, panel.scale
            entry: dict[str, Any] = {
                "cells": list(grid.shape),
                "cell": list(grid.cell),
                "reduce": grid.reduce,
                "quantity": grid.quantity,
                "weights": grid.weights,
                "limits": [scale.low, scale.high],
                "scale": scale.kind,
                "over": scale.over,
                "under": scale.under,
            }
            if grid.largest is not None:
                name, index, value = grid.largest
                entry["largest"] = {"tensor": name, "index": index, "value": value, "cell": grid.largest_cell}
            heatmaps.append(entry)
    return {"title": page.title, **({"about": dict(page.about)} if page.about else {}), "heatmaps": heatmaps}


def text_lines(page: Page) -> list[str]:
    """A page as plain text: its title and every panel as a table."""
    lines = [visible(page.title)] if page.title else []
    for panel in page.panels:
        lines += table_lines(panel.as_table())
    return lines
