"""Five million weights through every transformer, as the whole run does it: in chunks, each weight in its place."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.support.raster.reference import assert_same, streamed
from tests.transformers.test_places import TRANSFORMERS

from torch2grid_core import LayoutTransformer

SHAPES = {
    "stem.conv.weight": (256, 3, 7, 7),
    "blocks.0.conv.weight": (512, 256, 3, 3),
    "blocks.0.conv.bias": (512,),
    "blocks.1.conv.weight": (512, 512, 3, 3),
    "blocks.1.conv.bias": (512,),
    "blocks.1.norm.weight": (512,),
    "embed.weight": (1_501, 64),
    "head.weight": (1500, 1100),
    "head.bias": (1500,),
}
ONCE = [each for each in TRANSFORMERS if each in {type(each)()}]  # with the options that they come with


@pytest.mark.parametrize("transformer", ONCE, ids=lambda each: each.name)
def test_five_million_weights(transformer: LayoutTransformer) -> None:
    rng = np.random.default_rng(3)
    arrays = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in SHAPES.items()}
    arrays["embed.weight"][1_000, 3] = np.nan
    assert sum(map(math.prod, SHAPES.values())) > 5_000_000
    layout = transformer.layout(SHAPES, 1024).validate(SHAPES, 1024)
    grid = streamed(layout, arrays, "mean")
    assert_same(grid, layout, arrays, "mean")
    assert np.count_nonzero(np.isnan(grid.values)) == 1
    assert max(grid.shape) > 700
