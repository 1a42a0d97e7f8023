"""The terminal renderer: what fits, what it says without colour, and that it is quick."""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pexpect
import pytest
from tests.support.renderers.pages import every_panel
from tests.support.renderers.panels import EMPTY_PANELS
from tests.support.tools import COMMAND, DIGITS, torch2grid

import torch2grid as t2g
from torch2grid_builtin._renderers.terminal.lines import line_lines
from torch2grid_builtin._renderers.terminal.plots import histogram_lines
from torch2grid_builtin._renderers.terminal.renderer import Terminal, panel_lines
from torch2grid_builtin._renderers.terminal.text import Screen, drawn_width, table_lines
from torch2grid_core import Page, Style
from torch2grid_core.pages import Band, Bar, Heatmap, Histogram, Line, Table

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def lines_of(page: Page, width: int, color: str = "never", lines: int = 12) -> list[str]:
    stream = io.BytesIO()
    Terminal(color=color, lines=lines).render(page, stream, Style(width=width), "terminal")  # type: ignore[arg-type]
    return stream.getvalue().decode("utf-8").splitlines()


@pytest.mark.parametrize("color", ["never", "always"])
@pytest.mark.parametrize("width", [32, 40, 80, 137])
def test_nothing_is_wider_than_the_screen(width: int, color: str) -> None:
    pages = [every_panel(), *t2g.layers(str(DIGITS)), *t2g.histograms(str(DIGITS)), *t2g.dead_neurons(str(DIGITS))]
    for page in pages:
        for line in lines_of(page, width, color):
            assert drawn_width(line) <= width, line
            assert color == "always" or "\x1b" not in line


def test_every_panel_shows_its_title_and_what_matters() -> None:
    text = "\n".join(lines_of(every_panel(), 100))
    for panel in every_panel().panels:
        assert panel.title in text
    for part in ("2 NaN or Inf", "no weight", "1 below · 2 above · 3 NaN", "lines <b>", "mine", "level 1", "4×5 pixels"):
        assert part in text


def test_a_hostile_name_cannot_move_the_cursor() -> None:
    name = "a\x1b[2J\u202eb" + "x" * 500
    page = Page("p", name, (Table(("n",), ((name,),)), Bar((name,), np.ones(1), name)))
    text = "\n".join(lines_of(page, 60))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "a\\x1b[2J\\u202eb" in text


def test_bars_add_up_where_several_share_a_column() -> None:
    counts = np.arange(1000)
    lines = histogram_lines(Histogram(np.arange(1001.0), counts), Screen(50, 12, False))
    assert lines[0] == f"{sum(range(980, 1000)):,} in the highest bar"
    assert lines[1].strip() == "▂▅█" or set(lines[1].strip()) <= set("▁▂▃▄▅▆▇█")
    assert len(lines[1]) == 50
    assert lines[-1].split() == ["0", "1,000"]


def test_a_rare_weight_is_still_seen() -> None:
    lines = histogram_lines(Histogram(np.arange(4.0), np.array([10**9, 0, 1])), Screen(30, 12, False))
    bars = next(line for line in reversed(lines) if set(line) <= set(" ▁▂▃▄▅▆▇█") and line.strip())
    assert bars == "████    ▁▁▁▁"


def test_values_stand_where_their_x_is() -> None:
    values = {"norm": np.array([0.0, 1.0, 0.0])}
    first = {}  # column of the highest row's first dot
    for steps in ([100.0, 200.0, 10_000.0], [100.0, 5_050.0, 10_000.0], [10_000.0, 200.0, 100.0]):
        lines = line_lines(Line(np.array(steps), values), Screen(104, 12, False))
        assert any(line.split() == ["100", "10,000"] for line in lines)
        top = lines[1].partition("▕")[2]
        first[tuple(steps)] = len(top) - len(top.lstrip())
    even = first.pop((100.0, 5_050.0, 10_000.0))
    assert 40 < even < 52
    assert set(first.values()) == {1}  # the second of three is 1 % of the way


def test_a_value_that_is_not_known_leaves_a_gap_where_it_is_nearest() -> None:
    values = np.array([1.0, np.nan, 1.0, 1.0])
    lines = line_lines(Line(np.array([0.0, 10.0, 20.0, 100.0]), {"a": values}), Screen(105, 8, False))
    (plot,) = [text for line in lines if (text := line.partition("▕")[2].rstrip())]
    gap = [column for column, char in enumerate(plot) if char == " "]
    assert gap == list(range(gap[0], gap[-1] + 1))
    assert 4 <= gap[0] <= 6
    assert 14 <= gap[-1] <= 16


def test_what_is_not_finite_is_marked_below_its_place_and_named() -> None:
    names = tuple("abcdefghijklmnopqrst")
    values = np.where(np.arange(20) % 2, np.nan, 1.0 + np.arange(20))
    flags = dict.fromkeys(range(1, 20, 2), "all NaN") | {0: "1 Inf"}
    lines = line_lines(Line(np.arange(20.0), {"norm": values}, xticks=names, flags=flags), Screen(100, 8, False))
    (signs,) = [line for line in lines if set(line.strip()) == {"!", " "}]
    assert signs.count("!") == len(flags)
    assert "! b: all NaN" in lines
    assert "! a: 1 Inf" in lines
    many = Line(np.arange(20.0), {"norm": values}, xticks=names, flags=dict.fromkeys(range(20), "1 NaN"))
    assert "! and 8 more" in line_lines(many, Screen(100, 8, False))
    for panel in (Bar(names, values, flags=flags), Band(names, (0.5,), values[None], flags=flags)):
        text = "\n".join(panel_lines(panel, Screen(100, 30, False)))
        assert "b (all NaN)" in text
        assert "a (1 Inf)" in text
    nothing = Line(np.arange(2.0), {"a": np.full(2, np.nan)}, xticks=("a", "b"), flags={0: "all NaN", 1: "all Inf"})
    assert line_lines(nothing, Screen(60, 8, False)) == ["no finite value", "! a: all NaN", "! b: all Inf"]


