"""The menu's answers, each through the loop that a person talks to, without a terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from tests.support.views.drawing import checkpoint_of

from torch2grid_core._cli.menu import PROMPT, Menu
from torch2grid_core._text import display_width
from torch2grid_core.sources import Skip

NAMES = ["fc1.weight", "fc1.bias", "fc2.weight", "all"]
Drawn = list[tuple[list[str], list[str]]]
Asked = list[tuple[str, list[str] | None]]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Answers of a person to what was printed and what was drawn."""

    def answers(*lines: str) -> tuple[str, Drawn]:
        drawn: Drawn = []

        def draw(names: Sequence[str], views: Sequence[str]) -> None:
            drawn.append((list(names), list(views)))

        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        model = checkpoint_of({name: np.zeros((2, 3), np.float32) for name in NAMES})
        Menu(model, draw, ["layers"], ["grid", "layers", "stats"]).run()
        return capsys.readouterr().out, drawn

    return answers


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("unified", "quit"), [([*NAMES], ["grid"])]),
        (("overview", "q"), [([*NAMES], ["layers:each=false"])]),
        (("all", "y", "exit"), [(["all"], ["layers"])]),  # a tensor's own name is always that tensor
        (("ALL", "yes"), [([*NAMES], ["layers"])]),
        (("views stats, grid", "1", "Y"), [(["fc1.weight"], ["stats", "grid"])]),
        (("1", "no", "2", "y"), [(["fc1.bias"], ["layers"])]),
        (("1", "maybe", "y"), [(["fc1.weight"], ["layers"])]),
        (("1",), []),  # the input ends at the question
        ((), []),
    ],
)
def test_what_is_drawn(talk, lines: tuple[str, ...], expected: Drawn) -> None:
    assert talk(*lines)[1] == expected


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("?", "tensors by number"),
        ("help", "tensors by pattern"),
        ("", "Nothing chosen"),
        ("list", "  4. all"),
        ("/WEIGHT", "2 of 4 tensors:\n  1. fc1.weight"),
        ("/conv", "no tensor name contains 'conv'"),
        ("views", "  [ ] grid\n  [x] layers\n  [ ] stats\nType 'views NAME ...' to change them."),
        ("views stats", "  [ ] grid\n  [ ] layers\n  [x] stats\n"),
        ("views nothing", "unknown view 'nothing'; there are grid, layers, stats"),
        ("7", "7 is out of range"),
    ],
)
def test_what_is_said(talk, line: str, told: str) -> None:
    printed, drawn = talk(line, "quit")
    assert told in printed
    assert drawn == []


