"""What the drawings of all panels share: how large things are on a page, and the titles above them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch2grid_builtin._renderers.matplotlib.canvas import INK, LINE, Canvas
from torch2grid_builtin._renderers.matplotlib.text import wrap


@dataclass(frozen=True)
class Sizes:
    """Sizes in pixels. cells: the longer side of a heatmap is at least so long; plot: width and height of a diagram.

    text: of ticks and captions; title: of a panel's title. compact: a small multiple, without colour bar and boxes.
    """

    cells: int
    plot: tuple[int, int]
    text: float
    title: float
    compact: bool = False

    @classmethod
    def of(cls, columns: int) -> Sizes:
        """For a page with so many columns of panels."""
        if columns <= 1:
            return cls(500, (760, 380), 12, 15)
        if columns == 2:
            return cls(420, (520, 300), 12, 14)
        if columns == 3:
            return cls(300, (380, 230), 11, 13)
        return cls(120, (200, 110), 10.5, 11.5, compact=True)

    def beside(self, pixels: int) -> Sizes:
        """The same with larger text, for what stands beside a picture that is seen scaled down as a whole."""
        zoom = min(max(pixels / 1000, 1.0), 1.7)
        return replace(self, text=self.text * zoom, title=self.title * zoom)


class Drawing(ABC):
    """One panel, measured before the page exists. width, height: the pixels that it needs; a column may be wider."""

    width: int
    height: int

    @abstractmethod
    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        """Draw it with its upper left corner there; *width* is at least its own."""


def title_lines(title: str, width: float, sizes: Sizes) -> list[str]:
    """A panel's title on at most two lines."""
    return wrap(title, width, sizes.title) if title else []


def title_height(lines: list[str], sizes: Sizes) -> int:
    """Pixels that title lines take, with the gap below them."""
    return round(len(lines) * sizes.title * LINE + (2 if sizes.compact else 6)) if lines else 0


def draw_title(canvas: Canvas, lines: list[str], left: float, top: float, sizes: Sizes) -> None:
    """Draw title lines from their upper left corner on."""
    for index, line in enumerate(lines):
        canvas.text(left, top + index * sizes.title * LINE, line, sizes.title, INK, va="top")
