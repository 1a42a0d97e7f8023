"""What is said of values, names and words that cannot be: plainly, and so that it helps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

import torch2grid as t2g
from torch2grid_core import PluginManager, Settings, UsageError

PLUGIN = """
    from dataclasses import dataclass
    from torch2grid_core import Page, PluginSettings, Table, View, hookimpl

    @dataclass(frozen=True)
    class Tensor(PluginSettings):
        "its 'cells' meets --tensor-cells"
        name = "tensor"
        cells: int = 3
        names: tuple[str, ...] = ()
        sizes: tuple[int, ...] = ()

    class Said(View):
        "what was given"
        name = "said"
        def pages(self, checkpoint, results, run):
            own = run.options(Tensor)
            row = ("+".join(own.names), "+".join(map(str, own.sizes)))
            yield Page("said", "said", (Table(("names", "sizes"), (row,)),), kind="table")

    @hookimpl
    def torch2grid_settings(): return [Tensor]
    @hookimpl
    def torch2grid_views(): return [Said]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return distribution(tmp_path / "site", "t2g-tensor", PLUGIN)


def test_values_of_a_plugins_tuple_are_split_at_commas(tmp_path: Path, site: Path) -> None:
    (tmp_path / "s.yaml").write_text("tensor-names: [a, b]\ntensor-sizes: [1, 2]\n", encoding="utf-8")
    shown = []
    for words, env in [
        (("--tensor-names", "a,b", "--tensor-sizes", "1, 2"), {}),
        (("--tensor-names", "a", "--tensor-names", "b", "--tensor-sizes", "1,2"), {}),
        (("--config", "s.yaml"), {}),
        ((), {"TORCH2GRID_TENSOR_NAMES": "a,b", "TORCH2GRID_TENSOR_SIZES": "1,2"}),
    ]:
        run = torch2grid(DIGITS, "--said", *words, cwd=tmp_path, path=[site], env=env)
        assert run.returncode == 0, run.stderr
        shown.append(run.stdout)
    assert "a+b" in shown[0]
    assert "1+2" in shown[0]
    assert len(set(shown)) == 1
    run = torch2grid(DIGITS, "--said", "--tensor-sizes", "1,x", cwd=tmp_path, path=[site])
    assert run.returncode == 2
    assert "expected a whole number, not 'x'" in run.stderr


def test_which_field_gets_no_flag_is_said(tmp_path: Path, site: Path) -> None:
    run = torch2grid(DIGITS, "--said", "--tensor-names", "a", cwd=tmp_path, path=[site])
    (told,) = [line for line in run.stderr.splitlines() if "gets no flag" in line]
    assert "field 'cells' of settings 'tensor' of t2g-tensor gets no flag: --tensor-cells is taken" in told


