"""Recordings of gradients that are small or ill, drawn alike from the command line and from Python."""

from __future__ import annotations

import json
import math

import pytest
import torch
from tests.support.tools import torch2grid
from torch import nn

import torch2grid as t2g
from torch2grid_core import LoadError


def step(net, times=1, **ill):
    """Take steps of SGD on random batches. ill: parameters, ``.`` written ``__``, whose every gradient is NaN."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    for _ in range(times):
        optimizer.zero_grad()
        net(torch.randn(4, 3)).square().sum().backward()
        for name, parameter in net.named_parameters():
            if name.replace(".", "__") in ill:
                parameter.grad.fill_(math.nan)
        optimizer.step()


def recorded_twice(folder):
    net = nn.Linear(3, 2)
    with t2g.GradientRecorder(net, every=1) as recorder:
        step(net, 2)
    return recorder.save(folder / "g.safetensors")


def test_one_record_is_a_recording(tmp_path):
    net = nn.Linear(3, 2)
    with t2g.GradientRecorder(net, every=50) as recorder:
        step(net, 30)
    path = recorder.save(tmp_path / "g.safetensors")
    done = torch2grid("compare", path, "--format", "json", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["steps"] == [1]
    for name in ("weight", "bias"):
        (known,) = recorder.distributions(name)
        assert found["tensors"][name]["norm"] == pytest.approx([known.l2], rel=1e-9)
    assert t2g.series(str(path))["series"].data["tensors"] == found["tensors"]
    drawn = torch2grid("compare", path, "-q", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "grids" / "series_trends.png").is_file()


def test_gradients_that_are_all_nan_are_in_the_table(tmp_path):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with t2g.GradientRecorder(net, every=1) as recorder:
        step(net, 1, **{"0__weight": True})
    path = recorder.save(tmp_path / "g.safetensors")
    for pages in (t2g.series(str(path)), t2g.series(recorder)):
        (table,) = pages.tables
        assert [row[0] for row in table.rows] == [name for name, _ in net.named_parameters()]
        assert set(table.rows[0][1:-3]) <= {None, ""}
        assert table.columns[-3:] == ("NaN last", "Inf last", "Since")
        assert table.rows[0][-3:] == (9, 0, "step 1")
        assert pages["series"].data["tensors"]["0.weight"]["norm"] == [None]
    done = torch2grid("compare", path, "-q", "--stats", "--layers", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "Gradients of 4 parameters at 1 step · first NaN: step 1, in 0.weight"
    assert len(list((tmp_path / "grids" / "series").iterdir())) == 4


def test_both_ways_draw_the_same_tensors(tmp_path):
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(6)))  # 12 parameters, of which a diagram shows 8
    with t2g.GradientRecorder(net, every=1) as recorder:
        step(net, 3)
    path = recorder.save(tmp_path / "g.safetensors")
    done = torch2grid("compare", path, "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pages = t2g.series(str(path))
    pages.save(tmp_path / "python")
    names = sorted(each.name for each in (tmp_path / "grids" / "series").iterdir())
    assert names == sorted(each.name for each in (tmp_path / "python" / "series").iterdir())
    assert names == [f"{place}.weight_series.png" for place in range(6)]


def test_a_filter_that_takes_arrays_away_is_said(tmp_path):
    path = recorded_twice(tmp_path)
    done = torch2grid("compare", path, "--filter", "only:pattern=weight*", "-q", cwd=tmp_path)
    assert done.returncode == 2
    assert "all arrays of a recording are needed, and steps was left out: filter only" in done.stderr
    with pytest.raises(LoadError, match="was left out: filter only"):
        t2g.series(str(path), only="weight*")


def test_a_recording_takes_every_format_of_pictures(tmp_path):
    path = recorded_twice(tmp_path)
    done = torch2grid("compare", path, "--format", "json,html", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == [1, 2]
    assert done.stderr.split() == ["grids/series.html", "grids/series_trends.html", "grids/series/weight_series.html"]
