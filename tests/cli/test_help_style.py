"""Help reads as one text: phrases in lower case without a full stop, none of them cut."""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
import pytest
from tests.support.tools import torch2grid

from torch2grid_core import PluginManager
from torch2grid_core._cli.app import App
from torch2grid_core._settings import PROCESS_SETTINGS
from torch2grid_core.text import percentage

_NAMES = re.compile(r"(NaN|Inf|CSV|JSON|Δ|Adam)\b")  # what is written with a capital wherever it stands


def in_style(text: str) -> bool:
    return bool(text) and (not text[0].isupper() or bool(_NAMES.match(text))) and not text.endswith(".")


def test_the_short_help_cuts_nothing(tmp_path: Path) -> None:
    told = torch2grid("--help", "--no-plugins", cwd=tmp_path).stdout
    assert [line for line in told.splitlines() if line.rstrip().endswith("…")] == []
    assert max(map(len, told.splitlines())) <= 80


def test_every_phrase_of_help_is_in_one_style() -> None:
    manager = PluginManager.discover(third_party=False)
    app = App(manager)
    context = click.Context(app, obj=manager)
    wrong = []
    for name in app.list_commands(context):
        command = app.get_command(context, name)
        assert command is not None
        wrong += [
            f"{name} {each.opts}: {each.help}"
            for each in command.params
            if isinstance(each, click.Option) and not in_style(each.help or "")
        ]
        wrong += [f"{name}: {command.short_help}"] * (bool(command.short_help) and not in_style(str(command.short_help)))
    wrong += [f"{name}: {each.help}" for name, each in PROCESS_SETTINGS.items() if not in_style(each.help)]
    for kind in ("loader", "filter", "transformer", "view", "renderer", "rule", "command"):
        wrong += [f"{kind} {name}: {each.summary}" for name, each in manager.names(kind).items() if not in_style(each.summary)]
    assert wrong == []


@pytest.mark.parametrize(
    ("share", "digits", "told"),
    [
        (0.0, 3, "0.000%"),
        (1.0, 3, "100.000%"),
        (511_999 / 512_000, 3, ">99.999%"),
        (0.999999, 3, ">99.999%"),
        (0.000001, 3, "<0.001%"),
        (0.5, 2, "50.00%"),
        (1e-9, 2, "<0.01%"),
        (1 - 1e-9, 0, ">99%"),
        (1e-9, 0, "<1%"),
    ],
)
def test_a_percentage_is_never_rounded_to_none_or_all(share: float, digits: int, told: str) -> None:

    assert percentage(share, digits) == told


def test_compare_says_that_not_all_changed(tmp_path: Path) -> None:
    before = np.random.default_rng(0).standard_normal((512, 1000)).astype(np.float32)
    after = before + np.float32(1)
    after[3, 7] = before[3, 7]
    np.savez(tmp_path / "a.npz", weight=before)
    np.savez(tmp_path / "b.npz", weight=after)
    run = torch2grid("compare", "a.npz", "b.npz", "--stats", cwd=tmp_path, env={"COLUMNS": "200"})
    assert "511,999 weights (>99.999%)" in run.stdout, run.stdout + run.stderr
    assert "100.000%" not in run.stdout
