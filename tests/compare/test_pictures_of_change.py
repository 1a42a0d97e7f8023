"""Pictures of a run and of two checkpoints: nothing is cut, nothing moves from frame to frame, an explosion stays readable."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image, ImageSequence
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._compare.figures import by_kind, in_colors, kind_and_layer, short
from torch2grid_builtin._renderers.matplotlib.canvas import SERIES, series_colors
from torch2grid_builtin._renderers.matplotlib.heatmap import HeatmapDrawing, UprightBar
from torch2grid_builtin._renderers.matplotlib.page import draw_page
from torch2grid_builtin._renderers.matplotlib.panel import Scale, Sizes
from torch2grid_builtin._renderers.matplotlib.shapes import Boxes, Label
from torch2grid_core import Grid, Page, Settings, Style
from torch2grid_core.grids import ColorScale
from torch2grid_core.pages import Bar, Heatmap, Line, Ridges


def state(layers, seed=0, scale=0.1):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"attn.weight": (12, 8), "attn.bias": (12,), "up.weight": (16, 8), "down.weight": (8, 16)}
    found = {f"layers.{n}.{name}": shape for n in range(layers) for name, shape in shapes.items()}
    found["embed.weight"] = (20, 8)
    return {name: scale * torch.randn(shape, generator=generator) for name, shape in found.items()}


def trained(factor=1.02, steps=5, layers=4):
    """Snapshots of a network whose weights are *factor* times as large from one to the next."""
    first, drift = state(layers), state(layers, seed=1, scale=0.01)
    return [{name: (value + step * drift[name]) * factor**step for name, value in first.items()} for step in range(steps)]


def texts(page):
    return [shape.text for shape in draw_page(page, Style()).shapes if isinstance(shape, Label)]


def test_a_few_tensors_are_lines_with_one_legend():
    page = t2g.series(trained(layers=1), given=True)["series_trends"]
    assert all(isinstance(panel, Line) for panel in page.panels)
    assert list(page.panels[0].y) == list(state(1))  # vectors, too
    assert len(page.panels) % 2 == 0  # in two columns: no place stays empty
    shown = texts(page)
    for name in page.panels[0].y:
        assert shown.count(name) == 1, name


def test_many_tensors_are_rows_by_kind_and_snapshots_columns():
    snapshots = trained()
    page = t2g.series(snapshots, given=True)["series_trends"]
    assert all(isinstance(panel, Heatmap) for panel in page.panels)
    assert len(page.panels) % 2 == 0
    norm = next(panel for panel in page.panels if panel.title == "‖w‖")
    names = [name for _, name in norm.row_names]
    kinds = ("attn.weight", "attn.bias", "up.weight", "down.weight")
    assert names == [*(f"layers.{n}.{kind}" for kind in kinds for n in range(4)), "embed.weight"]
    for row, name in enumerate(names):
        want = [np.linalg.norm(each[name].numpy()) for each in snapshots]
        np.testing.assert_allclose(norm.grid.values[row], want, rtol=1e-5)
    ratio = next(panel for panel in page.panels if panel.title.startswith("‖Δw‖"))
    assert ratio.grid.shape == (17, 4)  # nothing came before the first
    shown = texts(page)
    assert {panel.title: len(panel.row_names) for panel in page.panels if len(panel.row_names) < 17} == {
        "spread of the units' norms (alike: 0)": 13  # vectors have no units
    }
    for name in names:  # every row of every table has its name, that of the last one without what all in it end with
        short_name = name.removesuffix(".weight")
        assert shown.count(name) == len(page.panels) - 1
        assert shown.count(short_name) == (len(page.panels) - 1 if short_name == name else 1)
    canvas = draw_page(page, Style())
    assert all(label.x > 0 for label in canvas.shapes if isinstance(label, Label))


def test_an_explosion_is_shown_by_orders_of_magnitude():
    page = t2g.series(trained(factor=1e4), given=True)["series_trends"]
    norm = next(panel for panel in page.panels if panel.title == "‖w‖")
    assert norm.label == "log₁₀ ‖w‖"
    np.testing.assert_allclose(np.diff(norm.grid.values, axis=1), 4, atol=0.2)
    assert (norm.scale.over, norm.scale.under) == (0, 0)


def test_figures_in_colours_tell_zero_and_nothing_apart():
    values = np.array([[0.0, 1.0, 1000.0], [np.nan, np.inf, 5.0]])
    lost = np.zeros((2, 3), bool)
    lost[1, 2] = True
    words = {"title": "t", "rows": "", "columns": "", "row_names": "ab", "column_names": "xyz"}
    panel = in_colors(values, lost, "norm", **words)
    assert panel.label == "log₁₀ norm; the lightest is 0"
    zero, one, thousand = panel.grid.values[0].tolist()
    assert (one, thousand) == pytest.approx((0, 3))
    assert zero == pytest.approx(-0.24)  # apart from the least by a part of the range, and the lightest
    assert panel.scale.low == zero
    assert panel.scale.under == 0
    assert panel.grid.counts.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert np.isnan(panel.grid.values[1, 2])
    assert in_colors(np.full((1, 1), np.nan), np.zeros((1, 1), bool), "norm", **words) is None
    kurtosis = in_colors(np.array([[-1.2, -1.0, 900.0]]), np.zeros((1, 3), bool), "kurtosis", signed=True, **words)
    assert kurtosis.scale.diverging
    assert kurtosis.scale.fraction(np.array([-1.2]))[0] < 0.45  # a uniform one is seen beside the largest


def test_names_by_kind():
    assert kind_and_layer("model.layers.11.mlp.3.weight") == ("model.layers.*.mlp.3.weight", 11)
    assert kind_and_layer("head.weight") == ("head.weight", None)
    assert by_kind(["l.10.a", "l.10.b", "l.2.a", "l.2.b", "head"]) == ["l.2.a", "l.10.a", "l.2.b", "l.10.b", "head"]
    assert short(["m.layers.0.q.weight", "m.layers.1.q.weight"]) == ["layers.0.q", "layers.1.q"]
    assert short(["a.weight", "a.bias"]) == ["weight", "bias"]
    assert short(["weight", "0.weight"]) == ["weight", "0.weight"]


def test_layers_of_several_stacks_have_rows_of_their_own_and_share_columns():
    """Of a residual network: ``layer1.0`` and ``layer2.0`` are two rows, ``conv1`` is one column."""
    rng = np.random.default_rng(0)
    names = [f"layer{stage}.{block}.{leaf}.weight" for stage in (1, 2, 3) for block in (0, 1) for leaf in ("conv1", "conv2")]
    names += [f"layer{stage}.0.downsample.0.weight" for stage in (2, 3)]
    names += [
        f"layer{stage}.{block}.bn{n}.{leaf}" for stage in (1, 2, 3) for block in (0, 1) for n in (1, 2) for leaf in "wbmv"
    ]
    one = {name: rng.standard_normal((4, 4)).astype(np.float32) for name in [*names, "fc.weight"]}
    two = {name: value + 0.1 for name, value in one.items()}
    page = t2g.compare(one, two)["compare_overview"]
    table, bars = page.panels
    assert isinstance(table, Heatmap)
    assert [name for _, name in table.row_names] == [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)]
    columns = [name for _, name in table.column_names]
    assert len(columns) == len(set(columns)) == 11
    down = table.grid.counts[:, columns.index("downsample.0.weight")]
    assert down.tolist() == [0, 0, 1, 0, 1, 0]
    assert isinstance(bars, Bar)
    assert bars.labels == ("fc.weight",)


def test_no_two_colours_are_alike():
    def lab(color):
        rgb = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        rgb = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        xyz = np.array([[0.4125, 0.3576, 0.1805], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]) @ rgb
        f = np.cbrt(xyz / [0.9505, 1, 1.0888])
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for one, two in itertools.combinations(SERIES, 2):
        assert np.linalg.norm(lab(one) - lab(two)) > 30, (one, two)
    assert len(set(series_colors(30))) == 30


def test_ridges_are_on_an_asinh_axis_with_the_steps_as_labels():
    page = t2g.series(trained(factor=1e3), given=True, layers=True)["layers.0.up.weight_series"]
    ridges, band = page.panels
    assert isinstance(ridges, Ridges)
    assert len(ridges.labels) == 5
    assert ridges.bend == band.bend == pytest.approx(0.1, rel=0.3)  # the spread of the calmest snapshot
    widths = np.diff(np.arcsinh(ridges.edges / ridges.bend))
    np.testing.assert_allclose(widths, widths[0], rtol=1e-6)
    np.testing.assert_allclose(ridges.shares.sum(axis=1), 1)
    shown = texts(page)
    assert all(label in shown for label in ridges.labels)
    assert any("asinh axis" in text for text in shown)
    assert shown.count("0") >= 2  # its middle is on both axes


def test_ticks_of_a_bent_axis_are_round_and_apart():
    scale = Scale(-1e15, 1e15, 0, 700, bend=0.1)
    ticks = scale.ticks(80)
    assert 0 in ticks
    assert 1e15 in ticks
    assert np.diff(scale(ticks)).min() >= 80
    assert ticks == [-each if each else 0 for each in reversed(ticks)]
    assert scale(0.0) == pytest.approx(350)


def test_the_colour_bar_of_an_animation_has_one_place(tmp_path):
    snapshots = trained(factor=1.0)
    snapshots[3]["embed.weight"][:] = torch.nan
    snapshots[4]["layers.0.up.weight"][:] = 40.0
    for step, each in enumerate(snapshots):
        torch.save({"model": each, "step": 10**step}, tmp_path / f"{step}.pth")
    done = torch2grid("compare", *(f"{n}.pth" for n in range(5)), "--format", "gif", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "grids" / "series_atlas.gif") as film:
        frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]
    assert len({frame.shape for frame in frames}) == 1

    rail = [np.flatnonzero((frame == (0x2A, 0x6B, 0x9C)).all(axis=2).any(axis=0)) for frame in frames]
    lengths = [columns.max() - columns.min() for columns in rail if len(columns)]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 5  # the mark goes on with each frame


def test_bars_that_keep_their_place_whatever_they_say():
    scale = ColorScale(-1.0, 1.0)
    grids = (np.zeros((30, 30)), np.full((30, 30), 5.0), np.full((30, 30), -5.0), np.full((30, 30), np.nan))
    drawings = [HeatmapDrawing(Heatmap(Grid(grid), scale, steady=True), Style(), Sizes.of(1)) for grid in grids]
    assert all(isinstance(each.bar, UprightBar) for each in drawings)
    assert len({(each.width, each.height, each.bar.width) for each in drawings}) == 1
    places = []
    for each in drawings:
        canvas = draw_page(Page("frame", "A title", (each.panel,), frame=(1, 4)), Style())
        ramp = next(shape for shape in canvas.shapes if type(shape).__name__ == "Ramp")
        places.append((ramp.left, ramp.top, ramp.height))
    assert len(set(places)) == 1


def test_limits_of_an_exploding_run_are_bent():
    from torch2grid_builtin._compare.series import Frames, compare_many
    from torch2grid_builtin._transformers.flatten import Flatten

    def scales(factor, **settings):
        ordered = t2g_order(trained(factor=factor))
        pages = []
        compare_many(ordered, [Frames(Flatten(), ordered.labels)], lambda page, *_: pages.append(page), Settings(**settings))
        assert [page.frame for page in pages] == [(place, 5) for place in range(1, 6)]
        found = {(each.low, each.high, each.kind, each.bend) for each in (page.panels[0].scale for page in pages)}
        assert len(found) == 1  # one scale for all frames
        return pages, found.pop()

    _, calm = scales(1.02)
    assert calm[2:] == ("linear", 0)
    pages, (low, high, kind, bend) = scales(1e4)
    assert kind == "asinh"
    assert -low == high
    first = np.abs(pages[0].panels[0].grid.drawn())
    assert bend < np.quantile(first, 0.9) < high / 1000
    fraction = pages[0].panels[0].scale.fraction(np.array([np.quantile(first, 0.9)]))[0]
    assert fraction > 0.6  # where the run began is seen: 0.5 is the colour of 0
    assert pages[-1].panels[0].scale.over < 0.02  # and so is where it ended
    assert scales(1e4, scale="symmetric")[1][2] == "linear"  # what was asked for stays
    assert scales(1e4, limits=(-1, 1))[1][:2] == (-1, 1)


def t2g_order(snapshots):
    from torch2grid_builtin._compare.order import in_order

    return in_order([t2g.load(each) for each in snapshots], given=True)


def test_an_overview_of_few_is_bars_sorted():
    before, after = trained(layers=1)[0], trained(layers=1)[4]
    after["layers.0.up.weight"] = before["layers.0.up.weight"] * 3
    page = t2g.compare(before, after)["compare_overview"]
    assert all(isinstance(panel, Bar) for panel in page.panels)
    first = page.panels[0]
    assert first.labels[0] == "layers.0.up.weight"
    assert first.values[0] == pytest.approx(2)
    assert list(first.values) == sorted(first.values, reverse=True)
    assert not any("share" in panel.title for panel in page.panels)  # every weight changed: nothing to see in it
    after["embed.weight"] = before["embed.weight"].clone()
    after["embed.weight"][0, 0] = 9.0
    shares = [panel for panel in t2g.compare(before, after)["compare_overview"].panels if "share" in panel.title]
    assert shares[0].values[-1] == pytest.approx(1 / 160)


def test_bars_of_changes_that_lie_far_apart_are_on_an_asinh_axis_in_every_format(tmp_path):
    rng = np.random.default_rng(0)
    before = {f"layer.{place}.weight": rng.standard_normal((20, 30)).astype(np.float32) for place in range(5)}
    ratios = (0.2, 3, 40, 500, 1000)
    far = {name: (1 + ratio) * each for ratio, (name, each) in zip(ratios, before.items(), strict=True)}
    near = {name: np.float32(1.05 + place / 10) * each for place, (name, each) in enumerate(before.items())}
    (straight,) = t2g.compare(before, near)["compare_overview"].panels
    assert straight.bend == 0
    page = t2g.compare(before, far)["compare_overview"]
    (bent,) = page.panels
    assert bent.bend == pytest.approx(0.2, rel=1e-3)
    boxes = [shape.box for shape in draw_page(page, Style()).shapes if isinstance(shape, Boxes)]
    (bars,) = [box for box in boxes if np.ndim(box) == 2 and len(box) == 5]
    assert min(bars[:, 2]) > 0.05 * max(bars[:, 2])  # the least is seen beside one that is 5,000 times as large
    assert any("asinh axis" in text for text in texts(page))
    ax = page.plot()
    assert ax.get_xscale() == "asinh"
    assert len(ax.get_xticks()) >= 3
    np.savez(tmp_path / "a.npz", **before)
    np.savez(tmp_path / "b.npz", **far)
    done = torch2grid("compare", "a.npz", "b.npz", "--format", "html,terminal", "-o", "out", "-q", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "asinh axis" in done.stdout
    report = next((tmp_path / "out").glob("*.html")).read_text(encoding="utf-8")
    assert "symlog" not in report


def test_an_overview_of_many_is_by_layer_and_kind():
    before, after = trained(layers=12)[0], trained(layers=12)[4]
    after["layers.7.down.weight"] = before["layers.7.down.weight"] * 9
    after["layers.3.up.weight"][0, 0] = torch.nan
    page = t2g.compare(before, after)["compare_overview"]
    table = page.panels[0]
    assert isinstance(table, Heatmap)
    assert [name for _, name in table.column_names] == ["attn.weight", "attn.bias", "up.weight", "down.weight"]
    assert [name for _, name in table.row_names] == [str(layer) for layer in range(12)]
    assert np.isnan(table.grid.values[3, 2])
    values = np.nan_to_num(table.grid.values, nan=-9)
    assert np.unravel_index(np.argmax(values), values.shape) == (7, 3)
    (rest,) = [panel for panel in page.panels if isinstance(panel, Bar)]
    assert rest.labels == ("embed.weight",)
    assert "1 NaN in B only" in page.title


def test_a_0_on_a_logarithmic_axis_of_the_callers_ends_no_line():
    values = np.array([1e-3, 0.0, np.nan, 1e-2, 0.0])
    page = t2g.series(trained(layers=1), given=True)["series_trends"]
    line = Line(np.arange(5.0), {"a": values, "b": np.ones(5)}, log=True)
    ax = replace(page, panels=(line,), panel_names=()).plot()
    drawn = ax.lines[0].get_ydata()
    assert ax.get_yscale() == "log"
    np.testing.assert_array_equal(drawn, [1e-3, np.nan, np.nan, 1e-2, np.nan])


@given(st.permutations(["broken", "beyond", "most", "more", "less", "same", "same nan"]))
def test_what_changed_stands_above_what_did_not_whatever_has_no_figure(order):
    """Squares beyond float64 have no sum, and a tensor of NaN in both has no norm: neither disturbs the order of the others."""
    one = np.full((2, 2), 1.0)
    before, after = dict.fromkeys(order, one), dict.fromkeys(order, one)
    after |= {"broken": one * np.nan, "most": one * 9, "more": one * 3, "less": one * 1.1}
    before["beyond"], after["beyond"] = one * 1e200, one * -1e200
    before["same nan"] = after["same nan"] = one * np.nan
    report = t2g.compare(before, after)
    ranks = ["broken", "beyond", "most", "more", "less"]
    overview = next(page for page in report if page.name == "compare_overview")
    bars = next(panel for panel in overview.panels if "relative change" in panel.title)
    assert list(bars.labels[:5]) == ranks
    table = next(page for page in report if page.name == "compare").panels[0]
    assert [row[0] for row in table.rows] == ranks


@pytest.mark.parametrize("limits", [None, (0.9, 1.1), (-1.0, 3.0)])
@pytest.mark.parametrize("scale", ["auto", "symmetric", "minmax", "asinh"])
@pytest.mark.parametrize("middle", [1.0, 0.0, -1.0, 0.01, 1e200])
def test_a_small_change_is_seen_on_both_scales_wherever_the_weights_are(middle, scale, limits):
    """Δ is about 0, whatever A and B are: of weights about 1, a Δ of 0 is no place on their scale."""
    rng = np.random.default_rng(0)
    before = middle + max(abs(middle), 1.0) * 0.02 * rng.normal(size=(40, 30))
    after = before + max(abs(middle), 1.0) * 0.001 * rng.normal(size=(40, 30))
    page = next(
        each
        for each in t2g.compare({"w": before}, {"w": after}, layers=True, scale=scale, limits=limits)
        if each.name == "w_delta"
    )
    a, _, wide, own = page.panels[:4]
    assert wide.scale.fraction(np.zeros(1))[0] == pytest.approx(0.5)
    assert wide.scale.high - wide.scale.low == pytest.approx(a.scale.high - a.scale.low)
    assert wide.title == f"Δ = B − A, on {page.panel_names[2].removeprefix('Δ on ')}"
    assert ("the scale of A and B" in wide.title) == a.scale.diverging
    if middle < 1e200:  # no cell holds its Δ
        assert wide.scale.over + wide.scale.under < 0.02
        assert own.scale.over + own.scale.under < 0.02
        assert own.scale.high < 0.01


@given(st.integers(1, 3), st.sampled_from([1e2, 1e6, 1e30, 1e150]), st.sampled_from([1.0, 1e-18]))
def test_the_usual_change_is_seen_beside_one_that_explodes(exploded, factor, least):
    """And one that is hardly a change does not push the others together."""
    before = {f"w{n}": np.eye(2) for n in range(12)}
    after = {name: each * (1 + 0.1 * n) for n, (name, each) in enumerate(before.items())}
    for n in range(exploded):
        after[f"w{11 - n}"] = before[f"w{11 - n}"] * factor
    before["w1"] = before["w1"] * 1e16
    after["w1"] = before["w1"] * (1 + 1e-15) if least < 1 else before["w1"] * 1.1
    overview = next(page for page in t2g.compare(before, after) if page.name == "compare_overview")
    bars = next(panel for panel in overview.panels if "relative change" in panel.title)
    shown = np.arcsinh(bars.values / bars.bend) if bars.bend else bars.values
    shares = dict(zip(bars.labels, shown / shown.max(), strict=True))
    usual = [shares[f"w{n}"] for n in range(2, 9)]
    if factor > 1e2:
        assert min(usual) > 0.5 / np.log(20 * factor)  # a decade takes four times as much
    assert len({round(share, 4) for share in usual}) == len(usual)


def test_small_changes_of_one_tensor_are_seen_beside_a_large_one_of_another():
    before = {f"layers.{layer}.w": np.random.default_rng(layer).normal(0, 0.02, (64, 64)) for layer in range(9)}
    after = {name: array.copy() for name, array in before.items()}
    after["layers.3.w"] += np.random.default_rng(10).normal(0, 0.05, (64, 64))
    after["layers.6.w"][2, 3] += 5
    after["layers.6.w"][7] *= 50
    (panel,) = t2g.compare(before, after)["delta_atlas"].panels
    shown = np.abs(panel.scale.fraction(panel.grid.values) - 0.5)  # of the colours, from the middle
    own = {region.name: region.rects for region in panel.grid.regions}
    (row, column, height, width), *_ = own["layers.3.w"]
    assert np.median(shown[row : row + height, column : column + width]) > 0.04
    (row, column, height, width), *_ = own["layers.1.w"]
    assert not shown[row : row + height, column : column + width].any()
    usual = {name: array + np.random.default_rng(1).normal(0, 0.01, array.shape) for name, array in before.items()}
    assert t2g.compare(before, usual)["delta_atlas"].panels[0].scale.kind == "linear"
    assert t2g.compare(before, after, limits=(-1, 1))["delta_atlas"].panels[0].scale.kind == "linear"
