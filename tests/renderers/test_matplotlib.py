"""Pages as png, svg and pdf: every panel, literal names, vector text, the same bytes each time, nothing cut off."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.renderers.panels import COUNTS, EDGES, EMPTY_PANELS, HOSTILE, PANELS, RNG
from tests.support.renderers.pixels import framed, pixels, rendered

import torch2grid as t2g
from torch2grid_builtin._renderers.matplotlib.heatmap import Legend, in_order
from torch2grid_builtin._renderers.matplotlib.page import draw_page
from torch2grid_builtin._renderers.matplotlib.shapes import Label
from torch2grid_builtin._renderers.matplotlib.text import fit, literal, text_width, wrap
from torch2grid_core import Grid, Page, Settings, Style, UsageError
from torch2grid_core.grids import NOT_FINITE, ColorScale, Region
from torch2grid_core.pages import Bar, Heatmap, Histogram, Line, Marginal, Table, Text


def texts(svg: bytes) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 30])
@pytest.mark.parametrize("columns", [3, 40, 700])
def test_the_label_of_rows_is_whole_and_on_the_page_however_few_there_are(rows, columns):
    grid = Grid(np.linspace(-1, 1, rows * columns, dtype=np.float32).reshape(rows, columns))
    panel = Settings(limits=(-1, 1)).heatmap(grid, rows="output channel", columns="input channel")
    drawn = draw_page(Page("p", "t", (panel,)), Style())
    (label,) = (each for each in drawn.shapes if isinstance(each, Label) and each.upright and each.text == "output channel")
    half = text_width(label.text, label.size) / 2
    assert label.y - half >= 0
    assert label.y + half <= drawn.height


@pytest.mark.parametrize(("format", "columns"), [("png", 1), ("svg", 1), ("svg", 3), ("svg", 5), ("pdf", 3)])  # of one figure
def test_a_page_of_all_panels(format, columns):
    page = Page("all", "All panels", tuple(PANELS.values()), columns=columns, wide=1)
    data = rendered(page, format)
    assert data.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[format])
    assert rendered(page, format) == data
    if format == "svg":
        shown = " ".join(texts(data))
        for words in ("All panels", "Image", "phoenix", "4.25", "marvel", "An unknown panel", "one line", "0.2500"):
            assert words in shown


@pytest.mark.parametrize("name", PANELS)
@pytest.mark.parametrize("columns", [1, 2, 4])
def test_no_text_leaves_the_page(name, columns):
    page = Page("p", "A page with a title of some length", (PANELS[name],) * columns, columns=columns)
    root = ET.fromstring(rendered(page, "svg"))
    width, height = (float(each) for each in root.attrib["viewBox"].split()[2:])
    found = list(root.iter("{http://www.w3.org/2000/svg}text"))
    assert len(found) >= 2
    for element in found:
        x, y, style = float(element.attrib["x"]), float(element.attrib["y"]), element.attrib["style"]
        size = float(re.search(r"font-size: ([\d.]+)px", style)[1])
        long = text_width(element.text, size * 100 / 72, "700" in style) * 0.72
        anchor = re.search(r"text-anchor: (\w+)", style)[1]
        before = {"start": 0.0, "middle": long / 2, "end": long}[anchor]
        if "rotate(-90" in element.attrib["transform"]:
            low, high, across = y - (long - before), y + before, x
            assert low >= -1
            assert high <= height + 1
            assert size * 0.5 <= across <= width
        else:
            assert x - before >= -1
            assert x - before + long <= width + 1, element.text
            assert size * 0.6 <= y <= height


@pytest.mark.parametrize("name", EMPTY_PANELS)
@pytest.mark.parametrize("columns", [1, 4])
def test_panels_with_nothing_in_them(name, columns):
    page = Page("p", "empty", (EMPTY_PANELS[name],), columns=columns)
    assert pixels(rendered(page)).shape[1] >= 300


def test_a_page_without_panels_says_so():
    assert "nothing to draw" in texts(rendered(Page("p", "t", ()), "svg"))


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_literal_text(name):
    grid = Grid(RNG.standard_normal((50, 50)), regions=(Region(name, ((0, 0, 25, 50),)), Region("b", ((25, 0, 25, 50),))))
    panels = (
        Settings().heatmap(grid, title=name, rows=name, columns=name, label=name),
        Settings().heatmap(grid, labels=True, boundaries=True),
        Bar((name,), np.ones(1), name, name, {name: 0.5}),
        Histogram(EDGES, COUNTS, name, name, marks={name: 0.1}, summary={name: name}),
        Table((name,), ((name,),), name),
        Text(name, name),
    )
    page = Page("p", name, panels)
    svg = rendered(page, "svg")
    shown = texts(svg)
    assert not re.search(rb"<script|\x1b", svg)
    assert all(text.isprintable() for text in shown)
    assert "\u202e" not in "".join(shown)
    if len(name) < 40:
        assert shown[0] == literal(name)
    assert pixels(rendered(page)).shape[1] < 1600
    assert rendered(page, "pdf").startswith(b"%PDF")


@pytest.mark.parametrize("name", ["flagged line", "flagged numbers", "flagged band", "flagged bar", "flagged boxes"])
def test_what_is_not_finite_is_marked_and_named_in_a_colour_of_its_own(name):
    panel = PANELS[name]
    page = Page("p", "t", (panel,))
    shown = " ".join(texts(rendered(page, "svg")))
    for text in panel.flags.values():
        assert text in shown
    lost = (np.asarray(pixels(rendered(page)), int) - (0xC4, 0x00, 0x9E) == 0).all(axis=2).sum()
    bare = (np.asarray(pixels(rendered(Page("p", "t", (replace(panel, flags={}),)))), int) - (0xC4, 0x00, 0x9E) == 0).all(
        axis=2
    )
    assert lost >= 3 * 20  # a square for each, at least
    assert not bare.any()


def test_nothing_flat_is_drawn_of_what_is_not_finite():
    def lines(values):
        svg = rendered(Page("p", "t", (Line(np.arange(4.0), {"a": np.array(values)}),)), "svg").decode()
        return [path for path in re.findall(r'd="M ([^"]*)"', svg) if path.count("L") >= 1 and "z" not in path]

    whole, broken, none = lines([1, 2, 3, 4]), lines([1, np.inf, np.nan, 4]), lines([np.nan, np.inf, -np.inf, np.nan])
    assert len(whole) > len(broken) >= len(none)


def test_svg_is_vector_and_text_but_for_the_cells():
    svg = rendered(Page("p", "h.0.attn · 30×40", (PANELS["heatmap"], PANELS["histogram"])), "svg")
    root = ET.fromstring(svg)
    images = list(root.iter("{http://www.w3.org/2000/svg}image"))
    assert len(images) == 1
    assert "pixelated" in images[0].attrib["style"]
    assert {"h.0.attn", "30×40", "output unit", "input", "weight"} <= set(texts(svg))
    assert b"date" not in svg.lower()


def test_pdf_text_is_text_and_nothing_has_a_date():
    pdf = rendered(Page("p", "h.0.attn", (PANELS["heatmap"], PANELS["histogram"])), "pdf")
    assert pdf.count(b"/Subtype /Image") == 1
    assert b"/Subtype /CIDFontType2" in pdf or b"/Subtype /TrueType" in pdf  # fonttype 42, not outlines
    assert b"/Subtype /Type3" not in pdf
    assert b"ToUnicode" in pdf
    assert b"CreationDate" not in pdf


def test_over_under_and_missing_are_in_the_legend_only_where_they_are():
    values, count = RNG.uniform(-1, 1, (40, 40)), np.ones((40, 40), int)
    plain = texts(rendered(Page("p", "t", (Settings(limits=(-1, 1)).heatmap(Grid(values)),)), "svg"))
    assert not [text for text in plain if any(word in text for word in ("above", "below", "NaN", "no weight"))]
    values[0, :8], values[1, 0], values[2, 0], count[30:] = 5, -5, np.nan, 0
    heatmap = Settings(limits=(-1, 1)).heatmap(Grid(values, count, cell=(2, 3)))
    for rows in (1, 12):  # an upright bar, and one below a low picture
        low = heatmap if rows == 1 else Settings(limits=(-1, 1)).heatmap(Grid(values.reshape(10, 160), count.reshape(10, 160)))
        shown = " · ".join(texts(rendered(Page("p", "t", (low,)), "svg")))
        for words in ("0.67 % above", "0.083 % below", "NaN or Inf: 1 cell", "no weight", "−1", "0.5"):
            assert words in shown
    assert "mean of 2×3 weights" in texts(rendered(Page("p", "t", (heatmap,)), "svg"))


def test_ticks_count_weights_not_cells():
    heatmap = Settings().heatmap(Grid(RNG.standard_normal((100, 100)), cell=(16, 4)), rows="r", columns="c")
    shown = texts(rendered(Page("p", "t", (heatmap,)), "svg"))
    assert {"200", "1400", "100", "300"} <= set(shown)
    assert "1600" not in shown


def test_bands_are_named_beside_the_picture_and_tiles_inside():
    bands = tuple(Region(f"layer{i}.weight", ((20 * i, 0, 20, 60),)) for i in range(3))
    shown = texts(rendered(Page("p", "t", (Settings().heatmap(Grid(np.ones((60, 60)), regions=bands), labels=True),)), "svg"))
    assert [text for text in shown if "layer" in text] == ["layer0.weight", "layer1.weight", "layer2.weight"]
    tiles = tuple(Region(f"layer{i}.weight", ((0, 20 * i, 60, 20),)) for i in range(3))
    small = (*tiles, Region("tiny.bias", ((59, 59, 1, 1),)))
    shown = texts(rendered(Page("p", "t", (Settings().heatmap(Grid(np.ones((60, 60)), regions=small), labels=True),)), "svg"))
    assert [text for text in shown if "layer" in text] == ["layer0.weight", "layer1.weight", "layer2.weight"]
    assert "tiny.bias" not in shown
    assert "bias" not in " ".join(shown)


def test_many_bands_name_the_largest():
    regions = tuple(Region(f"t{i}", ((i * 4, 0, 3 if i % 2 else 4, 300),)) for i in range(125))
    shown = texts(
        rendered(Page("p", "t", (Settings().heatmap(Grid(np.ones((500, 300)), regions=regions), labels=True),)), "svg")
    )
    named = [int(text[1:]) for text in shown if re.fullmatch(r"t\d+", text)]
    assert 20 < len(named) < 60
    assert named == sorted(named)
    assert f"{125 - len(named)} smaller tensors are not named" in shown


def test_what_has_no_name_is_counted_in_english():
    for count in range(20, 60):
        regions = tuple(Region(f"t{i}", ((i * 4, 0, 4, 200),)) for i in range(count))
        heatmap = Settings().heatmap(Grid(np.ones((4 * count, 200)), regions=regions), labels=True)
        canvas = draw_page(Page("p", "t", (heatmap,)), Style())
        shown = [each.text for each in canvas.shapes if isinstance(each, Label)]
        left = count - sum(bool(re.fullmatch(r"t\d+", text)) for text in shown)
        said = [text for text in shown if "smaller" in text]
        plural = f"{left} smaller tensors are not named"
        assert said == ([] if not left else ["1 smaller tensor is not named"] if left == 1 else [plural]), count


@pytest.mark.parametrize(("layers", "regions", "what"), [(8, 16, "tensors"), (40, 40, "modules")])
def test_a_spiral_says_how_many_names_have_no_room_and_where_they_are(tmp_path, layers, regions, what):
    rng = np.random.default_rng(0)
    arrays = {f"part{layer}.fc.weight": rng.standard_normal((60, 60)) for layer in range(layers)}
    arrays |= {f"part{layer}.fc.bias": rng.standard_normal(9) for layer in range(layers)}
    (path,) = t2g.grid(arrays, plugin="spiral").save(tmp_path / "spiral.svg")
    shown = texts(path.read_bytes())
    named = sum(bool(re.match(r"part\d+|…|fc", text)) for text in shown)
    assert 0 < named < regions
    assert f"{regions - named} {what} are too thin for their names: a report (-o report.html) names each" in shown


def test_small_multiples_are_titled_and_have_their_limits():
    panels = tuple(
        Settings().heatmap(Grid(RNG.standard_normal((64, 64)) * i), title=f"layers.{i}.weight") for i in range(1, 61)
    )
    page = Page("overview", "60 tensors", panels, columns=10)
    shown = texts(rendered(page, "svg"))
    assert [text for text in shown if text.startswith("layers.")] == [f"layers.{i}.weight" for i in range(1, 61)]
    assert sum(text.startswith("±") for text in shown) == 60
    assert "each picture has its own limits" in shown
    height, width, _ = pixels(rendered(page)).shape
    assert width < 2000
    assert height < 1600


def test_settings_of_others_are_neither_used_nor_changed():
    page = Page("p", "title", (PANELS["heatmap"], PANELS["line"]))
    before = {kind: rendered(page, kind) for kind in ("png", "svg", "pdf")}
    theirs = {"font.size": 30, "svg.fonttype": "path", "text.usetex": True, "figure.dpi": 50, "lines.linewidth": 9}
    with matplotlib.rc_context(theirs):
        kept = dict(matplotlib.rcParams)
        after = {kind: rendered(page, kind) for kind in before}
        assert dict(matplotlib.rcParams) == kept
    assert after == before


def test_threads_draw_the_same_bytes():
    jobs = [(Page("p", f"title {i}", (PANELS["heatmap"],)), kind) for i in range(4) for kind in ("png", "svg", "pdf")]
    alone = [rendered(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda job: rendered(*job), jobs)) == alone


def test_unknown_formats_and_maps_are_errors():
    page = Page("p", "t", (PANELS["heatmap"],))
    with pytest.raises(ValueError, match="no format 'gif'"):
        rendered(page, "gif")
    with pytest.raises(UsageError, match="did you mean 'viridis'"):
        rendered(page, style=Style(colormap="viridiss"))


def test_importing_the_renderer_is_cheap_and_drawing_needs_no_pyplot():
    script = """
