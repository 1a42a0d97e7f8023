"""A real HTTP server on this machine, which counts what is asked of it, and misbehaves on request."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.support.answering import answering

STALL = 1.5  # seconds


class Served:
    """The files below *folder*, at *url*. fault: how it misbehaves, of requests that begin at byte *after* or behind it.

    requests: (address, first byte, bytes sent) of each; connections: how many were opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.fault, self.after = folder, "", 0
        self.elsewhere = "http://elsewhere.invalid"  # where the fault of that name redirects to
        self.requests: list[tuple[str, int, int]] = []
        self.connections = 0
        self.url = ""

    @property
    def sent(self) -> int:
        """Bytes of bodies that were sent."""
        return sum(length for _, _, length in self.requests)

    def forget(self) -> None:
        """Begin to count again."""
        self.requests, self.connections = [], 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open
    served: Served

    def log_message(self, format: str, *args: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.served.connections += 1

    def do_GET(self) -> None:
        served, address = self.served, unquote(urlsplit(self.path).path)
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())  # type: ignore[union-attr]
        fault = served.fault if first >= served.after else ""
        path = served.folder / address.lstrip("/")
        if address.startswith("/moved/") or fault == "elsewhere":
            served.requests.append((address, first, 0))
            goal = f"/{address.removeprefix('/moved/')}"
            self._answer(302, b"", Location=f"{served.elsewhere}{goal}" if fault == "elsewhere" else goal)
            return
        if fault == "404" or not path.is_file():
            served.requests.append((address, first, 0))
            self._answer(404, b"<html>nothing here</html>")
            return
        whole = path.read_bytes()
        etag = '"changed"' if fault == "changed" else f'"{path.stat().st_mtime_ns}"'
        body = whole[first : last + 1]
        served.requests.append((address, first, len(body)))
        if first >= len(whole):
            self._answer(416, b"", **{"Content-Range": f"bytes */{len(whole)}"})
        elif fault == "whole":
            self._answer(200, whole, ETag=etag)
        elif fault == "other":
            self._answer(206, body, ETag=etag, **{"Content-Range": f"bytes {first + 1}-{first + len(body)}/{len(whole)}"})
        else:
            if fault == "stall":
                time.sleep(STALL)
            if fault == "hangs up":
                self.close_connection = True
                return
            span = f"bytes {first}-{first + len(body) - 1}/{len(whole)}"
            self._answer(206, body, cut=fault == "short", ETag=etag, **{"Content-Range": span})
            if fault == "closes":  # and does not say so
                self.close_connection = True

    def _answer(self, status: int, body: bytes, cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body[: len(body) // 2] if cut else body)
        except ConnectionError:
            self.close_connection = True  # it has heard enough
        if cut:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # one that hangs up in the middle


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Serve *folder* for as long as this lasts."""
    served = Served(folder)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"served": served}))
    with answering(server) as place:
        served.url = f"http://{place}"
        yield served
