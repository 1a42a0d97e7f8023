"""What is drawn into axes of the caller's, and tables as DataFrames."""

from __future__ import annotations

import itertools
import math
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tests.support.renderers.pages import every_panel
from tests.support.tools import DIGITS

import torch2grid as t2g
from torch2grid.plugins import get_registry
from torch2grid_builtin._renderers.matplotlib.text import fit_each, text_width
from torch2grid_builtin._renderers.matplotlib.ticks import index_ticks
from torch2grid_builtin._renderers.numbers import number
from torch2grid_core import Grid, Page, Settings, UsageError
from torch2grid_core.grids import NOT_FINITE, ColorScale, color_scale, paint
from torch2grid_core.pages import Bar, Heatmap, Histogram, Table

mpl.use("Agg")
STATE = torch.load(DIGITS, weights_only=True)
VIEWS = ("grid", "layers", "histograms", "conv", "dead_neurons", "outliers")


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    pyplot.close("all")


def described(ax):
    """What would tell that somebody drew into *ax*, or moved it."""
    return (
        ax.get_title(),
        ax.get_xlim(),
        ax.get_ylim(),
        ax.get_position(original=True).bounds,
        len(ax.get_children()),
        ax.axison,
    )


@pytest.mark.parametrize("name", VIEWS)
def test_every_picture_goes_into_the_axes_that_are_given_and_nowhere_else(name):
    others = pyplot.get_fignums()  # of tests that ran before in this process
    figure, (left, right) = pyplot.subplots(1, 2)
    right.plot([1, 2, 3])
    figure.suptitle("mine")
    before = described(right), left.get_position(original=True).bounds, len(figure.get_children()), dict(mpl.rcParams)
    assert getattr(t2g, name)(DIGITS).plot(left) is left
    figure.canvas.draw()
    assert (described(right), left.get_position(original=True).bounds, len(figure.get_children()), dict(mpl.rcParams)) == before
    assert figure.axes == [left, right]
    assert left.images or left.patches or left.lines or left.child_axes
    assert pyplot.get_fignums() == [*others, figure.number]


def test_a_heatmap_has_the_weights_their_indices_and_a_colour_bar_on_request():
    figure = Figure()
    ax = figure.subplots()
    page = t2g.layers(DIGITS)["fc1.weight"]
    page.plot(ax)
    (image,) = ax.images
    np.testing.assert_array_equal(np.asarray(image.get_array()), STATE["fc1.weight"].numpy())
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 127.5), (31.5, -0.5))
    assert ax.get_title() == "fc1.weight · 32×128 · float32"
    scale = page.panels[0].scale
    assert image.get_clim() == (scale.low, scale.high)
    bar = figure.colorbar(image, ax=ax)
    assert bar.vmin == scale.low
    coarse = t2g.layers(DIGITS, only="fc1.weight", tensor_cells=16)["fc1.weight"]
    other = Figure().subplots()
    coarse.plot(other)
    assert other.get_xlim() == (-0.5, 127.5)  # still indices of weights


RAMPS = {
    "matrix": np.indices((300, 128), np.float32),
    "stack": np.indices((8, 96, 64), np.float32)[1:],
    "vector": np.stack([np.arange(500, dtype=np.float32)] * 2),
}


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("matrix", None),
        ("matrix", "100:190, 50:"),
        ("matrix", "::20, 3:100:7"),
        ("matrix", "7"),
        ("stack", None),
        ("stack", "2:6, 10:90, 4:40"),
        ("stack", ":, ::5, 1::3"),
        ("vector", None),
        ("vector", "64:"),
        ("vector", "5:450:4"),
    ],
)
@pytest.mark.parametrize("size", [(5, 4), (11, 11)])
def test_each_index_at_a_heatmap_is_that_of_the_weights_there(kind, part, size):
    """The weights are their own rows, then their own columns: what a tick says must be the weight beside it."""
    for axis, own in enumerate(RAMPS[kind]):
        if part == "7":  # a row is a vector: what counts are its columns
            own = RAMPS[kind][1]
        page = t2g.layers({"w": own}, slice=part)["w"]
        (panel,) = page.panels
        ax = Figure(figsize=size, layout="constrained").subplots()
        page.plot(ax)
        ax.figure.draw_without_rendering()
        line = (ax.yaxis, ax.xaxis)[axis]
        shown = np.asarray(ax.images[0].get_array())
        low, high = sorted(line.get_view_interval())
        ticks = [(at, text.get_text()) for at, text in zip(line.get_ticklocs(), line.get_ticklabels(), strict=True)]
        ticks = [each for each in ticks if low <= each[0] <= high]
        across = (panel.rows, panel.columns)[axis]
        if kind != "vector" and across and part != "7":
            assert ticks or size == (5, 4)
        for at, text in ticks if across else ():
            cell = math.floor((at - (low if axis else ax.get_ylim()[1])) / (high - low) * shown.shape[axis])
            meant = shown[cell, 0] if axis == 0 else shown[0, cell]
            assert int(text) == meant, (at, text)
        if across:
            for at, index in index_ticks(panel, axis, 4, 12):
                meant = shown[int(at), 0] if axis == 0 else shown[0, int(at)]
                assert index == meant


