"""The atlas as a map: layers as rows of equal build, experts in a grid, little empty room, parts and limits that are stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.support.transformers.networks import NETWORKS, Shapes, five_hundred, mixture, stack, stacked_mixture
from tests.support.views.drawing import draw

from torch2grid_builtin._forms import fused_parts, stacked
from torch2grid_builtin._renderers.matplotlib.page import draw_page
from torch2grid_builtin._renderers.matplotlib.shapes import Label
from torch2grid_builtin._transformers.atlas import Atlas
from torch2grid_builtin._views.grid import GridView
from torch2grid_core import Settings, Style
from torch2grid_core.grids import Rect


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("room", [2048, 1500])
def test_less_than_15_percent_of_the_sheet_is_empty(name: str, room: int) -> None:
    shapes = NETWORKS[name]
    layout = Atlas().layout(shapes, room).validate(shapes, room)
    taken = np.zeros(layout.shape, dtype=int)
    for region in layout.regions:
        for row, column, height, width in region.rects:
            taken[row : row + height, column : column + width] += 1
    assert taken.max() == 1  # no cell is of two tensors
    assert np.mean(taken == 0) < 0.15
    assert max(layout.shape) / min(layout.shape) < 2.2
    for row, column, height, width in (rect for label in layout.labels for rect in label.rects):
        assert not taken[row : row + height, column : column + width].any()
    assert layout == Atlas().layout(shapes, room)  # the same picture every time


@pytest.mark.parametrize("room", [2048, 1500])
@pytest.mark.parametrize("vocabulary", [512, 4096])
def test_the_columns_of_experts_are_named_above_the_first_layer(room: int, vocabulary: int) -> None:
    experts = {
        f"moe.experts.{each}.w{number}.weight": (64, 160) if number == 2 else (160, 64)
        for each in range(8)
        for number in (1, 2, 3)
    }
    attention = {f"attn.{letter}_proj.weight": (16 if letter in "kv" else 64, 64) for letter in "qkvo"}
    each = {"norm.weight": (64,), "moe.gate.weight": (8, 64), **attention, **experts}
    shapes = {"head.weight": (vocabulary, 64), "embed.weight": (vocabulary, 64)} | stack("model.layers", 12, each)
    named = {label.name for label in Atlas().layout(shapes, room).labels}
    assert {f"model.layers.0.moe.experts.*.w{number}.weight" for number in (1, 2, 3)} <= named


@st.composite
def stacks(draw: st.DrawFn) -> tuple[int, Shapes]:
    """(layers, tensors of each): up to five matrices and their vectors."""
    sides = st.sampled_from([8, 24, 32, 48, 96])
    each: Shapes = {}
    for index in range(draw(st.integers(1, 5))):
        out, inputs = draw(sides), draw(sides)
        each[f"m{index}.weight"] = (out, inputs)
        if draw(st.booleans()):
            each[f"m{index}.bias"] = (out,)
    return draw(st.integers(2, 24)), each


@settings(max_examples=settings().max_examples // 5)
@given(drawn=stacks(), room=st.sampled_from([None, 200, 1000]))
def test_layers_of_equal_build_are_rows_with_each_matrix_in_the_same_columns(
    drawn: tuple[int, Shapes], room: int | None
) -> None:
    count, each = drawn
    shapes = {"embed.weight": (300, 32)} | stack("model.layers", count, each)
    layout = Atlas().layout(shapes, room).validate(shapes, room)
    rects = {region.name: region.rects for region in layout.regions}
    offsets = []
    for layer in range(count):
        pairs = [
            pair
            for name in each
            for pair in zip(rects[f"model.layers.{layer}.{name}"], rects[f"model.layers.0.{name}"], strict=True)
        ]
        assert all(own[2:] == first[2:] for own, first in pairs)
        (offset,) = {(own[0] - first[0], own[1] - first[1]) for own, first in pairs}  # all of a layer move together
        offsets.append(offset)
    assert len(set(offsets)) == count
    columns = [column for _, column in offsets]
    assert columns == sorted(columns)
    # One column of layers; where they are many and low, several, each as the first.
    by_column = [[row for row, column in offsets if column == one] for one in dict.fromkeys(columns)]
    assert by_column[0] == sorted(by_column[0])
    assert all(rows == by_column[0][: len(rows)] for rows in by_column)


@pytest.mark.parametrize("name", ["transformer22", "tinyllama", "mixture8", "tensors500"])
def test_in_models_of_usual_depth_all_layers_stand_in_one_column(name: str) -> None:
    columns: dict[str, set[tuple[int, ...]]] = {}
    for region in Atlas().layout(NETWORKS[name], 2048).regions:
        parts = region.name.split(".")
        layer = next((index for index, part in enumerate(parts) if part.isdecimal()), None)
        if layer is not None:
            kind = ".".join(parts[layer + 1 :])
            columns.setdefault(kind, set()).add(tuple(column for _, column, _, _ in region.rects))
    assert len(columns) > 5
    assert all(len(each) == 1 for each in columns.values())


def test_layers_of_another_build_are_rows_of_their_own() -> None:
    dense, sparse = {"mlp.weight": (64, 48)}, {"a.weight": (48, 64), "b.weight": (64, 64)}
    shapes = {f"h.{layer}.{name}": shape for layer in range(8) for name, shape in (sparse if layer % 2 else dense).items()}
    rects = {region.name: region.rects for region in Atlas().layout(shapes, None).validate(shapes).regions}
    for name, layers in (("mlp.weight", (0, 2, 4, 6)), ("a.weight", (1, 3, 5, 7)), ("b.weight", (1, 3, 5, 7))):
        assert len({rects[f"h.{layer}.{name}"][0][1] for layer in layers}) == 1
        rows = [rects[f"h.{layer}.{name}"][0][0] for layer in layers]
        assert rows == sorted(set(rows))


@pytest.mark.parametrize(
    ("shapes", "matrices", "name"),
    [
        (mixture(), ("w1", "w2", "w3"), "model.layers.{layer}.moe.experts.{expert}.{matrix}.weight"),
        (stacked_mixture(), ("gate_up_proj", "down_proj"), "layers.{layer}.moe.experts.{matrix}"),
    ],
    ids=["a tensor each", "stacked"],
)
def test_experts_are_a_grid_of_expert_and_matrix(shapes: Shapes, matrices: tuple[str, ...], name: str) -> None:
    layout = Atlas().layout(shapes, 2048).validate(shapes, 2048)
    rects = {region.name: region.rects for region in layout.regions}
    for layer in range(4):
        steps = set()
        for matrix in matrices:
            if "{expert}" in name:
                corners = [rects[name.format(layer=layer, expert=expert, matrix=matrix)][0] for expert in range(8)]
            else:
                own = rects[name.format(layer=layer, matrix=matrix)]
                assert len(own) % 8 == 0
                corners = list(own[:: len(own) // 8])
            steps |= {(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(corners)}
        ((down, across),) = steps  # the next expert is always as far, in every matrix
        assert (down == 0) != (across == 0)
    assert {f"expert {index}" for index in range(8)} <= {mark.name for mark in layout.marks}


def test_a_stack_of_matrices_holds_each_as_it_is() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.standard_normal(shape) for name, shape in {"experts.up": (5, 40, 50), "experts.down": (5, 50, 40)}.items()
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    grid = Atlas()(arrays)
    for region in grid.regions:
        each = len(region.rects) // 5
        for expert in range(5):
            some = [grid.values[r : r + h, c : c + w] for r, c, h, w in region.rects[each * expert : each * (expert + 1)]]
            joined = [np.concatenate(some, axis=axis) for axis in (0, 1) if len({one.shape[1 - axis] for one in some}) == 1]
            assert any(np.array_equal(one, arrays[region.name][expert]) for one in joined)


def test_a_cut_matrix_says_where_its_bands_begin_and_a_fused_one_where_q_k_and_v_do() -> None:
    shapes: Shapes = {"embed.weight": (1000, 10), "attn.in_proj_weight": (60, 20), "h.0.attn.c_attn.weight": (30, 90)}
    layout = Atlas().layout(shapes, None).validate(shapes)
    rects = {region.name: region.rects for region in layout.regions}
    bands = rects["embed.weight"]
    assert len(bands) > 1
    starts = np.cumsum([0, *(rect[2] for rect in bands)])[:-1]
    marks = {mark.name: mark.rects for mark in layout.marks}
    assert [marks[f"row {start:,}"] for start in starts[1:]] == [(rect,) for rect in bands[1:]]
    letters = {name: [mark for mark in layout.marks if mark.name == name] for name in "QKV"}
    for name, side, length, goes_on in (("attn.in_proj_weight", 2, 20, True), ("h.0.attn.c_attn.weight", 3, 30, False)):
        for own in letters.values():
            inside = [mark for mark in own if _is_inside(mark.rects[0], rects[name])]
            assert len(inside) == (1 if goes_on else len(rects[name]))  # a part begins once, or in each band
            for mark in inside:
                assert sum(rect[side] for rect in mark.rects) == length
        assert letters["Q"][0].rects[0][:2] in {each[0][:2] for each in rects.values()}


def _is_inside(rect: Rect, others: Sequence[Rect]) -> bool:
    return any(a <= rect[0] < a + h and b <= rect[1] < b + w for a, b, h, w in others)


@pytest.mark.parametrize(
    ("name", "shape", "found"),
    [
        ("attn.in_proj_weight", (12, 4), (0, (("Q", 0), ("K", 4), ("V", 8)))),
        ("attn.qkv.weight", (12, 4), (0, (("Q", 0), ("K", 4), ("V", 8)))),
        ("attn.qkv_proj.weight", (8, 4), (0, (("Q", 0), ("K", 4), ("V", 6)))),  # fewer keys than queries
        ("h.0.attn.c_attn.weight", (4, 12), (1, (("Q", 0), ("K", 4), ("V", 8)))),
        ("attn.in_proj_bias", (12,), (0, (("Q", 0), ("K", 4), ("V", 8)))),
        ("mixer.in_proj.weight", (12, 4), (0, ())),  # of a state space model
        ("attention.query_key_value.weight", (12, 4), (0, ())),  # interleaved, head by head
        ("attn.q_proj.weight", (12, 4), (0, ())),
    ],
)
def test_which_tensors_are_fused(name: str, shape: tuple[int, ...], found: Any) -> None:
    axis, parts = fused_parts(name, shape)
    assert (axis, tuple((letter, first) for letter, first, _ in parts)) == found
    ends = [first for _, first, _ in parts[1:]] + [shape[axis]] * bool(parts)
    assert [stop for _, _, stop in parts] == ends


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("moe.experts.down_proj", (8, 40, 50), 8),
        ("moe.experts.w", (64, 16, 24), 64),
        ("stack", (3, 40, 50), 3),
        ("scan.w", (2, 4, 64, 64), 8),
        ("conv.weight", (64, 64, 3, 3), 0),
        ("pos_conv.weight", (48, 64, 128), 0),
        ("stft.basis", (258, 1, 256), 0),
        ("tcn.weight", (512, 48, 64), 0),  # more of them than they have rows: output channels
        ("w", (40, 50), 0),
    ],
)
def test_which_tensors_are_stacks(name: str, shape: tuple[int, ...], count: int) -> None:
    found = stacked(name, shape)
    assert (found.count if found else 0) == count


@pytest.mark.parametrize("reduce", ["mean", "absmax"])
def test_each_kind_has_limits_of_its_own_which_are_stated(reduce: Any) -> None:
    rng = np.random.default_rng(3)
    sizes = {"embed.weight": 5.0, "a.weight": 1.0, "b.weight": 0.01}
    shapes = {"embed.weight": (50, 30)} | stack("h", 4, {"a.weight": (40, 30), "b.weight": (30, 40)})
    kinds = {name: name if name in sizes else name.split(".", 2)[2] for name in shapes}
    arrays = {name: (rng.standard_normal(shape) * sizes[kinds[name]]).astype(np.float32) for name, shape in shapes.items()}
    run = Settings(transformer=Atlas(), reduce=reduce, max_cells=80)
    plain = draw(GridView(), arrays, run)["neural_grid"].panels[0]
    panel = draw(GridView(), arrays, replace(run, transformer=Atlas(scale_by="kind")))["neural_grid"].panels[0]
    assert (panel.scale.low, panel.scale.high) == ((-1.0, 1.0) if reduce == "mean" else (0.0, 1.0))
    assert panel.label == f"{reduce} of 2×2 weights over the limit of its kind"
    told = " ".join(panel.grid.notes)
    for kind in sizes:
        of_kind = [region for region in plain.grid.regions if kinds[region.name] == kind]
        rects = [rect for region in of_kind for rect in region.rects]
        cells, shares = (
            np.concatenate([grid.values[r : r + h, c : c + w].reshape(-1) for r, c, h, w in rects])
            for grid in (plain.grid, panel.grid)
        )
        limit = np.quantile(np.abs(cells), 0.995, method="inverted_cdf")
        assert f"{kind.removesuffix('.weight')}={limit:.2g}" in told  # one piece: no line ends in it
        np.testing.assert_allclose(shares, cells / limit, rtol=1e-5)
    np.testing.assert_array_equal(panel.grid.counts, plain.grid.counts)


def test_means_state_their_noise_and_other_cells_have_none() -> None:
    rng = np.random.default_rng(5)
    array = (0.3 + 0.02 * rng.standard_normal((400, 300))).astype(np.float32)
    array[7, 8] = np.nan
    run = Settings(transformer=Atlas(), max_cells=100)
    grid = draw(GridView(), {"w.weight": array}, run)["neural_grid"].panels[0].grid
    weights = grid.cell[0] * grid.cell[1]
    assert weights > 1
    assert grid.noise == pytest.approx(np.nanstd(array) / np.sqrt(weights), rel=1e-3)
    assert f"σ/√n = {grid.noise:.2g}" in grid.remarks[-1]
    for other in (replace(run, reduce="absmax"), replace(run, max_cells=2048)):
        assert draw(GridView(), {"w.weight": array}, other)["neural_grid"].panels[0].grid.remarks == ()


@pytest.mark.parametrize("name", ["transformer22", "tensors500", "mixture8"])
def test_every_matrix_of_a_layer_has_its_name_once(name: str) -> None:
    """Above the first layer, or where another matrix stands above it, or the column is narrow, on it."""
    shapes = NETWORKS[name]
    layout = Atlas().layout(shapes, 1500).validate(shapes, 1500)
    heads = {label.name for label in layout.labels}
    marks = {(mark.name, mark.rects[0][:2]) for mark in layout.marks}
    matrices = [region for region in layout.regions if ".0." in region.name and len(shapes[region.name]) > 1]
    matrices = [region for region in matrices if ".experts." not in region.name]
    assert len(matrices) > 2
    for region in matrices:
        leaf = region.name.removesuffix(".weight").rpartition(".")[2]
        assert region.name in heads or (leaf.removesuffix("_weight"), region.rects[0][:2]) in marks, region.name


def test_the_names_on_the_first_of_alike_layers_are_on_all_of_them() -> None:
    layers = range(12)
    shapes: Shapes = {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in layers
        for name, shape in (("attn.q", (96, 96)), ("attn.k", (32, 96)), ("attn.v", (32, 96)), ("mlp.up", (256, 96)))
    } | {f"model.layers.{layer}.in_proj_weight": (192, 64) for layer in layers}
    layout = Atlas().layout(shapes, 1200).validate(shapes, 1200)
    starts = {region.rects[0][:2]: region.name for region in layout.regions}
    named: dict[int, set[str]] = {layer: set() for layer in layers}
    for mark in layout.marks:
        tensor = starts.get(mark.rects[0][:2], "")
        if tensor.removesuffix(".weight").removesuffix("_weight").endswith(f".{mark.name}"):
            named[int(tensor.split(".")[2])].add(mark.name)
    assert named[0]
    assert all(names == named[0] for names in named.values())


def test_heads_of_columns_reach_as_far_as_the_next() -> None:
    shapes = NETWORKS["transformer22"]
    layout = Atlas().layout(shapes, 1500).validate(shapes, 1500)
    names = {region.name for region in layout.regions}
    heads = sorted(label.rects[0] for label in layout.labels if label.name in names and ".0." in label.name)
    rows = {row: [rect for rect in heads if rect[0] == row] for row, *_ in heads}
    assert rows
    for rects in rows.values():
        for (_, column, _, width), (_, after, *_) in pairwise(rects):
            assert after - 4 <= column + width <= after  # and over none


def test_the_number_of_an_expert_has_all_bands_of_its_first_matrix_for_room() -> None:
    shapes = mixture()
    layout = Atlas().layout(shapes, 2048).validate(shapes, 2048)
    rects = {region.name: region.rects for region in layout.regions}
    marks = [mark for mark in layout.marks if mark.name == "expert 3"]
    assert len(marks) == 4
    for layer, mark in enumerate(marks):
        bands = rects[f"model.layers.{layer}.moe.experts.3.w1.weight"]
        beside = [rect for rect in bands if (rect[0], rect[2]) == (bands[0][0], bands[0][2])]
        end = max(column + width for _, column, _, width in beside)
        assert mark.rects == ((*bands[0][:3], end - bands[0][1]),)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("transformer22", ("k_proj", "v_proj", "q_proj", "o_proj", "down_proj", "embed_tokens", "lm_head")),
        ("tensors500", ("attn.in_proj", "out_proj", "mlp.fc1", "mlp.fc2", "embed.weight")),
        ("mixture8", ("expert 0", "expert 7", "q_proj", "o_proj", "experts.*.w2")),
    ],
)
def test_a_picture_has_the_names_of_stacked_matrices_and_experts(name: str, shown: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    arrays = {each: rng.standard_normal(shape, dtype=np.float32) for each, shape in NETWORKS[name].items()}
    page = draw(GridView(), arrays, Settings(transformer=Atlas()))["neural_grid"]
    texts = [shape.text for shape in draw_page(page, Style()).shapes if isinstance(shape, Label)]
    for words in shown:
        assert any(words in text for text in texts), words
    assert not any(text.startswith("…0.") for text in texts)  # a layer's number stands beside it, once


def test_a_matrix_below_no_head_says_of_which_module_it_is() -> None:
    """Of a residual network whose second stage has no room for a head, names begin with it."""
    shapes: Shapes = {}
    for stage, width in ((1, 16), (2, 32), (3, 64)):
        for block in range(3):
            for place in (1, 2):
                inputs = width // 2 if stage > 1 and block == 0 and place == 1 else width
                shapes[f"module.layer{stage}.{block}.conv{place}.weight"] = (width, inputs, 3, 3)
                shapes |= {f"module.layer{stage}.{block}.bn{place}.{each}": (width,) for each in ("weight", "bias")}
    shapes |= {"module.conv1.weight": (16, 3, 3, 3), "module.linear.weight": (10, 64), "module.linear.bias": (10,)}
    rng = np.random.default_rng(0)
    arrays = {each: rng.standard_normal(shape, dtype=np.float32) for each, shape in shapes.items()}
    page = draw(GridView(), arrays, Settings(transformer=Atlas()))["neural_grid"]
    heads = {label.name for label in page.panels[0].grid.labels}
    texts = " ".join(shape.text for shape in draw_page(page, Style()).shapes if isinstance(shape, Label))
    for stage in (2, 3):
        assert f"module.layer{stage}" in heads or all(f"layer{stage}.{block}" in texts for block in (1, 2)), texts
    assert "…conv1" not in texts


_FUSED_BLOCK = {"c_attn.weight": (48, 144), "qkv_proj.weight": (80, 48), "in_proj_weight": (144, 48), "out": (40, 40)}


@pytest.mark.parametrize(
    ("shapes", "name", "text"),
    [
        (
            {f"h.{layer}.attn.{each}": shape for layer in range(3) for each, shape in _FUSED_BLOCK.items()},
            "in_proj",
            "in_proj_weight",
        ),
        ({"onerow": (1, 300), "trans": (50, 30), "big": (10, 10), "const": (30, 30)}, "onerow", "onerow"),
        ({"onerow": (1, 300), "trans": (50, 30), "big": (10, 10), "const": (30, 30)}, "big", "big"),
    ],
)
def test_a_matrix_with_room_for_two_lines_has_its_name(shapes: Shapes, name: str, text: str) -> None:
    rng = np.random.default_rng(0)
    arrays = {each: rng.standard_normal(shape, dtype=np.float32) for each, shape in shapes.items()}
    page = draw(GridView(), arrays, Settings(transformer=Atlas()))["neural_grid"]
    texts = [shape.text for shape in draw_page(page, Style()).shapes if isinstance(shape, Label)]
    assert sum(each.endswith(text) for each in texts) == sum(name in each for each in shapes), texts


def test_a_thousand_layers_of_tiny_matrices_have_numbers_above_and_names_below() -> None:
    shapes: Shapes = {f"layers.{layer}.{each}": (8, 8) for layer in range(1000) for each in "abcdefghij"}
    arrays = {each: np.ones(shape, np.float32) for each, shape in shapes.items()}
    grid = draw(GridView(), arrays, Settings(transformer=Atlas()))["neural_grid"].panels[0].grid
    assert (grid.counts > 0).mean() > 0.85
    numbers = [label for label in grid.labels if label.name != "layers"]
    assert numbers[0].name == "layers.0"
    assert len(numbers) > 1
    first_of = {region.name.rpartition(".")[0]: region.rects[0] for region in grid.regions if region.name.endswith(".a")}
    for label in numbers:  # above the column of layers that begins with it
        (row, column, high, wide), (top, left, *_) = label.rects[0], first_of[label.name]
        assert row + high == top
        assert column <= left < column + wide
    (note,) = grid.notes
    order = note.partition(": ")[2].replace(" / ", " ").split()
    places = {region.name[-1]: region.rects[0][:2] for region in grid.regions if region.name.startswith("layers.0.")}
    assert order == sorted(places, key=places.__getitem__)


@pytest.mark.parametrize("width", [64, 80, 96, 112])
def test_parts_of_a_fused_projection_have_their_letters_or_none_has(width: int) -> None:
    rng = np.random.default_rng(0)
    shapes = five_hundred(width)
    arrays = {each: rng.standard_normal(shape, dtype=np.float32) for each, shape in shapes.items()}
    page = draw(GridView(), arrays, Settings(transformer=Atlas()))["neural_grid"]
    texts = [shape.text for shape in draw_page(page, Style()).shapes if isinstance(shape, Label)]
    assert texts.count("Q") == texts.count("K") == texts.count("V")