import io, sys
import torch2grid_builtin._renderers.matplotlib.renderer as renderer
assert "matplotlib" not in sys.modules
import numpy as np
from torch2grid_core import Grid, Page, Settings, Style
page = Page("p", "t", (Settings().heatmap(Grid(np.ones((3, 3)))),))
renderer.Matplotlib().render(page, io.BytesIO(), Style(), "png")
assert "matplotlib.pyplot" not in sys.modules
assert "matplotlib.backends.backend_pdf" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_a_name_keeps_its_layer_before_what_is_said_of_it():
    name = "model.layers.9.mlp.up_proj.weight (NaN from exp_400.pth)"
    assert fit(name, 300) == "…9.mlp.up_proj.weight (NaN from exp_400.pth)"
    assert "9.mlp.up_proj" in fit(name, 240)
    assert "9" in fit(name, 130)


def test_texts_are_fitted_and_wrapped():
    name = "model.layers.10.self_attn.q_proj.weight"
    short = fit(name, 120)
    assert "…" in short
    assert text_width(short) <= 120
    assert short.endswith("weight")
    assert fit("abc", 500) == "abc"
    assert fit(name, 0) == "…"
    long = "model.layers.13.mlp.experts.5.gate_up_proj.weight [3, 17]"
    assert [fit(long, width) for width in (340, 320, 280, 240)] == [  # the numbers tell a layer and an expert from the others
        "…layers.13.mlp.experts.5.gate_up_proj.weight [3, 17]",
        "…13.mlp.experts.5.gate_up_proj.weight [3, 17]",
        "…13…experts.5.gate_up_proj.weight [3, 17]",
        "…13…5.gate_up_proj.weight [3, 17]",
    ]
    assert all(text_width(fit(long, width)) <= width for width in range(20, 400, 7))
    lines = wrap(name, 160)
    assert "".join(lines) == name
    assert lines[0].endswith(".")
    assert max(text_width(line) for line in lines) <= 160
    assert wrap("x" * 500, 100, lines=3)[-1].count("…") == 1
    assert wrap("", 100) == []
    for number in ("±0.0548, linear", "−0.0123; log", "0.0548/0.25"):
        shown = wrap(number, text_width("±0.054") + 1, lines=9)
        assert not any(line.endswith(".") or line.startswith((",", ";")) for line in shown), shown


