"""The listeners of one run: which there are, and what each is told when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch2grid_core._errors import Torch2GridError
from torch2grid_core._guard import Origin, call, origin_of, stamp
from torch2grid_core._kinds.running import Listener
from torch2grid_core._output.files import STDOUT
from torch2grid_core._pictures.origin import PageOrigin
from torch2grid_core._pictures.page import Page
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.record import PluginRecord, Precedence, Provided
from torch2grid_core._settings import Settings, spec_name


class Listeners:
    """Those that a run asks for, and those that are always at work; and the event of before 0.2, which names no origin.

    target: where the files of this run go, which listeners read in ``run.output``.

    Raises ``UsageError`` for an unknown listener or a wrong option.
    """

    def __init__(self, manager: PluginManager, run: Settings, target: str) -> None:
        self.manager, self.run = manager, run
        self._found: list[tuple[Listener, PluginRecord | None]] = []
        asked: list[Provided | None] = []
        for spec in run.listener:
            named = manager.find("listener", spec_name(spec)) if isinstance(spec, (str, Mapping)) else None
            made = manager.create("listener", spec)
            if named is None and origin_of(spec).kind == "plugin":  # handed over in Python, and nobody's
                stamp(spec, Origin("listener", str(getattr(spec, "name", type(spec).__name__))))
            asked.append(named)
            self._found.append((made, named.record if named is not None else None))
        for each in manager.names("listener").values():
            usual = each.facts.get("always", False) or each.record.precedence is Precedence.GIVEN
            if usual and all(each is not other for other in asked):
                try:
                    self._found.append((each.create(), each.record))
                except Torch2GridError as error:
                    if each.record.precedence is Precedence.GIVEN:  # it was named for this run
                        raise
                    each.record.blame(error, f"listener {each.name!r}")
        self._hearing: list[tuple[Listener, PluginRecord | None]] | None = None  # those that heard of the start
        self._event = manager.listens()
        if self._found:
            self.run = replace(run, output=target)  # which may be one of several, or a folder given in Python

    def __bool__(self) -> bool:
        """True where somebody listens, so that pages must stay whole until they are written."""
        return bool(self._found) or self._event

    def start(self, origin: PageOrigin) -> None:
        """Tell of the start of the run, once."""
        if self._hearing is None:
            self._hearing = []
            for each, record in self._found:
                if self._told(each, record, each.started, origin, self.run):
                    self._hearing.append((each, record))

    def written(self, pages: Iterable[Page], path: Path, origin: PageOrigin) -> None:
        """Tell of *path*, which is in place and shows *pages*. They are read only where somebody listens; stdout is no file."""
        self.start(origin)
        for page in pages if self._hearing and str(path) != STDOUT else ():
            for each, record in self._hearing or ():
                self._told(each, record, each.written, page, path, page.origin or origin, self.run)

    def event(self, page: Page, path: Path) -> None:
        """Tell of a file by the event of before 0.2."""
        if self._event and str(path) != STDOUT:
            self.manager.written(page, path, self.run)

    def finish(self, origin: PageOrigin, error: BaseException | None) -> None:
        """Tell of the end to all that heard of the start, once."""
        hearing, self._hearing = self._hearing, []
        for each, record in hearing or ():
            self._told(each, record, each.finished, origin, self.run, error)

    def _told(self, listener: Listener, record: PluginRecord | None, method: Any, *arguments: Any) -> bool:
        try:
            call(listener, method, *arguments)
        except Torch2GridError as error:
            if record is None:
                self.manager.note(str(error))
            else:
                record.blame(error, f"listener {origin_of(listener).name!r}")
            return False
        return True
