"""A listener: what hears of each page that is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch2grid_core import Listener, Page, Settings
from torch2grid_core.pages import PageOrigin


@dataclass
class PageLog(Listener):
    """a text file with a line for each file that was written"""

    name = "page_log"

    file: str = field(default="written.txt", metadata={"help": "its name, in the output folder"})

    def started(self, origin: PageOrigin, run: Settings) -> None:
        self._lines: list[str] = []

    def written(self, page: Page, path: Path, origin: PageOrigin, run: Settings) -> None:
        self._lines.append(f"{path}\t{origin.model}\t{page.name}\n")

    def finished(self, origin: PageOrigin, run: Settings, error: BaseException | None) -> None:
        if self._lines:
            output = Path(run.output)
            folder = output.parent if output.is_file() else output
            (folder / self.file).write_text("".join(self._lines), encoding="utf-8")
