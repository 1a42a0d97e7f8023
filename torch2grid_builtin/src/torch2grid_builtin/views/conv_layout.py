"""Where the weights of a convolution go: a tile for each output channel, its kernels inside, room between."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from torch2grid_core import Block, Layout, Region, matrix_layout

Pair = tuple[int, int]


@dataclass(frozen=True)
class Kernels:
    """A layout of kernels. tiles, inner: (rows, columns) of tiles, and of kernels in a tile.

    flat: too many for tiles; the layout is that of a matrix, output channels as rows.
    """

    layout: Layout
    tiles: Pair
    inner: Pair
    flat: bool = False


@dataclass(frozen=True)
class _Plan:
    """Sizes in weights of the full-size grid, (down, across).

    kernel, tile: of one. step: from a kernel to the next in its tile; pitch: from a tile to the next. inner, tiles: numbers of
    kernels in a tile, and of tiles. cell: weights a cell.
    """

    kernel: Pair
    inner: Pair
    step: Pair
    cell: Pair
    tile: Pair
    pitch: Pair
    tiles: Pair

    @property
    def size(self) -> Pair:
        rows, columns = ((self.tiles[i] - 1) * self.pitch[i] + _whole(self.tile[i], self.cell[i]) for i in (0, 1))
        return rows, columns

    def fits(self, max_cells: int) -> bool:
        return all(size // cell <= max_cells for size, cell in zip(self.size, self.cell, strict=True))


def kernel_layout(name: str, shape: tuple[int, ...], max_cells: int) -> Kernels:
    """The layout of a convolution's weight, (out, in, kh, kw) or (out, in, taps), at most *max_cells* cells a side.

    Output channel o is tile o in reading order. In a tile of a 2-D convolution the input channels' kernels lie in reading
    order, a line between them where every weight has a cell of its own; where that does not fit, a cell is a kernel, then
    several. In a tile of a 1-D convolution the rows are input channels and the columns taps. Regions are named by output
    channel. Raises ``NotDrawable`` without weights.
    """
    out, channels = shape[:2]
    kernel = (shape[2], shape[3]) if len(shape) == 4 else (1, shape[2])
    inner = _inner(channels, kernel) if len(shape) == 4 else (channels, 1)
    parted = len(shape) == 4 and channels > 1 and kernel != (1, 1)
    gap = (2, 2) if parted else (1, 1) if len(shape) == 4 or channels > 1 else (0, 1)  # single rows need no line between
    plan = _plan(out, kernel, inner, (1, 1), 1 if parted else 0, gap)
    cell = kernel if len(shape) == 4 else (1, 1)
    while not plan.fits(max_cells):
        plan = _plan(out, kernel, inner, cell, 0, (2, 2) if min(plan.tile) > 8 * max(cell) else (1, 1))
        high, wide = -(-plan.tile[0] // cell[0]), -(-plan.tile[1] // cell[1])
        if high == wide == 1:
            break
        cell = (cell[0] * 2, cell[1]) if high >= wide else (cell[0], cell[1] * 2)
    if not plan.fits(max_cells):
        return Kernels(matrix_layout(name, shape, max_cells), (out, 1), (1, channels), flat=True)
    rows, columns = plan.size
    blocks = _blocks(name, out, channels, plan)
    high, wide = (-(-plan.tile[i] // plan.cell[i]) for i in (0, 1))
    regions = tuple(
        Region(str(index), ((row * plan.pitch[0] // plan.cell[0], column * plan.pitch[1] // plan.cell[1], high, wide),))
        for index in range(out)
        for row, column in (divmod(index, plan.tiles[1]),)
    )
    return Kernels(Layout(rows, columns, plan.cell, blocks, regions), plan.tiles, inner)


def _whole(length: int, cell: int) -> int:
    return -(-length // cell) * cell


def _inner(channels: int, kernel: Pair) -> Pair:
    """Rows and columns of kernels in a tile: as square as can be, without an unfinished row unless that is far better."""

    def badness(columns: int) -> float:
        rows = -(-channels // columns)
        return abs(math.log(rows * kernel[0] / (columns * kernel[1]))) + (1.2 if channels % columns else 0)

    if channels == 3:
        return 1, 3
    columns = min(range(1, channels + 1), key=badness)
    return -(-channels // columns), columns


def _plan(out: int, kernel: Pair, inner: Pair, cell: Pair, line: int, gap: Pair) -> _Plan:
    """Tiles in the arrangement with a short longer side and few empty places. line, gap: cells between kernels, tiles."""
    step = (kernel[0] + line, kernel[1] + line)
    tile = (inner[0] * step[0] - line, inner[1] * step[1] - line)
    pitch = (_whole(tile[0], cell[0]) + gap[0] * cell[0], _whole(tile[1], cell[1]) + gap[1] * cell[1])
    across = np.arange(1, out + 1)
    down = -(-out // across)
    longer = np.maximum(down * (pitch[0] // cell[0]), across * (pitch[1] // cell[1]))
    columns = int(across[np.argmin(longer * (2 - out / (down * across)))])
    return _Plan(kernel, inner, step, cell, tile, pitch, (-(-out // columns), columns))


def _blocks(name: str, out: int, channels: int, plan: _Plan) -> tuple[Block, ...]:
    per_tile = channels * plan.kernel[0] * plan.kernel[1]
    whole = plan.inner[0] * plan.inner[1] == channels
    inside = ((plan.kernel[0], 1, 0), (plan.kernel[1], 0, 1))
    blocks: list[Block] = []

    def put(start: int, row: int, column: int, *dims: tuple[int, int, int]) -> None:
        kept = tuple(dim for dim in (*dims, *inside) if dim[0] > 1) or ((1, 0, 1),)
        blocks.append(Block(name, start, row, column, kept))

    rows_of = (plan.inner[0], plan.step[0], 0)
    for first in range(0, out, plan.tiles[1]):
        count = min(plan.tiles[1], out - first)
        top = first // plan.tiles[1] * plan.pitch[0]
        if whole:
            put(first * per_tile, top, 0, (count, 0, plan.pitch[1]), rows_of, (plan.inner[1], 0, plan.step[1]))
            continue
        full = (plan.inner[0] - 1) * plan.inner[1]
        area = plan.kernel[0] * plan.kernel[1]
        for index in range(count):
            start, left = (first + index) * per_tile, index * plan.pitch[1]
            if full:
                put(start, top, left, (plan.inner[0] - 1, plan.step[0], 0), (plan.inner[1], 0, plan.step[1]))
            below = top + (plan.inner[0] - 1) * plan.step[0]
            put(start + full * area, below, left, (channels - full, 0, plan.step[1]))
    return tuple(blocks)
