"""What sticks out is found where it was planted, first in its table, and nowhere else."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.numpy import save_file
from tests.support.corpus import cases, manifest, needs_cases, needs_corpus, real
from tests.support.renderers.pixels import pixels
from tests.support.tools import DIGITS, torch2grid
from tests.support.views.drawing import checkpoint_of, draw

import torch2grid as t2g
from torch2grid_builtin._views import outliers as outliers_module, robust
from torch2grid_builtin._views.outliers import LAYERS, UNITS, WEIGHTS, Outliers
from torch2grid_builtin._views.robust import largest_normal, limit, spread_of_weights, z_of_siblings, z_of_units
from torch2grid_builtin._views.stacks import joined
from torch2grid_core import LoadError, PluginManager, Settings, measure
from torch2grid_core.measures import Distribution, Summary
from torch2grid_core.pages import Bar, Heatmap, Text

SHAPES = {
    "self_attn.q_proj": (64, 64),
    "self_attn.o_proj": (64, 64),
    "mlp.up_proj": (192, 64),
    "mlp.down_proj": (64, 192),
}
DOWN, UP, Q = "mlp.down_proj.weight", "mlp.up_proj.weight", "self_attn.q_proj.weight"


def model(layers=12, std=0.02, seed=0):
    rng = np.random.default_rng(seed)
    found = {"model.embed_tokens.weight": rng.normal(0, std, (500, 64)).astype(np.float32)}
    for layer in range(layers):
        for name, shape in SHAPES.items():
            found[f"model.layers.{layer}.{name}.weight"] = rng.normal(0, std, shape).astype(np.float32)
        found[f"model.layers.{layer}.input_layernorm.weight"] = np.ones(64, np.float32)
    return found


def tables_of(arrays, view=None):
    """The three tables, each line as a dict."""
    page = draw(view or Outliers(), arrays)["outliers"]
    assert page.kind == "table"
    assert [table.columns for table in page.panels] == [WEIGHTS, UNITS, LAYERS]
    return [[dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in page.panels]


def outliers(table):
    return [line for line in table if line["Outlier"]]


@pytest.mark.parametrize("seed", range(3))
def test_one_weight(seed):
    arrays = model(seed=seed)
    arrays[f"model.layers.2.{DOWN}"][39, 170] = -5.0
    weights, units, layers = tables_of(arrays)
    (line,) = outliers(weights)
    assert line == weights[0]
    assert (line["Layer Name"], line["Index"], line["Weight"]) == (f"model.layers.2.{DOWN}", "[39, 170]", -5.0)
    assert 200 < -line["z"] < 260  # −5 / 0.02
    assert {(each["Unit"], each["Index"]) for each in outliers(units)} == {("row", 39), ("column", 170)}
    (line,) = outliers(layers)
    assert (line["Layer Name"], line["Figure"]) == (f"model.layers.2.{DOWN}", "kurtosis")


@pytest.mark.parametrize("seed", range(3))
def test_a_column(seed):
    arrays = model(seed=seed)
    arrays[f"model.layers.7.{Q}"][:, 33] *= 8
    weights, units, _ = tables_of(arrays)
    assert outliers(units) == [units[0]]
    assert (units[0]["Layer Name"], units[0]["Unit"], units[0]["Index"]) == (f"model.layers.7.{Q}", "column", 33)
    assert 5 < units[0]["Of median"] < 11
    assert "[" in weights[0]["Index"]
    assert weights[0]["Index"].endswith(", 33]")


@pytest.mark.parametrize("seed", range(3))
def test_a_row(seed):
    arrays = model(seed=seed)
    arrays[f"model.layers.3.{UP}"][123] *= 50
    _, units, _ = tables_of(arrays)
    assert (units[0]["Layer Name"], units[0]["Unit"], units[0]["Index"]) == (f"model.layers.3.{UP}", "row", 123)
    assert units[0]["Outlier"] == "yes"
    assert math.isclose(units[0]["Norm"], np.linalg.norm(arrays[f"model.layers.3.{UP}"][123].astype(float)), rel_tol=1e-9)
    assert not [line for line in outliers(units) if line["Unit"] == "row" and line != units[0]]


@pytest.mark.parametrize("scale", [1e-300, 1e-60, 1e-37, 1.0, 1e36, 1e60, 1e300])
@pytest.mark.parametrize("side", [32, 64])
def test_a_weight_of_any_size_that_float64_has(scale, side):
    rng = np.random.default_rng(4)
    arrays = {f"l.{layer}.w": rng.normal(0, 1, (side, side)) * scale for layer in range(4)}
    arrays["l.2.w"][3, 5] = 400 * scale
    weights, *_ = tables_of(arrays)
    assert [(line["Layer Name"], line["Index"]) for line in outliers(weights)] == [("l.2.w", "[3, 5]")]


@pytest.mark.parametrize("layers", [4, 12, 40])
@pytest.mark.parametrize("factor", [2.5, 0.4])
def test_a_layer(layers, factor):
    arrays = model(layers)
    for name in arrays:
        if name.startswith("model.layers.1."):
            arrays[name] = arrays[name] * np.float32(factor)
    weights, units, found = tables_of(arrays)
    assert not outliers(weights)
    assert not outliers(units)
    assert {line["Layer Name"] for line in outliers(found)} == {name for name in arrays if name.startswith("model.layers.1.")}
    assert [line["Outlier"] for line in found[:5]] == ["yes"] * 5
    assert {line["Siblings"] for line in found} == {layers}
    assert all(line["z"] > 0 for line in outliers(found)) == (factor > 1)


@pytest.mark.parametrize(
    "name",
    [
        "conv{}.weight",
        "rnn.weight_hh_l{}",
        "params/encoderblock_{}/mlp/kernel",
        "layer_{}.w.weight",
        "stage1.block{}.w",
        "h{}/w",
    ],
)
def test_numbers_of_siblings_may_be_parts_of_words(name):
    rng = np.random.default_rng(13)
    arrays = {name.format(layer): rng.normal(0, 0.02, (32, 32)) * (5 if layer == 4 else 1) for layer in range(9)}
    first, *others = tables_of(arrays)[2]
    assert (first["Layer Name"], first["Outlier"], first["Siblings"]) == (name.format(4), "yes", 9)
    assert not outliers(others)
    assert isinstance(draw(Outliers(), arrays)["outliers_overview"].panels[0], Heatmap)


def test_biases_and_other_tensors_are_compared_and_never_outliers():
    arrays, rng = model(), np.random.default_rng(14)
    for layer in range(12):
        for name in ("mlp.bias", "bn.running_mean", "inv_freq", "position_bias_table"):
            arrays[f"model.layers.{layer}.{name}"] = rng.normal(0, 0.02 * (900 if layer == 5 else 1), 64)
    page = draw(Outliers(), arrays)["outliers"]
    lines = [dict(zip(LAYERS, row, strict=True)) for row in page.panels[2].rows]
    assert {line["Layer Name"] for line in lines[:4]} == {f"model.layers.5.{name}" for name in
        ("mlp.bias", "bn.running_mean", "inv_freq", "position_bias_table")}  # fmt: skip
    assert not any(line["Outlier"] for line in lines)
    assert "; 4 in biases, statistics, tables and other tensors, not judged" in page.panels[2].title
    arrays[f"model.layers.3.{UP}"] *= 4
    *_, layers = tables_of(arrays)
    assert (layers[0]["Layer Name"], layers[0]["Outlier"]) == (f"model.layers.3.{UP}", "yes")


def test_a_layer_among_three_comes_first():
    arrays = model(3)
    for name in arrays:
        if name.startswith("model.layers.1."):
            arrays[name] = arrays[name] * np.float32(2.5)
    *_, found = tables_of(arrays)
    assert {line["Layer Name"] for line in found[:5]} == {name for name in arrays if name.startswith("model.layers.1.")}
    *_, found = tables_of({name: array for name, array in arrays.items() if ".2." not in name})
    assert found == []  # of two, neither is the usual one


def test_nan_and_inf_come_first_and_hide_nothing():
    arrays = model()
    arrays[f"model.layers.3.{UP}"][[100, 20, 21], [4, 63, 0]] = np.nan
    arrays["model.layers.5.input_layernorm.weight"][9] = -np.inf
    arrays[f"model.layers.2.{DOWN}"][39, 170] = 5.0
    arrays["counts"] = np.full((3, 5), np.nan)
    weights, units, layers = tables_of(arrays)
    assert [(line["Layer Name"], line["Index"], line["Outlier"], line["z"]) for line in weights[:3]] == [
        (f"model.layers.3.{UP}", "[20, 63]", "3 NaN, the first", None),
        ("model.layers.5.input_layernorm.weight", "[9]", "1 Inf", None),
        ("counts", "[0, 0]", "15 NaN, the first", None),
    ]
    assert math.isnan(weights[0]["Weight"])
    assert weights[1]["Weight"] == -math.inf
    assert weights[3]["Index"] == "[39, 170]"
    assert units[0]["Layer Name"] == layers[0]["Layer Name"] == f"model.layers.2.{DOWN}"


def test_a_layer_that_is_nan_throughout_has_its_cell_and_its_bar_the_whole_count():
    """The worst layer is in the picture of layers, and a count of thousands is the same beside the bar as in the table."""
    arrays = model(6)
    arrays[f"model.layers.1.{UP}"][:] = np.nan
    pages = draw(Outliers(), arrays)
    layers, weights, _ = pages["outliers_overview"].panels
    column = [name for _, name in layers.column_names].index(UP.removesuffix(".weight"))
    assert layers.grid.shape == (6, 5)
    assert np.argwhere(np.isnan(layers.grid.values)).tolist() == [[1, column]]
    assert pages["outliers"].panels[0].rows[0][-1] == "12,288 NaN, the first"
    assert weights.flags == {0: "12,288 NaN"}


def test_one_nan_and_one_inf_are_in_the_picture_of_layers_also_of_many_kinds():
    arrays = {
        f"l.{layer}.k{kind}.w": np.random.default_rng(layer * 40 + kind).normal(0, 1, (16, 16))
        for layer in range(4)
        for kind in range(40)
    }
    arrays["l.2.k33.w"][3, 4], arrays["l.1.k5.w"][0, 0] = np.nan, np.inf
    layers = draw(Outliers(), arrays)["outliers_overview"].panels[0]
    columns = [name for _, name in layers.column_names]
    assert len(columns) == 30
    assert {(int(row), columns[column]) for row, column in np.argwhere(np.isnan(layers.grid.values))} == {
        (2, "k33.w"),
        (1, "k5.w"),
    }


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_integer_matrices_are_judged(dtype):
    rng = np.random.default_rng(0)
    arrays = {f"l.{layer}.w": rng.integers(20, 40, (64, 64)).astype(dtype) for layer in range(6)}
    arrays["l.2.w"][40] = 1
    arrays["l.3.w"][5] = 120
    arrays["l.4.w"][7, 9] = np.iinfo(dtype).max
    if dtype == "int8":  # twice the usual rows are none
        arrays["l.3.w"][[row for row in range(64) if row != 5]] //= 4
    weights, units, _ = tables_of(arrays)
    assert ("l.3.w", "row", 5) in {(line["Layer Name"], line["Unit"], line["Index"]) for line in outliers(units)}
    if np.iinfo(dtype).max > 1000:
        assert (weights[0]["Layer Name"], weights[0]["Index"], weights[0]["Outlier"]) == ("l.4.w", "[7, 9]", "yes")
    floats = {f"m.{layer}.w": rng.normal(0, 0.02, (32, 32)) for layer in range(3)}
    weights, *_ = tables_of({**arrays, **floats}, Outliers(count=4))
    assert {line["Layer Name"][0] for line in weights if not line["Outlier"]} == {"m"}  # these come first by size


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["weight", "mask", "position_ids", "scale", "index", "pos_embed", "bias", "count"]),
            st.sampled_from(["float32", "int8", "int64", "uint8", "bool"]),
            st.sampled_from([(64,), (4, 20), (20, 20)]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_no_tensor_is_left_out_in_silence(drawn):
    """A tensor of 16 different numbers or more has a line among its like, or the title says why it has none."""
    rng = np.random.default_rng(1)
    arrays = {
        f"l.{place}.{name}": rng.integers(0, 2 + 50 * (kind != "bool"), shape).astype(kind)
        for place, (name, kind, shape) in enumerate(drawn)
    }
    for name, array in arrays.items():
        (table, *_) = draw(Outliers(count=400), {name: array})["outliers"].panels
        told = name in table.title or any(row[0] == name for row in table.rows)
        assert told or name.endswith("count"), (name, array.dtype, array.shape, table.title)
    title = draw(Outliers(count=4000), arrays)["outliers"].panels[0].title
    rows = {row[0] for row in draw(Outliers(count=4000), arrays)["outliers"].panels[0].rows}
    silent = [name for name in arrays if name not in rows and not name.endswith("count")]
    said = [int(more or 0) + 1 for more in re.findall(r"left out as .*?: [^ ;]+(?: and (\d+) more)?", title)]
    assert sum(said) == len(silent)


def test_titles_count_what_is_not_listed():
    arrays = model()
    for row in range(5):
        arrays[f"model.layers.3.{UP}"][row * 7, row] = 5
    pages = draw(Outliers(count=4), arrays)["outliers"].panels
    assert [page.title for page in pages][:2] == [
        "Largest weights: at least 4 beyond z = 20",
        "Rows and columns: 10 beyond z = 20, the first 4 of them here",
    ]
    arrays["bias"] = np.full(3, np.inf)
    first = draw(Outliers(count=1), arrays)["outliers"].panels[0]
    assert first.title == "Largest weights: NaN or Inf; at least 1 beyond z = 20, not listed"
    assert len(first.rows) == 1


def test_kernels_are_indexed_in_all_their_dimensions_and_have_channels():
    rng = np.random.default_rng(0)
    arrays = {"conv.weight": rng.normal(size=(32, 24, 3, 3))}
    arrays["conv.weight"][:, 11] *= 30
    arrays["conv.weight"][5, 11, 2, 1] = 900
    weights, units, _ = tables_of(arrays)
    assert (weights[0]["Index"], weights[0]["Weight"]) == ("[5, 11, 2, 1]", 900)
    assert (units[0]["Unit"], units[0]["Index"]) == ("input channel", 11)


def test_tied_tensors_count_once_and_count_says_how_many_lines():
    arrays = model(3)
    arrays["model.embed_tokens.weight"][7, 9] = 3
    arrays["lm_head.weight"] = arrays["model.embed_tokens.weight"]
    checkpoint = checkpoint_of(arrays, aliases={"lm_head.weight": "model.embed_tokens.weight"})
    weights, units, layers = tables_of(checkpoint, Outliers(count=4))
    assert [len(weights), len(units), len(layers)] == [4, 4, 4]
    assert [line["Layer Name"] for line in outliers(weights)] == ["model.embed_tokens.weight"]


def test_nothing_to_compare():
    page, picture = draw(Outliers(), {"steps": np.arange(4), "bias": np.zeros(3, np.float32)}).values()
    assert [table.rows for table in page.panels] == [(), (), ()]
    assert all("nothing to compare" in table.title for table in page.panels)
    assert [type(panel) for panel in picture.panels] == [Text, Text, Text]
    weights, *_ = tables_of({"vector": np.array([*np.linspace(-1, 1, 99), 300.0])})
    assert weights[0]["Index"] == "[99]"
    assert outliers(weights) == []  # long tails are usual of vectors
    assert tables_of({"half.weight": np.zeros((16, 16)), "same.weight": np.full((16, 16), 7.0)})[0] == []
    pruned = np.zeros((64, 64))
    pruned[3, 4] = 1
    assert tables_of({"pruned.weight": pruned})[0][0]["Index"] == "[3, 4]"


@pytest.mark.parametrize("shape", [(8,), (2,), (2, 2), (3, 3), (1, 12), (1, 1, 3, 1)])
def test_the_largest_weight_of_a_small_tensor_is_listed_or_the_title_says_so(shape):
    rng = np.random.default_rng(12)
    arrays = {f"l.{layer}.w": rng.normal(0, 1, (64, 64)) for layer in range(3)}
    arrays["small"] = rng.normal(0, 1, shape)
    arrays["small"].reshape(-1)[1] = 9000.0
    for count in (4, 20, 400):
        (table, *_) = draw(Outliers(count=count), arrays)["outliers"].panels
        assert any(row[0] == "small" for row in table.rows) or "; larger ones in" in table.title
    (line,) = (each for each in tables_of({"small": arrays["small"]})[0] if each["Weight"] == 9000.0)
    assert not line["Outlier"]


@pytest.mark.parametrize("shape", [(512,), (6, 500), (500, 6)])
def test_what_is_not_judged_is_listed_and_the_title_says_so(shape):
    """A vector, and a matrix of few rows or columns, have tails of any length: its weight is listed, after the outliers."""
    rng = np.random.default_rng(11)
    arrays = {f"l.{layer}.w": rng.normal(0, 0.02, (64, 64)).astype(np.float32) for layer in range(3)}
    arrays["l.0.b"] = rng.normal(0, 0.02, shape).astype(np.float32)
    arrays["l.0.b"].reshape(-1)[5] = 5
    what = "vectors and matrices of fewer than 8 rows or columns"
    page = draw(Outliers(), arrays)["outliers"]
    larger = "" if len(shape) == 1 else f"; larger ones in {what}"  # than the last of the matrices that are listed before
    assert page.panels[0].title == f"Largest weights: none beyond z = 20; 1 in {what}, not judged{larger}"
    first, *_ = tables_of(arrays)[0]
    assert (first["Layer Name"], first["Weight"], first["Outlier"]) == ("l.0.b", 5.0, "")
    assert first["z"] > 100
    arrays["l.1.w"][3, 4] = 1.0  # sticks out less, and is judged
    weights = tables_of(arrays)[0]
    assert [(line["Layer Name"], line["Outlier"]) for line in weights[:2]] == [("l.1.w", "yes"), ("l.0.b", "")]
    page = draw(Outliers(), arrays)["outliers"]
    assert page.panels[0].title == f"Largest weights: 1 beyond z = 20; 1 in {what}, not judged{larger}"
    bars = draw(Outliers(), arrays)["outliers_overview"].panels[1]
    assert [label.endswith("(not judged)") for label in bars.labels[:3]] == [False, True, False]
    alone = draw(Outliers(), {"l.0.b": arrays["l.0.b"]})["outliers"].panels[0]
    assert alone.title == f"Largest weights: {what} alone, not judged; 1 beyond z = 20"


@pytest.mark.parametrize(("options", "wrong"), [({"count": 0}, "count"), ({"z": 0}, "z"), ({"z": math.nan}, "z")])
def test_wrong_options(options, wrong):
    with pytest.raises(ValueError, match=wrong):
        Outliers(**options)


def test_the_page_shows_the_layer_and_the_weight(tmp_path):
    arrays = model()
    for name in arrays:
        if name.startswith("model.layers.4."):
            arrays[name] = arrays[name] * np.float32(2.5)
    arrays[f"model.layers.9.{DOWN}"][1, 2] = np.nan
    layers, weights, units = draw(Outliers(), arrays)["outliers_overview"].panels
    assert isinstance(layers, Heatmap)
    assert layers.grid.shape == (12, 5)
    beyond = layers.grid.values > layers.scale.high
    assert np.argwhere(beyond).tolist() == [[4, kind] for kind in range(5)]
    assert [name for _, name in layers.row_names] == [str(layer) for layer in range(12)]
    assert layers.column_names[0][1] == Q.removesuffix(".weight")
    assert isinstance(weights, Bar)
    assert weights.labels[0] == f"model.layers.9.{DOWN} [1, 2]"
    assert weights.flags == {0: "1 NaN"}
    assert isinstance(units, Bar)
    assert units.marks == {"outlier": 20.0}


def test_the_command(tmp_path):
    state = {name: torch.from_numpy(array).to(torch.bfloat16) for name, array in model().items()}
    state[f"model.layers.2.{DOWN}"][39, 170] = 5.0
    torch.save(state, tmp_path / "planted.pth")
    run = torch2grid("planted.pth", "--outliers", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    start = lines.index("Largest weights: 1 beyond z = 20")
    assert re.split(r"\s{2,}", lines[start + 3])[:3] == [f"model.layers.2.{DOWN}", "[39, 170]", "5"]
    assert lines[-1] == "grids/outliers_overview.png"
    assert min(pixels((tmp_path / "grids/outliers_overview.png").read_bytes()).shape[:2]) > 300
    alone, spread = (_as_csv(tmp_path, jobs) for jobs in (1, 3))
    assert alone == spread
    assert len(alone.splitlines()) >= 12


def _as_csv(folder, jobs):
    words = ("--view", "outliers:count=3", "--format", "csv", "-o", f"jobs{jobs}", "-j", jobs)
    assert torch2grid("planted.pth", *words, cwd=folder).returncode == 0
    return (folder / f"jobs{jobs}/outliers.csv").read_text()


def _healthy():
    """Each healthy real checkpoint, and the healthy cases."""
    manager = PluginManager.discover()
    for entry in manifest("real"):
        try:
            yield entry["file"], manager.open(str(real(entry["file"])))
        except LoadError:
            continue
    for path in sorted(cases("found/healthy").iterdir()):
        yield path.name, manager.open(str(path))


@needs_corpus
@needs_cases
def test_healthy_models_have_at_most_one_line_for_a_hundred_tensors():
    """Each of them, and all together; of fewer than a hundred tensors, one line. It is Silero's, of four files."""
    tensors, found = 0, []
    for name, checkpoint in _healthy():
        tensors += len(checkpoint)
        lines = [line for table in tables_of(checkpoint) for line in outliers(table) if line["z"] is not None]
        assert len(lines) <= max(1, len(checkpoint) / 100), (name, lines)
        found += lines
    assert tensors > 1000
    assert len(found) <= tensors / 200
    assert {(line["Unit"], line["Index"]) for line in found} == {("output channel", 53)}