def test_heatmaps_of_one_page_have_their_colour_bars():
    snapshots = [{name: tensor.numpy() * scale for name, tensor in STATE.items()} for scale in (1, 2, 90)]
    figure = Figure(figsize=(12, 14))
    ax = figure.subplots()
    series = t2g.series(snapshots, given=True)
    series.plot(ax)
    panels = next(page for page in series if page.kind == "picture").panels
    inners = [each for each in ax.child_axes if each.images]
    assert len(inners) == len([panel for panel in panels if isinstance(panel, Heatmap)])
    pair = t2g.compare(snapshots[0], snapshots[2], layers=True)["fc1.weight_delta"]
    ax = Figure(figsize=(9, 12)).subplots()
    pair.plot(ax)
    heatmaps = [panel for panel in pair.panels if isinstance(panel, Heatmap)]
    inners = [each for each in ax.child_axes if each.images]
    assert len(inners) == len(heatmaps) == 4
    for inner, panel in zip(inners, heatmaps, strict=True):
        bar = inner.images[0].colorbar
        assert bar.ax in inner.child_axes
        assert (bar.vmin, bar.vmax) == (panel.scale.low, panel.scale.high)
        said = bar.ax.get_ylabel().replace("\n", " ")
        assert said.startswith(panel.label or panel.grid.cell_text())
        assert ("above" in said) == (bar.extend in ("both", "max")) == bool(panel.scale.over)
        assert bar.ax.get_yticklabels()


@pytest.mark.parametrize("kind", ["linear", "asinh"])
def test_colours_are_those_of_every_other_picture(kind):
    values = np.array([[-5.0, -1, -0.001, 0], [0.5, 1, 7, np.nan]], np.float32)
    grid = Grid(values, np.array([[1, 1, 1, 1], [0, 1, 1, 1]]))
    page = Page("p", "", (Heatmap(grid, ColorScale(-1, 1, kind)),))
    figure = Figure(figsize=(4, 2), dpi=100)
    canvas = FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    page.plot(ax, colormap="viridis")
    ax.set_axis_off()
    canvas.draw()
    shown = np.asarray(canvas.buffer_rgba())[50::100, 50::100, :3]
    wanted = paint(grid, page.panels[0].scale, "viridis")
    np.testing.assert_array_equal(shown, wanted)
    assert tuple(shown[1, 3]) == NOT_FINITE


def test_every_kind_of_panel_alone_and_together():
    page = every_panel()
    for panel in page.panels:
        figure = Figure()
        ax = figure.subplots()
        assert Page("one", "One $panel$", (panel,)).plot(ax) is ax
        figure.canvas.draw()
        assert figure.axes == [ax]
    figure = Figure(figsize=(9, 9))
    page.plot(figure.subplots())
    figure.canvas.draw()
    few = Page("few", "A few", page.panels[:5], columns=2, wide=1)
    ax = Figure().subplots()
    few.plot(ax)
    assert len(ax.child_axes) == 5
    figure = ax.figure
    figure.canvas.draw()
    boxes = [child.get_position(original=True).bounds for child in ax.child_axes]
    assert len(set(boxes)) == 5


def test_names_that_would_be_formulas_or_lines_are_text():
    state = {r"$\frac{1$.weight": np.eye(9, dtype=np.float32), "a\nb": np.ones((9, 9), np.float32)}
    figure = Figure()
    first, second = figure.subplots(1, 2)
    pages = t2g.layers(state)
    for ax, page in zip((first, second), pages, strict=False):
        page.plot(ax)
    figure.canvas.draw()
    assert r"$\frac{1$.weight" in first.get_title()


