"""Takes pages from the engine, each as the bytes of its formats, and writes them to a folder, a file or stdout."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._engine.measuring import Progress
from torch2grid_core._errors import PluginError, Torch2GridError, UsageError
from torch2grid_core._guard import call, guarded, origin_of
from torch2grid_core._kinds.view import Renderer, Style, View
from torch2grid_core._output.files import (
    STDOUT,
    Joined,
    Namer,
    Spool,
    files_below,
    move_all,
    open_target,
    stay_inside,
    whole_file,
    whole_folder,
)
from torch2grid_core._output.index import LARGEST, NAMES, entry_of, merge_index
from torch2grid_core._output.listening import Listeners
from torch2grid_core._output.shelves import Shelf, TargetShelf, shelf, shelf_of
from torch2grid_core._pictures.origin import PageOrigin
from torch2grid_core._pictures.page import Page, text_lines
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.options import split_spec
from torch2grid_core._settings import Settings
from torch2grid_core._text import counted, did_you_mean, safe_filename, visible, without_secrets


@dataclass(frozen=True)
class Rendered:
    """What was made of a page before it is written.

    Args:
        files: format → bytes.
        entry: what the index of the output folder says of the page.
        failures: formats that could not be rendered.
        shelved: format → the name under which a worker has put the bytes where the output goes.
    """

    files: Mapping[str, bytes]
    entry: Mapping[str, Any]
    failures: Mapping[str, PluginError] = field(default_factory=dict)
    shelved: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Preparer:
    """Renders a page where it was drawn, perhaps in another process: all that this takes is pickled with it.

    formats: asked for by the user; single: one target, a file or stdout, takes what is written in the one format.
    renderers: by format; a format that is not among them is left to the parent. whole: pages travel back with their
    panels, because somebody looks at them. combine: one file takes all pages, at the end; nothing is rendered before.
    tables: the format of tables where none is asked for that suits them. shelf: where files are put that go to the folder.
    """

    formats: tuple[str, ...]
    single: bool
    renderers: Mapping[str, Renderer]
    style: Style
    whole: bool = False
    combine: bool = False
    tables: str = "text"
    shelf: Shelf | TargetShelf | None = None

    def is_folder(self, name: str) -> bool:
        """True for a format that is written as a folder, at the end."""
        return name in self.renderers and name in self.renderers[name].folders

    def __call__(self, page: Page, view: View) -> tuple[Page, Rendered]:
        rendered: dict[str, bytes] = {}
        shelved: dict[str, str] = {}
        failures: dict[str, PluginError] = {}
        wanted = self.wanted(page, view)
        for name in wanted:
            if name in self.renderers and not self.combine and not self.is_folder(name):
                try:
                    data = self.render(page, name)
                    if self.shelf is not None and not self.on_screen(name) and (put := self.shelf.put(data)):
                        shelved[name] = put
                    else:
                        rendered[name] = data
                except PluginError as error:
                    if len(wanted) == 1:
                        raise
                    failures[name] = error  # the other formats are written all the same
        keep = self.whole or not page.folder or len(rendered) + len(shelved) + len(failures) < len(wanted)
        with guarded(origin_of(view), f"page {page.name!r}"):
            entry = entry_of(page)
        return page if keep else replace(page, panels=()), Rendered(rendered, entry, failures, shelved)

    def wanted(self, page: Page, view: View) -> tuple[str, ...]:
        """The formats that *page* is written in."""
        if self.combine:
            return self.formats if not page.formats or self.formats[0] in page.formats else ()
        if page.formats:
            return tuple(name for name in page.formats if name in self.formats) if self.single else page.formats
        if self.single and (page.kind != "table" or self.suits_tables(self.formats[0])):
            return self.formats
        if page.kind == "table":  # a table is text on the screen unless a data format is asked for
            return tuple(name for name in self.formats if self.suits_tables(name)) or (self.tables,)
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

    def render(self, page: Page, name: str) -> bytes:
        """The bytes of *page* in one format."""
        stream = io.BytesIO()
        renderer = self.renderers[name]
        call(renderer, renderer.render, page, stream, self.style, name)
        if stream.closed or (page.panels and not stream.tell()):
            what = "closed its target" if stream.closed else "wrote nothing"
            raise origin_of(renderer).error(f"render: {what} for page {page.name!r} as {name}")
        return stream.getvalue()


# A folder may have a dot in its name; these are files that nobody means as one.
_PICTURE_ENDINGS = {"jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp", "eps", "ps", "png", "svg", "pdf", "xlsx", "txt", "md"}


class Output:
    """Takes pages from the engine and writes them. Use it as a context: what is not finished does not appear.

    Args:
        manager: finds the renderers.
        target: a local folder, or one at a location that a plugin writes to; or a file in such a folder, whose ending is a
            known format. A file takes exactly one page, or all of them if the format's renderer combines. ``-`` is stdout,
            which takes one format in the same way (text, unless asked otherwise).
        run: the settings.
        formats: those that the user asked for, else each view's own.
        renderer: name of the renderer that the user asked for.
        tables: the format of tables if none of *formats* suits them, ``text`` for the screen.
        say: receives the path of each file, and the text of tables. If stdout takes another format, they go to stderr.
        shown: looks at each page.
        origin: what the pages are of, for listeners, and for pages that did not come from ``draw``. It may be set until the
            context is entered.
        beside: an output of the same run, whose listeners hear of this one's files too.
    """

    def __init__(
        self,
        manager: PluginManager,
        target: str | os.PathLike[str],
        run: Settings,
        *,
        formats: Iterable[str] = (),
        renderer: str = "",
        tables: str = "text",
        say: Callable[[str], None] = print,
        shown: Callable[[Page], None] | None = None,
        origin: PageOrigin | None = None,
        beside: Output | None = None,
    ) -> None:
        self.origin: PageOrigin = origin or (beside.origin if beside is not None else PageOrigin())
        self._beside = beside is not None
        self._listeners: Listeners = beside._listeners if beside is not None else Listeners(manager, run, str(target))
        self.manager, self.run, self.say, self.shown = manager, run, say, shown
        self._forced, self._forced_writes = renderer, False
        self._namer = Namer()
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._single: tuple[Page, View, bytes] | None = None
        self._pictures: list[View] = []  # of pictures beside it, where it is the table that the file is for
        self._printed: list[str] = []  # tables, until the one file is written
        self.written: list[Path] = []
        self._failed: dict[str, Torch2GridError] = {}  # format → the first failure of its renderer, or of its folder
        self._drew = False  # a page came in a format that was asked for
        self._target = manager.target(os.fspath(target))
        self._told = told = without_secrets(str(target))
        self._staged = Path(tempfile.gettempdir()) / f"torch2grid-{os.urandom(12).hex()}"  # files are made there to be sent
        last = safe_filename(str(target).rstrip("/").rpartition("/")[2])
        path = Path(target) if self._target is None else self._staged / last
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
            raise UsageError(f"--output {told}: no renderer writes {ending}; formats: {', '.join(manager.formats())}")
        several = [Path(each).suffix.lstrip(".").lower() for each in last.split(",")]
        if len(several) > 1 and set(several) <= set(manager.formats()):
            raise UsageError(f"--output {told} is one file; for several formats give a folder and --format {','.join(several)}")
        known = bool(ending) and ending in manager.formats()
        of_folder = known and ending in self._renderer(ending).folders  # FOLDER.tensorboard is that folder
        if of_folder and str(target) == STDOUT:
            raise UsageError(f"--output - takes one file, and {ending} is a folder of them")
        is_one = str(target) == STDOUT or not path.is_dir()
        self.file = path if known and not of_folder and is_one else None
        self.folder = path.parent if self.file else path
        if self._target is not None and self.file:
            self._target = manager.target(str(target).rstrip("/").rpartition("/")[0])
        if beside is not None and beside._target is not None and path.is_relative_to(beside.folder):
            self._target, self._staged = beside._target, beside._staged
        wanted = wanted or ((ending,) if of_folder else ())
        if self.file:
            if wanted not in ((), (ending,)):
                raise UsageError(f"--output {told} is one {ending} file, --format asks for {', '.join(wanted)}")
            wanted = (ending,)
        renderers = {name: self._renderer(name) for name in wanted if name != "text"}  # an unknown one ends the run here
        if renderer and wanted and not self._forced_writes:
            raise UsageError(self._writes_nothing(wanted))
        combine = self.file is not None and ending in renderers[ending].combines
        style = Style(colormap=run.colormap)
        single = self.file is not None or str(target) == STDOUT
        self.prepare = Preparer(wanted, single, renderers, style, bool(self._listeners), combine, tables)
        self._all = Spool()  # the pages that wait for the one file
        self._opening = Spool()  # those of them that come first
        self._folders: dict[str, Spool] = {}  # format → the pages that wait for its folder
        self._ending = contextlib.ExitStack()
        self._closed = False
        self._noted: set[str] = set()

    def shelved(self) -> Output:
        """Return the same output, ready for workers elsewhere that share its folder: they write their pages there themselves.

        They do not if something looks at pages while they are written, or if one file takes them all. Use it only inside the
        context of the output.
        """
        if not (self.prepare.single or self.prepare.combine or self.prepare.whole or self.shown or self.prepare.shelf):
            made: Any = shelf(self.folder) if self._target is None else shelf_of(self._target)
            self.prepare = replace(self.prepare, shelf=self._ending.enter_context(made))
        return self

    def for_views(self, views: Iterable[View]) -> Output:
        """Return the same output, its renderers ready for what *views* draw by default.

        Pages can then be rendered in workers.

        Raises:
            PluginError: a view's own default is not a format.
        """
        views = list(views)
        formats = {"text", View.default_format, *self.manager.formats()}
        for view in views if not self.prepare.formats else ():
            if view.default_format not in formats:
                told = f"its default_format {view.default_format!r} is written by no renderer"
                raise origin_of(view).error(told + did_you_mean(str(view.default_format), formats))
        names = {view.default_format for view in views if not self.prepare.formats} - {"text", *self.prepare.renderers}
        self._add(names)
        return self

    def warming_up(self, progress: Progress | None) -> Progress:
        """Return *progress*, which also makes the renderers ready here once it hears of the first tensor.

        Others are read meanwhile. Use it for pages that are too large to be rendered by a worker. No process is forked after
        that.
        """
        waiting = [*self.prepare.renderers.values()]

        def told(tensor: LazyTensor, total: int) -> None:
            if waiting:
                threading.Thread(target=_warmed_up, args=(tuple(waiting),), daemon=True).start()
                waiting.clear()
            if progress is not None:
                progress(tensor, total)

        return told

    def _add(self, names: Iterable[str]) -> None:
        added = {name: self._renderer(name) for name in names}
        if added:
            self.prepare = replace(self.prepare, renderers={**self.prepare.renderers, **added})

    def _renderer(self, name: str) -> Renderer:
        found = self.manager.renderer_for(name, self._forced)
        forced, options = split_spec(self._forced) if self._forced else ("", {})
        chosen = forced in (found.name, found.qualified)
        self._forced_writes |= chosen
        renderer: Renderer = found.create(options if chosen else None)
        return renderer

    def _writes_nothing(self, wanted: Iterable[str]) -> str:
        found = self.manager.find("renderer", split_spec(self._forced)[0])
        can = ", ".join(found.facts.get("formats", ()))
        return f"--renderer {found.name} writes {can}, not {', '.join(wanted)}; ask with --format for what it writes"

    def __enter__(self) -> Output:
        if self._target is not None:
            with contextlib.suppress(FileExistsError):  # another output's, which ends later
                self._staged.mkdir(mode=0o700)
                self._ending.callback(shutil.rmtree, self._staged, ignore_errors=True)
        if not self._beside:
            self._listeners.start(self.origin)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        ended = error
        try:
            if kind is None and not self._closed:
                self.close()
            elif kind is not None and self._entries:
                with contextlib.suppress(Exception):  # what ended the run is what is said
                    self._index()
        except BaseException as wrong:
            ended = wrong
            raise
        finally:
            self._ending.__exit__(kind, error, None)
            if not self._beside:
                self._listeners.finish(self.origin, ended)

    def close(self) -> None:
        """Write what waits for the end: the one file, folders, and the index. Leaving the context does it if all went well.

        Raises:
            PluginError: a renderer failed while the other formats were written.
        """
        if self._single and self._pictures:
            page, view, _ = self._single
            if page.kind != "table" or any(other is not view for other in self._pictures):
                raise self._too_many(page)
        while self._printed and self._drew:
            self.say(self._printed.pop(0))
        if self.file and self._single:
            page, view, data = self._single
            self._single = None
            self._place(page, self.file, data)
            if self._pictures and not self.run.quiet:
                every = f"--output FOLDER --format {self.prepare.formats[0]} writes them, too"
                _to_stderr(f"{self._told} has the table of {view.name} without its pictures; {every}")
        if self.file and (len(self._all) or len(self._opening)):
            self._write_all(self.file, self.prepare.formats[0])
        for name, pages in self._folders.items():
            try:
                self._write_folder(name, pages)
            except Torch2GridError as wrong:
                self._failed.setdefault(name, wrong)
        if self._entries:
            self._index()
        self._closed = True
        if self._forced and not self._forced_writes:  # a view's own formats are known at its pages
            self.manager.note(self._writes_nothing(self.prepare.renderers or ("text",)))
        for error in self._failed.values():
            raise error

    def _too_many(self, page: Page) -> UsageError:
        if page.kind == "table" or self.prepare.suits_tables(self.prepare.formats[0]):
            more = f"give a folder: --output FOLDER --format {self.prepare.formats[0]}"
            return UsageError(f"--output {self._told} takes one page and this run makes more; {more}")
        return UsageError(f"--output {self._told} takes one picture and this run draws more; give a folder")

    def _index(self) -> None:
        is_there = None
        if self._target is not None:
            is_there = self._target.names().__contains__
            for name in NAMES:
                if (found := self._target.get(name, LARGEST)) is not None:
                    with whole_file(self.folder / name) as stream:
                        stream.write(found)
            self.folder.mkdir(parents=True, exist_ok=True)  # where workers wrote all
        path = merge_index(self.folder, self._entries, is_there)
        self._send(path)
        if path.name != NAMES[0]:
            self.manager.note(f"{self.folder / NAMES[0]} was not written by torch2grid and stays as it is; the index is {path}")

    def require_drawn(self) -> None:
        """Raise ``UsageError`` if the one file, or stdout, got no page.

        Call it after ``close``, once everything that could explain why has been checked.
        """
        if self.prepare.single and not self._drew:
            wanted = self.prepare.formats[0]
            raise UsageError(f"--output {self._told}: nothing was drawn as {wanted}; tables need a data format, such as csv")

    def _write_all(self, path: Path, name: str) -> None:
        """All pages that were taken, as one file; a single one as it would be alone."""
        renderer = self.prepare.renderers[name]
        with self._all, self._opening:
            pages = Joined(self._opening, self._all)
            first = next(iter(pages))
            with open_target(path) as stream:
                if len(pages) == 1:
                    stream.write(self.prepare.render(first, name))
                else:
                    call(renderer, renderer.render_all, pages, stream, self.prepare.style, name)
            self._send(path)
            self._report(first, path)
            self._listeners.written(pages, path, self.origin)

    def _write_folder(self, name: str, pages: Spool) -> None:
        """All *pages* as the files that the renderer of *name* makes of them, each put into the output folder whole."""
        renderer = self.prepare.renderers[name]
        origin = origin_of(renderer)
        with pages, whole_folder(self.folder) as temporary:
            call(renderer, renderer.render_folder, pages, temporary.absolute(), self.prepare.style, name)
            with guarded(origin, "render_folder"):
                found = files_below(temporary)
            taken = {*NAMES, *(file.casefold() for file in self._entries)}
            folders = {folder for file in taken for folder in _folders_of(file)}
            for file in found:
                own = file.casefold()
                if own in taken or own in folders:
                    what = "file" if own in taken else "folder"
                    raise origin.error(f"render_folder: {visible(file)} is the name of another {what} of the run")
                if clash := next((folder for folder in _folders_of(own) if folder in taken), ""):
                    raise origin.error(f"render_folder: {visible(file)} needs the folder {clash}, which is a file of the run")
                if visible(file, 4096) != file:
                    raise origin.error(f"render_folder: {visible(file)} is not a name for a file: it holds control characters")
            if not found:
                raise origin.error(f"render_folder: wrote nothing for {counted(len(pages), 'page')} as {name}")
            first = next(iter(pages))
            move_all(temporary, found, self.folder)
            for file in found:
                self._send(self.folder / file)
                self._entries[file] = {"title": f"{len(pages)} pages as {name}", "heatmaps": []}
                self._report(first, self.folder / file)
            self._listeners.written(pages, self.folder, self.origin)

    def add(self, page: Page, view: View | None = None) -> None:
        """Render and write a page that did not come from ``draw``.

        Args:
            page: to write.
            view: the view whose default format is used; ``png`` without one.
        """
        view = view or View()
        page = page.of_slice(self.run.slice)
        page = page if page.origin is not None else page.with_origin(self.origin)
        page, rendered = self.prepare(page, view)
        self.take(page, view, rendered)

    def take(self, page: Page, view: View, rendered: Rendered) -> None:
        """Write a page in each wanted format.

        Args:
            page: to write.
            view: that drew it.
            rendered: what ``prepare`` made of it, where it was drawn.
        """
        page = page if page.origin is not None else page.with_origin(self.origin)
        if self.shown is not None:
            self.shown(page)
        for note in () if self.run.quiet else page.notes:
            if note not in self._noted:
                self._noted.add(note)
                _to_stderr(visible(note, limit=2000))
        stem = ""
        for name in self.prepare.wanted(page, view):
            self._drew |= name in self.prepare.formats
            if name == "text":
                text = "\n".join(text_lines(page))
                self._printed.append(text) if self.file and str(self.file) != STDOUT else self.say(text)
                continue
            if self.prepare.combine:
                with guarded(origin_of(view), f"page {page.name!r}"):
                    (self._opening if page.opens else self._all).add(page)
                continue
            if name in rendered.failures:
                self._failed.setdefault(name, rendered.failures[name])
                continue
            if name not in self.prepare.renderers:
                self._add([name])
            if self.prepare.is_folder(name):
                with guarded(origin_of(view), f"page {page.name!r}"):
                    self._folders.setdefault(name, Spool()).add(page)
                continue
            if name in rendered.shelved:
                stem = stem or self._namer.stem(page)
                self._put(page, stem, name, rendered, None)
                continue
            data = rendered.files[name] if name in rendered.files else self.prepare.render(page, name)
            if self.prepare.on_screen(name) and not self.file:
                self.say(data.decode("utf-8", "replace").rstrip("\n") + "\n")
            elif self.file:
                self._choose(page, view, data)
            else:
                stem = stem or self._namer.stem(page)
                self._put(page, stem, name, rendered, data)

    def _choose(self, page: Page, view: View, data: bytes) -> None:
        """Keep *page* for the one file; in a format of tables a table rather than a picture.

        Raises ``UsageError`` where more than one page would go there.
        """
        held, name = self._single, self.prepare.formats[0]
        if held is None:
            self._single = (page, view, data)
        elif not self.prepare.suits_tables(name) or page.kind == held[0].kind == "table":
            raise self._too_many(page)
        elif page.kind == "table":
            self._single = (page, view, data)
            self._pictures.append(held[1])
        else:
            self._pictures.append(view)

    def _put(self, page: Page, stem: str, name: str, rendered: Rendered, data: bytes | None) -> None:
        """Put *data*, or what is on the shelf, into the folder."""
        path = self.folder / f"{stem}.{name}"
        stay_inside(path.parent, self.folder)
        self._place(page, path, data, rendered.shelved.get(name, ""))
        self._entries[path.relative_to(self.folder).as_posix()] = rendered.entry

    def _place(self, page: Page, path: Path, data: bytes | None, shelved: str = "") -> None:
        if data is not None:
            with open_target(path) as stream:
                stream.write(data)
            self._send(path)
        elif isinstance(self.prepare.shelf, TargetShelf):
            self.prepare.shelf.move(shelved, path.relative_to(self.folder).as_posix())
        elif self.prepare.shelf is not None:
            self.prepare.shelf.take(shelved, path)
        self._report(page, path)
        self._listeners.written((page,), path, self.origin)
        if self._target is not None:
            path.unlink(missing_ok=True)  # pages may be more than the disk here holds

    def _send(self, path: Path) -> None:
        """Store the file at *path*, which is complete, where the output goes."""
        if self._target is not None:
            self._target.put(path.relative_to(self.folder).as_posix(), path)

    def _report(self, page: Page, path: Path) -> None:
        if str(path) != STDOUT:
            self.written.append(path)
            self.say(str(path) if self._target is None else f"{self._target.shown}/{path.relative_to(self.folder).as_posix()}")
        self._listeners.event(page, path)


def _warmed_up(renderers: Iterable[Renderer]) -> None:
    for each in renderers:
        with contextlib.suppress(Exception):  # it is told when it renders
            each.warm_up()


def _folders_of(file: str) -> list[str]:
    """The folders on the way to a file: ``a/b`` and ``a`` of ``a/b/c.txt``."""
    return [each.as_posix() for each in PurePosixPath(file).parents][:-1]


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
