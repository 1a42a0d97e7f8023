"""Every tensor a block of its own in its own 2-D form, packed about in the model's order with empty cells between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch2grid_builtin._forms import flattened
from torch2grid_builtin._transformers.packing import Box, Packing, check_cell, fitting, orders, pack, widths
from torch2grid_core import Layout, LayoutTransformer, NotDrawable
from torch2grid_core.grids import Block, Rect, Region, drawable_sizes, flat_run, is_vector, matrix_shape, vector_columns

_LONG = 8  # a matrix that is so many times longer than wide is cut into bands side by side
_WORK = 6000  # boxes placed while a packing is looked for
_OTHER_ORDER = 1.15  # times as bad as the same packing in the model's order


@dataclass(frozen=True)
class LayerSeparated(LayoutTransformer):
    """Every tensor a block of its own: matrices as they are (rows = output units), vectors folded, empty cells between."""

    cell: int | None = field(default=None, metadata={"help": "a cell is so many rows and columns; none: as few as fit"})
    gap: int = field(default=2, metadata={"help": "empty cells between blocks"})

    name = "layer_separated"

    def __post_init__(self) -> None:
        if not 0 <= self.gap <= 64:
            raise ValueError("gap must be a number of cells from 0 to 64")
        check_cell(self.cell)

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """Blocks each as high up as it fits, in cells of s×s weights with the smallest s that fits.

        They come in the order of the model, unless by height, width or size they pack far better. A cell of a folded vector
        holds s·s consecutive weights. A matrix more than eight times as long as wide is cut into bands of whole rows (or,
        where they divide evenly, of columns) that stand side by side.
        Raises ``NotDrawable`` without weights, and where the blocks do not fit *max_cells* a side.
        """
        sizes = drawable_sizes(shapes)
        if max_cells is None or self.cell is not None:
            side = self.cell or 1
            forms = [_Form(name, shapes[name], side, self.gap) for name in sizes]
            return fitting(_layout(forms, _best_packing([form.box for form in forms], self.gap), side), max_cells)
        side = max(math.isqrt(sum(sizes.values())) // max_cells, 1)
        longest = max(max(matrix_shape(flattened(name, shapes[name]))) for name in sizes)
        while True:
            for gap in (self.gap, 0) if side >= longest else (self.gap,):
                forms = [_Form(name, shapes[name], side, gap) for name in sizes]
                boxes = [form.box for form in forms]
                if sum(height * width for height, width in boxes) > max_cells**2:
                    continue  # no packing can fit
                packing = _best_packing(boxes, gap, max_cells)
                if max(packing.height, packing.width) <= max_cells:
                    return _layout(forms, packing, side)
            if side >= longest:
                raise NotDrawable(f"{len(sizes):,} tensors do not fit {max_cells}×{max_cells} cells as separate blocks")
            side = max(side + 1, side * 21 // 20)


class _Form:
    """One tensor in cells of side×side weights. box: (height, width) in cells."""

    def __init__(self, name: str, shape: tuple[int, ...], side: int, gap: int) -> None:
        shape = flattened(name, shape)
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


def _best_packing(boxes: Sequence[Box], gap: int, limit: int = 0) -> Packing:
    """The squarest and fullest of some packings, one of them *limit* wide; in another order only where that is far better."""
    ways = orders(boxes)
    sheets = max(min(_WORK // len(boxes) // len(ways), 12), 2)
    tried = [*widths(boxes, gap, 0.85, 1.4, sheets), *([limit] if limit else [])]
    best: tuple[tuple[bool, float], Packing] | None = None
    for turn, order in enumerate(ways):
        for width in tried:
            packing = pack(boxes, gap, width, order)
            longer = max(packing.height, packing.width)
            badness = (longer**2 + 2 * packing.height * packing.width) * (_OTHER_ORDER if turn else 1)
            found = (0 < limit < longer, badness), packing
            if best is None or found[0] < best[0]:
                best = found
    assert best is not None
    return best[1]


def _layout(forms: Sequence[_Form], packing: Packing, side: int) -> Layout:
    blocks: list[Block] = []
    regions: list[Region] = []
    for form, (row, column) in zip(forms, packing.places, strict=True):
        found, region = form.put(row, column)
        blocks += found
        regions.append(region)
    return Layout(packing.height * side, packing.width * side, (side, side), tuple(blocks), tuple(regions))
