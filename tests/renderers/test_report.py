"""How a person moves in a report: the wheel, the keyboard, the search, a slider, several heatmaps at once."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.renderers.browser import Visit, chromium
from tests.support.tools import torch2grid

from torch2grid_builtin._renderers.html.renderer import Html
from torch2grid_core import Grid, Page, Style
from torch2grid_core.grids import ColorScale
from torch2grid_core.pages import Heatmap, Table

STEPS = (0, 20, 300, 4000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as each:
        yield each


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of many tensors and its report, a comparison with pages of tensors, and a series."""
    folder = tmp_path_factory.mktemp("report")
    generator = np.random.default_rng(0)
    names = [f"h.{layer}.{kind}" for layer in range(30) for kind in ("q_proj.weight", "q_proj.bias", "up.weight")]
    model = {name: generator.standard_normal((24, 16) if name.endswith("weight") else 24).astype(np.float32) for name in names}
    save_file(model, folder / "model.safetensors")
    (folder / "run").mkdir()
    few = {name: model[name] for name in names[:6]}
    for step in STEPS:
        moved = {name: each + np.float32(step / 1000) * (1 + np.abs(each)) for name, each in few.items()}
        save_file(moved, folder / "run" / f"step_{step}.safetensors")
    assert (
        torch2grid("model.safetensors", "--layers", "--stats", "--histogram", "-o", "report.html", cwd=folder).returncode == 0
    )
    a, b = (f"run/step_{step}.safetensors" for step in (0, 4000))
    assert torch2grid("compare", a, b, "--layers", "-o", "pair.html", cwd=folder).returncode in (0, 1)
    assert torch2grid("compare", "run", "-o", "series.html", cwd=folder).returncode in (0, 1)
    return folder


def data_of(visit: Visit, number: int = 0) -> dict[str, float]:
    """The place and size of the cells of a heatmap, in CSS pixels."""
    data: dict[str, str] = visit.canvas(number).evaluate("each => ({...each.dataset})")
    return {name: float(value) for name, value in data.items()}


def scrolled(visit: Visit) -> float:
    visit.page.wait_for_timeout(250)
    return float(visit.page.evaluate("scrollY"))


def test_the_wheel_scrolls_the_page_and_zooms_where_it_is_asked_to(browser: Any, made: Path) -> None:
    with Visit(browser, made / "pair.html") as visit:
        visit.choose("h.0.q_proj.weight")
        page, fitted = visit.page, data_of(visit)["cellWidth"]
        tools = page.locator(".panel .tools .hint").first
        assert "ctrl + wheel zooms" in tools.inner_text()
        visit.hover(3, 3)
        before = scrolled(visit)
        page.mouse.wheel(0, 200)
        assert scrolled(visit) > before
        assert data_of(visit)["cellWidth"] == fitted
        visit.hover(3, 3)
        before = scrolled(visit)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -200)
        page.keyboard.up("Control")
        assert scrolled(visit) == before
        zoomed = data_of(visit)["cellWidth"]
        assert zoomed > fitted
        place = visit.canvas().bounding_box()
        page.mouse.click(*visit.place(3, 3))
        assert visit.canvas().bounding_box() == place  # nothing moves below the pointer
        assert "the wheel zooms until Esc" in tools.inner_text()
        before = scrolled(visit)
        page.mouse.wheel(0, 200)
        assert scrolled(visit) == before
        assert data_of(visit)["cellWidth"] < zoomed
        page.keyboard.press("0")
        page.keyboard.press("Escape")  # all is in view already: the wheel is the page's again
        assert "ctrl + wheel zooms" in tools.inner_text()
        visit.hover(3, 3)
        before = scrolled(visit)
        page.mouse.wheel(0, 200)
        assert scrolled(visit) > before
        assert data_of(visit)["cellWidth"] == fitted


def test_a_finger_scrolls_the_page_until_there_is_something_to_move(browser: Any, made: Path) -> None:
    with Visit(browser, made / "pair.html", has_touch=True, is_mobile=True) as visit:
        visit.page.evaluate("location.hash = 't0'")
        visit.page.locator('body[data-shown="t0"]').wait_for()
        visit.page.wait_for_timeout(200)
        touch = visit.context.new_cdp_session(visit.page)
        visit.canvas().scroll_into_view_if_needed()

        def swipe() -> None:
            box = visit.canvas().bounding_box()
            x, y = box["x"] + 100, min(box["y"] + box["height"], 880) - 40
            touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
            for step in range(1, 9):
                touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 20 * step}]})
            touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        before = scrolled(visit)
        swipe()
        assert scrolled(visit) > before
        for _ in range(6):
            visit.page.get_by_role("button", name="zoom in").first.click()
        before, top = scrolled(visit), data_of(visit)["top"]
        swipe()
        assert scrolled(visit) == before
        assert data_of(visit)["top"] < top


