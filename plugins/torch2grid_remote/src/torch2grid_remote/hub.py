"""hf:// locations: repositories of the Hugging Face hub, at one commit.

The hub's interface: https://huggingface.co/docs/hub/api. Tokens are looked for where its own library looks.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urljoin, urlsplit

from torch2grid_core import LoadError, SourceOpener
from torch2grid_core.sources import Source
from torch2grid_remote import limits, ranges
from torch2grid_remote.addresses import split
from torch2grid_remote.connections import Refused, body, refused, release, request
from torch2grid_remote.files import Begun, Entry, NotThere, RemoteFolder, begun
from torch2grid_remote.retrying import Tell, persistently
from torch2grid_remote.sightings import Sightings

_HUB = "https://huggingface.co"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"[\w.-]{1,96}", re.ASCII)
_REF = re.compile(r"refs/(?:pr|convert)/[\w.-]+")
_NEXT = re.compile(r'<([^<>]+)>\s*;\s*rel="?next"?')
_KINDS = {"datasets": "datasets", "spaces": "spaces"}
_PAGES = 1000


def endpoint() -> str:
    """The address of the hub."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or _HUB


def token() -> str:
    """The token of whoever is logged in at the hub, or an empty text. It goes to the hub alone."""
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in ("1", "ON", "YES", "TRUE"):
        return ""
    stated = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if not stated:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
        home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
        path = os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")
        try:
            stated = Path(os.path.expandvars(os.path.expanduser(path))).read_text(encoding="utf-8")
        except (OSError, ValueError):
            stated = ""
    return stated.replace("\n", "").replace("\r", "").strip()


