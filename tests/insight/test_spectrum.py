"""Singular values of every matrix, and what is said of them."""

from __future__ import annotations

import json
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from safetensors.numpy import save_file
from tests.support.insight.weightwatcher_figures import FIGURES, matrices
from tests.support.tools import DIGITS, torch2grid
from tests.support.views.drawing import checkpoint_of, draw

import torch2grid as t2g
from torch2grid_builtin._spectra.laws import bulk, density, power_law
from torch2grid_builtin._spectra.spectra import Spectra, parts
from torch2grid_builtin._views.spectrum import SpectrumView
from torch2grid_core.pages import Bar, Line


def spectra(arrays, **options):
    """The spectra of each tensor."""
    checkpoint = checkpoint_of(arrays)
    need = Spectra(**options)
    return {name: need.compute({name: checkpoint[name]}) for name in need.groups(checkpoint)}


def table_of(arrays, **options):
    page = draw(SpectrumView(each=False, **options), arrays)["spectrum"]
    (table,) = page.panels
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_figures_are_those_of_weightwatcher():
    theirs = json.loads(FIGURES.read_text(encoding="utf-8"))
    ours = {name: found for name, (found,) in spectra(matrices()).items()}
    assert len(theirs) == len(ours) == 20
    for name, figures in theirs.items():
        found = ours[name]
        law = found.law
        assert law.alpha == pytest.approx(figures["alpha"], abs=1e-3)
        assert law.error == pytest.approx(figures["sigma"], abs=1e-3)
        assert law.distance == pytest.approx(figures["D"], abs=1e-4)
        assert law.least == pytest.approx(figures["xmin"], rel=1e-4)
        assert law.tail == figures["num_pl_spikes"]
        assert found.alpha_hat == pytest.approx(figures["alpha_weighted"], abs=1e-2)
        assert found.norm**2 == pytest.approx(figures["norm"], rel=1e-4)
        assert found.values[0] ** 2 == pytest.approx(figures["spectral_norm"], rel=1e-4)
        assert found.stable_rank == pytest.approx(figures["stable_rank"], rel=1e-4)


@st.composite
def tensors(draw):
    """A tensor of matrices, and the matrices that it holds, as numpy takes them."""
    kind = draw(st.sampled_from(["plain", "turned", "kernel", "stack", "fused", "fused, turned"]))
    rows, columns = draw(st.integers(2, 40)), draw(st.integers(2, 40))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    scale = 10.0 ** draw(st.integers(-6, 6))
    dtype = draw(st.sampled_from([np.float32, np.float64, ml_dtypes.bfloat16]))

    def made(*shape):
        return (scale * random.standard_normal(shape)).astype(dtype)

    match kind:
        case "plain":
            values = made(rows, columns)
            return "fc.weight", values, [values]
        case "turned":
            values = np.asfortranarray(made(rows, columns))
            return "fc.weight", values, [values]
        case "kernel":
            values = made(rows, columns, 3, 3)
            return "conv.weight", values, [values.reshape(rows, -1)]
        case "stack":
            values = made(3, rows, columns)
            return "mlp.experts.w1", values, list(values)
        case "fused":
            values = made(3 * rows, rows)
            return "attn.in_proj_weight", values, list(values.reshape(3, rows, rows))
        case _:
            values = made(rows, 3 * rows)
            return "attn.c_attn.weight", values, [values[:, start * rows : (start + 1) * rows] for start in range(3)]


@given(tensors(), st.booleans())
def test_singular_values_are_those_of_the_decomposition(made, exact):
    name, values, expected = made
    (found,) = spectra({name: values}, exact=exact).values()
    assert len(found) == len(expected)
    for one, matrix in zip(found, expected, strict=True):
        assert one.shape == matrix.shape
        truth = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
        # of the square, small ones are known as far as half the digits go
        np.testing.assert_allclose(one.values, truth, atol=truth[0] * (1e-12 if exact else 1e-7))
        assert one.norm == pytest.approx(np.linalg.norm(truth), rel=1e-9)
        assert one.stable_rank == pytest.approx((truth**2).sum() / truth[0] ** 2, rel=1e-9)
        shares = truth[truth > 0] / truth.sum()
        assert one.effective_rank == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-5)


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=60), st.integers(-60, 60))
def test_the_power_law_is_the_one_of_least_distance_whatever_the_unit(values, power):
    found = power_law(np.array(values))
    values = np.sort(values)
    best = (math.inf, None, None)
    for start in range(len(values) - 1):
        tail = values[start:]
        logs = np.log(tail / tail[0]).sum()
        if logs <= 0:
            continue
        alpha = 1 + len(tail) / logs
        away = float(np.abs(1 - (tail / tail[0]) ** (1 - alpha) - np.arange(len(tail)) / len(tail)).max())
        if away < best[0] - 1e-12:
            best = (away, alpha, tail[0])
    if found is None:
        assert best[1] is None
        return
    assert found.distance == pytest.approx(best[0], abs=1e-9)
    again = power_law(np.array(values) * 2.0**power)
    assert again.distance == pytest.approx(found.distance, abs=1e-9)


