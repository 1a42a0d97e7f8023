"""A walk through the explorer in a real browser: by pointer, keyboard and touch; as a page, exported, in a notebook."""

from __future__ import annotations

import itertools
import re
import shlex
import struct
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.raster.test_window import lazy
from tests.support.explore import Client, installed, running, served
from tests.support.explore_page import Walk, hosted
from tests.support.pairs import all_pairs
from tests.support.renderers.browser import chromium
from tests.support.tools import torch2grid

from torch2grid_core import Checkpoint, Grid
from torch2grid_core.grids import ColorScale, paint, raster_window

Array = np.ndarray[Any, Any]
NAME = "model.layers.2.mlp.weight"
WRITTEN = """(() => {
  const seen = [], pen = CanvasRenderingContext2D.prototype, own = pen.fillText;
  pen.fillText = function (text, ...place) { seen.push(text); return own.call(this, text, ...place); };
  v.now();
  pen.fillText = own;
  return seen;
})()"""  # all that is written on the map
OUTSIDE = """[...document.querySelectorAll('button, select, input, .limits, .facts, .brand')]
  .filter((e) => e.offsetParent || e.tagName === 'svg').map((e) => [e.textContent, e.getBoundingClientRect()])
  .filter(([, r]) => r.width && (r.left < 0 || r.right > innerWidth + 0.5)).map(([text]) => text)"""
