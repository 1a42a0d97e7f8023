"""PNG files against Pillow's reader."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from torch2grid_core.grids import encode_png


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (400, 1500), (2000, 1)])
def test_pixels_come_back(shape):
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    data = encode_png(rgb, "tensor – 3×7", dpi=100)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    with Image.open(io.BytesIO(data)) as image:
        assert image.text["Title"] == "tensor – 3×7"
        assert image.info["dpi"] == pytest.approx((100, 100), abs=0.1)
        np.testing.assert_array_equal(np.asarray(image), rgb)
    assert encode_png(rgb, "tensor – 3×7", dpi=100) == data


def test_a_part_of_a_larger_array_needs_no_copy():
    rgba = np.random.default_rng(0).integers(0, 256, (50, 60, 4)).astype(np.uint8)
    with Image.open(io.BytesIO(encode_png(rgba[5:40, 3:50, :3]))) as image:
        np.testing.assert_array_equal(np.asarray(image), rgba[5:40, 3:50, :3])


def test_a_fourth_channel_is_how_much_is_covered():
    rgba = np.random.default_rng(0).integers(0, 256, (50, 60, 4)).astype(np.uint8)
    with Image.open(io.BytesIO(encode_png(rgba))) as image:
        assert image.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(image), rgba)


@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 2), (3, 3, 5), (0, 3, 3)])
def test_other_arrays_are_errors(shape):
    with pytest.raises(ValueError, match="uint8"):
        encode_png(np.zeros(shape, np.uint8))
