"""A run in which matrices grow: the first that had ten times its std is named, and where none had there is no such line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._compare.series import _exploding
from torch2grid_core import Grid, Settings
from torch2grid_core.grids import Region, color_scale
from torch2grid_core.pages import Line

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


def layers(places: int = 10, grown: dict[str, list[float]] | None = None) -> list[dict[str, np.ndarray]]:
    """Four snapshots of matrices about 0 and norms about 1, of which those in *grown* are multiplied."""
    rng = np.random.default_rng(0)
    first = {f"layers.{n}.q.weight": rng.normal(0, 0.02, (8, 8)) for n in range(places)}
    first |= {f"layers.{n}.norm.weight": rng.normal(1, 0.01, 8) for n in range(places)}
    first |= {f"layers.{n}.norm.bias": np.zeros(8) for n in range(places)}
    snapshots = [{name: each + 1e-3 * step * rng.normal(size=each.shape) for name, each in first.items()} for step in range(4)]
    for name, factors in (grown or {}).items():
        for snapshot, factor in zip(snapshots, factors, strict=True):
            snapshot[name] = snapshot[name] * factor
    return snapshots


@pytest.mark.parametrize("places", [2, 10, 300])
@pytest.mark.parametrize("kind", ["norm.weight", "norm.bias", "q.weight"])
def test_what_explodes_is_shown_everywhere(places: int, kind: str, tmp_path: Path) -> None:
    """A matrix or a vector, from 1 or from 0: in the text, first in the table, as a row of the trends, on a page of its own."""
    name = f"layers.1.{kind}"
    snapshots = layers(places, {name: [1, 1, 1e6, 1e6]})
    for place, snapshot in enumerate(snapshots):
        np.savez(tmp_path / RUN[place], **{key: each.astype(np.float32) for key, each in snapshot.items()})
    said = f"first {'10-fold std' if kind == 'q.weight' else '100-fold ‖w‖'}: step 3, in {name}"
    done = torch2grid("compare", *RUN, "--stats", cwd=tmp_path)
    assert said in done.stderr.splitlines()
    assert done.stdout.splitlines()[0].endswith(said)
    pages = t2g.series([tmp_path / each for each in RUN])
    assert pages["series"].panels[0].rows[0][0] == name
    trends = pages["series_trends"]
    assert said in trends.title
    norms = trends.panels[trends.panel_names.index("norm")]
    shown = list(norms.y) if isinstance(norms, Line) else [each for _, each in norms.row_names]
    assert name in shown
    if len(shown) < 3 * places:
        assert f"the {len(shown)} of {3 * places} tensors that exploded, or that moved most, matrices first" in trends.title
    assert f"{name}_series" in [page.name for page in pages]


@given(st.sets(st.sampled_from(["matrix", "vector", "scale", "from 0", "all NaN", "to NaN"]), min_size=1), st.integers(1, 9))
def test_every_tensor_has_a_row(kinds: set[str], steady: int) -> None:
    rng = np.random.default_rng(0)
    first = {"matrix": rng.normal(size=(4, 4)), "vector": rng.normal(size=4), "scale": np.ones(1), "from 0": np.zeros(4)}
    first |= {"all NaN": np.full((2, 2), np.nan), "to NaN": rng.normal(size=4)}
    run = [{name: first[name] * (step + 1) for name in sorted(kinds)} for step in range(3)]
    for step, snapshot in enumerate(run):
        snapshot |= {f"other.{n}": np.ones((2, 2)) for n in range(steady)}
        snapshot |= {"from 0": np.full(4, float(step))} if "from 0" in kinds else {}
    if "to NaN" in kinds:
        run[2]["to NaN"] = np.full(4, np.nan)
    trends = t2g.series(run, given=True)["series_trends"]
    norms = trends.panels[trends.panel_names.index("norm")]
    shown = list(norms.y) if isinstance(norms, Line) else [each for _, each in norms.row_names]
    assert sorted(each.partition(" (")[0] for each in shown) == sorted(run[0])


def test_what_is_not_in_all_snapshots_is_counted_on_the_pages() -> None:
    run = layers()
    del run[1]["layers.0.norm.bias"]
    pages = t2g.series(run, given=True)
    assert all("· 1 tensor not in all of them" in pages[name].title for name in ("series", "series_trends"))


def test_vectors_that_begin_at_zero_do_not_explode_where_they_grow() -> None:
    """Biases of a network that trains well: 500 times their first norm, and no larger than weights are."""
    snapshots = layers()
    for snapshot, size in zip(snapshots, [0, 1e-4, 1e-2, 5e-2], strict=True):
        snapshot |= {f"layers.{n}.norm.bias": size * np.ones(8) for n in range(10)}
    assert "-fold" not in str(t2g.series(snapshots, given=True))


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
def test_every_snapshot_of_a_run_that_explodes_is_seen(factors: list[float], powers: list[float]) -> None:
    """However far and however much of it explodes: hardly a cell is beyond the scale, and the calmest is not one colour."""
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
    assert np.quantile(np.abs(shares), 0.5) > 0.05
