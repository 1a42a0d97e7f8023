"""From the tensors of a whole model to one grid: the base classes of transformers."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._errors import NotDrawable
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.layout import Layout

if TYPE_CHECKING:
    from torch2grid_core._summary.distribution import Distribution


class GridTransformer(ABC):
    """Makes one 2-D grid of all tensors. Only ``name`` and ``transform`` must be written.

    ``transform`` gets a mapping of name to float32 array, read one at a time as they are touched, and returns any 2-D array
    or a ``Grid``. ``name`` is a class attribute or a property; options are the fields of a dataclass.
    """

    name: Any  # a str, as a class attribute or a property
    file_order: ClassVar[bool] = False  # True: gets the tensors as they lie in the file; else in the order of tables and lists

    @property
    def description(self) -> str:
        """One line on what it does; the first line of the docstring unless overridden."""
        own = type(self).__dict__.get("__doc__")  # not the base class's: what that says is about writing one
        return inspect.cleandoc(own).partition("\n")[0] if own else ""

    def can_handle(self, tensors: Mapping[str, Any]) -> bool:
        """False to decline these tensors; nothing is drawn then and the run ends with one line."""
        return True

    def preprocess(self, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        """The mapping that ``transform`` gets: drop, rename or change tensors here."""
        return tensors

    @abstractmethod
    def transform(self, tensors: Mapping[str, Any]) -> Array | Grid:
        """The grid: a 2-D array or a ``Grid``."""

    def postprocess(self, grid: Array | Grid) -> Array | Grid:
        """The last word on the grid."""
        return grid

    def __call__(self, tensors: Mapping[str, Any]) -> Array | Grid:
        """All steps in turn. Raises ``NotDrawable`` where ``can_handle`` is False."""
        if not self.can_handle(tensors):
            raise NotDrawable(f"transformer {self.name!r} cannot handle these tensors")
        return self.postprocess(self.transform(self.preprocess(tensors)))


class LayoutTransformer(GridTransformer):
    """A transformer that says where weights go and leaves the moving to the raster: any model size in bounded memory."""

    @abstractmethod
    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """Where every weight of tensors of these shapes goes.

        max_cells: the grid has at most so many cells a side; ``None`` is the full size, one weight a cell.
        """

    def scale(self, summaries: Mapping[str, Distribution]) -> Mapping[str, tuple[float, float]] | None:
        """(factor, offset) for each tensor, applied to the reduced values as ``value * factor + offset``.

        ``None`` leaves the weights as they are. Override ``needs_summaries`` too: the pass then collects them.
        """
        return None

    needs_summaries: bool = False
    quantity: str = "weight"  # what a value is after ``scale``

    def transform(self, tensors: Mapping[str, Any]) -> Grid:
        """The full-size grid, one weight a cell, of arrays in memory (or lazy tensors, read one at a time) of any shape.

        Raises ``NotDrawable`` where the transformer finds nothing to draw, ``ValueError`` for a layout that is not valid.
        """
        from torch2grid_core._pictures.raster import assemble, flat, whole
        from torch2grid_core._summary.distribution import Distribution

        shapes = {name: tuple(map(int, np.shape(array))) for name, array in tensors.items()}
        layout = self.layout(shapes, None).validate(shapes)
        scale = None
        if self.needs_summaries:
            summaries = {name: Distribution() for name in shapes}
            for name, summary in summaries.items():
                summary.update(flat(tensors[name]))
            scale = self.scale(summaries)
        return assemble(
            layout, "mean", (whole(layout, name, tensors[name], "mean") for name in layout.tensors), scale, self.quantity
        )