_INITIAL = {
    "normal": lambda rng, shape: rng.normal(0, 0.02, shape),
    "Kaiming": lambda rng, shape: rng.uniform(-1, 1, shape) / math.sqrt(math.prod(shape[1:])),
    "Xavier": lambda rng, shape: rng.normal(0, math.sqrt(2 / (shape[0] + math.prod(shape[1:]))), shape),
    "truncated": lambda rng, shape: np.clip(rng.normal(0, 0.02, shape), -0.04, 0.04),
    "orthogonal": lambda rng, shape: (
        np.linalg.qr(rng.normal(size=(300, 300)))[0].reshape(-1)[: math.prod(shape)].reshape(shape)
    ),
    "Laplace": lambda rng, shape: rng.laplace(0, 0.05, shape),
    "Student": lambda rng, shape: rng.standard_t(4, shape) * 0.02,
    "rows of unlike size": lambda rng, shape: (
        rng.normal(0, 0.02, shape) * rng.lognormal(0, 0.6, (shape[0], *[1] * (len(shape) - 1)))
    ),
    "sparse": lambda rng, shape: rng.normal(0, 0.02, shape) * (rng.random(shape) < 0.05),
    "nearly empty": lambda rng, shape: rng.normal(0, 0.02, shape) * (rng.random(shape) < 0.03),
}
_FILLED = ["normal", "Kaiming", "Xavier", "truncated", "orthogonal", "Laplace"]  # the others may have larger ones by chance


