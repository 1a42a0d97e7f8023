"""Running views, transformers and rules over samples as the engine does, and comparing what they made."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._engine.drawing import draw as draw_pages
from torch2grid_core._engine.measuring import measure
from torch2grid_core._errors import NotDrawable
from torch2grid_core._kinds.view import View
from torch2grid_core._measures.grids import Transformed
from torch2grid_core._pictures.blocks import Block, Region
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.layout import Layout
from torch2grid_core._pictures.page import Page
from torch2grid_core._pictures.transformer import GridTransformer
from torch2grid_core._settings import Settings


class Rows(GridTransformer):
    """each tensor's weights as a row"""

    name = "rows"

    def transform(self, tensors: Mapping[str, Any]) -> Grid:
        import numpy as np

        arrays = {name: np.ravel(array) for name, array in tensors.items() if array.size}
        if not arrays:
            raise NotDrawable("there is no weight")
        width = max(map(len, arrays.values()))
        values = np.zeros((len(arrays), width), np.float32)
        count = np.zeros(values.shape, np.int64)
        for row, array in enumerate(arrays.values()):
            values[row, : len(array)], count[row, : len(array)] = array, 1
        blocks = tuple(Block(name, 0, row, 0, ((len(array), 0, 1),)) for row, (name, array) in enumerate(arrays.items()))
        regions = tuple(Region(name, ((row, 0, 1, len(array)),)) for row, (name, array) in enumerate(arrays.items()))
        return Grid(values, count, regions=regions, layout=Layout(*values.shape, (1, 1), blocks, regions))


def settings(transformer: GridTransformer | None = None, max_cells: int = 64) -> Settings:
    """The settings of a run that asks for small pictures."""
    made = transformer or Rows()
    return Settings(transformer=made, transformer_name=str(made.name), max_cells=max_cells, tensor_cells=32)


def draw(checkpoint: Checkpoint, view: View, run: Settings, executor: Executor | None = None) -> list[Page] | None:
    """The pages of *view*; ``None`` where it declines the checkpoint."""
    try:
        return [page for page, _, _ in draw_pages(checkpoint, [view], run, executor=executor)]
    except NotDrawable:
        return None


def grid_of(checkpoint: Checkpoint, transformer: GridTransformer, max_cells: int = 64) -> Grid | None:
    """What the engine draws with *transformer*; ``None`` where it declines."""
    try:
        found = dict(measure(checkpoint, {"grid": Transformed(transformer, max_cells=max_cells)}))
    except NotDrawable:
        return None
    grid: Grid = found[None]["grid"]
    return grid


def as_texts(page: Page) -> list[Any]:
    """A page as plain values that can be compared."""
    tables = [panel.as_table() for panel in page.panels]
    return [page.folder, page.name, page.title, [(table.columns, table.texts(), table.title) for table in tables]]


class PicklingExecutor(Executor):
    """Runs tasks here, each sent through pickle and its result back, as to another process."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        sent, given, keys = pickle.loads(pickle.dumps((function, arguments, named)))
        try:
            future.set_result(pickle.loads(pickle.dumps(sent(*given, **keys))))
        except Exception as error:
            future.set_exception(error)
        return future
