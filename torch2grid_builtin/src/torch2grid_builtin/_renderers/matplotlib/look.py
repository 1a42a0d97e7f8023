"""How pictures look, beyond what is on a page: their size in pixels, font, ground, and the colours of what is no data."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from torch2grid_builtin._renderers.matplotlib.shapes import Boxes, Cells, Color, Dots, Label, Polygon, Ramp, Shape, Stroke
from torch2grid_core import UsageError

Array = np.ndarray[Any, Any]
DEFAULT_FONT = "DejaVu Sans"  # comes with matplotlib: the same picture on every machine
_DPI = 100  # at which a page is laid out
_GROUND = 0.09  # lightness of a dark page
_MOST = 400_000_000  # pixels


@dataclass(frozen=True)
class Look:
    """Options that every renderer of pictures takes."""

    dpi: int = field(default=_DPI, metadata={"help": "pixels to the inch; text, lines and cells grow with it"})
    width: int | None = field(default=None, metadata={"help": "pixels across, whatever dpi; the height follows"})
    font: str = field(default=DEFAULT_FONT, metadata={"help": "a font family that is installed"})
    theme: Literal["light", "dark"] = field(default="light", metadata={"help": "the ground, and what is written on it"})

    def __post_init__(self) -> None:
        if not 20 <= self.dpi <= 2400:
            raise ValueError("dpi must be between 20 and 2400")
        if self.width is not None and not 32 <= self.width <= 65_535:
            raise ValueError("width must be between 32 and 65,535 pixels")

    def zoom(self, width: int, height: int) -> float:
        """By how much a page of so many pixels grows. Raises ``UsageError`` where that is more than a file can hold."""
        zoom = self.width / width if self.width else self.dpi / _DPI
        if max(width, height) * zoom > 65_535 or width * height * zoom**2 > _MOST:
            size = f"{round(width * zoom):,} × {round(height * zoom):,} pixels"
            raise UsageError(f"a picture of {size} is too large; ask for a smaller dpi or width")
        return zoom

    @property
    def ground(self) -> tuple[int, int, int]:
        """The colour of an empty page, 0…255."""
        return (round(255 * _GROUND),) * 3 if self.theme == "dark" else (255, 255, 255)

    def ink(self, color: Color) -> Color:
        """The colour in which this theme draws what *color* means. Named ones are ink; components stand for data, and stay."""
        if self.theme == "light" or not isinstance(color, str):
            return color
        from matplotlib.colors import to_rgb

        hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(color))
        return colorsys.hls_to_rgb(hue, 1 - (1 - _GROUND) * lightness, saturation)

    def dressed(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shapes in the colours of the theme."""
        if self.theme == "light":
            return list(shapes)
        return [
            shape
            if isinstance(shape, (Cells, Ramp)) or not isinstance(shape.color, str)
            else replace(shape, color=self.ink(shape.color))
            for shape in shapes
        ]


def zoomed(shapes: Sequence[Shape], zoom: float) -> list[Shape]:
    """The shapes, *zoom* times as large. Cells stay sharp: of fractions of pixels, some are a pixel wider."""
    return list(shapes) if zoom == 1 else [_zoomed(shape, zoom) for shape in shapes]


def _zoomed(shape: Shape, zoom: float) -> Shape:
    if isinstance(shape, Label):
        return replace(shape, x=shape.x * zoom, y=shape.y * zoom, size=shape.size * zoom)
    if isinstance(shape, (Stroke, Dots)):
        return replace(shape, x=shape.x * zoom, y=shape.y * zoom, width=shape.width * zoom)
    if isinstance(shape, Polygon):
        return replace(shape, x=shape.x * zoom, y=shape.y * zoom)
    if isinstance(shape, Boxes):
        start = np.round(shape.box[:, :2] * zoom)
        size = np.maximum(np.round((shape.box[:, :2] + shape.box[:, 2:]) * zoom) - start, 1)  # a line is never lost
        return replace(shape, box=np.concatenate([start, size], axis=1))
    if isinstance(shape, Ramp):
        return replace(
            shape, left=shape.left * zoom, top=shape.top * zoom, width=shape.width * zoom, height=shape.height * zoom
        )
    left, top = round(shape.left * zoom), round(shape.top * zoom)
    if zoom == int(zoom):
        return Cells(left, top, shape.rgb, (shape.factor[0] * int(zoom), shape.factor[1] * int(zoom)))
    rows = _sources(shape.rgb.shape[0], shape.factor[0] * zoom)
    columns = _sources(shape.rgb.shape[1], shape.factor[1] * zoom)
    return Cells(left, top, shape.rgb[rows][:, columns], (1, 1))


def _sources(count: int, factor: float) -> Array:
    """For each pixel, the cell that its centre is in."""
    return np.minimum(((np.arange(max(1, round(count * factor))) + 0.5) / factor).astype(np.int64), count - 1)