@pytest.mark.parametrize("kind", _INITIAL)
def test_random_models_have_at_most_one_line_for_a_hundred_tensors(kind):
    rng = np.random.default_rng(len(kind))
    shapes = [(48, 96), (96, 48), (32, 96), (64, 16, 3, 3), (300, 48), (24, 24), (12, 40)]
    lines, tensors = 0, 0
    for _ in range(6):
        layers = int(rng.integers(3, 9))
        scales = rng.lognormal(0, 0.3, layers)  # of one size no layer stays while it is trained
        arrays = {
            f"layers.{layer}.{place}.weight": _INITIAL[kind](rng, shape) * scales[layer]
            for layer in range(layers)
            for place, shape in enumerate(shapes)
        }
        of_this = sum(len(outliers(table)) for table in tables_of(arrays))
        assert of_this <= 1
        lines, tensors = lines + of_this, tensors + len(arrays)
    assert lines <= tensors / 100


@given(st.data(), st.integers(0, 2**32 - 1), st.sampled_from(["weight", "vector", "row", "column", "layer"]))
def test_the_only_change_is_the_first_line_and_nothing_that_did_not_change_has_one(data, seed, planted):
    """Of a difference that is 0 elsewhere, whatever the shapes, the place and the size of what changed."""
    rng = np.random.default_rng(seed)
    layers, rows, columns = (data.draw(st.integers(*range_)) for range_ in ((3, 9), (16, 90), (16, 90)))
    arrays = {f"layers.{layer}.fc.weight": np.zeros((rows, columns)) for layer in range(layers)}
    arrays |= {f"layers.{layer}.norm.weight": np.zeros(rows) for layer in range(layers)}
    layer, row, column = (int(rng.integers(each)) for each in (layers, rows, columns))
    name = f"layers.{layer}.{'norm' if planted == 'vector' else 'fc'}.weight"
    place = {"weight": (row, column), "vector": row, "row": row, "column": np.s_[:, column], "layer": ...}[planted]
    arrays[name][place] = rng.choice([-1, 1]) * rng.uniform(0.5, 1, arrays[name][place].shape) * 10.0 ** rng.integers(-9, 9)
    weights, units, found = tables_of(arrays)
    assert {line["Layer Name"] for table in (weights, units, found) for line in table} == {name}
    assert all(line["Weight"] for line in weights)
    (line,) = found
    assert (line["Figure"], line["Median of siblings"], line["z"], line["Outlier"]) == ("std", 0, math.inf, "yes")
    if planted in ("weight", "vector"):
        (line,) = weights
        assert (line["Index"], line["Outlier"]) == (f"[{row}]" if planted == "vector" else f"[{row}, {column}]", "yes")
        assert [(each["Unit"], each["Index"]) for each in units] == (planted == "weight") * [("row", row), ("column", column)]
        assert all(each["Outlier"] == "yes" for each in units)
    elif planted == "layer":
        assert not outliers(weights)
        assert not outliers(units)
    else:
        assert (units[0]["Unit"], units[0]["Index"]) == (planted, {"row": row, "column": column}[planted])
        assert outliers(units) == units[:1]
    layers_panel, *bars = draw(Outliers(), arrays)["outliers_overview"].panels
    beyond = np.argwhere(layers_panel.grid.values > layers_panel.scale.high).tolist()
    assert [[layer, name] for layer, name in beyond] == [[layer, int(planted == "vector")]]
    assert np.count_nonzero(layers_panel.grid.values) == 1
    assert all(text == "z = ∞" for bar in bars if isinstance(bar, Bar) for text in bar.flags.values())


