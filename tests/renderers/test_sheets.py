"""Sheets of small pictures: what shares a scale, and what the legend says of the colours."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import torch2grid as t2g
from torch2grid_builtin._renderers.matplotlib.drawings import SharedLegend
from torch2grid_builtin._renderers.matplotlib.page import draw_page
from torch2grid_builtin._renderers.matplotlib.shapes import Boxes, Cells, Label, Polygon
from torch2grid_builtin._renderers.matplotlib.sheets import _BAR
from torch2grid_core import Grid, Page, Style
from torch2grid_core.grids import ColorScale, Region, default_map, signals
from torch2grid_core.pages import Band, Heatmap, Histogram

DIVERGING, SEQUENTIAL = ColorScale(-1, 1), ColorScale(0, 1)


def bars(count, log=False):
    return Histogram(np.array([0.0, 1.0, 2.0]), np.array([count, 0]), log=log)


def heights(page):
    """The height in pixels of each small histogram."""
    shapes = draw_page(page, Style()).shapes
    return [round(float(max(each.y) - min(each.y)), 6) for each in shapes if isinstance(each, Polygon) and each.color == _BAR]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("loose", [0, 1, 2])
def test_heights_are_those_of_a_column_alone(loose, log):
    """What stands by itself, above or below the layers, has a scale of its own, whatever its place in its row."""
    rows = ("",) * 2 + ("0", "1") + ("",)
    panels = {(row, column): bars(64, log) for row in (2, 3) for column in (0, 1)}
    alone = Page("a", "", tuple(panels.values()), places=tuple(panels), row_names=rows, column_names=("a", "c"))
    large = {(row, column): bars(1_000_000, log) for row in (0, 4)[:loose] for column in range(loose)}
    both = {**large, **panels}
    page = Page("a", "", tuple(both.values()), places=tuple(both), row_names=rows, column_names=("a", "c"))
    found = heights(alone)
    assert len(set(found)) == 1
    assert heights(page)[-4:] == found or heights(page)[:4] == found


def heat(scale, *values):
    return Heatmap(Grid(np.array([values], np.float32)), scale, "one")


def swatches(panels):
    """label → the colours, 0…255, that the legend shows for it."""
    canvas = draw_page(Page("a", "", panels, columns=4), Style())
    found, last = {}, None
    for shape in canvas.shapes:
        if isinstance(shape, Boxes) and shape.box.shape == (1, 4) and tuple(shape.box[0, 2:]) == (12, 12):
            last = tuple(round(255 * channel) for channel in shape.color)
        elif isinstance(shape, Label) and shape.text in ("above", "below", "NaN or Inf", "no weight") and last:
            found.setdefault(shape.text, []).append(last)
            last = None
    return found


def test_a_legend_names_the_colours_that_occur_and_each_maps_own():
    assert swatches((heat(DIVERGING, 0, 0.5), heat(SEQUENTIAL, 0, 1))) == {}
    one, other = (signals(default_map(scale)) for scale in (DIVERGING, SEQUENTIAL))
    assert one.under != other.under  # so that one swatch for both would be false
    found = swatches((heat(DIVERGING, -2, 2), heat(SEQUENTIAL, -1, 0.5), heat(DIVERGING, 0, np.nan)))
    assert found == {"above": [one.over], "below": [one.under, other.under], "NaN or Inf": [one.not_finite]}
    assert swatches((heat(DIVERGING, -2, 0), heat(DIVERGING, -3, 0))) == {"below": [one.under]}


@pytest.mark.parametrize("width", [360, 420, 600, 1200])
def test_a_legend_loses_nothing_where_a_sheet_is_narrow(width):
    panels = (heat(DIVERGING, -2, 2, np.nan), heat(SEQUENTIAL, -1, 2))
    note = "limits: at the head of each column, linear"
    legend = SharedLegend(panels, Style(), width, note)
    items = [item for line in legend.lines for _, item in line]
    assert [getattr(item, "text", note) for item in items][-1] == note
    assert len(items) == len([item for line in SharedLegend(panels, Style(), 5000, note).lines for _, item in line])
    assert all(x + item.width <= width for line in legend.lines for x, item in line)
    assert legend.height >= 14 + 20 * len(legend.lines)


def test_a_sheet_says_what_its_bands_and_lines_are():
    levels = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    band = Band(("0", "1"), levels, np.zeros((7, 2)) + np.arange(7)[:, None])
    page = Page("a", "", (band, bars(3)), places=((0, 0), (1, 0)), row_names=("", "0"), column_names=("a",))
    shown = [each.text for each in draw_page(page, Style()).shapes if isinstance(each, Label)]
    assert "quantiles 25–75 %, 5–95 %, 1–99 %; dark line: median; thin line in a histogram: 0" in " ".join(shown)


def test_no_band_slants_from_one_name_to_the_next():
    """Between two names there is nothing: what is drawn for each is level, and at its own quantiles."""
    values = np.array([[-1.0, 5.0, np.nan, 0.0], [0.0, 6.0, np.nan, 2.0], [1.0, 9.0, np.nan, 2.5]])
    band = Band(("scalar", "bool", "lost", "i64"), (0.25, 0.5, 0.75), values, flags={2: "all NaN"})
    shapes = draw_page(
        Page("a", "", (band, bars(3)), places=((0, 0), (1, 0)), row_names=("", "0"), column_names=("a",)), Style()
    ).shapes
    ribbons = [each for each in shapes if isinstance(each, Polygon) and len(each.x) in (4, 8)]
    assert len(ribbons) == 2  # of the two names before the one that has no quantiles, and of the one behind it
    for ribbon in ribbons:
        assert not any((np.diff(ribbon.x) != 0) & (np.diff(ribbon.y) != 0))


def test_bands_above_a_wide_table_fill_its_width():
    levels = (0.25, 0.5, 0.75)
    rows = ("", "", "", "0", "1")
    bands = {(place // 4, place % 4): Band(("0", "1"), levels, np.arange(6.0).reshape(3, 2)) for place in range(12)}
    panels = {(row, column): bars(8) for row in (3, 4) for column in range(16)}
    names = tuple(f"kind {column} of sixteen" for column in range(16))

    def drawn(every):
        return draw_page(Page("a", "", tuple(every.values()), places=tuple(every), row_names=rows, column_names=names), Style())

    narrow = {place: panel for place, panel in panels.items() if place[1] < 3}
    wide, low = drawn({**bands, **panels}), drawn({**bands, **narrow})
    alone = drawn(panels)
    assert wide.width == alone.width  # seven in a row are not wider than the table
    assert wide.height < low.height  # four in a row, as they were given
    assert sum(isinstance(each, Polygon) for each in wide.shapes) - len(panels) == 12


def words(page):
    """(text, x, y) of all that is written on a page."""
    return [(each.text, each.x, each.y) for each in draw_page(page, Style()).shapes if isinstance(each, Label)]


def table(panels, names, rows, notes=()):
    return Page("a", "", tuple(panels.values()), places=tuple(panels), row_names=rows, column_names=names, column_notes=notes)


def test_columns_whose_names_differ_in_one_number_share_a_head_and_a_height():
    names = ("attn", "experts.0.w", "experts.1.w", "experts.2.w", "down.1.b")
    panels = {(row, column): bars(10 * (column + 1)) for row in range(2) for column in range(5)}
    page = table(panels, names, ("0", "1"), ("x", "y", "y", "y", "y"))
    found = words(page)
    texts = [text for text, *_ in found]
    assert texts.count("experts.*.w") == 1
    assert texts.count("y") == 2
    numbers = [(text, x) for text, x, y in found if y == next(y for text, _, y in found if text == "2")]
    assert [text for text, _ in numbers if text.isdecimal()] == ["0", "1", "2"]
    assert [x for _, x in numbers] == sorted(x for _, x in numbers)
    high = heights(page)[:5]
    assert high[1] < high[2] < high[3]  # 20, 30 and 40 on one scale
    assert high[0] == high[3] == high[4]  # each the most of its scale


def test_rows_that_share_no_column_are_a_table_of_their_own():
    panels = {(0, 0): heat(SEQUENTIAL, 0, 1), (1, 0): heat(SEQUENTIAL, 0, 1)}
    panels |= {(row, column): heat(SEQUENTIAL, 0, 1) for row in (2, 3) for column in (1, 2, 3)}
    found = words(table(panels, ("norm", "e.w", "e.w", "e.w"), ("0", "1", "0 · experts 0–2", "1 · experts 0–2")))
    places = {text: y for text, _, y in found}
    assert places["norm"] < places["0"] < places["1"] < places["e.w"] < places["0 · experts 0–2"]
    assert len({x for text, x, _ in found if text in ("norm", "e.w")}) == 2  # each begins behind its own names of rows


@given(st.integers(1, 300), st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 64))
def test_each_kind_has_a_column_of_its_own_and_a_long_table_is_in_parts_under_the_same_heads(layers, vectors, side):
    pictures = [Heatmap(Grid(np.ones((1 if low else side, side), np.float32)), SEQUENTIAL, "one") for low in vectors]
    names = tuple(f"kind{column}" for column in range(len(vectors)))
    panels = {(row, column): each for row in range(layers) for column, each in enumerate(pictures)}
    page = table(panels, names, tuple(map(str, range(layers))))
    canvas = draw_page(page, Style())
    found = [(each.text, each.x, each.y) for each in canvas.shapes if isinstance(each, Label)]
    heads = [each for each in found if each[0] in names]
    parts = len(heads) // len(names)
    assert [text for text, *_ in heads] == [*names] * parts
    assert len({x for _, x, _ in heads}) == len(heads)  # never two kinds in one column
    assert len({y for *_, y in heads}) == 1
    rows = [(text, x) for text, x, _ in found if text.isdecimal()]
    assert len({x for _, x in rows}) == parts
    assert [int(text) for text, _ in rows] == sorted({int(text) for text, _ in rows})  # in order, one part after the other
    assert canvas.height <= max(2600, 1.4 * canvas.width) + 200
    cells = [each for each in canvas.shapes if isinstance(each, Cells)]
    assert len(cells) == len(panels)


def test_a_picture_on_a_sheet_says_where_q_k_and_v_begin_and_which_expert_is_where():
    marks = tuple(Region(letter, ((row, 0, 16, 48),)) for letter, row in (("Q", 0), ("K", 16), ("V", 32)))
    fused = Grid(np.ones((48, 48), np.float32), regions=(Region("in_proj", ((0, 0, 48, 48),)),), marks=marks)
    panels = {(row, 0): Heatmap(fused, SEQUENTIAL, "one") for row in range(3)}
    shown = [text for text, *_ in words(table(panels, ("in_proj",), ("0", "1", "2")))]
    assert [shown.count(letter) for letter in "QKV"] == [3, 3, 3]


def test_experts_on_a_sheet_are_named_alike_and_hide_little():
    sides = {"down_proj": (96, 64), "gate_up_proj": (64, 192)}
    tensors = {f"layers.{n}.experts.{name}": np.ones((8, *side), np.float32) for n in range(3) for name, side in sides.items()}
    (page,) = (page for page in t2g.layers(tensors) if page.name == "layer_overview")
    named = [text for text, *_ in words(page) if "expert" in text or text.isdecimal()]
    assert not [text for text in named if text.startswith("expert ")]
    assert [named.count(str(number)) for number in range(8)] == [6 + (number < 3) for number in range(8)]  # and layers
    shapes = draw_page(page, Style()).shapes
    pictures = sum(math.prod(each.rgb.shape[:2]) * math.prod(each.factor) for each in shapes if isinstance(each, Cells))
    grounds = [box for each in shapes if isinstance(each, Boxes) and each.color == "white" for box in each.box.tolist()]
    assert 0 < sum(width * height for _, _, width, height in grounds) < 0.2 * pictures
