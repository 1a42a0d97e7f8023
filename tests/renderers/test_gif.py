"""Animated pictures: every page is a frame, shown for its time, and frames are not kept while others are drawn."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from torch2grid_builtin._renderers.gif import Gif
from torch2grid_builtin._renderers.matplotlib import renderer
from torch2grid_core import Page, Style

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
    quantize = Image.Image.quantize

    def made(self: Image.Image, *given: Any, **named: Any) -> Image.Image:
        written.append(target.tell())
        return quantize(self, *given, **named)

    monkeypatch.setattr(Image.Image, "quantize", made)
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
