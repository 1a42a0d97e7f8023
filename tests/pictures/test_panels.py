"""A panel checks itself where it is made, so that what does not fit is its author's error and no renderer's."""

from __future__ import annotations

import dataclasses
import math
import pickle
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tests.support.tools import DIGITS, torch2grid

from torch2grid_core import Grid, Page
from torch2grid_core._pictures.scale import color_scale
from torch2grid_core.pages import (
    Band,
    Bar,
    Boxes,
    Heatmap,
    Histogram,
    Image,
    Line,
    Marginal,
    Numbers,
    Ridges,
    Scatter,
    Table,
    Text,
)

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "short row": (lambda: Table(("a", "b"), ((1, 2), (3,))), "row 1 of the table has 1 cells for 2 columns"),
    "long row": (lambda: Table(("a",), ((1, 2),)), "row 0 of the table has 2 cells for 1 columns"),
    "short series": (
        lambda: Line(np.arange(3), {"a": np.arange(3), "b": np.arange(2)}),
        r"series 'b' has the shape \(2,\), not \(3,\): x has 3 places",
    ),
    "flat series": (lambda: Line(np.arange(3), {"a": np.ones((3, 1))}), r"series 'a' has the shape \(3, 1\)"),
    "ticks": (lambda: Line(np.arange(3), {}, xticks=("a",)), "1 xticks name 3 places of x"),
    "points": (lambda: Scatter(np.arange(3), np.arange(4)), r"y has the shape \(4,\), not \(3,\): x has 3 points"),
    "names": (lambda: Scatter(np.arange(3), np.arange(3), names=("a",)), "1 names for 3 points"),
    "groups": (lambda: Scatter(np.arange(3), np.arange(3), groups=("a", "b")), "2 groups for 3 points"),
    "edges": (
        lambda: Histogram(np.arange(3), np.arange(3)),
        r"edges has the shape \(3,\), not \(4,\): 3 counts have one edge more",
    ),
    "no counts": (lambda: Histogram(np.arange(3), np.arange(0)), "0 counts have one edge more"),
    "levels": (lambda: Band(("a",), (0.5,), np.ones((2, 1))), r"values has the shape \(2, 1\), not \(1, 1\)"),
    "bars": (lambda: Bar(("a", "b"), np.ones(3)), r"values has the shape \(3,\), not \(2,\): a value for each label"),
    "boxes": (lambda: Boxes(("a",), np.ones((4, 1))), "five quantiles for each label"),
    "no colours": (lambda: Image(np.ones((4, 5), np.uint8)), "rows, columns and three colours"),
    "four colours": (lambda: Image(np.ones((4, 5, 4), np.uint8)), r"rgb has the shape \(4, 5, 4\), not \(4, 5, 3\)"),
    "texts in a series": (
        lambda: Line(np.arange(2), {"a": np.array(["1", "2"])}),
        "series 'a': real numbers are needed, not texts",
    ),
    "objects in a series": (lambda: Line(np.arange(2), {"a": [1.0, None]}), "series 'a': real numbers are needed, not object"),
    "complex x": (lambda: Line(np.ones(2) * 1j, {}), "x: real numbers are needed, not complex128"),
    "dates": (lambda: Line(np.zeros(2, "M8[s]"), {}), "x: real numbers are needed, not datetime64"),
    "series by number": (
        lambda: Line(np.arange(2), {3: np.arange(2)}),
        "names are texts, and one is '3', which is of type int",
    ),
    "number ticks": (lambda: Line(np.arange(2), {}, xticks=(1, 2)), "xticks are texts, and one is '1'"),
    "marks list": (lambda: Line(np.arange(2), {}, marks=[1]), "marks are a list, not a mapping of names to numbers"),
    "marks turned": (
        lambda: Line(np.arange(2), {}, xmarks={1.0: "a"}),
        "xmarks are numbers by name, and one has the name '1.0'",
    ),
    "text mark": (
        lambda: Scatter(np.arange(2), np.arange(2), marks={"a": "1"}),
        "marks: 'a': real numbers are needed, not texts",
    ),
    "long mark": (lambda: Bar(("a",), [1], marks={"a": [1, 2]}), "marks: 'a' is of 2 values, not a number"),
    "no mark": (lambda: Histogram([0, 1], [1], marks={"a": None}), "marks: 'a': real numbers are needed, not object"),
    "text points": (lambda: Scatter(["a"], [1.0]), "x: real numbers are needed, not texts"),
    "complex points": (lambda: Scatter([1], [1j]), "y: real numbers are needed, not complex128"),
    "number groups": (lambda: Scatter([1], [1], groups=(3,)), "groups are texts, and one is '3', which is of type int"),
    "number names": (lambda: Scatter([1], [1], names=(None,)), "names are texts, and one is 'None'"),
    "text edges": (lambda: Histogram(["a", "b"], [1]), "edges: real numbers are needed, not texts"),
    "text counts": (lambda: Histogram([0, 1], ["1"]), "counts: real numbers are needed, not texts"),
    "ridges": (lambda: Ridges(("a",), np.arange(3.0), np.ones((1, 3))), r"shares has the shape \(1, 3\), not \(1, 2\)"),
    "bend": (lambda: Ridges(("a",), np.arange(3.0), np.ones((1, 2)), bend=-1), "bend is a finite number from 0 on"),
    "bent band": (lambda: Band(("a",), (0.5,), np.ones((1, 1)), bend=math.inf), "bend is a finite number from 0 on"),
    "text levels": (lambda: Band(("a",), ("50%",), np.ones((1, 1))), "levels: real numbers are needed, not texts"),
    "text bands": (lambda: Band(("a",), (0.5,), [["x"]]), "values: real numbers are needed, not texts"),
    "text bars": (lambda: Bar(("a",), ["x"]), "values: real numbers are needed, not texts"),
    "number bars": (lambda: Bar((1,), [1]), "labels are texts, and one is '1'"),
    "complex boxes": (lambda: Boxes(("a",), np.ones((5, 1)) * 1j), "values: real numbers are needed, not complex128"),
    "flags": (
        lambda: Boxes(("a",), np.ones((5, 1)), flags={1: "NaN"}),
        "flags are texts by places from 0 to 0, and one is '1': 'NaN'",
    ),
    "format of nothing": (lambda: Table(("a",), ((1,),), formats={"b": ".2f"}), "formats: 'b' is not one of the columns a"),
    "no format": (lambda: Table(("a",), ((1,),), formats={"a": ".2q"}), "'.2q' of column 'a' is not a format of a number"),
    "whole format": (
        lambda: Table(("a",), ((1,), (0.5,)), formats={"a": ",d"}),
        "',d' is for whole numbers, and column 'a' has others",
    ),
    "number columns": (lambda: Table((1,), ((1,),)), "the columns are texts, and one is '1'"),  # type: ignore[arg-type]
    "no text": (lambda: Text(3), "the text is of type int"),  # type: ignore[arg-type]
    "a text as a row": (
        lambda: Table(("a", "b"), ("xy",)),
        "row 0 of the table: a sequence of cells is needed, not the text 'xy'",
    ),
    "a text as columns": (lambda: Table("ab", ((1, 2),)), "the columns: a sequence of texts is needed, not the text 'ab'"),
    "a mapping as a row": (lambda: Table(("a",), ({"a": 1},)), "row 0 of the table: a sequence of cells is needed"),
    "rows in a set": (lambda: Table(("a",), {(1,), (2,)}), "rows: a sequence of rows is needed, not of type set"),
    "a list in a cell": (lambda: Table(("a",), ((1,), ([1],))), "row 1 of the table has a cell of type list"),
    "an array in a cell": (lambda: Table(("a",), ((np.arange(3),),)), "row 0 of the table has a cell of type ndarray"),
    "a complex cell": (lambda: Table(("a",), ((1j,),)), "row 0 of the table has a cell of type complex"),
    "a ragged generator": (lambda: Table(("a", "b"), ((n,) for n in range(2))), "row 0 of the table has 1 cells for 2 columns"),
    "edges that fall": (lambda: Histogram([3, 2, 1.0], [1, 2]), "edges: finite numbers that do not decrease are needed"),
    "a NaN edge": (lambda: Histogram([0, np.nan, 1.0], [1, 2]), "edges: finite numbers that do not decrease are needed"),
    "an edge without end": (lambda: Histogram([0, 1, np.inf], [1, 2]), "edges: finite numbers"),
    "negative counts": (lambda: Histogram([0, 1, 2], [1, -2]), "counts: whole numbers of 0 or more are needed"),
    "half a count": (lambda: Histogram([0, 1], [0.5]), "counts: whole numbers of 0 or more are needed"),
    "a NaN count": (lambda: Histogram([0, 1], [np.nan]), "counts: whole numbers of 0 or more are needed"),
    "short curve": (
        lambda: Histogram([0, 1, 2], [1, 2], curves={"law": [1.5]}),
        r"curve 'law' has the shape \(1,\), not \(2,\): there are 2 bars",
    ),
    "negative curve": (
        lambda: Histogram([0, 1], [1], curves={"law": [-0.5]}),
        "curve 'law': finite numbers of 0 or more are needed, or NaN",
    ),
    "an infinite curve": (lambda: Histogram([0, 1], [1], curves={"law": [np.inf]}), "curve 'law': finite numbers"),
    "a list of curves": (lambda: Histogram([0, 1], [1], curves=[[1]]), "curves is of type list, not a Mapping"),
    "negative below": (lambda: Histogram([0, 1], [1], below=-1), "below is -1, not a whole number of 0 or more"),
    "colours as shares": (lambda: Image(np.zeros((2, 2, 3))), "rgb is of dtype float64, not uint8"),
    "levels per cent": (lambda: Band(("a",), (50,), np.ones((1, 1))), "levels: numbers from 0 to 1 are needed"),
    "ragged values": (lambda: Bar(("a", "b"), [[1], [1, 2]]), "values: "),
    "a text for groups": (
        lambda: Scatter([1, 2], [1, 2], groups="ab"),
        "groups: a sequence of texts is needed, not the text 'ab'",
    ),
    "one panel": (lambda: Page("p", "t", Text("x")), "page 'p': panels is one Text, not a tuple of panels"),
    "no panel": (lambda: Page("p", "t", ("x",)), "page 'p': one of its panels is of type str, which has no as_table"),
    "no title": (lambda: Page("p", None, ()), "page 'p': the title is of type NoneType, not a text"),
    "no name": (lambda: Page(None, "t", ()), "the name of a page is of type NoneType, not a text"),
    "about": (lambda: Page("p", "t", (), about=5), "page 'p': about is 5, not a Mapping"),
    "one format": (lambda: Page("p", "t", (), formats="png"), "page 'p': formats: a sequence of texts is needed, not the text"),
    "one note": (lambda: Page("p", "t", (), notes="so"), "page 'p': notes: a sequence of texts is needed, not the text 'so'"),
    "no column": (lambda: Page("p", "t", (), columns=0), "page 'p': columns is 0, not a whole number of 1 or more"),
    "numbers": (lambda: Numbers([1, 2]), "values is of type list, not a ndarray"),
    "kind": (lambda: Page("p", "t", (), kind="tabel"), "page 'p' is of kind 'tabel'; it is picture or table"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name: str) -> None:
    make, told = WRONG[name]
    with pytest.raises(ValueError, match=told):
        make()


