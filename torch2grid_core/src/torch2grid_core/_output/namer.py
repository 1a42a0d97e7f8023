"""Names of files for pages, whose names may come from a checkpoint."""

from __future__ import annotations

from torch2grid_core._pictures.page import Page
from torch2grid_core._text import safe_filename


class Namer:
    """Relative paths for pages: safe on every file system, and unique where upper and lower case are the same."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}  # the last that was put behind each name

    def stem(self, page: Page) -> str:
        """``folder/name`` without ending, for all formats of *page*; no other page gets it, even one of the same name."""
        folder = "/".join(safe_filename(part) for part in page.folder.split("/") if part)
        base = safe_filename(page.name)
        stem, start = base, f"{folder}/{base}".casefold()
        while f"{folder}/{stem}".casefold() in self._taken:
            self._numbers[start] = self._numbers.get(start, 1) + 1
            stem = f"{base}_{self._numbers[start]}"
        self._taken.add(f"{folder}/{stem}".casefold())
        return f"{folder}/{stem}" if folder else stem
