"""A person at the page of the explorer: a real browser that reports whatever the page should not do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.support.answering import answering

FILLED = "body[data-filled=yes]"
Array = np.ndarray[Any, Any]


class Walk:
    """One page, where no error, no warning and no request to another host is allowed.

    requests: addresses asked for so far. root: the element of the explorer, by a CSS selector.
    """

    def __init__(self, browser: Any, address: str, root: str = "body", cookies: Any = (), **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "accept_downloads": True, **options})
        if cookies:
            self.context.add_cookies(list(cookies))
        self.page = self.context.new_page()
        self.root = root
        self.problems: list[str] = []
        self.allowed: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.problems.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.hosts = ["/".join(address.split("/")[:3])]
        self.page.goto(address)
        self.page.wait_for_selector(f"{root}[data-filled=yes]", timeout=60_000)
        self.settled()

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.context.close()
        if kind is None:
            unexpected = [each for each in self.problems if not any(part in each for part in self.allowed)]
            assert unexpected == [], unexpected
            assert [each for each in self.requests if not each.startswith((*self.hosts, "blob:", "data:"))] == []

    def js(self, expression: str, argument: Any = None) -> Any:
        """The value of *expression*, in which x is the explorer, v its view and a the argument."""
        script = (
            "(a) => { const x = document.querySelector('"
            + self.root
            + "').explorer; const v = x.view; return "
            + expression
            + "; }"
        )
        return self.page.evaluate(script, argument)

    def until(self, expression: str, argument: Any = None, seconds: float = 20) -> Any:
        """Wait until *expression* is true; its value. Its policy lets the page evaluate no string later."""
        for _ in range(int(seconds / 0.05)):
            if found := self.js(expression, argument):
                return found
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never: {expression}; {self.page.url}; {self.readout()}")

    def settled(self, address: bool = True) -> None:
        """Wait until what is in sight is there with all its planes, its limits are, and the *address* says where one is."""
        self.page.wait_for_timeout(60)
        self.until(
            "x.prepare() && !v.queued && v.tiles.completed() && x.root.dataset.ready === "
            "`${v.camera.level}/${x.kind}/${x.each ? 'each' : 'all'}` && [...v.tiles.kept.values()].every((t) => !t.asked)"
        )
        if address:
            self.page.wait_for_timeout(300)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def readout(self) -> str:
        text: str = self.page.locator(f"{self.root} .readout").inner_text()
        return text

    def at(self, tensor: str, *index: int, turn: int = 0) -> tuple[float, float]:
        """Where a weight is in the window, in CSS pixels; turn: in which of several pictures beside each other."""
        place = self.js(
            "(() => { const n = x.atlas.tensors.findIndex((t) => t[0] === a[0]); const s = x.atlas.tensors[n][1];"
            "const flat = a[1].reduce((sum, digit, axis) => sum * s[axis] + digit, 0);"
            "const b = x.blocks.get(n).find((e) => e.start <= flat && flat < e.start + e.size);"
            "let [row, column, left] = [b.row, b.column, flat - b.start];"
            "for (const d of b.dims) { const g = Math.floor(left / d.stride);"
            " left -= g * d.stride; row += g * d.down; column += g * d.across; }"
            "const c = v.canvas.getBoundingClientRect();"
            "return [c.left + (a[2] * v.room()[0] + (column + 0.5 - v.camera.column) * v.camera.scale) / v.ratio,"
            " c.top + (row + 0.5 - v.camera.row) * v.camera.scale / v.ratio]; })()",
            [tensor, list(index), turn],
        )
        return float(place[0]), float(place[1])

    def go(self, tensor: str, *index: int) -> None:
        """Jump to a weight, as a bookmark does."""
        self.js(
            "(() => { const n = x.atlas.tensors.findIndex((t) => t[0] === a[0]); const s = x.atlas.tensors[n][1];"
            "x.goToWeight(n, a[1].reduce((sum, digit, axis) => sum * s[axis] + digit, 0)); return n; })()",
            [tensor, list(index)],
        )
        self.settled()

    def told(self, tensor: str, *index: int) -> str:
        """The number that the line below the map tells of a weight, as soon as it tells of that."""
        text: str = self.until(
            "x.readout.textContent.startsWith(a) && x.readout.textContent", f"{tensor}[{', '.join(map(str, index))}] = "
        )
        return text.rpartition(" = ")[2]

    def cells(self) -> tuple[Array, dict[str, Any]]:
        """The canvas without borders and names, as red, green and blue; and what the view is."""
        found = self.js(
            "(() => { v.marked = false; v.cursor = null; v.now(); const [w, h] = [v.canvas.width, v.canvas.height];"
            "const copy = document.createElement('canvas'); [copy.width, copy.height] = [w, h];"
            "const pen = copy.getContext('2d', { willReadFrequently: true }); pen.drawImage(v.canvas, 0, 0);"
            "const bytes = pen.getImageData(0, 0, w, h).data; let text = '';"
            "for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));"
            "v.marked = true; v.draw(); const c = v.camera; const look = x.look(0, c.level);"
            "return { data: btoa(text), w, h, level: c.level, row: c.row, column: c.column, scale: c.scale,"
            "look: { ...look.scale, plane: look.plane } }; })()"
        )
        import base64

        pixels = np.frombuffer(base64.b64decode(found.pop("data")), np.uint8).reshape(found["h"], found["w"], 4)
        return pixels[..., :3], found


@contextlib.contextmanager
def hosted(folder: Any) -> Iterator[str]:
    """The address of a plain web server of *folder*, in this process: it sends parts of files, to pages of other hosts too."""
    import functools
    import http.server
    import re

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def end_headers(self) -> None:
            self.send_header("Access-Control-Allow-Origin", "*")
            super().end_headers()

        def do_GET(self) -> None:
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if span is None:
                super().do_GET()
                return
            first, last = map(int, span.groups())
            with open(self.translate_path(self.path), "rb") as file:
                whole = file.read()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(whole)}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.write(whole[first : last + 1])

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    with answering(server) as place:
        yield f"http://{place}"