def test_bands_too_many_to_name_are_named_by_module():
    regions, row = [], 0
    for layer in range(12):
        for name in ("norm.weight", "attn.weight", "attn.bias", "up.weight", "up.bias", "down.weight", "down.bias"):
            height = 12 if name.endswith("weight") else 1
            regions.append(Region(f"model.h.{layer}.{name}", ((row, 0, height, 300),)))
            row += height
    grid = Grid(np.ones((row, 300)), regions=tuple(regions))
    shown = texts(rendered(Page("p", "t", (Settings().heatmap(grid, labels=True),)), "svg"))
    assert [text for text in shown if text.startswith("model.")] == [f"model.h.{layer}" for layer in range(12)]
    assert not any("not named" in text for text in shown)


@pytest.mark.parametrize("layout", ["hilbert", "layer_separated", "layer_weighted"])
@pytest.mark.parametrize("experts", [0, 8])
def test_each_layer_of_a_transformer_is_named_in_every_layout_that_has_room(layout, experts):
    model = {"model.embed_tokens.weight": np.ones((128, 64), np.float32)}
    for layer in range(12):
        inside = [f"experts.{expert}.w{number}.weight" for expert in range(experts) for number in (1, 2, 3)]
        for name in inside or ["up.weight", "gate.weight", "down.weight", "q.weight"]:
            shape = (64, 160) if name.endswith(("w2.weight", "down.weight")) else (160, 64)
            model[f"model.layers.{layer}.{name}"] = np.full(shape, 0.5, np.float32)
    shown = texts(rendered(t2g.grid(model, plugin=layout)[0], "svg"))
    named = {text.rpartition(".")[2] for text in shown if "layers." in text}
    assert named == {str(layer) for layer in range(12)}


