"""Samples that checks run on, running views, transformers and rules over them as the engine does, and what came of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.dtypes import BY_NAME
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._engine.drawing import draw as draw_pages
from torch2grid_core._engine.measuring import measure
from torch2grid_core._errors import NotDrawable
from torch2grid_core._kinds.view import View
from torch2grid_core._measures.grids import Transformed
from torch2grid_core._measures.transformer import GridTransformer
from torch2grid_core._pictures.blocks import Block, Region
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.layout import Layout
from torch2grid_core._pictures.numbers import Numbers
from torch2grid_core._pictures.origin import PageOrigin
from torch2grid_core._pictures.page import Band, Bar, Boxes, Heatmap, Histogram, Image, Line, Page, Ridges, Scatter, Table, Text
from torch2grid_core._pictures.scale import color_scale
from torch2grid_core._settings import Settings

ODD_DTYPES = ("bfloat16", "float16", "float64", "float8_e4m3fn", "float8_e5m2", "int8", "uint8", "int64", "bool", "complex64")
HOSTILE = "\x1b]0;title\x07\x1b[31m<script>alert(1)</script>\u202egnp.exe/../../x"
SAMPLE_ORIGIN = PageOrigin(
    f"runs/{HOSTILE}/step_1200.pt", (f"runs/{HOSTILE}/step_1200.pt",), HOSTILE, {"epoch": 3, HOSTILE: HOSTILE}, "model", 1200
)
HUGE = 1 << 20  # a side of the expanded tensor: 2**40 weights, four bytes stored


@dataclass(frozen=True, eq=False)
class SampleStorage:
    """Bytes that a pickled copy holds too, so that tasks travel to workers."""

    data: bytes
    shippable: bool = True

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.data[offset : offset + len(buffer)]


def tensor(name: str, values: Array) -> LazyTensor:
    """*values* as a lazy tensor whose storage can be shipped."""
    return LazyTensor(name, values.shape, values.dtype, SampleStorage(np.ascontiguousarray(values).tobytes()))


def sample_checkpoints() -> dict[str, Checkpoint]:
    """Checkpoints by what they are about: ``ordinary``, ``dtypes``, ``empty``, ``scalars``, ``not_finite``, ``constant``,
    ``huge`` (2**40 weights, none of them stored twice), ``strided``, ``tied``, ``names``."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return random.normal(size=shape).astype(np.float32)

    not_finite = normal(5, 6)
    not_finite[0, 0], not_finite[1, 2], not_finite[2, 3] = np.nan, np.inf, -np.inf
    ordinary = {
        "embedding.weight": normal(11, 4),
        "conv.weight": normal(4, 2, 3, 3),
        "conv.bias": normal(4),
        "norm.weight": 1 + 0.1 * normal(4),
        "fc.weight": normal(7, 36),
        "fc.bias": normal(7),
    }
    shared = tensor("embedding.weight", normal(6, 5))
    turned = tensor("turned.weight", normal(5, 8))
    one = tensor("expanded", np.ones(1, np.float32))
    made: dict[str, Mapping[str, Array] | list[LazyTensor]] = {
        "ordinary": ordinary,
        "dtypes": {f"{name}.weight": normal(3, 4).astype(BY_NAME[name]) for name in ODD_DTYPES},
        "empty": {"none.weight": normal(0), "rows.weight": normal(3, 0, 2), "fc.weight": normal(3, 4)},
        "scalars": {"temperature": np.array(0.07, np.float32), "negative": np.array(-3.0, np.float32), "one": normal(1, 1)},
        "not_finite": {
            "some.weight": not_finite,
            "all.weight": np.full((3, 3), np.nan, np.float32),
            "fine.weight": normal(4, 4),
        },
        "constant": {
            "zeros.weight": np.zeros((4, 5), np.float32),
            "ones.weight": np.ones((3, 3), np.float32),
            "large.weight": np.full((6, 4), 1e5, np.float32),
        },
        "huge": [LazyTensor("expanded", (HUGE, HUGE), one.dtype, one.storage, 0, (0, 0)), tensor("fc.weight", normal(3, 4))],
        "strided": [LazyTensor("turned.weight", (8, 5), turned.dtype, turned.storage, 0, (1, 8)), tensor("b", normal(5))],
        "tied": [shared, LazyTensor("head.weight", shared.shape, shared.dtype, shared.storage)],
        "names": {HOSTILE: normal(3, 4), "": normal(2, 2), "x" * 3000: normal(2), "слой.weight": normal(2, 3)},
    }
    return {
        about: Checkpoint(
            tensors if isinstance(tensors, list) else [tensor(name, values) for name, values in tensors.items()],
            source=f"<sample: {about}>",
            format="sample",
        )
        for about, tensors in made.items()
    }