_GRID = Grid(np.zeros((2, 3), np.float32))
GOOD: dict[type, Mapping[str, Any]] = {
    Table: {"columns": ("a",), "rows": ((1,),)},
    Marginal: {"values": np.zeros(2)},
    Heatmap: {"grid": _GRID, "scale": color_scale([_GRID])},
    Image: {"rgb": np.zeros((2, 2, 3), np.uint8)},
    Histogram: {"edges": np.arange(3.0), "counts": np.arange(2)},
    Line: {"x": np.arange(2.0), "y": {"a": np.arange(2.0)}},
    Scatter: {"x": np.arange(2.0), "y": np.arange(2.0)},
    Band: {"labels": ("a",), "levels": (0.5,), "values": np.zeros((1, 1))},
    Ridges: {"labels": ("a",), "edges": np.arange(3.0), "shares": np.zeros((1, 2))},
    Bar: {"labels": ("a",), "values": np.zeros(1)},
    Boxes: {"labels": ("a",), "values": np.zeros((5, 1))},
    Text: {"text": "x"},
    Numbers: {"values": np.zeros(2)},
    Page: {"name": "p", "title": "t", "panels": ()},
}
FIELDS = [(cls, each.name) for cls in GOOD for each in dataclasses.fields(cls)]


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=lambda each: getattr(each, "__name__", each))
def test_every_field_is_of_its_type(cls: type, name: str) -> None:
    """No field takes an object of no known type, nor a number where that is none."""
    assert cls(**GOOD[cls])
    wrong: list[Any] = [object(), 0.5 + 2j, [object()], b"bytes"]
    if (cls, name) not in ((Page, "about"), (Page, "data")):  # of whatever has a text
        wrong.append({"a": object()})
    for value in wrong:
        with pytest.raises(ValueError, match=name.partition("_")[0].removesuffix("s")):
            cls(**{**GOOD[cls], name: value})


