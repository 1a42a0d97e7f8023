"""The explorer as the tests run it: installed for one process, on a port of its own, asked by sockets or by a browser."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.tools import COMMAND, PROJECT

SOURCE = PROJECT / "plugins" / "torch2grid_explore" / "src"


def installed(folder: Path) -> list[Path]:
    """Folders for the import path of a process in which torch2grid-explore is installed."""
    site = folder / "explore-site"
    about = site / "torch2grid_explore-0.1.0.dist-info"
    if not about.exists():
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torch2grid-explore\nVersion: 0.1.0\n")
        (about / "entry_points.txt").write_text("[torch2grid]\nexplore = torch2grid_explore.plugin\n")
    return [site, SOURCE]


class Client:
    """Asks a running explorer what its page would ask. address: without a path; token: for one exchange."""

    def __init__(self, address: str, process: subprocess.Popen[str] | None = None) -> None:
        self.address, _, token = address.partition("/?token=")
        self.token, self.process = token, process
        self.host = self.address.removeprefix("http://")
        self.jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def enter(self) -> Client:
        """Exchange the token for a cookie."""
        self._opener.open(f"{self.address}/?token={self.token}", timeout=30).read()
        return self

    def get(self, path: str) -> bytes:
        """The answer to a request. Raises ``urllib.error.HTTPError`` for a refusal."""
        found: bytes = self._opener.open(f"{self.address}{path}", timeout=60).read()
        return found

    def json(self, path: str) -> Any:
        """The same as plain data."""
        return json.loads(self.get(path))

    def filled(self) -> list[dict[str, Any]]:
        """Wait until all pictures are read; the events until then."""
        last, seen = len(self.json("/api/model")["pictures"]) - 1, []
        with self._opener.open(f"{self.address}/api/events", timeout=60) as answer:
            for line in answer:
                if line.startswith(b"data: "):
                    seen += json.loads(line[6:])["events"]
                if any(each.get("picture") == last and each["done"] == each["total"] for each in seen):
                    return seen
        raise AssertionError(f"the pass did not end: {seen}")


@contextlib.contextmanager
def served(folder: Path, *words: object) -> Iterator[Client]:
    """``torch2grid explore`` with these words, in a process of its own."""
    path = os.pathsep.join(map(str, installed(folder)))
    command = [str(COMMAND), "explore", *map(str, words), "--no-browser", "-q"]
    errors = (folder / "explore.err").open("w")
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), (folder / "explore.err").read_text()
        yield Client(address, process)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
        errors.close()


@contextlib.contextmanager
def running(checkpoints: Sequence[Any], spec: Any = "atlas", memory: int = 1 << 24) -> Iterator[tuple[Client, Any]]:
    """A server of *checkpoints* in this process: the client and its session. Small memory makes more levels that are read."""
    if str(SOURCE) not in sys.path:
        sys.path.insert(0, str(SOURCE))
    from torch2grid_core import PluginManager
    from torch2grid_explore.bound import Bound
    from torch2grid_explore.picture import Picture, map_of
    from torch2grid_explore.server import Served
    from torch2grid_explore.session import Session

    manager = PluginManager.discover(third_party=False)
    place = map_of(manager, spec, {name: tensor.shape for name, tensor in checkpoints[0].items()}, memory)
    pictures = [Picture(place, each, f"picture {number}", "weights") for number, each in enumerate(checkpoints)]
    session = Session(place, pictures, "a test", [], ["model"], "atlas")
    bound = Bound("127.0.0.1", 0)
    address = bound.address
    server = Served(session, bound)
    session.start()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield Client(address), session
    finally:
        server.stop()
        thread.join(20)
