"""A notebook for the widget: a page that loads its module, and a bridge that hands messages and buffers back and forth."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.answering import answering
from tests.support.explore import SOURCE

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>a notebook</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/widget.css"><script type="module" src="/host.js"></script></head>
<body><h1>a notebook</h1><div id="cell"></div></body></html>"""
_HOST = """import widget from "/widget.js";
const heard = [];
const model = {
  on(name, listener) { heard.push(listener); },
  off(name, listener) { heard.splice(heard.indexOf(listener), 1); },
  send(message) { fetch("/send", { method: "POST", body: JSON.stringify(message) }); },
};
const events = new EventSource("/messages");
events.onmessage = (event) => {
  const { content, buffers } = JSON.parse(event.data);
  const views = buffers.map((text) => new DataView(Uint8Array.from(atob(text), (char) => char.charCodeAt(0)).buffer));
  heard.forEach((listener) => listener(content, views));
};
events.onopen = () => widget.render({ model, el: document.getElementById("cell") });
"""
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:"


@contextlib.contextmanager
def notebook(*models: Path) -> Iterator[str]:
    """The address of a page with ``Explorer(*models)`` in a cell."""
    if str(SOURCE) not in sys.path:
        sys.path.insert(0, str(SOURCE))
    from torch2grid_explore.widget import Explorer

    widget = Explorer(*map(str, models), memory=1 << 20)
    sent: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def send(content: Any, buffers: Any = None) -> None:
        sent.put({"content": content, "buffers": [base64.b64encode(each).decode() for each in buffers or []]})

    widget.send = send  # what goes to a kernel's front end otherwise
    files = {
        "/": ("text/html; charset=utf-8", _PAGE),
        "/host.js": ("text/javascript", _HOST),
        "/widget.js": ("text/javascript", str(widget._esm)),
        "/widget.css": ("text/css", str(widget._css)),
    }

    class Host(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/messages":
                self._head("text/event-stream")
                while (message := sent.get()) is not None:
                    self.wfile.write(f"data: {json.dumps(message)}\n\n".encode())
                    self.wfile.flush()
                return
            kind, text = files[self.path]
            self._head(kind)
            self.wfile.write(text.encode())

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            widget._received(widget, message, [])
            self.send_response(204)
            self.end_headers()

        def _head(self, kind: str) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-security-policy", _POLICY)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    with answering(server) as place:
        try:
            yield f"http://{place}/"
        finally:
            sent.put(None)
        widget.close()
