"""A run as people look at it: steps as labels, no change as the lightest cell, round numbers on bars of logarithms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from matplotlib.figure import Figure
from safetensors.numpy import save_file
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._compare.figures import in_colors
from torch2grid_builtin._compare.order import in_order
from torch2grid_builtin._renderers.matplotlib.axes import plot
from torch2grid_builtin._renderers.matplotlib.heatmap import LOG, HeatmapDrawing, Legend
from torch2grid_builtin._renderers.matplotlib.lists import BandDrawing, RidgesDrawing
from torch2grid_builtin._renderers.matplotlib.page import draw_page
from torch2grid_builtin._renderers.matplotlib.panel import Scale, Sizes
from torch2grid_builtin._renderers.matplotlib.planes import LineDrawing
from torch2grid_core import Checkpoint, Grid, Page, Style
from torch2grid_core.grids import ColorScale
from torch2grid_core.pages import Heatmap, Line


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("step_100", "step_20", "step_3"), ["step 3", "step 20", "step 100"]),
        (("checkpoint-10", "checkpoint-5", "checkpoint-200"), ["step 5", "step 10", "step 200"]),
        (("epoch=3-step=1200", "epoch=10-step=400"), ["step 400", "step 1200"]),
        (("epoch_10", "epoch_9"), ["epoch 9", "epoch 10"]),
        (("step_1234568", "step_1234567"), ["step 1234567", "step 1234568"]),
        (("step_1a", "step_2", "other"), ["other.safetensors", "step_1a.safetensors", "step_2.safetensors"]),
    ],
)
def test_snapshots_are_called_by_their_steps(tmp_path: Path, names: tuple[str, ...], labels: list[str]) -> None:
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.safetensors" for name in names]
    for path in paths:
        save_file({"fc.weight": generator.standard_normal((8, 8)).astype(np.float32)}, path)
    ordered = in_order([t2g.load(each) for each in paths])
    assert list(ordered.labels) == labels
    if ordered.unit == "snapshot":
        assert ordered.said.startswith("ordered by name: ")
        assert ordered.steps == tuple(range(len(paths)))
    else:
        assert ordered.said == f"ordered by {ordered.unit} in their names"
        assert [f"{ordered.unit} {int(step)}" for step in ordered.steps] == labels
    backwards = in_order(ordered.checkpoints[::-1], given=True)
    assert (backwards.labels, backwards.steps) == (ordered.labels[::-1], tuple(range(len(paths))))
    assert in_order(ordered.checkpoints, given=True).steps == ordered.steps


def test_the_order_is_said_once(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        save_file({"fc.weight": generator.standard_normal((8, 8)).astype(np.float32)}, tmp_path / f"{name}.safetensors")
    done = torch2grid("compare", ".", "-o", "out", cwd=tmp_path)
    said = "ordered by name: neither the files nor their names state a step"
    assert (done.stdout + done.stderr).count(said) == 1
    files = json.loads((tmp_path / "out" / "index.json").read_text())["files"]
    assert not [path for path, facts in files.items() if said in facts["title"]]
    assert files["series_trends.png"]["title"].startswith("3 checkpoints · one.safetensors … two.safetensors")
    report = json.loads(torch2grid("compare", ".", "--format", "json", "-q", cwd=tmp_path).stdout)
    assert (report["order"], report["unit"], report["steps"]) == (said, "snapshot", [0, 1, 2])


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("run_a_step_10", "run_b_step_10", "run_a_step_20"), "2 of 3 checkpoints have step 10 in their names"),
        (("model_2", "model_10", "model_100"), "neither the files nor their names call a number a step"),
        (("one", "two"), "neither the files nor their names state a step"),
        (("step_1", "step_2", "final"), "no step in their names for 1 of 3 checkpoints"),
        (("step_1", "epoch_2"), "their names count unlike things: epoch, step"),
    ],
)
def test_an_order_by_name_says_why(names: tuple[str, ...], why: str) -> None:
    assert in_order([Checkpoint({}, source=f"run/{name}.pth") for name in names]).said == f"ordered by name: {why}"
    stated = [Checkpoint({}, source=name, metadata={"epoch": "4"}) for name in names]
    assert in_order(stated).said == f"ordered by name: {len(names)} of {len(names)} checkpoints have epoch 4 in the files"
    sources = zip(names, ({"epoch": "4"}, {}, {}), strict=False)
    partly = [Checkpoint({}, source=f"run{place}", metadata=facts) for place, (_, facts) in enumerate(sources)]
    assert in_order(partly).said == f"ordered by name: no epoch in the files for {len(names) - 1} of {len(names)} checkpoints"


def colored(values: list[list[float]]) -> Heatmap:
    figures = np.array(values)
    names = [str(each) for each in range(len(values))]
    found = in_colors(
        figures, np.zeros(figures.shape, bool), "x", title="", rows="", columns="", row_names=names, column_names=["a", "b"]
    )
    assert found is not None
    return found


def test_no_change_is_the_lightest_cell_and_within_the_limits() -> None:
    panel = colored([[0.0, 1e-4], [0.02, 3.0]])
    cells = panel.grid.values
    assert cells[0, 0] == panel.scale.low < cells[0, 1] < cells[1, 0] < cells[1, 1] == panel.scale.high
    assert panel.scale.under == 0
    assert "0" in panel.label


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [(-3.2, 1.4, ["0.001", "0.01", "0.1", "1", "10"]), (-0.6, 0.2, ["0.5", "1"]), (-14.0, 10.0, None), (0.31, 0.32, None)],
)
def test_bars_of_logarithms_have_round_numbers(low: float, high: float, texts: list[str] | None) -> None:
    grid = Grid(np.array([[low, high]], np.float32), np.ones((1, 2), np.int64))
    panel = Heatmap(grid, ColorScale(low, high), label=f"{LOG}x")
    legend = Legend.of(grid, panel.scale, panel.label, Style(), panel)
    ticks = legend.ticks()
    assert 2 <= len(ticks) <= 6
    assert all(0 <= share <= 1 for share, _ in ticks)
    if texts is not None:
        assert [text for _, text in ticks] == texts
        assert legend.title == "x, log scale"
    else:
        assert len({text for _, text in ticks}) == len(ticks)


def test_a_panel_of_nothing_but_zeros_is_left_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    tensors = {"fc.weight": generator.standard_normal((8, 8)), "out.weight": generator.standard_normal((8, 8)), "b": np.ones(8)}
    save_file({name: each.astype(np.float32) for name, each in tensors.items()}, tmp_path / "a.safetensors")
    tensors["fc.weight"][:4] += 1
    save_file({name: each.astype(np.float32) for name, each in tensors.items()}, tmp_path / "b.safetensors")
    page = t2g.compare(tmp_path / "a.safetensors", tmp_path / "b.safetensors")["compare_overview"]
    assert page.panels
    assert all(np.any(panel.values != 0) for panel in page.panels)
    assert not any("Vectors" in panel.title for panel in page.panels)


SIZES = Sizes.of(2)


def test_rows_that_stand_out_have_their_names_where_there_is_no_room_for_all() -> None:
    generator = np.random.default_rng(2)
    values = generator.uniform(1, 2, (90, 6))
    values[41, 3:] = 60, 600, 6000
    lost = np.zeros(values.shape, bool)
    lost[76, 5] = True
    names = [f"layers.{row}.fc" for row in range(90)]
    words = {"title": "", "rows": "", "columns": "step", "row_names": names, "column_names": list("abcdef")}
    table = in_colors(values, lost, "x", **words)
    assert table is not None
    assert table.row_names == tuple((row + 0.5, name) for row, name in enumerate(names))
    assert table.stand_out == (76, 41)
    assert [name for _, name in table.ranked_row_names[:3]] == ["layers.76.fc", "layers.41.fc", "layers.0.fc"]
    drawn = HeatmapDrawing(table, Style(), SIZES)
    ticks = {text for _, text in drawn.row_ticks}
    assert {"layers.41.fc", "layers.76.fc", "layers.0.fc"} <= ticks
    assert 20 < len(ticks) < 90  # the others fill the room
    places = sorted(place for place, _ in drawn.row_ticks)
    assert min(np.diff(places)) * drawn.factor[0] >= SIZES.text  # no name on another
    ax = Figure(figsize=(4, 3)).subplots()
    plot(Page("p", "", (table, table), columns=2), ax)
    for inner in ax.child_axes:
        assert {"layers.41.fc", "layers.76.fc"} <= {each.get_text() for each in inner.get_yticklabels()}


@settings(derandomize=True)
@given(st.floats(-6, 6), st.floats(-6, 6), st.floats(-4, 0), st.integers(400, 900))
def test_a_bent_axis_has_the_same_ticks_on_both_sides(low: float, high: float, bend: float, pixels: int) -> None:
    scale = Scale(-(10**low), 10**high, 0, pixels, bend=10 ** (min(low, high) + bend))
    ticks = scale.ticks(90)
    inside = min(10**low, 10**high)
    assert sorted(-tick for tick in ticks if abs(tick) <= inside) == [tick for tick in ticks if abs(tick) <= inside]
    assert len(ticks) > 1
    assert min(np.diff(scale(ticks))) >= 90 - 1e-9


def test_ridges_and_quantiles_of_a_tensor_have_one_axis() -> None:
    generator = np.random.default_rng(0)
    run = [{"fc.weight": generator.standard_normal((40, 40)) * scale} for scale in (1, 1, 1000)]
    ridges, band = t2g.series(run, given=True)["fc.weight_series"].panels
    assert band.limits == (ridges.edges[0], ridges.edges[-1])
    one, two = RidgesDrawing(ridges, Style(), SIZES), BandDrawing(band, Style(), SIZES)
    assert (one.limits(), one.bend, one.names) == (two.limits(), two.bend, two.names)
    with pytest.raises(ValueError, match="limits: two finite numbers are needed"):
        replace(band, limits=(1.0, 1.0))


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_no_figure_of_a_log_panel_is_missing_without_a_word(tmp_path: Path, kept: int) -> None:
    """A tensor that stays has a change of 0, and a dead one a norm of 0: a logarithmic axis has no place for them."""
    random = np.random.default_rng(kept)
    state = {name: random.standard_normal((8, 8)).astype(np.float32) for name in "abcd"}
    for step in range(4):
        for name in "abcd"[kept:]:
            state[name] = state[name] * np.float32(0 if name == "d" and step == 2 else 1 + 9 * (name == "c"))
        save_file(state, tmp_path / f"step_{step}.safetensors")
    trends = next(page for page in t2g.series(sorted(tmp_path.iterdir())) if page.name == "series_trends")
    for panel in trends.panels:
        zeros = [name for name, values in panel.y.items() if (np.asarray(values) == 0).any()]
        told = panel.title.partition("; 0 is not on a log axis: ")[2]
        assert told == (", ".join(zeros) if panel.log else "")
        assert panel.log == bool(panel.ylabel)


def test_diagrams_of_one_legend_begin_one_below_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[float] = []
    draw = LineDrawing._draw_ticks
    monkeypatch.setattr(LineDrawing, "_draw_ticks", lambda self, *rest: (starts.append(rest[1].start), draw(self, *rest)))
    x = np.arange(1.0, 6)
    sizes = (1.0, 1e-6, 12345.0, 7.0, 0.125, 1e9)
    panels = tuple(Line(x, {"a": x * size, "b": x + size}, title=f"{size}", log=size > 1) for size in sizes)
    draw_page(Page("trends", "a run", panels, columns=2), Style())
    assert len({*starts[::2]}) == len({*starts[1::2]}) == 1
