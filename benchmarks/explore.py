"""``torch2grid explore`` in Debian's Chromium: from the start of the process to the last tile; what frames and memory cost."""

from __future__ import annotations

import gzip
import http.client
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright
from safetensors.numpy import save_file
from tests.support.explore import Client, served

from benchmarks.models import model, room
from benchmarks.task import Check, Section, at_most, markdown
from torch2grid_builtin.transformers import Atlas
from torch2grid_builtin.viewer import bundled, modules

LARGE, LARGER = "llama.safetensors", "llama_4b.safetensors"
SCREEN = {"width": 1920, "height": 1080}
_TILES, _SCREENS = 60, 20
_IDLE = 3000  # milliseconds after the first view, in which nothing more should come


def run(folder: Path, rounds: int) -> Section:
    opened = [_opened(folder / f"opened{number}") for number in range(max(rounds, 1))]
    drawn, painted, wire = (statistics.median(each[key] for each in opened) for key in ("drawn", "painted", "wire"))
    checks = [
        at_most("Explore: boxes and names of 1.1 billion weights, from the start of the process", drawn, 0.7, " s"),
        at_most("Explore: all of them painted", painted, 2.0, " s"),
        at_most("Explore: the first view, over the wire", wire / 1e6, 8, " MB"),
        at_most("Explore: modules and styles, compressed", _client() / 1e3, 60, " kB"),
    ]
    walked, rows, found = _walked(folder / "walked")
    checks += walked
    for name, most in ((LARGE, 200), (LARGER, 350)):
        if not room(name):
            checks.append(at_most(f"Explore: memory of the server, {name}", _memory(folder / name, name), most, " MB"))
    checks += _many(folder / "many")
    table = markdown(["a tile at", "one plane, median", "p95", "all four, median", "p95"], rows)
    about = (
        "The page in Chromium without a GPU, 1920×1080; the browser runs when the process starts, and shares the cores with the"
        " pass. Tiles are asked for one at a time, on one connection, at random places, when the"
        " pass is over, by the plane that is shown, as the page asks for them, and by all; a new screen is"
        f" {found} tiles, at random places and levels."
    )
    return Section("The explorer", f"{about}\n\n{table}", checks)


@contextmanager
def _page() -> Iterator[tuple[Page, dict[str, float]]]:
    """An empty page of a browser, and the bytes that it will get."""
    seen = {"wire": 0.0}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SCREEN)  # type: ignore[arg-type]
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.loadingFinished", lambda event: seen.update(wire=seen["wire"] + event["encodedDataLength"]))
        page.goto("about:blank")
        yield page, seen
        browser.close()


def _opened(folder: Path) -> dict[str, float]:
    """Seconds from the start of the process until boxes, and until all is painted, in a browser that runs already."""
    folder.mkdir(parents=True)
    path = model(LARGE)
    path.read_bytes()[:1]  # in the cache of pages, as in the other benchmarks
    with _page() as (page, seen):
        began = time.monotonic()
        with served(folder, path) as client:
            page.goto(f"{client.address}/?token={client.token}")
            page.evaluate(_TOLD, "drawn")
            drawn = time.monotonic() - began
            page.evaluate(_TOLD, "filled")
            _wait(page)
            painted = time.monotonic() - began
            page.wait_for_timeout(_IDLE)
            return {"drawn": drawn, "painted": painted, "wire": seen["wire"]}


_TOLD = """(what) => new Promise((go) => {
  const told = () => document.body.dataset[what] === "yes" && go(performance.now());
  new MutationObserver(told).observe(document.body, { attributes: true });
  told();
})"""  # playwright's own waiting looks at every frame, and so has one drawn sixty times a second


def _wait(page: Page) -> float:
    """Wait until every tile in sight is there; milliseconds."""
    found: float = page.evaluate(
        """async () => {
          const { view } = document.body.explorer;
          const began = performance.now();
          while (!view.complete()) await new Promise((go) => setTimeout(go, 2));
          return performance.now() - began;
        }"""
    )
    return found