def test_a_matrix_in_bands_is_named_once_and_layers_by_their_numbers():
    state = {"embed.weight": np.eye(1000, 64)}
    state |= {f"h.{layer}.{name}.weight": np.eye(64) for layer in range(8) for name in ("query", "key", "value")}
    figure = Figure(figsize=(9, 9))
    ax = figure.subplots()
    t2g.grid(state, plugin="atlas").plot(ax)
    said = [text.get_text() for text in ax.texts]
    assert said.count("embed.weight") == 1
    assert [text for text in said if text.isdecimal()] == [str(layer) for layer in range(8)]


def test_one_view_is_a_name_or_a_mapping():
    for views in ("stats:detail=true", {"stats": {"detail": True}}, ["stats:detail=true"]):
        assert str(t2g.draw(DIGITS, views)) == str(t2g.stats(DIGITS, detail=True))


def test_without_axes_a_new_figure_is_made():
    mine, _ = pyplot.subplots()
    ax = t2g.grid(DIGITS).plot()
    assert ax.figure is not mine
    assert pyplot.get_fignums() == [mine.number, ax.figure.number]
    assert t2g.grid(DIGITS).grid.plot().images


def test_what_cannot_be_plotted_says_what_to_do():
    with pytest.raises(UsageError, match=r"to_pandas"):
        t2g.stats(DIGITS).plot()
    with pytest.raises(UsageError, match="no page"):
        t2g.conv({"fc.weight": np.eye(8)}).plot()
    with pytest.raises(UsageError, match="not into a Figure"):
        t2g.grid(DIGITS).plot(Figure())
    with pytest.raises(UsageError, match="colour map"):
        t2g.layers(DIGITS)[0].plot(colormap="nonesuch")
    alone = "from torch2grid_core import Grid\nimport numpy\nGrid(numpy.eye(2)).plot()"
    run = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=False)
    assert "import torch2grid" in run.stderr.splitlines()[-1]


def test_the_colour_map_of_the_settings_is_that_of_the_plot():
    figure = Figure()
    ax = figure.subplots()
    t2g.grid(DIGITS, colormap="viridis").plot(ax)
    np.testing.assert_allclose(ax.images[0].cmap(0.0)[:3], mpl.colormaps["viridis"](0.0)[:3], atol=1 / 255)


def test_tables_are_frames_with_full_numbers():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = t2g.stats(DIGITS).to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["Layer Name", "Mean", "Std", "Min", "Max", "~Zero%"]
    assert list(frame["Layer Name"]) == list(STATE)
    for _, row in frame.iterrows():
        weights = STATE[row["Layer Name"]].double()
        assert row["Mean"] == pytest.approx(float(weights.mean()), rel=1e-9)
        assert row["Max"] == float(weights.max())
    assert {str(dtype) for dtype in frame.dtypes.iloc[1:]} == {"float64"}
    detail = t2g.stats(DIGITS, detail=True).to_pandas()
    assert str(detail["Weights"].dtype) == "int64"
    assert detail["Dead%"].isna().sum() == 4  # a dash in the table: biases have no units
    assert list(t2g.dead_neurons(DIGITS).to_pandas()["Layer Name"])[:2] == ["conv1.weight", "conv2.weight"]


def test_which_of_several_tables():
    pytest.importorskip("pandas", reason="pandas is not installed")
    pages = t2g.outliers(DIGITS, count=3)
    assert list(pages.to_pandas("Largest")["Layer Name"]) == list(pages.to_pandas(0)["Layer Name"])
    assert list(pages.to_pandas(-1).columns)[:2] == ["Layer Name", "Figure"]
    for wrong in (None, 7, "nothing", ""):
        with pytest.raises(UsageError, match=r"1: Rows and columns"):
            pages.to_pandas(wrong)
    with pytest.raises(UsageError, match="3 tables"):
        pages["outliers"].to_pandas()
    with pytest.raises(UsageError, match=r"plot"):
        t2g.grid(DIGITS).to_pandas()
    assert len(t2g.layers(DIGITS)["fc1.weight"].to_pandas()) == 32 * 128


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ((1, 2), [1, 2]),
        ((1.5, None), [1.5, np.nan]),
        ((None, None), [np.nan, np.nan]),
        (("a", None), ["a", None]),
        ((True, False), [True, False]),
        ((float("nan"), float("-inf")), [np.nan, -np.inf]),
    ],
)
def test_columns_of_any_kind(values, kept):
    pytest.importorskip("pandas", reason="pandas is not installed")
    table = Table(("same", "same"), tuple((value, "x") for value in values))
    frame = table.to_pandas()
    assert list(frame.columns) == ["same", "same"]
    found = list(frame.iloc[:, 0])
    assert len(found) == 2
    for one, other in zip(found, kept, strict=True):
        missing = [each is None or each != each for each in (one, other)]
        assert missing == [True, True] if missing[0] else one == other
    assert Table(("a", "b"), ()).to_pandas().shape == (0, 2)


