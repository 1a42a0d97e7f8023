"""The atlas: matrices in their own form, vectors at their matrices, modules together, and little empty room."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.support.raster.reference import assert_same, full_size, streamed
from tests.support.transformers.networks import stack
from tests.support.transformers.packed import boxes_over

from torch2grid_builtin._transformers.atlas import Atlas, empty_share
from torch2grid_builtin._transformers.packing import pack
from torch2grid_core import Grid, UsageError
from torch2grid_core._data.order import in_depth
from torch2grid_core._plugins.options import build
from torch2grid_core.grids import REDUCTIONS, label_rows
from torch2grid_core.selection import modules

Array = np.ndarray[Any, Any]
Shapes = dict[str, tuple[int, ...]]


@st.composite
def networks(draw: st.DrawFn) -> Shapes:
    """Modules of matrices, kernels, biases, norms, tables and stacks, in no numbered order; up to about 200,000 weights."""
    shapes: Shapes = {}
    width = st.integers(1, 40)
    for index in draw(st.permutations(range(draw(st.integers(1, 6))))):
        stem = f"{draw(st.sampled_from(['net.blocks', 'net.blocks', 'head']))}.{index}"
        out, inputs = draw(width), draw(width)
        kernel = tuple(draw(st.lists(st.integers(1, 5), max_size=3)))
        if draw(st.booleans()):
            shapes[f"{stem}.norm.weight"] = (inputs,)
        shapes[f"{stem}.first.weight"] = (out, inputs, *kernel)
        for name in draw(st.lists(st.sampled_from(["bias", "extra", "scale"]), unique=True)):
            shapes[f"{stem}.first.{name}"] = (out,)
        if draw(st.booleans()):
            shapes[f"{stem}.second.weight"] = draw(
                st.sampled_from([(out * 37, 3), (2, out * 40), (3, 50, inputs + 33), (1, out)])
            )
            shapes[f"{stem}.second.bias"] = (shapes[f"{stem}.second.weight"][0],)
        if draw(st.booleans()):
            shapes[f"{stem}.alone"] = draw(st.sampled_from([(), (7,), (999,), (0, 3)]))
    if draw(st.booleans()):
        shapes["embed.weight"] = (draw(st.integers(1, 3000)), draw(width))
    return shapes


def numbered(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    arrays, place = {}, 1
    for name, shape in shapes.items():
        arrays[name] = np.arange(place, place + math.prod(shape), dtype=np.float32).reshape(shape)
        place += math.prod(shape)
    return arrays


def drawn(shapes: Mapping[str, tuple[int, ...]], **options: Any) -> tuple[Grid, dict[str, Array]]:
    arrays = numbered(shapes)
    grid = Atlas(**options)(arrays)
    assert isinstance(grid, Grid)
    return grid, arrays


@settings(max_examples=settings().max_examples // 5)
@given(shapes=networks(), gap=st.sampled_from([None, 0, 3]))
def test_every_weight_once_and_names_where_nothing_is(shapes: Shapes, gap: int | None) -> None:
    layout = Atlas(gap=gap).layout(shapes, None).validate(shapes)
    values, counts = full_size(layout, numbered(shapes))
    assert counts.max() == 1
    assert np.array_equal(np.sort(values[counts > 0]), np.arange(1, counts.sum() + 1))
    for row, column, height, width in (rect for label in layout.labels for rect in label.rects):
        assert not counts[row : row + height, column : column + width].any()
    names = {label.name for label in layout.labels}
    stems = {title.rpartition(".")[0] for title in modules(shapes)}  # of what holds layers
    assert names <= {*modules(shapes), *stems, *shapes}


@settings(max_examples=settings().max_examples // 5)
@given(shapes=networks(), side=st.integers(40, 120), reduce=st.sampled_from(REDUCTIONS), seed=st.integers(0, 2**31))
def test_streamed_is_the_reduction_of_the_full_size(shapes: Shapes, side: int, reduce: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    layout = Atlas().layout(shapes, side).validate(shapes, side)
    assert_same(streamed(layout, arrays, reduce, seed), layout, arrays, reduce)
    for number, region in enumerate(layout.regions, start=1):
        marked = np.zeros(layout.shape, dtype=int)
        for row, column, height, width in region.rects:
            marked[row : row + height, column : column + width] += 1
        ones = {region.name: np.full(shapes[region.name], number, dtype=np.float32)}
        np.testing.assert_array_equal(marked, streamed(layout.only(region.name), ones, "max").counts > 0)


def part(grid: Grid, name: str) -> list[Array]:
    region = next(region for region in grid.regions if region.name == name)
    return [grid.values[row : row + height, column : column + width] for row, column, height, width in region.rects]


def test_matrices_and_kernels_keep_their_form() -> None:
    shapes = {
        "net.linear.weight": (30, 20),
        "net.conv.weight": (6, 5, 3, 4),
        "net.conv1d.weight": (8, 6, 3),
        "net.conv3d.weight": (4, 3, 2, 3, 2),
    }
    grid, arrays = drawn(shapes)
    forms = {
        "net.linear.weight": arrays["net.linear.weight"],
        "net.conv.weight": arrays["net.conv.weight"].transpose(0, 2, 1, 3).reshape(18, 20),
        "net.conv1d.weight": arrays["net.conv1d.weight"].reshape(8, 18),
        "net.conv3d.weight": arrays["net.conv3d.weight"].transpose(0, 3, 1, 2, 4).reshape(12, 12),
    }
    for name, form in forms.items():
        bands = part(grid, name)
        np.testing.assert_array_equal(np.concatenate(bands, axis=0 if bands[0].shape[1] == form.shape[1] else 1), form)


def test_long_matrices_are_bands_of_whole_rows_with_their_vectors() -> None:
    grid, arrays = drawn({"embed.weight": (1000, 10), "embed.bias": (1000,), "conv.weight": (64, 1, 3, 3), "conv.bias": (64,)})
    bands = part(grid, "embed.weight")
    assert 5 < len(bands) < 25
    np.testing.assert_array_equal(np.concatenate(bands), arrays["embed.weight"])
    strips = part(grid, "embed.bias")
    assert [len(strip) for strip in strips] == [len(band) for band in bands]
    np.testing.assert_array_equal(np.concatenate(strips)[:, 0], arrays["embed.bias"])
    kernels = part(grid, "conv.weight")
    assert all(band.shape[0] % 3 == 0 and band.shape[1] == 3 for band in kernels)
    np.testing.assert_array_equal(np.concatenate(part(grid, "conv.bias"))[:, 0], arrays["conv.bias"])


@pytest.mark.parametrize("shape", [(2, 70_000), (1_000_000, 3), (3, 100_000)])
def test_a_very_long_matrix_that_is_alone_is_about_a_square(shape: tuple[int, int]) -> None:
    shapes: Shapes = {"edge_index": shape}
    for room in (512, 4096, None):
        layout = Atlas().layout(shapes, room).validate(shapes, room)
        assert max(layout.shape) < 1.3 * min(layout.shape)
    grid, arrays = drawn(shapes)
    np.testing.assert_array_equal(np.concatenate(part(grid, "edge_index"), axis=shape.index(max(shape))), arrays["edge_index"])


def test_vectors_stand_at_the_units_that_they_belong_to() -> None:
    shapes = {
        "h.0.norm.weight": (48,),
        "h.0.attn.weight": (60, 48),
        "h.0.attn.bias": (60,),
        "h.0.down.weight": (48, 60),
        "h.0.conv.weight": (7, 5, 2, 2),
        "h.0.bn.weight": (7,),
        "h.0.rnn.weight_ih": (90, 30),
        "h.0.rnn.weight_hh": (90, 31),
        "h.0.rnn.bias_ih": (90,),
        "h.0.rnn.bias_hh": (90,),
    }
    layout = Atlas().layout(shapes, None)
    (rects,) = [{region.name: region.rects[0] for region in layout.regions}]

    def beside(vector: str, matrix: str) -> bool:
        row, column, _, width = rects[matrix]
        return rects[vector][0] == row and rects[vector][1] == column + width + 1

    assert beside("h.0.attn.bias", "h.0.attn.weight")
    assert beside("h.0.bn.weight", "h.0.conv.weight")
    assert beside("h.0.rnn.bias_ih", "h.0.rnn.weight_ih")
    assert beside("h.0.rnn.bias_hh", "h.0.rnn.weight_hh")
    row, column, height, width = rects["h.0.norm.weight"]  # above the matrix whose inputs it scales
    assert (row + 2, column, height, width) == (*rects["h.0.attn.weight"][:2], 1, 48)


BERT = {
    "bert.embeddings.word_embeddings.weight": (30522, 768),
    "bert.embeddings.position_embeddings.weight": (512, 768),
    **stack(
        "bert.encoder.layer",
        12,
        {
            **{f"attention.self.{name}.weight": (768, 768) for name in ("query", "key", "value")},
            "attention.output.dense.weight": (768, 768),
            "intermediate.dense.weight": (3072, 768),
            "intermediate.dense.bias": (3072,),
            "output.dense.weight": (768, 3072),
        },
    ),
    "bert.pooler.dense.weight": (768, 768),
}
CNN = {
    f"features.{index}.{name}": shape
    for index, (out, inputs) in enumerate([(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (512, 256)])
    for name, shape in {"weight": (out, inputs, 3, 3), "bias": (out,)}.items()
} | {"classifier.weight": (1000, 512), "classifier.bias": (1000,)}


@pytest.mark.parametrize("shapes", [BERT, CNN], ids=["bert", "cnn"])
def test_real_shapes_fill_the_sheet_under_the_names_of_modules(shapes: Shapes) -> None:
    layout = Atlas().layout(shapes, 2048).validate(shapes, 2048)
    assert empty_share(layout) < 0.15
    assert max(layout.shape) / min(layout.shape) < 2
    titles = [label.name for label in layout.labels]
    assert len(titles) == len(set(titles))
    assert all(any(f"{name}.".startswith(f"{title}.") for name in shapes) for title in titles)
    assert layout == Atlas().layout(shapes, 2048)  # the same picture every time


def test_layers_stand_in_the_order_of_their_numbers() -> None:
    layer = {"a.weight": (64, 48), "a.bias": (64,), "b.weight": (48, 64), "norm.weight": (48,)}
    shuffled = {f"h.{index}.{name}": shape for index in (0, 1, 10, 11, 2, 3) for name, shape in layer.items()}
    layout = Atlas().layout({name: shuffled[name] for name in in_depth(shuffled)}, None)
    rects = {region.name: region.rects[0] for region in layout.regions}
    for name in layer:
        places = [rects[f"h.{index}.{name}"] for index in (0, 1, 2, 3, 10, 11)]
        assert places == sorted(places)
        assert len({(column, *size) for _, column, *size in places}) == 1


def test_names_that_only_look_numbered_stay_where_they_are() -> None:
    odd = ["²", "9" * 5000, "٣", "1"]
    shapes: Shapes = {f"h.{each}.weight": (64, 48) for each in odd}
    layout = Atlas().layout(shapes, None).validate(shapes)
    assert [region.name for region in layout.regions] == list(shapes)
    assert {label.name for label in layout.labels} <= {"h", *shapes, *modules(shapes)}


@settings(max_examples=settings().max_examples // 5)
@given(
    boxes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=25),
    gap=st.integers(0, 3),
    limit=st.integers(1, 80),
)
def test_packed_boxes_keep_their_distance(boxes: list[tuple[int, int]], gap: int, limit: int) -> None:
    packing = pack(boxes, gap, limit)
    assert boxes_over(packing, boxes, gap).max() == 1
    assert packing.width <= max(limit, max(width for _, width in boxes))


def test_options() -> None:
    assert build(Atlas, {"gap": "4", "names": "false"}, "transformer 'atlas'") == Atlas(gap=4, names=False)
    assert build(Atlas, {"gap": "none"}, "transformer 'atlas'") == Atlas()
    assert not Atlas(names=False).layout(CNN, 500).labels
    with pytest.raises(UsageError, match="gap must be a number of cells"):
        build(Atlas, {"gap": "99"}, "transformer 'atlas'")


@pytest.mark.parametrize("layers", [12, 24])
@pytest.mark.parametrize("side", [32, 56, 60, 64, 72, 96])
def test_names_have_the_room_that_a_line_of_text_takes(layers: int, side: int) -> None:
    shapes = {
        f"h.{layer}.{name}.weight": (side * times, side)
        for layer in range(layers)
        for name, times in (("q", 1), ("o", 1), ("up", 2))
    }
    layout = Atlas().layout(shapes, 2048)
    line = label_rows(max(layout.shape))
    assert layout.labels
    assert all(height >= min(line, side // 2) for label in layout.labels for _, _, height, _ in label.rects)
    numbers = [label for label in layout.labels if label.name.rpartition(".")[2].isdecimal()]
    assert all(width >= 0.8 * line for label in numbers for *_, width in label.rects)


def test_bands_of_experts_say_where_they_begin_at_the_first_of_each_layer() -> None:
    stacks = {"down_proj": (8, 96, 64), "gate_up_proj": (8, 64, 192)}
    shapes = {f"layers.{layer}.experts.{name}": shape for layer in range(3) for name, shape in stacks.items()}
    layout = Atlas().layout(shapes, 2048)
    bands = [len(region.rects) for region in layout.regions if region.name in shapes]
    assert min(bands) > 8  # each matrix is cut
    named = [mark.name for mark in layout.marks if mark.name]
    begun = [name for name in named if name.startswith(("row ", "column "))]
    assert len(begun) == sum(count // 8 - 1 for count in bands)
    assert [named.count(f"expert {number}") for number in range(8)] == [3] * 8