def test_heatmaps_of_a_page_zoom_together(browser: Any, made: Path) -> None:
    with Visit(browser, made / "pair.html") as visit:
        visit.choose("h.0.q_proj.weight")
        page = visit.page
        titles = page.locator(".panel:has(.view) > h2").all_inner_texts()
        assert [title.partition(":")[0].partition(",")[0] for title in titles[:3]] == ["A", "B", "Δ = B − A"]
        start = [data_of(visit, place) for place in range(3)]
        page.get_by_role("button", name="zoom in").nth(1).click()
        page.get_by_role("button", name="zoom in").nth(1).click()
        found = [data_of(visit, place) for place in range(3)]
        assert found[0] == found[1] == found[2]
        assert found[0]["cellWidth"] > start[0]["cellWidth"]
        x, y = visit.place(12, 8, 2)
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 30, y - 40, steps=4)
        page.mouse.up()
        moved = [data_of(visit, place) for place in range(3)]
        assert moved[0] == moved[1] == moved[2]
        assert moved[0]["top"] < found[0]["top"]
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        assert page.locator(".readout").nth(2).inner_text().startswith("h.0.q_proj.weight · [")
        page.keyboard.press("0")
        assert [data_of(visit, place) for place in range(3)] == start


def test_a_heatmap_of_another_shape_keeps_its_own_view(browser: Any, tmp_path: Path) -> None:
    grids = [Grid(np.arange(rows * 12, dtype=np.float32).reshape(rows, 12)) for rows in (9, 9, 7)]
    page = Page("p", "t", tuple(Heatmap(grid, ColorScale(0, 100), title=f"n{place}") for place, grid in enumerate(grids)))
    with (tmp_path / "p.html").open("wb") as stream:
        Html().render(page, stream, Style(), "html")
    with Visit(browser, tmp_path / "p.html") as visit:
        before = [data_of(visit, place) for place in range(3)]
        visit.page.get_by_role("button", name="zoom in").first.click()
        after = [data_of(visit, place) for place in range(3)]
        assert after[0]["cellWidth"] == after[1]["cellWidth"] > before[0]["cellWidth"]
        assert after[2] == before[2]


def test_the_search_takes_words_and_patterns_and_hides_the_rest(browser: Any, made: Path) -> None:
    with Visit(browser, made / "report.html") as visit:
        page = visit.page
        field = page.get_by_label("search tensors")
        headings = page.locator(".index h2:visible")
        names = page.locator(".item:visible .name")
        assert headings.all_inner_texts() == ["OVERVIEW", "90 TENSORS"]
        page.locator("h1").click()
        page.keyboard.press("/")
        page.keyboard.type("h.1?.*.weight")
        assert field.input_value() == "h.1?.*.weight"
        assert names.all_text_contents() == [f"h.1{n}.{kind}.weight" for n in range(10) for kind in ("q_proj", "up")]
        assert headings.all_inner_texts() == ["90 TENSORS"]
        field.fill("BIAS 29")
        assert names.all_text_contents() == ["h.29.q_proj.bias"]
        page.keyboard.press("Enter")
        page.locator("h1", has_text="h.29.q_proj.bias").first.wait_for()
        field.fill("stats")
        assert names.all_text_contents() == ["stats"]
        assert headings.all_inner_texts() == ["OVERVIEW"]
        page.keyboard.press("Enter")
        page.locator('body[data-shown^="p"]').wait_for()
        field.fill("no such thing")
        assert names.all_text_contents() == []
        assert page.get_by_text("nothing of that name").is_visible()
        field.fill("")
        assert names.count() > 90
        page.keyboard.type("a/b")  # a slash that is typed is a slash
        assert field.input_value() == "a/b"


