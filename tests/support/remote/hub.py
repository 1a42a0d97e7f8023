"""A small hub with the interface of Hugging Face's: repositories at a commit, and another server that holds what is large."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote

from tests.support.remote.server import Handler, Request, Server, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_NobodyMaySeeThis"
_LARGE = 1000  # bytes of a file that lies elsewhere
_PAGE = 2  # entries of a page of a listing


@dataclass
class FakeHub:
    """Repositories are the folders ``owner/name`` of *folder*; those of ``private`` want the token. web: the hub; store: where
    large files are. valid: the signature that the store takes."""

    folder: Path
    web: Server
    store: Server
    valid: str = "1"
    revisions: list[str] = field(default_factory=list)  # that were asked for

    @property
    def environment(self) -> dict[str, str]:
        """For a command that asks this hub, as nobody."""
        return {"HF_ENDPOINT": self.web.url, "HF_HOME": str(self.folder / "nobody"), "HF_TOKEN": ""}

    def at_hub(self, handler: Handler, request: Request) -> bool:
        """Answer as the hub."""
        path = request.path
        if (
            path.removeprefix("/api/models").startswith("/private/")
            and request.headers.get("authorization") != f"Bearer {TOKEN}"
        ):
            handler.say(request, 401, b'{"error":"Invalid username or password."}')
            return True
        if path.startswith("/api/models/"):
            owner, name, what, revision = unquote(path).removeprefix("/api/models/").split("/", 3)
            place = self.folder / owner / name
            if not place.is_dir() or (what == "tree" and revision != COMMIT):
                handler.say(request, 404, b'{"error":"Repository not found"}')
            elif what == "revision":
                self.revisions.append(revision)
                handler.say(request, 200, json.dumps({"id": f"{owner}/{name}", "sha": COMMIT}).encode())
            else:
                self._tree(handler, request, place)
            return True
        owner, name, _, commit, inside = path.lstrip("/").split("/", 4)
        file = self.folder / owner / name / inside
        if commit != COMMIT or not file.is_file():
            handler.say(request, 404, b"Entry not found")
        elif file.stat().st_size >= _LARGE:
            goal = f"{self.store.url}/{quote(str(file.relative_to(self.folder)))}?Signature={self.valid}"
            handler.say(request, 302, b"", Location=goal)
        else:
            handler.send_file(request, file, "range" in request.headers)
        return True

    def _tree(self, handler: Handler, request: Request, place: Path) -> None:
        every = [
            {"type": "directory", "path": str(each.relative_to(place)), "oid": "0"}
            if each.is_dir()
            else {"type": "file", "path": str(each.relative_to(place)), "size": each.stat().st_size, "oid": "0"}
            for each in sorted(place.rglob("*"))
        ]
        start = int(parse_qs(request.query).get("cursor", ["0"])[0])
        more = {}
        if start + _PAGE < len(every):
            more["Link"] = f'<{self.web.url}{request.path}?recursive=true&cursor={start + _PAGE}>; rel="next"'
        handler.say(request, 200, json.dumps(every[start : start + _PAGE]).encode(), **more)

    def at_store(self, handler: Handler, request: Request) -> bool:
        """Answer as the store: whoever has a valid signature gets it, and nobody sends a token there."""
        if "authorization" in request.headers:
            handler.say(request, 400, b"who are you?")
            return True
        if request.query != f"Signature={self.valid}":
            handler.say(request, 403, b"expired")
            return True
        return False


@contextmanager
def hub(folder: Path, **options: float) -> Iterator[FakeHub]:
    """A hub of the repositories in *folder*, for as long as this lasts."""
    with ExitStack() as stack:
        web = stack.enter_context(serving(folder, latency=options.get("latency", 0.0)))
        store = stack.enter_context(serving(folder, **options))
        found = FakeHub(folder, web, store)
        web.answer, store.answer = found.at_hub, found.at_store
        yield found
