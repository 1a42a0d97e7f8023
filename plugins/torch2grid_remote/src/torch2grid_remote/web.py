"""https:// and http:// locations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import quote, unquote, urljoin, urlsplit

from torch2grid_core import LoadError, SourceOpener
from torch2grid_core.sources import Source
from torch2grid_remote import limits, ranges
from torch2grid_remote.addresses import split
from torch2grid_remote.connections import abandon, body, refused, request
from torch2grid_remote.files import Begun, Entry, NotThere, RemoteFolder, begun
from torch2grid_remote.retrying import Tell, persistently
from torch2grid_remote.sightings import Sightings

_SAFE = "/:;,+=&@!$'()*~[]"
_PARAMETERS = re.compile(r";[^/;=]*=[^/]*$")  # of the last name of a path


@dataclass
class WebStore:
    """The files of a server. A path is that of an address, decoded, without the ``/`` in front.

    given, raw: the path of the location, and as it was written. behind: its parameters and query, which belong to it alone.
    """

    origin: str  # with the scheme, without a user
    user: str = field(default="", repr=False)
    behind: str = field(default="", repr=False)  # ``;key=…?token=…``
    given: str = ""
    raw: str = ""
    looks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._seen = Sightings()

    def __getstate__(self) -> dict[str, object]:
        return {"origin": self.origin, "given": self.given, "raw": self.raw, "user": "", "behind": "", "_seen": Sightings()}

    @property
    def shippable(self) -> bool:
        """False where the address holds what may be a secret."""
        return not (self.user or self.behind)

    def shown(self, path: str) -> str:
        """The address, without what may be a secret."""
        return f"{self.origin}/{self._written(path)}"

    def _written(self, path: str) -> str:
        return self.raw if path == self.given else quote(path, safe=_SAFE)

    def _url(self, path: str) -> str:
        scheme, _, host = self.origin.partition("://")
        behind = self.behind if path == self.given else ""
        return f"{scheme}://{f'{self.user}@' if self.user else ''}{host}/{self._written(path)}{behind}"

    def begin(self, path: str) -> Begun:
        """The first bytes of a file. Raises ``NotThere``."""
        found, url = ranges.begin(self._url(path), self.shown(path))
        self._seen.note(path, self._url(path), url)
        return found

    def fetch(self, path: str, version: str, size: int, start: int, buffer: memoryview, tell: Tell | None) -> None:
        """Fill *buffer* from byte *start*."""
        shown = self.shown(path)

        def attempt(start: int, buffer: memoryview, arrived: Tell, wait: float) -> None:
            self._seen.ask(
                path,
                lambda: self._url(path),
                lambda url: ranges.fetch(url, shown, version, size, start, buffer, arrived, wait),
            )

        persistently(shown, attempt, start, buffer, tell)

    def listing(self, path: str) -> Sequence[Entry]:
        """What the page of a folder links to that lies in it."""
        folder = f"{path}/" if path else ""
        shown, url = self.shown(folder), self._url(folder)
        found: list[Entry] = []

        def attempt(start: int, buffer: memoryview, arrived: Tell, wait: float) -> None:
            answer = request(url, {}, shown, wait)
            if answer.status == 200 and answer.headers.get("content-type", "").startswith("text/html"):
                found[:] = _linked(body(answer, limits.PAGE, shown, wait).decode("utf-8", "replace"), answer.url)
            elif answer.status in (200, 403, 404):
                abandon(answer)
                if answer.status != 200:
                    raise NotThere(shown, f"the server lists no such folder: it answers {answer.status}", "check the address")
            else:
                raise refused(answer, shown)
            arrived(len(buffer))

        persistently(shown, attempt, 0, memoryview(bytearray(1)))
        return found


def _linked(page: str, url: str) -> list[Entry]:
    """The entries of a folder by the page *url* that lists it: links to what lies right in it, and to nothing else."""
    import html.parser  # which takes long, and only listings need it

    links: list[str] = []

    class Links(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value for name, value in attrs if tag == "a" and name == "href" and value)

    Links().feed(page)
    here, found = urlsplit(url), dict[str, Entry]()
    for link in links[: limits.LISTED]:
        try:
            place = urlsplit(urljoin(url, link))
        except ValueError:
            continue
        if place[:2] != here[:2] or place.query or not place.path.startswith(here.path):
            continue
        name, slash, rest = place.path[len(here.path) :].partition("/")
        if name and not rest and unquote(name) not in (".", "..") and "/" not in unquote(name):
            found[unquote(name)] = Entry(unquote(name), bool(slash))
    return list(found.values())


class Web(SourceOpener):
    """https://… and http://…: the ranges that are needed, never the whole file"""

    name: ClassVar[str] = "http"  # a file that is given may take its place
    schemes: ClassVar[tuple[str, ...]] = ("https", "http")

    def open(self, location: str) -> Source:
        """A file, or, where the address ends with ``/``, a folder. Raises ``LoadError``."""
        place = split(location)
        user, _, host = place.netloc.rpartition("@")
        if not place.hostname:
            raise LoadError(f"{place.scheme}://{host}{place.path}", "names no server", "check the address")
        alone = _PARAMETERS.sub("", place.path)
        raw, behind = alone.lstrip("/"), place.path[len(alone) :] + (f"?{place.query}" if place.query else "")
        path = unquote(raw)
        store = WebStore(f"{place.scheme}://{host}", user, behind, path, quote(raw, safe=f"%{_SAFE}"))
        if not path or path.endswith("/"):
            folder = RemoteFolder(store, path.rstrip("/"))
            _ = folder.entries
            return folder
        return begun(store, path)