@pytest.mark.parametrize("alpha", [1.8, 2.5, 4.0])
def test_the_exponent_of_numbers_drawn_from_a_power_law(alpha):
    numbers = (1 - np.random.default_rng(3).random(4000)) ** (-1 / (alpha - 1))
    found = power_law(numbers)
    assert abs(found.alpha - alpha) < 4 * found.error + 0.05


@pytest.mark.parametrize("shape", [(300, 300), (200, 600), (900, 150)])
def test_independent_weights_have_no_spikes_and_their_own_std(shape):
    spiked = 0
    for seed in range(20):
        values = np.random.default_rng(seed).normal(0, 0.03, shape)
        squares = np.linalg.svd(values, compute_uv=False) ** 2
        found = bulk(squares, max(shape), min(shape))
        assert found.std == pytest.approx(0.03, rel=0.02)
        spiked += found.spikes > 0
    assert spiked <= 2  # one in a hundred is expected
    sizes = np.linspace(0, found.edge * 1.1, 20_001)[1:]
    assert np.trapezoid(density(sizes, found), sizes) == pytest.approx(1, abs=0.01)


@settings(max_examples=settings().max_examples // 4)
@given(st.integers(0, 6), st.integers(0, 1 << 32))
def test_planted_directions_are_the_spikes(count, seed):
    random = np.random.default_rng(seed)
    values = random.normal(0, 0.02, (160, 240))
    for _ in range(count):
        one, other = random.standard_normal(160), random.standard_normal(240)
        values += 3 * np.outer(one / np.linalg.norm(one), other / np.linalg.norm(other))
    (found,) = spectra({"fc.weight": values})["fc.weight"]
    assert count <= found.bulk.spikes <= count + 1


def test_what_cannot_be_measured_is_said():
    random = np.random.default_rng(0)
    ill = random.standard_normal((60, 70))
    ill[3, 4] = np.nan
    found = table_of(
        {
            "ill.weight": ill,
            "zero.weight": np.zeros((60, 70)),
            "small.weight": random.standard_normal((8, 9)),
            "wide.weight": random.standard_normal((130, 140)),
            "ranks.weight": random.standard_normal((60, 3)) @ random.standard_normal((3, 70)),
            "flat.weight": np.eye(60),
        },
        side=100,
    )
    assert found["ill.weight"]["What"] == "NaN or Inf"
    assert found["ill.weight"]["σ₁"] is None
    assert found["zero.weight"]["What"] == "all zero"
    assert found["zero.weight"]["‖W‖"] == 0
    assert found["small.weight"]["What"] == "α unreliable: 8 eigenvalues"
    assert found["wide.weight"]["What"] == "the shorter side is above 100: side=130 measures it"
    assert "57 of 60 σ below 10⁻⁷·σ₁" in found["ranks.weight"]["What"]
    assert found["ranks.weight"]["Spikes"] is None
    assert found["flat.weight"]["α"] is None
    assert found["flat.weight"]["Stable rank"] == pytest.approx(60)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_numbers_whose_squares_leave_the_range(size):
    values = np.random.default_rng(0).standard_normal((60, 70))
    (found,) = spectra({"fc.weight": values * size})["fc.weight"]
    truth = np.linalg.svd(values, compute_uv=False)
    np.testing.assert_allclose(found.values / size, truth, rtol=1e-9)
    assert found.stable_rank == pytest.approx((truth**2).sum() / truth[0] ** 2)
    draw(SpectrumView(), {"fc.weight": values * size})


def test_weights_in_random_places_have_no_direction_left():
    random = np.random.default_rng(5)
    values = random.normal(0, 0.02, (100, 120)) + np.outer(random.standard_normal(100), random.standard_normal(120)) * 0.05
    row = table_of({"fc.weight": values}, shuffled=True)["fc.weight"]
    assert row["σ₁ shuffled"] < row["σ₁"] / 2
    assert row["‖W‖"] == pytest.approx(np.linalg.norm(values))
    assert row["Spikes"] == 1
    assert row["Spikes shuffled"] == 0


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_one_large_weight_is_a_spike_wherever_it_lies(size):
    values = np.random.default_rng(5).normal(0, 0.02, (100, 120))
    values[3, 4] = 3.0
    row = table_of({"fc.weight": values * size}, shuffled=True)["fc.weight"]
    assert (row["Spikes"], row["Spikes shuffled"]) == (1, 1)


def with_values(sigma, rows, columns):
    random = np.random.default_rng(2)
    left, right = (np.linalg.qr(random.standard_normal((side, side)))[0] for side in (rows, columns))
    return left[:, : len(sigma)] * sigma @ right[: len(sigma)]


def test_exact_values_are_known_to_the_rounding_of_float64():
    values = with_values(np.logspace(0, -11, 80), 80, 100)
    assert table_of({"fc.weight": values})["fc.weight"]["What"].endswith("σ below 10⁻⁷·σ₁")
    row = table_of({"fc.weight": values}, exact=True)["fc.weight"]
    assert row["What"] == ""
    assert row["λ_min"] < 1e-15


@pytest.mark.parametrize("values", [np.full((64, 80), 0.5), with_values(np.ones(9), 60, 70), with_values([2.0, 1.0], 60, 70)])
def test_what_rounding_left_is_not_drawn(values):
    (page,) = (page for name, page in draw(SpectrumView(overview=False), {"fc.weight": values}).items() if "fc" in name)
    known = np.linalg.svd(values, compute_uv=False)
    known = known[known > 1e-7 * known[0]]
    if len(known) == 1:
        (text,) = page.panels
        assert "one direction is all" in text.text
        return
    tail, density = page.panels
    assert np.allclose(tail.x, np.sort(known**2), rtol=1e-6)
    assert tail.y["eigenvalues"][0] == pytest.approx(len(known) / min(values.shape))
    assert density.x[-1] > known.min() / 2


def test_what_has_no_figure_is_left_out_and_not_called_nan():
    random = np.random.default_rng(3)
    arrays = {f"layers.{layer}.fc{kind}.weight": random.standard_normal((60, 70)) for layer in range(4) for kind in range(12)}
    arrays["layers.1.fc1.weight"][:] = 0
    arrays["layers.2.fc2.weight"] = random.standard_normal((90, 100))
    arrays["layers.3.fc3.weight"][0, 0] = np.nan
    for chosen in (arrays, dict(list(arrays.items())[:30])):
        pages = draw(SpectrumView(each=False, side=80), chosen)
        panels = {panel.title.partition(" ")[0]: panel for panel in pages["spectrum_overview"].panels[:-1]}
        ill = "layers.3.fc3.weight" in chosen
        for title, panel in panels.items():
            if isinstance(panel, Bar):
                assert np.count_nonzero(np.isnan(panel.values)) == 0
                assert not {"1.fc1", "2.fc2"} & {*panel.labels} or title == "σ₁"
            else:
                assert np.isnan(panel.grid.values).sum() == (ill and title != "α")
    assert table_of({"eye.weight": np.eye(70)})["eye.weight"]["What"] == "no α: all eigenvalues are equal"


def test_each_matrix_is_in_the_table_and_tied_ones_once():
    random = np.random.default_rng(1)
    tied = random.standard_normal((70, 60))
    arrays = {
        "embed.weight": tied,
        "head.weight": tied,
        "attn.in_proj_weight": random.standard_normal((180, 60)),
        "mlp.experts.w1": random.standard_normal((12, 50, 60)),
        "conv.weight": random.standard_normal((60, 20, 3, 3)),
        "norm.weight": np.ones(60),
        "ids": np.arange(3600).reshape(60, 60),
    }
    names = list(table_of(arrays))
    assert names == [
        "embed.weight",
        *(f"attn.in_proj_weight {letter}" for letter in "QKV"),
        *(f"mlp.experts.w1[{place}]" for place in range(12)),
        "conv.weight",
    ]
    assert [part.shape for part in parts(checkpoint_of(arrays)["conv.weight"])] == [(60, 180)]
    pages = draw(SpectrumView(), arrays)
    assert len(pages) == 5 + 2
    (one,) = (page for name, page in pages.items() if "in_proj" in name)
    assert [panel.title[:3] for panel in one.panels] == ["Q: ", "Q: ", "K: ", "K: ", "V: ", "V: "]
    assert all("eigenvalues" in panel.y for panel in one.panels[::2])
    (line, _) = pages["spectrum/conv.weight_spectrum"].panels
    assert isinstance(line, Line)
    assert line.y["eigenvalues"][0] == 1


def test_the_command_says_what_it_drew_and_what_it_cannot(tmp_path):
    done = torch2grid(DIGITS, "--spectrum", "-o", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Stable rank" in done.stdout
    assert (tmp_path / "out/spectrum_overview.png").exists()
    save_file({"norm.weight": np.ones(4, np.float32)}, tmp_path / "vector.safetensors")
    done = torch2grid("vector.safetensors", "--spectrum", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("matrices and kernels of floating numbers, and there are none")
    done = torch2grid(DIGITS, "--view", "spectrum:side=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "side must be at least 2" in done.stderr


def test_python_has_the_table():
    frame = t2g.spectrum({"fc.weight": np.random.default_rng(0).standard_normal((80, 90))}, exact=True)["spectrum"].to_pandas()
    assert frame.loc[0, "Matrix"] == "fc.weight"
    assert frame.loc[0, "Tail"] <= 80