def _walked(folder: Path) -> tuple[list[Check], list[list[str]], int]:
    folder.mkdir(parents=True)
    rng = random.Random(3)
    with served(folder, model(LARGE)) as client:
        other = Client(f"{client.address}/?token={client.token}").enter()
        other.filled()
        rows, slowest = _tiles(other, rng)
        address = (folder / "explore.err").read_text().rpartition("in another browser: ")[2].strip()
        with _page() as (page, _):
            page.goto(address)
            page.wait_for_selector("body[data-filled=yes]")
            _wait(page)
            screens = sorted(_screen(page, rng) for _ in range(_SCREENS))
            moved, coloured, switched, asked = (page.evaluate(each) for each in (_MOVING, _COLOURING, _SWITCHING, _ASKED))
            many = page.evaluate("() => document.body.explorer.view.wanted().length")
    small = [p95 for level, p95 in slowest if level <= 8]
    checks = [
        at_most("Explore: a tile, any level, p95", max(p95 for _, p95 in slowest), 50, " ms"),
        at_most("Explore: a tile up to 8×8, p95", max(small), 10, " ms"),
        at_most("Explore: a new screen, p95", screens[int(0.95 * len(screens))], 400, " ms"),
        at_most("Explore: a frame while panning, p95", moved, 17, " ms"),
        at_most("Explore: recolouring a screen, p95", coloured, 25, " ms"),
        at_most("Explore: switching the reduction", switched, 50, " ms"),
        at_most("Explore: tiles asked for when the reduction is switched", asked, 0),
    ]
    return checks, rows, many


