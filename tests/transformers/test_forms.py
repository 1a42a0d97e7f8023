"""Regions without rectangles: their cells follow from the layout, in every form and whatever is done to the grid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from tests.support.renderers.browser import Visit, chromium

from torch2grid_builtin._renderers import forms
from torch2grid_builtin._renderers.matplotlib.regions import region_map
from torch2grid_core import Grid, Layout, LayoutTransformer, Page, PluginManager, Settings, Style
from torch2grid_core.grids import Block, Curve, Region, drawable_sizes, reduce_array

SIDE = 120


@lru_cache(maxsize=4)
def ring(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells of a ring, by angle."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    rows, columns = np.nonzero((np.hypot(x, y) <= side / 2) & (np.hypot(x, y) >= side / 8))
    order = np.argsort(np.arctan2(y, x)[rows, columns], kind="stable")
    return rows[order], columns[order]


@dataclass(frozen=True)
class Around:
    side: int

    def __call__(self, index: Any) -> Any:
        rows, columns = ring(self.side)
        return rows[index], columns[index]


class Sunburst(LayoutTransformer):
    """a sector for each tensor"""

    name = "sunburst"

    def layout(self, shapes: Any, max_cells: int | None) -> Layout:
        sizes = drawable_sizes(shapes)
        curves, first = [], 0
        for name, size in sizes.items():
            curves.append(Curve(name, 0, size, first, 1, Around(SIDE)))
            first += size
        return Layout(SIDE, SIDE, (1, 1), tuple(curves), tuple(map(Region, sizes)))


def sunburst() -> Grid:
    cells = len(ring(SIDE)[0]) // 3
    return Sunburst()({name: np.full(cells, value, np.float32) for name, value in (("a", 1), ("b", 2), ("c", 3))})


def covered(grid: Grid, region: Region) -> np.ndarray:
    mask = np.zeros(grid.shape, dtype=int)
    for row, column, height, width in region.rects:
        mask[row : row + height, column : column + width] += 1
    return mask


def test_a_region_is_the_cells_that_hold_its_weights_each_once() -> None:
    grid = sunburst()
    for value, region in enumerate(grid.regions, start=1):
        np.testing.assert_array_equal(covered(grid, region), (grid.values == value).astype(int))


def test_a_region_may_be_a_module_and_others_keep_their_rectangles() -> None:
    blocks = (
        Block("m.a", 0, 0, 0, ((6, 0, 2),)),  # every other cell of a row
        Block("m.b", 0, 0, 1, ((6, 0, 2),)),
        Block("mm.c", 0, 1, 0, ((12, 0, 1),)),
    )
    given = Region("mm.c", ((1, 0, 1, 5),))
    layout = Layout(2, 12, (1, 1), blocks, (Region("m"), given, Region("m.b")))
    shapes = {"m.a": (6,), "m.b": (6,), "mm.c": (12,)}

    class Fixed(LayoutTransformer):
        """as it is"""

        name = "fixed"

        def layout(self, shapes: Any, max_cells: int | None) -> Layout:
            return layout

    grid = Fixed()({name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    module, fixed, tensor = grid.regions
    assert fixed == given
    assert tensor.rects == tuple((0, column, 1, 1) for column in range(1, 12, 2))  # of two that claim a cell, the last has it
    assert module.rects == tuple((0, column, 1, 1) for column in range(0, 12, 2))


def test_a_region_of_nothing_is_refused_and_one_of_an_empty_tensor_is_not() -> None:
    layout = Layout(1, 3, (1, 1), (Block("w", 0, 0, 0, ((3, 0, 1),)),), (Region("w"), Region("v")))
    layout.validate({"w": (3,), "v": (0,)})
    with pytest.raises(ValueError, match="region 'v' has no rectangles, and no tensor or module has that name"):
        layout.validate({"w": (3,)})


def test_cells_become_coarser_and_finer_with_their_regions() -> None:
    blocks = tuple(Block(name, 0, row, 4 * place, ((4, 0, 1),)) for place, (name, row) in enumerate((("a", 0), ("b", 4))))
    layout = Layout(8, 8, (4, 4), blocks, (Region("a"), Region("b")))
    finer = layout.refined((1, 1))

    class Fixed(LayoutTransformer):
        """as it is"""

        name = "fixed"

        def layout(self, shapes: Any, max_cells: int | None) -> Layout:
            return finer

    grid = Fixed()({"a": np.ones(4, np.float32), "b": np.ones(4, np.float32)})
    assert [region.rects for region in grid.regions] == [((0, 0, 1, 4),), ((4, 4, 1, 4),)]
    lowered = reduce_array(sunburst(), "mean", SIDE // 2)
    for value, region in enumerate(lowered.regions, start=1):
        inside = covered(lowered, region).astype(bool)
        assert inside.any()
        assert np.all(lowered.values[inside] == value)


def test_ordinary_layouts_keep_the_regions_that_they_have() -> None:
    regions = (Region("w", ((0, 0, 2, 3),)),)
    layout = Layout(2, 3, (1, 1), (Block("w", 0, 0, 0, ((2, 1, 0), (3, 0, 1))),), regions)

    class Fixed(LayoutTransformer):
        """as it is"""

        name = "fixed"

        def layout(self, shapes: Any, max_cells: int | None) -> Layout:
            return layout

    grid = Fixed()({"w": np.ones((2, 3), np.float32)})
    assert grid.regions is regions
    assert not forms.of_any_form(grid)


def test_every_sector_has_an_outline_and_a_name_inside_it() -> None:
    grid = sunburst()
    ids = region_map(grid, (6, 6))
    np.testing.assert_array_equal(ids, np.where(grid.counts > 0, grid.values.astype(int) - 1, -1))
    run = Settings()
    page = Page("p", "t", (run.heatmap(grid, boundaries=True, labels=True),))
    target = BytesIO()
    PluginManager.discover(third_party=False).create("renderer", "matplotlib").render(page, target, Style(), "svg")
    texts = re.findall(r">([abc])<", target.getvalue().decode())
    assert sorted(texts) == ["a", "b", "c"]


@pytest.mark.parametrize("side", [9, 64, 65, 300])
def test_the_room_for_a_name_lies_inside_the_form(side: int) -> None:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    disc = np.hypot(x, y) <= side / 2
    runs = [(row, int(np.flatnonzero(line)[0]), 1, int(line.sum())) for row, line in enumerate(disc) if line.any()]
    row, column, height, width = forms.roomiest(runs)
    assert disc[row : row + height, column : column + width].all()
    assert height * width > 0.45 * disc.sum()  # the largest square of a disc has 0.64 of its area
    assert forms.thickness(runs, (1, 1)) == pytest.approx(side / 2, rel=0.15)  # as a strip of its area and outline
    assert forms.roomiest([]) == (0, 0, 0, 0)
    assert forms.thickness([], (1, 1)) == 0


def test_a_page_for_the_browser_draws_them_and_says_where_a_cell_is(tmp_path: Any) -> None:
    grid = sunburst()
    page = Page("p", "t", (Settings().heatmap(grid, boundaries=True, labels=True),))
    path = tmp_path / "p.html"
    with path.open("wb") as target:
        PluginManager.discover(third_party=False).create("renderer", "html").render(page, target, Style(), "html")
    with chromium() as browser, Visit(browser, path) as visit:
        for name, value in (("a", 1), ("b", 2), ("c", 3)):
            rows, columns = np.nonzero(grid.values == value)
            middle = len(rows) // 2
            assert visit.hover(int(rows[middle]), int(columns[middle]))[0] == name
        empty = SIDE // 2
        assert visit.hover(empty, empty) == ["no weight here"]