def test_what_can_be_read_but_once_is_kept() -> None:
    """A table of a generator has its rows in every format, and every sequence of a panel is a tuple or an array."""
    rows: Any = ([n, np.float32(n)] for n in range(3))
    columns: Any = (name for name in "ab")
    table = Table(columns, rows)
    assert (table.columns, table.rows) == (("a", "b"), ((0, 0.0), (1, 1.0), (2, 2.0)))
    assert {type(cell) for row in table.rows for cell in row} == {int, float}
    cells: Any = (np.int8(1), np.bool_(True), np.float16(0.5), ml_dtypes.bfloat16(2), np.str_("x"), None, Fraction(1, 2))
    assert Table(tuple("abcdefg"), (cells,)).rows == ((1, True, 0.5, 2.0, "x", None, 0.5),)
    given: Any = (range(3), {"y": (n / 2 for n in range(3))}, iter("abc"))
    line = Line(given[0], given[1], xticks=given[2])
    assert (line.x.tolist(), line.y["y"].tolist(), line.xticks) == ([0, 1, 2], [0, 0.5, 1], ("a", "b", "c"))
    given = ((str(n) for n in range(2)), (1.0, 2))
    assert Bar(*given).as_table().rows == (("0", 1.0), ("1", 2.0))
    given = ((each for each in (table, line)), ["csv"], iter(["so"]))
    page = Page("p", "t", given[0], formats=given[1], notes=given[2])
    assert (page.panels, page.formats, page.notes) == ((table, line), ("csv",), ("so",))


