"""The menu's answers, each through the loop that a person talks to, without a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
from tests.support.views.drawing import checkpoint_of

from torch2grid_core._cli.menu import Menu

NAMES = ["fc1.weight", "fc1.bias", "fc2.weight", "all"]
Drawn = list[tuple[list[str], list[str]]]


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
        ("/conv", "no tensor's name holds 'conv'"),
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
