"""How much of the atlas is empty, and which matrices have a name in it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.corpus import real

import torch2grid as t2g
from torch2grid_builtin._transformers.atlas import Atlas, empty_share


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
