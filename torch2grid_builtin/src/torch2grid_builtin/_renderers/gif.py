"""Animated pictures: the pages of a run as frames."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar

import numpy as np

from torch2grid_builtin._renderers.matplotlib.look import Look
from torch2grid_core import Page, Renderer, Style
from torch2grid_core.grids import default_map, signals
from torch2grid_core.pages import Heatmap


@dataclass(frozen=True)
class Gif(Look, Renderer):
    """Animated GIF: every page is a frame, in colours that fit 256."""

    name: ClassVar[str] = "gif"
    formats: ClassVar[tuple[str, ...]] = ("gif",)
    combines: ClassVar[tuple[str, ...]] = ("gif",)

    seconds: float = field(default=0.8, metadata={"help": "that each frame is shown; the last one twice as long"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.02 <= self.seconds <= 60:
            raise ValueError("seconds is between 0.02 and 60")

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        self.render_all([page], target, style, format)

    def render_all(self, pages: Iterable[Page], target: BinaryIO, style: Style, format: str) -> None:
        """Draw each page as the PNG renderer does, on frames as large as the largest, with a palette of its own."""
        from PIL import GifImagePlugin, Image

        from torch2grid_builtin._renderers.matplotlib.renderer import draw, look_of

        drawn: list[io.BytesIO] = []  # as PNG: a hundredth of their pixels
        exact = {self.ground: None}
        for page in pages:
            for panel in page.panels:
                if isinstance(panel, Heatmap):
                    marks = signals(style.colormap or default_map(panel.scale), self.theme == "dark")
                    exact.update(dict.fromkeys((marks.empty, marks.not_finite, marks.over, marks.under)))
            drawn.append(io.BytesIO())
            draw(page, style, self).save(drawn[-1], "png", "", look_of(self))
        sizes = [Image.open(each).size for each in drawn]
        size = max(width for width, _ in sizes), max(height for _, height in sizes)
        for place, each in enumerate(drawn):  # one at a time: what saves a sequence holds all of its frames
            whole = Image.new("RGB", size, self.ground)
            whole.paste(Image.open(each).convert("RGB"))
            frame = _in_256(whole, list(exact))
            last = place == len(drawn) - 1
            if place == 0:
                frame.encoderinfo = {"optimize": False}
                for block in GifImagePlugin.getheader(frame, info={"loop": 0, "optimize": False})[0]:
                    target.write(block)
            time = round(1000 * self.seconds) * (2 if last else 1)
            for block in GifImagePlugin.getdata(frame, duration=time, include_color_table=place > 0):
                target.write(block)
        target.write(b";")


def _in_256(whole: Any, exact: list[tuple[int, int, int]]) -> Any:
    """*whole* in 256 colours, of which those that say something are *exact*: what is rare would be another colour's."""
    from PIL import Image

    pixels = np.asarray(whole)
    frame = whole.quantize(256 - len(exact), method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    places = np.array(frame)
    palette = (frame.getpalette() or [])[: 3 * (256 - len(exact))]
    first = len(palette) // 3
    for number, color in enumerate(exact):
        places[(pixels == color).all(axis=2)] = first + number
    kept = Image.fromarray(places)
    kept.putpalette([*palette, *(channel for color in exact for channel in color)])
    return kept
