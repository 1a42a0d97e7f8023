"""From a cell back to its weights, against the positions of every weight."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.raster.reference import cell_numbers

from torch2grid_builtin._transformers.flatten import Flatten, Spiral
from torch2grid_builtin._transformers.layer_separated import LayerSeparated
from torch2grid_builtin._transformers.layer_weighted import LayerWeighted
from torch2grid_builtin._views.conv import kernel_layout
from torch2grid_core import Layout
from torch2grid_core.grids import matrix_layout, weights_of_cell

SHAPES = {"conv": (6, 3, 5, 5), "fc": (40, 33), "bias": (40,), "scalar": (), "depthwise": (7, 1, 3, 3)}
LAYOUTS = {
    **{f"matrix {shape} {cells}": matrix_layout("fc", shape, cells) for shape in ((40, 33), (500,)) for cells in (None, 16, 5)},
    **{
        f"{cls.__name__} {cells}": cls().layout(SHAPES, cells)
        for cls in (Flatten, Spiral, LayerSeparated, LayerWeighted)
        for cells in (None, 24)
    },
    **{f"kernels {cells}": kernel_layout("conv", (6, 3, 5, 5), cells).layout for cells in (512, 20, 4)},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_cell_names_its_weights(name: str) -> None:
    layout: Layout = LAYOUTS[name]
    expected: dict[int, dict[str, list[int]]] = {}
    for tensor in layout.tensors:
        for index, cell in enumerate(cell_numbers(layout, tensor, layout.weights_of(tensor)).tolist()):
            expected.setdefault(cell, {}).setdefault(tensor, []).append(index)
    for cell in range(layout.shape[0] * layout.shape[1]):
        found = {part.tensor: part for part in weights_of_cell(layout, *divmod(cell, layout.shape[1]))}
        weights = expected.get(cell, {})
        assert set(found) == set(weights)
        for tensor, indices in weights.items():
            part = found[tensor]
            assert (part.first, part.last, part.weights) == (min(indices), max(indices), len(indices))
            assert part.is_run == (len(indices) == max(indices) - min(indices) + 1)


def test_outside_the_grid_is_an_error() -> None:
    with pytest.raises(IndexError):
        weights_of_cell(matrix_layout("w", (3, 4)), 3, 0)


def test_a_curve_is_found_too() -> None:
    from torch2grid_core.grids import Curve

    def row(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return cells * 0, cells

    layout = Layout(1, 3, (1, 1), (Curve("w", 0, 8, 0, 3, row),))
    (part,) = weights_of_cell(layout, 0, 2)
    assert (part.tensor, part.first, part.last, part.weights) == ("w", 6, 7, 2)
    assert part.is_run
