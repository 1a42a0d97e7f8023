"""The kernels of convolutions, each output channel a tile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch2grid_builtin._views.conv_layout import Kernels, kernel_layout
from torch2grid_builtin._views.convolutions import is_convolution, is_transposed, kernels_shape
from torch2grid_builtin._views.describing import about, shape_text, tensor_title
from torch2grid_core import Grid, LazyTensor, Need, Page, Settings, View
from torch2grid_core.grids import NOT_FINITE
from torch2grid_core.measures import Raster, Values
from torch2grid_core.pages import Image

Array = np.ndarray[Any, Any]
FOLDER = "conv_kernels"
_RGB_LIMIT = 1 << 20


def is_rgb(tensor: LazyTensor) -> bool:
    """True where the kernels look at three channels in space, as the first layer of an image network does."""
    return tensor.ndim == 4 and tensor.shape[1] == 3 and min(tensor.shape[2:]) > 1 and tensor.size <= _RGB_LIMIT


@dataclass(frozen=True)
class ConvView(View):
    """The kernels of every convolution, each output channel a tile."""

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
        grid: Grid = results["grid"]
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
