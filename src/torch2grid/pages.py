"""What the Python API returns: pages that show themselves and can be saved."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from torch2grid.session import manager
from torch2grid_core import Checkpoint, Grid, Heatmap, Output, Page, Run, Table, UsageError, View
from torch2grid_core.pictures.notebook import page_html
from torch2grid_core.pictures.tables import text_lines


class Pages(Sequence[Page]):
    """The pages of one drawing, in order. In a notebook the overview shows itself; ``str()`` is their text."""

    def __init__(self, drawn: Sequence[tuple[Page, View]], run: Run, checkpoint: Checkpoint) -> None:
        self._drawn, self._run, self.checkpoint = tuple(drawn), run, checkpoint

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Pages(self._drawn[index], self._run, self.checkpoint)
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
        return f"<Pages of {self.checkpoint.source!r}: {len(self)}>"

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
        """The tables on these pages."""
        return [panel for page in self for panel in page.panels if isinstance(panel, Table)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The values of ``grid``: 2-D float32."""
        return np.array(self.grid.values, dtype=dtype)

    def save(self, path: str | os.PathLike[str], format: str = "") -> list[Path]:
        """Write the pages and return the paths: one page to ``path`` with a known ending, or all into the folder *path*.

        format: ``png`` unless given, comma-separated for several. Where there are several pages, a file of a format that
        takes one (``png``) gets the overview, a file of one that takes many (``html``, ``pdf``) gets all. Raises
        ``UsageError`` for an unknown format.
        """
        formats = [part.strip() for part in format.split(",") if part.strip()]
        with Output(manager(), Path(path), self._run, formats=formats, say=lambda line: None) as output:
            for page, view in self._shown() if output.file and not output.prepare.combine else self._drawn:
                output.add(page, view)
        output.require_drawn()
        return output.written

    def flat(self) -> Pages:
        """The same pages without their folders: for writing straight into a folder of the caller's."""
        return Pages([(replace(page, folder=""), view) for page, view in self._drawn], self._run, self.checkpoint)

    def first(self) -> Pages:
        """The first page alone."""
        return Pages(self._drawn[:1], self._run, self.checkpoint)

    def _shown(self) -> tuple[tuple[Page, View], ...]:
        """The page that stands for all: the last one outside the per-tensor folders, else the first."""
        outside = [each for each in self._drawn if not each[0].folder and each[0].kind == "picture"]
        return (outside[-1] if outside else self._drawn[0],) if self._drawn else ()

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
        return "".join(page_html(page) for page in self if page.kind == "table")