def test_names_that_a_grid_keeps_room_for_are_written_there():
    count = np.ones((200, 300), int)
    count[:10], count[:, 145:155] = 0, 0
    regions = (Region("net.conv1.weight", ((10, 0, 190, 145),)), Region("net.conv2.weight", ((10, 155, 190, 145),)))
    labels = (Region("net.conv1", ((0, 0, 10, 145),)), Region("net.conv2", ((0, 155, 10, 145),)))
    grid = Grid(np.ones((200, 300)), count, regions=regions, labels=labels)
    shown = texts(rendered(Page("p", "t", (Settings().heatmap(grid, labels=True),)), "svg"))
    assert [text for text in shown if "conv" in text] == ["conv1", "conv2"]  # what all begin with is left out
    assert shown.count("weight") == 1  # what a cell is, beside the colours


def test_a_border_is_not_drawn_where_empty_cells_part_regions():
    count = np.ones((60, 60), int)
    count[29:31] = 0
    regions = (Region("a", ((0, 0, 29, 60),)), Region("b", ((31, 0, 29, 60),)))
    plain, lined = (
        rendered(Page("p", "t", (Settings().heatmap(Grid(np.zeros((60, 60)), count, regions=regions), boundaries=lines),)))
        for lines in (False, True)
    )
    assert plain == lined


