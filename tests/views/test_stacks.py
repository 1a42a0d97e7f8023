"""A stack of matrices says what the matrices say apart, with their index in place of their name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from tests.support.checks.defects import save
from tests.support.tools import torch2grid

import torch2grid as t2g

NAME = "model.layers.0.mlp.experts.down_proj"
UNITS = ("T201", "T202")


@st.composite
def stacks(draw: Any) -> Any:
    """Matrices with dead and repeated rows and columns, some of which stick out."""
    count, rows, columns = draw(st.integers(1, 5)), draw(st.integers(16, 40)), draw(st.integers(16, 40))
    values = np.random.default_rng(draw(st.integers(0, 99))).normal(0, 0.02, (count, rows, columns)).astype(np.float32)
    for _ in range(draw(st.integers(0, 6))):
        matrix, row, column = draw(st.integers(0, count - 1)), draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
        match draw(st.sampled_from(["dead rows", "dead columns", "same", "large row", "large column"])):
            case "dead rows":
                values[matrix, row:] = 0
            case "dead columns":
                values[matrix, :, column:] = 0
            case "same":
                values[matrix, : row + 1] = values[matrix, 0]
            case "large row":
                values[matrix, row] *= 300
            case _:
                values[matrix, :, column] *= 300
    return values


def renamed(name: str, stacked: bool) -> str:
    """``[3]`` of either spelling."""
    return name.removeprefix(NAME) if stacked else f"[{name.split('.')[-3]}]"


def dead_and_out(tensors: dict[str, Any], stacked: bool) -> tuple[Any, Any, Any]:
    """Lines of dead-neurons, of the rows and columns of outliers, and the findings of the rules about units."""
    checkpoint = t2g.load(tensors)
    report = json.loads(json.dumps(t2g.dead_neurons(checkpoint)["dead_neurons_report"].data))
    lines = [
        {**{key: value for key, value in each.items() if key != "tied_to"}, "name": renamed(each["name"], stacked)}
        for each in report["tensors"]
    ]
    table = t2g.outliers(checkpoint, count=200)["outliers"].panels[1]
    out = sorted((renamed(row[0], stacked), *row[1:]) for row in table.rows)
    found = []
    for each in t2g.check(checkpoint):
        if each.code in UNITS:
            text = each.message.removeprefix("matrix ") if stacked else f"{renamed(each.tensor, False)}: {each.message}"
            found.append((each.code, text))
    return lines, out, sorted(found)


@settings(max_examples=settings().max_examples // 5)
@given(stacks())
def test_a_stack_says_what_its_matrices_say(values):
    whole = dead_and_out({NAME: values}, True)
    apart = dead_and_out({f"experts.{place}.down_proj.weight": each for place, each in enumerate(values)}, False)
    dead = {f"[{place}]" for place, each in enumerate(values) if not each.any()}
    assert whole[0] == apart[0]
    assert whole[1] == apart[1]
    # Nothing but zeros is a finding of its own about a tensor; of a stack, it is that of a matrix.
    assert [each for each in whole[2] if each[1].partition(":")[0] not in dead] == apart[2] or dead


def test_a_part_of_a_stack_keeps_its_indices(tmp_path: Path):
    values = np.random.default_rng(0).normal(0, 0.02, (6, 40, 50)).astype(np.float32)
    values[4, 7] = 0
    values[5, :, 9] *= 100
    save(tmp_path / "m.safetensors", {NAME: values, "norm.weight": np.ones(8, np.float32)})
    chosen = {"only": NAME, "slice": "3:, 5:, 5:"}
    report = t2g.dead_neurons(tmp_path / "m.safetensors", **chosen)["dead_neurons_report"].data["tensors"]
    assert [each["name"] for each in report] == [f"{NAME}[{place}]" for place in (3, 4, 5)]
    assert [each["dead_output_units"] for each in report] == [[], [7], []]
    done = torch2grid("m.safetensors", "--slice", "3:, 5:, 5:", "--only", NAME, "-q", "--outliers", cwd=tmp_path)
    (first,) = [line for line in done.stdout.splitlines() if f"{NAME}[5]" in line and "column" in line and "yes" in line]
    assert first.split()[2:3] == ["9"]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_which_expert_is_dead(tmp_path: Path, jobs: str):
    values = np.random.default_rng(0).normal(0, 0.02, (8, 64, 48)).astype(np.float32)
    values[5] = 0
    save(tmp_path / "m.safetensors", {NAME: values, "model.layers.0.mlp.gate.weight": values[0]})
    done = torch2grid("check", "m.safetensors", "-j", jobs, cwd=tmp_path)
    assert f"{NAME}: matrix [5]: 64 of 64 output units are dead" in done.stdout
    assert "channel" not in done.stdout


def test_a_matrix_of_a_stack_has_those_of_all_layers_as_siblings(tmp_path: Path):
    rng = np.random.default_rng(0)
    stacks = {
        f"layers.{layer}.mlp.experts.down_proj": rng.normal(0, 0.02, (8, 64, 48)).astype(np.float32) for layer in range(4)
    }
    stacks["layers.2.mlp.experts.down_proj"][3] *= 1e-7
    stacks["layers.1.mlp.experts.down_proj"][5] *= 2.5
    apart = {
        name.replace("experts", f"experts.{place}"): matrix
        for name, stack in stacks.items()
        for place, matrix in enumerate(stack)
    }
    table = t2g.outliers(t2g.load(stacks), count=200)["outliers"].panels[2]
    assert [row[0] for row in table.rows if row[-1]] == [
        "layers.2.mlp.experts.down_proj[3]",
        "layers.1.mlp.experts.down_proj[5]",
    ]
    same = t2g.outliers(t2g.load(apart), count=200)["outliers"].panels[2]
    assert sorted(row[1:] for row in table.rows) == sorted(row[1:] for row in same.rows)
    save(tmp_path / "m.safetensors", stacks)
    lines = torch2grid("m.safetensors", "--outliers", "--slice", ":, ::2", "-q", "-j", "2", cwd=tmp_path).stdout.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("yes")] == [row[0] for row in table.rows if row[-1]]


def test_measure_has_units_of_each_matrix(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stack = torch.randn(4, 6, 9)
    stack[2, 3] = 0
    torch.save({"layers.0.mlp.experts.w1": stack, "fc.weight": torch.randn(5, 7)}, tmp_path / "m.pth")
    measured = t2g.measure(tmp_path / "m.pth", "units")
    found = measured["layers.0.mlp.experts.w1"]
    assert [each.output_absmax.shape for each in found] == [(6,)] * 4
    assert np.flatnonzero(found[2].output_absmax == 0).tolist() == [3]
    assert measured["fc.weight"].output_absmax.shape == (5,)
    rows = t2g.measure(tmp_path / "m.pth", "units", slice="1:3, 2:, :", only="layers*").table().rows
    assert [row[:3] for row in rows if row[3] == 0] == [("layers.0.mlp.experts.w1[2]", "output", 3)]
    assert {row[0] for row in rows} == {f"layers.0.mlp.experts.w1[{each}]" for each in (1, 2)}


@settings(max_examples=settings().max_examples // 4)
@given(
    st.integers(2, 9),
    st.integers(8, 40),
    st.integers(8, 40),
    st.sampled_from([None, 16, 64]),
    st.sampled_from([None, (slice(1, None), slice(2, None), slice(0, None, 2))]),
    st.integers(0, 99),
)
def test_a_page_of_a_stack_has_ticks_and_names_the_largest_rows_and_columns(count, rows, columns, cells, part, seed):
    values = np.random.default_rng(seed).normal(0, 0.02, (count, rows, columns)).astype(np.float32)
    whole = np.arange(values.size).reshape(values.shape)
    given = values if part is None else values[part]
    settings = {} if cells is None else {"tensor_cells": cells}
    (page,) = (page for page in t2g.layers({NAME: values}, slice=part, **settings) if page.folder)
    (heatmap,) = page.panels
    if not heatmap.grid.marks:
        return  # too many for so few cells: they lie one below the other
    where = np.stack(np.unravel_index(whole if part is None else whole[part], values.shape))  # the index of each weight
    rects = [mark.rects[0] for mark in heatmap.grid.marks]
    for side, axis in (("row", 1), ("column", 2)):
        runs = getattr(heatmap, f"{side}_runs")
        assert [start for start, _ in runs] == sorted({rect[axis - 1] for rect in rects})
        own = np.moveaxis(where[axis], axis, 0).reshape(given.shape[axis], -1)[:, 0].tolist()
        assert all(list(indices) == own for _, indices in runs)
        marginal = getattr(heatmap, f"{side}_marginal")
        if min(given.shape[1:]) < 8:
            assert marginal is None
            continue
        sizes = np.abs(given).max(axis=3 - axis)  # of each matrix and row, or column
        expected = np.zeros(heatmap.grid.shape[axis - 1])
        step = heatmap.grid.cell[axis - 1]
        for rect, each in zip(rects, sizes, strict=True):
            for unit, size in enumerate(each):
                cell = rect[axis - 1] + unit // step
                expected[cell] = max(expected[cell], size)
        np.testing.assert_array_equal(marginal.values, expected)
        largest = np.argsort(-sizes.ravel(), kind="stable")[:3]
        names = []
        for matrix, unit in zip(*np.unravel_index(largest, sizes.shape), strict=True):
            index = [where[0][matrix, 0, 0], own[unit]]
            names.append(f"[{index[0]}, {index[1]}]" if axis == 1 else f"[{index[0]}, :, {index[1]}]")
        assert [text for _, text in marginal.names] == names
        for (place, _), flat in zip(marginal.names, largest, strict=True):
            assert marginal.values[int(place)] >= sizes.ravel()[flat]  # another matrix beside it may have a larger one
