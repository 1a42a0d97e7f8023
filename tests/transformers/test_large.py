"""Five million weights through every transformer, each in its place; and how much work ten thousand tensors are."""

from __future__ import annotations

import cProfile
import math
import pstats
import random
from collections.abc import Callable

import numpy as np
import pytest
from tests.support.raster.reference import assert_same, streamed
from tests.support.transformers.packed import boxes_over
from tests.transformers.test_places import TRANSFORMERS

from torch2grid_builtin._transformers.atlas import Atlas, empty_share
from torch2grid_builtin._transformers.packing import MANY, pack
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


_CHANCE = random.Random(0)
_SIDES = [(_CHANCE.randint(1, 600), _CHANCE.randint(1, 600)) for _ in range(8000)]
KINDS: dict[str, Callable[[int], dict[str, tuple[int, ...]]]] = {
    "of one form": lambda count: {f"p{each}": (64, 64) for each in range(count)},
    "of similar forms": lambda count: {f"p{each}": (64, 20 + _SIDES[each][0] % 70) for each in range(count)},
    "vectors": lambda count: {f"p{each}": (_SIDES[each][0] * 7,) for each in range(count)},
    "unlike names and forms": lambda count: {f"block{each}_{_SIDES[each][0]}.w": _SIDES[each] for each in range(count)},
    "unlike layers": lambda count: {f"layers.{each}.w": _SIDES[each] for each in range(count)},
    "varied convolutions": lambda count: {
        f"f{each}.{name}": shape
        for each in range(count // 4)
        for name, shape in {
            "conv.weight": (32 * (1 + _SIDES[each][0] % 8), 16 * (1 + _SIDES[each][1] % 3), 3, 3),
            "conv.bias": (32 * (1 + _SIDES[each][0] % 8),),
            "bn.weight": (32 * (1 + _SIDES[each][0] % 8),),
            "bn.bias": (32 * (1 + _SIDES[each][0] % 8),),
        }.items()
    },
    "layers of a transformer": lambda count: {
        f"model.layers.{each}.{name}.weight": (1024, 4096) if name in "kv" else (4096, 4096)
        for each in range(count // 5)
        for name in "qkvom"
    },
}


def _calls(shapes: dict[str, tuple[int, ...]]) -> int:
    profile = cProfile.Profile()
    layout = profile.runcall(Atlas().layout, shapes, 2048)
    layout.validate(shapes, 2048)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_the_work_of_the_atlas_grows_with_the_tensors_whatever_they_are(kind: str) -> None:
    few, many = _calls(KINDS[kind](2000)), _calls(KINDS[kind](8000))
    assert many < 600 * 8000  # functions called: no search for each tensor
    assert many < 6 * max(few, 250_000)  # four times as many tensors, sorted


@pytest.mark.parametrize("kind", ["of one form", "of similar forms"])
def test_very_many_matrices_fill_the_sheet(kind: str) -> None:
    assert empty_share(Atlas().layout(KINDS[kind](8000), 2048)) < 0.15


@pytest.mark.parametrize("gap", [0, 1, 3])
@pytest.mark.parametrize("limit", [40, 700, 5000])
def test_very_many_boxes_stand_apart_in_rows(gap: int, limit: int) -> None:
    boxes = [(high // 5 + 1, wide // 5 + 1) for high, wide in _SIDES[: MANY + 500]]
    packing = pack(boxes, gap, limit)
    taken = boxes_over(packing, boxes, gap)
    assert taken.max() == 1
    assert packing.width <= max(limit, max(width for _, width in boxes))
    assert limit < 700 or np.mean(taken == 0) < 0.1