@pytest.mark.parametrize("size", [1e-6, 1e-5, 1e-4, 0.02])
def test_names_of_marks_never_cover_one_another(size):
    weights = (np.random.default_rng(0).standard_normal((200, 200)) * size).astype(np.float32)
    (page,) = (each for each in t2g.histograms({"w": weights}) if each.name.endswith("w_hist"))
    labels = [shape for shape in draw_page(page, Style()).shapes if isinstance(shape, Label)]
    (panel,) = (panel for panel in page.panels if isinstance(panel, Histogram))
    boxes = []
    for each in labels:
        if each.text in map(literal, panel.marks):
            long = text_width(each.text, 12)
            boxes.append((each.y, each.x - long * (each.ha == "right"), each.x + long * (each.ha == "left")))
    assert len(boxes) >= 2
    for place, (y, start, _) in enumerate(boxes):
        assert not any(y == other and first <= start < last for other, first, last in boxes[:place] + boxes[place + 1 :])


def test_names_stand_at_the_bars_of_marginals_and_never_on_one_another():
    values = np.zeros((40, 40), np.float32)
    rows = Marginal(np.ones(40), names=((3.5, "row-a"), (3.6, "row-b"), (39.5, "row-c")))
    columns = Marginal(np.ones(40), names=((0.5, "10001"), (1.5, "10002"), (39.5, "10003")))
    heatmap = Settings(limits=(-1, 1)).heatmap(Grid(values), row_marginal=rows, column_marginal=columns)
    svg = rendered(Page("p", "t", (heatmap,)), "svg")
    shown = texts(svg)
    assert {"row-a", "row-b", "row-c", "10001", "10002", "10003"} <= set(shown)
    assert "bars: |max| of each row and column, from 0; numbers at the bars: the indices of the largest" in " ".join(shown)
    canvas = draw_page(Page("p", "t", (heatmap,)), Style())
    labels = {shape.text: shape for shape in canvas.shapes if isinstance(shape, Label)}
    for first, second in (("10001", "10002"), ("10002", "10003")):
        assert labels[first].x + text_width(first, 12) / 2 <= labels[second].x - text_width(second, 12) / 2
    heights = sorted(labels[name].y for name in ("row-a", "row-b", "row-c"))
    assert min(np.diff(heights)) >= 12
    tiny = Settings(limits=(-1, 1)).heatmap(Grid(values[:1]), row_marginal=Marginal(np.ones(1), names=rows.names))
    assert rendered(Page("p", "t", (tiny,)))


