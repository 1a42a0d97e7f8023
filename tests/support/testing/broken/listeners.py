"""Listeners: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tests.support.testing.broken.registry import breaks

from torch2grid_core import Listener, Page, Settings
from torch2grid_core.pages import PageOrigin


@dataclass
class GoodListener(Listener):
    """counts pages"""

    name = "toy"
    start: int = field(default=0, metadata={"help": "the count before the first"})

    def started(self, origin: PageOrigin, run: Settings) -> None:
        self.count = self.start

    def written(self, page: Page, path: Path, origin: PageOrigin, run: Settings) -> None:
        self.count += 1


@breaks("listener", "does_something")
class Misspelt(Listener):
    """is never called"""

    name = "toy"

    def write(self, page: Page, path: Path, origin: PageOrigin, run: Settings) -> None:
        raise AssertionError("who calls this?")


@breaks("listener", "hears_a_run")
class Moves(GoodListener):
    """takes the file away"""

    def written(self, page: Page, path: Path, origin: PageOrigin, run: Settings) -> None:
        path.replace(path.with_suffix(".old"))


@breaks("listener", "hears_of_failure")
class NeedsAPage(GoodListener):
    """expects that something was written"""

    def finished(self, origin: PageOrigin, run: Settings, error: BaseException | None) -> None:
        print(1 / self.count)


@breaks("listener", "runs_are_apart")
class SharesItsState(Listener):
    """keeps on the class what belongs to a run"""

    name = "toy"
    open: ClassVar[list[Any]] = []

    def started(self, origin: PageOrigin, run: Settings) -> None:
        self.open.append(origin)

    def written(self, page: Page, path: Path, origin: PageOrigin, run: Settings) -> None:
        self.open[-1].step  # noqa: B018

    def finished(self, origin: PageOrigin, run: Settings, error: BaseException | None) -> None:
        self.open.clear()
