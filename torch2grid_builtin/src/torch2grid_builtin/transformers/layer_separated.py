"""Every tensor a block of its own in its own 2-D form, packed in the model's order with empty cells between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch2grid_core import (
    Block,
    Layout,
    LayoutTransformer,
    NotDrawable,
    Rect,
    Region,
    drawable_sizes,
    flat_run,
    is_vector,
    matrix_shape,
    vector_columns,
)

_LONG = 8  # a matrix that is so many times longer than wide is cut into bands side by side
_WIDTHS = (0.85, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0)  # of the packing, to choose from


@dataclass(frozen=True)
class LayerSeparated(LayoutTransformer):
    """Every tensor a block of its own: matrices as they are (rows = output units), vectors folded, empty cells between."""

    gap: int = field(default=2, metadata={"help": "empty cells between blocks"})

    name = "layer_separated"

    def __post_init__(self) -> None:
        if not 0 <= self.gap <= 64:
            raise ValueError("gap is a number of cells from 0 to 64")

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """Blocks on shelves in the order of the model, cells of s×s weights with the smallest s that fits.

        A cell of a folded vector holds s·s consecutive weights. A matrix more than eight times as long as wide is cut into
        bands of whole rows (or, where they divide evenly, of columns) that stand side by side.
        Raises ``NotDrawable`` without weights, and where the blocks do not fit *max_cells* a side.
        """
        sizes = drawable_sizes(shapes)
        if max_cells is None:
            forms = [_Form(name, shapes[name], 1, self.gap) for name in sizes]
            return _layout(forms, *_best_packing([form.box for form in forms], self.gap), 1)
        side = max(math.isqrt(sum(sizes.values())) // max_cells, 1)
        longest = max(max(matrix_shape(shapes[name])) for name in sizes)
        while True:
            for gap in (self.gap, 0) if side >= longest else (self.gap,):
                forms = [_Form(name, shapes[name], side, gap) for name in sizes]
                places, height, width = _best_packing([form.box for form in forms], gap, max_cells)
                if max(height, width) <= max_cells:
                    return _layout(forms, places, height, width, side)
            if side >= longest:
                raise NotDrawable(f"{len(sizes):,} tensors do not fit {max_cells}×{max_cells} cells as separate blocks")
            side = max(side + 1, side * 21 // 20)


class _Form:
    """One tensor in cells of side×side weights. box: (height, width) in cells."""

    def __init__(self, name: str, shape: tuple[int, ...], side: int, gap: int) -> None:
        self.name, self.shape, self.side, self.gap = name, shape, side, gap
        self.rows, self.columns = matrix_shape(shape)
        self.bands = 1
        self.tall = self.rows > self.columns
        if is_vector(shape):
            cells = -(-self.rows * self.columns // side**2)
            self.width = vector_columns(cells)
            self.height = -(-cells // self.width)
        elif self.tall:
            self.bands = _bands(-(-self.rows // side), -(-self.columns // side))
            self.width = -(-self.columns // side)
            self.height = -(-self.rows // (self.bands * side))
            self.bands = -(-self.rows // (self.height * side))
        else:
            self.bands = _even_bands(shape, _bands(-(-self.columns // side), -(-self.rows // side)))
            self.width = -(-self.columns // (self.bands * side))
            self.height = -(-self.rows // side)
        down, across = (1, self.bands) if self.tall else (self.bands, 1)
        self.box = down * (self.height + gap) - gap, across * (self.width + gap) - gap

    def put(self, row: int, column: int) -> tuple[tuple[Block, ...], Region]:
        """Blocks and region with the top left cell at (row, column)."""
        if is_vector(self.shape):
            size, rect = self.rows * self.columns, (row, column, self.height, self.width)
            return flat_run(self.name, size, rect, cell=(self.side, self.side))
        return tuple(self._blocks(row * self.side, column * self.side)), Region(self.name, tuple(self._rects(row, column)))

    def _blocks(self, row: int, column: int) -> Iterator[Block]:
        if not self.tall:
            width, step = self.columns // self.bands, (self.height + self.gap) * self.side
            yield Block(self.name, 0, row, column, ((self.rows, 1, 0), (self.bands, step, 0), (width, 0, 1)))
            return
        height, step = self.height * self.side, (self.width + self.gap) * self.side
        full, rest = divmod(self.rows, height)
        if full:
            yield Block(self.name, 0, row, column, ((full, 0, step), (height, 1, 0), (self.columns, 0, 1)))
        if rest:
            start = full * height * self.columns
            yield Block(self.name, start, row, column + full * step, ((rest, 1, 0), (self.columns, 0, 1)))

    def _rects(self, row: int, column: int) -> Iterator[Rect]:
        for band in range(self.bands):
            if not self.tall:
                yield row + band * (self.height + self.gap), column, self.height, self.width
            else:
                left = -(-self.rows // self.side) - band * self.height
                yield row, column + band * (self.width + self.gap), min(self.height, left), self.width


def _bands(long: int, short: int) -> int:
    """Into how many bands a matrix is cut along its long side (in cells): as many as make it about square, one if not long."""
    return round(math.sqrt(long / short)) if long > _LONG * short else 1


def _even_bands(shape: tuple[int, ...], wanted: int) -> int:
    """The number of bands of columns nearest to *wanted* that divides them evenly, by whole input units if possible."""
    if wanted == 1:
        return 1
    near = sorted(range(max(wanted // 2, 2), 2 * wanted + 1), key=lambda each: abs(each - wanted))
    for length in (shape[1], math.prod(shape[1:])):
        for bands in near:
            if length % bands == 0:
                return bands
    return 1


_Packing = tuple[list[tuple[int, int]], int, int]  # (row, column) of each box; height and width of all


def _best_packing(boxes: Sequence[tuple[int, int]], gap: int, limit: int = 0) -> _Packing:
    """The squarest of some packings, one of them *limit* wide."""
    area = sum((height + gap) * (width + gap) for height, width in boxes)
    widest = max(width for _, width in boxes)
    best: _Packing | None = None
    widths = {max(widest, limit), *(max(widest, round(math.sqrt(area) * share)) for share in _WIDTHS)}
    for width in sorted(widths):
        found = _pack(boxes, gap, width)
        if best is None or max(found[1:]) < max(best[1:]):
            best = found
    assert best is not None
    return best


def _pack(boxes: Sequence[tuple[int, int]], gap: int, limit: int) -> _Packing:
    """Boxes in order, each as high up as it can be below all that is there, then as far left, at most *limit* cells wide.

    The skyline heuristic: only the lower edge of what was placed counts, so a later box never fills a hole further up.
    """
    skyline = [(0, 0, limit + gap)]  # left, bottom, width, from left to right
    places: list[tuple[int, int]] = []
    extent = 0
    for height, width in boxes:
        top, index = min(_tops(skyline, width + gap))
        left = skyline[index][0]
        stop, right = index, left + width + gap
        while stop < len(skyline) and sum(skyline[stop][::2]) <= right:
            stop += 1
        rest = []
        if stop < len(skyline) and skyline[stop][0] < right:
            begin, bottom, span = skyline[stop]
            rest = [(right, bottom, begin + span - right)]
            stop += 1
        skyline[index:stop] = [(left, top + height + gap, width + gap), *rest]
        places.append((top, left))
        extent = max(extent, left + width)
    return places, max(top + height for (top, _), (height, _) in zip(places, boxes, strict=True)), extent


def _tops(skyline: Sequence[tuple[int, int, int]], width: int) -> Iterator[tuple[int, int]]:
    """(top, index) of a box of *width* that begins at the left edge of each step of the skyline where it has room."""
    end = sum(skyline[-1][::2])
    for index, (left, top, _) in enumerate(skyline):
        if left + width > end:
            return
        for begin, bottom, _ in skyline[index + 1 :]:
            if begin >= left + width:
                break
            top = max(top, bottom)
        yield top, index


def _layout(forms: Sequence[_Form], places: Sequence[tuple[int, int]], height: int, width: int, side: int) -> Layout:
    blocks: list[Block] = []
    regions: list[Region] = []
    for form, (row, column) in zip(forms, places, strict=True):
        found, region = form.put(row, column)
        blocks += found
        regions.append(region)
    return Layout(height * side, width * side, (side, side), tuple(blocks), tuple(regions))