CUT = """[...document.querySelectorAll('select, .tools button')]
  .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as each:
        yield each


def weights(seed: int = 0, size: int = 160) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    found = {"model.embed.weight": rng.standard_normal((300, 64))}
    for layer in range(4):
        found[f"model.layers.{layer}.attn.weight"] = rng.standard_normal((96, 64))
        found[f"model.layers.{layer}.mlp.weight"] = 8 * rng.standard_normal((size, 64))
        found[f"model.layers.{layer}.norm.weight"] = np.ones(64)
    made = {name: values.astype(np.float32) for name, values in found.items()}
    made[NAME][17, 33] = np.nan
    made[NAME][21, 5] = 99.5
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("walk")
    save_file(weights(), path / "m.safetensors")
    save_file(weights(1), path / "n.safetensors")
    return path


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    with served(folder, "m.safetensors", "--memory", "1") as each:
        yield each


def visit(browser: Any, client: Client, words: str = "", **options: Any) -> Walk:
    """The page of a running explorer. A token opens it once: each context gets the cookie that the client has."""
    if not list(client.jar):
        client.enter()
    cookies = [
        {"name": each.name, "value": each.value or "", "url": client.address} for each in client.jar if each.value is not None
    ]
    return Walk(browser, f"{client.address}/{words}", cookies=cookies, **options)


def core(walk: Walk, truth: dict[str, Array], exact: bool = True) -> None:
    """What the page does in each of its homes: seen, zoomed, dragged, searched, read to one weight, coloured anew."""
    page = walk.page
    pixels, _ = walk.cells()
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # the model is there
    x, y = walk.at("model.embed.weight", 150, 30)
    before = walk.js("v.camera.scale")
    page.mouse.move(x, y)
    page.mouse.wheel(0, -240)
    assert walk.until("v.camera.scale > a && v.camera.scale", before) > 2 * before
    assert np.allclose(
        walk.at("model.embed.weight", 150, 30), (x, y), atol=2.5 * walk.js("v.camera.scale")
    )  # it stays under the pointer
    walk.settled()
    at = walk.js("[v.camera.row, v.camera.column, v.camera.scale]")
    page.mouse.down()
    page.mouse.move(x - 60, y - 40, steps=4)
    page.mouse.up()
    now = walk.js("[v.camera.row, v.camera.column]")
    assert np.allclose([(now[0] - at[0]) * at[2], (now[1] - at[1]) * at[2]], [40, 60], atol=1.1)
    assert page.locator(f"{walk.root} .details").is_hidden()  # a drag is no click
    walk.settled()
    walk.js("v.canvas.focus()")
    walk.press("/")
    page.keyboard.type("*layers.2*MLP*")
    assert page.get_by_role("treeitem").all_inner_texts()[0].split("\n")[0] == NAME
    assert "1 of 13 tensors" in page.locator(f"{walk.root} .found").inner_text()
    walk.press("Enter")
    page.wait_for_selector(f"{walk.root} .details h2:has-text('{NAME}')")
    walk.settled()
    top, left, high, wide = walk.js("x.around([x.tensor])")  # what was chosen is in the middle, and as large as it fits
    row, column, seen_high, seen_wide = walk.js(
        "[v.camera.row, v.camera.column, v.canvas.height / v.camera.scale, v.canvas.width / v.camera.scale]"
    )
    assert abs(row + seen_high / 2 - top - high / 2) < 0.02 * seen_high
    assert abs(column + seen_wide / 2 - left - wide / 2) < 0.02 * seen_wide
    assert 0.6 < max(high / seen_high, wide / seen_wide) <= 0.91
    walk.go(NAME, 45, 20)
    assert walk.js("v.camera.level") == 0
    for index in ((45, 20), (46, 23), (43, 19)):
        page.mouse.click(*walk.at(NAME, *index))
        assert np.float32(walk.told(NAME, *index)).tobytes() == truth[NAME][index].tobytes()
    page.mouse.move(*walk.at(NAME, 45, 20))
    told = page.locator(".tip div").all_inner_texts()
    assert told[0] == NAME
    assert any("one of 4 alike (by name)" in line for line in told)
    assert "[45, 20]" in told
    assert float(told[-1].partition(": ")[2].replace("−", "-")) == pytest.approx(float(truth[NAME][45, 20]), rel=1e-5)
    walk.press("Escape")
    walk.js("(x.closeDetails(), v.camera.scale = 0.45 * v.ratio, v.camera.center(100, 100), v.changed())")
    walk.settled()
    assert walk.js("v.camera.level") > 0
    colours, asked = walk.cells()[0], len(walk.requests)
    for plane in ("rms", "max", "min"):
        page.get_by_label("cells show").select_option(plane)
        walk.until("x.look(0, v.camera.level)?.plane === a && !v.queued && !v.tiles.late", plane)
        assert not np.array_equal(walk.cells()[0], colours)
    page.get_by_label("cells show").select_option("mean")
    page.wait_for_timeout(100)
    assert np.array_equal(walk.cells()[0], colours)
    assert walk.requests[asked:] == []


def test_a_walk_by_pointer(browser: Any, client: Client) -> None:
    with visit(browser, client) as walk:
        page = walk.page
        core(walk, weights())
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        # Names appear as there is room, and numbers in the cells at the deepest level.
        texts = WRITTEN
        coarse = walk.js(texts)
        assert not any("96×64" in text for text in coarse)
        walk.js("x.goTo(x.outline.leaves[x.atlas.tensors.findIndex((t) => t[0] === a)])", "model.layers.1.attn.weight")
        walk.js(
            "(() => { const [top, left, high, wide] = x.around([x.tensor]); x.closeDetails(); v.camera.scale *= 2;"
            " v.camera.center(top + high / 2, left + wide / 2); v.changed(); })()"
        )
        walk.settled()
        assert "model.layers.1.attn.weight  96×64" in walk.js(texts)
        walk.go(NAME, 40, 20)
        numbers = {text.replace("−", "-") for text in walk.js(texts)}
        assert f"{weights()[NAME][40, 20]:.3g}" in numbers
        assert "model.layers ×4" in [box["text"] for box in walk.js("v.boxes.map(({ text }) => ({ text }))")]


def test_the_list_opens_closes_and_finds(browser: Any, client: Client) -> None:
    with visit(browser, client) as walk:
        page = walk.page
        names = lambda: [text.split("\n")[0] for text in page.locator(".line .name").all_inner_texts()]  # noqa: E731
        page.locator(".outline").focus()
        assert names() == ["model", "embed", "layers"]
        walk.press("ArrowDown", "ArrowDown", "ArrowRight")
        assert names() == ["model", "embed", "layers", "0", "1", "2", "3"]
        assert page.locator(".line", has_text="×4 alike, by name").count() == 1
        walk.press("ArrowDown", "ArrowRight", "ArrowDown", "ArrowRight")
        assert names()[3:7] == ["0", "attn", "weight", "mlp"]
        assert page.locator(".line.current").get_attribute("aria-expanded") == "true"
        walk.press("ArrowLeft", "ArrowLeft", "ArrowLeft")
        assert names() == ["model", "embed", "layers", "0", "1", "2", "3"]
        for query, found in (("norm", 4), ("layers.3", 3), ("*.1.*", 3), ("attn 2", 1), ("*.?.m*", 4), ("none", 0)):
            page.get_by_label("search tensors").fill(query)
            assert len(names()) == found, query
        assert page.locator(".found").inner_text() == "no tensor of that name"
        page.get_by_label("search tensors").press("Escape")
        assert names()[0] == "model"


def test_details_lead_to_what_is_lost_and_to_what_is_large(browser: Any, client: Client) -> None:
    with visit(browser, client) as walk:
        page, truth = walk.page, weights()[NAME]
        walk.go(NAME, 0, 0)
        page.wait_for_selector(".details .places")
        assert page.locator(".details h2").inner_text() == NAME
        figures = page.locator(".details").inner_text()
        assert "largest |weight|" in figures
        assert f"{truth.size:,}" in figures
        assert page.locator(".details svg").count() == 3  # a histogram, rows and columns
        for title, text, value in (("NaN and Inf", "[17, 33]", "nan"), ("largest |weight|", "[21, 5]", "99.5")):
            page.locator(".details section", has_text=title).get_by_role("button", name=text, exact=True).click()
            walk.until("x.readout.textContent.endsWith(a)", f"{NAME}{text} = {value}")
            row, column = map(int, re.findall(r"\d+", text))
            assert walk.js("[v.cursor.row, v.cursor.column]") == walk.js(
                "(() => { const [l] = [a]; return [l[0], l[1]]; })()", list(_cell(walk, row, column))
            )
        page.get_by_label("close (Esc)").click()
        assert page.locator(".details").is_hidden()


def _cell(walk: Walk, row: int, column: int) -> tuple[int, int]:
    x, y = walk.at(NAME, row, column)
    found = walk.js("v.under({ clientX: a[0], clientY: a[1] }).place", [x, y])
    return found["row"], found["column"]


def test_limits_by_dragging_by_keys_and_for_each_kind(browser: Any, client: Client) -> None:
    with visit(browser, client) as walk:
        page = walk.page
        before, colours = walk.js("x.limits.high"), walk.cells()[0]
        handle = page.get_by_role("slider", name="upper limit").bounding_box()
        page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] - 4)
        page.mouse.down()
        page.mouse.move(handle["x"] - 30, handle["y"] + 10, steps=3)
        page.mouse.up()
        dragged = walk.js("x.limits.high")
        assert dragged < before
        page.wait_for_timeout(200)
        assert not np.array_equal(walk.cells()[0], colours)
        page.get_by_role("slider", name="upper limit").focus()
        walk.press("ArrowRight", "ArrowRight")
        assert walk.js("x.limits.high") > dragged
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "upper limit"
        walk.settled()
        assert "limits=" in page.url
        page.get_by_role("button", name="limits of the colours as they were").click()
        page.wait_for_timeout(300)
        assert np.array_equal(walk.cells()[0], colours)
        page.get_by_label("for each kind").check()
        walk.settled()
        kinds = walk.js("Object.fromEntries(x.atlas.kinds.map((k, i) => [k, x.look(0, v.camera.level).kinds[i].scale.high]))")
        assert set(kinds) == {
            "model.embed.weight",
            "model.layers.*.attn.weight",
            "model.layers.*.mlp.weight",
            "model.layers.*.norm.weight",
        }
        assert kinds["model.layers.*.mlp.weight"] > 4 * kinds["model.layers.*.attn.weight"]
        assert not np.array_equal(walk.cells()[0], colours)
        assert "each=kind" in page.url
        asked = len(walk.requests)
        page.get_by_label("cells show").select_option("rms")
        page.wait_for_timeout(300)
        assert [each for each in walk.requests[asked:] if "/tile/" in each] == []
        page.get_by_label("scale", exact=True).select_option("asinh")
        walk.settled()
        assert [each for each in walk.requests[asked:] if "/tile/" in each] == []


def test_an_address_opens_the_same_view_elsewhere(browser: Any, client: Client) -> None:
    with visit(browser, client) as walk:
        walk.go(NAME, 100, 30)
        walk.press("Escape")
        walk.js("(x.closeDetails(), v.camera.move(13, 7), v.changed())")
        walk.page.get_by_label("cells show").select_option("max")
        walk.page.get_by_label("scale", exact=True).select_option("minmax")
        walk.settled()
        pixels, view = walk.cells()
        words = walk.page.url.removeprefix(client.address + "/")
        assert f"at={NAME}" in words.replace("%5B", "[")
    with visit(browser, client, words) as again:
        other, same = again.cells()
        for name in ("level", "scale", "look"):
            assert same[name] == view[name], name
        assert abs(same["row"] - view["row"]) * view["scale"] <= 1.01
        assert abs(same["column"] - view["column"]) * view["scale"] <= 1.01
        assert again.page.get_by_label("cells show").input_value() == "max"
        assert (pixels == other).all(2).mean() > 0.9


def test_themes(browser: Any, client: Client) -> None:
    with visit(browser, client, color_scheme="dark") as walk:
        page = walk.page
        ground = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")  # noqa: E731
        grounds = {}
        for theme in ("system", "light", "dark", "contrast"):
            page.get_by_label("tools").get_by_label("colours", exact=True).select_option(theme)
            grounds[theme] = ground()
            walk.settled()
            corner = walk.cells()[0][-2, 2].tolist()  # beside the map
            assert f"rgb({', '.join(map(str, corner[:3]))})" == grounds[theme]
        assert grounds["system"] == grounds["dark"] != grounds["light"]
        assert grounds["contrast"] == "rgb(0, 0, 0)"
        ink = page.evaluate("getComputedStyle(document.querySelector('.found')).color")
        assert ink == "rgb(255, 255, 255)"


def test_by_keyboard_alone(browser: Any, client: Client) -> None:
    with visit(browser, client) as walk:
        page = walk.page
        walk.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "skip to the map"
        walk.press("Enter")
        assert page.evaluate("document.activeElement.tagName") == "CANVAS"
        walk.press("/")
        page.keyboard.type("layers.2 mlp")
        walk.press("Enter")
        page.wait_for_selector(".details .places")
        walk.settled()
        walk.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "CANVAS"
        walk.press("ArrowRight")
        for _ in range(12):
            walk.press("+")
        walk.settled()
        assert walk.js("v.camera.level") == 0
        told = walk.readout()
        walk.press("ArrowDown", "ArrowDown", "ArrowLeft")
        walk.until("x.readout.textContent.includes('weight: ')")
        assert walk.readout() != told
        assert page.locator(".readout").get_attribute("aria-live") == "polite"
        index = tuple(map(int, re.findall(r"\d+", re.findall(r"\[([\d, ]+)\]", walk.readout())[0])))
        walk.press("Enter")
        assert np.float32(walk.told(NAME, *index)).tobytes() == weights()[NAME][index].tobytes()
        walk.press("Escape", "0")
        assert page.locator(".details").is_hidden()
        walk.until("Math.abs(v.camera.scale - v.camera.fitting()) < 1e-9")


def test_by_touch(browser: Any, client: Client) -> None:
    with visit(browser, client, has_touch=True, viewport={"width": 390, "height": 780}, device_scale_factor=2) as walk:
        page = walk.page
        box = page.locator(".map canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        session = walk.context.new_cdp_session(page)
        before = walk.js("v.camera.scale")

        def touch(kind: str, *apart: float) -> None:
            points = [{"x": x + side * each, "y": y, "id": number} for each in apart for number, side in enumerate((-1, 1))]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", 20)
        for apart in (30, 50, 80):
            touch("touchMove", apart)
        touch("touchEnd")
        assert walk.js("v.camera.scale") == pytest.approx(4 * before, rel=0.3)
        walk.settled()
        page.touchscreen.tap(x, y)
        page.wait_for_selector(".details h2")
        walk.settled()
        at = walk.js("[v.camera.row, v.camera.column]")
        page.mouse.move(x, y)
        page.mouse.move(x + 30, y - 40)
        assert walk.js("[v.camera.row, v.camera.column]") == at  # no finger is left that would drag


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_on_a_telephone(browser: Any, client: Client, scheme: str) -> None:
    with visit(browser, client, viewport={"width": 390, "height": 780}, color_scheme=scheme) as walk:
        page = walk.page
        tall = page.locator(".tools").bounding_box()["height"]
        assert tall < 50  # one row
        for act in (lambda: None, page.get_by_label("more tools").click, page.get_by_label("show or hide the list").click):
            act()
            assert page.evaluate(OUTSIDE) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            assert page.evaluate("document.documentElement.scrollHeight") <= 780
        assert page.evaluate(CUT) == []
        page.get_by_role("treeitem").nth(1).click()
        walk.settled()
        assert not walk.js("x.root.classList.contains('listed')")


def test_a_person_who_wants_less_motion_steps(browser: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (1, 2, 3):
        save_file(weights(step), run / f"step_{step}.safetensors", metadata={"step": str(step)})
    with served(tmp_path, "run") as client:
        with visit(browser, client, reduced_motion="reduce") as walk:
            page = walk.page
            page.get_by_role("button", name="play").click()
            page.wait_for_timeout(1700)
            assert page.get_by_label("checkpoint of the series").input_value() == "1"
        with visit(browser, client) as walk:
            page = walk.page
            assert page.get_by_role("toolbar").bounding_box()["height"] < 50  # in one line
            slider = page.get_by_label("checkpoint of the series")
            first = walk.cells()[0]
            page.get_by_role("button", name="play").click()
            walk.until("x.picture === 2")
            page.get_by_role("button", name="pause").click()
            slider.focus()
            walk.press("Home", "ArrowRight")
            assert slider.get_attribute("aria-valuetext") == "step 2"
            walk.settled()
            pixels, view = walk.cells()
            assert not np.array_equal(pixels, first)
            slider.press("Home")
            walk.settled()
            assert walk.cells()[1]["look"] == view["look"]  # limits are those of all
            page.get_by_role("button", name="play").click()
            page.emulate_media(reduced_motion="reduce")
            page.wait_for_selector("button[aria-label=play]")
            slider.press("Home")
            save_file(weights(9), run / "step_9.safetensors", metadata={"step": "9"})
            walk.until("x.model.pictures.length === 4 && x.filled", seconds=30)
            assert slider.get_attribute("max") == "3"
            slider.press("End")
            walk.settled()
            assert walk.js("x.picture") == 3
            walk.go(NAME, 3, 3)
            assert np.float32(walk.told(NAME, 3, 3)) == weights(9)[NAME][3, 3]


def test_two_models_beside_each_other_and_with_a_swipe(browser: Any, folder: Path) -> None:
    a, b = weights()[NAME], weights(1)[NAME]
    with served(folder, "m.safetensors", "n.safetensors") as client, visit(browser, client) as walk:
        page = walk.page
        assert page.get_by_role("toolbar").bounding_box()["height"] < 50  # in one line
        show = page.get_by_label("show", exact=True)
        show.select_option("beside")
        walk.settled()
        walk.go(NAME, 50, 20)
        walk.js("(x.closeDetails(), 1)")
        walk.settled()
        wide, _ = walk.js("v.room()")
        for turn, truth in enumerate((a[51, 20], b[51, 20], b[51, 20] - a[51, 20])):
            walk.js("(v.options.pointed(null, null), x.readout.textContent = '')")
            page.mouse.click(*walk.at(NAME, 51, 20, turn=turn))
            text = walk.until("x.readout.textContent.includes(' = ') && x.readout.textContent")
            assert np.float32(text.rpartition(" = ")[2]) == pytest.approx(truth, rel=1e-6), turn
            walk.js("(x.closeDetails(), 1)")
            walk.settled()
        parts = walk.cells()[0]
        assert not np.array_equal(parts[:, :wide], parts[:, wide : 2 * wide])
        before = walk.js("v.camera.scale")
        page.mouse.move(*walk.at(NAME, 51, 20, turn=2))
        page.mouse.wheel(0, 240)
        walk.until("v.camera.scale < a", before)  # one camera: all three zoom
        show.select_option("0")
        walk.settled()
        whole = {"0": walk.cells()}
        show.select_option("1")
        walk.settled()
        whole["1"] = walk.cells()
        show.select_option("swipe")
        page.get_by_label("where A ends and B begins").focus()
        walk.press("Home", *["PageUp"] * 3)
        walk.settled()
        share = int(page.get_by_label("where A ends and B begins").input_value()) / 100
        swiped, view = walk.cells()
        line = round(share * swiped.shape[1])
        high = swiped.shape[0] - 100
        for picture, part in (("0", np.s_[:, : line - 3]), ("1", np.s_[:, line + 3 :])):
            pixels, own = whole[picture]
            assert own["column"] == view["column"]
            down = round((view["row"] - own["row"]) * view["scale"])  # the slider takes room from the map
            assert 0 <= down < 60
            assert np.array_equal(swiped[:high][part], pixels[down : down + high][part])


def test_a_file_that_changes_becomes_a_banner(browser: Any, tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "m.safetensors")
    with served(tmp_path, "m.safetensors", "--memory", "1") as client, visit(browser, client) as walk:
        walk.allowed = ["410"]
        time.sleep(0.02)
        save_file(weights(3, 170), tmp_path / "m.safetensors")
        walk.page.wait_for_selector(".banner:not([hidden])", timeout=20_000)
        assert "has changed since it was opened" in walk.page.locator(".banner").inner_text()
        assert len(np.unique(walk.cells()[0].reshape(-1, 3), axis=0)) > 50  # what was seen is still there


def test_a_view_is_saved_with_the_command_that_draws_it(browser: Any, client: Client, folder: Path, tmp_path: Path) -> None:
    with visit(browser, client) as walk:
        page = walk.page
        walk.go(NAME, 30, 20)
        walk.js("(x.closeDetails(), 1)")
        walk.settled()
        saved = {}
        for kind in ("PNG", "SVG"):
            with page.expect_download() as waiting:
                page.get_by_role("button", name=f"save this view as {kind}").click()
            saved[kind] = tmp_path / waiting.value.suggested_filename
            waiting.value.save_as(saved[kind])
        assert saved["PNG"].name == "torch2grid.png"
        data = saved["PNG"].read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", data[16:24])[0] == walk.js("v.canvas.width")
        root = ET.parse(saved["SVG"]).getroot()
        texts = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")]
        (command,) = [text for text in texts if text.startswith("torch2grid ")]
        assert NAME in command
        assert "--limits=" in command
        assert any("one weight" in text for text in texts)
        tab = walk.context.new_page()
        tab.goto(saved["SVG"].as_uri())
        assert tab.evaluate("document.documentElement.tagName") == "svg"
        tab.close()
        walk.requests = [each for each in walk.requests if not each.startswith("file:")]
    run = torch2grid(*shlex.split(command)[1:], "-o", str(tmp_path / "drawn"), cwd=folder, path=installed(folder))
    assert run.returncode == 0, run.stderr
    assert [each for each in (tmp_path / "drawn").rglob("*.png") if "mlp" in each.name]


def test_the_exported_page_does_the_same(browser: Any, folder: Path, tmp_path: Path) -> None:
    run = torch2grid(
        "explore", "m.safetensors", "--export", tmp_path / "page", "--memory", "1", cwd=folder, path=installed(folder)
    )
    assert run.returncode == 0, run.stderr
    with hosted(tmp_path / "page") as address, Walk(browser, f"{address}/index.html") as walk:
        page = walk.page
        first = walk.js("x.model.static.first")
        assert first > 0
        walk.js("(v.camera.zoom(30), v.changed())")
        walk.settled()  # without the file, the finest cells that the page has are seen, and told of
        assert walk.js("v.camera.level") == first
        assert len(np.unique(walk.cells()[0].reshape(-1, 3), axis=0)) > 20
        walk.js("(v.camera.fit(), v.changed())")
        page.set_input_files("input[type=file]", str(folder / "n.safetensors"))
        page.wait_for_selector(".banner:not([hidden])")
        assert "other numbers than the one that this page was made of" in page.locator(".banner").inner_text()
        page.set_input_files("input[type=file]", {"name": "x.safetensors", "mimeType": "", "buffer": b"short"})
        page.wait_for_selector(".banner:has-text('is not the file of this page')")
        page.set_input_files("input[type=file]", str(folder / "m.safetensors"))
        page.wait_for_selector(".facts:has-text('come from the file on this machine')")
        assert page.locator(".banner").is_hidden()
        walk.settled()
        before = len(walk.requests)
        core(walk, weights())
        assert [each for each in walk.requests[before:] if not each.startswith(("blob:", "data:"))] == []  # nothing is uploaded


def test_an_exported_page_reads_parts_of_a_public_file(browser: Any, folder: Path, tmp_path: Path) -> None:
    with hosted(folder) as files, hosted(tmp_path) as address:
        words = ("--export", tmp_path / "page", "--source", f"{files}/m.safetensors", "--memory", "1")
        run = torch2grid("explore", "m.safetensors", *words, cwd=folder, path=installed(folder))
        assert run.returncode == 0, run.stderr
        with Walk(browser, f"{address}/page/index.html") as walk:
            walk.hosts.append(files)
            core(walk, weights())
            asked = [each for each in walk.requests if each.startswith(files)]
            assert set(asked) == {f"{files}/m.safetensors"}


def test_the_cell_of_a_notebook_does_the_same(browser: Any, folder: Path) -> None:
    pytest.importorskip("anywidget")
    from tests.support.explore_notebook import notebook

    with notebook(folder / "m.safetensors") as address, Walk(browser, address, root=".explorer") as walk:
        core(walk, weights())


DTYPES = {
    "f8": 0.1 + 0.2,
    "f4": np.float32(0.1),
    "f2": np.float16(0.1),
    "bfloat16": 0.1,
    "float8_e4m3fn": 0.1,
    "float8_e5m2": 0.1,
    "i8": 2**53 + 1,
    "i4": -123456789,
    "i2": -12345,
    "i1": -12,
    "u1": 200,
}


@pytest.fixture(scope="module")
def numbers() -> dict[str, Array]:
    """A tensor of each dtype, of the same random numbers but for one that the dtype has and others have not."""
    found = {}
    for dtype, number in DTYPES.items():
        array = (np.random.default_rng(4).standard_normal((40, 30)) * 20).astype(getattr(ml_dtypes, dtype, dtype))
        array[3, 4] = number
        found[dtype] = array
    return found


@pytest.fixture(scope="module")
def all_numbers(browser: Any, numbers: dict[str, Array]) -> Iterator[Walk]:
    checkpoint = Checkpoint({dtype: lazy(dtype, array) for dtype, array in numbers.items()})
    with running([checkpoint]) as (client, _), visit(browser, client) as walk:
        yield walk


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_that_is_told_is_the_stored_one(all_numbers: Walk, numbers: dict[str, Array], dtype: str) -> None:
    array = numbers[dtype]
    for index in ((3, 4), (39, 29)):
        all_numbers.go(dtype, *index)
        told = all_numbers.told(dtype, *index)
        back = np.array(int(told) if array.dtype.kind in "iu" else float(told)).astype(array.dtype)
        assert back.tobytes() == array[index].tobytes()


LOOKS = defaultdict[tuple[str, str], list[tuple[str, str]]](list)
for dtype, scheme, look in all_pairs(
    ("f4", "f8", "bfloat16", "i4"), ("light", "dark"), (("mean", "auto"), ("rms", "asinh"), ("max", "minmax"))
):
    LOOKS[dtype, scheme].append(look)


@pytest.mark.parametrize(("dtype", "scheme"), LOOKS)
def test_cells_have_the_colours_that_a_drawing_has(browser: Any, dtype: str, scheme: str) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    rng = np.random.default_rng(6)
    made = {f"layers.{n}.weight": (rng.standard_normal((90, 70)) * 30).astype(kind) for n in range(4)}
    made["layers.4.weight"] = np.abs(rng.standard_normal((50, 30)) * 30).astype(kind)
    if kind.kind == "f" or dtype == "bfloat16":
        made["layers.1.weight"][3, 4], made["layers.1.weight"][40, 4], made["layers.1.weight"][50, 9] = np.nan, np.inf, -np.inf
    tensors = {name: lazy(name, array) for name, array in made.items()}
    with (
        running([Checkpoint(tensors)], memory=1 << 17) as (client, session),
        visit(browser, client, color_scheme=scheme, viewport={"width": 720, "height": 450}) as walk,
    ):
        place = session.map
        for level in range(place.base + 1):
            cell = place.cells[level][0]
            sides = (1,) if level else (1, 3)  # larger cells are those of a finer level, where there is one
            for (plane, scale), side in itertools.product(LOOKS[dtype, scheme], sides):
                walk.js(
                    "(x.setPlane(a[0]), x.setKind(a[1]), v.camera.scale = a[2], v.camera.center(100, 80), v.changed())",
                    [plane, scale, side / cell],
                )
                walk.settled(address=False)
                pixels, view = walk.cells()
                assert view["level"] == level
                look = view["look"]
                scale_ = ColorScale(look["low"], look["high"], "asinh" if look["bend"] else "linear", bend=look["bend"])
                shape = place.shape(level)
                window = raster_window(place.at(level), tensors, (0, 0, *shape), (plane,))
                values = window.planes[plane].astype(np.float32)
                painted = paint(Grid(values, window.counts, plane, place.cells[level]), scale_, dark=scheme == "dark")
                top, left = round(-view["row"] * view["scale"]), round(-view["column"] * view["scale"])
                expected = np.repeat(np.repeat(painted, side, 0), side, 1)
                high, wide = pixels.shape[:2]
                rows = slice(max(top, 0), min(top + expected.shape[0], high))
                columns = slice(max(left, 0), min(left + expected.shape[1], wide))
                part = expected[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
                assert part.size > 3_000
                seen = pixels[rows, columns]
                wrong = (seen != part).any(2)
                assert not wrong.any(), (level, plane, scale, side, wrong.mean(), np.argwhere(wrong)[:3])
        assert place.base > 0


LAYOUT = """(() => {
  const [model, drawn] = ["model", "drawn"].map((name) => performance.getEntriesByName(name)[0].startTime);
  return drawn - model;
})()"""
KEYS = """a.map((text) => {
  x.outline.search.value = text;
  const began = performance.now();
  x.outline.search.dispatchEvent(new Event("input"));
  x.outline.list.getBoundingClientRect();
  return performance.now() - began;
})"""
HOVER = """(() => {
  const box = v.canvas.getBoundingClientRect();
  return Array.from({ length: 100 }, (_, turn) => {
    const at = { clientX: box.left + ((turn * 37) % box.width), clientY: box.top + ((turn * 53) % box.height), pointerId: 99 };
    const began = performance.now();
    v.canvas.dispatchEvent(new PointerEvent("pointermove", at));
    return performance.now() - began;
  });
})()"""


def test_ten_thousand_tensors_are_searched_and_pointed_at_at_once(browser: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = {}
    for layer in range(1250):
        for name in ("q", "k", "v", "o", "up", "gate", "down", "norm"):
            made[f"model.layers.{layer}.{name}.weight"] = rng.standard_normal((12, 12)).astype(np.float16)
    save_file(made, tmp_path / "m.safetensors")
    screen = {"width": 1920, "height": 1080}
    with served(tmp_path, "m.safetensors") as client, visit(browser, client, viewport=screen) as walk:
        assert walk.page.locator(".found").inner_text() == "10,000 tensors"
        # Three times what an idle machine of two cores is to take: tests share theirs.
        assert walk.js(LAYOUT) < 3 * 400
        keys = walk.js(KEYS, ["l", "la", "layers.1", "layers.12", "*up*", "*1?.q*", "q v", ""])
        assert np.median(keys) < 3 * 16, keys
        assert np.median(walk.js(HOVER)) < 3 * 5
        walk.page.get_by_label("search tensors").fill("*.1249.down*")
        walk.press("Enter")
        walk.page.wait_for_selector(".details .places")
        walk.settled()
        assert walk.page.locator(".details h2").inner_text() == "model.layers.1249.down.weight"
        walk.go("model.layers.1249.down.weight", 11, 11)
        assert np.float16(walk.told("model.layers.1249.down.weight", 11, 11)) == made["model.layers.1249.down.weight"][11, 11]
