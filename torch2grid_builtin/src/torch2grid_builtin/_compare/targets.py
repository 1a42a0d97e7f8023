"""Where a comparison is written: its table, its pictures, and the whole model in motion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from torch2grid_core import Page, PluginManager, Settings, UsageError, View
from torch2grid_core.commands import spec_name
from torch2grid_core.pages import Output
from torch2grid_core.text import without_secrets

_DATA = "csv"  # of a table; cells of pictures are written so where they are asked for
_PRINTED = "json"  # the report, on stdout


class Targets:
    """The outputs of one comparison.

    pictures: takes pages. views: takes those of the drawing command's views, of which JSON makes files, too. films: format →
    the file that takes the whole model in motion, by one of the formats in *moving*. printed: JSON goes to stdout, and nothing
    else does. drawn: pictures are wanted where nothing says which. whole: one file takes table and pictures. only_table: one
    file takes the table.
    """

    def __init__(
        self,
        manager: PluginManager,
        settings: Settings,
        run: Settings,
        moving: Sequence[str] = (),
        *,
        chosen: bool = False,
        views: bool = False,
    ) -> None:
        """chosen: pages were asked for by name; views: those of views.

        Raises ``UsageError`` for what has no place in ``settings.output``.
        """
        chosen = chosen or views
        self.manager, self.run, self._renderer = manager, run, settings.renderer or ""
        target, formats = Path(settings.output), list(settings.format)
        own = "" if target.is_dir() else target.suffix.lower().removeprefix(".")
        self.printed = _PRINTED in formats and own != _PRINTED
        asked = [name for name in formats if not (name == _PRINTED and self.printed)]
        if own == _DATA and views:
            instead = "leave the views out, or give a folder: --output FOLDER --format csv"
            raise UsageError(f"--output {without_secrets(settings.output)} takes the table of the comparison alone; {instead}")
        animated = own in moving and own == "gif"
        if animated and "://" in settings.output:
            raise UsageError(
                f"--output {without_secrets(settings.output)} takes no animation; give its folder, and --format gif"
            )
        if animated and ({*asked} - {own} or chosen):
            raise UsageError(f"--output {target} takes the animation alone; give a folder for what is beside it")
        films = [name for name in asked if name in moving and name != own]
        if films and (own in manager.formats() or settings.output == "-"):
            raise UsageError(f"--output {target} takes no animation beside other output; give a folder")
        self._data = [name for name in asked if name == _DATA and not chosen]
        still = [name for name in asked if name not in (*films, *self._data) and not animated]
        self._check([own] if animated else asked)
        place = target.parent if animated else settings.output
        forced = self._renderer if self._writes(still) or not self._writes([*films, *self._data]) else ""
        if self.printed and settings.output == "-" and (asked or chosen):
            raise UsageError("--format json is the report on stdout, and --output - puts more there; give a folder")
        self._say = partial(click.echo, err=True) if self.printed else click.echo
        self.pictures = Output(manager, place, run, formats=still, renderer="" if animated else forced, say=self._say)
        self.views = self.pictures
        if self.printed and self.pictures.file is None:
            self.views = self._beside(settings.output, formats=[*still, _PRINTED], renderer=forced)
        self.whole = self.pictures.prepare.combine and own != _PRINTED
        self.only_table = self.pictures.file is not None and own in (_DATA, _PRINTED) and not chosen
        self.drawn = not (animated or self.only_table) and (bool(still) or not formats)
        self.films = {name: self.pictures.folder / f"series_atlas.{name}" for name in films}
        if animated:
            self.films = {own: target}

    def table(self, page: Page, view: View, *, shown: bool, data: Any = None) -> None:
        """Write the table into the files that are for it; where there are none, print it if it is *shown*.

        data: printed as JSON instead, where that is asked for.
        """
        if self.printed:
            click.echo(data)
        if self.whole or self.only_table:
            self.pictures.add(page, view)
            if self.whole and not self.run.quiet:
                click.echo(page.title, err=True)
            return
        suited = [name for name in self.pictures.prepare.formats if self.pictures.prepare.suits_tables(name)]
        if self._data:
            forced = self._renderer if self._writes(self._data) else ""
            with self._beside(self.run.output, formats=self._data, renderer=forced) as output:
                output.add(page, view)
        if suited and shown and self.pictures.file is None:
            self.pictures.add(page, view)
        elif shown and not self.printed and not self._data:
            beside = self._beside(self.run.output)
            beside.add(page, view)
            if beside.file is not None and not self.run.quiet:  # which takes a picture, and no table
                click.echo(page.title, err=True)
        elif not (self.printed or self._data or self.run.quiet):  # what was found is said beside the pictures, too
            click.echo(page.title, err=True)

    def film(self, frames: Iterable[Page], view: View) -> None:
        """All *frames*, as one file of each format that is asked for."""
        for name, target in self.films.items():
            with self._beside(target, renderer=self._renderer if self._writes([name]) else "") as film:
                for page in frames:
                    film.add(page, view)
            film.require_drawn()

    def _beside(self, target: Any, **options: Any) -> Output:
        return Output(self.manager, target, self.run, say=self._say, beside=self.pictures, **options)

    def _writes(self, formats: Iterable[str]) -> bool:
        """True where ``--renderer`` names what writes one of *formats*."""
        return bool(self._renderer) and bool({*formats} & {*self._formats()})

    def _formats(self) -> Sequence[str]:
        found: Sequence[str] = self.manager.find("renderer", spec_name(self._renderer)).facts.get("formats", ())
        return found

    def _check(self, asked: Sequence[str]) -> None:
        """Raise ``UsageError`` for a renderer that writes nothing of what is asked for."""
        if self._renderer and asked and not self._writes(asked):
            can = ", ".join(self._formats())
            told = f"--renderer {spec_name(self._renderer)} writes {can}, not {', '.join(asked)}"
            raise UsageError(f"{told}; ask with --format for what it writes")