def test_who_brings_what_is_missing() -> None:
    manager = PluginManager()
    with pytest.raises(UsageError, match=r"^unknown executor 'x'; none is installed \(a plugin brings one\)$"):
        manager.create("executor", "x")
    with pytest.raises(
        UsageError, match=r"^unknown view 'x'; none is installed \(pip install torch2grid brings the usual ones\)$"
    ):
        manager.create("view", "x")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("only:", "only: expected text, not nothing"),
        ("only: [[a]]", "only: expected text, not a list of 1"),
        ("tensors: {a: 1}", "tensors: its flag takes no options; they are given as filter: {tensors: {option: value}}"),
        ("only: [a, true]", "only: expected text, not True"),
    ],
)
def test_a_wrong_pattern_in_a_file_is_told_plainly(setting: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(setting + "\n", encoding="utf-8")
    run = torch2grid(DIGITS, "--config", "s.yaml", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (2, f"torch2grid: s.yaml:1: {told}\n")


def test_numbers_choose_tensors(tmp_path: Path) -> None:
    """From Python and from a file as on the command line."""
    expected = list(t2g.stats(DIGITS, tensors="1,2", jobs=1).checkpoint)
    assert len(expected) == 2
    assert list(t2g.stats(DIGITS, tensors=[1, 2], jobs=1).checkpoint) == expected
    assert list(t2g.stats(DIGITS, tensors=1, jobs=1).checkpoint) == expected[:1]
    (tmp_path / "s.yaml").write_text("tensors: [1, 2]\n", encoding="utf-8")
    run = torch2grid(DIGITS, "--stats", "--config", "s.yaml", cwd=tmp_path)
    assert run.stdout == torch2grid(DIGITS, "--stats", "--tensors", "1,2", cwd=tmp_path).stdout
    assert all(name in run.stdout for name in expected)
    with pytest.raises(UsageError, match="no tensor matches '5'"):
        t2g.stats(DIGITS, only=5)
    assert len(t2g.stats(DIGITS, only=None).checkpoint) == 8  # as if it had not been given


def test_help_of_config_names_what_works(tmp_path: Path) -> None:
    told = torch2grid("config", "--help", cwd=tmp_path).stdout
    for flag in ("--config FILE", "--load-plugin FILE.py", "--no-plugins", "--disable-plugin NAME", "--debug", "--max-cells N"):
        assert told.count(flag) == 1, flag
    (tmp_path / "s.yaml").write_text("clip: 0.9\n", encoding="utf-8")
    shown = torch2grid("config", "--config", "s.yaml", "--no-plugins", cwd=tmp_path).stdout
    assert "s.yaml:1" in shown
    assert "no_plugins" not in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("layers",), "no such command or file: 'layers'; did you mean --layers?"),
        (("stats",), "no such command or file: 'stats'; did you mean --stats?"),
        (("histograms",), "no such command or file: 'histograms'; did you mean --histogram?"),
        (("chekc",), "no such command or file: 'chekc'; did you mean check?"),
        (("help",), "no such command or file: 'help'; did you mean --help?"),
        (("version",), "no such command or file: 'version'; did you mean --version?"),
    ],
)
def test_a_bare_word_that_is_a_flag_is_recognised(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    for line in ((DIGITS, *words), (*words, DIGITS)):
        run = torch2grid(*line, cwd=tmp_path)
        assert (run.returncode, run.stderr) == (2, f"torch2grid: {told}\n")


def test_a_folder_that_is_called_as_people_call_a_command(tmp_path: Path) -> None:
    (tmp_path / "ls").mkdir()
    alone = torch2grid("ls", cwd=tmp_path)
    assert (alone.returncode, alone.stdout) == (1, "")
    assert alone.stderr == "torch2grid: ls: is a folder with no checkpoint in it; did you mean torch2grid tree?\n"
    both = torch2grid("ls", DIGITS, cwd=tmp_path)
    assert both.returncode == 1
    assert both.stderr.splitlines()[-1] == "ls: is a folder here; did you mean torch2grid tree?"
    (tmp_path / "ls/model.pth").write_bytes(DIGITS.read_bytes())  # which may be meant
    for words in (("ls",), ("ls", DIGITS)):
        assert "did you mean" not in torch2grid(*words, cwd=tmp_path).stderr


@pytest.mark.parametrize("command", ["draw", "check", "compare", "tree"])
def test_options_that_help_does_not_name_are_not_suggested(command: str, tmp_path: Path) -> None:
    named = set(re.findall(r"--[a-z-]+", torch2grid(command, "--help", cwd=tmp_path).stdout))
    assert len(named) > 8
    for wrong in ("--quite", "--no-quite", "--no-outlier", "--outlier", "--flt", "--noverbose"):
        run = torch2grid(command, DIGITS, wrong, cwd=tmp_path)
        assert run.returncode == 2
        assert run.stderr.startswith(f"torch2grid: No such option '{wrong}'.")
        suggested = set(re.findall(r"'(--[a-z-]+)'", run.stderr)) - {wrong}
        assert suggested <= named
        assert "--quiet" in suggested or wrong != "--quite"


def test_settings_take_a_typed_value_as_it_is() -> None:
    assert Settings(format=("PNG", "svg,pdf")).format == ("png", "svg", "pdf")
