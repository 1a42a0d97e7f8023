"""Animated pictures: the pages of a run as frames."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar

import numpy as np

from torch2grid_builtin._renderers.matplotlib.look import Look
from torch2grid_core import Page, Renderer, Style
from torch2grid_core.grids import colormap, default_map, signals
from torch2grid_core.pages import Heatmap

Array = np.ndarray[Any, Any]
_LEVELS = 200  # of the 256 colours, for the levels of colour maps


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
            raise ValueError("seconds must be between 0.02 and 60")

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        self.render_all([page], target, style, format)

    def render_all(self, pages: Iterable[Page], target: BinaryIO, style: Style, format: str) -> None:
        """Draw each page as the PNG renderer does, on frames as large as the largest, all by one palette."""
        from PIL import GifImagePlugin, Image

        from torch2grid_builtin._renderers.matplotlib.renderer import draw

        drawn: list[io.BytesIO] = []  # as PNG: a hundredth of their pixels
        maps: dict[str, None] = {}
        exact = {self.ground: None}
        for page in pages:
            for panel in page.panels:
                if isinstance(panel, Heatmap):
                    name = style.colormap or default_map(panel.scale)
                    marks = signals(name, self.theme == "dark")
                    maps[name] = None
                    exact.update(dict.fromkeys((marks.empty, marks.not_finite, marks.over, marks.under)))
            drawn.append(io.BytesIO())
            draw(page, style, self).save(drawn[-1], "png", "", self)
        sizes = [Image.open(each).size for each in drawn]
        size = max(width for width, _ in sizes), max(height for _, height in sizes)
        palette = Palette([colormap(name) for name in maps], list(exact))
        for each in drawn:
            palette.see(_pixels(each))
        palette.close()
        for place, each in enumerate(drawn):  # one at a time: what saves a sequence holds all of its frames
            whole = Image.new("RGB", size, self.ground)
            whole.paste(Image.open(each).convert("RGB"))
            frame = palette.frame(np.asarray(whole))
            last = place == len(drawn) - 1
            if place == 0:
                frame.encoderinfo = {"optimize": False}
                for block in GifImagePlugin.getheader(frame, info={"loop": 0, "optimize": False})[0]:
                    target.write(block)
            time = round(1000 * self.seconds) * (2 if last else 1)
            for block in GifImagePlugin.getdata(frame, duration=time, include_color_table=False):
                target.write(block)
        target.write(b";")


class Palette:
    """256 colours for all frames, so that one means the same in each.

    The levels of each colour map are in it, evenly thinned where there is no room for all, and *exact*, the colours that say
    something by themselves. What remains is for what else is seen: letters, lines, bars.

    maps: uint8 (256, 3) each.
    """

    def __init__(self, maps: Sequence[Array], exact: Sequence[tuple[int, int, int]]) -> None:
        self._known: dict[int, int] = {}  # packed colour → place in the palette
        self._colors = [*exact]
        for place, color in enumerate(exact):
            self._known.setdefault(int(_packed(np.array(color))), place)
        for levels in maps:
            kept = min(len(levels), _LEVELS // len(maps))
            places = np.round(np.linspace(0, len(levels) - 1, kept)).astype(int)
            first = len(self._colors)
            self._colors += [(int(red), int(green), int(blue)) for red, green, blue in levels[places]]
            nearest = np.abs(np.arange(len(levels))[:, None] - places).argmin(axis=1)
            for color, place in zip(_packed(levels).tolist(), nearest.tolist(), strict=True):
                self._known.setdefault(color, first + place)
        self._others: dict[int, int] = {}  # packed colour → pixels

    def see(self, pixels: Array) -> None:
        """Take note of the colours of a frame, uint8 (rows, columns, 3)."""
        for color, count in zip(*(each.tolist() for each in np.unique(_packed(pixels), return_counts=True)), strict=True):
            if color not in self._known:
                self._others[color] = self._others.get(color, 0) + count

    def close(self) -> None:
        """Choose the remaining colours: the most frequent as they are, and means of the others."""
        from PIL import Image

        room = 256 - len(self._colors)
        often = sorted(self._others, key=lambda color: -self._others[color])
        whole = often if len(often) <= room else often[: room // 2]
        rest = np.array(often[len(whole) :], dtype=np.int64)
        self._colors += [_unpacked(color) for color in whole]
        if len(rest):
            line = Image.fromarray(np.stack(_unpacked(rest), axis=-1).astype(np.uint8)[None])
            few = line.quantize(room - len(whole), method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            means = np.array(few.getpalette() or [], dtype=np.int64).reshape(-1, 3)[: room - len(whole)]
            self._colors += [(int(red), int(green), int(blue)) for red, green, blue in means]
        every = np.array(self._colors, dtype=np.int64)
        for color in often:
            self._known[color] = int(((every - _unpacked(color)) ** 2).sum(axis=1).argmin())

    def frame(self, pixels: Array) -> Any:
        """A frame that was seen, as a picture with this palette."""
        from PIL import Image

        found, places = np.unique(_packed(pixels), return_inverse=True)
        table = np.array([self._known[color] for color in found.tolist()], dtype=np.uint8)
        kept = Image.fromarray(table[places.reshape(pixels.shape[:2])])
        padded = [*self._colors, *[(0, 0, 0)] * (256 - len(self._colors))]
        kept.putpalette([channel for color in padded for channel in color])
        return kept


def _pixels(png: BinaryIO) -> Array:
    from PIL import Image

    return np.asarray(Image.open(png).convert("RGB"))


def _packed(colors: Array) -> Array:
    """(…, 3) of 0…255 as one number each."""
    wide = np.asarray(colors).astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _unpacked(color: Any) -> Any:
    return color >> 16, color >> 8 & 255, color & 255
