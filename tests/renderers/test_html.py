"""The html renderer: what is in the file, and what a person finds in it with a browser."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from safetensors.numpy import save_file
from tests.support.renderers.browser import Visit, chromium
from tests.support.renderers.pages import every_panel
from tests.support.tools import DIGITS

import torch2grid as t2g
from torch2grid_builtin._renderers.html.renderer import READING, Html, rounded
from torch2grid_core import Grid, Page, Style
from torch2grid_core.grids import ColorScale, weights_of_cell
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Line, Table

HOSTILE = (
    "</script><script>window.hurt = 1</script>",
    "<img src=x onerror=window.hurt=1>",
    "../../etc/passwd\x1b[31m",
    "abc\u202egnp.exe",
    "$\\frac{1}{2}$ & \"quoted\" 'too'",
    "x" * 5000,
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as each:
        yield each


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("html") / "report.html"
    views = ["grid", "layers", "histogram", "conv", "stats:detail=true", "dead_neurons"]
    from torch2grid._api import draw

    (written,) = draw(str(DIGITS), views).save(path)
    return written


def head_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="head">(.*?)</script>', text)
    assert found is not None
    document = json.loads(found[1])
    assert isinstance(document, dict)
    return document


def number(text: str) -> np.float32:
    return np.float32(text.replace("−", "-").replace("NaN", "nan"))


def test_one_file_forbids_everything_that_it_does_not_hold(digits: Path) -> None:
    text = digits.read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    addresses = set(re.findall(r"https?://[^\s\"'<>]*", text))
    assert addresses == {"http://www.w3.org/2000/svg", READING}  # a namespace and a link: nothing is fetched
    assert head_of(text)["reading"] == READING
    head = head_of(text)
    assert [entry["name"] for entry in head["tensors"]] == list(t2g.load(str(DIGITS)))
    assert head["note"] == ""


def test_hover_tells_index_and_value_of_ten_cells(browser: Any, digits: Path) -> None:
    values = t2g.load(str(DIGITS))["conv2.weight"].numpy()
    with Visit(browser, digits) as visit:
        visit.choose("conv2.weight")
        layers = [title.inner_text() for title in visit.page.locator(".page h1").all()]
        which = next(i for i, title in enumerate(layers) if title.endswith("layers"))
        for cell in random.Random(1).sample(range(values.size), 10):
            row, column = divmod(cell, values[0].size)
            name, index, value, *_ = visit.hover(row, column, which)
            assert name == "conv2.weight"
            place = tuple(int(part) for part in index.strip("[]").split(", "))
            assert place == np.unravel_index(cell, values.shape)
            assert number(value.removeprefix("weight: ").partition(",")[0]) == values[place]


def test_hover_on_kernels_finds_the_weight(browser: Any, digits: Path) -> None:
    (page,) = [page for page in t2g.conv(str(DIGITS)) if page.about["tensor"] == "conv2.weight"]
    grid = page.panels[0].grid
    values = t2g.load(str(DIGITS))["conv2.weight"].numpy()
    with Visit(browser, digits) as visit:
        visit.choose("conv2.weight")
        titles = [title.inner_text() for title in visit.page.locator(".page h1").all()]
        which = next(i for i, title in enumerate(titles) if title.endswith("conv kernels"))
        cells = np.argwhere(grid.counts > 0)
        for row, column in random.Random(2).sample(cells.tolist(), 5):
            lines = visit.hover(row, column, which)
            (part,) = weights_of_cell(grid.layout, row, column)
            place = np.unravel_index(part.first, values.shape)
            assert lines[-2] == f"[{', '.join(map(str, place))}]"
            assert number(lines[-1].removeprefix("weight: ").partition(",")[0]) == values[place]
        empty = np.argwhere(grid.counts == 0)[0]
        assert visit.hover(*empty.tolist(), which) == ["no weight here"]


def test_hover_on_a_spiral_of_all_weights(browser: Any, tmp_path: Path) -> None:
    checkpoint = t2g.load(str(DIGITS))
    pages = t2g.grid(str(DIGITS), plugin="spiral", max_cells=40)
    (path,) = pages.save(tmp_path / "spiral.html")
    grid = pages.grid
    with Visit(browser, path) as visit:
        cells = np.argwhere(grid.counts > 1)
        for row, column in random.Random(3).sample(cells.tolist(), 10):
            name, _, value = visit.hover(row, column)
            part = next(each for each in weights_of_cell(grid.layout, row, column) if each.tensor == name)
            assert value.startswith(f"mean of {part.weights} weights: ")
            mean = checkpoint[name].numpy().reshape(-1)[part.first : part.last + 1].mean(dtype=np.float64)
            if part.is_run:
                assert number(value.rpartition(": ")[2].partition(",")[0]) == pytest.approx(mean, rel=1e-5, abs=1e-9)


def test_a_cell_of_several_weights_says_its_ranges(browser: Any, tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((900, 500)).astype(np.float32)
    save_file({"w": values}, tmp_path / "m.safetensors")
    (path,) = t2g.layers(str(tmp_path / "m.safetensors"), tensor_cells=300).save(tmp_path / "m.html")
    with Visit(browser, path) as visit:
        visit.choose("w")
        for row, column in ((0, 0), (17, 201), (299, 249)):
            name, index, value, *_ = visit.hover(row, column)
            assert (name, index) == ("w", f"[{3 * row}…{3 * row + 2}, {2 * column}…{2 * column + 1}]")
            mean = values[3 * row : 3 * row + 3, 2 * column : 2 * column + 2].mean(dtype=np.float64)
            assert value.startswith("mean of 6 weights: ")
            assert number(value.rpartition(": ")[2].partition(",")[0]) == pytest.approx(mean, rel=6e-4)


def test_an_atlas_names_its_layers_and_their_matrices(browser: Any, tmp_path: Path) -> None:
    sides = {"query": 64, "up": 128}
    model = {
        f"h.{layer}.{name}.weight": np.full((side, 64), 0.1 * layer) for layer in range(12) for name, side in sides.items()
    }
    model["h.7.up.weight"][100, 33] = 9
    (path,) = t2g.grid(model, plugin="atlas").save(tmp_path / "atlas.html")
    with Visit(browser, path) as visit:
        assert "9 at h.7.up.weight [100, 33]" in visit.page.locator(".legend").inner_text()
        visit.page.evaluate(
            """() => {
              window.said = [];
              const write = CanvasRenderingContext2D.prototype.fillText;
              CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
                window.said.push(text);
                write.call(this, text, ...rest);
              };
            }"""
        )
        visit.page.get_by_text("fit", exact=True).click()
        said = visit.page.evaluate("window.said")
    assert [text for text in said if text.isdecimal()] == [str(layer) for layer in range(12)]
    assert {text.removeprefix("…").removesuffix(".weight") for text in said} >= set(sides)


def test_zoom_keeps_the_cell_below_the_pointer(browser: Any, digits: Path) -> None:
    with Visit(browser, digits) as visit:
        visit.choose("fc1.weight")
        canvas, page = visit.canvas(), visit.page

        def cell_width() -> float:
            return float(canvas.get_attribute("data-cell-width"))

        fitted, before = cell_width(), visit.hover(12, 40)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -300)
        page.keyboard.up("Control")
        page.wait_for_timeout(100)
        zoomed = cell_width()
        assert zoomed > fitted
        assert page.locator(".tip div").all_inner_texts() == before
        x, y = visit.place(12, 40)
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 80, y, steps=4)
        page.mouse.up()
        assert visit.place(12, 40)[0] == pytest.approx(x - 80, abs=1.5)
        assert visit.hover(12, 40) == before
        canvas.dblclick()
        assert cell_width() == fitted
        page.get_by_role("button", name="zoom in").first.click()
        assert cell_width() > fitted
        canvas.focus()
        page.keyboard.press("0")
        assert cell_width() == fitted
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.locator(".readout").first.inner_text().startswith("fc1.weight · [1, 0] · weight: ")


def test_two_fingers_zoom(browser: Any, digits: Path) -> None:
    with Visit(browser, digits, has_touch=True) as visit:
        visit.choose("fc1.weight")
        canvas = visit.canvas()
        fitted = float(canvas.get_attribute("data-cell-width"))
        x, y = visit.place(16, 64)
        touch = visit.context.new_cdp_session(visit.page)
        for kind, apart in (("touchStart", 40), ("touchMove", 80), ("touchMove", 120), ("touchMove", 160)):
            fingers = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        visit.page.wait_for_timeout(100)
        assert float(canvas.get_attribute("data-cell-width")) >= 2 * fitted
        assert visit.place(16, 64) == pytest.approx((x, y), abs=3 * fitted)


def test_a_bar_of_the_histogram_picks_cells(browser: Any, digits: Path) -> None:
    opaque = """canvas => {
        const copy = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        Object.assign(copy.canvas, {width: canvas.width, height: canvas.height});
        copy.drawImage(canvas, 0, 0);
        const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;
        let count = 0;
        for (let i = 3; i < data.length; i += 4) count += data[i] === 255;
        return count;
    }"""
    with Visit(browser, digits) as visit:
        visit.choose("fc2.weight")
        before = visit.canvas().evaluate(opaque)
        hits = visit.page.locator("svg .hit")
        hits.nth(0).scroll_into_view_if_needed()
        hits.nth(0).hover()
        visit.page.wait_for_timeout(100)
        assert 0 < visit.canvas().evaluate(opaque) < before / 4
        assert visit.page.locator(".tip").inner_text().split("\n")[0].endswith("weight")
        visit.page.mouse.move(5, 5)
        visit.page.wait_for_timeout(100)
        assert visit.canvas().evaluate(opaque) == before


def test_the_index_is_searched_and_the_table_sorted(browser: Any, digits: Path) -> None:
    with Visit(browser, digits) as visit:
        page = visit.page
        page.get_by_placeholder("search tensors").fill("BIAS fc")
        shown = page.locator(".item:visible .name").all_inner_texts()
        assert [name for name in shown if "." in name] == ["fc1.bias", "fc2.bias"]
        page.get_by_placeholder("search tensors").press("Enter")
        page.wait_for_timeout(150)
        assert page.locator("h1").first.inner_text().startswith("fc1.bias")
        page.get_by_placeholder("search tensors").fill("")
        visit.choose("stats")
        page.get_by_role("button", name="Std", exact=True).click()
        names = page.locator("tbody tr td:first-child").all_inner_texts()
        checkpoint = t2g.load(str(DIGITS))
        stds = {name: float(tensor.numpy().std(dtype=np.float64)) for name, tensor in checkpoint.items()}
        assert names == [*sorted(stds, key=lambda name: -stds[name]), "(all tensors)"]
        page.get_by_role("button", name=names[0], exact=True).click()
        page.wait_for_timeout(200)
        assert page.locator("h1").first.inner_text().startswith(names[0])


def test_nan_and_inf_come_first_and_are_marked(browser: Any, tmp_path: Path) -> None:
    flags = {1: "3 NaN", 2: "all NaN"}
    values = np.array([1.0, 2.0, np.nan, 3.0])
    names = ("a.weight", "b.weight", "c.weight", "d.weight")
    rows = (("a.weight", 1.0, 0, 0), ("b.weight", 2.0, 3, 0), ("c.weight", None, 9, 0), ("d.weight", 3.0, 0, 1))
    panels = (
        Table(("name", "Mean", "NaN", "Inf"), rows, "table"),
        Line(np.arange(4.0), {"norm": values}, "line", xticks=names, flags=flags),
        Bar(names, values, "bar", flags=flags),
        Band(names, (0.25, 0.5, 0.75), np.stack([values - 1, values, values + 1]), "band", flags=flags),
        Boxes(names, np.full((5, 4), np.nan), "boxes", flags=flags),
        Line(np.arange(4.0), {"norm": np.array([-1.7e308, 1.7e308, 5e-324, 0.0])}, "wide"),
    )
    path = tmp_path / "ill.html"
    with path.open("wb") as stream:
        Html().render(Page("p", "t", panels), stream, Style(), "html")
    with Visit(browser, path) as visit:
        page = visit.page
        assert page.locator("tbody tr.lost td:first-child").all_inner_texts() == ["b.weight", "c.weight", "d.weight"]
        page.locator("th button").nth(1).click()
        order = page.locator("tbody tr td:first-child").all_inner_texts()
        assert order == ["d.weight", "b.weight", "c.weight", "a.weight"]  # largest first, then unknown; the whole one last
        page.locator("th button").nth(1).click()
        assert page.locator("tbody tr td:first-child").all_inner_texts()[-1] == "a.weight"
        for place in range(1, 5):
            text = page.locator(".panel").nth(place).locator(".lost").all_text_contents()
            assert any("3 NaN" in each for each in text), place
            assert any("all NaN" in each for each in text), place
        lines = page.locator(".panel").nth(1).locator("svg line.lost")
        assert lines.count() == 2
        assert page.locator(".panel").nth(1).locator("circle").count() == 1  # d, which no line reaches
        path_of = page.locator(".panel").nth(5).locator("path.series").get_attribute("d")
        assert "NaN" not in path_of
        assert "Infinity" not in path_of


@pytest.mark.parametrize("width", [390, 900, 1300])
def test_words_at_the_end_of_a_table_have_room(browser: Any, tmp_path: Path, width: int) -> None:
    """What a table is read for is no sliver beside its numbers: names give way to it, and break where their parts end."""
    columns = ("Tensor", "Shape", "Dtype", "‖Δ‖/‖A‖", "Cosine", "Max |Δ|", "Changed%", "Stable rank", "What")
    name, figures = "model.layers.20.self_attn.q_proj.weight", (1.5, 0.99, 0.123, 100.0, 13.1)
    told = (
        "1 NaN in B only, 1 Inf in B only, first [5, 6] 0.0186451 → NaN, rows 5, 7 of 96, 2 weights (0.022%)",
        "every weight",
    )
    words = Table(columns, tuple((name, "96×96", "float32", *figures, each) for each in told), "words")
    brief = Table(("Tensor", "Size", "New"), ((name, 1, "yes"), (name, 2, "no")), "brief")
    path = tmp_path / "words.html"
    with path.open("wb") as stream:
        Html().render(Page("p", "t", (words, brief)), stream, Style(), "html")
    with Visit(browser, path) as visit:
        visit.page.set_viewport_size({"width": width, "height": 900})
        size = "each => [each.clientWidth, each.clientHeight]"
        cells = visit.page.locator("tbody tr td:last-child")
        wide, high = cells.first.evaluate(size)
        assert wide >= 150
        assert high <= 120
        assert cells.last.evaluate(size)[0] < 150 or width == 1300  # no more than it needs, but where there is room
        assert visit.page.locator("tbody tr td:first-child").first.inner_text() == name
        whole = [each.evaluate("each => each.scrollWidth <= each.clientWidth") for each in visit.page.locator(".scroll").all()]
        assert whole == [width == 1300, True]


def test_hostile_names_are_inert_text(browser: Any, tmp_path: Path) -> None:
    save_file({name: np.ones((4, 5), np.float32) * i for i, name in enumerate(HOSTILE)}, tmp_path / "m.safetensors")
    from torch2grid._api import draw

    pages = draw(str(tmp_path / "m.safetensors"), ["grid", "layers", "histogram", "stats", "dead_neurons"], title="<b>own</b>")
    (path,) = pages.save(tmp_path / "m.html")
    assert "<img" not in path.read_text()
    with Visit(browser, path) as visit:
        items = visit.page.locator(".item")
        for place in range(items.count()):
            items.nth(place).click()
            visit.page.wait_for_timeout(120)
            assert visit.page.locator("main h1").count() > 0
        assert visit.page.evaluate("window.hurt") is None
        names = visit.page.locator(".item .name").all_inner_texts()
        assert "</script><script>window.hurt = 1</script>" in names
        assert "abc\\u202egnp.exe" in names
        assert max(map(len, names)) < 400
        assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_panel_shows_itself(browser: Any, tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "all.html"
    with path.open("wb") as stream:
        Html().render(every_panel(), stream, Style(), "html")
    with Visit(browser, path, color_scheme=scheme) as visit:
        titles = visit.page.locator(".panel > h2").all_inner_texts()
        assert titles == [panel.title for panel in every_panel().panels]
        assert all(box.bounding_box()["height"] > 30 for box in visit.page.locator(".panel").all())
        assert visit.hover(0, 0)[-3:] == ["weight: NaN", "|max| of the row: NaN", "|max| of the column: Inf"]
        assert visit.hover(1, 1)[-3:] == ["weight: 0", "|max| of the row: 3", "|max| of the column: 1"]
        assert visit.hover(0, 2, 1)[-1] == "weight: −2, below the limit"
        assert visit.hover(1, 2) == ["no weight here"]
        assert visit.page.locator(".side").is_hidden()
        assert visit.page.locator("pre").inner_text() == "two\nlines <b>"


def test_without_scripts_the_page_says_so(browser: Any, digits: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(digits.as_uri())
    assert "switched off" in page.locator("body").inner_text()
    context.close()


def test_the_file_keeps_its_size_and_says_what_that_cost() -> None:
    random_numbers = np.random.default_rng(0).standard_normal((6, 400, 400)).astype(np.float32)
    pages = [
        Page(f"t{i}", f"tensor {i}", (Heatmap(Grid(each), ColorScale(-2, 2)),), "layers", about={"tensor": f"t{i}"})
        for i, each in enumerate(random_numbers)
    ]
    stream = io.BytesIO()
    Html(megabytes=0.5).render_all(pages, stream, Style(), "html")
    assert 0.3e6 < len(stream.getvalue()) <= 0.5e6
    text = stream.getvalue().decode()
    cells = re.search(r"at most (\d+) cells per side", head_of(text)["note"])
    assert cells is not None
    shapes = [json.loads(each) for each in re.findall(r'"kind": "heatmap", "shape": (\[\d+, \d+\])', text)]
    assert len(shapes) == 6
    assert all(max(shape) <= int(cells[1]) < 400 for shape in shapes)
    assert text.count('"lowered": [400, 400]') == 6
    with pytest.raises(ValueError, match="megabytes"):
        Html(megabytes=0)


def test_lowered_cells_get_limits_of_their_own_unless_those_were_fixed() -> None:
    from torch2grid_builtin._renderers.html.renderer import Tensors, page_data
    from torch2grid_core.grids import color_scale

    grid = Grid(np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32))
    pages = [Page("a", "a", (Heatmap(grid, scale),)) for scale in (color_scale(grid), ColorScale(-5, 5))]
    derived, fixed = (page_data(page, Style(), Tensors(), 20)[0]["panels"][0] for page in pages)
    assert derived["high"] < 0.6
    assert 0 < derived["over"] < 0.01
    assert (fixed["low"], fixed["high"], fixed["over"]) == (-5, 5, 0.0)


@given(st.lists(st.floats(width=32), min_size=1))
def test_rounding_keeps_four_digits_and_never_invents_infinity(numbers: list[float]) -> None:
    values = np.array(numbers, dtype=np.float32)
    result = rounded(values, 12)
    finite = np.isfinite(values)
    assert np.array_equal(result[~finite], values[~finite], equal_nan=True)
    assert np.isfinite(result[finite]).all()
    wide = values[finite].astype(np.float64)
    bound = np.maximum(np.abs(wide) * 2.0**-12, 2.0**-138)
    assert (np.abs(result[finite] - wide) <= bound).all()


def test_a_long_name_on_a_sheet_begins_with_an_ellipsis(browser: Any, tmp_path: Path) -> None:
    arrays = {
        f"layers.{layer}.{'mixture_' * 8}.{kind}": np.eye(8, dtype=np.float32) for layer in (0, 1) for kind in "abcdefghij"
    }
    (written,) = t2g.layers(arrays).save(tmp_path / "m.html")
    with Visit(browser, written) as visit:
        visit.page.wait_for_selector(".sheet .link")
        widths = visit.page.eval_on_selector_all(
            ".sheet .link", "all => all.map((each) => [each.scrollWidth, each.offsetWidth])"
        )
        assert all(long > wide for long, wide in widths)
        rooms = visit.page.eval_on_selector_all(".sheet h2", "all => all.map((each) => [each.scrollWidth, each.clientWidth])")
        assert all(long == wide for long, wide in rooms)  # it is the name that is shortened, not what holds it


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_panels_at_places_are_a_table(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    generator = np.random.default_rng(0)
    tensors = {
        f"layers.{layer}.{kind}.weight": generator.standard_normal((24, 24)).astype(np.float32)
        for layer in range(5)
        for kind in ("q_proj", "k_proj", "up_proj")
    }
    save_file({**tensors, "head.weight": np.ones((20, 24), np.float32)}, tmp_path / "m.safetensors")
    views = ["layers:each=false", "histogram:each=false"]
    from torch2grid._api import draw

    (written,) = draw(str(tmp_path / "m.safetensors"), views).save(tmp_path / "m.html")
    with Visit(browser, written, color_scheme=scheme) as visit:
        visit.page.set_viewport_size({"width": width, "height": 900})
        for overview in ("layer overview", "histogram overview"):
            visit.page.click(f"text={overview}")
            visit.page.wait_for_selector(".sheet")
            names = visit.page.eval_on_selector_all(".sheet .row-name", "all => all.map((each) => each.textContent)")
            assert names == [str(layer) for layer in range(5)]
            heads = visit.page.eval_on_selector_all(".sheet .column-name", "all => all.map((each) => each.textContent)")
            assert [head.replace("\u200b", "").partition(".")[0] for head in heads] == ["k_proj", "q_proj", "up_proj"]
            rows = visit.page.eval_on_selector_all(
                ".sheet .panel", "all => all.map((each) => [Math.round(each.getBoundingClientRect().left), each.innerText])"
            )
            assert len(rows) == 15
            for column in range(3):  # what is of one kind stands one below the other
                assert len({left for left, _ in rows[column::3]}) == 1
            assert [left for left, _ in rows[:3]] == sorted({left for left, _ in rows})
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