@dataclass(frozen=True, eq=False)
class UnknownPanel:
    """A panel of a kind that no renderer knows: it shows its table."""

    title: str = "a panel of the future"

    def as_table(self) -> Table:
        return Table(("name", "value"), (("first", 1.5), ("second", None)), self.title)


def _flagged() -> tuple[Line | Band | Bar | Ridges | Boxes, ...]:
    """Overviews of three tensors: one whole, one with a NaN, one of nothing but NaN."""
    flags = {1: "1 NaN", 2: "all NaN"}
    values = np.array([1.0, 2.0, np.nan])
    names = ("a", "b", "c")
    return (
        Line(np.arange(3.0), {"norm": values}, "a line", ylabel="norm", xticks=names, log=True, flags=flags),
        Band(names, (0.25, 0.5, 0.75), np.stack([values - 1, values, values + 1]), "quantiles", flags=flags),
        Bar(names, values, "bars", flags=flags),
        Ridges(names, np.linspace(0, 1, 5), np.outer(values, np.full(4, 0.25)), "ridges", flags=flags),
        Boxes(names, np.stack([values + step for step in range(-2, 3)]), "boxes", flags=flags),
    )


def sample_pages() -> dict[str, Page]:
    """Pages by what they are about: ``panels`` (every kind of panel), ``unknown`` (a panel of an unknown kind), ``plain`` (one
    line of text), ``bare`` (no panel), ``not_finite`` (NaN, infinities, empty cells), ``names`` (hostile text everywhere).

    All are of one checkpoint, whose name and metadata are hostile too.
    """
    random = np.random.default_rng(1)
    values = random.normal(size=(6, 9)).astype(np.float32)
    regions = (Region("fc.weight", ((0, 0, 6, 5),)), Region("fc.bias", ((0, 6, 6, 3),)))
    grid = Grid(values, np.where(np.arange(9) == 5, 0, 1) * np.ones((6, 1), np.int64), regions=regions)
    odd = values.copy()
    odd[0, :3] = np.nan, np.inf, -np.inf
    series = np.linspace(-1, 1, 8)
    panels = (
        Heatmap(grid, color_scale([grid]), "weights", rows="output", columns="input", label=grid.cell_text(), boundaries=True),
        Image(random.integers(0, 255, (5, 7, 3)).astype(np.uint8), "a picture"),
        Histogram(
            np.linspace(-1, 1, 9),
            np.arange(8),
            "weights",
            below=1,
            above=2,
            nan=3,
            marks={"mean": 0.1},
            curves={"law": np.where(series > 0.5, np.nan, 3 + series)},
        ),
        Line(series, {"loss": series**2, "other": np.where(series > 0.5, np.nan, series)}, "a line", "epoch", "loss"),
        Line(10.0 ** np.arange(8), {"norm": 2 + series}, "a long line", "step", "norm", xlog=True, xmarks={"warm-up": 300.0}),
        Scatter(
            series,
            np.where(series > 0.5, np.nan, series),
            "points",
            "mean",
            "std",
            tuple("abcdefgh"),
            tuple("xyxyxyxy"),
            xmarks={"0": 0.0},
        ),
        Band(("a", "b", "c"), (0.05, 0.5, 0.95), np.sort(random.normal(size=(3, 3)), axis=0), "quantiles"),
        Band(("a", "b"), (0.25, 0.5, 0.75), 10.0 ** np.arange(6).reshape(3, 2), "quantiles from far apart", bend=1.0),
        Bar(("a", "b"), np.array([1.0, -2.0]), "bars", marks={"limit": 0.5}),
        Ridges(("a", "b"), np.sinh(np.linspace(-9, 9, 9)), np.full((2, 8), 0.125), "ridges", "weight", bend=1.0),
        Boxes(("a", "b"), np.sort(random.normal(size=(5, 2)), axis=0), "boxes"),
        Table(("name", "share", "count"), (("fc", 0.25, 7), ("conv", float("nan"), None)), "a table", {"share": ".1%"}),
        Numbers(odd[:2, :4], (range(7, 9), range(0, 8, 2)), "numbers"),
        Text("two lines\nof text", "a text"),
    )
    odd_grid = Grid(odd, np.where(values > 1, 0, 1))
    bad = f"{HOSTILE}\n"
    made = {
        "panels": Page("panels", "Every kind of panel", panels, columns=3),
        "unknown": Page("unknown", "A panel of the future", (UnknownPanel(),)),
        "plain": Page("plain", "Plain", (Text("one line"),), kind="table"),
        "bare": Page("bare", "Nothing to see", ()),
        "not_finite": Page("not_finite", "NaN and Inf", (Heatmap(odd_grid, color_scale([odd_grid]), "weights"), *_flagged())),
        "names": Page(
            HOSTILE,
            bad,
            (
                Heatmap(Grid(values, regions=(Region(bad, ((0, 0, 6, 9),)),)), color_scale([grid]), bad, labels=True),
                Bar((bad, "b"), np.array([1.0, 2.0]), bad, bad),
                Scatter(np.ones(2), np.ones(2), bad, bad, bad, (bad, "b"), (bad, "b"), marks={bad: 1.0}, xmarks={bad: 1.0}),
                Table((bad, "value"), ((bad, 1.0),), bad),
                Text(bad, bad),
            ),
            about={"tensor": bad},
        ),
    }
    return {about: page.with_origin(SAMPLE_ORIGIN) for about, page in made.items()}


