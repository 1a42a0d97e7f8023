"""The kernels of convolutions, each output channel a tile."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from torch2grid_builtin.views.conv_layout import Kernels, kernel_layout
from torch2grid_builtin.views.describing import about, shape_text, tensor_title
from torch2grid_core import NOT_FINITE, Grid, Image, LazyTensor, Need, Page, Raster, Run, Values, View

Array = np.ndarray[Any, Any]
FOLDER = "conv_kernels"
_LONGEST_1D, _LONGEST_2D = 512, 128  # taps, and a side of a kernel: what is larger is a mask, a table or an expert
_NO_KERNEL = re.compile(
    r"(mask|bias|running_|num_batches|token|table|pos(ition)?_?(embed|enc|emb)|rel_pos|query|_buffer|[._](scale|zero_point)s?$)"
)
_NO_KERNEL_1D = re.compile(r"(emb|att|expert|moe|lora|rnn|lstm|gru|bilinear|proj|head|qkv)")
_CONV_NAME = re.compile(r"(conv|cnn|tcn|filter|kernel|stft|basis|wav)")
_NUMBERED = re.compile(r"(^|\.)\d+\.weight$")
_RGB_LIMIT = 1 << 20


def is_convolution(tensor: LazyTensor) -> bool:
    """True for the weight of a 1-D or 2-D convolution, told by its shape and, where shapes are ambiguous, by its name.

    4-D: kernels of at most 128×128, or 512×1, that are not named as a mask, bias, table or position. 3-D: at most 512 taps,
    and a name that says convolution, or the numbered weight of a ``Sequential`` with at most 32 taps.
    """
    name = tensor.name.lower()
    if tensor.dtype.kind == "b" or not tensor.size or _NO_KERNEL.search(name):
        return False
    if tensor.ndim == 4:
        low, high = sorted(tensor.shape[2:])
        return high <= (_LONGEST_1D if low == 1 else _LONGEST_2D)
    if tensor.ndim != 3 or tensor.shape[2] > _LONGEST_1D:
        return False
    if _CONV_NAME.search(name):
        return True
    return bool(_NUMBERED.search(name)) and tensor.shape[2] <= 32 and not _NO_KERNEL_1D.search(name)


def is_rgb(tensor: LazyTensor) -> bool:
    """True where the kernels look at three channels in space, as the first layer of an image network does."""
    return tensor.ndim == 4 and tensor.shape[1] == 3 and min(tensor.shape[2:]) > 1 and tensor.size <= _RGB_LIMIT


class ConvView(View):
    """The kernels of every convolution, each output channel a tile."""

    name = "conv"
    uses_transformer = False

    def tensor_needs(self, tensor: LazyTensor, run: Run) -> Mapping[str, Need]:
        if not is_convolution(tensor):
            return {}
        needs: dict[str, Need] = {"grid": Raster(kernel_layout(tensor.name, tensor.shape, run.tensor_cells).layout, run.reduce)}
        if is_rgb(tensor) and tensor.dtype.kind != "c":
            needs["values"] = Values(_RGB_LIMIT)
        return needs

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Run) -> Iterator[Page]:
        """One page, ``TENSOR_grid`` in the folder ``conv_kernels``: the kernels as a heatmap, and as colours for RGB."""
        grid: Grid = results["grid"]
        kernels = kernel_layout(tensor.name, tensor.shape, run.tensor_cells)
        heatmap = run.heatmap(grid, title=_explained(tensor, kernels, grid), **_axes(tensor, kernels, grid))
        title = tensor_title(tensor)
        panels: tuple[Any, ...] = (heatmap,)
        values = results.get("values")
        if values is not None:
            panels = (rgb_tiles(values), heatmap)
        yield Page(
            f"{tensor.name}_grid",
            f"{run.title} · {title}" if run.title else title,
            panels,
            folder=FOLDER,
            columns=len(panels),
            about=about(tensor),
        )


def _axes(tensor: LazyTensor, kernels: Kernels, grid: Grid) -> dict[str, Any]:
    """Ticks where rows are output channels, else the number of each row's first tile beside it."""
    if tensor.ndim == 3 and tensor.shape[1] == 1 and kernels.tiles[1] == 1 and not kernels.flat:
        return {"rows": "output channel", "columns": "tap"}
    if kernels.flat or tensor.shape[0] == 1:
        return {}
    names = []
    for region in grid.regions:
        row, column, height, _ = region.rects[0]
        if column == 0:
            names.append((row + height / 2, region.name))
    across = kernels.tiles[1]
    return {"rows": "output channel" if across == 1 else "first output channel of the row", "row_names": tuple(names)}


def _explained(tensor: LazyTensor, kernels: Kernels, grid: Grid) -> str:
    """What a tile is, and what is in it."""
    out, channels, *kernel = tensor.shape
    if kernels.flat:
        return f"{out} output channels as rows, {channels}×{shape_text(tuple(kernel))} weights of each as columns"
    tile = f"{out} output channels, a tile each" if out > 1 else "one output channel"
    if len(kernel) == 1:
        inside = f"{_counted(channels, 'input channel')} down, {_counted(kernel[0], 'tap')} across"
    elif channels == 1:
        inside = f"one kernel of {shape_text(tuple(kernel))}"
    else:
        side = "side by side" if kernels.inner[0] == 1 else f"{kernels.inner[1]} side by side"
        every = f"{channels} kernels of {shape_text(tuple(kernel))}"
        if grid.cell == (1, 1):
            inside = f"{every}, {side}"
        elif grid.cell == tuple(kernel):
            inside = f"a cell for each of {every}, {side}"
        else:
            inside = f"{every}, several to a cell"
    return f"{tile}: {inside}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def rgb_tiles(values: Array) -> Image:
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
    return Image(sheet, "input channels 0, 1, 2 as red, green, blue", caption)