def test_without_pandas_the_error_says_what_to_install(tmp_path):
    (tmp_path / "pandas.py").write_text("raise ImportError('none here')")
    code = (
        f"import torch2grid as t2g\ntry:\n    t2g.stats({str(DIGITS)!r}).to_pandas()\nexcept t2g.UsageError as e:\n    print(e)"
    )
    code = code.replace("t2g.UsageError", "Exception")
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path)}
    )
    assert run.stdout == "a DataFrame needs pandas, which is not installed: pip install pandas\n"


def test_nothing_heavy_is_imported_before_it_is_used():
    code = (
        f"import sys, torch2grid as t2g\nstr(t2g.stats({str(DIGITS)!r}))\nprint({{'pandas', 'matplotlib'}} & {{*sys.modules}})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "set()"


def test_results_show_themselves_in_one_short_line():
    checkpoint = t2g.load(DIGITS)
    pages = t2g.layers(checkpoint)
    shown = [checkpoint, checkpoint["fc1.weight"], pages, pages[0], t2g.stats(checkpoint), *every_panel().panels[:-1]]
    shown += [t2g.grid(checkpoint).grid, *t2g.stats(checkpoint).tables, Settings().heatmap(t2g.grid(checkpoint).grid)]
    for value in shown:
        text = repr(value)
        assert text.startswith("<"), text
        assert "\n" not in text
        assert len(text) < 250, text
    assert repr(checkpoint["fc1.weight"]) == "<LazyTensor 'fc1.weight': 32×128 float32>"
    assert repr(t2g.stats(checkpoint).tables[0]) == "<Table: 8 rows, 6 columns>"
    assert repr(pages["fc1.weight"]) == "<Page 'layers/fc1.weight': 1 panel>"


def live() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A network and its optimizer after a step, with gradients."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(8, 20)).square().mean().backward()
    optimizer.step()
    return model, optimizer


UNTRAINED = DIGITS.with_name("digits_untrained.pth")
PICTURES = {
    **{name: lambda name=name: t2g.grid(DIGITS, name) for name in get_registry().list_plugins()},
    **{name: lambda name=name: getattr(t2g, name)(DIGITS) for name in VIEWS},
    "compare": lambda: t2g.compare(UNTRAINED, DIGITS, layers=True, only=["conv2.weight", "fc1.*"]),
    "series": lambda: t2g.series([UNTRAINED, DIGITS]),
    "gradients": lambda: t2g.gradients(live()[0]),
    "optimizer": lambda: t2g.optimizer(*live()),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_page_goes_into_axes_with_room_for_its_labels(name):
    """Panels that share the axes keep their titles, ticks and labels to their own place, and to that of the axes."""
    pages = [page for page in PICTURES[name]() if page.kind == "picture"]
    assert pages
    for page in pages:
        figure = Figure(figsize=(8, 6))
        ax = figure.subplots()
        assert page.plot(ax) is ax
        figure.canvas.draw()
        assert figure.axes == [ax]
        place = ax.get_window_extent()
        boxes = [child.get_tightbbox() for child in ax.child_axes if child.axison]
        for box in boxes:
            assert box.x0 >= place.x0 - 2, page.name
            assert box.x1 <= place.x1 + 25, page.name  # the last digit of a tick may reach out
        for one, other in itertools.combinations(boxes, 2):
            wide = min(one.x1, other.x1) - max(one.x0, other.x0)
            high = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(wide, high) < 12, (page.name, one, other)


def written(ax):
    """(text, its box) of all that is written in *ax* and the axes in it."""
    for each in (ax, *ax.child_axes):
        some = [each.title, *each.texts]
        if (legend := each.get_legend()) is not None:
            some += legend.get_texts()
        if each.axison:
            some += [each.xaxis.label, each.yaxis.label, each.xaxis.offsetText, each.yaxis.offsetText]
            for line in (each.xaxis, each.yaxis):
                low, high = sorted(line.get_view_interval())
                for minor in (False, True):
                    ticks = zip(line.get_ticklocs(minor=minor), line.get_ticklabels(minor=minor), strict=False)
                    some += [label for place, label in ticks if low <= place <= high]
        yield from ((text.get_text(), text.get_window_extent()) for text in some if text.get_visible() and text.get_text())


def overlapping(ax):
    """The pairs of texts of which one is drawn over another, by more than the edges of their boxes."""
    for (one, box), (other, its) in itertools.combinations(written(ax), 2):
        wide, high = min(box.x1, its.x1) - max(box.x0, its.x0), min(box.y1, its.y1) - max(box.y0, its.y0)
        if wide > 2 and high > 2:
            yield one, other


SMALLEST, SIZES = (1.5, 1.5), [(5, 2.5), (6.4, 4.8)]
EXPERTS = {
    f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}.weight": np.random.default_rng(expert).normal(
        0, 0.02, (24, 16)
    )
    for layer in range(3)
    for expert in range(8)
    for name in ("w1", "w2")
}
CROWDED = {
    **{f"experts of {name}": lambda name=name: getattr(t2g, name)(EXPERTS) for name in VIEWS},
    "experts of one kind": lambda: t2g.histograms(EXPERTS, only="*layers.0*w1*"),
    "every panel": lambda: [Page("one", "One", (panel,)) for panel in every_panel().panels],
    "some panels": lambda: [
        Page("some", "Some of all", every_panel().panels[at : at + 5], columns=3) for at in range(0, 17, 4)
    ],
    "many steps": lambda: t2g.series(
        [{name: (1 + step) * each for name, each in EXPERTS.items() if "w1" in name} for step in range(4)], given=True
    ),
}


