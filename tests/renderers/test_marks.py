"""Marks inside heatmaps: where parts of a tensor begin, and that no two texts are over one another."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_builtin._renderers.matplotlib.canvas import INK
from torch2grid_builtin._renderers.matplotlib.page import draw_page
from torch2grid_builtin._renderers.matplotlib.shapes import Boxes, Cells, Label
from torch2grid_core import Grid, Page, Settings, Style
from torch2grid_core.grids import NOT_FINITE, Region

NAMES = ("Q", "K", "V", "row 39", "column 1,024", "39", "1,024", "proj", "weight")


def drawn(grid):
    """(left and top of the cells, label → box on a light ground, pixels of a cell)"""
    shapes = draw_page(Page("p", "t", (Settings(limits=(-1, 1)).heatmap(grid, labels=True),)), Style()).shapes
    cells = next(each for each in shapes if isinstance(each, Cells))
    grounds = [each.box[0] for each in shapes if isinstance(each, Boxes) and each.color == "white" and len(each.box) == 1]
    words = [each for each in shapes if isinstance(each, Label) and not each.upright and each.color == INK]
    words = [each for each in words if each.text in NAMES or each.text.removeprefix("row ").isdecimal()]
    inside = [(word.text, box) for word, box in zip(words, grounds, strict=True)]
    return (cells.left, cells.top), inside, cells.factor


def test_the_letters_of_a_fused_projection_stand_where_its_parts_begin():
    for axis in (0, 1):
        parts = [(0, 0, 90, 270), (90, 0, 90, 270), (180, 0, 90, 270)]
        rects = parts if axis == 0 else [(y, x, wide, high) for x, y, high, wide in parts]
        rects = [(row, column, height, width) for row, column, height, width in rects]
        marks = tuple(Region(name, (rect,)) for name, rect in zip("QKV", rects, strict=True))
        (left, top), inside, factor = drawn(Grid(np.zeros((270, 270), np.float32), marks=marks))
        assert [name for name, _ in inside] == ["Q", "K", "V"]
        for (_, box), (row, column, *_) in zip(inside, rects, strict=True):
            assert (box[0] - left - column * factor[1], box[1] - top - row * factor[0]) == (3, 3)


@given(data=st.data())
def test_no_two_texts_are_over_one_another_and_each_is_inside_its_part(data):
    rects = st.tuples(st.integers(0, 150), st.integers(0, 150), st.integers(30, 150), st.integers(30, 150))
    found = data.draw(st.lists(st.tuples(st.sampled_from(NAMES[:5]), rects), min_size=1, max_size=6))
    marks = tuple(Region(name, (rect,)) for name, rect in found)
    regions = (Region("proj", ((0, 0, 300, 150),)), Region("weight", ((0, 150, 300, 150),)))
    (left, top), inside, factor = drawn(Grid(np.zeros((300, 300), np.float32), regions=regions, marks=marks))
    for (_, one), (_, other) in combinations(inside, 2):
        apart = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0]
        assert apart or one[1] + one[3] <= other[1] or other[1] + other[3] <= one[1]
    for name, box in inside:
        if name in ("proj", "weight"):
            continue
        x, y = (box[0] - left) / factor[1], (box[1] - top) / factor[0]
        assert any(
            name in (mark, mark.partition(" ")[2])
            and column <= x
            and row <= y
            and x + box[2] / factor[1] <= column + width
            and y + box[3] / factor[0] <= row + height
            for mark, (row, column, height, width) in found
        )


def test_a_letter_stands_beside_the_name_of_its_matrix():
    grid = Grid(
        np.zeros((300, 300), np.float32),
        regions=(Region("proj", ((0, 0, 300, 150),)), Region("weight", ((0, 150, 300, 150),))),
        marks=(Region("Q", ((0, 0, 150, 150),)), Region("K", ((150, 0, 150, 150),)), Region("row 39", ((150, 0, 150, 150),))),
    )
    _, inside, _ = drawn(grid)
    assert sorted(name for name, _ in inside) == ["K", "Q", "proj", "row 39", "weight"]


def test_a_band_too_narrow_for_the_text_has_it_smaller_or_the_number_alone():
    found = {}
    for wide in (8, 20, 40, 200):
        grid = Grid(np.zeros((400, 400), np.float32), marks=(Region("row 39", ((0, 0, 80, wide),)),))
        shapes = draw_page(Page("p", "t", (Settings(limits=(-1, 1)).heatmap(grid, labels=True),)), Style()).shapes
        found[wide] = next(((each.text, each.size) for each in shapes if isinstance(each, Label) and "39" in each.text), None)
    assert found[8] is None
    assert found[20][0] == "39"
    assert found[40] == found[200]
    assert found[200][0] == "row 39"


def test_each_band_of_a_low_matrix_says_where_it_begins_and_nothing_else_has_a_ground():
    bands = [(0, 48 * band, 24, 48) for band in range(8)]
    marks = tuple(Region(f"row {24 * band}", (rect,)) for band, rect in enumerate(bands) if band)
    empty = Region("", ((40, 0, 24, 48),))
    (left, _), inside, factor = drawn(Grid(np.zeros((400, 400), np.float32), marks=(*marks, empty)))
    assert [int((box[0] - left) // (48 * factor[1])) for _, box in inside] == list(range(1, 8))
    assert [name.removeprefix("row ") for name, _ in inside] == [str(24 * band) for band in range(1, 8)]


@pytest.mark.parametrize("place", [(0, 0), (2, 5), (4, 20), (31, 40), (39, 1), (63, 63)])
@pytest.mark.parametrize("named", ["regions", "marks"])
def test_no_text_hides_a_cell_with_nan(place, named):
    values = np.random.default_rng(0).normal(0, 0.1, (64, 64)).astype(np.float32)
    values[place] = np.nan
    whole = (Region("layers.0.attention.weight", ((0, 0, 64, 64),)),)
    parts = tuple(Region(name, ((row, 0, 32, 64),)) for name, row in (("Q", 0), ("row 39", 32)))
    grid = Grid(values, regions=whole if named == "regions" else (), marks=parts if named == "marks" else ())
    drawn = draw_page(Page("p", "t", (Settings(limits=(-1, 1)).heatmap(grid, labels=True),)), Style())
    cells = next(each for each in drawn.shapes if isinstance(each, Cells))
    (high, wide), lost = cells.factor, np.array(NOT_FINITE) / 255
    row, column = place
    box = (cells.left + column * wide, cells.top + row * high, wide, high)
    after = drawn.shapes[drawn.shapes.index(cells) + 1 :]
    over = [
        (shape, each)
        for shape in after
        if isinstance(shape, Boxes) and shape.alpha != 0.45
        for each in shape.box.tolist()
        if each[0] < box[0] + wide and box[0] < each[0] + each[2] and each[1] < box[1] + high and box[1] < each[1] + each[3]
    ]
    if over:
        shape, last = over[-1]
        assert tuple(last) == box
        np.testing.assert_allclose(np.asarray(shape.color, float), lost)


def test_the_name_of_what_is_nan_throughout_can_be_read():
    grid = Grid(np.full((64, 64), np.nan, np.float32), regions=(Region("layers.0.attention.weight", ((0, 0, 64, 64),)),))
    shapes = draw_page(Page("p", "t", (Settings(limits=(-1, 1)).heatmap(grid, labels=True),)), Style()).shapes
    place = next(place for place, each in enumerate(shapes) if isinstance(each, Label) and "attention" in each.text)
    box = next(each for each in shapes[place - 1 :: -1] if isinstance(each, Boxes)).box[0]
    later = [each for shape in shapes[place + 1 :] if isinstance(shape, Boxes) for each in shape.box.tolist()]
    assert not any(box[0] < x + w and x < box[0] + box[2] and box[1] < y + h and y < box[1] + box[3] for x, y, w, h in later)


def test_names_of_flax_tell_the_layer_and_slender_matrices_are_named_upright():
    rects = [((turn // 3) * 50, (turn % 3) * 50, 48, 48) for turn in range(12)]
    regions = tuple(Region(f"params/encoderblock_{turn}/mlp/kernel", (rect,)) for turn, rect in enumerate(rects))
    shapes = draw_page(
        Page("p", "t", (Settings().heatmap(Grid(np.zeros((200, 150)), regions=regions), labels=True),)), Style()
    ).shapes
    words = [each.text for each in shapes if isinstance(each, Label) and "kernel" in each.text]
    assert len(set(words)) == 12
    assert all(any(text.endswith(f"{turn}/mlp/kernel") for text in words) for turn in range(12))
    bands = tuple((0, 12 * band, 120, 11) for band in range(40))
    grid = Grid(np.zeros((120, 480)), regions=(Region("conv6.weight", bands),))
    shapes = draw_page(Page("p", "t", (Settings().heatmap(grid, labels=True),)), Style()).shapes
    assert any(isinstance(each, Label) and "conv6" in each.text for each in shapes)


@pytest.mark.parametrize("side", [6, 24, 40, 90, 200])
@pytest.mark.parametrize("count", [1, 4])
def test_each_matrix_that_one_sees_is_named_or_a_note_counts_it(side, count):
    names = [f"model.layers.{turn}.a_rather_long_projection.weight" for turn in range(count)]
    regions = tuple(Region(name, ((0, turn * (side + 2), side, side),)) for turn, name in enumerate(names))
    values = np.zeros((side, count * (side + 2) - 2), np.float32)
    counts = np.zeros(values.shape, np.int64)
    for region in regions:
        ((row, column, height, width),) = region.rects
        counts[row : row + height, column : column + width] = 1
    shapes = draw_page(
        Page("p", "t", (Settings().heatmap(Grid(values, counts, regions=regions), labels=True),)), Style()
    ).shapes
    words = [each.text for each in shapes if isinstance(each, Label)]
    named = sum("projection" in text for text in words)
    note = [text for text in words if "for its name" in text or "for their names" in text]
    (cells,) = (each for each in shapes if isinstance(each, Cells))
    if named < count and side * cells.factor[0] > 40:
        assert note
        assert note[0].startswith(f"{count - named:,} tensor")
    assert named == count or side < 200


def test_a_matrix_that_the_label_of_its_module_tells_is_not_said_to_have_no_name():
    regions = tuple(Region(f"conv{turn}.weight", ((8, 100 * turn, 80, 98),)) for turn in (0, 1))
    labels = tuple(Region(f"conv{turn}", ((0, 100 * turn, 8, 98),)) for turn in (0, 1))
    counts = np.zeros((88, 200), np.int64)
    counts[8:] = 1
    grid = Grid(np.zeros((88, 200), np.float32), counts, regions=regions, labels=labels)
    shapes = draw_page(Page("p", "t", (Settings().heatmap(grid, labels=True),)), Style()).shapes
    words = [each.text for each in shapes if isinstance(each, Label)]
    assert "conv1" in words
    assert not any("no room" in text or "too thin" in text for text in words)
