"""The statistics table: its columns, its figures against numpy, what ``detail`` and ``sort`` change."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from tests.support.tools import DIGITS, torch2grid
from tests.support.views.drawing import draw

from torch2grid_builtin._views.stats import DETAIL, Stats
from torch2grid_core import Settings, UsageError
from torch2grid_core._pictures.page import table_lines

COLUMNS = ("Layer Name", "Mean", "Std", "Min", "Max", "~Zero%")


def arrays():
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((64, 32)).astype(np.float32)
    weight[:16] = 0
    return {
        "fc.weight": weight,
        "fc.bias": generator.standard_normal(64).astype(ml_dtypes.bfloat16),
        "half": (generator.standard_normal((3, 700)) * 10).astype(np.float16),
        "codes": generator.integers(-128, 128, (9, 9)).astype(np.int8),
        "one": np.float64(2.5),
    }


def table_of(view, tensors, run=None):
    (page,) = draw(view, tensors, run).values()
    assert (page.kind, page.title) == ("table", "Layer Statistics Comparison")
    (table,) = page.panels
    return table, [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.mark.parametrize("threshold", [1e-6, 0.5])
def test_the_figures_are_numpys(threshold):
    table, rows = table_of(Stats(), arrays(), Settings(threshold=threshold))
    assert table.columns == COLUMNS
    assert [row["Layer Name"] for row in rows] == list(arrays())
    for row, array in zip(rows, arrays().values(), strict=True):
        values = np.asarray(array).astype(np.float64)
        assert row["Mean"] == pytest.approx(values.mean(), rel=1e-12, abs=1e-14)
        assert row["Std"] == pytest.approx(values.std(), rel=1e-12)
        assert (row["Min"], row["Max"]) == (values.min(), values.max())
        assert row["~Zero%"] == 100 * np.mean(np.abs(values) < threshold)


def test_four_decimals_and_a_percentage_with_two():
    table, _ = table_of(Stats(), {"a.weight": np.array([[0.0, 1 / 3, -2.0]])})
    assert table_lines(table)[2].split() == ["a.weight", "-0.5556", "1.0304", "-2.0000", "0.3333", "33.33"]


def test_nan_and_inf_get_columns_at_the_end_where_there_are_any():
    ill = {"ill": np.array([np.nan, np.nan, 1.0, 3.0]), "inf": np.array([np.inf, -np.inf, np.nan])}
    table, rows = table_of(Stats(), {**arrays(), **ill})
    assert table.columns == (*COLUMNS, "NaN", "Inf")
    assert [(row["NaN"], row["Inf"]) for row in rows] == [(0, 0)] * len(arrays()) + [(2, 0), (1, 2)]
    assert (rows[-2]["Mean"], rows[-1]["Mean"]) == (2.0, None)  # of the finite weights; of none there is no figure
    assert table_of(Stats(), arrays())[0].columns == COLUMNS
    assert table_of(Stats(detail=True), {**arrays(), **ill})[0].columns == DETAIL
    _, rows = table_of(Stats(sort="nan"), {**arrays(), **ill})
    assert [row["Layer Name"] for row in rows[:2]] == ["ill", "inf"]


def test_detail_has_everything_and_a_totals_row():
    tensors = arrays()
    tensors["tied"] = tensors["fc.weight"]
    table, rows = table_of(Stats(detail=True), tensors)
    assert table.columns[:6] == COLUMNS
    by_name = {row["Layer Name"]: row for row in rows}
    row = by_name["fc.weight"]
    values = tensors["fc.weight"].astype(np.float64).reshape(-1)
    assert (row["Shape"], row["Dtype"], row["Weights"]) == ("64×32", "float32", 2048)
    assert row["L1"] == pytest.approx(np.abs(values).sum())
    assert row["L2"] == pytest.approx(np.sqrt((values**2).sum()))
    assert row["RMS"] == pytest.approx(np.sqrt((values**2).mean()))
    assert row["75%"] == pytest.approx(np.quantile(values, 0.75, method="inverted_cdf"), rel=0.004)
    assert row["Zeros"] == 16 * 32
    assert row["Dead%"] == pytest.approx(100 * 16 / 96)
    assert by_name["fc.bias"]["Dead%"] is None
    total = rows[-1]
    counted = np.concatenate(
        [np.asarray(array).astype(np.float64).reshape(-1) for name, array in tensors.items() if name != "tied"]
    )
    assert total["Weights"] == counted.size
    assert total["Mean"] == pytest.approx(counted.mean())
    assert total["Std"] == pytest.approx(counted.std())
    assert total["Dead%"] == pytest.approx(100 * 16 / (96 + 703 + 18))
    assert len(table_lines(table)) == len(tensors) + 3


def test_nothing_finite_is_a_dash_and_never_a_number():
    _, rows = table_of(Stats(detail=True), {"nan": np.full(3, np.nan), "some": np.array([1.0, np.nan, np.inf, -np.inf])})
    assert [rows[0][column] for column in ("Mean", "Std", "Median", "L1", "NaN")] == [None, None, None, None, 3]
    assert [rows[1][column] for column in ("Mean", "Std", "NaN", "+Inf", "-Inf")] == [1, 0, 1, 1, 1]
    for row in rows:
        assert not any(isinstance(value, float) and math.isnan(value) for value in row.values())


@pytest.mark.parametrize("column", ["std", "Std", "STD"])
def test_sorting_by_a_figure_puts_the_largest_first(column):
    ill = {"ill": np.full(2, np.nan), "partly": np.array([1.0, 2.0, np.inf])}
    _, rows = table_of(Stats(sort=column), {**arrays(), "none": np.empty(0), **ill})
    assert [row["Layer Name"] for row in rows[:2]] == ["partly", "ill"]  # before any that is whole, the largest of them first
    deviations = [row["Std"] for row in rows[2:]]
    assert deviations[-1] is None
    assert deviations[:-1] == sorted(deviations[:-1], reverse=True)


def test_sorting_by_name_and_by_what_is_no_column():
    _, rows = table_of(Stats(sort="name"), arrays())
    assert [row["Layer Name"] for row in rows] == sorted(arrays(), key=str.casefold)
    with pytest.raises(UsageError, match=r"no column 'kurtosis'.*Mean, Std"):
        table_of(Stats(sort="kurtosis"), arrays())
    _, rows = table_of(Stats(detail=True, sort="kurtosis"), arrays())
    assert rows[0]["Layer Name"] == "fc.weight"
    assert rows[-1]["Layer Name"] == "(all tensors)"


def test_on_the_command_line(tmp_path):
    done = torch2grid(DIGITS, "--stats", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    start = lines.index("Layer Statistics Comparison")
    assert lines[start + 1].split() == ["Layer", "Name", "Mean", "Std", "Min", "Max", "~Zero%"]
    assert lines[start + 3].split()[0] == "conv1.weight"
    assert len(lines[start + 3 :]) == 8
    assert not list(tmp_path.iterdir())
