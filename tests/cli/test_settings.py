"""The settings are declared once: options, keys, variables and keywords are all of them, with one default and one check."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import numpy as np
import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

import torch2grid as t2g
from torch2grid._keywords import SettingsFields
from torch2grid.layer_visualizer import visualize_layers
from torch2grid_core import PluginManager, Settings, UsageError
from torch2grid_core._cli.app import draw_command
from torch2grid_core._cli.options import setting_options
from torch2grid_core._plugins.added import added
from torch2grid_core._settings import FIELDS
from torch2grid_core.commands import settings_options
from torch2grid_core.grids import REDUCTIONS, ScaleKind

RESOLVED = {"transformer", "transformer_name", "plugins"}  # what a run makes of the settings


def test_every_field_is_a_setting() -> None:
    assert {each.name for each in dataclasses.fields(Settings)} == {*FIELDS, *RESOLVED}
    assert all(each.help and not each.help.endswith(".") and not each.help[0].isupper() for each in FIELDS.values())


def test_every_field_is_an_option_of_the_drawing_command_with_its_default() -> None:
    options = {each.setting.name: each for each in [*setting_options(draw_command(PluginManager())), *settings_options("rule")]}
    assert options.keys() >= FIELDS.keys()
    context = click.Context(click.Command("draw"))
    assert [name for name, each in FIELDS.items() if not each.draws] == ["rule"]
    for name, setting in FIELDS.items():
        assert "--" + name.replace("_", "-") in options[name].opts
        assert options[name].envvar == f"TORCH2GRID_{name.upper()}"
        assert options[name].get_default(context) == setting.default == getattr(Settings(), name)


MEANINGLESS = {
    "output": r"\.save\(path\)",
    "interactive": "only=",
    "verbose": "checkpoint.skipped",
    "quiet": "nothing is said",
    "rule": r"check\(model, rule=",
}


def test_every_field_is_a_keyword_but_for_those_of_the_command_line() -> None:
    flags = {each.name for each in added(PluginManager.discover(third_party=False), "filter")}
    assert SettingsFields.__optional_keys__ == (FIELDS.keys() | flags) - MEANINGLESS.keys()
    hints = get_type_hints(SettingsFields)
    assert get_args(hints["scale"]) == get_args(ScaleKind) == FIELDS["scale"].choices
    assert get_args(hints["reduce"]) == REDUCTIONS == FIELDS["reduce"].choices


VALUES: dict[str, tuple[str, Any]] = {  # as text, and as a file or Python has it
    "title": ("A title", "A title"),
    "format": ("png,svg", ["png", "svg"]),
    "include_buffers": ("1", True),
    "reduce": ("rms", "rms"),
    "clip": ("0.75", 0.75),
    "limits": ("-1,2.5", [-1, 2.5]),
    "threshold": ("1e-3", 1e-3),
    "max_cells": ("12", 12),
    "tensor_cells": ("34", 34),
    "jobs": ("2", 2),
}


def test_four_ways_in_give_one_value(tmp_path: Path) -> None:
    def shown(*words: str, env: dict[str, str] | None = None) -> dict[str, str]:
        run = torch2grid("config", *words, cwd=tmp_path, env=env)
        assert run.returncode == 0, run.stderr
        return {line.split()[0]: re.split(r"  +", line)[1] for line in run.stdout.splitlines()}

    flags = [("--" + name.replace("_", "-"), text) for name, (text, _) in VALUES.items()]
    line = shown(*(word for flag, text in flags for word in ((flag,) if flag == "--include-buffers" else (flag, text))))
    (tmp_path / "s.json").write_text(json.dumps({name: value for name, (_, value) in VALUES.items()}))
    file = shown("--config", "s.json")
    variables = shown(env={f"TORCH2GRID_{name.upper()}": text for name, (text, _) in VALUES.items()})
    assert line == file == variables
    typed = Settings(**{name: value for name, (_, value) in VALUES.items()})
    assert typed == Settings(**{name: text for name, (text, _) in VALUES.items()})
    assert typed.limits == (-1.0, 2.5)
    assert line["limits"] == "-1.0,2.5"
    assert {line["title"], line["max_cells"], line["clip"]} == {"A title", "12", "0.75"}


WRONG = [
    ("clip", 2, "expected a number from 0.5 to 1, not "),
    ("max_cells", 0, "expected a whole number from 1 to 16384, not "),
    ("reduce", "median", "expected one of mean, absmax, rms, min, max, not 'median'"),
    ("limits", "3,1", "3,1: both must be finite, and the first number must be below the second"),
    ("colormap", "virdis", "unknown colour map 'virdis'; did you mean 'viridis'"),
]


@pytest.mark.parametrize(("name", "value", "told"), WRONG)
def test_one_check_whichever_way(name: str, value: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{name}: {told}")):
        t2g.stats(str(DIGITS), **{name: value})
    (tmp_path / "s.json").write_text(json.dumps({name: value}))
    flag = "--" + name.replace("_", "-")
    for words, env, place in (
        ((flag, str(value)), {}, flag),
        (("--config", "s.json"), {}, f"s.json:1: {name}: "),
        ((), {f"TORCH2GRID_{name.upper()}": str(value)}, f"Invalid value for TORCH2GRID_{name.upper()}: "),
    ):
        run = torch2grid(DIGITS, *words, cwd=tmp_path, env=env)
        assert (run.returncode, run.stdout) == (2, ""), run.stderr
        assert place in run.stderr
        assert told in run.stderr


def test_an_unknown_keyword_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown setting 'colourmap'; did you mean 'colormap'"):
        t2g.layers(str(DIGITS), colourmap="viridis")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="expected true or false"):
        t2g.layers(str(DIGITS), include_buffers="perhaps")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", MEANINGLESS)
def test_a_setting_without_a_meaning_in_python_is_refused_with_the_reason(name: str) -> None:
    model, value = str(DIGITS), "x" if name == "output" else True
    for call in (t2g.layers, t2g.grid, t2g.stats, t2g.draw, visualize_layers, partial(t2g.compare, model)):
        with pytest.raises(UsageError, match=f"^{name}: .*{MEANINGLESS[name]}"):
            call(model, **{name: value})  # type: ignore[operator]
    with pytest.raises(UsageError, match=f"^{name}: "):
        t2g.series([model, model], **{name: value})  # type: ignore[arg-type]


def test_a_comparison_takes_no_view_and_a_series_no_transformer() -> None:
    model = str(DIGITS)
    with pytest.raises(UsageError, match=r"^view: a comparison has pages of its own; layers=True"):
        t2g.compare(model, model, view="stats")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"^view: a comparison has pages of its own; layers=True"):
        t2g.series([model, model], view="stats")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"^plugin: a series draws no grid"):
        t2g.series([model, model], plugin="spiral")  # type: ignore[call-arg]


@pytest.mark.parametrize(("name", "value"), [("jobs", "abc"), ("quiet", "perhaps"), ("layers", "perhaps"), ("clip", "7")])
@pytest.mark.parametrize("command", [(), ("check",), ("config",)])
def test_a_wrong_variable_is_named_and_a_wrong_option_is_not_blamed_on_one(
    name: str, value: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    if command == ("check",) and name in ("layers", "clip"):
        pytest.skip("check has no such setting")
    variable = f"TORCH2GRID_{name.upper()}"
    words = command if command == ("config",) else (*command, DIGITS)
    run = torch2grid(*words, cwd=tmp_path, env={variable: value})
    assert (run.returncode, run.stdout) == (2, "")
    assert f"Invalid value for {variable}: " in run.stderr
    assert "-j" not in run.stderr
    if name == "jobs":
        run = torch2grid(*words, "-j", "abd", cwd=tmp_path, env={variable: value})
        assert "Invalid value for '-j' / '--jobs': expected a whole number, not 'abd'" in run.stderr


def test_keywords_of_python_are_the_flags() -> None:
    names = list(t2g.stats(str(DIGITS), only="conv*", skip=["*.bias"]).checkpoint)
    assert names == ["conv1.weight", "conv2.weight"]
    assert list(t2g.stats(str(DIGITS), filter=[{"largest": {"count": 1}}]).checkpoint) == ["conv2.weight"]
    assert list(t2g.stats(str(DIGITS), tensors="1,3").checkpoint) == ["conv1.weight", "conv2.weight"]


@pytest.mark.parametrize("command", ["check", "compare"])
def test_commands_take_the_settings_that_concern_them(command: str, tmp_path: Path) -> None:
    text = torch2grid(command, "--help", cwd=tmp_path).stdout
    taken = ("only", "skip", "tensors", "filter", "part", "loader", "config", "jobs", "quiet", "verbose", "load-plugin")
    for name in taken:
        assert re.search(rf"^ +(-\w, )?--{name}\b", text, flags=re.MULTILINE), name


def test_a_file_and_the_environment_hold_for_every_command(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("only: conv*\nformat: [png]\nlayers: true\n", encoding="utf-8")
    checked = torch2grid("check", DIGITS, "--config", "s.yaml", cwd=tmp_path)
    assert "4 of 8 tensors shown; not shown: filtered out (4)" in checked.stderr
    compared = torch2grid("compare", DIGITS, DIGITS, cwd=tmp_path, env={"TORCH2GRID_ONLY": "fc*"})
    assert (compared.returncode, compared.stderr.count("4 of 8 tensors shown")) == (0, 2), compared.stderr
    (tmp_path / "s.yaml").write_text("onyl: conv*\n", encoding="utf-8")
    for words in (("check", DIGITS), ("compare", DIGITS, DIGITS)):
        run = torch2grid(*words, "--config", "s.yaml", cwd=tmp_path)
        assert run.returncode == 2
        assert "s.yaml:1: unknown key 'onyl'; did you mean 'only'" in run.stderr


def test_filters_of_check_apply_in_the_order_of_the_line(tmp_path: Path) -> None:
    for words, count in (
        (("--only", "fc*", "--tensors", "1"), "1 of 8"),
        (("--tensors", "1", "--only", "fc*"), "no tensor matches"),
    ):
        assert count in torch2grid("check", DIGITS, *words, cwd=tmp_path).stderr


@pytest.mark.parametrize(("filter", "shown"), [("only", 4), ("skip", 4)])
def test_each_pattern_that_matches_nothing_is_named_beside_those_that_do(tmp_path: Path, filter: str, shown: int) -> None:
    for words in ((DIGITS, "--stats"), ("tree", DIGITS), ("check", DIGITS), ("compare", DIGITS, DIGITS)):
        told = torch2grid(*words, f"--{filter}", "fc*, cnov*, [x]", cwd=tmp_path).stderr
        assert f"{shown} of 8 tensors shown" in told
        assert f"--{filter}: no tensor matches 'cnov*'" in told
        assert f"--{filter}: no tensor matches '[x]'" in told
        assert "'fc*'" not in told


def test_what_another_filter_left_out_is_no_unknown_name(tmp_path: Path) -> None:
    told = torch2grid(DIGITS, "--skip", "fc1.weight", "--only", "fc1.weight, fc2.*", "--stats", cwd=tmp_path).stderr
    assert "2 of 8 tensors shown" in told
    assert "no tensor matches" not in told


def test_limits_beyond_float32_print_no_warning_of_numpy(tmp_path: Path) -> None:
    np.savez(tmp_path / "large.npz", w=np.array([[1e60, -2e60], [3e60, 0.0]]))
    done = torch2grid("large.npz", "--limits=-4e60,4e60", "--layers", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


THIRD_PARTY = """
    import click
    from dataclasses import dataclass, field
    from torch2grid_core import Command, Page, PluginSettings, Settings, View, hookimpl
    from torch2grid_core.commands import settings_options
    from torch2grid_core.pages import Table

    @dataclass(frozen=True)
    class Mine(PluginSettings):
        "what mine needs"
        name = "mine"
        depth: int = field(default=3, metadata={"help": "How deep."})
        loud: bool = field(default=False, metadata={"help": "Whether to shout."})
        words: tuple[str, ...] = field(default=(), metadata={"help": "What to say."})

    class Say(View):
        "what was set"
        name, default_format = "say", "text"
        def pages(self, checkpoint, results, run):
            mine = run.options(Mine)
            yield Page("say", "", (Table(("said",), ((f"{mine.depth!r} {mine.loud!r} {mine.words!r}",),)),))

    class Show(Command):
        "the settings of a command of another distribution"
        name = "show"
        def build(self):
            def show():
                settings = Settings.from_context(click.get_current_context(), max_cells=7)
                print(settings.max_cells, settings.part, settings.filter, settings.options(Mine).depth)
            return click.Command(self.name, callback=show, params=settings_options("part", filter="Mine.", max_cells=""))

    @hookimpl
    def torch2grid_settings():
        return [Mine]

    @hookimpl
    def torch2grid_views():
        return [Say]

    @hookimpl
    def torch2grid_commands():
        return [Show]
    """


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distribution(tmp_path_factory.mktemp("third"), "t2g-third", THIRD_PARTY)


def test_options_of_a_plugin_come_in_every_way(third: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*words: str, env: dict[str, str] | None = None) -> str:
        run = torch2grid(DIGITS, "--say", "-q", *words, cwd=tmp_path, path=[third], env=env)
        assert run.returncode == 0, run.stderr
        return run.stdout

    assert "3 False ()" in said()
    assert "5 True ('a', 'b')" in said("--mine-depth", "5", "--mine-loud", "--mine-words", "a", "--mine-words", "b")
    (tmp_path / "s.yaml").write_text("mine_depth: 6\nmine_words: [c]\n", encoding="utf-8")
    assert "6 False ('c',)" in said("--config", "s.yaml")
    assert "7 True ()" in said(env={"TORCH2GRID_MINE_DEPTH": "7", "TORCH2GRID_MINE_LOUD": "yes"})
    text = torch2grid("--help-all", cwd=tmp_path, path=[third]).stdout
    assert re.search(r"^Options of mine:\n  --mine-depth DEPTH +How deep\.", text, flags=re.MULTILINE)
    run = torch2grid(DIGITS, "--mine-depth", "x", cwd=tmp_path, path=[third])
    assert (run.returncode, "--mine-depth" in run.stderr, "expected a whole number" in run.stderr) == (2, True, True)
    listed = torch2grid("plugins", "t2g-third", cwd=tmp_path, path=[third]).stdout
    assert "depth=3  (a whole number)  How deep." in listed

    monkeypatch.syspath_prepend(str(third))
    manager = PluginManager.discover()
    monkeypatch.setattr("torch2grid._session.manager", lambda: manager)
    monkeypatch.setattr("torch2grid._api.manager", lambda: manager)
    (table,) = t2g.draw(str(DIGITS), ["say"], mine_depth=8).tables  # type: ignore[call-arg]
    assert table.rows == (("8 False ()",),)


def test_a_command_of_another_distribution_takes_settings(third: Path, tmp_path: Path) -> None:
    run = torch2grid("show", "--only", "a*", "--part", "all", cwd=tmp_path, path=[third])
    assert (run.returncode, run.stdout) == (0, "7 all ({'only': 'a*'},) 3\n"), run.stderr
    run = torch2grid("show", "--max-cells", "9", "--mine-depth", "1", cwd=tmp_path, path=[third])
    assert run.stdout == "9  () 1\n"
    text = torch2grid("show", "--help", cwd=tmp_path, path=[third]).stdout
    assert re.search(r"--filter \S+ +Mine\.", text)


def test_settings_of_a_plugin_that_are_wrong_are_told_and_left_out(tmp_path: Path) -> None:
    wrong = THIRD_PARTY.replace("depth: int = field(default=3, metadata", "depth: int = field(metadata")
    folder = distribution(tmp_path / "site", "t2g-third", wrong)
    run = torch2grid(DIGITS, "--stats", cwd=tmp_path, path=[folder])
    assert run.returncode == 0
    assert run.stderr.count("t2g-third") == 1


def test_a_setting_that_there_is_not_is_an_error_of_the_author() -> None:
    with pytest.raises(KeyError):
        settings_options("no_such_setting")


def test_the_old_names_work_and_say_where_they_went() -> None:
    import torch2grid_core

    with pytest.warns(DeprecationWarning, match=r"torch2grid_core\.Run will be removed in 0\.3; use torch2grid_core\.Settings"):
        assert torch2grid_core.Run is Settings  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="settings_options"):
        (option,) = torch2grid_core.standard_options("format")  # type: ignore[attr-defined]
    context = click.Command("x", params=[option]).make_context("x", ["--format", "png,svg"])
    assert context.params == {"formats": ("png", "svg")}