@pytest.mark.parametrize("name", EMPTY_PANELS)
@pytest.mark.filterwarnings("error")
def test_the_widest_and_the_narrowest_ranges_are_drawn(name: str) -> None:
    for color in (False, True):
        assert all(drawn_width(line) <= 60 for line in panel_lines(EMPTY_PANELS[name], Screen(60, 8, color)))


def test_equal_places_and_places_that_run_backwards_are_drawn() -> None:
    for x in ([5.0, 5.0, 5.0], [3.0, 2.0, 1.0], [np.nan, 1.0, 2.0], [0.0, np.inf, 1.0]):
        lines = line_lines(Line(np.array(x), {"a": np.array([1.0, 2.0, 3.0])}), Screen(60, 8, False))
        assert any(char > "\u2800" for line in lines for char in line)


def test_a_wide_table_comes_in_groups_beside_its_first_column() -> None:
    table = Table(("name", *(f"column {i}" for i in range(12))), (("conv.weight", *range(12)),))
    lines = table_lines(table, Screen(60, 12, False))
    heads = [line for line in lines if line.startswith("name")]
    assert len(heads) == 3
    assert [line for line in lines if line.startswith("conv.weight")][-1].split()[-1] == "11"
    long = Table(("name", "n"), (("layer." * 30, 1),))
    (row,) = [line for line in table_lines(long, Screen(40, 12, False)) if line.startswith("layer")]
    assert len(row) == 40
    assert row.endswith("  1")


def test_colours_tell_the_sign_and_the_limits() -> None:
    page = next(page for page in t2g.layers(str(DIGITS)) if page.name == "fc2.weight")
    text = "\n".join(lines_of(page, 80, "always", lines=20))
    grid = next(panel.grid for panel in page.panels if isinstance(panel, Heatmap))
    assert text.count("▀") >= grid.shape[0] // 2 * grid.shape[1]
    assert "\x1b[38;2;0;190;160m■\x1b[0m 0.31 % below −0.509" in text


def spawn(tmp_path: Path, env: Mapping[str, str]) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    child = pexpect.spawn(
        str(COMMAND),
        [str(DIGITS), "--layers", "--format", "terminal", "--only", "conv*"],
        cwd=str(tmp_path),
        env={**environment, "TERM": "xterm-256color", **env},
        dimensions=(40, 90),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    text = child.before
    assert isinstance(text, str)
    return text


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_colours_and_its_own_width(tmp_path: Path) -> None:
    text = spawn(tmp_path, {})
    assert "\x1b[38;2;" in text
    pages, _, _ = text.partition(str(DIGITS))  # then the summary
    assert all(drawn_width(line) <= 90 for line in pages.splitlines())
    assert "conv1.weight · 16×1×3×3 · float32" in ESCAPE.sub("", text)
    assert not list(tmp_path.iterdir())
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        pages = spawn(tmp_path, env).partition(str(DIGITS))[0]
        assert "\x1b[38" not in pages
        assert "▒" in pages


def test_a_pipe_gets_plain_text_and_nothing_is_written(tmp_path: Path) -> None:
    started = time.perf_counter()
    done = torch2grid(DIGITS, "--format", "terminal", cwd=tmp_path, env={"COLUMNS": "70"})
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("digits_trained.pth · 9,258 weights · flatten\n")
    assert all(len(line) <= 70 for line in done.stdout.splitlines())
    assert not list(tmp_path.iterdir())
    assert seconds < 5  # 0.3 s alone on a desktop; here other tests share the cores


def test_it_does_without_matplotlib() -> None:
    code = f"""
import sys
sys.modules["matplotlib"] = None
from torch2grid_core._cli.main import main
sys.argv = ["torch2grid", {str(DIGITS)!r}, "--format", "terminal", "--layers", "--histogram", "--stats", "--conv", "-q"]
raise SystemExit(main())
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Layer Statistics Comparison" in done.stdout


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="lines"):
        Terminal(lines=-1)


def test_screen_room_is_shared_by_columns() -> None:
    page = next(page for page in t2g.layers(str(DIGITS)) if page.name == "layer_overview")
    lines: list[Any] = lines_of(page, 100)
    assert any("conv1.weight" in line and "conv1.bias" in line for line in lines)
    narrow = lines_of(page, 40)
    assert not any("conv1.weight" in line and "conv1.bias" in line for line in narrow)


def test_a_picture_says_what_a_character_stands_for_and_where_a_part_lies() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 200)).astype(np.float32)

    def shown(**options: Any) -> str:
        (page,) = (page for page in t2g.layers({"w": weight}, **options) if page.folder)
        return "\n".join(lines_of(page, 64))

    assert "64×200 cells · 8×4 cells a character" in shown()  # of 64 columns
    assert "4×4 cells · a cell is 6 characters wide, 3 high" in shown(slice="0:4, :4")
    text = shown(slice="3, 40:")  # a row, which is wrapped at 32
    assert "w[3, 40:200]" in text
    assert "rows: index 40 … 168" in text
    assert "rows: row (output unit) 10 … 40 · columns: column (input) 7 … 97" in shown(slice="10:43:3, 7:98:2").replace(
        "\n", " · "
    )