def test_a_series_has_a_slider_and_plays(browser: Any, made: Path) -> None:
    with Visit(browser, made / "series.html") as visit:
        page = visit.page
        assert page.locator(".item .name").all_inner_texts().count("series atlas") == 1
        visit.choose("series atlas")
        slider = page.get_by_label("place in the series")
        told = page.locator(".series-tools output")
        assert (slider.get_attribute("min"), slider.get_attribute("max")) == ("1", "4")
        assert told.inner_text() == "step 0 · 1 of 4"
        page.get_by_role("button", name="zoom in").click()
        page.get_by_role("button", name="zoom in").click()
        view = data_of(visit)
        canvas = visit.canvas().bounding_box()
        cell = [
            int((canvas[size] / 2 - view[side]) / view[f"cell{size.title()}"])
            for size, side in (("height", "top"), ("width", "left"))
        ]
        first = visit.hover(*cell)
        slider.focus()
        page.keyboard.press("End")
        page.locator("output", has_text="step 4000 · 4 of 4").wait_for()
        assert page.locator(".subtitle").inner_text().startswith("step 4000")
        assert slider.evaluate("each => each === document.activeElement")
        assert slider.get_attribute("aria-valuetext") == "step 4000 · 4 of 4"
        page.wait_for_timeout(150)
        assert data_of(visit) == view  # what was looked at is looked at
        last = visit.hover(*cell)
        assert last[:-1] == first[:-1]
        assert last[-1] != first[-1]
        address = page.url
        page.get_by_role("button", name="play").click()  # from the end: again from the beginning
        page.locator("output", has_text="step 0 · 1 of 4").wait_for()
        seen = [told.inner_text()]
        while page.get_by_role("button", name="pause").count() and len(seen) < 200:
            page.wait_for_timeout(50)
            seen.append(told.inner_text())
        seen.append(told.inner_text())
        assert list(dict.fromkeys(seen)) == [f"step {step} · {place + 1} of 4" for place, step in enumerate(STEPS)]
        page.get_by_role("button", name="play").wait_for()
        assert page.url == address
        page.goto("about:blank")
        page.goto(re.sub("#.*", "", address) + "#" + address.rpartition("#")[2])
        page.locator("output", has_text="step 4000 · 4 of 4").wait_for()
        visit.requests[:] = visit.requests[:1]


def test_the_index_and_tables_are_one_tab_stop_each(browser: Any, made: Path) -> None:
    with Visit(browser, made / "report.html") as visit:
        page = visit.page
        focused = "document.activeElement.textContent"
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == "skip to what is shown"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.tagName") == "MAIN"
        visit.choose("stats")
        assert page.locator('.item[tabindex="0"]').count() == 1
        page.locator(".skip").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.type") == "search"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.querySelector('.name').textContent") == "stats"
        page.keyboard.press("End")
        assert page.evaluate("document.activeElement.querySelector('.name').textContent") == "h.29.up.weight"
        page.keyboard.press("ArrowUp")
        assert page.evaluate("document.activeElement.querySelector('.name').textContent") == "h.29.q_proj.weight"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.querySelector('.name').textContent") == "h.29.q_proj.weight"
        stops = 0
        while page.evaluate("document.activeElement.closest('tbody') === null"):
            page.keyboard.press("Tab")
            stops += 1
            assert stops < 30
        assert page.locator('tbody .link:not([tabindex="-1"])').count() == 1
        first = page.evaluate(focused)
        page.keyboard.press("ArrowDown")
        assert page.evaluate(focused) != first
        assert page.evaluate("document.activeElement.closest('tbody') !== null")
        page.locator("th button").nth(1).click()
        assert page.locator('tbody .link[tabindex="0"]').count() == 1
        page.get_by_placeholder("filter rows").fill("h.7.up.weight")
        assert page.locator('tbody .link[tabindex="0"]').all_inner_texts() == ["h.7.up.weight"]


@pytest.mark.parametrize("name", ["report", "pair", "series"])
def test_every_canvas_has_a_name(browser: Any, made: Path, name: str) -> None:
    with Visit(browser, made / f"{name}.html") as visit:
        items = visit.page.locator(".item")
        count = 0
        for place in range(min(items.count(), 12)):
            items.nth(place).click()
            visit.page.wait_for_timeout(100)
            found = visit.page.eval_on_selector_all(
                "canvas", "all => all.map((each) => [each.getAttribute('role'), each.getAttribute('aria-label') ?? ''])"
            )
            count += len(found)
            assert all(role == "img" and len(label) > 10 for role, label in found), place
        assert count > 0


def test_the_cell_under_the_cursor_is_told_where_a_reader_listens(browser: Any, made: Path) -> None:
    with Visit(browser, made / "report.html") as visit:
        visit.choose("h.0.up.weight")
        live = visit.page.locator('.readout[aria-live="polite"]').first
        visit.canvas().focus()
        visit.page.keyboard.press("ArrowDown")
        assert re.match(r"h\.0\.up\.weight · \[0, 0\] · weight: ", live.inner_text())
        visit.page.keyboard.press("Shift+ArrowDown")
        assert re.match(r"h\.0\.up\.weight · \[10, 0\] · weight: ", live.inner_text())