def _tiles(client: Client, rng: random.Random) -> tuple[list[list[str]], list[tuple[int, float]]]:
    about, get = client.json("/api/model")["map"], _kept(client)
    rows, slowest = [], []
    for level, (cell, _) in enumerate(about["cells"]):
        sides = [-(-about[side] // cell) for side in ("rows", "columns")]
        told = [f"{cell}×{cell}"]
        for planes in ("mean", "mean,rms,min,max"):
            taken = []
            for _ in range(_TILES):
                corner = [about["tile"] * rng.randrange(-(-side // about["tile"])) for side in sides]
                shape = [min(about["tile"], side - start) for side, start in zip(sides, corner, strict=True)]
                began = time.perf_counter()
                get(f"/api/cells/0/{level}/{'/'.join(map(str, corner + shape))}/{planes if cell > 1 else 'mean'}")
                taken.append(1000 * (time.perf_counter() - began))
            taken.sort()
            p95 = taken[int(0.95 * len(taken))]
            told += [f"{statistics.median(taken):.1f} ms", f"{p95:.1f} ms"]
            if planes == "mean":
                slowest.append((cell, p95))
        rows.append(told)
    return rows, slowest


def _kept(client: Client) -> Callable[[str], bytes]:
    """Asks on one connection that stays open, as a browser does."""
    connection = http.client.HTTPConnection(client.host, timeout=60)
    cookies = "; ".join(f"{each.name}={each.value}" for each in client.jar)

    def get(path: str) -> bytes:
        connection.request("GET", path, headers={"Cookie": cookies})
        answer = connection.getresponse()
        assert answer.status == 200, answer.reason
        return answer.read()

    return get


def _screen(page: Page, rng: random.Random) -> float:
    """Jump to another place and level; milliseconds until all of it is there."""
    place = [rng.random(), rng.random(), rng.randrange(6)]
    page.evaluate(
        """([down, across, level]) => {
          const { view } = document.body.explorer;
          view.camera.scale = 1.01 / view.atlas.cells[Math.min(level, view.atlas.cells.length - 1)][0];
          view.camera.center(down * view.atlas.rows, across * view.atlas.columns);
          view.changed();
          view.now();
        }""",
        place,
    )
    return _wait(page)


_MOVING = """async () => {
  const { view } = document.body.explorer;
  view.frames.length = 0;
  for (let step = 0; step < 90; step++) {
    view.camera.move(-9, step % 2 ? 4 : -5);
    view.changed();
    await new Promise((go) => requestAnimationFrame(go));
  }
  const found = view.frames.slice().sort((a, b) => a - b);
  return found[Math.floor(0.95 * found.length)];
}"""
_COLOURING = """async () => {
  const explorer = document.body.explorer;
  const found = [];
  for (let step = 1; step <= 20; step++) {
    explorer.limits.take("high", explorer.limits.high * 1.01);
    const began = performance.now();
    explorer.view.now();
    found.push(performance.now() - began);
  }
  found.sort((a, b) => a - b);
  return found[18];
}"""
_SWITCHING = """async () => {
  const explorer = document.body.explorer;
  await explorer.prepare(); // as when the choice is pointed at
  while (!explorer.view.tiles.completed()) await new Promise((go) => setTimeout(go, 5));
  window.asked = explorer.view.tiles.requests;
  const began = performance.now();
  explorer.setPlane("rms");
  explorer.view.now();
  const taken = performance.now() - began;
  if (explorer.look(0, explorer.view.camera.level)?.plane !== "rms") throw new Error("the RMS is not shown");
  return taken;
}"""
_ASKED = """async () => {
  await new Promise((go) => setTimeout(go, 500));
  return document.body.explorer.view.tiles.requests - window.asked;
}"""


def _client() -> int:
    """Bytes of the script and the styles, compressed, where they are most: of the page, the exported page and the widget."""
    scripts = (bundled(entry, module=True).encode() for entry in ("main.js", "static_main.js", "widget.js"))
    styles = sum(len(gzip.compress(modules()[name], 6)) for name in ("panels.css", "explore.css"))
    return max(len(gzip.compress(script, 6)) for script in scripts) + styles


def _memory(folder: Path, name: str) -> float:
    """The greatest resident memory of the server, in MB, when the pass is over and tiles of all levels were read."""
    folder.mkdir(parents=True)
    with served(folder, model(name)) as client:
        client.enter().filled()
        _tiles(client, random.Random(1))
        assert client.process is not None
        lines = Path(f"/proc/{client.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1e3


def _many(folder: Path) -> list[Check]:
    """Ten thousand tensors: the search, the pointer, the layout."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"blocks.{number}.{kind}" for number in range(2500) for kind in ("w.weight", "w.bias", "n.weight", "n.bias")]
    tensors = {name: rng.standard_normal((24, 16) if name.endswith("w.weight") else (24,)).astype(np.float32) for name in names}
    save_file(tensors, folder / "many.safetensors")
    with served(folder, folder / "many.safetensors") as client, _page() as (page, _):
        page.goto(f"{client.address}/?token={client.token}")
        page.wait_for_selector("body[data-filled=yes]", timeout=60_000)
        typed, hovered = page.evaluate(_TYPING), page.evaluate(_HOVERING)
    shapes = {name: array.shape for name, array in tensors.items()}
    began = time.perf_counter()
    Atlas(cell=4).layout(shapes, None)
    return [
        at_most("Explore: a key in the search among 10,000 tensors", typed, 16, " ms"),
        at_most("Explore: the pointer on the map among 10,000 tensors", hovered, 5, " ms"),
        at_most("Explore: the layout of 10,000 tensors", time.perf_counter() - began, 0.4, " s"),
    ]


_TYPING = """() => {
  const { outline } = document.body.explorer;
  const found = [];
  for (const text of ["b", "bl", "blo", "blocks.1", "blocks.19", "*9*w.weight", "n.b", ""]) {
    outline.search.value = text;
    const began = performance.now();
    outline.filter();
    found.push(performance.now() - began);
  }
  return Math.max(...found);
}"""
_HOVERING = """() => {
  const explorer = document.body.explorer;
  const [top, left, bottom, right] = explorer.view.camera.sight;
  const found = [];
  for (let step = 0; step < 60; step++) {
    const row = Math.floor(top + ((bottom - top) * step) / 60);
    const column = Math.floor(left + ((right - left) * ((7 * step) % 60)) / 60);
    const place = { row, column, picture: 0 };
    const began = performance.now();
    explorer.told(place);
    found.push(performance.now() - began);
  }
  found.sort((a, b) => a - b);
  return found[57];
}"""
