"""One panel of every kind, panels with nothing in them, and names that are hostile."""

from __future__ import annotations

import numpy as np

from torch2grid_core import Grid, Settings
from torch2grid_core.pages import Band, Bar, Boxes, Histogram, Image, Line, Ridges, Scatter, Table, Text

RNG = np.random.default_rng(0)
NAMES = tuple(f"model.layers.{i}.self_attn.q_proj.weight" for i in range(9))
COUNTS, EDGES = np.histogram(RNG.standard_normal(1000), 40)
HOSTILE = [
    "../../etc/passwd",
    "\x1b[31mred\x1b[0m",
    "<script>alert(1)</script> & co",
    "$\\frac{a}{b}$ 10 $",
    "name." * 1000,
    "abc\u202edef",
    "权重.weight \U0001f600",
    "two\nlines",
    "\ud800 alone",
]


def heatmap(shape=(30, 40), **options):
    return Settings().heatmap(Grid(RNG.standard_normal(shape)), **options)


class Unknown:
    """A panel of a plugin that this renderer has never heard of."""

    def as_table(self) -> Table:
        return Table(("marvel", "value"), (("phoenix", 4.25),), "An unknown panel")


ILL = {0: "3 NaN, 2 Inf", 4: "all NaN", 8: "1,234,567 NaN"}
SERIES = np.where(np.isin(np.arange(9), [0, 4]), np.nan, 1.0 + np.arange(9))
PANELS = {
    "heatmap": heatmap(rows="output unit", columns="input", title="Heatmap"),
    "image": Image(RNG.integers(0, 255, (20, 30, 3)).astype(np.uint8), "Image", "a caption"),
    "histogram": Histogram(EDGES, COUNTS, "Histogram", below=3, above=2, nan=1, marks={"mean": 0.1}, summary={"std": "1.0"}),
    "log histogram": Histogram(EDGES, COUNTS, "Log histogram", log=True),
    "histogram with curves": Histogram(
        EDGES, COUNTS, "Histogram with curves", curves={"law": COUNTS + 0.5, "other": COUNTS / 3}
    ),
    "log histogram with curves": Histogram(
        EDGES, COUNTS, "Log histogram with curves", log=True, curves=dict.fromkeys(HOSTILE, COUNTS * 1.5)
    ),
    "line": Line(np.arange(50), {"a": RNG.random(50), "b": RNG.random(50)}, "Line", "step", "norm", marks={"limit": 0.5}),
    "named line": Line(np.arange(9), {"ratio": 10.0 ** -np.arange(9)}, "Named line", "layer", "ratio", NAMES, log=True),
    "band": Band(NAMES, (0.05, 0.25, 0.5, 0.75, 0.95), np.sort(RNG.standard_normal((5, 9)), axis=0), "Band"),
    "bent band": Band(NAMES, (0.25, 0.5, 0.75), np.outer([-1.0, 0.5, 2.0], 10.0 ** np.arange(9)), "Bent band", bend=0.1),
    "ridges": Ridges(NAMES, np.linspace(-1, 1, 33), RNG.random((9, 32)), "Ridges", "weight"),
    "bent ridges": Ridges(NAMES, np.sinh(np.linspace(-20, 9, 33)), RNG.random((9, 32)), "Bent ridges", "weight", ILL, bend=1.0),
    "table in colours": heatmap(
        (3, 4), title="Table in colours", columns="step", row_names=((0.5, "fc"),), column_names=((0.5, "10"), (3.5, "conv"))
    ),
    "bar": Bar(NAMES, RNG.standard_normal(9), "Bar", "share", {"alarm": 0.5}),
    "boxes": Boxes(NAMES, np.sort(RNG.standard_normal((5, 9)), axis=0), "Boxes"),
    "table": Table(("name", "mean"), tuple((name, 0.25) for name in NAMES), "Table", {"mean": ".4f"}),
    "text": Text("one line\nand another", "Text"),
    "unknown": Unknown(),
    "flagged line": Line(np.arange(9), {"a": SERIES, "b": SERIES + 1}, "Flagged line", "", "norm", NAMES, log=True, flags=ILL),
    "flagged numbers": Line(np.arange(9), {"a": SERIES}, "Flagged numbers", "step", "norm", flags=ILL),
    "long line": Line(
        10.0 ** np.arange(9), {"a": 1.0 + np.arange(9)}, "Long line", "step", "norm", xlog=True, xmarks={"end": 3e9}
    ),
    "marked line": Line(np.arange(9), {"a": SERIES}, "Marked line", xmarks={"warm-up": 2.5, "nowhere": np.nan}, flags=ILL),
    "scatter": Scatter(
        10.0 ** np.arange(9), SERIES, "Scatter", "weights", "rms", NAMES, tuple("aab" * 3), True, True, {"m": 2}, {"n": 50}
    ),
    "plain scatter": Scatter(RNG.random(600), RNG.random(600), "Plain scatter"),
    "flagged band": Band(NAMES, (0.25, 0.5, 0.75), np.stack([SERIES - 1, SERIES, SERIES + 1]), "Flagged band", flags=ILL),
    "flagged bar": Bar(NAMES, SERIES, "Flagged bar", "share", flags=ILL),
    "flagged boxes": Boxes(NAMES, np.stack([SERIES + step for step in range(-2, 3)]), "Flagged boxes", flags=ILL),
}
EMPTY_PANELS = {
    "heatmap": Settings().heatmap(Grid(np.zeros((0, 5)))),
    "no weights": Settings().heatmap(Grid(np.zeros((4, 4)), np.zeros((4, 4), int))),
    "all nan": Settings().heatmap(Grid(np.full((4, 4), np.nan)), title="NaN"),
    "image": Image(np.zeros((0, 0, 3), np.uint8)),
    "histogram": Histogram(np.zeros(1), np.zeros(0, np.int64), nan=7),
    "flat histogram": Histogram(np.array([0.0, 0.0]), np.array([3]), curves={"law": [3.5]}),
    "histogram without curve": Histogram(
        np.arange(4.0), np.arange(3), log=True, curves={"law": [np.nan] * 3, "low": [0, 0.1, 0]}
    ),
    "curves of no bars": Histogram(np.zeros(0), np.zeros(0, np.int64), curves={"law": []}),
    "line": Line(np.zeros(0), {}),
    "nan line": Line(np.arange(3), {"a": np.full(3, np.nan)}, log=True),
    "band": Band((), (0.25, 0.5, 0.75), np.zeros((3, 0))),
    "nan band": Band(("a", "b"), (0.25, 0.75), np.array([[np.nan, 1.0], [np.nan, 2.0]])),
    "ridges": Ridges((), np.zeros(0), np.zeros((0, 0))),
    "nan ridges": Ridges(("a", "b"), np.linspace(0, 1, 4), np.full((2, 3), np.nan), flags={0: "all NaN"}),
    "flat ridges": Ridges(("a",), np.zeros(2), np.ones((1, 1)), bend=1.0),
    "widest ridges": Ridges(("a",), np.array([-1.7e308, 0.0, 1.7e308]), np.full((1, 2), 0.5), bend=5e-324),
    "widest bent band": Band(("a",), (0.0, 1.0), np.array([[-1.7e308], [1.7e308]]), bend=1e-300),
    "steady": Settings().heatmap(Grid(np.full((3, 300), np.nan)), steady=True),
    "bar": Bar((), np.zeros(0)),
    "odd bar": Bar(("a", "b", "c"), np.array([np.nan, np.inf, -2.0])),
    "boxes": Boxes(("a",), np.full((5, 1), np.nan)),
    "table": Table((), ()),
    "text": Text(""),
    "all flagged": Line(np.arange(2), {"a": np.full(2, np.nan)}, log=True, flags={0: "all NaN", 1: "all Inf"}),
    "all flagged band": Band(("a", "b"), (0.5,), np.full((1, 2), np.nan), flags={0: "all NaN", 1: "all Inf"}),
    "widest": Band(("a", "b"), (0.0, 1.0), np.array([[-1.7e308, -5e-324], [1.7e308, 5e-324]])),
    "widest line": Line(np.arange(3), {"a": np.array([1.7e308, 5e-324, 1.0])}, log=True),
    "widest bar": Bar(("a", "b"), np.array([1.7e308, -1.7e308])),
    "scatter": Scatter(np.zeros(0), np.zeros(0)),
    "nan scatter": Scatter(np.full(3, np.nan), np.arange(3.0), names=("a", "b", "c"), xmarks={"here": 1.0}),
    "one point": Scatter(np.ones(1), np.ones(1), names=("a",), groups=("b",)),
    "nothing above 0": Scatter(-np.ones(2), np.zeros(2), log=True, xlog=True, marks={"a": -1.0}, xmarks={"b": 0.0}),
    "line below 0": Line(-np.arange(3.0), {"a": np.arange(3.0)}, xlog=True, xmarks={"a": -1.0, "b": 5.0}, flags={0: "1 NaN"}),
    "widest scatter": Scatter(np.array([-1.7e308, 1.7e308]), np.array([5e-324, 1.7e308]), log=True, names=("a", "b")),
    "narrowest": Line(np.arange(3), {"a": np.array([5e-324, 1e-323, 0.0])}),
}