class Rows(GridTransformer):
    """each tensor's weights as a row"""

    name = "rows"

    def transform(self, tensors: Mapping[str, Any]) -> Grid:
        import numpy as np

        arrays = {name: np.ravel(array) for name, array in tensors.items() if array.size}
        if not arrays:
            raise NotDrawable("there is no weight")
        width = max(map(len, arrays.values()))
        values = np.zeros((len(arrays), width), np.float32)
        count = np.zeros(values.shape, np.int64)
        for row, array in enumerate(arrays.values()):
            values[row, : len(array)], count[row, : len(array)] = array, 1
        blocks = tuple(Block(name, 0, row, 0, ((len(array), 0, 1),)) for row, (name, array) in enumerate(arrays.items()))
        regions = tuple(Region(name, ((row, 0, 1, len(array)),)) for row, (name, array) in enumerate(arrays.items()))
        return Grid(values, count, regions=regions, layout=Layout(*values.shape, (1, 1), blocks, regions))


def settings(transformer: GridTransformer | None = None, max_cells: int = 64) -> Settings:
    """The settings of a run that asks for small pictures."""
    made = transformer or Rows()
    return Settings(transformer=made, transformer_name=str(made.name), max_cells=max_cells, tensor_cells=32)


def draw(checkpoint: Checkpoint, view: View, run: Settings, executor: Executor | None = None) -> list[Page] | None:
    """The pages of *view*; ``None`` where it declines the checkpoint."""
    try:
        return [page for page, _, _ in draw_pages(checkpoint, [view], run, executor=executor)]
    except NotDrawable:
        return None


def grid_of(checkpoint: Checkpoint, transformer: GridTransformer, max_cells: int = 64) -> Grid | None:
    """What the engine draws with *transformer*; ``None`` where it declines."""
    try:
        found = dict(measure(checkpoint, {"grid": Transformed(transformer, max_cells=max_cells)}))
    except NotDrawable:
        return None
    grid: Grid = found[None]["grid"]
    return grid


def as_texts(page: Page) -> list[Any]:
    """A page as plain values that can be compared."""
    tables = [panel.as_table() for panel in page.panels]
    return [page.folder, page.name, page.title, [(table.columns, table.texts(), table.title) for table in tables]]


class PicklingExecutor(Executor):
    """Runs tasks here, each sent through pickle and its result back, as to another process."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        sent, given, keys = pickle.loads(pickle.dumps((function, arguments, named)))
        try:
            future.set_result(pickle.loads(pickle.dumps(sent(*given, **keys))))
        except Exception as error:
            future.set_exception(error)
        return future
