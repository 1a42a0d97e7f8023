"""What the drawings of all panels share: how large things are on a page, and the titles above them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import FAINT, INK, LINE, MUTED, RULE, Canvas
from torch2grid_builtin._renderers.matplotlib.text import fit, text_width, wrap
from torch2grid_builtin._renderers.numbers import LARGEST, bent, numbers, share_between

_LEGEND = 6  # lines of a legend, at most


@dataclass(frozen=True)
class Sizes:
    """Sizes in pixels. cells: the longer side of a heatmap is at least so long; plot: width and height of a diagram.

    text: of ticks and captions; title: of a panel's title. compact: a small multiple, without colour bar and boxes.
    legend_apart: the page names the series, of which all its diagrams have the same.
    """

    cells: int
    plot: tuple[int, int]
    text: float
    title: float
    compact: bool = False
    legend_apart: bool = False

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

    def title_lines(self, title: str, width: float) -> list[str]:
        """A panel's title on at most two lines."""
        return wrap(title, width, self.title) if title else []


class Drawing(ABC):
    """One panel, measured before the page exists. width, height: the pixels that it needs; a column may be wider."""

    sizes: Sizes
    title: list[str]  # its lines
    width: int
    height: int

    @abstractmethod
    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        """Draw it with its upper left corner there; *width* is at least its own."""

    @property
    def heading(self) -> int:
        """Pixels that the title takes, with the gap below it."""
        return round(len(self.title) * self.sizes.title * LINE + (2 if self.sizes.compact else 6)) if self.title else 0

    def draw_title(self, canvas: Canvas, left: float, top: int) -> int:
        """Draw the title from its upper left corner on; where the panel below it begins."""
        for index, line in enumerate(self.title):
            canvas.text(left, top + index * self.sizes.title * LINE, line, self.sizes.title, INK, va="top")
        return top + self.heading


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About *count* round values (1, 2 or 5 times a power of ten apart) from *low* to *high*."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return [low] if math.isfinite(low) else []
    rough = high / max(count, 1) - low / max(count, 1)
    if not 10 * rough < LARGEST:
        return [low, high]
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 0.0
    if power <= 0 or not math.isfinite(power):
        return [low, high]
    step = next((power * each for each in (1, 2, 5) if power * each >= rough * 0.999), power * 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first > 10 * max(count, 1):  # the range is a few steps of a double wide
        return [low, high]
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """Values *low* … *high* onto pixels *start* … *stop*; logarithmic where *log*, both limits positive then.

    bend: half-width of the linear middle of an asinh scale; 0: there is none.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    bend: float = 0.0

    def __call__(self, values: Any) -> Any:
        """Pixels of values, clipped to the ends; NaN stays NaN."""
        values = np.asarray(values, dtype=np.float64)
        low, high = self.low, self.high
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.log10(np.maximum(values, low))
            low, high = math.log10(low), math.log10(high)
        elif self.bend:
            values, low, high = (bent(each, self.bend) for each in (values, low, high))
        share = np.clip(share_between(values, low, high), 0, 1)
        return self.start + share * (self.stop - self.start)

    def ticks(self, apart: float) -> list[float]:
        """Round values about *apart* pixels from each other."""
        count = max(int(abs(self.stop - self.start) / apart), 1)
        if self.bend:
            return self._bent_ticks(apart)
        if not self.log:
            tried = (nice_ticks(self.low, self.high, count + more) for more in (0, 1, 2))
            return next((ticks for ticks in tried if len(ticks) > 1), nice_ticks(self.low, self.high, count))
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if last - first < 1:
            return nice_ticks(self.low, self.high, count)
        step = max(1, math.ceil((last - first + 1) / count))
        return [10.0**power for power in range(first, last + 1, step)]

    def _bent_ticks(self, apart: float) -> list[float]:
        """0, powers of ten from the largest down, then their multiples by 5 and 2, as far as there is room.

        Of what both sides have, on both or on none; then what one side has alone.
        """
        largest = max(abs(self.low), abs(self.high))
        powers = range(power_of(largest), power_of(self.bend) - 1, -1)
        kept = {0.0: float(self(0.0))} if self.low <= 0 <= self.high else {}  # each tick and its pixel
        for sides, times in product((2, 1), (1, 5, 2)):
            for power in powers:
                value = times * 10.0**power
                pair = {tick: float(self(tick)) for tick in (value, -value) if self.low <= tick <= self.high}
                if len(pair) == sides and all(abs(at - each) >= apart for at in pair.values() for each in kept.values()):
                    kept |= pair
        return sorted(kept)


def power_of(value: float) -> int:
    """The power of ten just below *value*, which is above 0."""
    return math.floor(math.log10(value) + 1e-9)


def padded(low: float, high: float, share: float = 0.04) -> tuple[float, float]:
    """Limits with room at both ends; a range of nothing gets a width."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    room = high * share - low * share if low < high else abs(low) * 0.5 or 0.5
    return max(low - room, -LARGEST), min(high + room, LARGEST)


def finite_range(*arrays: Any) -> tuple[float, float]:
    """Least and greatest finite value; (0, 1) where there is none."""
    values = np.concatenate([np.asarray(each, dtype=np.float64).ravel() for each in arrays]) if arrays else np.empty(0)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)


