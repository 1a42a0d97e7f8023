"""How much of the atlas is empty, and which matrices have a name in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.support.corpus import real
from tests.support.transformers.networks import Shapes, bottlenecks, mixture, mobilenet, vgg

import torch2grid as t2g
from torch2grid_builtin._transformers.atlas import Atlas, empty_share
from torch2grid_builtin._transformers.packing import best_fit


def resnet(blocks: int, widths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """A residual network for small pictures: convolutions of growing width, with their normalisations."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (widths[0], 3, 3, 3)}
    before = widths[0]
    for stage, width in enumerate(widths, 1):
        for block in range(blocks):
            for number in (1, 2):
                shapes[f"layer{stage}.{block}.conv{number}.weight"] = (width, before, 3, 3)
                for name in ("weight", "bias", "running_mean", "running_var"):
                    shapes[f"layer{stage}.{block}.bn{number}.{name}"] = (width,)
                before = width
    return {**shapes, "linear.weight": (10, before), "linear.bias": (10,)}


@pytest.mark.parametrize("blocks", [2, 3, 5, 9])
@pytest.mark.parametrize("room", [None, 1024])
def test_residual_networks_fill_the_sheet(blocks: int, room: int | None) -> None:
    assert empty_share(Atlas().layout(resnet(blocks, (16, 32, 64)), room)) < 0.15


@pytest.mark.parametrize("room", [1024, 2048])
@pytest.mark.parametrize("build", [bottlenecks, vgg, mobilenet])
def test_networks_of_pictures_as_they_are_used_fill_the_sheet(build: Callable[[], Shapes], room: int) -> None:
    shapes = build()
    assert empty_share(Atlas().layout(shapes, room).validate(shapes, room)) < 0.15


def test_a_mixture_of_many_layers_fills_the_sheet() -> None:
    shapes = mixture(64, 160, 22)
    assert empty_share(Atlas().layout(shapes, 2048).validate(shapes, 2048)) < 0.15


@settings(max_examples=60, deadline=None)
@given(
    ways=st.lists(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5), min_size=1, max_size=30),
    gap=st.integers(0, 3),
    ahead=st.integers(1, 30),
    large=st.floats(0, 1),
)
def test_boxes_that_are_placed_where_they_fit_stay_apart(
    ways: list[list[tuple[int, int]]], gap: int, ahead: int, large: float
) -> None:
    limit = max(min(width for _, width in some) for some in ways) + 7
    narrow = [[box for box in some if box[1] <= limit] for some in ways]
    packing, picked = best_fit(narrow, gap, limit, ahead, large)
    taken = np.zeros((packing.height + gap, packing.width + gap), dtype=int)
    for (row, column), some, way in zip(packing.places, narrow, picked, strict=True):
        height, width = some[way]
        taken[row : row + height + gap, column : column + width + gap] += 1
    assert taken.max() == 1
    assert packing.width <= limit


def test_a_real_one_does() -> None:
    checkpoint = t2g.load(real("resnet_cifar/resnet20-12fca82f.th"))
    shapes = {name: tensor.shape for name, tensor in checkpoint.items() if tensor.size}
    assert empty_share(Atlas().layout(shapes, 1600)) < 0.15


def test_a_matrix_below_another_has_its_name_inside() -> None:
    shapes = {
        f"model.layers.{layer}.self_attn.{name}.weight": (height, 128)
        for layer in range(8)
        for name, height in {"q_proj": 128, "k_proj": 64, "v_proj": 64, "o_proj": 128}.items()
    }
    layout = Atlas().layout(shapes, 1024)
    heads = {region.name.removesuffix(".weight").rpartition(".")[2] for region in layout.labels}
    inside = {mark.name for mark in layout.marks}
    assert {"q_proj", "k_proj", "v_proj", "o_proj"} <= heads | inside
    for mark in (each for each in layout.marks if each.name.endswith("_proj")):
        own = next(each for each in layout.regions if each.name.endswith(f"layers.0.self_attn.{mark.name}.weight"))
        assert mark.rects[0] in own.rects
    assert np.prod(layout.shape) < 1.2 * sum(np.prod(shape) for shape in shapes.values())