def test_a_long_choice_is_counted(talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.interactive.test_answers.NAMES", [f"layer{index}" for index in range(100)])
    printed, drawn = talk("1-100", "y", "")
    assert "Matched 100 layer(s):" in printed
    assert "more\n" in printed
    assert len(drawn[0][0]) == 100


def test_wide_names_keep_their_column(talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("tests.interactive.test_answers.NAMES", ["層" * 90])
    row = next(line for line in talk("quit")[0].splitlines() if line.startswith("  1. "))
    assert "層" * 10 in row
    assert "層" * 30 not in row
    assert row.endswith("torch.Size([2, 3])")


def test_columns_are_aligned_for_names_of_any_length(talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    names = ["a", "層.weight", "b" * 45, "[bold]\x1b[31m", "c." * 60 + "weight"]
    monkeypatch.setattr("tests.interactive.test_answers.NAMES", names)
    rows = [line for line in talk("quit")[0].splitlines() if re.match(r"  \d\. ", line)]
    assert len(rows) == 5
    assert len({display_width(row.partition("torch.Size")[0]) for row in rows}) == 1
    assert max(map(display_width, rows)) == 100
    assert "  3. " + "b" * 45 in rows[2]


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """As ``talk``, of a menu that can show pictures and has the command ``check``; what each of the three was called with."""

    def answers(*lines: str, blind: bool = False) -> tuple[str, dict[str, Asked]]:
        asked: dict[str, Asked] = {"draw": [], "show": [], "both": [], "check": []}

        def drawer(kind: str):
            return lambda names, views: asked[kind].append((" ".join(views), list(names)))

        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        model = checkpoint_of({f"w{index}": np.full((2, 3), index, np.float32) for index in range(6)})
        menu = Menu(
            model.select(model, skipped=[Skip("left.out", "empty", "torch2grid")]),
            drawer("draw"),
            ["layers"],
            ["grid", "layers", "stats", "check"],
            show=drawer("show"),
            both=drawer("both") if blind else None,
            commands={"check": lambda names: asked["check"].append(("", names))},
        )
        menu.run()
        return capsys.readouterr().out, asked

    return answers


EVERY = [f"w{index}" for index in range(6)]


@pytest.mark.parametrize(
    ("line", "kind", "expected"),
    [
        ("stats", "draw", ("stats", EVERY)),
        ("stats all", "draw", ("stats", EVERY)),
        ("grid w1,w3", "draw", ("grid", ["w1", "w3"])),
        ("show 2-3", "show", ("layers:overview=false", ["w1", "w2"])),
        ("show", "show", ("layers:each=false", EVERY)),
        ("check", "check", ("", None)),  # the command, not the view of that name
        ("CHECK w[45]", "check", ("", ["w4", "w5"])),
    ],
)
def test_words_with_a_choice(whole, line: str, kind: str, expected: tuple[str, list[str] | None]) -> None:
    printed, asked = whole(line, "quit")
    assert {name: calls for name, calls in asked.items() if calls} == {kind: [expected]}
    assert "y/n" not in printed


def test_without_a_display_pictures_are_shown_as_well(whole) -> None:
    asked = whole("1-4", "y", "1-5", "y", "unified", "overview", "quit", blind=True)[1]
    assert asked["both"] == [("layers", EVERY[:4]), ("grid", EVERY), ("layers:each=false", EVERY)]
    assert asked["draw"] == [("layers", EVERY[:5])]  # five pages are more than anybody scrolls through


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("open", "open what?"),
        ("open w*", "6 tensors match 'w*' (w0, w1, w2, …); open takes one"),
        ("open w9", "no tensor matches 'w9'"),
        ("open w3[2, 0]", "w3: no weight [2, 0]: the shape is (2, 3)"),
        ("open w3[0, 0, 0]", "w3: no weight [0, 0, 0]"),
        ("open 4 [1]", "w3\n(2, 3) float32, 6 weights\nmean 3, std 0, min 3, max 3"),
        (
            "open w3",
            "0         1         2\n0         3         3         3\n1         3         3         3\nIn a terminal, open",
        ),
    ],
)
def test_open_without_a_terminal(whole, line: str, told: str) -> None:
    assert told in whole(line, "quit")[0]


@pytest.mark.parametrize("line", ["open left.out", "left.out", "show left.out", "stats left.out", "check left.out"])
def test_a_tensor_of_the_file_that_is_not_listed_is_no_unknown_name(whole, line: str) -> None:
    assert "left.out is not listed: empty" in whole(line, "quit")[0]


def test_how_to_get_the_screen_is_said_once(whole, monkeypatch: pytest.MonkeyPatch) -> None:
    assert whole("open 1", "open 2", "quit")[0].count("In a terminal") == 1
    monkeypatch.setitem(sys.modules, "textual", None)
    assert "In a terminal, open scrolls through it, with the extra: pip install 'torch2grid[menu]'\n" in whole("open 1")[0]


def test_help_fits_and_names_every_word(whole, talk) -> None:
    printed = whole("help", "quit")[0].partition("Type numbers")[2]
    for word in ("open", "show [CHOICE]", "check [CHOICE]", "VIEW [CHOICE]", "grid, layers, stats", "quit"):
        assert word in printed
    assert max(len(line.removeprefix(PROMPT)) for line in printed.splitlines()) <= 80
    assert "show [CHOICE]" not in talk("help")[0]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("stat", "stats"),
        ("layer", "layers"),
        ("opne 1", "open"),
        ("hlep", "help"),
        ("STAT 1", "stats"),
        ("overveiw", "overview"),
    ],
)
def test_a_mistyped_word_is_told_the_nearest(talk, line: str, meant: str) -> None:
    told, drawn = talk(line)
    assert f"; did you mean {meant!r}?" in told
    assert drawn == []


def test_a_mistyped_tensor_is_told_the_nearest_tensors(talk) -> None:
    told, drawn = talk("fc1.wieght")
    assert "did you mean 'fc1.weight'" in told
    assert drawn == []
