"""Which tensor is where in a heatmap: thin lines between regions, names beside them or in roomy ones."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin.renderers.mpl_canvas import INK, LINE, MUTED, RULE, Canvas, fit, literal, text_width
from torch2grid_core import Grid

Array = np.ndarray[Any, Any]
_THIN = 4  # a region of fewer pixels across gets no line of its own: it would hide what it marks off
_LINE = (0.08, 0.1, 0.13)
_LONGEST = 260
_FAR = 1.7  # lines that a name may be from the middle of its band
_COVERED = 0.1  # of a region's area, at most, lies under its name


def region_map(grid: Grid, factor: tuple[int, int]) -> Array:
    """int32, shape of the grid: which region a cell is in, −1 for none.

    A region thinner than a few pixels counts as the one before it, so that lines never crowd out cells.
    """
    ids = np.full(grid.shape, -1, dtype=np.int32)
    current = 0
    for index, region in enumerate(grid.regions):
        pixels = sum(height * factor[0] * width * factor[1] for _, _, height, width in region.rects)
        across = max((max(height * factor[0], width * factor[1]) for _, _, height, width in region.rects), default=1)
        if index and pixels < _THIN * across:
            pass
        else:
            current = index
        for row, column, height, width in region.rects:
            ids[row : row + height, column : column + width] = current
    return ids


def borders(ids: Array) -> tuple[Array, Array]:
    """Where neighbours differ, as runs: (n, 3) of row, first column, length, and of column, first row, length.

    A border lies above its row, left of its column.
    """
    return _runs(ids[1:] != ids[:-1]), _runs((ids[:, 1:] != ids[:, :-1]).T)


def _runs(different: Array) -> Array:
    rows, width = different.shape
    edged = np.zeros((rows, width + 2), dtype=np.int8)
    edged[:, 1:-1] = different
    change = np.diff(edged, axis=1)
    row, start = np.nonzero(change == 1)
    stop = np.nonzero(change == -1)[1]
    return np.stack([row + 1, start, stop - start], axis=1)


def draw_borders(canvas: Canvas, grid: Grid, left: int, top: int, factor: tuple[int, int]) -> None:
    """One pixel wide, half seen through, on the first pixel of the lower or right region."""
    high, wide = factor
    level, upright = borders(region_map(grid, factor))
    one = np.ones(len(level), dtype=np.int64)
    boxes = [np.stack([left + level[:, 1] * wide, top + level[:, 0] * high, level[:, 2] * wide, one], axis=1)]
    one = np.ones(len(upright), dtype=np.int64)
    boxes.append(np.stack([left + upright[:, 0] * wide, top + upright[:, 1] * high, one, upright[:, 2] * high], axis=1))
    canvas.rects(np.concatenate(boxes), _LINE, alpha=0.6)


def draw_names(canvas: Canvas, grid: Grid, left: int, top: int, factor: tuple[int, int], size: float = 11) -> None:
    """Names of regions, the largest first: beside a region where no weight is, else inside it, in its upper left corner
    on a light ground, where that leaves most of it free; else not at all."""
    high, wide = factor
    line = round(size * LINE)
    taken = grid.counts > 0
    by_size = sorted(grid.regions, key=lambda region: -sum(rows * columns for _, _, rows, columns in region.rects))
    for region in by_size:
        row, column, height, width = max(region.rects, key=lambda rect: rect[2] * rect[3], default=(0, 0, 0, 0))
        if not height:
            continue
        x, y = column * wide, row * high
        name = literal(region.name)
        long = text_width(name, size) + 6
        for at_x, at_y in ((x, y - line - 1), (x + width * wide + 4, y), (x, y + height * high + 2)):
            cells = _cells_under(at_x, at_y, long, line, factor, taken.shape)
            if cells is not None and not taken[cells].any():
                taken[cells] = True
                canvas.text(left + at_x + 2, top + at_y, name, size, INK, va="top")
                break
        else:
            area = height * high * width * wide
            name = _short(region.name, min(width * wide - 12, _COVERED * area / line - 8), size)
            if name and height * high > 2 * line:
                canvas.rects([(left + x + 3, top + y + 3, text_width(name, size) + 8, line + 1)], "white", alpha=0.82)
                canvas.text(left + x + 7, top + y + 3, name, size, INK, va="top")


def _cells_under(
    x: float, y: float, width: float, height: float, factor: tuple[int, int], shape: tuple[int, ...]
) -> tuple[slice, slice] | None:
    """The cells that a rectangle of pixels touches; ``None`` where it leaves the grid."""
    if x < 0 or y < 0 or x + width > shape[1] * factor[1] or y + height > shape[0] * factor[0]:
        return None
    rows = slice(int(y // factor[0]), math.ceil((y + height) / factor[0]))
    return rows, slice(int(x // factor[1]), math.ceil((x + width) / factor[1]))


def _short(name: str, room: float, size: float) -> str:
    """The name, or its last parts but never the very last alone, where that fits; else nothing."""
    parts = literal(name).split(".")
    for skip in range(max(len(parts) - 1, 1)):
        text = ("…" if skip else "") + ".".join(parts[skip:])
        if text_width(text, size) <= room:
            return text
    return ""


@dataclass(frozen=True)
class _Label:
    name: str
    middle: float  # pixel of the band's middle, from the top of the heatmap
    at: float  # pixel of the text's middle


class BandLabels:
    """Names left of a heatmap whose regions are bands of rows: never over the data. width: pixels that they take."""

    def __init__(self, grid: Grid, height: int, factor: int, size: float) -> None:
        self.size = size
        line = size * 1.25
        bands = []
        for region in grid.regions:
            cells = sum(rows * columns for _, _, rows, columns in region.rects)
            if cells:
                middle = sum((row + rows / 2) * rows * columns for row, _, rows, columns in region.rects) / cells
                bands.append((cells, middle * factor, region.name))
        named: list[tuple[float, str]] = []
        for _, middle, name in sorted(bands, key=lambda band: -band[0]):  # the largest first, while names stay near bands
            place = bisect.bisect(named, (middle, name))
            trial = [*named[:place], (middle, name), *named[place:]]
            places = _spread([at for at, _ in trial], line, height)
            if max(abs(at - wanted) for at, (wanted, _) in zip(places, trial, strict=True)) <= _FAR * line:
                named = trial
        self.left_out = len(bands) - len(named)
        places = _spread([middle for middle, _ in named], line, height)
        self.labels = [_Label(fit(name, _LONGEST, size), middle, at) for (middle, name), at in zip(named, places, strict=True)]
        self.width = max((text_width(label.name, size) for label in self.labels), default=0) + 24

    def draw(self, canvas: Canvas, right: int, top: int) -> None:
        for label in self.labels:
            y = top + label.at
            canvas.line([right - 3, right - 7, right - 15, right - 18], [top + label.middle, top + label.middle, y, y], RULE, 1)
            canvas.text(right - 22, y, label.name, self.size, MUTED, ha="right", va="middle")


def _spread(wanted: list[float], apart: float, height: float) -> list[float]:
    """Places in order, *apart* from each other, inside 0 … height, each group of crowded ones about where it is wanted."""
    groups: list[tuple[float, int]] = []  # first place, number of places
    for each in wanted:
        start, count = min(max(each, apart / 2), height - apart / 2), 1
        while groups and groups[-1][0] + groups[-1][1] * apart > start:
            before, more = groups.pop()
            middle = ((before + (more - 1) * apart / 2) * more + (start + (count - 1) * apart / 2) * count) / (more + count)
            count += more
            start = max(min(middle - (count - 1) * apart / 2, height - (count - 0.5) * apart), apart / 2)
        groups.append((start, count))
    return [start + index * apart for start, count in groups for index in range(count)]


def are_bands(grid: Grid) -> bool:
    """True where regions follow one another down the rows, each as wide as the grid or part of a shared row."""
    rows, columns = grid.shape
    if not grid.regions or rows < 2:
        return False
    placed = wide = 0
    last = -1
    for region in grid.regions:
        if not region.rects:
            continue
        first = min(row for row, _, _, _ in region.rects)
        if first < last:
            return False
        last = max(row + height - 1 for row, _, height, _ in region.rects)
        cells = sum(height * width for _, _, height, width in region.rects)
        placed += cells
        wide += cells if max(width for _, _, _, width in region.rects) == columns else 0
    return placed > 0 and wide >= 0.5 * placed
