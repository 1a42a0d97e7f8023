"""JSON and CSV: every number comes back, and nothing in them is more than data."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.renderers.pages import every_panel, small_grid
from tests.support.tools import DIGITS, torch2grid

import torch2grid as t2g
from torch2grid_builtin._renderers.data import Csv, Json
from torch2grid_core import Grid, Page, Style
from torch2grid_core.grids import ColorScale
from torch2grid_core.pages import Band, Bar, Heatmap, Line, Table
from torch2grid_core.text import json_text


def as_json(page: Page) -> dict[str, Any]:
    stream = io.BytesIO()
    Json().render(page, stream, Style(), "json")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    document = json.loads(stream.getvalue().decode("utf-8"), parse_constant=refuse)
    assert isinstance(document, dict)
    return document


def as_rows(page: Page) -> list[list[str]]:
    stream = io.BytesIO()
    Csv().render(page, stream, Style(), "csv")
    return list(csv.reader(io.StringIO(stream.getvalue().decode("utf-8"), newline=""), strict=True))


def test_every_panel_is_in_the_json() -> None:
    page = every_panel()
    document = as_json(page)
    assert document["format"] == "torch2grid page 1"
    assert document["about"] == {"tensor": "w\u202e", "shape": [2, 3]}
    assert [panel["title"] for panel in document["panels"]] == [panel.title for panel in page.panels]
    heat = document["panels"][0]
    assert heat["values"] == [["NaN", 1, -2], ["Infinity", 0, None]]
    assert heat["weights_per_cell"] == [[1, 2, 1], [1, 1, 0]]
    assert (heat["limits"], heat["scale"], heat["reduce"], heat["cell"]) == ([-1, 1], "linear", "mean", [1, 1])
    assert heat["row_marginal"] == {"label": "|max|", "values": ["NaN", 3]}
    assert heat["column_marginal"]["values"] == ["Infinity", 1, 2]
    histogram = next(panel for panel in document["panels"] if panel["title"] == "hist")
    assert (histogram["edges"], histogram["counts"]) == ([-1, 0, 1], [3, 4])
    assert (histogram["below"], histogram["above"], histogram["nan"]) == (1, 2, 3)
    assert document["panels"][-1] == {
        "kind": "table",
        "of": "Own",
        "title": "of a plugin",
        "columns": ["what", "number"],
        "rows": [["mine", 1.5]],
    }


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(width=32)))
def test_json_and_csv_keep_every_float32(values: Any) -> None:
    page = Page("p", "p", (Heatmap(Grid(values), ColorScale(-1, 1)),))
    found = as_json(page)["panels"][0]["values"]
    assert np.array_equal(np.array(found, dtype=object).astype(str).astype(np.float32), values, equal_nan=True)
    rows = as_rows(page)
    assert rows[0] == ["row", "column", "value", "weights"]
    assert [(int(row), int(column)) for row, column, _, _ in rows[1:]] == list(np.ndindex(*values.shape))
    assert np.array_equal(np.array([row[2] for row in rows[1:]], dtype=np.float32), values.reshape(-1), equal_nan=True)


def test_weights_of_a_checkpoint_come_back_exactly() -> None:
    values = t2g.load(str(DIGITS))["fc2.weight"].numpy()
    page = next(page for page in t2g.layers(str(DIGITS)) if page.name == "fc2.weight")
    panel = as_json(page)["panels"][0]
    assert panel["weights_per_cell"] == 1
    assert np.array_equal(np.array(panel["values"], dtype=np.float32), values)
    assert panel["regions"] == [{"name": "fc2.weight", "rects": [[0, 0, 10, 32]]}]


def test_cells_without_weights_are_not_rows() -> None:
    rows = as_rows(Page("p", "p", (Heatmap(small_grid(), ColorScale(-1, 1)),)))
    assert len(rows) == 1 + 5
    assert rows[2] == ["0", "1", "1", "2"]


def test_several_panels_are_tables_with_a_column_that_says_which() -> None:
    rows = as_rows(every_panel())
    assert rows[0] == ["panel", "row", "column", "value", "weights", "|max| of the row", "|max| of the column"]
    assert rows[2] == ["1: heat", "0", "1", "1", "2", "nan", "1.0"]
    blank = [index for index, row in enumerate(rows) if not row]
    assert all(rows[index + 1][0] == "panel" for index in blank)
    assert rows[-1] == ["17: of a plugin", "mine", "1.5"]
    same = Page("p", "p", (Table(("a",), ((1,),), "one"), Table(("a",), ((2,),), "two")))
    assert as_rows(same) == [["panel", "a"], ["1: one", "1"], ["2: two", "2"]]
    named = replace(same, panel_names=("first", "second"))
    assert as_rows(named) == [["panel", "a"], ["first", "1"], ["second", "2"]]
    assert [(panel["name"], panel["title"]) for panel in as_json(named)["panels"]] == [("first", "one"), ("second", "two")]
    with pytest.raises(ValueError, match="1 panel_names name 2 panels"):
        replace(same, panel_names=("first",))


@pytest.mark.parametrize("view", ["outliers", "vocabulary", "quantization"])
def test_names_of_panels_do_not_change_with_the_data(view: str) -> None:
    random = np.random.default_rng(0)
    plain = {f"{name}.weight": random.standard_normal((64, 64)).astype(np.float32) for name in ("embed_tokens", "fc")}
    other = {name: each.copy() for name, each in plain.items()}
    other["embed_tokens.weight"][7] *= 100
    other["embed_tokens.weight"][9:12] = other["embed_tokens.weight"][8]
    other["embed_tokens.weight"][20, 5] = np.nan
    found = []
    for state in (plain, other):
        (page,) = (page for page in t2g.draw(state, view) if page.name == view)
        found.append(list(dict.fromkeys(row[0] for row in as_rows(page) if row and row[0] != "panel")))
    assert found[0] == found[1][: len(found[0])]
    assert not any(re.search(r"\d", name) for name in found[1])


def test_text_that_a_spreadsheet_would_run_is_not_a_formula() -> None:
    rows = (("=1+1", 1), ("@SUM(A1)", 2), ("-2+3", 3), ("-0.5", 4), ("a\x1b[31m,b", 5), ("none", None))
    found = as_rows(Page("p", "p", (Table(("name", "=x"), rows),)))
    assert found[0] == ["name", "'=x"]
    assert [row[0] for row in found[1:]] == ["'=1+1", "'@SUM(A1)", "'-2+3", "-0.5", "a\\x1b[31m,b", "none"]
    assert found[-1][1] == ""


@pytest.mark.parametrize("sign", "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u208b")
@pytest.mark.parametrize("before", ["", " ", "\u00a0", "x;", "x; ", 'x;"', "x|", "x\t", "a;b;"])
@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
def test_no_cell_of_any_locale_begins_as_a_formula(sign: str, before: str, separator: str) -> None:
    stream = io.BytesIO()
    text = f"{before}{sign}cmd|' /C calc'!A0"
    page = Page("p", "p", (Table(("name", text), (("n", text), (text, 1)), text), Table(("other",), ((text,),), text)))
    Csv().render(page, stream, Style(), "csv")
    signs = tuple("=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u208b")
    lines = stream.getvalue().decode("utf-8").splitlines()
    cells = [cell for row in csv.reader(lines, delimiter=separator) for cell in row]
    cells += [cell for line in lines for cell in line.split(separator)]  # by a reader that knows no quotes
    assert any(sign in cell for cell in cells)
    assert [
        cell for cell in cells if cell.strip("\"' \u00a0").startswith(signs) and not cell.lstrip('" ').startswith("'")
    ] == []


def test_numbers_in_texts_stay_as_they_are() -> None:
    table = Table(("n",), (("-0.5",), ("+1e5",), ("-1,234",), ("-inf",), ("[-1, -2]",), ("0.weight",), ("a-b=c@d",)))
    assert [row[0] for row in as_rows(Page("p", "p", (table,)))[1:]] == [row[0] for row in table.rows]


def test_every_control_character_is_an_escape_in_json() -> None:
    controls = "".join(map(chr, [*range(32), *range(127, 160)])) + "\u2028\u2029\u202e\ufeff"
    stream = io.BytesIO()
    Json().render(Page("p", controls, (Table((controls,), ((controls,),)),)), stream, Style(), "json")
    text = stream.getvalue().decode("utf-8")
    assert not {char for char in text if unicodedata.category(char)[0] == "C"} - {"\n"}
    assert json.loads(text)["title"] == controls
    assert json.loads(json_text("\x7f")) == "\x7f"
    assert json_text("\x7f") == '"\\u007f"'


def test_hidden_characters_are_escaped_and_come_back() -> None:
    page = Page("p", "×\u202e\x1b\ud800", (Table(("n",), (("\u200b",), ("ü",))),))
    stream = io.BytesIO()
    Json().render(page, stream, Style(), "json")
    text = stream.getvalue().decode("utf-8")
    assert "×\\u202e\\u001b\\ud800" in text
    assert "ü" in text
    assert "\\u200b" in text
    assert json.loads(text)["title"] == page.title


def test_infinite_figures_are_text_and_those_that_are_nan_null() -> None:
    table = Table(("n",), ((math.inf,), (-math.inf,), (math.nan,), (None,), (True,)))
    assert as_json(Page("p", "p", (table,)))["panels"][0]["rows"] == [["Infinity"], ["-Infinity"], [None], [None], [True]]
    numbers = np.array([1.0, math.nan, math.inf])
    flags = {1: "all NaN"}
    panels = (
        Line(np.arange(3.0), {"a": numbers}, flags=flags),
        Bar(("a", "b", "c"), numbers, flags=flags),
        Band(("a", "b", "c"), (0.5,), numbers[None], flags=flags),
    )
    line, bar, band = as_json(Page("p", "p", panels))["panels"]
    assert line["y"]["a"] == bar["values"] == band["values"][0] == [1.0, None, "Infinity"]
    assert line["flags"] == bar["flags"] == band["flags"] == {"1": "all NaN"}


def test_a_page_that_is_an_object_of_its_own_is_written_as_that() -> None:
    assert as_json(Page("p", "p", (), data={"a": [1, math.nan]})) == {"a": [1, "NaN"]}


def test_the_command_writes_all_pages_of_a_run_into_one_json(tmp_path: Any) -> None:
    done = torch2grid(DIGITS, "--stats", "--layers", "-o", "all.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "all.json\n")
    document = json.loads((tmp_path / "all.json").read_text())
    assert document["format"] == "torch2grid pages 1"
    assert sorted(page["name"] for page in document["pages"])[:2] == ["conv1.bias", "conv1.weight"]
    assert len(document["pages"]) == 8 + 1 + 1
    one = torch2grid(DIGITS, "--stats", "-o", "one.json", cwd=tmp_path)
    assert one.returncode == 0
    assert json.loads((tmp_path / "one.json").read_text())["format"] == "torch2grid page 1"


def test_the_command_writes_csv(tmp_path: Any) -> None:
    done = torch2grid(DIGITS, "--stats", "--format", "csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / done.stdout.strip()).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    values = t2g.load(str(DIGITS))["fc1.weight"].numpy()
    assert float(next(row["Std"] for row in rows if row["Layer Name"] == "fc1.weight")) == pytest.approx(values.std(), rel=1e-5)
