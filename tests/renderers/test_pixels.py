"""Honest pixels: what a PNG shows is what the grid holds, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.renderers.pixels import cells_of, framed, inverted, rendered

from torch2grid_builtin._renderers.matplotlib.heatmap import cell_pixels
from torch2grid_core import Grid, Page, Settings, Style
from torch2grid_core.grids import EMPTY, NOT_FINITE, Region, color_scale

SHAPES = [(8, 8), (1, 1), (2, 3), (10, 512), (700, 40), (300, 200), (1, 64), (600, 600), (3, 1000), (129, 65)]


def grid_of(shape, seed=0):
    rng = np.random.default_rng(seed)
    return Grid(rng.standard_normal(shape) * 10 ** rng.uniform(-6, 4))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, {"rows": "output unit", "columns": "input", "title": "a tensor"}])
def test_every_cell_can_be_read_back(shape, options):
    grid = grid_of(shape, shape[0])
    scale = color_scale(grid)
    page = Page("p", "weights", (Settings().heatmap(grid, **options),))
    found = inverted(cells_of(rendered(page), shape), scale)
    inside = (grid.values <= scale.high) & (grid.values >= scale.low)
    assert np.abs(found - grid.values)[inside].max() <= (scale.high - scale.low) / 256
    np.testing.assert_array_equal(np.isposinf(found), grid.values > scale.high)
    np.testing.assert_array_equal(np.isneginf(found), grid.values < scale.low)


@pytest.mark.parametrize("kind", ["minmax", "asinh"])
@pytest.mark.parametrize("name", [None, "viridis"])
def test_other_scales_and_maps_too(kind, name):
    grid = Grid(np.abs(grid_of((40, 50)).values))
    scale = color_scale(grid, kind)
    page = Page("p", "weights", (Settings(scale=kind).heatmap(grid),))
    found = inverted(cells_of(rendered(page, style=Style(colormap=name)), grid.shape), scale, name)
    level = np.abs(scale.fraction(found) - scale.fraction(grid.values))
    room = 2 / 256 if name else 1 / 256  # two neighbours of viridis have the same colour in 8 bits
    assert level[np.isfinite(found)].max() <= room


def test_no_number_and_no_weight_have_colours_of_their_own():
    values, count = np.random.default_rng(1).standard_normal((20, 30)), np.ones((20, 30), int)
    values[3, 4], values[5, 6], values[7, 8] = np.nan, np.inf, 1e6
    count[10:, :7] = 0
    png = rendered(Page("p", "t", (Settings().heatmap(Grid(values, count)),)))
    colors = cells_of(png, (20, 30))
    assert tuple(colors[3, 4]) == tuple(colors[5, 6]) == NOT_FINITE
    assert (colors[10:, :7] == EMPTY).all()
    assert (colors[:10] != EMPTY).any(axis=2).all()
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) > 100  # one outlier does not flatten the rest


def test_borders_are_one_pixel_of_large_cells_and_nothing_of_thin_regions():
    values = np.zeros((60, 60))
    regions = tuple(Region(str(i), ((20 * i, 0, 20, 60),)) for i in range(3))
    plain = framed(rendered(Page("p", "t", (Settings().heatmap(Grid(values, regions=regions)),))))
    lined = framed(rendered(Page("p", "t", (Settings().heatmap(Grid(values, regions=regions), boundaries=True),))))
    factor = len(plain) // 60
    assert np.flatnonzero((plain != lined).any(axis=(1, 2))).tolist() == [20 * factor, 40 * factor]
    rows = tuple(Region(str(i), ((i, 0, 1, 2048),)) for i in range(500))
    thin = Settings().heatmap(Grid(np.zeros((500, 2048)), regions=rows), boundaries=True)
    assert (framed(rendered(Page("p", "t", (thin,)))) == plain[0, 0]).all()


def test_cells_are_whole_and_pictures_neither_tiny_nor_hairs():
    for rows, columns in [(1, 1), (8, 8), (10, 512), (1000, 64), (2048, 2048), (499, 3), (1, 10), (64, 1024)]:
        high, wide = cell_pixels(rows, columns, 500)
        long_side, short_side = max(rows * high, columns * wide), min(rows * high, columns * wide)
        assert long_side >= 500 or max(rows, columns) < 8
        assert short_side * 12 >= long_side
        assert high == wide or min(rows, columns) * min(high, wide) * 12 < long_side
    assert cell_pixels(2048, 2048, 500) == (1, 1)
