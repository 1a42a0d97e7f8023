"""Pages to explore in a browser: one file that holds everything and may load nothing."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, BinaryIO, ClassVar

from torch2grid_builtin._renderers.html.panels import Tensors, heatmaps_of, page_data
from torch2grid_core import Page, Renderer, Style
from torch2grid_core.grids import EMPTY, NOT_FINITE, OVER, UNDER, colormap
from torch2grid_core.text import json_text, visible

_SCRIPTS = ("base", "decode", "locate", "viewer", "regions", "margins", "heatmap", "axes", "histogram", "plots", "table", "app")
_MEGABYTE = 1_000_000
_LEAST = 4  # cells a side, below which a heatmap is not lowered
_WHOLE = 4  # times as many cells a side for the picture of a whole model, of which there are few, as for one of a tensor
_TRIES = 5


@dataclass(frozen=True)
class Html(Renderer):
    """Pages to explore, in one file that needs no network."""

    name: ClassVar[str] = "html"
    formats: ClassVar[tuple[str, ...]] = ("html",)
    combines: ClassVar[tuple[str, ...]] = ("html",)

    megabytes: float = field(default=10.0, metadata={"help": "size of the file, met by lowering the cells of heatmaps"})

    def __post_init__(self) -> None:
        if not self.megabytes > 0:
            raise ValueError("megabytes is above 0")

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write one page. Raises ``UsageError`` for an unknown colour map."""
        self.render_all([page], target, style, format)

    def render_all(self, pages: Iterable[Page], target: BinaryIO, style: Style, format: str) -> None:
        """Write a report of all pages, with an index of them and of their tensors.

        The file is at most ``megabytes`` (10^6 bytes) long wherever fewer cells can achieve it: no heatmap then has more than
        some number of cells a side, and the report says so. Raises ``UsageError`` for an unknown colour map.
        """
        sizes = [(shape, _share(page)) for page in pages for shape in heatmaps_of(page)]
        budget = int(self.megabytes * _MEGABYTE)
        most = max((max(shape) for shape, _ in sizes), default=1)
        each, fixed = 3.2, 60_000 + 1500 * len(sizes)  # bytes: of a cell, and of the rest; the first report measures both
        best: bytes | None = None
        for attempt in range(_TRIES):
            cells = _fitting(sizes, (budget - fixed) / each, most)
            whole, spent = _report(pages, style, cells if cells < most else None, self.megabytes)
            fits = len(whole) <= budget
            if fits and (best is None or len(whole) > len(best)):
                best = whole
            if fits and (cells == most or len(whole) > 0.85 * budget or attempt >= 2):
                break
            if not fits and cells <= _LEAST:
                break
            fixed = len(whole) - spent
            drawn = sum(_cells(shape, cells * share) for shape, share in sizes)
            each = max(spent / max(drawn, 1), 0.01) * (1.02 + 0.04 * attempt)
        target.write(best if best is not None else whole)


def _share(page: Page) -> int:
    """How many times the cells a side of a tensor's heatmap those of *page* may have."""
    return _WHOLE if not page.folder and "tensor" not in page.about and len(heatmaps_of(page)) == 1 else 1


def _cells(shape: tuple[int, int], most: int) -> int:
    """Cells that are left of a grid of *shape* reduced to at most *most* a side."""
    rows, columns = (-(-side // -(-side // most)) if side else 0 for side in shape)
    return rows * columns


def _fitting(sizes: list[tuple[tuple[int, int], int]], room: float, most: int) -> int:
    """The largest number of cells a side with which all grids together have at most *room* cells."""
    low, high = min(_LEAST, most), most
    while low < high:
        middle = (low + high + 1) // 2
        if sum(_cells(shape, middle * share) for shape, share in sizes) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def _report(pages: Iterable[Page], style: Style, cells: int | None, megabytes: float) -> tuple[bytes, int]:
    """The whole file, and how many of its bytes are cells."""
    tensors, heatmap_bytes, best, title, first = Tensors(), 0, -1, "", 0
    entries: list[dict[str, Any]] = []
    blocks: list[str] = []
    maps: dict[str, None] = {}
    for number, page in enumerate(pages):
        data, used, spent = page_data(page, style, tensors, None if cells is None else cells * _share(page))
        heatmap_bytes += spent
        maps.update(dict.fromkeys(used))
        blocks.append(_json_block(f"page-{number}", data))
        about = page.about.get("tensor")
        entries.append(
            {
                "title": visible(page.title or page.name),
                "name": visible(page.name),
                "folder": visible(page.folder),
                "table": page.kind == "table",
                "tensor": tensors.of(str(about), page.about) if about is not None else -1,
            }
        )
        rank = 2 * (not page.folder) + bool(heatmaps_of(page))  # an overview with a picture speaks for the whole
        if rank > best:
            best, title, first = rank, visible(page.title or page.name), number
    head = {
        "title": title,
        "first": first,
        "pages": entries,
        "tensors": tensors.entries(),
        "maps": {name: base64.b64encode(colormap(name).tobytes()).decode() for name in maps},
        "colors": {"over": OVER, "under": UNDER, "lost": NOT_FINITE, "empty": EMPTY},
        "note": "" if cells is None else _note(cells, megabytes),
    }
    css, script = _assets()
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(css)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    document = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n',
        f"<title>{html.escape(title)}</title>\n<style>{css}</style>\n</head>\n<body>\n",
        '<noscript><p class="plain">This report draws itself with JavaScript, which is switched off here. ',
        "It loads nothing from elsewhere.</p></noscript>\n",
        _json_block("head", head),
        *blocks,
        f"<script>{script}</script>\n</body>\n</html>\n",
    ]
    return "".join(document).encode("utf-8", "replace"), heatmap_bytes


def _note(cells: int, megabytes: float) -> str:
    return (
        f"Cells lowered to at most {cells:,} a side for a tensor and {cells * _WHOLE:,} for a whole model, "
        f"so that this file stays below {megabytes:g} MB."
    )


def _json_block(name: str, value: Mapping[str, Any]) -> str:
    """JSON as an inert element; without ``<`` nothing in it can end the element or begin another."""
    text = json_text(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


@cache
def _assets() -> tuple[str, str]:
    """The style sheet and the script, as they are in the file."""
    folder = resources.files(__package__) / "assets"
    css = (folder / "page.css").read_text(encoding="utf-8")
    parts = [(folder / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    return css, '"use strict";\n(() => {\n' + "\n".join(parts) + "\n})();\n"


def _hash(text: str) -> str:
    """A Content Security Policy source for the element with this *text* (CSP level 3, section 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