def test_marginals_are_bars_that_end_where_their_cells_do():
    values = np.zeros((20, 30), np.float32)
    rows, columns = np.arange(20.0), np.zeros(30)
    columns[7], columns[9] = 5.0, np.nan
    plain = Settings(limits=(-1, 1)).heatmap(Grid(values))
    beside = Settings(limits=(-1, 1)).heatmap(
        Grid(values), rows="r", columns="c", row_marginal=Marginal(rows), column_marginal=Marginal(columns)
    )
    page = Page("p", "t", (beside,))
    shown = texts(rendered(page, "svg"))
    assert {"19", "5"} <= set(shown)
    assert "bars: |max| of each row and column, from 0" in shown
    assert not [text for text in texts(rendered(Page("p", "t", (plain,)), "svg")) if "bars" in text]
    png = pixels(rendered(page))
    assert not (png == NOT_FINITE).all(axis=2).any(axis=0).all()
    frame = np.argwhere((png == (0x9A, 0xA3, 0xAD)).all(axis=2))
    inside = framed(rendered(page))
    cell = inside.shape[1] // 30
    ill = np.argwhere((png == NOT_FINITE).all(axis=2))
    assert np.ptp(ill[:, 1]) + 1 == cell  # as wide as its column, and just above it
    bar = (png == (0x7F, 0x9B, 0xB3)).all(axis=2)
    above = np.flatnonzero(bar[: ill[:, 0].max() + 1].any(axis=0))
    assert above[0] == ill[:, 1].min() - 2 * cell  # the bar of column 7, two columns before
    assert len(above) == cell
    assert len(frame)
    with pytest.raises(ValueError, match="row_marginal has shape"):
        Settings().heatmap(Grid(values), row_marginal=Marginal(np.ones(3)))


def test_a_curve_is_drawn_over_the_bars_as_high_as_it_says_and_named():
    middles, flat = (EDGES[:-1] + EDGES[1:]) / 2, np.full(len(COUNTS), 2.0 * COUNTS.max())

    def orange(panel):
        png = pixels(rendered(Page("p", "t", (panel,)))).astype(int)
        return (png[:, :, 0] > 180) & (png[:, :, 1] < 120) & (png[:, :, 2] < 90)

    for log in (False, True):
        bare, curved = (Histogram(EDGES, COUNTS, log=log, curves=each) for each in ({}, {"twice the highest bar": flat}))
        assert not orange(bare).any()
        drawn = orange(curved)
        rows = np.flatnonzero(drawn.sum(axis=1) > 300)  # more than the legend has
        assert 1 <= len(rows) <= 4  # level, and across the axes
        assert "twice the highest bar" in texts(rendered(Page("p", "t", (curved,)), "svg"))
    gap = Histogram(EDGES, COUNTS, log=True, curves={"law": np.where(middles < 0, 0.1, 50.0)})
    columns = np.flatnonzero(orange(gap)[80:].any(axis=0))
    assert columns.min() > np.flatnonzero(orange(curved)[80:].any(axis=0)).min() + 100  # less than half a weight is no line


