"""A panel checks itself where it is made, so that what does not fit is its author's error and no renderer's."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tests.support.tools import DIGITS, torch2grid

from torch2grid_core import Page
from torch2grid_core.pages import Band, Bar, Boxes, Histogram, Image, Line, Ridges, Scatter, Table, Text

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
    "groups": (lambda: Scatter(np.arange(3), np.arange(3), groups="ab"), "2 groups for 3 points"),
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
    "format of nothing": (lambda: Table(("a",), ((1,),), formats={"b": ".2f"}), "formats: 'b' is none of the columns a"),
    "no format": (lambda: Table(("a",), ((1,),), formats={"a": ".2q"}), "'.2q' of column 'a' is no format of a number"),
    "whole format": (
        lambda: Table(("a",), ((1,), (0.5,)), formats={"a": ",d"}),
        "',d' is for whole numbers, and column 'a' has others",
    ),
    "number columns": (lambda: Table((1,), ((1,),)), "the columns are texts, and one is '1'"),  # type: ignore[arg-type]
    "no text": (lambda: Text(3), "the text is of type int"),  # type: ignore[arg-type]
    "kind": (lambda: Page("p", "t", (), kind="tabel"), "page 'p' is of kind 'tabel'; it is picture or table"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name: str) -> None:
    make, told = WRONG[name]
    with pytest.raises(ValueError, match=told):
        make()


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
