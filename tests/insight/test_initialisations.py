"""Curves of initialisations over histograms: which, and that they are the counts that such numbers give."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.tools import torch2grid
from tests.support.views.drawing import draw

from torch2grid_builtin._views.histogram import HistogramView
from torch2grid_builtin._views.initialisations import NORMAL, TRUNCATED, UNIFORM, Scheme

RNG = np.random.default_rng(5)
SHOWN = HistogramView(initialisation=True)


def truncated(*shape: int) -> np.ndarray:
    """Normal numbers, those beyond two std drawn again."""
    values = RNG.standard_normal(shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = RNG.standard_normal(int(beyond.sum()))
    return values


def panel_of(values: np.ndarray, name: str = "fc.weight", view: HistogramView = SHOWN):
    pages = draw(view, {name: values})
    return pages[f"histograms/{name}_hist"].panels[0]


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        (NORMAL, RNG.standard_normal(400_000)),
        (UNIFORM, RNG.uniform(-(3**0.5), 3**0.5, 400_000)),
        (TRUNCATED, truncated(400_000) / 0.8796256610342398),
    ],
)
def test_the_shares_of_a_scheme_are_those_of_its_numbers(shape, drawn):
    scheme = Scheme("one", 0.05, shape)
    places = np.linspace(-0.2, 0.2, 81)
    found = np.searchsorted(np.sort(0.05 * drawn), places) / len(drawn)
    assert np.abs(scheme.below(places) - found).max() < 1.95 / np.sqrt(len(drawn))  # once in a thousand
    assert drawn.std() == pytest.approx(1, abs=0.005)
    assert (drawn**4).mean() - 3 == pytest.approx(shape.excess, abs=0.05)
    assert np.abs(drawn).max() <= shape.largest * (1 + 1e-6)


def test_what_fits_is_drawn_as_the_counts_that_it_gives():
    panel = panel_of(RNG.normal(0, 0.02, (300, 200)))
    assert list(panel.curves) == ["as initialised: normal 0.02, std 0.02"]
    (curve,) = panel.curves.values()
    assert curve.sum() == pytest.approx(panel.counts.sum(), rel=0.01)
    middle = panel.counts > 200
    assert np.abs(panel.counts - curve)[middle].max() < 5 * np.sqrt(panel.counts.max())


def test_schemes_of_one_std_are_one_curve():
    panel = panel_of(RNG.normal(0, 128**-0.5, (128, 128)))
    assert list(panel.curves) == ["as initialised: Xavier normal or LeCun normal, std 0.08839"]


def test_a_truncated_normal_is_told_from_a_normal():
    names = list(panel_of(truncated(200, 150) / 0.8796256610342398 * 150**-0.5).curves)
    assert names == ["as initialised: truncated LeCun normal, std 0.08165"]
    assert list(panel_of(0.02 * truncated(200, 150)).curves) == ["as initialised: truncated normal 0.02, std 0.01759"]


def test_matrices_of_a_stack_fit_by_their_own_sides():
    stack = RNG.normal(0, 96**-0.5, (4, 160, 96))
    assert list(panel_of(stack, "layers.0.mlp.experts.up_proj").curves) == ["as initialised: LeCun normal, std 0.1021"]


def test_where_none_fits_the_nearest_is_drawn():
    values = RNG.normal(0, 0.02, (256, 300)) * np.exp(RNG.normal(0, 0.4, (256, 1)))
    assert list(panel_of(values).curves) == ["nearest: normal 0.02, std 0.02"]
    wide = RNG.normal(0, 3, (256, 300))
    assert list(panel_of(wide).curves) == ["nearest: normal 1, std 1"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("fc.bias", RNG.normal(0, 0.02, 4096)),
        ("few.weight", RNG.normal(0, 0.02, (8, 8))),
        ("ill.weight", np.where(np.arange(4096).reshape(64, 64) == 5, np.nan, 0.02)),
        ("h.0.attn.c_attn.weight", RNG.normal(0, 0.02, (64, 192))),
        ("codes.weight", np.arange(4096, dtype=np.int32).reshape(64, 64)),
    ],
)
def test_what_is_not_judged_has_no_curve(name, values):
    assert panel_of(values, name).curves == {}


def test_none_is_drawn_unless_it_is_asked_for():
    assert panel_of(RNG.normal(0, 0.02, (64, 64)), view=HistogramView()).curves == {}


def test_zeros_and_constants_have_a_nearest():
    for value in (0.0, 0.3):
        (name,) = panel_of(np.full((64, 64), value)).curves
        assert name.startswith("nearest: ")


def test_every_format_has_the_curve(tmp_path):
    np.savez(tmp_path / "a.npz", **{"fc.weight": RNG.normal(0, 0.02, (64, 64)).astype(np.float32)})
    view = ("--view", "histogram:initialisation=true,overview=false", "-q")
    for form in ("svg", "html", "json", "csv", "terminal", "text"):
        done = torch2grid("a.npz", *view, "--format", form, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        path = tmp_path / "grids" / "histograms" / f"fc.weight_hist.{form}"
        said = path.read_text("utf-8") if path.exists() else done.stdout
        assert "as initialised: normal 0.02, std 0.02" in said.replace("\\u00a0", " "), form
