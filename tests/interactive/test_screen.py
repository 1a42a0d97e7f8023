"""The screen of the menu, key for key, by textual's own pilot."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.docs.blocks import DOCS, blocks
from tests.support.tools import DIGITS
from tests.support.views.drawing import checkpoint_of

import torch2grid as t2g
from torch2grid_core import LazyTensor, LoadError

pytest.importorskip("textual", reason="textual is not installed")

from textual.pilot import Pilot
from textual.widgets import Static

from torch2grid_core._cli import screen as screen_module
from torch2grid_core._cli.screen import TensorScreen

SIZE = (80, 24)
Talk = Callable[[Pilot[None], TensorScreen], Awaitable[None]]


def matrix() -> np.ndarray:
    array = np.random.default_rng(0).normal(0, 0.02, (300, 60)).astype(np.float32)
    array[123, 45], array[7, 3] = 5, -4
    return array


def talk(array: np.ndarray | LazyTensor, then: Talk, name: str = "w", first: int = 0, size: tuple[int, int] = SIZE) -> None:
    """Open the screen on *array*, wait for its figures, and do what a person does *then*."""
    tensor = array if isinstance(array, LazyTensor) else checkpoint_of({"w": array})["w"]

    async def session() -> None:
        app = TensorScreen(name, tensor, first)
        async with app.run_test(size=size) as pilot:
            await settled(pilot, app)
            await then(pilot, app)

    asyncio.run(asyncio.wait_for(session(), 60))


async def settled(pilot: Pilot[None], app: TensorScreen) -> None:
    with contextlib.suppress(Exception):  # what a pass says of it is on the screen
        await app.workers.wait_for_complete()
    await pilot.pause()


async def press(pilot: Pilot[None], app: TensorScreen, *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settled(pilot, app)


def text(app: TensorScreen, id: str) -> str:
    return str(app.query_one(f"#{id}", Static).content)


def lines(app: TensorScreen) -> list[str]:
    """The window of numbers as text."""
    return [app.numbers.render_line(y).text.rstrip() for y in range(app.numbers.size.height)]


def test_arrows_and_pages_scroll_and_indices_are_those_of_the_tensor() -> None:
    array = matrix()

    def shown(app: TensorScreen) -> None:
        numbers = app.numbers
        head, *rows = lines(app)
        columns = [int(each) for each in head.split()]
        assert columns == list(range(numbers.left, numbers.left + numbers.across))
        for line in rows[: numbers.down]:
            row, *cells = line.split()
            assert [float(each) for each in cells] == pytest.approx(array[int(row), columns], rel=6e-3)
        assert text(app, "weight") == f"[{numbers.row}, {numbers.column}] = {array[numbers.row, numbers.column]!s}"
        assert numbers.top <= numbers.row < numbers.top + numbers.down
        assert numbers.left <= numbers.column < numbers.left + numbers.across

    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        down, across = app.numbers.down, app.numbers.across
        assert (down, across) == (19, 5)
        for keys, place in [
            ([], (0, 0)),
            (["up", "left"], (0, 0)),
            (["down", "right", "right"], (1, 2)),
            (["pagedown"], (1 + down, 2)),
            (["pagedown", "pageup"], (1 + down, 2)),
            (["ctrl+right"], (1 + down, 2 + across)),
            (["end"], (1 + down, 59)),
            (["home"], (1 + down, 0)),
            (["ctrl+end"], (299, 59)),
            (["pagedown", "down", "right"], (299, 59)),
            (["ctrl+left"], (299, 59 - across)),
            (["ctrl+home"], (0, 0)),
        ]:
            await press(pilot, app, *keys)
            assert (app.numbers.row, app.numbers.column) == place
            shown(app)
        assert text(app, "place") == "rows 0 to 18, columns 0 to 4 of 300×60"

    talk(array, then)


def test_statistics_stand_beside_and_the_largest_are_found() -> None:
    array = matrix()

    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        beside = text(app, "figures")
        figures = dict(line.split() for line in beside.splitlines() if len(line.split()) == 2)
        assert beside.startswith("(300, 60) float32\n18,000 weights\n")
        assert float(figures["mean"]) == pytest.approx(array.mean(dtype=float), rel=1e-3)
        assert float(figures["std"]) == pytest.approx(array.std(dtype=float), rel=1e-3)
        assert (figures["min"], figures["max"], figures["NaN"], figures["Inf"]) == ("-4", "5", "0", "0")
        assert max(map(len, beside.splitlines())) <= 21
        await press(pilot, app, "l")
        assert text(app, "weight") == "[123, 45] = 5.0"
        assert text(app, "place") == "largest |w|: 1 of the first 10"
        await press(pilot, app, "l")
        assert text(app, "weight") == "[7, 3] = -4.0"
        await press(pilot, app, *"l" * 9)
        assert text(app, "weight") == "[123, 45] = 5.0"
        await press(pilot, app, "n")
        assert text(app, "place") == "no NaN and no Inf"
        await press(pilot, app, "s")
        assert text(app, "place") == "all of it is measured"
        await press(pilot, app, "down")
        assert text(app, "place").startswith("rows ")

    talk(array, then)


def test_n_goes_to_each_nan_and_inf() -> None:
    array = matrix()
    array[200, 59], array[250, 0] = np.nan, -np.inf

    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        for place in ("[200, 59] = nan", "[250, 0] = -inf", "[200, 59] = nan"):
            await press(pilot, app, "n")
            assert text(app, "weight") == place

    talk(array, then)


def test_g_goes_to_an_index() -> None:
    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        for typed, place, told in [
            ("250, 31", "[250, 31]", "rows "),
            ("12", "[12, 0]", "rows "),
            ("[-1,-1]", "[299, 59]", "rows "),
            ("300, 0", "[299, 59]", "no weight [300, 0]: the shape is (300, 60)"),
            ("x[/]", "[299, 59]", "'x[/' is not an index; write numbers such as 1234, 5"),
            ("", "[299, 59]", "'x[/' is not an index"),
        ]:
            await press(pilot, app, "g", *typed, "enter")
            assert text(app, "weight").startswith(place)
            assert text(app, "place").startswith(told)
        await press(pilot, app, "colon", "7", "escape")
        assert text(app, "weight").startswith("[299, 59]")
        assert app.is_running
        await press(pilot, app, "up")  # the keys are the numbers' again
        assert text(app, "weight").startswith("[298, 59]")

    talk(matrix(), then)


@pytest.mark.parametrize("key", ["q", "escape", "ctrl+c", "ctrl+q"])
def test_it_closes(key: str) -> None:
    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        await pilot.press(key)
        await pilot.pause()
        assert not app.is_running

    talk(matrix(), then)


def test_a_large_tensor_is_measured_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_module, "AT_ONCE", 1000)

    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        told = " ".join(text(app, "figures").split())
        assert "Not measured. Press s to measure all 18,000 weights." in told
        assert "std" not in told
        await press(pilot, app, "s")
        assert "std" in text(app, "figures")

    talk(matrix(), then)

    async def largest(pilot: Pilot[None], app: TensorScreen) -> None:
        await press(pilot, app, "l")  # it has to be measured for that
        assert text(app, "weight") == "[123, 45] = 5.0"
        assert "std" in text(app, "figures")

    talk(matrix(), largest)


def test_escape_stops_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_module, "AT_ONCE", 0)
    going = threading.Event()
    real = screen_module.next_not_finite

    def slow(tensor: LazyTensor, after: int, watch: Callable[[float], bool]) -> int | None:
        while watch(0.25):
            going.set()
        return real(tensor, after, watch)

    monkeypatch.setattr(screen_module, "next_not_finite", slow)

    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        await pilot.press("n")
        while not going.is_set() or "25%" not in text(app, "place"):
            await pilot.pause(0.01)
        assert text(app, "place") == "looking for NaN and Inf 25%"
        await pilot.press("l")  # one at a time
        await pilot.press("down")  # which scrolls meanwhile
        await pilot.pause()
        assert text(app, "weight").startswith("[1, 0]")
        await press(pilot, app, "escape")
        assert app.is_running
        assert text(app, "place") == "looking for NaN and Inf: stopped"

    talk(matrix(), then)


def test_names_are_text() -> None:
    name = "[bold red]evil[/]\x1b[31m.[link=http://a.b]x\u202e"

    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        shown = "".join(strip.text for strip in app.screen._compositor.render_strips())
        assert "[bold red]evil[/]\\x1b[31m.[link=http://a.b]x\\u202e" in shown
        assert "\x1b" not in shown

    talk(np.zeros((2, 3)), then, name=name)


def test_a_vector_is_wrapped_and_keeps_its_place_when_the_size_changes() -> None:
    array = np.arange(1000, dtype=np.int64)

    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        assert lines(app)[1].split() == ["0", "0", "1", "2", "3", "4"]
        await press(pilot, app, "end", "right")
        assert text(app, "weight") == "[5] = 5"  # behind the last of a row comes the next
        await press(pilot, app, "g", *"777", "enter")
        for size in ((120, 40), (200, 50), (60, 12), SIZE):
            await pilot.resize_terminal(*size)
            await settled(pilot, app)
            assert text(app, "weight") == "[777] = 777"
            row = next(line for line in lines(app)[1:] if "777" in line.split())
            label, *cells = row.split()
            assert [int(each) for each in cells] == list(range(int(label), int(label) + len(cells)))
        await press(pilot, app, "ctrl+end", "right", "down")
        assert text(app, "weight") == "[999] = 999"

    talk(array, then)


@pytest.mark.parametrize(
    ("array", "weight"),
    [
        (np.float32(2.5), "[] = 2.5"),
        (np.zeros((0, 3)), ""),
        (np.array([True]), "[0] = True"),
        (np.ones((1, 1)), "[0, 0] = 1.0"),
    ],
)
def test_what_is_small_or_empty(array: np.ndarray, weight: str) -> None:
    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        await press(pilot, app, "right", "down", "pageup", "end", "ctrl+end", "l", "n", "s", "h", "h")
        assert text(app, "weight") == weight

    talk(array, then)


def test_a_click_and_the_wheel_move_the_cursor() -> None:
    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        # label of three columns after a blank, then numbers of nine, each with a blank before it
        await pilot.click("#numbers", offset=(1 + 3 + 10 * 2 + 5, 4))
        await settled(pilot, app)
        assert (app.numbers.row, app.numbers.column) == (3, 2)
        app.numbers.on_mouse_scroll_down()
        assert app.numbers.row == 6
        app.numbers.on_mouse_scroll_up()
        assert app.numbers.row == 3

    talk(matrix(), then)


def test_bytes_that_are_not_there_are_told(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    save_file({"w": matrix()}, path)
    tensor = t2g.load(path)["w"]

    class Broken:
        size, shippable = tensor.storage.size, False

        def read_into(self, offset: int, buffer: memoryview) -> None:
            raise LoadError("w", "the disk is gone [/x]")

    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        assert "the disk is gone [/x]" in text(app, "place")
        assert lines(app)[1].split() == ["0", "?", "?", "?", "?", "?"]
        await press(pilot, app, "down", "n", "l", "s")
        assert app.is_running
        assert "the disk is gone [/x]" in text(app, "place")

    talk(LazyTensor("w", (300, 60), np.dtype(np.float32), Broken()), then)


def test_the_keys_fit() -> None:
    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        await press(pilot, app, "h")
        shown = text(app, "figures")
        assert all(key in shown for key in ("PgUp", "Home", "ctrl+End", "Esc", "q "))
        assert max(map(len, shown.splitlines())) <= 21
        assert len(shown.splitlines()) <= app.numbers.size.height
        await press(pilot, app, "h")
        assert "std" in text(app, "figures")

    talk(matrix(), then)


def test_the_page_shows_the_screen() -> None:
    """The picture of the documentation is what a person sees who opens ``fc1.weight`` of the demo and types ``l``."""
    (shown,) = [block.text for block in blocks(DOCS / "menu.md") if block.title == "screen"]

    async def then(pilot: Pilot[None], app: TensorScreen) -> None:
        await press(pilot, app, "l")
        drawn = [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]
        assert drawn == shown.rstrip("\n").split("\n")
        assert len(drawn) == 24

    talk(t2g.load(DIGITS)["fc1.weight"], then, name="fc1.weight")
