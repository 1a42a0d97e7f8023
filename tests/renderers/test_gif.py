"""Animated pictures: every page is a frame, shown for its time, and frames are not kept while others are drawn."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from torch2grid_builtin._renderers.gif import Gif, Palette
from torch2grid_builtin._renderers.matplotlib import renderer
from torch2grid_core import Grid, Page, Style
from torch2grid_core.grids import ColorScale, colormap, default_map, signals
from torch2grid_core.pages import Heatmap

SIZES = [(300 + 10 * (number % 5), 400) for number in range(40)]


def test_frames_are_whole_and_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    class Drawn:
        def __init__(self, page: Page, style: Style, look: Any) -> None:
            self.number = int(page.name)

        def save(self, stream: io.BytesIO, format: str, title: str, look: Any) -> None:
            width, height = SIZES[self.number]
            Image.fromarray(np.full((height, width, 3), 6 * self.number, np.uint8)).save(stream, format)

    monkeypatch.setattr(renderer, "draw", Drawn)
    target = io.BytesIO()
    written: list[int] = []
    frame = Palette.frame

    def made(self: Palette, pixels: Any) -> Any:
        written.append(target.tell())
        return frame(self, pixels)

    monkeypatch.setattr(Palette, "frame", made)
    Gif(seconds=0.1).render_all([Page(str(number), "", ()) for number in range(len(SIZES))], target, Style(), "gif")
    assert len(set(written)) == len(SIZES)  # each frame is written before the next is made
    assert written == sorted(written)
    with Image.open(target) as found:
        assert (found.n_frames, found.size, found.info["loop"]) == (len(SIZES), (340, 400), 0)
        for number, (width, _) in enumerate(SIZES):
            found.seek(number)
            assert found.info["duration"] == (200 if number == len(SIZES) - 1 else 100)
            pixels = np.asarray(found.convert("RGB"))
            assert (pixels[:, :width] == 6 * number).all()
            assert (pixels[:, width:] == 255).all()


BOTH_SIDES, ONE_SIDE = ColorScale(-1, 1), ColorScale(0, 1)


@pytest.mark.parametrize(
    ("theme", "scales"),  # what stands out from which map in which theme: tests/pictures/test_signals.py
    [
        ("light", (BOTH_SIDES,)),
        ("dark", (ONE_SIDE,)),
        ("light", (BOTH_SIDES, ONE_SIDE)),
        ("dark", (BOTH_SIDES, ONE_SIDE)),
    ],
)
def test_a_colour_means_the_same_in_every_frame(theme: str, scales: tuple[ColorScale, ...]) -> None:
    """A cell has the colour of its level to within one step of a thinned map, the same in each frame; signals are exact."""
    rng = np.random.default_rng(0)
    levels = np.linspace(0.001, 0.999, 256)
    pages = []
    for number in range(4):  # each with levels of its own, and with much else to spend colours on
        values = np.concatenate([rng.permutation(levels)[:200], [2.0, np.nan]])
        panels = [Heatmap(Grid(values[None].repeat(4, 0).astype(np.float32)), scale, f"p{number}") for scale in scales]
        pages.append(Page(str(number), f"frame {number}", tuple(panels), frame=(number + 1, 4)))
    target, shown = io.BytesIO(), io.BytesIO()
    Gif(theme=theme).render_all(pages, target, Style(), "gif")  # type: ignore[arg-type]
    of: dict[tuple[int, ...], tuple[int, ...]] = {}
    film = Image.open(target)
    for number, page in enumerate(pages):
        film.seek(number)
        shown = io.BytesIO()
        renderer.draw(page, Style(), Gif(theme=theme)).save(shown, "png", "", Gif(theme=theme))  # type: ignore[arg-type]
        wanted, found = (np.asarray(each.convert("RGB")).reshape(-1, 3) for each in (Image.open(shown), film))
        pairs = np.zeros((len(wanted), 8), np.uint8)  # each a number of 64 bits, which sort at once
        pairs[:, :6] = np.concatenate([wanted, found], axis=1)
        for pair in np.unique(pairs.view(np.int64)).view(np.uint8).reshape(-1, 8)[:, :6].tolist():
            assert of.setdefault(tuple(pair[:3]), tuple(pair[3:])) == tuple(pair[3:])
    for scale in scales:
        marks = signals(default_map(scale), theme == "dark")
        for mark in (marks.over, marks.not_finite):
            assert of[mark] == mark
        table = colormap(default_map(scale)).astype(int)
        far = max(np.abs(np.diff(table[:: len(scales)], axis=0)).sum(axis=1)) * (1 if len(scales) > 1 else 2)
        seen = [color for color in map(tuple, table.tolist()) if color in of]
        assert len(seen) > 200
        assert max(int(np.abs(np.subtract(of[color], color)).sum()) for color in seen) <= far
        assert len({of[color] for color in seen}) >= min(len(seen), 180 // len(scales))