@cache
def chosen(name):
    """The pictures of that name, of each folder one."""
    pages = [page for page in {**PICTURES, **CROWDED}[name]() if page.kind == "picture"]
    apart = {page.name: page for page in pages if not page.folder} | {page.folder: page for page in pages if page.folder}
    return pages if "panel" in name else [*apart.values()]


def drawn(pages, size):
    """(page, axes of a figure of that size with all that it draws)."""
    for page in pages:
        figure = Figure(figsize=size)
        ax = figure.subplots()
        page.plot(ax)
        figure.draw_without_rendering()
        yield page, ax


@cache
def in_the_smallest(name):
    """The same in a figure in which little has room, drawn once for all tests that look at it."""
    return [*drawn(chosen(name), SMALLEST)]


@pytest.mark.parametrize("name", [*PICTURES, *CROWDED])
def test_no_text_is_over_another_in_axes_of_any_size(name):
    for page, ax in itertools.chain(in_the_smallest(name), *(drawn(chosen(name), size) for size in SIZES)):
        assert not [*overlapping(ax)], (page.name, ax.figure.get_size_inches())


def test_texts_that_have_room_are_measured_a_few_times_only(monkeypatch):
    """At most thrice while a panel finds its place, then for the title of the page, then when all have theirs."""
    asked = Counter()
    measured = Axis.get_tightbbox

    def counted(axis, *args, **options):
        asked[axis] += 1
        return measured(axis, *args, **options)

    monkeypatch.setattr(Axis, "get_tightbbox", counted)
    page = Page("some", "Some", every_panel().panels[4:8], columns=2)
    ax = Figure(figsize=(12, 9)).subplots()
    page.plot(ax)
    assert len(asked) >= 2 * len(ax.child_axes)
    assert max(asked.values()) <= 5


