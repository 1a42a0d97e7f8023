"""Histograms: bars against numpy, nothing lost at the ends, sheets for many tensors."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.views.drawing import draw

from torch2grid_builtin._views.histogram import HistogramView, bar_edges
from torch2grid_core import Settings
from torch2grid_core.measures import Distribution
from torch2grid_core.pages import Band, Histogram


def histogram_of(array, view=None, run=None):
    pages = draw(view or HistogramView(), {"layer.weight": array}, run)
    page = pages["histograms/layer.weight_hist"]
    (panel,) = page.panels
    assert isinstance(panel, Histogram)
    return page, panel


def check_bars(array, panel):
    values = np.asarray(array).reshape(-1)
    values = np.abs(values) if values.dtype.kind == "c" else values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        finite = values[np.isfinite(values)]
        np.testing.assert_array_equal(panel.counts, np.histogram(finite, panel.edges)[0])
        assert panel.below == (values < panel.edges[0]).sum()
        assert panel.above == (values > panel.edges[-1]).sum()
    assert panel.nan == np.isnan(values).sum()
    assert panel.counts.sum() + panel.below + panel.above + panel.nan == values.size


@pytest.mark.parametrize("size", [1, 7, 300, 5_000, 300_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_bars_are_numpys(dtype, size):
    array = (np.random.default_rng(size).standard_normal(size) * 0.1).astype(dtype).reshape(1, size)
    page, panel = histogram_of(array)
    check_bars(array, panel)
    assert np.dtype(dtype).name in page.title
    assert f"1×{size}" in page.title
    assert page.about == {"tensor": "layer.weight", "shape": [1, size], "dtype": np.dtype(dtype).name}
    if size == 300_000 and dtype != ml_dtypes.float8_e4m3fn:
        assert 60 <= len(panel.counts) <= 130
        assert panel.counts.max() < 0.1 * size


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.bool_, np.complex64])
def test_whole_and_complex_numbers(dtype):
    array = np.random.default_rng(1).integers(0, 2 if dtype == np.bool_ else 120, (40, 50)).astype(dtype)
    _, panel = histogram_of(array)
    check_bars(array, panel)
    if dtype != np.complex64:
        assert set(panel.edges % 1) <= {0.0, 0.5}
        assert (np.diff(panel.edges) >= 1).all()


def test_bfloat16_makes_no_comb():
    array = (np.random.default_rng(2).standard_normal(400_000)).astype(ml_dtypes.bfloat16)
    _, panel = histogram_of(array)
    heights = panel.counts[np.abs(panel.edges[:-1]) < 2].astype(float)
    smooth = (heights[:-2] + heights[2:]) / 2
    assert (np.abs(heights[1:-1] - smooth) < 0.15 * smooth + 50).all()


@given(
    array=hnp.arrays(np.float32, st.integers(1, 80), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
    shift=st.sampled_from([0, 1, 1e4]),
)
def test_no_weight_is_lost(array, shift):
    with np.errstate(over="ignore"):
        array = array + np.float32(shift)
    assume(np.isfinite(array).any())  # the others are told, not drawn
    _, panel = histogram_of(array)
    check_bars(array, panel)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(50, np.float32),
        np.full(50, -0.37, np.float32),
        np.array([1e308, -1e308, 0]),
        np.full(5, np.finfo(np.float64).max),
        np.array([1e-310, 3e-310]),
        np.array([5e-324, -5e-324, 1e-323]),
        np.full(5, 5e-324),
        np.array(3.5),
        1e4 + 1e-3 * np.random.default_rng(0).standard_normal(3000),
        np.append(np.zeros(100_000, np.float32), np.float32(7)),
    ],
    ids=["zeros", "constant", "huge", "largest", "tiny", "least", "one least", "scalar", "narrow", "one outlier"],
)
def test_odd_tensors(array):
    _, panel = histogram_of(array)
    check_bars(array, panel)
    assert np.isfinite(panel.edges).all()
    assert (np.diff(panel.edges) > 0).all()
    assert len(panel.counts) <= 260


@pytest.mark.parametrize(
    ("array", "text", "counts", "flag"),
    [
        (np.full((64, 64), np.nan, np.float32), "all 4,096 weights are NaN", (4096, 4096, 0, 0), "all NaN"),
        (np.full(5, -np.inf), "all 5 weights are Inf", (5, 0, 0, 5), "all Inf"),
        (np.array([np.inf, -np.inf, np.nan, np.nan]), "no weight is finite: 2 NaN, 2 Inf", (4, 2, 1, 1), "2 NaN, 2 Inf"),
        (np.array(np.nan), "the only weight is NaN", (1, 1, 0, 0), "all NaN"),
    ],
    ids=["nan", "inf", "both", "one"],
)
def test_nothing_finite_is_said_and_counted(array, text, counts, flag):
    pages = draw(HistogramView(), {"a.weight": array})
    told, table = pages["histograms/a.weight_hist"].panels
    assert told.text == text
    assert (table.columns, table.rows) == (("Weights", "NaN", "+Inf", "-Inf"), (counts,))
    band, small = pages["histogram_overview"].panels
    assert (small.title, small.text) == ("a.weight", text)
    assert np.isnan(band.values).all()  # a place and a mark, no bar
    assert band.flags == {0: flag}


def test_one_outlier_does_not_flatten_the_rest():
    array = (np.random.default_rng(3).standard_normal(100_000) * 0.02).astype(np.float32)
    array[5] = 1000
    _, panel = histogram_of(array)
    assert panel.edges[-1] < 1
    assert panel.above >= 1
    assert panel.counts.max() < 5_000


def test_marks_and_figures():
    array = np.random.default_rng(4).standard_normal(2000).astype(np.float32)
    array[:20] = 0
    array[20] = np.nan
    finite = np.delete(array, 20).astype(np.float64)
    _, panel = histogram_of(array)
    assert 0.0 in panel.marks.values()
    assert any(value == pytest.approx(finite.mean()) for value in panel.marks.values())
    assert panel.summary["weights"] == "2,000"
    assert panel.summary["mean"] == f"{finite.mean():.4g}".replace("-", "−")
    assert panel.summary["std"] == f"{finite.std():.4g}"
    assert panel.summary["min"] == f"{finite.min():.4g}".replace("-", "−")
    assert panel.summary["max"] == f"{finite.max():.4g}"
    assert panel.summary["|w| < 1e−06"] == "20 (1.00 %)"
    assert panel.summary["NaN"] == "1"
    _, panel = histogram_of(array, run=Settings(threshold=0.5))
    assert {0.5, -0.5, 0.0} <= set(panel.marks.values())


def test_large_tensors_are_counted_by_their_distribution_exactly():
    array = (np.random.default_rng(5).standard_normal(600_000) * 0.03 + 0.01).astype(np.float32)
    distribution = Distribution()
    distribution.update(array)
    edges = bar_edges(distribution, array.dtype, 100, 0.001, whole=False)
    counts, below, above = distribution.histogram(edges)
    np.testing.assert_array_equal(counts, np.histogram(array.astype(np.float64), edges)[0])
    assert (below, above) == ((array < edges[0]).sum(), (array > edges[-1]).sum())


@pytest.mark.parametrize("dtype", ["float8_e5m2", "float32", "int16"])
@pytest.mark.parametrize("count", [600, 400_000])
def test_no_weight_is_below_bars_that_begin_at_the_least(dtype, count):
    array = np.round(np.random.default_rng(6).standard_normal(count).clip(-3, 3) * 2) / 2
    for least in (-3.5, -8.0, -5.5):
        array[7] = least
        numbers = array.astype(np.int16 if dtype == "int16" else getattr(ml_dtypes, dtype, dtype))
        distribution = Distribution()
        distribution.update(numbers)
        for tail in (0, 1e-3):
            edges = bar_edges(distribution, numbers.dtype, 100, tail, whole=False)
            counts, below, above = distribution.histogram(edges)
            wide = numbers.astype(np.float64)
            assert (below, above) == ((wide < edges[0]).sum(), (wide > edges[-1]).sum())
            assert not below or wide.min() < edges[0]
            np.testing.assert_array_equal(counts, np.histogram(wide, edges)[0])
        _, panel = histogram_of(numbers, HistogramView(tail=0))
        assert (panel.below, panel.above) == (0, 0)
        assert panel.counts.sum() == count


def test_options():
    array = np.random.default_rng(6).standard_normal(50_000)
    _, coarse = histogram_of(array, HistogramView(bars=20, log=True))
    assert 10 <= len(coarse.counts) <= 30
    assert coarse.log
    _, whole = histogram_of(array, HistogramView(tail=0))
    assert whole.below == whole.above == 0
    for wrong in ({"bars": 1}, {"tail": 0.5}, {"tail": -1}):
        with pytest.raises(ValueError, match="between"):
            HistogramView(**wrong)


def test_the_overview_shows_every_tensor_and_the_quantiles_of_each_layer():
    generator = np.random.default_rng(7)
    arrays = {}
    for layer in range(5):
        arrays[f"{layer}.weight"] = generator.standard_normal((20, 30)) * (layer + 1)
        arrays[f"{layer}.bias"] = generator.standard_normal(30)
    arrays["bn.weight"] = generator.uniform(0.9, 1.1, 8)
    arrays["bn.running_var"] = np.full(8, 1e6)
    arrays["obs.var"] = np.full(8, 1e6)  # figures about data are no weights, whatever a policy calls them
    arrays["prelu.weight"] = np.full(8, 0.25)
    arrays["\x1b[31mred"] = np.full(4, np.nan)
    page = draw(HistogramView(), arrays)["histogram_overview"]
    bands = [panel for panel in page.panels if isinstance(panel, Band)]
    small = {panel.title: panel for panel in page.panels if not isinstance(panel, Band)}
    assert set(small) == {name.replace("\x1b", "\\x1b") for name in arrays}
    for name in arrays:
        check_bars(arrays[name], small[name]) if "bn" not in name and "red" not in name else None
    assert small["\\x1b[31mred"].text == "all 4 weights are NaN"
    labels = {band.title.partition(":")[0]: band.labels for band in bands}
    assert labels == {
        "weight": ("0", "1", "2", "3", "4"),
        "bias": ("0", "1", "2", "3", "4"),
        "vectors outside the layers": ("prelu.weight", "\\x1b[31mred"),
        "normalisation weights outside the layers": ("bn.weight",),  # about 1, where biases are about 0
    }
    assert bands[2].flags == {1: "all NaN"}
    assert np.isnan(bands[2].values[:, 1]).all()
    middle = bands[0].levels.index(0.5)
    for layer in range(5):
        expected = np.quantile(arrays[f"{layer}.weight"], 0.5, method="inverted_cdf")
        assert bands[0].values[middle, layer] == pytest.approx(expected, rel=0.004)


def test_the_overview_has_a_row_for_each_layer_and_a_column_for_each_kind_on_one_axis():
    generator = np.random.default_rng(9)
    kinds = {"a.weight": ((40, 30), 1.0), "b.weight": ((30, 40), 0.01), "norm.weight": ((30,), 5.0)}
    arrays = {
        f"h.{layer}.{kind}": (generator.standard_normal(shape) * size).astype(np.float32)
        for layer in range(6)
        for kind, (shape, size) in kinds.items()
    }
    page = draw(HistogramView(), arrays)["histogram_overview"]
    places = {panel.title: place for panel, place in zip(page.panels, page.places, strict=True) if isinstance(panel, Histogram)}
    panels = {panel.title: panel for panel in page.panels if isinstance(panel, Histogram)}
    first = page.row_names.index("0")
    assert page.row_names[first:] == ("0", "1", "2", "3", "4", "5")
    assert page.column_names == tuple(kinds)
    for column, kind in enumerate(kinds):
        edges = panels[f"h.0.{kind}"].edges
        for layer in range(6):
            assert places[f"h.{layer}.{kind}"] == (first + layer, column)
            np.testing.assert_array_equal(panels[f"h.{layer}.{kind}"].edges, edges)
            check_bars(arrays[f"h.{layer}.{kind}"], panels[f"h.{layer}.{kind}"])
        most = max(int(panels[f"h.{layer}.{kind}"].counts.max()) for layer in range(6))
        assert page.column_notes[column].endswith(f"count to {most:,} (log)")
        weights = np.concatenate([arrays[f"h.{layer}.{kind}"].ravel() for layer in range(6)])
        _, low, _, high = page.column_notes[column].partition(",")[0].replace("−", "-").split()
        assert [float(low), float(high)] == pytest.approx([weights.min(), weights.max()], abs=0.01 * float(np.ptp(weights)))
    assert len(page.panels) == len(arrays) + len(kinds)  # a quantile chart for each kind
    linear = draw(HistogramView(log=False), arrays)["histogram_overview"]
    assert "linear heights" in linear.title
    assert all(note.endswith("(linear)") for note in linear.column_notes)


def test_many_layers_take_several_sheets():
    arrays = {f"layers.{layer}.weight": np.random.default_rng(layer).standard_normal((4, 5)) for layer in range(700)}
    pages = draw(HistogramView(each=False), arrays)
    sheets = [pages[name] for name in ("histogram_overview", "histogram_overview_2", "histogram_overview_3")]
    titles = [panel.title for sheet in sheets for panel in sheet.panels if isinstance(panel, Histogram)]
    assert titles == list(arrays)
    assert [len(sheet.panels) for sheet in sheets] == [300, 300, 100]
    (band,) = pages["histogram_overview_depth"].panels
    assert band.labels == tuple(str(layer) for layer in range(700))
    assert len(pages) == 4


def test_heights_are_logarithmic_unless_asked_otherwise():
    array = np.random.default_rng(8).standard_normal(5_000)
    assert histogram_of(array)[1].log
    assert not histogram_of(array, HistogramView(log=False))[1].log
    assert "logarithmic heights" in draw(HistogramView(), {"a": array, "b": array})["histogram_overview"].title


def test_negative_figures_have_a_minus_sign():
    array = np.linspace(-3, 1, 400, dtype=np.float32).reshape(20, 20)
    _, panel = histogram_of(array)
    small = draw(HistogramView(), {"layer.weight": array})["histogram_overview"].panels[-1]
    texts = [*panel.summary.values(), *panel.marks, *small.summary.values()]
    assert {"−1", "−3", "mean −1"} <= set(texts)
    assert not any(text.startswith("-") or " -" in text for text in texts)