@pytest.mark.parametrize("format", ["png", "html", "csv", "json", "text", "svg"])
def test_a_generator_of_rows_loses_none_of_them(tmp_path: Path, format: str) -> None:
    (tmp_path / "gen.py").write_text(
        "from torch2grid_core import Page, View\nfrom torch2grid_core.pages import Table\n\n\nclass Names(View):\n"
        "    'names'\n\n    name = 'names'\n\n    def pages(self, checkpoint, results, run):\n"
        "        yield Page('names', 'Names', (Table(('tensor',), ((name,) for name in checkpoint)),))\n"
    )
    words = ("--load-plugin", "gen.py", "--view", "names", "--format", format, "-o", "out")
    done = torch2grid(DIGITS, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = list((tmp_path / "out").glob("names.*"))
    if format in ("csv", "json", "html", "text"):
        shown = "".join(path.read_text() for path in written) or done.stdout
        assert "conv1.weight" in shown
        assert "fc2.bias" in shown
    else:
        assert written


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("method", "wrong", "told"),
    [
        ("tensor_pages", "Table(('a', 'b'), ((1,),))", "row 0 of the table has 1 cells for 2 columns"),
        ("tensor_pages", "Line(np.arange(3), {'a': np.arange(2)})", "series 'a' has the shape (2,), not (3,)"),
        ("pages", "Page('p', 't', (), kind='tabel')", "page 'p' is of kind 'tabel'"),
    ],
)
def test_the_author_is_blamed_in_every_process(tmp_path: Path, method: str, wrong: str, told: str, jobs: int) -> None:
    needs = "tensor_needs" if method == "tensor_pages" else "needs"
    (tmp_path / "odd.py").write_text(
        f"import numpy as np\nfrom torch2grid_core import Page, View\nfrom torch2grid_core.measures import Summary\n"
        f"from torch2grid_core.pages import Line, Table\n\n\nclass Odd(View):\n    '''odd'''\n\n    name = 'odd'\n"
        f"    uses_transformer = False\n\n    def {needs}(self, subject, run):\n        return {{'all': Summary()}}\n\n"
        f"    def {method}(self, subject, results, run):\n        yield Page('x', 'x', ({wrong},))\n"
    )
    words = ("--load-plugin", "odd.py", "--view", "odd", "--format", "png,html", "-j", jobs)
    done = torch2grid(DIGITS, *words, cwd=tmp_path)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "odd" in line]
    assert lines == [f"torch2grid: view 'odd': {method}: ValueError: {lines[0].partition('ValueError: ')[2]}"]
    assert told in lines[0]
    assert not (tmp_path / "grids").exists()