@pytest.mark.parametrize("plugin", ["flatten", "spiral", "hilbert", "atlas"])
def test_outlines_of_regions_leave_the_cells_to_be_seen(plugin):
    (page,) = t2g.grid(EXPERTS, plugin)
    shown = []
    for boundaries in (True, False):
        figure = Figure(figsize=(4, 4))
        canvas = FigureCanvasAgg(figure)
        replace(page, panels=(replace(page.panels[0], boundaries=boundaries),)).plot(figure.add_axes((0, 0, 1, 1)))
        canvas.draw()
        shown.append(np.asarray(canvas.buffer_rgba()))
    assert (shown[0] != shown[1]).any(axis=2).mean() < 0.05


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("beside", [0, 2])
def test_each_bar_has_its_name_and_the_largest_are_kept_where_not_all_have_room(ranked, beside):
    labels = tuple(f"model.layers.{place}.weight" for place in range(30))
    values = np.arange(30.0)[::-1] if ranked else np.random.default_rng(0).permutation(np.arange(30.0))
    bar = Bar(labels, values, ylabel="z", flags={} if ranked else {int(np.argmin(values)): "NaN"})
    bars = Page("bars", "Bars", (bar,) * (1 + beside), columns=1 + beside)
    for size, all_have_room in (((8 * (1 + beside), 8), True), ((4 + 5 * beside, 2), False)):
        figure = Figure(figsize=size, layout="constrained")  # which makes room for names of any length
        ax = figure.subplots()
        bars.plot(ax)
        figure.draw_without_rendering()
        for each in ax.child_axes or [ax]:
            names = [label.get_text() for label in each.get_yticklabels()]
            drawn = [patch.get_width() for patch in each.patches if patch.get_visible()]
            assert len(names) == len(drawn)  # no bar is without one
            assert (len(names) == 30) == all_have_room
            sizes = np.where([place in bar.flags for place in range(30)], np.inf, values)
            kept = sorted(np.argsort(-sizes)[: len(names)].tolist())
            assert drawn == values[kept].tolist()
            if not beside:
                assert names == [labels[place] + (" (NaN)" if place in bar.flags else "") for place in kept]
            said = each.get_xlabel().replace("\n", " ")
            assert said in ("", "z" if all_have_room else f"z (the {len(names)} largest of 30)")


SMALL = [(2.5, 2), (4, 2), (3.5, 3.5)]


@pytest.mark.parametrize(
    "name", ["layers", "outliers", "histograms", "compare", "series", "experts of outliers", "some panels"]
)
def test_no_text_is_cut_by_the_edge_of_a_small_figure(name):
    pages = chosen(name)[-1:] if "panel" in name else chosen(name)
    for page, ax in itertools.chain(in_the_smallest(name), *(drawn(pages, size) for size in SMALL)):
        edge = ax.figure.bbox
        for each in (ax, *ax.child_axes):
            for text in (each.title, each.xaxis.label, each.yaxis.label) if each.axison else (each.title,):
                box = text.get_window_extent()
                out = max(-box.x0, -box.y0, box.x1 - edge.x1, box.y1 - edge.y1)
                assert not text.get_text() or not text.get_visible() or out <= 2, (page.name, edge, text.get_text())


def test_a_title_may_be_as_wide_as_the_place_of_a_slender_matrix():
    page = t2g.layers({"model.layers.0.mlp.up_proj.weight": np.ones((100, 9), np.float32)})[0]
    ax = Figure(figsize=(5, 4)).subplots()
    page.plot(ax)
    assert "up_proj.weight" in ax.get_title()
    assert "…" not in ax.get_title()
    assert ax.title.get_fontsize() == mpl.rcParams["font.size"]  # medium


@pytest.mark.parametrize("width", [20, 60, 90, 200])
@pytest.mark.parametrize(
    "names",
    [
        [f"model.layers.{layer}.self_attn.{kind}.weight" for layer in (1, 11, 111) for kind in ("q_proj", "k_proj")],
        [f"layers.…{kind}.weight" for kind in ("attention.query", "attention.key", "mlp.up_projection", "mlp.gate_projection")],
        ["a" * 60, "a" * 59 + "b", "a" * 30 + "c" + "a" * 29],
        ["same", "same", "other"],
    ],
)
def test_names_that_are_shortened_stay_unlike(names, width):
    shown = fit_each(names, width)
    for one, other in itertools.combinations(range(len(names)), 2):
        assert names[one] == names[other] or shown[one] != shown[other] or not shown[one]
    assert width < 200 or all(shown)
    assert all(text_width(each) <= max(width, text_width("…")) for each in shown)


