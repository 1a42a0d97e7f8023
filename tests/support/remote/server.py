"""A real HTTP server on this machine: it counts what is asked of it, is as far away and as slow as wanted, and misbehaves.

``python server.py FOLDER --latency S --rate B`` serves from a process of its own, and prints its address: what it costs is not
the reader's.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tests.support.answering import answering

_PIECE = 128 << 10
STALLED = 300.0  # seconds, much longer than anybody waits


@dataclass
class Request:
    """What was asked. sent: bytes of the body that went out."""

    path: str
    query: str
    first: int
    last: int
    headers: dict[str, str]
    sent: int = 0
    status: int = 0


@dataclass
class Server:
    """The files below *folder*. latency: seconds before each answer; rate: bytes per second of a connection, 0: all there are.

    fault: how it misbehaves; after: of requests that begin at that byte or behind it; times: how often, -1: always.
    """

    folder: Path
    latency: float = 0.0
    rate: float = 0.0
    fault: str = ""
    after: int = 0
    times: int = -1
    elsewhere: str = ""  # where redirects lead to
    lists: bool = True
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    busy: int = 0
    most: int = 0  # requests that were answered at the same time
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)
    answer: Callable[[Any, Request], bool] | None = None  # what a server that is more than files does first

    @property
    def sent(self) -> int:
        """Bytes of bodies that went out."""
        return sum(each.sent for each in self.requests)

    def forget(self) -> None:
        """Begin to count again."""
        self.requests, self.connections, self.most = [], 0, 0

    def misbehaves(self, first: int) -> str:
        """The fault of this request."""
        with self.lock:
            if not self.fault or first < self.after or self.times == 0:
                return ""
            self.times -= self.times > 0
            return self.fault


class Handler(BaseHTTPRequestHandler):
    """Answers GET."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server_: Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: it is counted."""

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server_.connections += 1

    def do_GET(self) -> None:
        served = self.server_
        place = urlsplit(self.path)
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(span[1]), int(span[2])) if span else (0, -1)
        request = Request(unquote(place.path), place.query, first, last, {k.lower(): v for k, v in self.headers.items()})
        with served.lock:
            served.requests.append(request)
            served.busy += 1
            served.most = max(served.most, served.busy)
        try:
            if served.latency:
                time.sleep(served.latency)
            if served.answer is None or not served.answer(self, request):
                self._file(request, served.folder / request.path.partition(";")[0].lstrip("/"), bool(span))
        except ConnectionError:
            self.close_connection = True
        finally:
            with served.lock:
                served.busy -= 1

    def _file(self, request: Request, path: Path, ranged: bool) -> None:
        served, fault = self.server_, self.server_.misbehaves(request.first)
        if fault == "redirect":
            self.say(request, 302, b"", Location=f"{served.elsewhere}{quote(request.path)}?signature=SECRET")
        elif fault in ("503", "429", "500", "403", "401"):
            self.say(request, int(fault), b"<html>busy</html>", **{"Retry-After": "1"})
        elif fault == "stall":
            served.stopped.wait(STALLED)
            self.close_connection = True
        elif fault == "hang up":
            self.close_connection = True
        elif path.is_dir() and served.lists:
            links = [f'<a href="{quote(each.name)}{"/" * each.is_dir()}">{each.name}</a>' for each in sorted(path.iterdir())]
            page = f'<html><a href="../">up</a><a href="https://elsewhere.invalid/x">x</a>{"".join(links)}</html>'
            self.say(request, 200, page.encode(), **{"Content-Type": "text/html"})
        elif not path.is_file():
            self.say(request, 404, b"<html>nothing here</html>")
        else:
            self.send_file(request, path, ranged, fault)

    def send_file(self, request: Request, path: Path, ranged: bool, fault: str = "", **headers: str) -> None:
        """A range of a file, or the whole where none is asked for."""
        status = path.stat()
        size, etag = status.st_size, f'"{status.st_mtime_ns:x}-{status.st_size}"'
        if fault == "weak":
            etag = f"W/{etag}"
        wanted = request.headers.get("if-match")
        if wanted is not None and wanted != etag:
            self.say(request, 412, b"")
            return
        if ranged and request.first >= size:
            self.say(request, 416, b"", **{"Content-Range": f"bytes */{size}"})
            return
        first, last = (request.first, min(request.last, size - 1)) if ranged and fault != "no ranges" else (0, size - 1)
        headers = {"ETag": etag, "Content-Type": "application/octet-stream", **headers}
        length = last - first + 1
        if ranged and fault != "no ranges":
            shift = 1 if fault == "other bytes" else 0
            headers["Content-Range"] = f"bytes {first + shift}-{last + shift}/{size + (fault == 'grown')}"
        stated = {"longer": length + 100, "shorter": max(length - 100, 0)}.get(fault, length)
        if fault == "compressed":
            headers["Content-Encoding"] = "gzip"
        self.begin(request, 206 if ranged and fault != "no ranges" else 200, stated, headers)
        if fault == "longer":
            self.close_connection = True
        end = last + 1 - (100 if fault == "shorter" else 0)
        if fault in ("reset", "cut", "pause"):
            end = first + length // 2
        with path.open("rb") as stream:
            self.paced(request, stream, first, end)
        if fault == "pause":
            self.server_.stopped.wait(STALLED)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if fault in ("reset", "cut", "pause"):
            self.close_connection = True

    def paced(self, request: Request, stream: Any, first: int, end: int) -> None:
        """Send bytes *first* to *end*, no faster than the rate."""
        rate, started, at = self.server_.rate, time.monotonic(), first
        while at < end:
            count = self.connection.sendfile(stream, at, min(_PIECE, end - at))
            at += count
            request.sent += count
            if rate and at < end and (early := started + (at - first) / rate - time.monotonic()) > 0:
                time.sleep(early)

    def begin(self, request: Request, status: int, length: int, headers: dict[str, str]) -> None:
        """Send the head of an answer."""
        request.status = status
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def say(self, request: Request, status: int, body: bytes, **headers: str) -> None:
        """A short answer."""
        self.begin(request, status, len(body), headers)
        self.wfile.write(body)
        self.wfile.flush()
        request.sent += len(body)


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that hangs up in the middle."""


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[Server]:
    """Serve *folder* for as long as this lasts."""
    served = Server(folder, **options)
    server = _Threads(("127.0.0.1", 0), type("Handler", (Handler,), {"server_": served}))
    with answering(server) as place:
        served.url = f"http://{place}"
        try:
            yield served
        finally:
            served.stopped.set()


def main() -> None:
    """Serve until standard input ends; for each line of it, say what was asked since the last, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=0.0)
    given = parser.parse_args()
    with serving(given.folder, latency=given.latency, rate=given.rate) as served:
        print(served.url, flush=True)
        for _ in sys.stdin:
            print(json.dumps({"requests": len(served.requests), "bytes": served.sent, "most": served.most}), flush=True)
            served.forget()


if __name__ == "__main__":
    main()