def report_of(pages: list[Page], megabytes: float) -> tuple[str, list[list[int]], str]:
    stream = io.BytesIO()
    Html(megabytes=megabytes).render_all(pages, stream, Style(), "html")
    text = stream.getvalue().decode()
    head = json.loads(re.search(r'<script type="application/json" id="head">(.*?)</script>', text)[1])  # type: ignore[index]
    shapes = [json.loads(each) for each in re.findall(r'"kind": "heatmap", "shape": (\[\d+, \d+\])', text)]
    return text, shapes, head["note"]


def heatmap_page(name: str, values: np.ndarray[Any, Any]) -> Page:
    return Page(name, name, (Heatmap(Grid(values), ColorScale(-2, 2)),), "layers", about={"tensor": name})


def test_the_size_that_a_file_may_have_is_spent_on_whole_tensors_first() -> None:
    generator = np.random.default_rng(0)
    sides = [90] * 120 + [20] * 40
    pages = [heatmap_page(f"t{i}", generator.standard_normal((side, side)).astype(np.float32)) for i, side in enumerate(sides)]
    text, shapes, note = report_of(pages, 2.2)
    assert 0.93 * 2.2e6 < len(text.encode()) <= 2.2e6
    whole = sum(shape == [side, side] for shape, side in zip(shapes, sides, strict=True))
    assert shapes[120:] == [[20, 20]] * 40  # the small ones are whole before a large one is
    assert whole > 50
    lowered_to = r"Shown at reduced resolution, to keep this file below 2\.2 MB: at most (\d+) cells per side for a tensor"
    cells = re.fullmatch(rf"{lowered_to}\. (\d+) of 160 heatmaps show every cell\.", note)
    assert cells is not None
    assert int(cells[2]) == whole
    lowered = [max(shape) for shape, side in zip(shapes, sides, strict=True) if shape != [side, side]]
    assert max(lowered) == int(cells[1])
    assert len(report_of(pages, 20)[0]) > 2.2e6
    assert report_of(pages, 20)[2] == ""


def test_pages_of_tensors_come_before_their_small_pictures(made: Path) -> None:
    run = torch2grid("model.safetensors", "--layers", "--renderer", "html:megabytes=0.4", "-o", "small.html", cwd=made)
    assert run.returncode == 0, run.stderr
    text = (made / "small.html").read_text()
    assert 0.93 * 0.4e6 < len(text.encode()) <= 0.4e6
    sides: dict[bool, list[int]] = {True: [], False: []}
    for block in re.findall(r'<script type="application/json" id="page-\d+">(.*?)</script>', text):
        page = json.loads(block)
        for panel in page["panels"]:
            if panel["kind"] == "heatmap" and min(panel.get("lowered", panel["shape"])) > 1:
                sides["places" in page].append(max(panel["shape"]))
    assert len(sides[True]) == len(sides[False]) == 60
    assert max(sides[True]) < min(sides[False])


def test_a_reduction_that_nobody_knows_keeps_its_cells() -> None:
    generator = np.random.default_rng(0)
    own = Grid(generator.standard_normal((50, 50)).astype(np.float32), reduce="root of the mean")
    page = Page("own", "own", (Heatmap(own, ColorScale(-2, 2)),))
    others = [heatmap_page(f"t{i}", generator.standard_normal((80, 80)).astype(np.float32)) for i in range(9)]
    _, shapes, note = report_of([page, *others], 0.16)
    assert shapes[0] == [50, 50]
    assert max(map(max, shapes[1:])) < 80
    assert "1 of 10 heatmaps" in note


