"""Kernels: which tensors are convolutions, and every weight in its tile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.views.drawing import draw

from torch2grid_builtin.views.conv import ConvView, is_convolution, rgb_tiles
from torch2grid_builtin.views.conv_layout import kernel_layout
from torch2grid_core import NOT_FINITE, BytesStorage, Heatmap, Image, LazyTensor, Run

RNG = np.random.default_rng(0)


def tensor(name, shape, dtype=np.float32):
    return LazyTensor(name, shape, np.dtype(dtype), BytesStorage(b""))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv1.weight", (16, 1, 3, 3)),
        ("features.0.weight", (64, 3, 11, 11)),
        ("patch_embed.proj.weight", (768, 3, 16, 16)),
        ("lin0.model.1.weight", (1, 64, 1, 1)),
        ("conv1.weight", (128, 1, 512, 1)),
        ("stft_conv.weight", (258, 1, 256)),
        ("encoder.conv1.weight", (512, 80, 3)),
        ("mixer.conv1d.weight", (1536, 1, 4)),
        ("net.0.weight", (32, 8, 5)),
        ("encoder.pos_conv_embed.conv.weight_v", (768, 48, 128)),
    ],
)
def test_convolutions_are_found(name, shape):
    assert is_convolution(tensor(name, shape))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("fc.weight", (10, 20)),
        ("h.0.attn.bias", (1, 1, 1024, 1024)),
        ("attn.masked_bias", (1, 1, 8, 8)),
        ("pos_embed", (1, 197, 768)),
        ("position_embeddings.weight", (1, 64, 8, 8)),
        ("relative_position_bias_table", (1, 169, 3)),
        ("experts.0.weight", (8, 64, 16)),
        ("self_attn.in_proj_weight", (3, 64, 64)),
        ("conv.huge", (4, 4, 4096)),
        ("conv.weight", (4, 0, 3, 3)),
        ("conv3d.weight", (4, 4, 3, 3, 3)),
        ("bilinear.weight", (4, 4, 4)),
    ],
)
def test_others_are_not(name, shape):
    assert not is_convolution(tensor(name, shape))
    assert not is_convolution(tensor("conv1.mask", (4, 4, 3, 3), bool))


def test_no_convolution_no_page():
    assert draw(ConvView(), {"fc.weight": np.ones((3, 4), np.float32)}) == {}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.booleans(), st.sampled_from([16, 64, 300])
)
def test_layouts_hold_every_weight_once(out, channels, high, wide, flat, most):
    shape = (out, channels, wide) if flat else (out, channels, high, wide)
    kernels = kernel_layout("w", shape, most)
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
    page = draw(ConvView(), {"conv.weight": weights}, Run(tensor_cells=100))["conv_kernels/conv.weight_grid"]
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
    page = draw(ConvView(), {"conv.weight": weights}, Run(tensor_cells=10))["conv_kernels/conv.weight_grid"]
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
    from tests.tools import DIGITS

    torch = pytest.importorskip("torch")
    arrays = {name: value.numpy() for name, value in torch.load(DIGITS, weights_only=True).items()}
    assert set(draw(ConvView(), arrays)) == {"conv_kernels/conv1.weight_grid", "conv_kernels/conv2.weight_grid"}
