"""Where files were found behind redirects: asked there directly, until that address has expired."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from torch2grid_remote.connections import Refused
from torch2grid_remote.files import NotThere

_MOST = 100_000


class Sightings:
    """The last address of each path that was behind a redirect. They hold signatures, and are not pickled."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"_found": {}}

    def note(self, path: str, asked: str, answered: str) -> None:
        """Remember that *path*, which *asked* is the address of, was found at *answered*."""
        if urlsplit(asked)._replace(fragment="") != urlsplit(answered)._replace(fragment="") and len(self._found) < _MOST:
            self._found[path] = answered

    def ask(self, path: str, address: Callable[[], str], attempt: Callable[[str], str]) -> None:
        """*attempt* at the address where *path* was found last, or, where that has expired, at its own."""
        seen = self._found.get(path)
        if seen is not None:
            try:
                attempt(seen)
                return
            except (NotThere, Refused):
                pass
            self._found.pop(path, None)
        asked = address()
        self.note(path, asked, attempt(asked))
