"""A panel checks itself where it is made, so that what does not fit is its author's error and no renderer's."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.tools import DIGITS, torch2grid

from torch2grid_core import Page
from torch2grid_core.pages import Band, Bar, Boxes, Histogram, Image, Line, Scatter, Table

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
