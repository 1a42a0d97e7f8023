"""Every finite weight is in a bar of a picture of change, or counted on it as lying beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings, strategies as st

import torch2grid as t2g
from torch2grid_builtin._compare.order import in_order
from torch2grid_builtin._compare.series import compare_many
from torch2grid_builtin._views.histogram import overlaid
from torch2grid_core.measures import Distribution
from torch2grid_core.pages import Histogram, Ridges, Text

DTYPES = ("float32", "float64", "float16", "int8", "int32", "complex64")


@st.composite
def weights(draw: st.DrawFn, dtype: str, size: int) -> np.ndarray[Any, Any]:
    """Normal numbers, a few of them far away, NaN or Inf; or one number throughout."""
    random = np.random.default_rng(draw(st.integers(0, 99)))
    found = random.standard_normal(size) * draw(st.sampled_from([0.0, 0.02, 3.0]))
    found += draw(st.sampled_from([0.0, 1.0]))
    for far in draw(st.lists(st.sampled_from([5.0, -40.0, 100.0]), max_size=3)):
        found[random.integers(size)] = far
    if np.dtype(dtype).kind == "f":
        for lost in draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf]), max_size=3)):
            found[random.integers(size)] = lost
        if draw(st.integers(0, 9)) == 0:
            found[:] = np.nan
    return found.astype(dtype)


def of(numbers: np.ndarray[Any, Any]) -> Distribution:
    found = Distribution()
    found.update(numbers)
    return found


def stated(panel: Histogram, name: str) -> int:
    """What the figures beside a histogram say to lie beyond its bars."""
    return sum(int(panel.summary.get(f"{name} {end}", "0").partition(",")[0].replace(" ", "")) for end in ("below", "above"))


@settings(phases=[Phase.generate], derandomize=True)
@given(st.data())
def test_two_distributions_over_the_same_bars(data: st.DataObject) -> None:
    dtype, size = data.draw(st.sampled_from(DTYPES)), data.draw(st.integers(1, 900))
    sides = {name: of(data.draw(weights(dtype, size))) for name in "AB"}
    panel = overlaid(sides, np.dtype(dtype))
    known = [name for name, each in sides.items() if each.finite]
    if isinstance(panel, Text):
        assert not known
        return
    assert [*panel.curves, known[-1]] == known
    last = sides[known[-1]]
    assert int(panel.counts.sum()) + panel.below + panel.above + panel.nan == last.count
    for name in panel.curves:
        assert int(panel.curves[name].sum()) + stated(panel, name) == sides[name].finite
    assert int(panel.counts.sum()) + stated(panel, known[-1]) == last.finite
    for name in sides:
        assert name in known or f"; {name}: " in panel.title


@settings(phases=[Phase.generate], derandomize=True)
@given(st.data())
def test_a_series_has_bars_for_all_weights(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES[:5]))
    size = data.draw(st.integers(2, 400))
    arrays = [data.draw(weights(dtype, size)) for _ in range(3)]
    series = compare_many(in_order([t2g.load({"w": each}) for each in arrays], given=True))
    track = series.tracks["w"]
    finite = [int(np.isfinite(each.astype(float)).sum()) for each in arrays]
    assert track.counts.sum(axis=1).tolist() == finite


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_pages_of_change_show_or_count_all(dtype: str) -> None:
    random = np.random.default_rng(1)
    before = (random.standard_normal((80, 60)) * 100).astype(dtype)
    after = before.copy()
    after[7] *= 90
    runs = [t2g.load({"fc.weight": each}) for each in (before, after, before)]
    for pages in (t2g.compare(*runs[:2], layers=True), t2g.series(runs, given=True, layers=True)):
        panels = [panel for page in pages if page.name.startswith("fc.weight") for panel in page.panels]
        bars = [panel for panel in panels if isinstance(panel, Histogram)]
        ridges = [panel for panel in panels if isinstance(panel, Ridges)]
        assert bars or ridges
        for panel in bars:
            assert int(panel.counts.sum()) + panel.below + panel.above + panel.nan == before.size
        for panel in ridges:
            assert np.allclose(panel.shares.sum(axis=1), 1)
            assert panel.edges[0] <= after.min()
            assert after.max() <= panel.edges[-1]
