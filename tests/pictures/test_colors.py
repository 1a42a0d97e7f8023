"""Limits, maps and the four colours of their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import torch2grid as t2g
from torch2grid_core import Grid, UsageError
from torch2grid_core._pictures.pixels import DIVERGING, SEQUENTIAL
from torch2grid_core.grids import EMPTY, NOT_FINITE, OVER, UNDER, ColorScale, color_scale, colormap, default_map, paint

FLOATS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(width=32))


@pytest.mark.parametrize("name", [DIVERGING, SEQUENTIAL])
def test_every_level_of_our_maps_is_its_own_colour(name):
    table = colormap(name)
    assert table.shape == (256, 3)
    assert len(np.unique(table, axis=0)) == 256
    for special in (OVER, UNDER, NOT_FINITE, EMPTY):
        assert np.abs(table.astype(int) - special).sum(axis=1).min() >= 60


def test_maps_darken_evenly():
    light = colormap(DIVERGING) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light[:128]) > -0.5).all()
    assert (np.diff(light[128:]) < 0.5).all()
    assert (np.diff(colormap(SEQUENTIAL) @ [0.2126, 0.7152, 0.0722]) < 0.5).all()


@given(
    hnp.arrays(np.float64, (4, 5), elements=st.floats(-1e300, 1e300) | st.floats(-10, 10)),
    st.sampled_from(["auto", "symmetric", "minmax", "asinh"]),
    st.sampled_from([0.5, 0.999, 1.0]),
)
def test_what_a_picture_cannot_hold_is_beyond_its_limits(values, kind, clip):
    """The cells of a picture are float32: of a weight beyond these it knows no more than on which side."""
    grid = t2g.layers({"w": values})["w"].panels[0].grid
    scale = color_scale(grid, kind, clip)
    drawn, beyond = grid.drawn(), np.abs(values) > np.finfo(np.float32).max
    assert scale.low < scale.high
    assert scale.over >= np.mean(beyond & (values > 0)) - 1e-9
    assert scale.under >= np.mean(beyond & (values < 0)) - 1e-9
    assert (np.abs(scale.fraction(drawn) - 0.5) > 0.5).sum() >= beyond.sum()


@given(FLOATS, st.sampled_from(["auto", "symmetric", "minmax", "asinh"]))
def test_any_grid_has_a_scale_and_colours(values, kind):
    grid = Grid(values)
    scale = color_scale(grid, kind)
    assert np.isfinite([scale.low, scale.high]).all()
    assert scale.low < scale.high
    rgb = paint(grid, scale)
    assert rgb.shape == (*values.shape, 3)
    finite = np.isfinite(values)
    assert (rgb[~finite] == NOT_FINITE).all()
    assert (rgb[finite & (values > scale.high)] == OVER).all()
    assert (rgb[finite & (values < scale.low)] == UNDER).all()
    table = {tuple(color) for color in colormap(default_map(scale)).tolist()}
    inside = finite & (values <= scale.high) & (values >= scale.low)
    assert {tuple(color) for color in rgb[inside].tolist()} <= table
    if finite.any():
        assert scale.over == pytest.approx((values[finite] > scale.high).mean())
        assert scale.under == pytest.approx((values[finite] < scale.low).mean())


@given(
    st.floats(-1e30, 1e30), st.floats(1e-30, 1e30), st.sampled_from(["linear", "asinh"]), st.lists(st.floats(0, 1), max_size=9)
)
def test_value_is_the_inverse_of_fraction(low, width, kind, shares):
    if not low < low + width:
        return
    scale = ColorScale(low, low + width, kind)
    wanted = np.array(shares)
    resolution = 1e-9 + 1e-12 * max(abs(low), width) / width
    np.testing.assert_allclose(scale.fraction(scale.value(wanted)), wanted, atol=resolution)


def test_limits_are_quantiles_of_the_drawn_cells():
    values = np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32)
    count = np.ones(values.shape, int)
    values[:10], count[:10] = 1e9, 0  # no weights there
    scale = color_scale(Grid(values, count))
    wanted = np.quantile(np.abs(values[10:]), 0.995, method="inverted_cdf")
    assert (scale.low, scale.high) == (-wanted, wanted)
    assert scale.diverging
    positive = color_scale(Grid(np.abs(values), count))
    assert positive.low == 0
    assert not positive.diverging
    wide = color_scale(Grid(values + 100, count), "minmax", 0.99)
    drawn = values[10:] + 100
    for found, share in ((wide.low, 1 - 0.99), (wide.high, 0.99)):
        assert found == np.quantile(drawn, share, method="inverted_cdf")


@pytest.mark.parametrize("size", [10.0, 1e3, 1e5, 1e12, 1e30, -1e5])
def test_one_large_weight_leaves_zero_in_the_middle(size):
    values = np.random.default_rng(0).normal(0, 0.02, (64, 64)).astype(np.float32)
    values[5, 6] = size
    scale = color_scale(Grid(values))
    assert scale.diverging
    assert scale.high < 0.2
    assert color_scale(Grid(np.abs(values))).low == 0  # nothing is below
    rounded = np.where(np.abs(values) == abs(size), abs(size), np.abs(values) - 1e-9)  # zeros that were calculated
    assert not color_scale(Grid(rounded)).diverging


def test_several_grids_share_one_scale():
    small, large = Grid(np.full((4, 4), 0.5)), Grid(np.full((4, 4), -2.0))
    assert color_scale([small, large]).high == 2


def test_given_limits_are_checked():
    grid = Grid(np.array([[0.0, 1.0, 2.0, 3.0]]))
    assert color_scale(grid, limits=(0, 2)) == ColorScale(0, 2, "linear", 0.25, 0.0)
    for limits in ((2, 1), (1, 1), (0, np.inf), (np.nan, 1)):
        with pytest.raises(ValueError, match="limits"):
            color_scale(grid, limits=limits)


def test_unknown_maps_are_named():
    with pytest.raises(UsageError, match="unknown colour map 'viridi'"):
        colormap("viridi")
    assert colormap("viridis").shape == (256, 3)