@pytest.mark.parametrize(
    ("of", "kept"), [("weights", 0.5), ("weights", 0.1), ("weights", 0.01), ("rows", 0.5), ("rows", 0.1), ("columns", 0.1)]
)
def test_what_pruning_left_does_not_stick_out(of, kept):
    """Unless it is hardly anything: of so few there is no telling what is usual."""
    lines, tensors = 0, 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        shapes = [(300, 200), (200, 300), (64, 64, 3, 3), (120, 90)]
        names = [(f"layers.{layer}.{place}.weight", shape) for layer in range(6) for place, shape in enumerate(shapes)]
        arrays = {name: rng.normal(0, 0.02, shape) for name, shape in names}
        for array in arrays.values():
            if of == "weights":
                array *= rng.random(array.shape) < kept
            else:
                axis = ("rows", "columns").index(of)
                length = array.shape[axis]
                gone = rng.permutation(length)[round(length * kept) :]
                np.moveaxis(array, axis, 0)[gone] = 0
        lines += sum(len(outliers(table)) for table in tables_of(arrays))
        tensors += len(arrays)
    assert lines <= tensors / 100


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 31])
def test_rows_that_changed_are_the_rows_that_are_listed(count):
    """A few of them are outliers, and more, one weight of each, are listed though all of them are alike."""
    rng = np.random.default_rng(count)
    arrays = {f"layers.{layer}.fc.weight": np.zeros((64, 64)) for layer in range(6)}
    places = rng.permutation(64)[:count]
    arrays["layers.3.fc.weight"][places, 5] = 1
    units = [line for line in tables_of(arrays, Outliers(count=count + 1))[1] if line["Unit"] == "row"]
    assert {(line["Layer Name"], line["Index"]) for line in units} == {("layers.3.fc.weight", int(each)) for each in places}
    assert {line["Outlier"] for line in units} == {"yes" if count <= 64 // 32 else ""}


@pytest.mark.parametrize("count", [7, 9, 12, 20, 30])
@pytest.mark.parametrize("factor", [8, 50])
def test_rows_that_hide_one_another_are_the_first_lines(count, factor):
    """Too many to be outliers: they are listed by their size, beside the median row."""
    rng = np.random.default_rng(count)
    arrays = {f"layers.{layer}.fc.weight": rng.normal(0, 0.02, (64, 64)) for layer in range(6)}
    places = rng.permutation(64)[:count]
    arrays["layers.3.fc.weight"][places] *= factor
    units = tables_of(arrays, Outliers(count=count))[1]
    assert {(line["Layer Name"], line["Unit"], line["Index"]) for line in units} == {
        ("layers.3.fc.weight", "row", int(place)) for place in places
    }
    ratios = [line["Of median"] for line in units if not line["Outlier"]]
    assert ratios == sorted(ratios, reverse=True)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(_FILLED),
    st.sampled_from(["weight", "column", "row", "layer"]),
)
def test_what_is_planted_is_the_first_line_however_the_weights_began(seed, kind, planted):
    rng = np.random.default_rng(seed)
    arrays = {f"layers.{layer}.fc.weight": _INITIAL[kind](rng, (64, 96)) for layer in range(6)}
    arrays = {name: array * 0.02 / array.std() for name, array in arrays.items()}
    array = arrays["layers.3.fc.weight"]
    if planted == "weight":
        array[11, 40] = 5
    elif planted == "column":
        array[:, 40] *= 8
    elif planted == "row":
        array[11] *= 50
    else:
        array *= 2.5
    weights, units, layers = tables_of(arrays)
    first = {"weight": weights, "column": units, "row": units, "layer": layers}[planted][0]
    assert first["Layer Name"] == "layers.3.fc.weight"
    place = {"weight": ("Index", "[11, 40]"), "column": ("Index", 40), "row": ("Index", 11), "layer": ("Siblings", 6)}[planted]
    assert first[place[0]] == place[1]


