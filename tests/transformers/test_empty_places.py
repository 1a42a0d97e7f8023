"""How much of the atlas is empty, and which matrices have a name in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.corpus import real
from tests.support.transformers.networks import (
    NETWORKS,
    Shapes,
    bottlenecks,
    convolutional,
    densenet,
    efficientnet,
    gpt2,
    mixture,
    mobilenet,
    speech,
    transformer,
    vgg,
    vision,
)
from tests.support.transformers.packed import boxes_over

import torch2grid as t2g
from torch2grid_builtin._transformers.atlas import Atlas, empty_share
from torch2grid_builtin._transformers.packing import best_fit, slicings


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


SHEETS: dict[str, Shapes] = {
    "resnet34": convolutional(64, blocks=(3, 4, 6, 3)),
    "resnet50": bottlenecks(),
    "resnet101": bottlenecks(blocks=(3, 4, 23, 3)),
    "resnet152": bottlenecks(blocks=(3, 8, 36, 3)),
    "vgg16": vgg(),
    "mobilenet": mobilenet(),
    "densenet121": densenet(),
    "densenet201": densenet((6, 12, 48, 32)),
    "efficientnet_b0": efficientnet(),
    "efficientnet_b4": efficientnet(1.4, 1.8),
    "gpt2": gpt2(),
    "gpt2_large": gpt2(1280, 36),
    "vision_base": vision(),
    "vision_large": vision(1024, 24),
    "whisper_tiny": speech(),
    "whisper_large": speech(1280, 32),
    **{f"llama_{layers}": transformer(2048, 256, 5632, layers, 32000) for layers in (2, 4, 8, 22, 32, 48, 80)},
    "llama_narrow": transformer(96, 32, 256, 22, 1000),
    "gpt2_of_two_layers": gpt2(1024, 2),
    "llama_7b": transformer(4096, 4096, 11008, 32, 32000),
    "llama_70b": transformer(8192, 1024, 28672, 80, 32000),
    "mixtral": mixture(4096, 14336, 32, 8, 32000),
    **NETWORKS,
}


@pytest.mark.parametrize("name", SHEETS)
def test_networks_as_they_are_used_fill_the_sheet(name: str) -> None:
    shapes = SHEETS[name]
    assert empty_share(Atlas().layout(shapes, 2048).validate(shapes, 2048)) < 0.15


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "mobilenet"])
def test_so_do_those_of_pictures_on_a_small_one(name: str) -> None:
    shapes = SHEETS[name]
    assert empty_share(Atlas().layout(shapes, 1024).validate(shapes, 1024)) < 0.15


def test_a_mixture_of_many_layers_fills_the_sheet() -> None:
    shapes = mixture(64, 160, 22)
    assert empty_share(Atlas().layout(shapes, 2048).validate(shapes, 2048)) < 0.15


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
    chosen = [some[way] for some, way in zip(narrow, picked, strict=True)]
    assert boxes_over(packing, chosen, gap).max() == 1
    assert packing.width <= limit


@given(
    ways=st.lists(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5), min_size=1, max_size=20),
    gap=st.integers(0, 3),
)
def test_boxes_that_are_joined_to_groups_stay_apart(ways: list[list[tuple[int, int]]], gap: int) -> None:
    for packing, picked in slicings(ways, gap, 3, lambda height, width: height * width):
        chosen = [some[way] for some, way in zip(ways, picked, strict=True)]
        assert boxes_over(packing, chosen, gap).max() == 1


def test_of_all_ways_those_are_chosen_that_fit_together() -> None:
    ways = [[(6, 4), (4, 6)], [(6, 2), (2, 6)], [(3, 6), (6, 3)], [(9, 3), (3, 9)]]
    least = min(packing.height * packing.width for packing, _ in slicings(ways, 0, 9, lambda height, width: height * width))
    assert least == 9 * 9  # two make 6×6, the third makes that 6×9, and the last a square: nothing is empty


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
