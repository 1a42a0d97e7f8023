"""Dead units: found where they were planted, and nowhere else."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.tools import DIGITS, torch2grid
from tests.support.views.drawing import checkpoint_of, draw

from torch2grid_builtin._views.dead_neurons import DeadNeurons
from torch2grid_builtin._views.units import has_units, ranges_text
from torch2grid_core import Settings
from torch2grid_core.pages import Bar, Line, Text


def alive(*shape, dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).uniform(0.1, 1, shape)
    return values.astype(dtype)


def report_of(arrays, run=None, view=None):
    page = draw(view or DeadNeurons(), arrays, run)["dead_neurons_report"]
    assert page.formats == ("json",)
    report = json.loads(json.dumps(page.data, allow_nan=False))
    return report, {entry["name"]: entry for entry in report["tensors"]}


def test_rows_columns_filters_and_channels():
    linear, conv, norm = alive(20, 30), alive(8, 4, 3, 3), alive(16)
    linear[[2, 7]] = 0
    linear[:, 5] = 9e-7
    conv[3] = -5e-7
    conv[:, 1] = 0
    norm[[0, 15]] = 0
    report, tensors = report_of({"fc.weight": linear, "conv.weight": conv, "bn.weight": norm, "bn.bias": alive(16)})
    assert list(tensors) == ["fc.weight", "conv.weight", "bn.weight"]
    fc = tensors["fc.weight"]
    assert (fc["shape"], fc["units"], fc["threshold"]) == ([20, 30], 50, 1e-6)
    assert (fc["dead_output_units"], fc["dead_input_units"], fc["share"]) == ([2, 7], [5], 3 / 50)
    assert (tensors["conv.weight"]["dead_output_units"], tensors["conv.weight"]["dead_input_units"]) == ([3], [1])
    assert (tensors["bn.weight"]["dead_output_units"], tensors["bn.weight"]["dead_input_units"]) == ([0, 15], [])
    assert report["totals"]["dead"] == 7
    assert report["totals"]["units"] == 50 + 12 + 16
    assert report["totals"]["share"] == 7 / 78


def test_what_has_units():
    names = {
        "fc.weight": (alive(3, 4), True),
        "conv.weight": (alive(2, 3, 5), True),
        "model.0.weight": (alive(6), True),  # with running statistics: a BatchNorm in a Sequential
        "model.0.running_mean": (alive(6), False),
        "model.0.running_var": (alive(6), False),
        "model.0.bias": (np.zeros(6, np.float32), False),
        "encoder.layer_norm.weight": (alive(6), True),
        "h.0.ln_1.weight": (alive(6), True),
        "prelu.weight": (alive(6), False),
        "fc.bias": (np.zeros(3), False),
        "attn.bias": (np.zeros((1, 1, 4, 4)), False),
        "relative_position_bias_table": (np.zeros((4, 4)), False),
        "embeddings.position_ids": (np.zeros((1, 9), np.int64), False),
        "pos_embed": (np.zeros((1, 9, 4), np.float32), False),
        "cls_token": (np.zeros((1, 1, 4), np.float32), False),
        "embed.weight": (alive(9, 4, dtype=ml_dtypes.bfloat16), True),
        "quantised.weight": (np.ones((3, 3), np.int8), True),
        "packed.qweight": (np.ones((3, 3), np.int32), False),
        "gru.weight_ih_l0": (alive(6, 4), True),
        "empty.weight": (np.empty((0, 4), np.float32), False),
        "scalar": (np.float32(1), False),
    }
    checkpoint = checkpoint_of({name: array for name, (array, _) in names.items()})
    assert {name: has_units(tensor, checkpoint) for name, tensor in checkpoint.items()} == {
        name: expected for name, (_, expected) in names.items()
    }


@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    dtype=st.sampled_from([np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]),
    data=st.data(),
)
def test_planted_units_are_found_and_no_others(shape, dtype, data):
    values = alive(*shape, dtype=dtype)
    rows = data.draw(st.sets(st.integers(0, shape[0] - 1), max_size=shape[0] - 1))
    columns = data.draw(st.sets(st.integers(0, shape[1] - 1), max_size=shape[1] - 1))
    values[sorted(rows)] = 0
    values[:, sorted(columns)] = 0
    _, tensors = report_of({"layer.weight": values})
    assert tensors["layer.weight"]["dead_output_units"] == sorted(rows)
    assert tensors["layer.weight"]["dead_input_units"] == sorted(columns)


def test_a_nan_is_not_dead():
    values = np.zeros((3, 2), np.float32)
    values[1, 0] = np.nan
    pages = draw(DeadNeurons(), {"a.weight": values, "b.weight": np.full((2, 2), np.nan)})
    tensors = pages["dead_neurons_report"].data["tensors"]
    assert (tensors[0]["dead_output_units"], tensors[0]["dead_input_units"]) == ([0, 2], [1])
    assert tensors[1]["dead"] == 0


def test_the_threshold_is_the_runs():
    values = np.array([[0.01, 0.02], [0.5, 0.5]], np.float32)
    _, tensors = report_of({"a.weight": values}, Settings(threshold=0.1))
    assert tensors["a.weight"]["dead_output_units"] == [0]
    _, tensors = report_of({"a.weight": values})
    assert tensors["a.weight"]["dead"] == 0


def test_tied_tensors_are_counted_once():
    values = alive(4, 4)
    values[1] = 0
    report, tensors = report_of({"embed.weight": values, "head.weight": values})
    assert report["totals"]["units"] == 8
    assert tensors["head.weight"]["tied_to"] == "embed.weight"
    assert tensors["head.weight"]["dead_output_units"] == [1]


def test_the_table_and_the_picture():
    values = alive(12, 3)
    values[[0, 4, 5, 6, 11]] = 0
    arrays = {"a.weight": values, "b.weight": alive(2, 2), "\x1b.weight": alive(2, 2)}
    pages = draw(DeadNeurons(), arrays)
    page = pages["dead_neurons"]
    assert page.kind == "table"
    assert page.title.startswith("Dead neurons: 5 of 23 units")
    (table,) = page.panels
    assert [row[0] for row in table.rows] == [*arrays, "(all tensors)"]
    assert table.rows[0] == ("a.weight", "12×3", 12, 5, 3, 0, pytest.approx(100 / 3), 0, "0, 4–6, 11", "")
    (table,) = draw(DeadNeurons(only_dead=True), arrays)["dead_neurons"].panels
    assert [row[0] for row in table.rows] == ["a.weight", "(all tensors)"]
    text, bar, line = pages["dead_neurons_overview"].panels
    assert text.text == "Dead: 5 of 23 units (every |weight| < 1e−06), in 1 of 3 tensors."
    assert isinstance(bar, Bar)
    assert bar.labels == ("a.weight", "b.weight", "\\x1b.weight")
    np.testing.assert_allclose(bar.values, [100 / 3, 0, 0])
    assert isinstance(line, Line)
    assert line.marks == {"threshold": 1e-6}
    weakest = line.y["weakest output unit"]
    assert weakest[0] == 1e-7
    assert weakest[1] == np.abs(arrays["b.weight"]).max(axis=1).min()


def test_units_that_repeat_others():
    linear, kernels, norm = alive(20, 30), alive(8, 4, 3, 3, seed=1), alive(16)
    linear[[7, 9]] = linear[2]
    linear[11] = linear[4] * 3
    linear[[0, 1]] = 0  # dead, which is another thing
    linear[[12, 13]] = 5e-7
    kernels[5] = kernels[1]
    arrays = {"fc.weight": linear, "conv.weight": kernels, "bn.weight": norm, "bn.bias": norm, "tied": linear}
    pages = draw(DeadNeurons(), arrays)
    report, tensors = report_of(arrays)
    assert tensors["fc.weight"]["duplicate_units"] == 3
    first, second = tensors["fc.weight"]["duplicate_groups"]
    assert first == {"units": [2, 7, 9], "equal": [7, 9], "cosine": 1.0}
    assert (second["units"], second["equal"]) == ([4, 11], [])
    assert second["cosine"] == pytest.approx(1, abs=1e-6)
    assert tensors["conv.weight"]["duplicate_groups"] == [{"units": [1, 5], "equal": [5], "cosine": 1.0}]
    assert tensors["bn.weight"]["duplicate_groups"] is None
    assert report["totals"]["duplicate_units"] == 4
    table = pages["dead_neurons"].panels[0]
    assert table.rows[0][-3:] == (3, "0–1, 12–13", "7, 9 = 2; 11 ≈ 4")
    assert pages["dead_neurons"].title.endswith("; 4 duplicates")
    bars = pages["dead_neurons_overview"].panels[1:3]
    np.testing.assert_allclose(bars[1].values, [100 * 3 / 20, 100 / 8, 0, 100 * 3 / 20])


def test_duplicates_only_where_they_are_wanted():
    arrays = {"fc.weight": np.repeat(alive(3, 30), 2, axis=0)}
    assert report_of(arrays)[0]["totals"]["duplicate_units"] == 3
    for view in (DeadNeurons(duplicates=False), DeadNeurons(max_units=5)):
        report, tensors = report_of(arrays, view=view)
        assert report["totals"]["duplicate_units"] is None  # as in the rows: nobody looked
        assert {entry["duplicate_units"] for entry in report["tensors"]} == {None}
        (table,) = draw(view, arrays)["dead_neurons"].panels
        assert {row[table.columns.index("Duplicates")] for row in table.rows} == {None}
        assert tensors["fc.weight"]["duplicate_groups"] is None
    with pytest.raises(ValueError, match="cosine"):
        DeadNeurons(cosine=0)


def test_many_tensors_and_none():
    arrays = {f"{layer}.weight": alive(3, 3, seed=layer) for layer in range(90)}
    arrays["70.weight"][1] = 0
    _, bar, _ = draw(DeadNeurons(), arrays)["dead_neurons_overview"].panels
    assert bar.labels == ("70.weight",)  # no bars of nothing
    assert bar.title == "Share of dead units: 1 of 90 tensors, the others have none"
    for layer in range(70):
        arrays[f"{layer}.weight"][0] = 0
    arrays["70.weight"][:] = 0
    _, bar, _ = draw(DeadNeurons(), arrays)["dead_neurons_overview"].panels
    assert len(bar.labels) == 60
    assert bar.labels[0] == "70.weight"
    assert bar.title == "Share of dead units: the 60 largest of 90 tensors"
    pages = draw(DeadNeurons(), {"bias": np.zeros(4, np.float32)})
    assert isinstance(pages["dead_neurons_overview"].panels[0], Text)
    assert pages["dead_neurons_report"].data["totals"]["share"] == 0


def test_a_clean_model_is_said_to_be_clean():
    arrays = {f"{layer}.weight": alive(3, 4, seed=layer) for layer in range(90)}
    page = draw(DeadNeurons(), arrays)["dead_neurons_overview"]
    text, line = page.panels
    assert isinstance(text, Text)
    assert text.text == "Dead: 0 of 630 units (every |weight| < 1e−06), in 0 of 90 tensors."
    assert "630" not in page.title  # nothing is told twice
    assert isinstance(line, Line)


def test_ranges_are_short():
    assert ranges_text(()) == ""
    assert ranges_text((3,)) == "3"
    assert ranges_text((0, 1, 2, 5, 7, 8)) == "0–2, 5, 7–8"
    assert ranges_text(tuple(range(0, 40, 2)), limit=3) == "0, 2, 4, and 17 more"


def test_on_the_command_line(tmp_path):
    done = torch2grid(DIGITS, "--dead-neurons", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Dead neurons: 0 of 267 units" in done.stdout
    report = json.loads((tmp_path / "grids" / "dead_neurons_report.json").read_text())
    assert [entry["name"] for entry in report["tensors"]] == ["conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"]
    assert report["totals"]["units"] == 267
    assert (tmp_path / "grids" / "dead_neurons_overview.png").read_bytes().startswith(b"\x89PNG")


def test_outputs_of_a_matrix_that_is_stored_the_other_way_round_are_its_columns():
    found = {}
    for name, shape in (("h.0.attn.c_attn.weight", (16, 48)), ("other.weight", (48, 16))):
        array = alive(*shape)
        if shape[0] == 16:
            array[:, 5], array[3] = 0, 0
        else:
            array[5], array[:, 3] = 0, 0
        _, entries = report_of({name: array})
        found[name] = entries[name]
        line = draw(DeadNeurons(), {name: array})["dead_neurons_overview"].panels[-1]
        assert float(line.y["weakest output unit"][0]) < 1e-3
    for entry in found.values():
        assert (entry["output_units"], entry["input_units"]) == (48, 16)
        assert (entry["dead_output_units"], entry["dead_input_units"]) == ([5], [3])