@dataclass
class HubStore:
    """The files of a repository at one commit. named: as the location names it, with the revision."""

    hub: str
    kind: str  # models, datasets or spaces
    repository: str
    commit: str
    named: str
    shippable: ClassVar[bool] = True
    looks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._seen = Sightings()
        self._tree: dict[str, list[Entry]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_tree": {}}

    def shown(self, path: str) -> str:
        """The location of what is at *path*."""
        return f"hf://{self.named}/{path}" if path else f"hf://{self.named}"

    def _url(self, path: str) -> str:
        kind = "" if self.kind == "models" else f"{self.kind}/"
        return f"{self.hub}/{kind}{self.repository}/resolve/{self.commit}/{quote(path, safe='/')}"

    def begin(self, path: str) -> Begun:
        """The first bytes of a file. Raises ``NotThere``."""
        (head, size, _), url = ranges.begin(self._url(path), self.shown(path), _secret())
        self._seen.note(path, self._url(path), url)
        return Begun(head, size, self.commit)

    def fetch(self, path: str, version: str, size: int, start: int, buffer: memoryview, tell: Tell | None) -> None:
        """Fill *buffer* from byte *start*. What a commit holds never changes."""
        shown = self.shown(path)

        def attempt(start: int, buffer: memoryview, arrived: Tell, wait: float) -> None:
            def at(url: str) -> str:
                secret = _secret() if urlsplit(url)[:2] == urlsplit(self.hub)[:2] else ""
                return ranges.fetch(url, shown, "", size, start, buffer, arrived, wait, secret)

            self._seen.ask(path, lambda: self._url(path), at)

        persistently(shown, attempt, start, buffer, tell)

    def listing(self, path: str) -> Sequence[Entry]:
        """What is in a folder of the repository."""
        if not self._tree:
            self._tree = self._listed()
        if path and path not in self._tree:
            raise NotThere(self.shown(path), "is not there", "check the address")
        return self._tree.get(path, [])

    def _listed(self) -> dict[str, list[Entry]]:
        url = f"{self.hub}/api/{self.kind}/{self.repository}/tree/{self.commit}?recursive=true"
        found: dict[str, list[Entry]] = {"": []}
        count = 0
        for _ in range(_PAGES):
            items, following = asked(url, self.shown(""))
            for item in items if isinstance(items, list) else ():
                entry = _entry(item, self.commit)
                if entry is None:
                    continue
                where, name = entry
                found.setdefault(where, []).append(name)
                if name.is_folder:
                    found.setdefault(f"{where}/{name.name}" if where else name.name, [])
                count += 1
            if not following or urlsplit(following)[:2] != urlsplit(self.hub)[:2] or count > limits.LISTED:
                break
            url = following
        return found


def _entry(item: Any, commit: str) -> tuple[str, Entry] | None:
    """The folder, and the entry, of an item of the hub's listing."""
    path = item.get("path") if isinstance(item, dict) else None
    if not isinstance(path, str) or len(path) > limits.PATH or any(part in ("", ".", "..") for part in path.split("/")):
        return None
    where, _, name = path.rpartition("/")
    if item.get("type") == "directory":
        return where, Entry(name, True, 0)
    size = item.get("size")
    return where, Entry(name, False, size if isinstance(size, int) and size >= 0 else -1, commit)


def _secret() -> str:
    found = token()
    return f"Bearer {found}" if found else ""


def asked(url: str, shown: str) -> tuple[Any, str]:
    """What the hub's interface answers, and the address of the next page. Raises ``NotThere``, ``LoadError``."""
    found: list[tuple[Any, str]] = []

    def attempt(start: int, buffer: memoryview, arrived: Tell, wait: float) -> None:
        answer = request(url, {"Accept": "application/json"}, shown, wait, _secret())
        if answer.status == 404:
            release(answer)
            raise NotThere(shown, "the hub has no such repository or revision", "check the address")
        if answer.status in (401, 403):
            release(answer)
            advice = "check the address; for a private or gated one, log in with `hf auth login`"
            raise Refused(shown, f"the hub answers {answer.status}: there is none, or it is not open to you", advice)
        if answer.status != 200:
            raise refused(answer, shown)
        following = _NEXT.search(answer.headers.get("link", ""))
        raw = body(answer, limits.LISTING, shown, wait)
        if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > limits.VALUES:  # before any of them is made
            raise LoadError(shown, f"the hub's answer holds more than {limits.VALUES:,} values", "check HF_ENDPOINT")
        try:
            found.append((json.loads(raw), urljoin(url, following[1]) if following else ""))
        except (ValueError, RecursionError) as error:
            raise LoadError(shown, "the hub's answer is not JSON", "check HF_ENDPOINT, and try again") from error
        arrived(len(buffer))

    persistently(shown, attempt, 0, memoryview(bytearray(1)))
    return found[-1]


class Hub(SourceOpener):
    """hf://owner/name[@revision][/file]: a repository of the Hugging Face hub, or a file in it, at one commit"""

    name: ClassVar[str] = "hf"
    schemes: ClassVar[tuple[str, ...]] = ("hf",)

    def open(self, location: str) -> Source:
        """The repository as a folder, or what is in it. Raises ``LoadError``."""
        split(location)
        kind, repository, revision, path = parsed(location)
        prefix = "" if kind == "models" else f"{kind}/"
        named = f"{prefix}{repository}" + (f"@{quote(revision, safe='/')}" if revision else "")
        store = HubStore(endpoint(), kind, repository, revision, named)
        if not _COMMIT.fullmatch(revision):
            url = f"{store.hub}/api/{kind}/{repository}/revision/{quote(revision or 'main', safe='')}"
            about, _ = asked(url, store.shown(""))
            commit = about.get("sha") if isinstance(about, dict) else None
            if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
                raise LoadError(store.shown(""), "the hub does not name a commit", "check HF_ENDPOINT, and try again")
            store.commit = commit
        if path and not path.endswith("/"):
            try:
                return begun(store, path)
            except NotThere:
                pass  # it may be a folder
        folder = RemoteFolder(store, path.rstrip("/"))
        _ = folder.entries
        return folder


def parsed(location: str) -> tuple[str, str, str, str]:
    """Kind, repository, revision (empty: the usual one) and path of hf://owner/name[@revision][/file]. Raises ``LoadError``."""
    rest = location.partition("://")[2].partition("?")[0].partition("#")[0]
    kind = "models"
    first, _, behind = rest.partition("/")
    if first in _KINDS:
        kind, rest = first, behind
    wrong = LoadError(f"hf://{rest}", "names no repository", "write hf://owner/name, hf://owner/name@revision or …/file")
    owner, slash, rest = rest.partition("/")
    name, at, rest = _cut(rest)
    if not slash or not _NAME.fullmatch(owner) or not _NAME.fullmatch(name):
        raise wrong
    revision = ""
    if at == "@":
        found = _REF.match(rest)
        if found:
            revision, rest = found[0], rest[found.end() :]
        else:
            revision, _, rest = rest.partition("/")
            revision = unquote(revision)
        if not revision:
            raise wrong
    path = rest.lstrip("/")
    if any(part in (".", "..") for part in path.split("/")):
        raise wrong
    return kind, f"{owner}/{name}", revision, path


def _cut(rest: str) -> tuple[str, str, str]:
    """*rest* up to the first ``@`` or ``/``, that character, and what follows it."""
    found = re.search(r"[@/]", rest)
    return (rest, "", "") if found is None else (rest[: found.start()], found[0], rest[found.end() :])
