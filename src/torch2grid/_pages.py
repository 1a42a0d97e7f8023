"""What the Python API returns: pages that show themselves and can be saved."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from torch2grid._session import manager
from torch2grid_core import Checkpoint, Grid, Page, Settings, UsageError, View
from torch2grid_core.measures import workers
from torch2grid_core.pages import Heatmap, Numbers, Output, PageOrigin, Table, plotted_by, saved_by, text_lines
from torch2grid_core.text import without_secrets

Drawn = tuple[Page, View]
Draw = Callable[..., Iterator[tuple[Page, View, Any]]]  # takes ``prepare`` and ``executor``, as ``draw`` of the core does


def _plot(value: Any, ax: Any, colormap: str | None) -> Any:
    from torch2grid_builtin.plotting import plot

    return plot(value, ax, colormap)


plotted_by(_plot)


def _save(page: Page, path: str | os.PathLike[str], format: str) -> list[Path]:
    return Pages([(page, _Any())], Settings(), Checkpoint([], source=""), origin=page.origin).save(path, format)


saved_by(_save)


class _Any(View):
    """What stands for the view of a page that is saved by itself."""

    name = "page"


class Pages(Sequence[Page]):
    """The pages of one drawing, in order. In a notebook the overview shows itself; ``str()`` is their text.

    Nothing is read before a page is asked for. What is saved at once is drawn into its files, by *jobs* processes (0: one for
    each core), and never held in memory together.
    """

    def __init__(
        self,
        drawn: Sequence[Drawn] | Draw,
        run: Settings,
        checkpoint: Checkpoint,
        jobs: int = 0,
        opener: Any = None,
        views: Sequence[View] = (),
        origin: PageOrigin | None = None,
    ) -> None:
        self._origin = origin or PageOrigin.of(checkpoint)
        self._run, self.checkpoint, self._jobs, self._opener, self._views = run, checkpoint, jobs, opener, views
        self._draw: Draw | None = drawn if callable(drawn) else None
        self._kept: tuple[Drawn, ...] | None = None if callable(drawn) else tuple(map(self._with_origin, drawn))

    def _with_origin(self, drawn: Drawn) -> Drawn:
        page, view = drawn
        return page if page.origin is not None else page.with_origin(self._origin), view

    @property
    def _drawn(self) -> tuple[Drawn, ...]:
        if self._kept is None:
            self._kept = tuple((page, view) for page, view, _ in self._pass())
        return self._kept

    def _pass(self, prepare: Any = None) -> Iterator[tuple[Page, View, Any]]:
        """The pages as they are drawn, with what *prepare* makes of each where it is drawn; as they are without it."""
        if self._draw is None or self._kept is not None:
            for page, view in self._kept or ():
                prepared, made = (page, None) if prepare is None else prepare(page, view)
                yield prepared, view, made
            return
        with workers(self.checkpoint, self._jobs, len(self.checkpoint), opener=self._opener) as executor:
            yield from self._draw(executor=executor, **({} if prepare is None else {"prepare": prepare}))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Pages(self._drawn[index], self._run, self.checkpoint, origin=self._origin)
        if isinstance(index, str):
            found = next((page for page, _ in self._drawn if page.name == index), None)
            if found is None:
                names = ", ".join(page.name for page, _ in self._drawn[:8]) + (" …" if len(self) > 8 else "")
                raise KeyError(f"no page {index!r}; there are: {names}")
            return found
        return self._drawn[index][0]

    def __len__(self) -> int:
        return len(self._drawn)

    def __iter__(self) -> Iterator[Page]:
        return (page for page, _ in self._drawn)

    def __repr__(self) -> str:
        count = "not drawn yet" if self._kept is None else f"{len(self._kept)}"
        return f"<{type(self).__name__} of {self.checkpoint.source!r}: {count}>"

    def __str__(self) -> str:
        return "\n".join(line for page in self if page.kind == "table" for line in text_lines(page)) or repr(self)

    @property
    def grid(self) -> Grid:
        """The first heatmap's grid. Raises ``UsageError`` where no page has one."""
        for page in self:
            for panel in page.panels:
                if isinstance(panel, Heatmap):
                    return panel.grid
        raise UsageError("these pages hold no grid")

    @property
    def tables(self) -> list[Table]:
        """The tables on these pages; the numbers of a tensor are one, too."""
        panels = [panel for page in self for panel in page.panels]
        return [panel.as_table() for panel in panels if isinstance(panel, (Table, Numbers))]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The values of ``grid``: 2-D float32."""
        return np.array(self.grid.values, dtype=dtype)

    def to_pandas(self, table: int | str | None = None) -> Any:
        """A table on these pages as a ``pandas.DataFrame``, with its columns and numbers as they are.

        table: where there are several, its place among ``tables``, or what its title begins with. Raises ``UsageError`` where
        there is none, where there are several and *table* does not say which, and where pandas is not installed.
        """
        tables = self.tables
        if not tables:
            raise UsageError("these pages hold no table; a picture has .plot()")
        found = tables
        if isinstance(table, str):
            found = [each for each in tables if each.title.startswith(table)]
        elif table is not None:
            found = tables[table : table + 1 or None]
        elif len({(each.columns, each.rows) for each in tables}) == 1:
            found = tables[:1]  # the same on several pages: to print, and to write
        if len(found) != 1:
            titles = "; ".join(f"{place}: {each.title or ', '.join(each.columns)}" for place, each in enumerate(tables))
            raise UsageError(f"{'no such table' if not found else 'several tables'}: say which with table=; there are {titles}")
        return found[0].to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the picture that stands for these pages, the one that a notebook shows, into *ax*, and return the axes.

        ax: matplotlib axes of yours, of which nothing else changes; ``None`` for a new figure. ``pages["name"].plot(ax)``
        draws another one. See ``Page.plot``. Raises ``UsageError`` where no page is a picture.
        """
        shown = next((page for page, _ in self._shown() if page.kind == "picture"), None)
        if shown is None:
            raise UsageError(
                "these pages are tables; a table has .to_pandas()" if self else "there are no pages: nothing to draw"
            )
        return shown.plot(ax, colormap=self._run.colormap)

    def save(self, path: str | os.PathLike[str], format: str = "") -> list[Path]:
        """Write the pages and return the paths: one page to ``path`` with a known ending, or all into the folder *path*.

        format: comma-separated for several; unless given, ``png`` for pictures and ``csv`` for tables in a folder. Where there
        are several pages, a file of a format that takes one (``png``) gets the overview, a file of one that takes many
        (``html``, ``pdf``) gets all. Raises ``UsageError`` for an unknown format, and where no page can be written in those
        asked for.
        """
        if "://" in str(path):
            raise UsageError(f"{without_secrets(str(path))}: save() takes a path of this machine; --output takes a location")
        run = replace(self._run, format=format) if format else self._run  # type: ignore[arg-type]
        renderer, quiet = run.renderer or "", lambda line: None
        tables = "text" if run.format else "csv"  # pictures that are asked for are all that is written
        known = set(manager().problems())
        output = Output(
            manager(), Path(path), run, formats=run.format, renderer=renderer, tables=tables, say=quiet, origin=self._origin
        )
        with output:
            output.for_views(self._views)  # what renders their pages goes to the workers
            if self._opener is not None:
                output.shelved()
            formats = run.format or ((output.file.suffix[1:].lower(),) if output.file else ())
            if output.file and not output.prepare.combine:
                for page, view in self._shown():
                    output.add(_in_formats(page, formats), view)
            else:
                for drawn in self._pass(_InFormats(output.prepare, formats)):
                    output.take(*drawn)
            output.close()
            output.require_drawn()
            if run.format and not output.written:
                raise UsageError(f"{path}: nothing was drawn as {', '.join(run.format)}; a table takes csv, json or html")
        for line in manager().problems():  # of a listener that failed, say
            if line not in known:
                warnings.warn(f"torch2grid: {line}", stacklevel=2)
        return output.written

    def flat(self) -> Pages:
        """The same pages without their folders: for writing straight into a folder of the caller's."""
        if self._draw is None or self._kept is not None:
            return Pages(
                [(replace(page, folder=""), view) for page, view in self._drawn],
                self._run,
                self.checkpoint,
                origin=self._origin,
            )
        draw = self._draw

        def flattened(prepare: Any = None, **options: Any) -> Iterator[tuple[Page, View, Any]]:
            if prepare is not None:
                yield from draw(prepare=_Flat(prepare), **options)
                return
            for page, view, made in draw(**options):
                yield replace(page, folder=""), view, made

        return Pages(flattened, self._run, self.checkpoint, self._jobs, self._opener, self._views, self._origin)

    def first(self) -> Pages:
        """The first page alone."""
        pages = self._pass()
        found = next(pages, None)
        pages.close()  # type: ignore[attr-defined]
        return Pages([] if found is None else [found[:2]], self._run, self.checkpoint, origin=self._origin)

    def _shown(self) -> tuple[Drawn, ...]:
        """The page that stands for all: the last one outside the per-tensor folders, else the first; of one tensor, its own."""
        first = last = own = None
        for page, view, _ in self._pass():
            first = first or (page, view)
            if page.kind == "picture" and page.folder:
                own = own or (page, view)
            elif page.kind == "picture":
                last = page, view
        found = (own if len(self.checkpoint) == 1 else None) or last or first
        return () if found is None else (found,)

    def _repr_png_(self) -> bytes | None:
        import io

        from torch2grid_core import Style

        shown = [page for page, _ in self._shown() if page.kind == "picture"]
        if not shown:
            return None
        stream = io.BytesIO()
        manager().renderer_for("png").create().render(shown[0], stream, Style(colormap=self._run.colormap), "png")
        return stream.getvalue()

    def _repr_html_(self) -> str | None:
        if any(page.kind == "picture" for page, _ in self._shown()):
            return None  # the picture is the better answer
        return "".join(page._repr_html_() or "" for page in self if page.kind == "table")


def _in_formats(page: Page, formats: tuple[str, ...]) -> Page:
    """*page* in *formats* where it is numbers alone, which formats take that take no other table: ``npy``."""
    numbers = bool(page.panels) and all(isinstance(panel, Numbers) for panel in page.panels)
    return replace(page, formats=formats) if numbers and formats and not page.formats else page


@dataclass(frozen=True)
class _InFormats:
    """Prepares pages of numbers in the formats that are asked for."""

    prepare: Any
    formats: tuple[str, ...]

    def __call__(self, page: Page, view: View) -> tuple[Page, Any]:
        return self.prepare(_in_formats(page, self.formats), view)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Flat:
    """Prepares pages without their folders."""

    prepare: Any

    def __call__(self, page: Page, view: View) -> tuple[Page, Any]:
        return self.prepare(replace(page, folder=""), view)  # type: ignore[no-any-return]
