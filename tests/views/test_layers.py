"""A page per tensor with every weight in its place, and sheets of all of them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from tests.support.views.drawing import checkpoint_of, draw

from torch2grid_builtin._views.grid import GridView
from torch2grid_builtin._views.layers import LayersView
from torch2grid_core import Settings
from torch2grid_core._plugins.options import options_of

RNG = np.random.default_rng(0)


def page_of(array, name="layer.weight", run=None, view=None):
    return draw(view or LayersView(), {name: array}, run)[f"layers/{name}"]


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [
        ((20, 10), "row (output unit)", "column (input)"),
        ((7,), "", "index"),
        ((1, 9), "", "index"),
        ((), "", ""),
        ((6, 5, 3), "output channel", "input channel × kernel (5×3, flattened)"),
        ((6, 3, 5, 5), "output channel", "input channel × kernel (3×5×5, flattened)"),
        ((2, 2, 2, 2, 2, 2), "first dimension", "other dimensions (2×2×2×2×2, flattened)"),
    ],
)
def test_each_weight_is_a_cell_in_the_matrix_of_the_tensor(shape, rows, columns):
    array = RNG.standard_normal(shape).astype(np.float32)
    page = page_of(array)
    (panel,) = page.panels
    matrix = array.reshape(shape[0], -1) if len(shape) > 1 else array.reshape(1, -1)
    np.testing.assert_array_equal(panel.grid.values, matrix)
    assert (panel.rows, panel.columns) == (rows, columns)
    assert panel.label == "weight"
    assert page.folder == "layers"
    assert page.name == "layer.weight"
    assert page.about == {"tensor": "layer.weight", "shape": list(shape), "dtype": "float32"}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.int8, np.complex64, ml_dtypes.float8_e5m2])
def test_the_title_has_name_shape_and_dtype(dtype):
    array = (RNG.standard_normal((4, 6)) * 9).astype(dtype)
    page = page_of(array, "model.h.0.attn.weight")
    assert page.title == f"model.h.0.attn.weight · 4×6 · {np.dtype(dtype).name}"
    wanted = np.abs(array) if np.dtype(dtype).kind == "c" else array.astype(np.float32)
    np.testing.assert_allclose(page.panels[0].grid.values, wanted, rtol=1e-6)


def test_the_users_title_and_the_number_of_a_scalar():
    page = page_of(np.float32(2.5), "logit_scale", Settings(title="CLIP"))
    assert page.title == "CLIP · logit_scale · scalar · float32"
    assert page.panels[0].grid.values.tolist() == [[2.5]]


def test_long_vectors_are_wrapped_and_say_where():
    array = RNG.standard_normal(1000).astype(np.float32)
    page = page_of(array)
    (panel,) = page.panels
    across = panel.grid.shape[1]
    assert panel.grid.shape[0] > 1
    assert f"wrapped at {across}" in page.title
    np.testing.assert_array_equal(panel.grid.values.ravel()[:1000], array)
    assert (panel.grid.counts.ravel()[1000:] == 0).all()
    assert (panel.rows, panel.columns, panel.row_index(0), panel.row_index(1)) == ("index", "", 0, across)


@pytest.mark.parametrize("reduce", ["mean", "absmax", "rms", "min", "max"])
def test_large_matrices_are_reduced_as_asked(reduce):
    array = RNG.standard_normal((100, 60)).astype(np.float32)
    panel = page_of(array, run=Settings(tensor_cells=20, reduce=reduce)).panels[0]
    assert panel.grid.cell == (5, 3)
    blocks = array.astype(np.float64).reshape(20, 5, 20, 3).transpose(0, 2, 1, 3).reshape(20, 20, 15)
    wanted = {
        "mean": blocks.mean(2),
        "absmax": np.abs(blocks).max(2),
        "rms": np.sqrt((blocks**2).mean(2)),
        "min": blocks.min(2),
        "max": blocks.max(2),
    }[reduce]
    np.testing.assert_allclose(panel.grid.values, wanted, rtol=1e-5)
    assert panel.label == f"{reduce} of 5×3 weights"


@pytest.mark.parametrize(
    ("name", "shape", "rows", "columns"),
    [
        ("h.0.attn.c_attn.weight", (16, 48), "row (input)", "column (output unit)"),
        ("h.0.attn.c_attn.weight", (48, 16), "row (output unit)", "column (input)"),
        ("h.0.mlp.c_fc.weight", (16, 64), "row (input)", "column (output unit)"),
        ("h.0.mlp.c_fc.weight", (64, 16), "row (output unit)", "column (input)"),
        ("h.0.mlp.c_proj.weight", (64, 16), "row (input)", "column (output unit)"),
        ("h.0.mlp.c_proj.weight", (16, 64), "row (output unit)", "column (input)"),
        ("h.0.attn.c_proj.weight", (16, 16), "row", "column"),  # there is no telling
    ],
)
def test_rows_of_a_matrix_that_is_stored_the_other_way_round_are_inputs(name, shape, rows, columns):
    panel = page_of(np.ones(shape, np.float32), name).panels[0]
    assert (panel.rows, panel.columns) == (rows, columns)
    part = page_of(np.ones(shape, np.float32), name, Settings(slice="0:8, 0:9")).panels[0]
    assert (part.rows, part.columns) == (rows, columns)


def test_tables_of_embeddings_are_not_output_units():
    assert page_of(np.ones((5, 4), np.float32), "wte.weight").panels[0].rows == "row (entry of the table)"


def test_the_overview_has_a_row_for_each_layer_and_a_column_for_each_kind_on_one_scale():
    arrays = {"embed.weight": RNG.standard_normal((500, 40)).astype(np.float32)}
    for layer in range(5):
        arrays[f"net.layers.{layer}.a.weight"] = RNG.standard_normal((300, 90)).astype(np.float32) * 10.0**-layer
        arrays[f"net.layers.{layer}.b.weight"] = RNG.standard_normal((30, 20)).astype(np.float32)
        arrays[f"net.layers.{layer}.norm.weight"] = RNG.uniform(0.9, 1.1, 200).astype(np.float32)
    arrays |= {"head.weight": np.ones((7, 9), np.float32), "empty": np.zeros((0, 4), np.float32)}
    pages = draw(LayersView(), checkpoint_of(arrays, source="net.pth"))
    page = pages["layer_overview"]
    assert page.title == "net.pth · 17 tensors · rows: net.layers.*"
    assert sorted(panel.title for panel in page.panels) == sorted(set(arrays) - {"empty"})
    place_of = {panel.title: place for panel, place in zip(page.panels, page.places, strict=True)}
    panel_of = {panel.title: panel for panel in page.panels}
    assert page.row_names == ("", "0", "1", "2", "3", "4", "")
    assert page.column_names == ("a.weight", "b.weight", "norm.weight")
    for layer in range(5):
        for column, kind in enumerate(page.column_names):
            assert place_of[f"net.layers.{layer}.{kind}"] == (layer + 1, column)
    assert (place_of["embed.weight"], place_of["head.weight"]) == ((0, 0), (6, 0))
    for column, kind in enumerate(page.column_names):
        scales = {panel_of[f"net.layers.{layer}.{kind}"].scale for layer in range(5)}
        limits = {(scale.low, scale.high) for scale in scales}
        ((low, high),) = limits
        grids = [panel_of[f"net.layers.{layer}.{kind}"].grid for layer in range(5)]
        whole = Settings().color_scale(*grids)
        assert (low, high) == (whole.low, whole.high)
        assert f", {'asinh' if kind == 'a.weight' else 'linear'}, " in page.column_notes[column]  # those are far apart
        assert f"{high:.3g}" in page.column_notes[column]
    assert "layers/empty" not in pages
    assert len(pages) == 18


@pytest.mark.parametrize(
    ("asked", "sheet", "found"),
    [("mean", "absmax", "absmax"), ("mean", "mean", "mean"), ("rms", "absmax", "rms"), ("absmax", "mean", "absmax")],
)
def test_a_matrix_reduced_to_cells_shows_absmax_on_a_sheet_unless_asked_otherwise_and_says_so(asked, sheet, found):
    arrays = {f"h.{i}.{name}": RNG.standard_normal((640, 64)).astype(np.float32) for i in range(3) for name in ("a", "b")}
    arrays |= {f"h.{i}.small": RNG.standard_normal((8, 8)).astype(np.float32) for i in range(3)}
    pages = draw(LayersView(sheet_reduce=sheet), arrays, Settings(reduce=asked))
    page = pages["layer_overview"]
    for panel in page.panels:
        array = arrays[panel.title].astype(np.float64)
        if "small" in panel.title:
            shown = array if asked == "mean" else np.abs(array)  # of one weight, absmax and rms are its size
            np.testing.assert_allclose(panel.grid.values, shown, rtol=1e-6)
            continue
        rows, columns = panel.grid.cell
        assert (rows, columns) == (10, 1)
        blocks = array.reshape(-1, rows, array.shape[1])
        wanted = {"absmax": np.abs(blocks).max(1), "mean": blocks.mean(1), "rms": np.sqrt((blocks**2).mean(1))}[found]
        np.testing.assert_allclose(panel.grid.values, wanted, rtol=1e-5)
        assert panel.label == f"640×64, {found} of 10×1"
    assert f"{found} of 10×1" in page.column_notes[0]
    assert pages["layers/h.0.a"].panels[0].label == "weight"  # a page keeps what was asked


def test_vectors_are_one_row_of_cells_on_a_sheet():
    arrays = {f"h.{i}.bias": RNG.standard_normal(1000).astype(np.float32) for i in range(3)}
    page = draw(LayersView(), arrays)["layer_overview"]
    for panel in page.panels:
        assert panel.grid.shape[0] == 1
        assert panel.grid.shape[1] <= 64
        assert panel.grid.weights == 1000


def test_many_layers_take_several_sheets_on_the_same_scales():
    arrays = {f"h.{i}.weight": np.full((2, 2), i, np.float32) for i in range(130)}
    pages = draw(LayersView(sheet=60), arrays)
    sheets = [pages[name] for name in ("layer_overview", "layer_overview_2", "layer_overview_3")]
    assert [len(sheet.panels) for sheet in sheets] == [60, 60, 10]
    assert [panel.title for sheet in sheets for panel in sheet.panels] == list(arrays)
    assert len({(panel.scale.low, panel.scale.high) for sheet in sheets for panel in sheet.panels}) == 1
    assert sheets[1].title.endswith("sheet 2 of 3")
    assert sheets[1].row_names == tuple(str(layer) for layer in range(60, 120))
    assert "layer_overview_4" not in pages
    (whole,) = [name for name in draw(LayersView(), arrays) if name.startswith("layer_overview")]
    assert whole == "layer_overview"  # 300 layers fit one


def of_experts(layers: int, experts: int, kinds: int) -> dict[str, np.ndarray]:
    arrays = {
        f"h.{layer}.experts.{expert}.w{kind}": np.full((4, 5), 1 + layer, np.float32)
        for layer in range(layers)
        for expert in range(experts)
        for kind in range(kinds)
    }
    return arrays | {f"h.{layer}.attn.weight": np.ones((4, 5), np.float32) for layer in range(layers)}


def test_few_experts_are_columns_beside_their_layer():
    arrays = of_experts(2, 4, 2)
    page = draw(LayersView(), arrays)["layer_overview"]
    assert page.row_names == ("0", "1")
    assert page.column_names == (*(f"experts.{expert}.w{kind}" for kind in range(2) for expert in range(4)), "attn.weight")
    places = {panel.title: place for panel, place in zip(page.panels, page.places, strict=True)}
    for name in arrays:
        layer, inside = name.split(".", 2)[1:]
        assert places[name] == (int(layer), page.column_names.index(inside))
    scales = {panel.title: panel.scale for panel in page.panels}
    assert len({(scale.low, scale.high) for name, scale in scales.items() if name.endswith("w0")}) == 1


@pytest.mark.parametrize(("layers", "experts", "kinds"), [(3, 64, 3), (2, 40, 1), (2, 256, 3)])
def test_many_experts_are_rows_of_their_own_and_fill_them(layers, experts, kinds):
    page = draw(LayersView(), of_experts(layers, experts, kinds))["layer_overview"]
    assert page.row_names[:layers] == tuple(map(str, range(layers)))
    below = page.row_names[layers:]
    assert below[0].startswith("0 · experts 0–")
    assert below[-1].endswith(f"–{experts - 1}")
    rows = [{column for row, column in page.places if row == place} for place in range(len(page.row_names))]
    assert all(len(row) == 1 for row in rows[:layers])
    assert not rows[0] & rows[layers]  # a table of their own
    across = max(map(len, rows[layers:]))
    assert across <= 32
    assert layers * experts * kinds > 0.85 * across * len(below)


def test_experts_that_each_layer_counts_on_stand_in_the_same_columns():
    arrays = {f"h.{layer}.experts.{4 * layer + each}.w": np.ones((4, 5), np.float32) for layer in range(5) for each in range(4)}
    page = draw(LayersView(), arrays)["layer_overview"]
    assert page.column_names == ("experts.*.w",) * 4
    assert sorted(page.places) == [(row, column) for row in range(5) for column in range(4)]


def test_experts_of_two_kinds_keep_their_whole_names():
    names = [f"h.0.mlp.{kind}experts.{expert}.w" for kind in ("", "shared_") for expert in range(4)]
    page = draw(LayersView(), {name: np.ones((4, 5), np.float32) for name in names})["layer_overview"]
    assert {f"h.0.{name}" for name in page.column_names} == set(names)


def test_numbered_modules_that_are_not_alike_are_no_experts():
    inside = ("conv.0.0.weight", "conv.0.1.bias", "conv.1.0.weight", "conv.2.weight", "conv.3.bias")
    arrays = {f"features.{layer}.{name}": np.ones((4, 5), np.float32) for layer in range(3) for name in inside}
    page = draw(LayersView(), arrays)["layer_overview"]
    assert page.column_names == inside
    assert page.row_names == ("0", "1", "2")


def test_a_stack_of_experts_is_a_matrix_each():
    array = RNG.standard_normal((8, 40, 96)).astype(np.float32)
    page = page_of(array, "moe.experts.up")
    (panel,) = page.panels
    assert (panel.rows, panel.columns) == ("row of each matrix", "column of each matrix")
    assert [mark.name for mark in panel.grid.marks] == [f"expert {index}" for index in range(8)]
    for index, mark in enumerate(panel.grid.marks):
        ((row, column, height, width),) = mark.rects
        np.testing.assert_array_equal(panel.grid.values[row : row + height, column : column + width], array[index])
    assert panel.grid.counts.sum() == array.size


@pytest.mark.parametrize(
    ("name", "shape", "axis"), [("attn.in_proj_weight", (360, 120), 0), ("attn.c_attn.weight", (120, 360), 1)]
)
def test_a_fused_projection_shows_where_q_k_and_v_begin(name, shape, axis):
    panel = page_of(RNG.standard_normal(shape).astype(np.float32), name, Settings(tensor_cells=120)).panels[0]
    third = shape[axis] // 3 // panel.grid.cell[axis]
    assert [mark.name for mark in panel.grid.marks] == ["Q", "K", "V"]
    assert [mark.rects[0][axis] for mark in panel.grid.marks] == [0, third, 2 * third]
    assert [mark.rects[0][2 + axis] for mark in panel.grid.marks] == [third] * 3


def test_options():
    assert set(options_of(LayersView)) == {"each", "overview", "sheet", "sheet_reduce", "profiles"}
    arrays = {"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.float32)}
    assert set(draw(LayersView(overview=False), arrays)) == {"layers/a", "layers/b"}
    assert set(draw(LayersView(each=False), arrays)) == {"layer_overview"}
    with pytest.raises(ValueError, match="at least 1"):
        LayersView(sheet=0)


def test_matrices_have_the_largest_weight_of_each_row_and_column_beside_them():
    array = RNG.standard_normal((50, 30)).astype(np.float32)
    array[:, 7] *= 20  # an outlier feature
    array[3, 4] = np.nan
    panel = page_of(array, run=Settings(tensor_cells=20)).panels[0]
    assert panel.grid.cell == (3, 2)
    rows = np.array([np.abs(array[start : start + 3]).max() for start in range(0, 50, 3)])
    columns = np.array([np.abs(array[:, start : start + 2]).max() for start in range(0, 30, 2)])
    np.testing.assert_array_equal(panel.row_marginal.values, rows)
    np.testing.assert_array_equal(panel.column_marginal.values, columns)
    assert np.isnan(rows[1])
    assert np.nanargmax(columns) == 3
    table = panel.as_table()
    assert table.columns[-2:] == ("|max| of the row", "|max| of the column")
    assert table.rows[3][-1] == columns[3]


def test_the_three_largest_rows_and_columns_are_named_by_their_own_indices():
    array = RNG.uniform(-1, 1, (500, 300)).astype(np.float32)
    array[[137, 4, 402], [299, 11, 150]] = [9, -8, 7]
    array[499, 0] = np.nan
    panel = page_of(array, run=Settings(tensor_cells=100)).panels[0]
    assert panel.grid.cell == (5, 3)
    assert panel.row_marginal.names == (((499.5) / 5, "499"), (137.5 / 5, "137"), (4.5 / 5, "4"))
    assert [text for _, text in panel.column_marginal.names] == ["0", "299", "11"]
    assert page_of(np.zeros((9, 9), np.float32)).panels[0].row_marginal.names == ()


@pytest.mark.parametrize("shape", [(7, 30), (30, 7), (40,), (16, 3, 3, 3)])
def test_small_sides_vectors_and_kernels_have_none(shape):
    panel = page_of(RNG.standard_normal(shape).astype(np.float32)).panels[0]
    assert panel.row_marginal is panel.column_marginal is None
    off = page_of(RNG.standard_normal((9, 9)).astype(np.float32), view=LayersView(profiles=False)).panels[0]
    assert off.row_marginal is off.column_marginal is None


def test_stacks_of_as_many_matrices_are_laid_out_alike_on_a_sheet_and_numbered():
    arrays = {
        f"layers.{layer}.mlp.experts.{name}": np.random.default_rng(layer).standard_normal(shape).astype(np.float32)
        for layer in range(3)
        for name, shape in (("gate_up_proj", (8, 16, 64)), ("down_proj", (8, 32, 16)))
    }
    found = set()
    for panel in draw(LayersView(each=False), arrays)["layer_overview"].panels:
        marks = panel.grid.marks
        assert [mark.name for mark in marks] == [f"expert {number}" for number in range(8)]
        tops, lefts = (sorted({mark.rects[0][axis] for mark in marks}) for axis in (0, 1))
        found.add(tuple((tops.index(mark.rects[0][0]), lefts.index(mark.rects[0][1])) for mark in marks))
    assert len(found) == 1


def test_complex_weights_are_drawn_by_size_and_the_picture_says_so():
    arrays = {"c.weight": np.full((4, 6), 3 - 4j, np.complex64), "r.weight": np.full((4, 6), -5.0)}
    pages = draw(LayersView(), arrays)
    assert pages["layers/c.weight"].panels[0].grid.quantity == "|weight|"
    assert pages["layers/r.weight"].panels[0].grid.quantity == "weight"
    assert [panel.grid.quantity for panel in pages["layer_overview"].panels] == ["|weight|", "weight"]
    (panel,) = draw(GridView(), arrays)["neural_grid"].panels
    assert panel.grid.notes == ("complex weights are drawn by their size: 1 tensor",)


@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (24, 12, 5), (9, 8, 2, 3, 3), (128, 64, 5, 5)])
@pytest.mark.parametrize("cells", [2048, 100])
def test_the_largest_channels_of_a_kernel_are_named_beside_its_bars(shape, cells):
    array = np.random.default_rng(0).normal(0, 0.02, shape)
    place = tuple(length * 2 // 3 for length in shape)
    array[place] = 3.0
    (panel,) = draw(LayersView(), {"conv.weight": array}, Settings(tensor_cells=cells))["layers/conv.weight"].panels
    flat = array.reshape(shape[0], -1)
    step, across = panel.grid.cell
    rows = [np.abs(flat[start : start + step]).max() for start in range(0, shape[0], step)]
    np.testing.assert_allclose(panel.row_marginal.values, rows)
    of_input = np.repeat(np.abs(array).max(axis=(0, *range(2, array.ndim))), flat.shape[1] // shape[1])
    columns = [of_input[start : start + across].max() for start in range(0, len(of_input), across)]
    np.testing.assert_allclose(panel.column_marginal.values, columns)
    assert panel.row_marginal.names[0][1] == str(place[0])
    at, name = panel.column_marginal.names[0]
    assert name == str(place[1])
    assert of_input[min(int(at * across), len(of_input) - 1)] == 3.0
