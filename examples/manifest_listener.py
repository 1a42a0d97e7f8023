"""A CSV manifest of what a run wrote: ``torch2grid model.pth --load-plugin examples/manifest_listener.py``.

With options: ``--listener "manifest:path=all.csv,columns=file model step sha256"``. In a package, a plugin yields the class by
``torch2grid_listeners``, and it is at work only where ``--listener manifest`` asks for it.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch2grid_core import Listener, Page, Settings
from torch2grid_core.pages import PageOrigin, whole_file
from torch2grid_core.text import visible

COLUMNS: dict[str, Callable[[Page, Path, PageOrigin, Settings], object]] = {
    "file": lambda page, path, origin, run: path.as_posix(),
    "page": lambda page, path, origin, run: page.name,
    "title": lambda page, path, origin, run: page.title,
    "tensor": lambda page, path, origin, run: page.about.get("tensor", ""),
    "source": lambda page, path, origin, run: " → ".join(origin.sources),
    "model": lambda page, path, origin, run: origin.model,
    "part": lambda page, path, origin, run: origin.part,
    "step": lambda page, path, origin, run: "" if origin.step is None else origin.step,
    "reduce": lambda page, path, origin, run: run.reduce,
}
HASH = "sha256"


@dataclass
class Manifest(Listener):
    """a CSV file with a row for each page that was written"""

    name = "manifest"

    path: str = field(default="", metadata={"help": "the file; manifest.csv where the files go unless given"})
    columns: str = field(default="file page source step", metadata={"help": f"of {', '.join((*COLUMNS, HASH))}"})
    append: bool = field(default=True, metadata={"help": "keep the rows of earlier runs"})

    def __post_init__(self) -> None:
        self._names = self.columns.replace(",", " ").split()
        unknown = [name for name in self._names if name not in COLUMNS and name != HASH]
        if unknown or not self._names:
            raise ValueError(f"columns are some of {', '.join((*COLUMNS, HASH))}, not {', '.join(unknown) or 'none'}")

    def started(self, origin: PageOrigin, run: Settings) -> None:
        self._rows: list[list[str]] = []

    def written(self, page: Page, path: Path, origin: PageOrigin, run: Settings) -> None:
        values = [_hash(path) if name == HASH else COLUMNS[name](page, path, origin, run) for name in self._names]
        self._rows.append([_cell(value) for value in values])

    def finished(self, origin: PageOrigin, run: Settings, error: BaseException | None) -> None:
        """Write what there is, also of a run that failed: these files are in place."""
        if not self._rows:
            return
        output = Path(run.output)
        target = Path(self.path) if self.path else (output.parent if output.is_file() else output) / "manifest.csv"
        before = b""
        if self.append and target.is_file():
            before = target.read_bytes()
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        if not before:
            writer.writerow(self._names)
        writer.writerows(self._rows)
        with whole_file(target) as file:  # the old rows or all of them, whatever happens
            file.write(before + text.getvalue().encode("utf-8"))


def _hash(path: Path) -> str:
    """Of a file; a folder of files has none."""
    return "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def _cell(value: object) -> str:
    """Names and titles come from checkpoints: control characters are made visible, and no spreadsheet runs a cell."""
    text = visible(str(value), 1000)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