def test_a_long_tail_is_listed_and_no_outlier():
    """As Silero's kernels: sizes fall evenly from the first one, and the table says from where on one would stick out."""
    rng = np.random.default_rng(2)
    arrays = {f"layers.{layer}.fc.weight": rng.normal(0, 0.02, (64, 96)) for layer in range(3)}
    array = arrays["layers.1.fc.weight"].reshape(-1)
    array[rng.permutation(array.size)[:80]] = 4 / np.arange(1, 81)
    page, picture = draw(Outliers(), arrays).values()
    assert page.panels[0].title == "Largest weights: none beyond z = 20 and the tail of its tensor; 6 beyond z alone"
    first = tables_of(arrays)[0][0]
    assert (first["Weight"], first["Outlier"]) == (4, "")
    assert first["z"] < first["Limit"]
    assert picture.panels[1].labels[0].endswith(f"(limit {first['Limit']:,.0f})")
    array[array.argmax()] = first["Limit"] * first["Spread"] * 1.1
    assert tables_of(arrays)[0][0]["Outlier"] == "yes"


@given(st.data(), st.integers(0, 2**32 - 1), st.sampled_from(_FILLED), st.booleans(), st.floats(0, 0.5))
def test_weights_that_stick_out_together_do_not_hide_one_another(data, seed, kind, both, unlike):
    """Of one size or of several, on one side or on both: each of them is an outlier, and nothing else is."""
    rng = np.random.default_rng(seed)
    shape = data.draw(st.sampled_from([(16, 16), (64, 64), (40, 160), (32, 8, 3, 3), (256, 300)]))
    size = math.prod(shape)
    count = data.draw(st.integers(1, max(size // 500, 7)))
    arrays = {f"layers.{layer}.fc.weight": _INITIAL[kind](rng, (40, 60) if layer else shape) for layer in range(6)}
    arrays = {name: array * 0.02 / array.std() for name, array in arrays.items()}
    places = rng.permutation(size)[: count * (1 + both)]
    planted = rng.uniform(5 - 5 * unlike, 5 + 5 * unlike, len(places))
    planted[count:] *= -1
    arrays["layers.0.fc.weight"].reshape(-1)[places] = planted
    weights = tables_of(arrays, Outliers(count=2 * len(places)))[0]
    assert {line["Index"] for line in outliers(weights)} == {
        f"[{', '.join(str(int(each)) for each in np.unravel_index(place, shape))}]" for place in places
    }
    assert {line["Layer Name"] for line in outliers(weights)} == {"layers.0.fc.weight"}
    assert max(line["Limit"] for line in outliers(weights)) < 125  # half of what was planted


@given(st.data(), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([8.0, 50.0]))
def test_rows_and_columns_that_stick_out_together_do_not_hide_one_another(data, seed, columns, factor):
    rng = np.random.default_rng(seed)
    length = data.draw(st.sampled_from([20, 64, 200, 1000, 3000]))
    count = data.draw(st.integers(1, max(length // 64, min(7, length // 10))))
    arrays = {f"layers.{layer}.fc.weight": rng.normal(0, 0.02, (64, 48)) for layer in range(3)}
    array = rng.normal(0, 0.02, (length, 64))
    places = rng.permutation(length)[:count]
    array[places] *= factor
    arrays["layers.1.fc.weight"] = array.T if columns else array
    found = outliers(tables_of(arrays, Outliers(count=200))[1])
    unit = "column" if columns else "row"
    assert {line["Index"] for line in found if line["Unit"] == unit} == set(places.tolist())
    assert all(line["Limit"] == 20 for line in found if line["Unit"] == unit and length >= 200)  # of fewer a tail is less known


def test_a_row_that_sticks_out_leaves_a_limit_that_its_weights_are_beyond():
    """Half of the weights of a row fifty times as large stick out of their matrix, evenly down to the others."""
    arrays = {f"layers.{layer}.fc.weight": np.random.default_rng(layer).normal(0, 0.02, (1000, 96)) for layer in range(3)}
    arrays["layers.1.fc.weight"][321] *= 50
    weights = outliers(tables_of(arrays, Outliers(count=96))[0])
    assert 30 < len(weights) < 96
    assert {line["Index"].partition(",")[0] for line in weights} == {"[321"}
    assert weights[0]["Limit"] < 60


def test_the_largest_weights_are_listed_behind_the_outliers():
    rng = np.random.default_rng(5)
    arrays = {f"layers.{layer}.fc.weight": rng.normal(0, 0.02 * 1.1**layer, (64, 96)) for layer in range(5)}
    arrays["layers.0.fc.weight"][3, 4] = 1.0
    arrays["norm.weight"] = 1 + rng.normal(0, 0.02, 96)
    page = draw(Outliers(count=30), arrays)["outliers"]
    assert page.panels[0].title == f"Largest weights: 1 beyond z = 20; larger ones in {outliers_module._LOOSE}"
    weights = tables_of(arrays, Outliers(count=30))[0]
    assert [line["Layer Name"] for line in outliers(weights)] == ["layers.0.fc.weight"]
    others = [abs(line["Weight"]) for line in weights[1:]]
    every = np.sort(np.abs(np.concatenate([arrays[name].ravel() for name in arrays if name.startswith("layers")])))[::-1]
    np.testing.assert_array_equal(others, every[1:30])
    assert {len(line["Index"].split(",")) for line in weights} == {2}  # of matrices
    del arrays["layers.0.fc.weight"]
    arrays["layers.0.fc.weight"] = np.zeros((64, 96))
    arrays["layers.0.fc.weight"].reshape(-1)[::7] = rng.uniform(-1e-3, 1e-3, 878)
    arrays["layers.0.fc.weight"][3, 4] = 0.05
    title = draw(Outliers(count=1), arrays)["outliers"].panels[0].title
    assert title == "Largest weights: at least 1 beyond z = 20; larger ones that stick out less are not listed"


def test_no_limit_is_beyond_a_thousand():
    rng = np.random.default_rng(6)
    arrays = {f"layers.{layer}.fc.weight": rng.normal(0, 0.02, (64, 96)) * rng.lognormal(0, 3, (64, 96)) for layer in range(3)}
    for table in tables_of(arrays)[:2]:
        assert all(line["Limit"] <= 1000 for line in table)


@pytest.mark.parametrize("freedom", [2, 3, 4])
def test_how_often_long_tails_have_outliers(freedom):
    """Of Student's t. Rows and columns of the longest are outliers more often; the documentation says how often."""
    lines, tensors = np.zeros(3), 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        arrays = {f"layers.{layer}.fc.weight": rng.standard_t(freedom, (64, 64)) * 0.02 for layer in range(100)}
        lines += [len(outliers(table)) for table in tables_of(arrays)]
        tensors += len(arrays)
    weights, units, layers = lines / tensors
    assert weights <= 0.01
    assert units <= {2: 0.08, 3: 0.04, 4: 0.02}[freedom]
    assert not layers


def test_each_expert_has_a_column():
    rng = np.random.default_rng(7)
    arrays = {
        f"layers.{layer}.experts.{expert}.w1.weight": rng.normal(0, 0.02, (24, 16)) for layer in range(3) for expert in range(4)
    }
    arrays["layers.1.experts.2.w1.weight"] *= 3
    stacks = {
        f"layers.{layer}.experts.w1": np.stack([arrays[f"layers.{layer}.experts.{each}.w1.weight"] for each in range(4)])
        for layer in range(3)
    }
    for model, names in ((arrays, "experts.{}.w1"), (stacks, "w1[{}]")):
        panel = draw(Outliers(), model)["outliers_overview"].panels[0]
        assert [name.removesuffix(".weight") for _, name in panel.column_names] == [names.format(each) for each in range(4)]
        assert np.argwhere(panel.grid.values > panel.scale.high).tolist() == [[1, 2]]


def test_of_many_experts_the_page_names_those_that_differ_most(tmp_path):
    rng = np.random.default_rng(8)
    arrays = {
        f"layers.{layer}.experts.{each}.w1.weight": rng.normal(0, 0.02, (16, 12)) for layer in range(3) for each in range(64)
    }
    arrays["layers.1.experts.41.w1.weight"] *= 4
    panel = draw(Outliers(), arrays)["outliers_overview"].panels[0]
    assert panel.title.endswith("; 34 columns that differ less are not shown")
    names = [name for _, name in panel.column_names]
    assert np.argwhere(panel.grid.values > panel.scale.high).tolist() == [[1, names.index("experts.41.w1")]]
    t2g.outliers(arrays).save(tmp_path / "page.svg")
    assert all(name in (tmp_path / "page.svg").read_text() for name in names)  # there is room for each of them


def test_the_demo_has_none():
    assert not any(map(outliers, tables_of(PluginManager.discover().open(str(DIGITS)))))


def distribution(values):
    found = Distribution()
    found.update(values)
    return found


def test_spreads_are_the_std_of_normal_numbers():
    values = np.random.default_rng(0).normal(3, 0.5, 200_000)
    median, spread, reach = spread_of_weights(distribution(values))
    assert math.isclose(median, 3, rel_tol=0.01)
    assert math.isclose(spread, 0.5, rel_tol=0.05)
    assert 5 < reach / spread < 8  # the largest of so many normal numbers is beyond 5.5 in one case of a hundred
    _, z = z_of_units(values)
    assert math.isclose(float(np.std(z)), 1, rel_tol=0.05)


@given(st.integers(16, 400), st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6), st.floats(3, 1e6))
def test_one_unit_cannot_change_the_spread(count, seed, size, factor):
    sizes = np.random.default_rng(seed).uniform(0.9, 1.1, count) * size
    sizes[0] *= factor
    _, z = z_of_units(sizes)
    assert int(np.argmax(z)) == 0
    assert z[0] >= 0.9 * (0.9 * factor - 1.1) / (1.4826 * 0.1 + 0.1)
    np.testing.assert_allclose(z, z_of_units(sizes * 8)[1], rtol=1e-9, atol=1e-9)  # whatever the unit of measurement


def test_units_that_are_all_the_same_or_zero_or_not_finite():
    assert z_of_units(np.zeros(20))[1].tolist() == [0.0] * 20
    assert z_of_units(np.ones(20))[1].tolist() == [0.0] * 20
    assert z_of_units(np.full(3, np.nan))[1].tolist() == [0.0] * 3
    median, z = z_of_units(np.array([*[0.0] * 19, 1.0]))
    assert (median, z.tolist()) == (0.0, [*[0.0] * 19, math.inf])
    median, z = z_of_units(np.array([*[0.0] * 15, *[1.0] * 4, 9.0]))  # those that are left, among themselves
    assert (median, z[15:].tolist()) == (1.0, [*[0.0] * 4, 160.0])
    ill = np.array([*[1.0] * 19, 9.0, np.nan, np.inf])
    assert z_of_units(ill)[1][-3:].tolist() == [160.0, 0.0, 0.0]


def test_siblings_by_ratio():
    median, z = z_of_siblings([2.0, 2.0, 2.0, 4.0, 1.0])
    assert median == 2
    assert z[3] == -z[4] == pytest.approx(math.log(2) / 0.04)
    assert z_of_siblings([0.0, 0.0, 0.0, 1.0]) == (0.0, [0.0, 0.0, 0.0, math.inf])
    assert z_of_siblings([0.0] * 4) == (0.0, [0.0] * 4)
    median, z = z_of_siblings([0.0] * 6 + [2.0, 2.0, 4.0])  # part of a model was trained: its layers are compared
    assert (median, z[:8]) == (2.0, [0.0] * 8)
    assert z[8] == pytest.approx(math.log(2) / 0.04)
    assert z_of_siblings([0.0] * 4 + [1.0] * 4) == (1.0, [0.0] * 8)  # neither half is the usual one
    assert z_of_siblings([0.0] * 3 + [1.0] * 4)[1] == [-math.inf] * 3 + [0.0] * 4
    assert z_of_siblings([1.0, 1.0, 0.0])[1] == [0.0, 0.0, -math.inf]
    with_noise = z_of_siblings([1.0, 1.1, 0.9, 1.2, 0.8, 1.05], least=0.5)[1]
    assert max(map(abs, with_noise)) < 0.5


def test_more_numbers_have_a_higher_limit():
    assert limit(20, 10) == limit(20, 1_000_000) == 20
    assert 20 < limit(20, 10**9) < 30
    draws = np.abs(np.random.default_rng(0).normal(size=(4000, 50))).max(axis=1)
    assert math.isclose(float(np.median(draws)), largest_normal(50), rel_tol=0.02)


def test_indices_are_those_of_the_whole_tensor_where_a_part_is_looked_at(tmp_path: Path) -> None:
    weights = np.random.default_rng(3).normal(0, 0.02, (80, 60)).astype(np.float32)
    weights[70, 41] = 5
    save_file({"fc.weight": weights}, tmp_path / "m.safetensors")
    run = torch2grid("m.safetensors", "--outliers", "--slice", "40:80, 30:60", "--format", "json", "-o", "o", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    (page,) = [json.loads(each.read_text()) for each in (tmp_path / "o").glob("outliers.json")]
    text = json.dumps(page)
    assert "[70, 41]" in text
    assert "[30, 11]" not in text


def measure_all(checkpoint, needs):
    found = {key: {} for key in needs}
    for group, results in measure(checkpoint, needs):
        for key, result in results.items():
            found[key][group] = result
    return found


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_stack_is_measured_once_and_its_whole_is_what_its_matrices_are_together(dtype):
    """Each weight is converted once, and taken into one distribution."""
    rng = np.random.default_rng(3)
    stack = (0.02 * rng.standard_normal((6, 40, 50))).astype(dtype)
    stack[4, 7, 9] = 3
    stack[2, 1, 1] = np.nan
    checkpoint = t2g.load({"layers.0.experts.up": torch.from_numpy(stack), "layers.1.experts.up": torch.from_numpy(stack / 2)})
    needs = Outliers().needs(checkpoint, Settings())
    results = measure_all(checkpoint, needs)
    whole = joined(results, "summary", "layers.0.experts.up")
    alone = measure_all(checkpoint, {"summary": Summary()})["summary"]["layers.0.experts.up"]
    for figure in ("count", "finite", "nan", "min", "max", "absmax"):
        assert getattr(whole, figure) == getattr(alone, figure), figure
    for figure in ("mean", "std", "kurtosis", "l2"):
        assert getattr(whole, figure) == pytest.approx(getattr(alone, figure), rel=1e-9), figure
    np.testing.assert_array_equal(whole.quantiles([0.01, 0.5, 0.99]), alone.quantiles([0.01, 0.5, 0.99]))
    page = t2g.outliers(checkpoint)[0]
    assert page.panels[0].rows[0][0] == "layers.0.experts.up"
    assert any(row[1] == "[4, 7, 9]" and row[-1] == "yes" for row in page.panels[0].rows)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.floats(0, 1))
def test_quantiles_of_units_are_those_of_numpy(values, level):
    ordered = np.sort(np.array(values))
    assert robust._quantile(ordered, level) == pytest.approx(float(np.quantile(ordered, level)), rel=1e-9, abs=1e-9)


def test_units_that_are_left_out_would_not_be_shown():
    """Of the first lines of the table none depends on how many lines are asked for."""
    rng = np.random.default_rng(4)
    arrays = {f"layers.{place}.weight": 0.02 * rng.standard_t(4, (60, 70)) for place in range(9)}
    arrays["layers.3.weight"][11] *= 30
    arrays["layers.8.weight"][:, 5] *= 90
    few, many = (t2g.draw(arrays, [{"outliers": {"count": count}}])[0].panels[1].rows for count in (5, 400))
    assert few == many[:5]


@pytest.mark.parametrize("side", [64, 96])
def test_a_weight_is_the_first_beside_a_scaled_column_too(side):
    for seed in range(6):
        random = np.random.default_rng(seed)
        arrays = {f"h.{layer}.w": random.normal(0, 0.02, (side, side)).astype(np.float32) for layer in range(6)}
        arrays["h.3.w"][10, 11] = 5
        arrays["h.3.w"][:, 20] *= 8
        weights, units, _ = t2g.outliers(arrays)["outliers"].panels
        assert weights.rows[0][:2] == ("h.3.w", "[10, 11]")
        assert weights.rows[0][-1] == "yes" or side == 64  # there the column is too much of the matrix to be told from a tail
        assert {row[1:3] for row in units.rows if row[-1] == "yes"} == {("column", 11), ("column", 20), ("row", 10)}