def test_what_is_beyond_a_histogram_is_a_bar_of_its_own_colour():
    inside = Page("p", "t", (Histogram(EDGES, COUNTS, log=True),))
    beyond = Page("p", "t", (Histogram(EDGES, COUNTS, below=300, above=4, nan=2, log=True),))
    shown = texts(rendered(beyond, "svg"))
    assert {"below", "above"} <= set(shown)
    assert any("300 below the range (23 %)" in text and "4 above the range" in text and "2 NaN" in text for text in shown)
    assert "below" not in texts(rendered(inside, "svg"))

    def purple(page):
        png = pixels(rendered(page)).astype(int)
        return (png[:, :, 2] > png[:, :, 1] + 25) & (png[:, :, 0] > png[:, :, 1] + 10)

    assert not purple(inside).any()
    columns = np.flatnonzero(purple(beyond)[80:380].any(axis=0))
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    assert len(runs) == 2
    heights = [int(purple(beyond)[80:380, run].any(axis=1).sum()) for run in runs]
    assert heights[0] > 2 * heights[1] > 0


def test_png_and_svg_put_text_in_the_same_place():
    page = Page("p", "Same place", (Bar(("a", "b"), np.array([1.0, 2.0]), "title", "axis"),))
    root = ET.fromstring(rendered(page, "svg"))
    (title,) = (each for each in root.iter("{http://www.w3.org/2000/svg}text") if each.text == "Same place")
    ink = (pixels(rendered(page)) < 128).all(axis=2)
    baseline = round(float(title.attrib["y"]) / 0.72)
    rows = np.flatnonzero(ink[: baseline + 12].any(axis=1))
    assert abs(rows[-1] - (baseline + 3)) <= 2  # the p hangs below the line
    columns = np.flatnonzero(ink[: baseline + 6].any(axis=0))
    assert abs(columns[0] - float(title.attrib["x"]) / 0.72) <= 2
    assert abs(columns[-1] - columns[0] - text_width("Same place", 18, bold=True)) <= 6


@pytest.mark.parametrize("colors", [None, "PuOr"])
def test_a_sheets_legend_names_the_ends_of_a_map_by_its_scale(colors):
    from torch2grid_builtin._renderers.matplotlib.page import draw_page

    signed, positive = (Grid(np.linspace(low, 1, 9).reshape(3, 3)) for low in (-1, 0.1))
    page = Page("sheet", "", tuple(Settings().heatmap(grid) for grid in (signed, positive)), columns=4)
    words = [shape.text for shape in draw_page(page, Style(colormap=colors)).shapes if hasattr(shape, "text")]
    assert words[:4] == ["−limit", "limit", "low", "high"]


@given(
    st.floats(-1e30, 1e30, allow_subnormal=False),
    st.floats(1e-30, 1e30),
    st.floats(1e-30, 1e30),
    st.sampled_from(("linear", "asinh")),
)
def test_each_tick_of_a_colour_bar_reads_back_as_its_value(low, span, bend, kind):
    scale = ColorScale(low, low + span, kind, bend) if low + span > low else ColorScale(-span, span, kind, bend)
    grid = Grid(np.zeros((2, 2), np.float32), np.ones((2, 2), int))
    ticks = Legend.of(grid, scale, "", Style(), Heatmap(grid, scale)).ticks()
    values = scale.value(np.array([share for share, _ in ticks]))
    for (share, text), value in zip(ticks, values.tolist(), strict=True):
        said = float(text.replace("−", "-").replace(",", ""))
        if said == 0:
            assert abs(share - float(scale.fraction(np.zeros(1))[0])) < 1e-6
        else:
            assert said == pytest.approx(value, rel=0.0051)


@given(st.lists(st.tuples(st.floats(0, 400), st.floats(2, 60)), max_size=6), st.floats(20, 400))
def test_names_at_bars_have_the_order_of_the_bars(wanted, high):
    middles = in_order(wanted, 0.0, high)
    placed = sorted(zip(middles, wanted, strict=False), key=lambda each: each[1][0])
    for (at, (one, half)), (then, (other, its)) in itertools.pairwise(placed):
        assert one == other or at < then
        assert abs(then - at) >= half + its - 1e-6
    assert all(half - 1e-6 <= at <= high - half + 1e-6 for at, (_, half) in placed)
    rest = [half for _, half in wanted[: len(middles) + 1]]
    assert len(middles) == len(wanted) or 2 * sum(rest) > high
    apart = all(abs(a - b) >= x + y for (a, x), (b, y) in itertools.combinations(wanted, 2))
    if apart and all(half <= at <= high - half for at, half in wanted):
        assert middles == pytest.approx([at for at, _ in wanted])
