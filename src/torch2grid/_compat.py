"""What the first modules of torch2grid had, each under its old name and here in one: files in one call, and transformers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid._api import draw, grid as grid_pages
from torch2grid._pages import Pages
from torch2grid._session import TensorArrays, drawable, manager, settings_from
from torch2grid_core import Checkpoint, Grid, GridTransformer, Page, PluginManager, UsageError
from torch2grid_core.commands import Menu

if TYPE_CHECKING:
    from typing import Unpack

    from torch2grid._keywords import DrawingFields, PictureFields


def load_torch_model(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint at *path*, with nothing read but what describes it and none of its code run.

    Raises ``LoadError`` for a file that cannot be read.
    """
    return manager().open(os.fspath(path))


def inspect_torch_object(model_or_state_dict: Any) -> TensorArrays:
    """A mapping of name to float32 array, in order, bookkeeping left out: of a model, state dict, checkpoint or path.

    Raises ``LoadError`` where there is no tensor, ``UsageError`` for something that holds none by its nature.
    """
    return TensorArrays(drawable(model_or_state_dict, settings_from({})))


def visualize_layers(
    tensors: Any, output_dir: str | os.PathLike[str] = "grids/layers", **settings: Unpack[DrawingFields]
) -> list[Path]:
    """Write ``<output_dir>/<tensor>.png`` for each tensor; the paths."""
    return draw(tensors, ["layers:overview=false"], **settings).flat().save(output_dir)


def create_layer_overview(
    tensors: Any, output_path: str | os.PathLike[str] = "grids/layer_overview.png", **settings: Unpack[DrawingFields]
) -> Path:
    """Write all tensors on one sheet (the first of several, for very many); its path."""
    return draw(tensors, ["layers:each=false"], **settings).first().save(output_path)[0]


def visualize_all_histograms(
    tensors: Any, output_dir: str | os.PathLike[str] = "grids/histograms", **settings: Unpack[DrawingFields]
) -> list[Path]:
    """Write ``<output_dir>/<tensor>_hist.png`` for each tensor; the paths."""
    return draw(tensors, ["histogram:overview=false"], **settings).flat().save(output_dir)


def create_histogram_overview(
    tensors: Any, output_path: str | os.PathLike[str] = "grids/histogram_overview.png", **settings: Unpack[DrawingFields]
) -> Path:
    """Write all histograms on one sheet (the first of several, for very many); its path."""
    return draw(tensors, ["histogram:each=false"], **settings).first().save(output_path)[0]


def compare_layer_statistics(tensors: Any, **settings: Unpack[DrawingFields]) -> None:
    """Print the table of mean, std, min, max and share of near-zero weights."""
    print(draw(tensors, ["stats"], **settings))


def visualize_all_conv_layers(
    tensors: Any, output_dir: str | os.PathLike[str] = "grids/conv_kernels", **settings: Unpack[DrawingFields]
) -> list[Path]:
    """Write ``<output_dir>/<tensor>_grid.png`` for each convolution; the paths, none where there is no convolution."""
    return draw(tensors, ["conv"], **settings).flat().save(output_dir)


def to_neutral_grid(tensors: Any, plugin_name: str | None = None, **settings: Unpack[DrawingFields]) -> np.ndarray[Any, Any]:
    """The grid by *plugin_name* (``flatten`` unless given): 2-D float32, 0 where there is no weight.

    Raises ``UsageError`` for an unknown transformer.
    """
    return grid_pages(tensors, plugin_name, **settings).grid.values


def visualize_grid(
    grid: Any, title: str = "Neural Grid", output_dir: str | os.PathLike[str] = "grids", **settings: Unpack[PictureFields]
) -> Path:
    """Write ``<output_dir>/neural_grid.png`` and return its path.

    grid: a 2-D array or a ``Grid``. Raises ``ValueError`` for an array that is not 2-D.
    """
    drawn = grid if isinstance(grid, Grid) else Grid(np.asarray(grid))
    run = settings_from({**settings, "title": title})
    page = Page("neural_grid", title, (run.heatmap(drawn),))
    view = manager().create("view", "grid")
    return Pages([(page, view)], run, Checkpoint({}, source=title)).save(output_dir)[0]


def interactive_mode(tensors: Any, output_dir: str | os.PathLike[str] = "grids", **settings: Unpack[DrawingFields]) -> None:
    """List the tensors, ask which to draw, and draw them below *output_dir*, until ``quit`` or the end of the input."""
    checkpoint = drawable(tensors, settings_from({}))
    settings["include_buffers"] = True  # what a choice leaves out was left out here

    def draw_chosen(names: Sequence[str], views: Sequence[str]) -> None:
        for path in draw(checkpoint.select(names), list(views), **settings).save(output_dir):
            print(path)

    Menu(checkpoint, draw_chosen, ["layers"], list(manager().names("view"))).run()


class PluginRegistry:
    """A view of a plugin manager that knows transformers only."""

    def __init__(self, plugins: PluginManager | None = None) -> None:
        self._plugins = plugins or manager()

    def list_plugins(self) -> dict[str, str]:
        """Name → one-line description, sorted by name."""
        return {name: each.summary for name, each in self._plugins.names("transformer").items()}

    def get(self, name: str) -> GridTransformer:
        """An instance of the transformer *name*, which may carry options (``spiral:clockwise=false``).

        Raises ``UsageError`` for an unknown name.
        """
        instance: GridTransformer = self._plugins.create("transformer", name)
        return instance

    def register(self, plugin: GridTransformer) -> None:
        """Make an instance available under its name, in place of one that was registered before.

        Raises ``UsageError`` for anything but a transformer.
        """
        if not isinstance(plugin, GridTransformer):
            raise UsageError(f"{type(plugin).__name__} is not a transformer; it must be a subclass of TransformerPlugin")
        self._plugins.add(plugin)

    def load_from_file(self, path: str | os.PathLike[str]) -> list[str]:
        """Load the transformers of a Python file; their names. Raises ``UsageError`` or ``PluginError``."""
        record = self._plugins.load_file(os.fspath(path))
        return [each.name for each in record.provides("transformer")]


@lru_cache(maxsize=1)
def get_registry() -> PluginRegistry:
    """The registry that the Python API uses."""
    return PluginRegistry()