def test_a_check_costs_next_to_nothing() -> None:
    """A page travels and is copied without being checked again; a large table is checked in a few milliseconds."""
    rows = tuple((number, "name", 0.5) for number in range(200_000))
    started = time.process_time()
    table = Table(("a", "b", "c"), rows)
    assert time.process_time() - started < 0.2
    page = Page("p", "t", (table,))
    started = time.process_time()
    for _ in range(1000):
        page = page.with_origin(None)
    assert time.process_time() - started < 0.2
    assert pickle.loads(pickle.dumps(Page("p", "t", ()))).kind == "picture"


def test_points_as_a_table() -> None:
    made = Scatter(np.array([1.0, 2]), np.array([3.0, np.nan]), "t", "weights", "rms", ("a", "b"), ("g", "h")).as_table()
    assert made.columns == ("name", "group", "weights", "rms")
    assert [row[:3] for row in made.rows] == [("a", "g", 1.0), ("b", "h", 2.0)]
    assert Scatter(np.zeros(1), np.ones(1)).as_table().rows == ((0.0, 1.0),)


def test_numbers_of_every_real_type_fit() -> None:
    kinds = ("?", "i1", "u8", "f2", "f4", "f8", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)
    for values in (*(np.ones(2, kind) for kind in kinds), [1, 2.5], (True, False), [2**80, 1], np.array([1, 2.0], object)):
        Line(values, {"a": values}, marks={"a": np.float32(1), "b": np.array(2), "c": 3})
        Scatter(values, values, groups=np.array(["a", "b"]))
        Bar(("a", "b"), values)
    Table(("a", "b"), ((1, None), (math.nan, "x")), formats={"a": ",d", "b": ",.2f"})
    Line(np.arange(0), {"a": []})


def test_ridges_as_a_table() -> None:
    made = Ridges(("a", "b"), np.array([0.0, 1.0, 3.0]), np.array([[0.25, 0.75], [1.0, 0.0]]), flags={1: "3 NaN"}).as_table()
    assert made.columns == ("from", "to", "a", "b (3 NaN)")
    assert made.rows == ((0.0, 1.0, 0.25, 1.0), (1.0, 3.0, 0.75, 0.0))