def left_room(scale: Scale, size: float) -> int:
    """Pixels that the tick labels of an upright axis take."""
    return max((text_width(text, size) for text in numbers(scale.ticks(46))), default=0) + 8


def draw_x(
    canvas: Canvas,
    scale: Scale,
    top: float,
    bottom: float,
    size: float,
    apart: float = 80,
    *,
    grid: bool = False,
    hang: float = 12,
) -> None:
    """Ticks below *bottom* with labels that never touch. grid: faint lines up to *top*; hang: how far labels may stick out."""
    ticks = scale.ticks(apart)
    edge = -math.inf
    canvas.rule(scale.start, bottom, scale.stop, bottom, RULE)
    for at, text in zip(scale(ticks), numbers(ticks), strict=True):
        half = text_width(text, size) / 2
        middle = min(max(at, scale.start - hang + half), scale.stop + hang - half)
        if grid:
            canvas.rule(at, top, at, bottom, FAINT)
        canvas.rule(at, bottom, at, bottom + 5, RULE)
        if middle - half > edge:
            canvas.text(middle, bottom + 7, text, size, MUTED, ha="center", va="top")
            edge = middle + half + 6


def draw_y(canvas: Canvas, scale: Scale, left: float, right: float, size: float, *, whole: bool = False) -> None:
    """Labels left of *left*, faint lines across to *right*. whole: of whole numbers only."""
    ticks = [tick for tick in scale.ticks(46) if not whole or tick == round(tick)]
    for at, text in zip(scale(ticks), numbers(ticks), strict=True):
        canvas.rule(left, at, right, at, FAINT)
        canvas.text(left - 6, at, text, size, MUTED, ha="right", va="middle")


def rows_of_names(names: Sequence[str], width: float, size: float, longest: float = 260) -> list[list[tuple[int, str]]]:
    """Which *names*, each *longest* pixels at most, with their places, share a line of a legend; what is over is counted."""
    rows: list[list[tuple[int, str]]] = []
    used = math.inf
    for index, name in enumerate(names):
        name = fit(name, min(longest, width - 30), size)
        wide = 34 + text_width(name, size)
        if used + wide > width:
            if len(rows) == _LEGEND:
                rows[-1][-1] = (-1, f"and {len(names) - index + 1:,} more")
                break
            rows.append([])
            used = 0
        rows[-1].append((index, name))
        used += wide
    return rows


def draw_names(
    canvas: Canvas, rows: list[list[tuple[int, str]]], colors: Sequence[Any], x: float, y: float, size: float
) -> None:
    """Draw the lines of a legend, the first with its upper left corner at (x, y)."""
    for row in rows:
        at = float(x)
        for index, name in row:
            if index >= 0:
                canvas.rects([(round(at), round(y + size / 2), 16, 3)], colors[index])
            canvas.text(at + 21, y, name, size, INK, va="top")
            at += 34 + text_width(name, size)
        y += round(size * LINE)
