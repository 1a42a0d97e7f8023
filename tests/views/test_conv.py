"""Kernels: which tensors are convolutions, and every weight in its tile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.views.drawing import checkpoint_of, draw

from torch2grid_builtin._views.conv import ConvView, kernel_layout, rgb_tiles
from torch2grid_core import Checkpoint, Settings
from torch2grid_core.grids import NOT_FINITE
from torch2grid_core.pages import Heatmap, Image

RNG = np.random.default_rng(0)


def test_no_convolution_no_page():
    assert draw(ConvView(), {"fc.weight": np.ones((3, 4), np.float32)}) == {}


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.sampled_from([16, 64, 300]),
    st.booleans(),
)
def test_layouts_hold_every_weight_once(out, channels, kernel, most, average):
    shape = (out, channels, *kernel)
    kernels = kernel_layout("w", shape, most, average)
    kernels.layout.validate({"w": shape}, most)
    if not kernels.flat:
        assert len(kernels.layout.regions) == out
        assert kernels.tiles[0] * kernels.tiles[1] >= out
        for region in kernels.layout.regions:
            ((row, column, height, width),) = region.rects
            assert row + height <= kernels.layout.shape[0]
            assert column + width <= kernels.layout.shape[1]


@pytest.mark.parametrize("shape", [(16, 1, 3, 3), (10, 16, 3, 5), (6, 3, 5, 5), (7, 13, 2, 2), (4, 6, 1, 1)])
def test_kernels_are_in_their_tiles(shape):
    weights = RNG.standard_normal(shape).astype(np.float32)
    page = draw(ConvView(), {"conv.weight": weights})["conv_kernels/conv.weight_grid"]
    heatmap = page.panels[-1]
    kernels = kernel_layout("conv.weight", shape, 1024)
    high, wide = shape[2:]
    line = 1 if shape[1] > 1 and (high, wide) != (1, 1) else 0
    for channel, region in enumerate(heatmap.grid.regions):
        assert region.name == str(channel)
        ((top, left, _, _),) = region.rects
        for source in range(shape[1]):
            row, column = divmod(source, kernels.inner[1])
            y, x = top + row * (high + line), left + column * (wide + line)
            np.testing.assert_array_equal(heatmap.grid.values[y : y + high, x : x + wide], weights[channel, source])
            assert (heatmap.grid.counts[y : y + high, x : x + wide] == 1).all()
    assert heatmap.grid.weights == weights.size
    assert page.title == f"conv.weight · {'×'.join(map(str, shape))} · float32"
    assert page.about["shape"] == list(shape)


@pytest.mark.parametrize("shape", [(5, 8, 3), (20, 1, 16), (1, 12, 1)])
def test_one_dimensional_kernels_are_channels_by_taps(shape):
    weights = RNG.standard_normal(shape).astype(np.float32)
    (heatmap,) = draw(ConvView(), {"conv1d.weight": weights})["conv_kernels/conv1d.weight_grid"].panels
    for channel, region in enumerate(heatmap.grid.regions):
        ((top, left, high, wide),) = region.rects
        np.testing.assert_array_equal(heatmap.grid.values[top : top + high, left : left + wide], weights[channel])
    if shape[1] == 1:
        assert (heatmap.rows, heatmap.columns) == ("output channel", "tap")


def test_large_convolutions_show_a_kernel_a_cell():
    weights = RNG.standard_normal((64, 64, 3, 3)).astype(np.float32)
    page = draw(ConvView(), {"conv.weight": weights}, Settings(tensor_cells=100))["conv_kernels/conv.weight_grid"]
    (heatmap,) = page.panels
    assert heatmap.grid.cell == (3, 3)
    assert max(heatmap.grid.shape) <= 100
    assert "a cell for each of 64 kernels" in heatmap.title
    ((top, left, high, wide),) = heatmap.grid.regions[37].rects
    found = heatmap.grid.values[top : top + high, left : left + wide].ravel()
    np.testing.assert_allclose(found, weights[37].mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    assert heatmap.label == "mean of 3×3 weights"


def test_what_does_not_fit_tiles_is_a_matrix():
    weights = RNG.standard_normal((300, 4, 3, 3)).astype(np.float32)
    page = draw(ConvView(), {"conv.weight": weights}, Settings(tensor_cells=10))["conv_kernels/conv.weight_grid"]
    (heatmap,) = page.panels
    assert max(heatmap.grid.shape) <= 10
    assert "output channels as rows" in heatmap.title
    assert heatmap.grid.weights == weights.size


def test_first_layers_are_shown_in_colour_too():
    weights = RNG.standard_normal((6, 3, 5, 4)).astype(np.float32)
    page = draw(ConvView(), {"conv1.weight": weights})["conv_kernels/conv1.weight_grid"]
    image, heatmap = page.panels
    assert isinstance(image, Image)
    assert isinstance(heatmap, Heatmap)
    across = (image.rgb.shape[1] + 1) // 5
    for index in range(6):
        row, column = divmod(index, across)
        part = image.rgb[row * 6 : row * 6 + 5, column * 5 : column * 5 + 4].astype(float)
        wanted = 127.5 + 127.5 * weights[index].transpose(1, 2, 0) / np.abs(weights[index]).max()
        np.testing.assert_allclose(part, wanted, atol=0.51)
    assert "grey is 0" in image.caption


def test_colour_kernels_with_nothing_or_nan_in_them():
    weights = np.zeros((2, 3, 2, 2), np.float32)
    weights[1, 0, 0, 1] = np.nan
    weights[1, 1, 1, 1] = 4
    shown = rgb_tiles(weights).rgb
    assert (shown[:2, :2] == 128).all()
    tile = shown[:2, 3:] if shown.shape[1] > 2 else shown[3:]
    assert tuple(tile[0, 1]) == NOT_FINITE
    assert tuple(tile[1, 1]) == (128, 255, 128)


def test_the_digits_network():
    from tests.support.tools import DIGITS

    torch = pytest.importorskip("torch")
    arrays = {name: value.numpy() for name, value in torch.load(DIGITS, weights_only=True).items()}
    assert set(draw(ConvView(), arrays)) == {"conv_kernels/conv1.weight_grid", "conv_kernels/conv2.weight_grid"}


@pytest.mark.parametrize(
    "shape", [(5, 3, 3, 4, 4), (6, 1, 2, 3, 3), (4, 8, 3, 3, 3), (3, 7, 2, 2, 2), (4, 6, 1, 3, 3), (2, 3, 4, 1, 1)]
)
def test_planes_of_three_dimensional_kernels_stand_side_by_side(shape):
    weights = RNG.standard_normal(shape).astype(np.float32)
    (heatmap,) = draw(ConvView(), {"conv.weight": weights})["conv_kernels/conv.weight_grid"].panels
    kernels = kernel_layout("conv.weight", shape, 1024)
    depth, high, wide = shape[2:]
    point = high == wide == 1
    between = 1 if depth > 1 and not point else 0  # an empty column between planes, one more between kernels
    line = between + 1 if shape[1] > 1 and not point else 0
    for channel, region in enumerate(heatmap.grid.regions):
        ((top, left, _, _),) = region.rects
        for source in range(shape[1]):
            row, column = divmod(source, kernels.inner[1])
            y = top + row * (high + line)
            x = left + column * (depth * (wide + between) - between + line)
            for plane in range(depth):
                at = x + plane * (wide + between)
                shown = heatmap.grid.values[y : y + high, at : at + wide]
                np.testing.assert_array_equal(shown, weights[channel, source, plane])
                assert (heatmap.grid.counts[y : y + high, at : at + wide] == 1).all()
    assert heatmap.grid.weights == weights.size
    if depth > 1:
        assert f"{depth} planes" in heatmap.title


@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (4, 3, 5, 5), (7, 9, 4), (3, 4, 2, 3, 3), (5, 1, 3, 3), (2, 600, 1, 1)])
def test_the_mean_over_input_channels(shape):
    weights = RNG.standard_normal(shape).astype(np.float32)
    # Whatever reduction is asked for elsewhere, this is a mean.
    page = draw(ConvView(average=True), {"conv.weight": weights}, Settings(reduce="absmax"))["conv_kernels/conv.weight_grid"]
    (heatmap,) = page.panels
    mean = weights.astype(np.float64).mean(axis=1)
    for channel, region in enumerate(heatmap.grid.regions):
        ((top, left, high, wide),) = region.rects
        cells = heatmap.grid.values[top : top + high, left : left + wide]
        there = heatmap.grid.counts[top : top + high, left : left + wide]
        planes = mean[channel].reshape(-1, *([1] if len(shape) == 3 else shape[-2:-1]), shape[-1])
        wanted = np.concatenate(list(planes), axis=1)
        np.testing.assert_allclose(cells[there > 0].reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-6)
        assert set(np.unique(there)) <= {0, shape[1]}
    assert heatmap.grid.weights == weights.size
    assert page.title.endswith(f"mean over {shape[1]} input channel{'s' if shape[1] > 1 else ''}")
    if shape[1] > 1:
        assert heatmap.label == f"mean over {shape[1]} input channels"
        assert "the mean" in heatmap.title


@pytest.mark.parametrize(("shape", "cells"), [((64, 16, 3, 3), 20), ((300, 4, 3, 3), 10), ((40, 3, 2, 3, 3), 12)])
def test_means_of_many_kernels_take_larger_cells(shape, cells):
    weights = RNG.standard_normal(shape).astype(np.float32)
    page = draw(ConvView(average=True), {"conv.weight": weights}, Settings(tensor_cells=cells))["conv_kernels/conv.weight_grid"]
    (heatmap,) = page.panels
    assert max(heatmap.grid.shape) <= cells
    assert heatmap.grid.weights == weights.size
    total = (heatmap.grid.values.astype(np.float64) * heatmap.grid.counts).sum()
    assert total == pytest.approx(weights.sum(dtype=np.float64), abs=1e-3)
    high, wide = heatmap.grid.cell
    assert heatmap.label == f"mean over {shape[1]} input channels, {high}×{wide // shape[1]} weights of each"


def test_a_nan_of_one_input_channel_is_seen_in_the_mean():
    weights = np.ones((4, 8, 3, 3), np.float32)
    weights[2, 5, 1, 0] = np.nan
    (heatmap,) = draw(ConvView(average=True), {"conv.weight": weights})["conv_kernels/conv.weight_grid"].panels
    ((top, left, _, _),) = heatmap.grid.regions[2].rects
    assert np.argwhere(np.isnan(heatmap.grid.values)).tolist() == [[top + 1, left]]


def test_input_channels_come_first_in_a_transposed_convolution():
    weights = RNG.standard_normal((7, 4, 3, 3)).astype(np.float32)
    held = next(iter(checkpoint_of({"up.weight": weights}).values()))
    up = Checkpoint([replace(held, module_class="torch.nn.modules.conv.ConvTranspose2d")])
    for average, texts in (
        (False, ("7 input channels, a tile each",)),
        (True, ("7 input channels", "mean over 4 output channels")),
    ):
        page = draw(ConvView(average=average), up)["conv_kernels/up.weight_grid"]
        told = f"{page.title} {page.panels[0].title} {page.panels[0].rows}"
        assert all(text in told for text in texts)
        assert "input channel of the row" in told


def test_a_style_s_leading_dimension_is_no_output_channel():
    weights = RNG.standard_normal((1, 6, 20, 3, 3)).astype(np.float32)
    (heatmap,) = draw(ConvView(), {"conv.weight": weights})["conv_kernels/conv.weight_grid"].panels
    assert heatmap.title.startswith("6 output channels, a tile each: 20 kernels of 3×3")
    assert heatmap.grid.weights == weights.size
