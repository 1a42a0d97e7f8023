"""A run in which matrices grow: the first that had ten times its std is named, and where none had there is no such line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._compare.series import _exploding
from torch2grid_core import Grid, Settings
from torch2grid_core.grids import Region, color_scale

RUN = ("step_1.npz", "step_2.npz", "step_3.npz", "step_4.npz")


def write(folder: Path, factors: dict[str, list[float]]) -> None:
    """Matrices of 8×8, but for the bias, times the factors of each step."""
    rng = np.random.default_rng(0)
    bases = {name: rng.normal(0, 0.1, (8,) if name == "bias" else (8, 8)).astype(np.float32) for name in factors}
    for place, name in enumerate(RUN):
        np.savez(folder / name, **{key: (each * factors[key][place]).astype(np.float32) for key, each in bases.items()})


def test_the_first_matrix_with_ten_times_its_std_is_named(tmp_path: Path) -> None:
    factors = {
        "late": [1, 1, 2, 40],
        "first": [1, 9, 11, 90],
        "zero": [0, 0.5, 1, 4],
        "bias": [1, 50, 50, 50],
        "also": [1, 1, 12, 12],
    }
    write(tmp_path, factors)
    done = torch2grid("compare", *RUN, "--stats", cwd=tmp_path)
    assert done.returncode == 0
    said = "first 10-fold std: step 3, 2 tensors, first in first"
    assert said in done.stderr.splitlines()
    assert done.stdout.splitlines()[0].endswith(f" · {said}")
    assert said in str(t2g.series([tmp_path / name for name in RUN]))
    report = json.loads(torch2grid("compare", *RUN, "--format", "json", "-q", cwd=tmp_path).stdout)
    assert report["first_exploded"] == {"label": "step 3", "place": 2, "tensors": ["first", "also"]}


def test_a_title_with_several_names_is_not_cut(tmp_path: Path) -> None:
    long = "model.layers.{}.block_sparse_moe.experts.7.gate_up_projection.weight".format
    write(tmp_path, {long(0): [1, 1, np.nan, 1], long(1): [1, 1, 20, 40]})
    done = torch2grid("compare", *RUN, "--stats", "-q", cwd=tmp_path)
    first = done.stdout.splitlines()[0]
    assert first.endswith(f" · first NaN: step 3, in {long(0)} · first 10-fold std: step 3, in {long(1)}")


def test_a_healthy_run_has_no_such_line(tmp_path: Path) -> None:
    write(tmp_path, {"w": [1, 2, 5, 9.9], "down": [1, 0.1, 0.01, 0.05], "bias": [1, 10, 20, 30]})
    done = torch2grid("compare", *RUN, "--stats", cwd=tmp_path)
    assert "10-fold" not in done.stdout + done.stderr
    report = json.loads(torch2grid("compare", *RUN, "--format", "json", "-q", cwd=tmp_path).stdout)
    assert report["first_exploded"] is None


@pytest.mark.parametrize(("factor", "bent"), [(1, False), (5, False), (60, True)])
def test_one_matrix_of_many_that_explodes_bends_the_scale(factor: float, bent: bool) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.02, (80, 80)).astype(np.float32)
    regions = tuple(Region(f"layers.{place}", ((place, 0, 1, 80),)) for place in range(80))
    after = values.copy()
    after[7] *= factor
    grids = [Grid(each, np.ones(each.shape, np.int64), regions=regions) for each in (values, after)]
    usual = color_scale(grids[0])
    found = _exploding(Settings(), grids, usual)
    assert (found is not None) == bent
    if found is not None:
        assert found.kind == "asinh"
        assert found.high == pytest.approx(float(np.quantile(np.abs(after[7]), 0.99)), rel=1e-3)
        assert found.bend < usual.high


@given(
    st.lists(st.sampled_from([1.0, 1.0, 3.0, 1e3, 1e9, 1e30, 1e-9]), min_size=8, max_size=8),
    st.lists(st.floats(0, 4), min_size=1, max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_every_snapshot_of_a_run_that_explodes_is_seen(factors: list[float], powers: list[float]) -> None:
    """However far and however much of it explodes: hardly a cell is beyond the scale, and the calmest has two colours."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.02, (80, 40))
    regions = tuple(Region(f"layers.{place}", ((10 * place, 0, 10, 40),)) for place in range(8))
    steps = [0.0, *sorted(power / 4 for power in powers)]
    frames = [values * np.repeat(np.power(factors, step), 10)[:, None] for step in steps]
    grids = [Grid(each.astype(np.float32), np.ones(each.shape, np.int64), regions=regions) for each in frames]
    found = _exploding(Settings(), grids, color_scale(grids[0]))
    if found is None:
        return
    for grid in grids:
        assert np.mean(np.abs(grid.values) > found.high) <= 0.03
    shares = found.fraction(grids[0].values.astype(np.float64)) - found.fraction(np.zeros(1))
    assert np.quantile(np.abs(shares), 0.5) > 2 / 256
