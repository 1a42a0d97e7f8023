"""What is on a page, in pixels from its upper left corner: the one list that every format is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
DPI = 100  # pixels to the inch, for what counts in inches
Color = str | tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Label:
    """A line of text. y: of its baseline, which *upright* text has at x; size: pixels to the em."""

    x: float
    y: float
    text: str
    size: float
    color: Color
    ha: Literal["left", "center", "right"]
    bold: bool
    upright: bool


@dataclass(frozen=True, eq=False)
class Stroke:
    """A line through points, *width* pixels wide; NaN interrupts it."""

    x: Array
    y: Array
    color: Color
    width: float


@dataclass(frozen=True, eq=False)
class Dots:
    """A dot of *width* pixels at each point."""

    x: Array
    y: Array
    color: Color
    width: float


@dataclass(frozen=True, eq=False)
class Boxes:
    """Filled rectangles with sharp edges. box: (n, 4), left, top, width, height; color: one, or (n, 3) of 0…1."""

    box: Array
    color: Color | Array
    alpha: float | None


@dataclass(frozen=True, eq=False)
class Polygon:
    """A filled polygon with smooth edges."""

    x: Array
    y: Array
    color: Color
    alpha: float | None


@dataclass(frozen=True, eq=False)
class Ramp:
    """A rectangle in *colors*, (n, 3) of 0…1, from below to above where *upright*, else from left to right."""

    left: float
    top: float
    width: float
    height: float
    colors: Array
    upright: bool

    def boxes(self) -> Boxes:
        """A rectangle for each colour, each reaching to the end, so that no seam shows between them."""
        share = np.arange(len(self.colors)) / len(self.colors)
        still = np.zeros(len(share))
        if self.upright:
            box = (still + self.left, still + self.top, still + self.width, self.height * (1 - share))
        else:
            box = (self.left + self.width * share, still + self.top, self.width * (1 - share), still + self.height)
        return Boxes(np.stack(box, axis=1), self.colors, None)


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells, uint8 (rows, columns, 3), each *factor* = (high, wide) pixels."""

    left: int
    top: int
    rgb: Array
    factor: tuple[int, int]


Shape = Label | Stroke | Dots | Boxes | Polygon | Ramp | Cells
