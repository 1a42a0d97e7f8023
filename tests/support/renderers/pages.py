"""A page with a panel of every kind, NaN, Inf and empty cells among them, and one of a kind that nobody knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torch2grid_core import Grid, Page
from torch2grid_core.grids import ColorScale
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Histogram, Image, Line, Marginal, Scatter, Table, Text


@dataclass(frozen=True, eq=False)
class Own:
    """A panel that no renderer knows."""

    title: str = "of a plugin"

    def as_table(self) -> Table:
        return Table(("what", "number"), (("mine", 1.5),), self.title)


def small_grid() -> Grid:
    """2×3: NaN, 1 (mean of 2 weights), −2; Inf, 0, no weight."""
    return Grid(np.array([[np.nan, 1.0, -2.0], [np.inf, 0.0, 3.0]], np.float32), np.array([[1, 2, 1], [1, 1, 0]]))


def every_panel() -> Page:
    """The page."""
    grid = small_grid()
    rows, columns = Marginal(np.array([np.nan, 3.0])), Marginal(np.array([np.inf, 1.0, 2.0]))
    panels = (
        Heatmap(grid, ColorScale(-1, 1), "heat", "row", "column", row_marginal=rows, column_marginal=columns),
        Heatmap(grid, ColorScale(-1, 1), "named rows", row_names=((0.5, "first"), (1.5, "second"))),
        Heatmap(grid, ColorScale(-1, 1, "asinh"), "asinh"),
        Heatmap(Grid(np.empty((0, 3), np.float32)), ColorScale(-1, 1), "no cells"),
        Image(np.arange(60, dtype=np.uint8).reshape(4, 5, 3), "image", "a caption"),
        Histogram(np.array([-1.0, 0.0, 1.0]), np.array([3, 4]), "hist", below=1, above=2, nan=3, marks={"mean": 0.5}),
        Histogram(np.array([0.0, 1.0]), np.array([0]), "nothing", log=True),
        Line(np.arange(3.0), {"a": np.array([1.0, np.nan, 3.0]), "b": np.array([0.1, 1, 10])}, "line", "x", "y", log=True),
        Line(np.arange(1.0), {"one": np.array([2.0])}, "one point", xticks=("here",), marks={"level": 1.0}),
        Line(np.array([1.0, 10, 100]), {"a": np.arange(3.0)}, "long", "step", xlog=True, xmarks={"warm-up": 30.0}),
        Scatter(np.array([1.0, np.nan, 100]), np.arange(3.0), "points", "x", "y", ("a", "b", "c"), ("g", "h", "g"), xlog=True),
        Band(("a", "b"), (0.1, 0.5, 0.9), np.array([[0.0, 1], [1, 2], [2, 3]]), "band"),
        Bar(("a", "b", "c"), np.array([-1.0, 2.0, np.nan]), "bar", "share", {"level": 1.0}),
        Boxes(("a",), np.array([[0.0], [1], [2], [3], [4]]), "boxes"),
        Table(("name", "n"), (("x", 1), ("y", None), ("z", float("nan"))), "table", {"n": ".2f"}),
        Text("two\nlines <b>", "text"),
        Own(),
    )
    return Page("all", "Every panel", panels, about={"tensor": "w\u202e", "shape": [2, 3]})