def test_a_budget_that_fits_nothing_lowers_all_and_ends() -> None:
    generator = np.random.default_rng(0)
    pages = [heatmap_page(f"t{i}", generator.standard_normal((64, 64)).astype(np.float32)) for i in range(5)]
    table = Page("table", "table", (Table(("name",), (("x",),)),))
    _, shapes, note = report_of([table, *pages], 0.01)
    assert shapes == [[4, 4]] * 5
    assert "at most 4 cells per side" in note


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map of a model of many thin tensors."""
    folder = tmp_path_factory.mktemp("deep")
    generator = np.random.default_rng(0)
    kinds = {"attn.weight": (96, 96), "attn.bias": (96,), "mlp.weight": (96, 200), "norm.weight": (96,)}
    names = {f"layers.{layer:02}.{kind}": shape for layer in range(30) for kind, shape in kinds.items()}
    save_file(
        {name: generator.standard_normal(shape).astype(np.float32) for name, shape in names.items()}, folder / "m.safetensors"
    )
    for plugin in ("flatten", "spiral"):
        run = torch2grid("m.safetensors", "--plugin", plugin, "-o", f"{plugin}.html", cwd=folder)
        assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.parametrize("plugin", ["flatten", "spiral"])
def test_beside_a_map_stands_what_it_holds(browser: Any, deep: Path, plugin: str) -> None:
    with Visit(browser, deep / f"{plugin}.html") as visit:
        page = visit.page
        entries = page.locator(".contents .place")
        assert entries.count() == 120
        assert entries.first.inner_text().split("\n") == ["layers.00.attn.bias", "96 weights"]
        card, view, contents = (page.locator(each).first.bounding_box() for each in (".panel", ".view", ".contents"))
        assert contents["x"] >= view["x"] + view["width"]
        assert view["width"] + contents["width"] > 0.9 * card["width"]  # nothing of the card is left empty
        seen = page.locator(".view canvas").screenshot()
        entries.nth(3).hover()
        page.wait_for_timeout(100)
        assert page.locator(".view canvas").screenshot() != seen  # it is marked
        page.mouse.move(0, 0)
        page.wait_for_timeout(100)
        assert page.locator(".view canvas").screenshot() == seen
        before = data_of(visit)
        entry = entries.filter(has_text="layers.07.mlp.weight")
        entry.click()
        assert data_of(visit)["cellWidth"] > before["cellWidth"]
        if plugin == "flatten":  # a turn of the spiral is a line, and not in the middle where the map ends
            box = visit.canvas().bounding_box()
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            assert page.locator(".tip b").inner_text() == "layers.07.mlp.weight"


@pytest.mark.parametrize("width", [390, 1000, 1300])
def test_long_names_are_whole_in_every_list(browser: Any, tmp_path: Path, width: int) -> None:
    """Beside a map, before a bar, in the index: cut from the left they do not tell the layer, from the right not the matrix."""
    names = [
        f"model.layers.{n}.block_sparse_moe.experts.7.gate_up_projection.{last}"
        for n in range(4)
        for last in ("weight", "bias")
    ]
    rng = np.random.default_rng(0)
    for file in ("a", "b"):
        save_file({name: rng.normal(size=(24, 24)).astype(np.float32) for name in names}, tmp_path / f"{file}.safetensors")
    torch2grid("a.safetensors", "--layers", "-o", "a.html", cwd=tmp_path)
    torch2grid("compare", "a.safetensors", "b.safetensors", "-o", "b.html", cwd=tmp_path)
    cut = "all => all.filter(each => each.offsetParent && each.scrollWidth > each.clientWidth + 1 && each.clientWidth).length"
    for file, entries in (("a", ".item .name"), ("b", ".bar-row .name"), ("b", ".place .name")):
        with Visit(browser, tmp_path / f"{file}.html") as visit:
            if file == "b":
                visit.choose("compare overview" if "bar" in entries else "delta atlas")
            visit.page.set_viewport_size({"width": width, "height": 900})
            found = visit.page.locator(entries)
            texts = found.all_text_contents()
            assert sorted(each for each in texts if "layers" in each) == sorted(names)
            assert found.evaluate_all(cut) == 0


def test_lines_between_tensors_fade_where_little_else_would_be_seen(browser: Any, deep: Path) -> None:
    """Of the 120 tensors on 700 pixels lines stand around layers, which carry their names."""
    with Visit(browser, deep / "flatten.html") as visit:
        script = """each => {
            const pen = each.getContext("2d");
            const column = pen.getImageData(Math.round(each.width * 0.6), 0, 1, each.height).data;
            let dark = 0;
            for (let i = 0; i < each.height; i++) dark += column[4 * i] + column[4 * i + 1] + column[4 * i + 2] < 300 ? 1 : 0;
            return [dark, each.height];
        }"""
        dark, height = visit.canvas().evaluate(script)
        assert dark < 0.15 * height
        calls = """async () => {
            const found = [];
            const write = CanvasRenderingContext2D.prototype.fillText;
            CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
                found.push(text);
                return write.call(this, text, ...rest);
            };
            document.querySelector("button[aria-label^='show all']").click();
            return found;
        }"""
        assert set(visit.page.evaluate(calls)) >= {f"layers.{layer:02}" for layer in range(30)}


def test_on_a_phone_what_a_map_holds_stands_below_its_legend(browser: Any, deep: Path) -> None:
    with Visit(browser, deep / "flatten.html") as visit:
        visit.page.set_viewport_size({"width": 390, "height": 844})
        visit.page.wait_for_timeout(200)
        legend, contents = (visit.page.locator(each).first.bounding_box() for each in (".legend", ".contents"))
        assert contents["y"] >= legend["y"] + legend["height"]
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