def test_the_pointer_is_told_the_cell_and_its_number_on_every_panel():
    pair = t2g.compare(UNTRAINED, DIGITS, layers=True)["fc1.weight_delta"]
    alone = t2g.layers(DIGITS)["fc1.weight"]
    for page in (alone, pair):
        figure = Figure(figsize=(9, 9))
        ax = figure.subplots()
        page.plot(ax)
        figure.draw_without_rendering()
        inners = ax.child_axes or [ax]
        heatmaps = [(panel, inner) for panel, inner in zip(page.panels, inners, strict=False) if isinstance(panel, Heatmap)]
        assert heatmaps
        for panel, inner in heatmaps:
            (high, wide), (rows, columns) = panel.grid.cell, panel.grid.shape
            for row, column in ((0, 0), (rows // 2, columns // 3), (rows - 1, columns - 1)):
                place = inner.transData.transform(((column + 0.5) * wide - 0.5, (row + 0.5) * high - 0.5))
                told = ax.format_coord(*ax.transData.inverted().transform(place))
                where, _, value = told.rpartition(": ")
                assert value == (
                    number(float(panel.grid.values[row, column])) if panel.grid.counts[row, column] else "no weight"
                )
                assert panel.row_names or f"row {row * high}" in where
                assert panel.column_names or f"column {column * wide}" in where
    assert ax.format_coord(2.0, 2.0) == ""  # beside all panels


def test_trends_of_many_tensors_can_be_read_in_axes_of_usual_size():
    rng = np.random.default_rng(0)
    run = [
        {f"layers.{layer}.{name}.weight": (1 + step) * rng.standard_normal((8, 8)) for layer in range(7) for name in ("a", "b")}
        for step in range(5)
    ]
    figure = Figure(figsize=(6.4, 4.8))
    ax = figure.subplots()
    t2g.series(run, given=True)["series_trends"].plot(ax)
    figure.canvas.draw()
    for inner in ax.child_axes:
        box = inner.get_window_extent()
        assert box.width > 0.15 * ax.get_window_extent().width
        assert box.height > 0.08 * ax.get_window_extent().height
        for labels in (inner.get_xticklabels(), inner.get_yticklabels()):
            boxes = [each.get_window_extent() for each in labels if each.get_text() and each.get_visible()]
            assert all(each.get_fontsize() >= 5 for each in labels if each.get_visible())
            assert not any(one.overlaps(other) and min(one.width, one.height) > 1 for one, other in itertools.pairwise(boxes))
    names = [[each.get_text() for each in inner.get_xticklabels() if each.get_visible()] for inner in ax.child_axes]
    assert sum(bool(each) for each in names) <= 2  # below the lowest panels alone


@pytest.mark.parametrize("size", [(6.4, 4.8), (9, 6), (4.5, 4)])
def test_a_legend_stays_within_the_axes(size):
    rng = np.random.default_rng(0)
    run = [{f"model.layers.3.{name}.weight": rng.standard_normal((8, 8)) for name in ("q", "k", "v", "o")} for _ in range(5)]
    figure = Figure(figsize=size)
    ax = figure.subplots()
    t2g.series(run, given=True)["series_trends"].plot(ax)
    figure.canvas.draw()
    (legend,) = [child.get_legend() for child in ax.child_axes if child.get_legend() is not None]
    box, place = legend.get_window_extent(), ax.get_window_extent()
    assert (box.x0 >= place.x0 - 1, box.x1 <= place.x1 + 1) == (True, True)
    assert "one step, usually 0.001" in [text.get_text() for text in legend.get_texts()]


def test_a_run_and_a_comparison_say_what_they_are():
    run = t2g.series([UNTRAINED, DIGITS], given=True)
    assert repr(run) == f"<Series of 10 tensors over 2 snapshots, {' … '.join(run.labels)}: {len(run)} pages>".replace(
        "10 tensors", f"{run.tensors} tensors"
    )
    assert isinstance(run, t2g.Series)
    assert repr(t2g.compare(UNTRAINED, DIGITS)).endswith("different, 3 pages>")
    assert ": same, " in repr(t2g.compare(DIGITS, DIGITS))


def test_lines_of_the_same_names_have_one_legend():
    ax = Figure().subplots()
    t2g.series([UNTRAINED, DIGITS])["series_trends"].plot(ax)
    legends = [child.get_legend() for child in ax.child_axes if child.get_legend() is not None]
    named = [legend for legend in legends if {"conv1.weight", "fc2.weight"} <= {text.get_text() for text in legend.get_texts()}]
    assert len(named) == 1
    assert not named[0].axes.lines  # it stands beside the diagrams, not over their lines
    assert all(len(legend.get_texts()) == 1 for legend in legends if legend not in named)  # of a mark that one panel has


def test_marks_of_one_plot_are_told_apart_by_their_dashes():
    axes = Figure().add_subplot()
    panel = Histogram(np.arange(4.0), np.array([1, 2, 3]), marks={"0": 0.0, "mean": 1.0, "low": 2.0, "high": 2.5})
    Page("p", "t", (panel,)).plot(axes)
    styles = [
        repr((line.get_color(), line._unscaled_dash_pattern)) for each in axes.child_axes or [axes] for line in each.lines
    ]
    assert len(styles) == len(set(styles)) == 4


def test_a_page_saves_itself(tmp_path):
    pages = t2g.outliers(STATE, count=2)
    page = pages["outliers_overview"]
    assert page.save(tmp_path / "one.png") == [tmp_path / "one.png"]
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    assert [path.suffix for path in page.save(tmp_path / "two.svg")] == [".svg"]
    assert pages["outliers"].save(tmp_path / "table.csv")[0].read_text().startswith("panel,Layer Name,Index,Weight")
    assert sorted(path.name for path in page.save(tmp_path / "folder", "png,svg")) == [
        "outliers_overview.png",
        "outliers_overview.svg",
    ]
    with pytest.raises(UsageError, match="nosuch"):
        page.save(tmp_path / "folder", "nosuch")


@pytest.mark.parametrize("view", ["layers", "histograms"])
def test_the_picture_of_one_tensor_is_its_own_page(view):
    pages = getattr(t2g, view)(STATE, only="fc1.weight")
    name = next(page.name for page in pages if page.folder)
    assert pages.plot().get_title() == pages[name].plot().get_title()
    assert [page.name for page, _ in pages._shown()] == [name]
    several = getattr(t2g, view)(STATE, only="fc1.*")
    assert "overview" in several._shown()[0][0].name


@pytest.mark.parametrize(("typo", "meant"), [("fc1.wieght", "fc1.weight"), ("conv1_weight", "conv1.weight")])
def test_an_unknown_tensor_is_told_with_the_nearest(typo, meant):
    checkpoint = t2g.load(DIGITS)
    with pytest.raises(KeyError, match=f"no tensor '{typo}'; did you mean .*'{meant}'") as caught:
        checkpoint[typo]
    assert caught.value.args == (typo,)
    assert checkpoint.get(typo) is None
    assert typo not in checkpoint
    assert pickle.loads(pickle.dumps(caught.value)).args == (typo,)


def test_a_frame_has_no_row_of_totals_which_the_table_has():
    tensors = {f"layers.{place}.weight": np.random.default_rng(place).standard_normal((20, 30)) for place in range(3)}
    for pages in (t2g.stats(tensors, detail=True), t2g.dead_neurons(tensors)):
        assert pages.tables[0].rows[-1][0] == "(all tensors)"
        assert pages.to_pandas()["Layer Name"].tolist() == list(tensors)


def test_a_table_of_cells_has_the_names_of_rows_and_columns():
    generator = np.random.default_rng(0)
    tensors = {f"layers.{layer}.{kind}.weight": generator.standard_normal((20, 30)) for layer in range(3) for kind in "qk"}
    heatmap = t2g.outliers(tensors)["outliers_overview"].panels[0]
    assert [row[:2] for row in heatmap.as_table().rows] == [(str(layer), kind) for layer in range(3) for kind in "qk"]


def test_titles_of_axes_side_by_side_do_not_meet():
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 7, 21)]
    pages = t2g.layers({name: np.ones((160, 64), np.float32) for name in names})
    figure = pyplot.figure(figsize=(12, 4))
    axes = figure.subplots(1, 3)
    for ax, name in zip(axes, names, strict=True):
        pages[name].plot(ax)
        assert ax.get_title().replace("\n", " ") == f"{name} · 160×64 · float32"
    boxes = [ax.title.get_window_extent() for ax in axes]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    pyplot.close(figure)


def test_the_former_name_of_the_asinh_scale_is_known():
    tensors = {"w": np.random.default_rng(0).standard_normal((20, 30))}
    one, other = (t2g.grid(tensors, scale=name)[0].panels[0].scale for name in ("symlog", "asinh"))
    assert one == other
    assert one.kind == ColorScale(-1, 1, "symlog").kind == "asinh"
    assert color_scale(Grid(np.eye(3)), "symlog") == color_scale(Grid(np.eye(3)), "asinh")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1000, -1000])
@pytest.mark.parametrize("row", [10, 301, 302, 303, 990])
def test_a_cell_without_a_pixel_of_its_own_is_seen(row, value):
    values = np.zeros((1000, 40), np.float32)
    values[row] = value
    panel = Heatmap(Grid(values, np.ones(values.shape, np.int64), "mean", (1, 1)), ColorScale(-1.0, 1.0))
    figure = Figure(figsize=(2, 2), dpi=100)
    Page("grid", "", (panel,)).plot(figure.add_axes((0.2, 0.1, 0.7, 0.8)))
    FigureCanvasAgg(figure).draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[20:180, 60:120, :3].astype(int)
    assert (pixels.max(2) - pixels.min(2) > 60).any()  # somewhere it has a colour
