"""The kernels of convolutions, each output channel a tile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_builtin._views.convolutions import is_convolution, is_transposed, kernels_shape
from torch2grid_builtin._views.describing import about, tensor_title
from torch2grid_core import Grid, Layout, LazyTensor, Need, Page, Settings, View
from torch2grid_core.grids import NOT_FINITE, Block, Region, matrix_layout
from torch2grid_core.measures import Raster, Values
from torch2grid_core.pages import Image
from torch2grid_core.sources import kept_places, whole_shape
from torch2grid_core.text import shape_text

Array = np.ndarray[Any, Any]
FOLDER = "conv_kernels"
_RGB_LIMIT = 1 << 20
Pair = tuple[int, int]
_MOST_DIMS = 5  # of a block


def is_rgb(tensor: LazyTensor) -> bool:
    """True where the kernels look at three channels in space, as the first layer of an image network does."""
    if whole_shape(tensor.shape)[1:2] != (3,):  # three of more channels are no colours
        return False
    return tensor.ndim == 4 and tensor.shape[1] == 3 and min(tensor.shape[2:]) > 1 and tensor.size <= _RGB_LIMIT


@dataclass(frozen=True)
class ConvView(View):
    """The kernels of every convolution, a tile per channel."""

    name = "conv"
    uses_transformer = False

    average: bool = field(default=False, metadata={"help": "draw the mean over input channels: one kernel a tile"})

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        if not is_convolution(tensor):
            return {}
        layout = self._kernels(tensor, run).layout
        if self.average:
            return {"grid": Raster(layout, "mean")}
        needs: dict[str, Need[Any]] = {"grid": Raster(layout, run.reduce)}
        if is_rgb(tensor) and tensor.dtype.kind != "c":
            needs["values"] = Values(_RGB_LIMIT)
        return needs

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterator[Page]:
        """One page, ``TENSOR_grid`` in the folder ``conv_kernels``: the kernels as a heatmap, and as colours for RGB."""
        grid = _numbered(tensor, results["grid"])
        picture = _Picture(tensor, self._kernels(tensor, run), grid, self.average)
        heatmap = run.heatmap(grid, title=picture.explained, label=picture.label, **picture.axes)
        title = tensor_title(tensor)
        panels: tuple[Any, ...] = (heatmap,)
        values = results.get("values")
        if values is not None:
            panels = (rgb_tiles(values, picture.inputs), heatmap)
        if self.average:
            title += f" · mean over {_counted(picture.shape[1], picture.inputs)}"
        yield Page(
            f"{tensor.name}_grid",
            f"{run.title} · {title}" if run.title else title,
            panels,
            folder=FOLDER,
            columns=len(panels),
            about=about(tensor),
        )

    def _kernels(self, tensor: LazyTensor, run: Settings) -> Kernels:
        return kernel_layout(tensor.name, kernels_shape(tensor), run.tensor_cells, self.average)


def _numbered(tensor: LazyTensor, grid: Grid) -> Grid:
    """*grid*, its tiles numbered as in the whole tensor where *tensor* is a part of one."""
    if tensor.taken is None or not all(region.name.isdigit() for region in grid.regions):
        return grid
    places = kept_places(tensor.shape)[len(tensor.taken.shape) - len(kernels_shape(tensor))]
    numbers = [places[int(region.name)] for region in grid.regions]
    renamed = (replace(region, name=str(number)) for region, number in zip(grid.regions, numbers, strict=True))
    return replace(grid, regions=tuple(renamed))


class _Picture:
    """What is said about one picture of kernels. shape: (out, in, …) of the kernels; outputs, inputs: what these count."""

    def __init__(self, tensor: LazyTensor, kernels: Kernels, grid: Grid, average: bool) -> None:
        self.kernels, self.grid, self.average = kernels, grid, average
        self.shape = kernels_shape(tensor)
        self.outputs, self.inputs = "output channel", "input channel"
        if is_transposed(tensor):  # its weight has the input channels first
            self.outputs, self.inputs = self.inputs, self.outputs

    @property
    def axes(self) -> dict[str, Any]:
        """Ticks where rows are output channels, else the number of each row's first tile beside it."""
        kernels, single = self.kernels, self.average or self.shape[1] == 1
        if len(self.shape) == 3 and single and kernels.tiles[1] == 1 and not kernels.flat:
            return {"rows": self.outputs, "columns": "tap" if self.shape[1] == 1 else ""}  # ticks count weights, not cells
        if kernels.flat or self.shape[0] == 1:
            return {}
        names = []
        for region in self.grid.regions:
            row, column, height, _ = region.rects[0]
            if column == 0:
                names.append((row + height / 2, region.name))
        first = self.outputs if kernels.tiles[1] == 1 else f"first {self.outputs} of the row"
        return {"rows": first, "row_names": tuple(names)}

    @property
    def label(self) -> str:
        """What a cell is."""
        if not self.average or self.shape[1] == 1:
            return self.grid.cell_text()
        high, wide = self.grid.cell
        several = f", {high}×{wide // self.shape[1]} weights of each" if high * wide > self.shape[1] else ""
        return f"mean over {_counted(self.shape[1], self.inputs)}{several}"

    @property
    def explained(self) -> str:
        """What a tile is, and what is in it."""
        out, channels, *kernel = self.shape
        size = shape_text(tuple(kernel))
        of_all = f"the mean of {channels} kernels of {size}" if self.average and channels > 1 else ""
        if self.kernels.flat:
            if of_all:
                return f"{out} {self.outputs}s as rows, {size} means over {channels} {self.inputs}s as columns"
            return f"{out} {self.outputs}s as rows, {channels}×{size} weights of each as columns"
        tile = f"{_counted(out, self.outputs)}, a tile each" if out > 1 else f"one {self.outputs}"
        planes = f", {kernel[0]} planes side by side" if len(kernel) == 3 and kernel[0] > 1 else ""
        if len(kernel) == 1:
            taps = _counted(kernel[0], "tap")
            down = f"the mean over {_counted(channels, self.inputs)}" if of_all else f"{_counted(channels, self.inputs)} down"
            return f"{tile}: {down}, {taps} across"
        if of_all:
            return f"{tile}: {of_all}{planes}"
        if channels == 1:
            return f"{tile}: one kernel of {size}{planes}"
        side = "side by side" if self.kernels.inner[0] == 1 else f"{self.kernels.inner[1]} side by side"
        every = f"{channels} kernels of {size}"
        if self.grid.cell == (1, 1):
            return f"{tile}: {every}, {side}" + (f", {kernel[0]} planes each" if planes else "")
        if self.grid.cell == (kernel[-2], math.prod(kernel) // kernel[-2]):
            return f"{tile}: a cell for each of {every}, {side}"
        return f"{tile}: {every}, several to a cell"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def rgb_tiles(values: Array, channels: str = "input channel") -> Image:
    """Kernels (out, 3, kh, kw) as small colour pictures in reading order, a white line between.

    Each kernel is divided by the largest |weight| of its three channels together, so that 0 is mid-grey; a pixel with a
    NaN or Inf has the colour for that.
    """
    weights = np.asarray(values).astype(np.float64)
    out, _, high, wide = weights.shape
    finite = np.isfinite(weights)
    sizes = np.abs(np.where(finite, weights, 0.0))
    largest = sizes.max(axis=(1, 2, 3), keepdims=True)
    share = np.where(finite, weights, 0.0) / np.where(largest > 0, largest, 1.0)
    pixels = np.rint(127.5 + 127.5 * share).astype(np.uint8).transpose(0, 2, 3, 1)
    pixels[~finite.all(axis=1)] = NOT_FINITE
    across = min(max(round(math.sqrt(out * (high + 1) / (wide + 1))), 1), out)
    down = -(-out // across)
    sheet = np.full((down * (high + 1) - 1, across * (wide + 1) - 1, 3), 255, np.uint8)
    for index in range(out):
        row, column = divmod(index, across)
        sheet[row * (high + 1) : row * (high + 1) + high, column * (wide + 1) : column * (wide + 1) + wide] = pixels[index]
    caption = "each kernel scaled by the largest |weight| of its three channels together; grey is 0"
    return Image(sheet, f"{channels}s 0, 1, 2 as red, green, blue", caption)


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

    kernel: of one plane of a kernel. planes, apart: how many of them stand side by side, and columns from one to the next.
    step: from a kernel to the next in its tile; pitch: from a tile to the next. inner, tiles: numbers of kernels in a tile, and
    of tiles. tile: of one tile. cell: weights a cell.
    """

    kernel: Pair
    planes: int
    apart: int
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


def kernel_layout(name: str, shape: tuple[int, ...], max_cells: int, average: bool = False) -> Kernels:
    """The layout of a convolution's weight, (out, in, …) and one to three dimensions, at most *max_cells* cells a side.

    Output channel o is tile o in reading order. In a tile of a 2-D convolution the input channels' kernels lie in reading
    order, a line between them where every weight has a cell of its own; where that does not fit, a cell is a kernel, then
    several. The planes of a 3-D kernel stand side by side, the first depth on the left. In a tile of a 1-D convolution the rows
    are input channels and the columns taps. Regions are named by output channel. average: a tile holds one kernel, and a
    cell the same weight of all input channels, in columns of the full-size grid side by side.
    Raises ``NotDrawable`` without weights.
    """
    out, channels, *lengths = shape
    planes, *kernel = (1,) * (3 - len(lengths)) + tuple(lengths)
    high, wide = kernel
    shown = 1 if average else channels
    inner = (shown, 1) if len(lengths) == 1 else _inner(shown, (high, planes * wide))
    between = 0 if len(lengths) == 1 or high == wide == 1 else 1  # cells between planes; a line more between kernels, and tiles
    apart = between if planes > 1 else 0
    line = apart + 1 if between and shown > 1 else 0
    gap = max(apart, line) + 1
    down = 0 if len(lengths) == 1 and shown == 1 else gap  # single rows need no line between
    plan = _plan(out, (high, wide), planes, inner, (1, 1), apart, line, (down, gap))
    cell = (1, 1) if len(lengths) == 1 else (high, planes * wide)
    while not plan.fits(max_cells):
        room = (2, 2) if min(plan.tile) > 8 * max(cell) else (1, 1)
        plan = _plan(out, (high, wide), planes, inner, cell, 0, 0, room)
        tall, broad = -(-plan.tile[0] // cell[0]), -(-plan.tile[1] // cell[1])
        if tall == broad == 1:
            break
        cell = (cell[0] * 2, cell[1]) if tall >= broad else (cell[0], cell[1] * 2)
    columns_each = channels if average else 1  # of the full-size grid, for each weight that is drawn
    if not plan.fits(max_cells):
        flat = _averaged_rows(name, shape, max_cells) if average else matrix_layout(name, shape, max_cells)
        return Kernels(flat, (out, 1), (1, shown), flat=True)
    rows, columns = plan.size
    blocks = _blocks(name, out, channels, plan, average)
    tall, broad = (-(-plan.tile[i] // plan.cell[i]) for i in (0, 1))
    regions = tuple(
        Region(str(index), ((row * plan.pitch[0] // plan.cell[0], column * plan.pitch[1] // plan.cell[1], tall, broad),))
        for index in range(out)
        for row, column in (divmod(index, plan.tiles[1]),)
    )
    size = (plan.cell[0], plan.cell[1] * columns_each)
    return Kernels(Layout(rows, columns * columns_each, size, blocks, regions), plan.tiles, inner)


def _averaged_rows(name: str, shape: tuple[int, ...], max_cells: int) -> Layout:
    """Output channels as rows, the weights of a kernel as columns, each the same weight of all input channels."""
    out, channels, *lengths = shape
    area = math.prod(lengths)
    cell = (-(-out // max_cells), -(-area // max_cells) * channels)
    block = Block(name, 0, 0, 0, ((out, 1, 0), (channels, 0, 1), (area, 0, channels)))
    region = Region(name, ((0, 0, -(-out // cell[0]), -(-area * channels // cell[1])),))
    return Layout(out, area * channels, cell, (block,), (region,))


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


def _plan(out: int, kernel: Pair, planes: int, inner: Pair, cell: Pair, apart: int, line: int, gap: Pair) -> _Plan:
    """Tiles in the arrangement with a short longer side and few empty places.

    apart, line, gap: cells between planes, kernels and tiles.
    """
    broad = planes * (kernel[1] + apart) - apart
    step = (kernel[0] + line, broad + line)
    tile = (inner[0] * step[0] - line, inner[1] * step[1] - line)
    pitch = (_whole(tile[0], cell[0]) + gap[0] * cell[0], _whole(tile[1], cell[1]) + gap[1] * cell[1])
    across = np.arange(1, out + 1)
    down = -(-out // across)
    longer = np.maximum(down * (pitch[0] // cell[0]), across * (pitch[1] // cell[1]))
    columns = int(across[np.argmin(longer * (2 - out / (down * across)))])
    return _Plan(kernel, planes, kernel[1] + apart, inner, step, cell, tile, pitch, (-(-out // columns), columns))


def _blocks(name: str, out: int, channels: int, plan: _Plan, average: bool) -> tuple[Block, ...]:
    area = plan.planes * plan.kernel[0] * plan.kernel[1]
    per_tile = channels * area
    whole = plan.inner[0] * plan.inner[1] == channels
    wide = channels if average else 1  # columns of one weight that is drawn
    inside = ((plan.planes, 0, plan.apart * wide), (plan.kernel[0], 1, 0), (plan.kernel[1], 0, wide))
    blocks: list[Block] = []

    def put(start: int, row: int, column: int, *dims: tuple[int, int, int]) -> None:
        kept = tuple(dim for dim in (*dims, *inside) if dim[0] > 1) or ((1, 0, 1),)
        if len(kept) <= _MOST_DIMS:
            blocks.append(Block(name, start, row, column, kept))
            return
        (count, _, step), *rest = kept
        each = math.prod(length for length, _, _ in rest)
        blocks.extend(Block(name, start + at * each, row, column + at * step, tuple(rest)) for at in range(count))

    rows_of = (plan.inner[0], plan.step[0], 0)
    for first in range(0, out, plan.tiles[1]):
        count = min(plan.tiles[1], out - first)
        top = first // plan.tiles[1] * plan.pitch[0]
        if average:
            put(first * per_tile, top, 0, (count, 0, plan.pitch[1] * wide), (channels, 0, 1))
            continue
        if whole:
            put(first * per_tile, top, 0, (count, 0, plan.pitch[1]), rows_of, (plan.inner[1], 0, plan.step[1]))
            continue
        full = (plan.inner[0] - 1) * plan.inner[1]
        for index in range(count):
            start, left = (first + index) * per_tile, index * plan.pitch[1]
            if full:
                put(start, top, left, (plan.inner[0] - 1, plan.step[0], 0), (plan.inner[1], 0, plan.step[1]))
            below = top + (plan.inner[0] - 1) * plan.step[0]
            put(start + full * area, below, left, (channels - full, 0, plan.step[1]))
    return tuple(blocks)
