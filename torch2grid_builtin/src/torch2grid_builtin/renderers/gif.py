"""Animated pictures: the pages of a run as frames."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar

from torch2grid_core import Page, Renderer, Style


@dataclass(frozen=True)
class Gif(Renderer):
    """Animated GIF: every page is a frame, in colours that fit 256."""

    name: ClassVar[str] = "gif"
    formats: ClassVar[tuple[str, ...]] = ("gif",)
    combines: ClassVar[tuple[str, ...]] = ("gif",)

    seconds: float = field(default=0.8, metadata={"help": "that each frame is shown; the last one twice as long"})

    def __post_init__(self) -> None:
        if not 0.02 <= self.seconds <= 60:
            raise ValueError("seconds is between 0.02 and 60")

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        self.render_all([page], target, style, format)

    def render_all(self, pages: Iterable[Page], target: BinaryIO, style: Style, format: str) -> None:
        """Draw each page as the PNG renderer does, on frames as large as the largest, with a palette of its own."""
        from PIL import Image

        from torch2grid_builtin.renderers.matplotlib.renderer import Matplotlib

        drawn: list[Any] = []
        for page in pages:
            stream = io.BytesIO()
            Matplotlib().render(page, stream, style, "png")
            drawn.append(Image.open(stream).convert("RGB"))
        size = (max(frame.width for frame in drawn), max(frame.height for frame in drawn))
        frames = []
        for frame in drawn:
            whole = Image.new("RGB", size, "white")
            whole.paste(frame)
            frames.append(whole.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE))
        times = [round(1000 * self.seconds)] * len(frames)
        times[-1] *= 2
        frames[0].save(target, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=False)
