"""Options of plugins, whichever way: of a plugin as a whole, of rules and views in a file, and by flags of filters."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

import torch2grid as t2g
from torch2grid_core import PluginManager, TensorFilter, UsageError
from torch2grid_core._plugins.options import flag_value
from torch2grid_core.commands import settings_from

RULER = """
    from dataclasses import dataclass, field
    from torch2grid_core import Finding, Page, PluginSettings, Rule, View, hookimpl
    from torch2grid_core.pages import Table

    @dataclass(frozen=True)
    class Ruler(PluginSettings):
        "how things are measured"
        name = "ruler"
        per: int = field(default=1, metadata={"help": "How many make one."})
        unit: str = field(default="weights", metadata={"help": "What is counted."})
        words: tuple[str, ...] = field(default=(), metadata={"help": "What to say."})

        def __post_init__(self):
            if self.per < 1:
                raise ValueError("per must be at least 1")

    class View1(View):
        "a view of the name of the settings"
        name, default_format = "ruler", "text"
        def pages(self, checkpoint, results, run):
            yield Page("ruler", "", (Table(("said",), ((repr(run.options(Ruler)),),)),))

    class Told(Rule):
        "says what was set"
        name, code, severity = "told", "X101", "warning"
        def findings(self, checkpoint, results, run):
            yield Finding(repr(run.options(Ruler)))

    @hookimpl
    def torch2grid_settings():
        return [Ruler]

    @hookimpl
    def torch2grid_views():
        return [View1]

    @hookimpl
    def torch2grid_rules():
        return [Told]
    """


@pytest.fixture(scope="module")
def ruler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distribution(tmp_path_factory.mktemp("ruler"), "t2g-ruler", RULER)


def said(folder: Path, ruler: Path, *words: str, env: dict[str, str] | None = None) -> str:
    """What the view and the rule saw, which is the same."""
    drawn = torch2grid(DIGITS, "--ruler", "-q", *words, cwd=folder, path=[ruler], env=env)
    assert drawn.returncode == 0, drawn.stderr
    checked = torch2grid("check", DIGITS, "--select", "told", "-q", *words, cwd=folder, path=[ruler], env=env)
    found = [re.findall(r"Ruler\(.*\)", run.stdout.replace(" (told)", "")) for run in (drawn, checked)]
    assert found[0] == found[1], (drawn.stdout, checked.stdout, checked.stderr)
    return str(found[0][0])


EVERY_WAY = "Ruler(per=1024, unit='Ki, all', words=('a', 'b'))"


@pytest.mark.parametrize("ending", ["json", "yaml", "toml"])
def test_every_way_gives_one_value(ending: str, ruler: Path, tmp_path: Path) -> None:
    spec = 'ruler:per=1024,unit="Ki, all",words="a,b"'
    assert said(tmp_path, ruler, "--set", spec) == EVERY_WAY
    assert said(tmp_path, ruler, env={"TORCH2GRID_SET": spec}) == EVERY_WAY
    values = {"per": 1024, "unit": "Ki, all", "words": ["a", "b"]}
    toml = "per = 1024\nunit = 'Ki, all'\nwords = ['a', 'b']\n"
    files = {
        "json": [json.dumps({"ruler": values}), json.dumps({"set": {"ruler": values}}), json.dumps({"set": [spec]})],
        "yaml": [
            "ruler: {per: 1024, unit: 'Ki, all', words: [a, b]}\n",
            "ruler:\n  per: 1024\n  unit: Ki, all\n  words: [a, b]\n",
        ],
        "toml": [f"[ruler]\n{toml}", f"[set.ruler]\n{toml}"],
    }
    for text in files[ending]:
        (tmp_path / f"s.{ending}").write_text(text, encoding="utf-8")
        assert said(tmp_path, ruler, "--config", f"s.{ending}") == EVERY_WAY


def test_python_takes_a_mapping_under_its_name(ruler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ruler))
    manager = PluginManager.discover()
    monkeypatch.setattr("torch2grid._session.manager", lambda: manager)
    monkeypatch.setattr("torch2grid._api.manager", lambda: manager)
    for given in (
        {"ruler": {"per": 1024, "unit": "Ki, all", "words": ["a", "b"]}},
        {"set": {"ruler": {"per": 1024, "unit": "Ki, all", "words": ("a", "b")}}},
        {"set": 'ruler:per=1024,unit="Ki, all"', "ruler_words": ("a", "b")},
    ):
        (table,) = t2g.draw(str(DIGITS), ["ruler"], **given).tables  # type: ignore[arg-type]
        assert table.rows == ((EVERY_WAY,),)
    assert settings_from(manager, {"ruler": True}).view == ("ruler",)  # what is no mapping is the view's flag
    for wrong, told in (
        ({"ruler": {"pre": 1}}, "settings 'ruler' has no option 'pre'; its options: per, unit, words"),
        ({"ruler": {"per": "many"}}, "option per='many': expected a whole number"),
        ({"ruler": {"per": 0}}, "settings 'ruler': per must be at least 1"),
        ({"set": "rulr:per=1"}, "set: unknown settings 'rulr'; did you mean 'ruler'"),
        ({"ruler_per": 5, "ruler": {"per": 6}}, "ruler: per of ruler is set already by ruler_per"),
        ({"ruler": {"per": 6}, "set": "ruler:per=6"}, "set: per of ruler is set already by ruler"),
        ({"max-cells": "x"}, "max-cells: expected a whole number"),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            settings_from(manager, wrong)


def test_the_stronger_source_holds_for_each_option_alone(ruler: Path, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("ruler: {per: 2, unit: file, words: [file]}\n", encoding="utf-8")
    file = ("--config", "s.yaml")
    environment = {"TORCH2GRID_SET": "ruler:per=3,unit=environment"}
    assert said(tmp_path, ruler, *file, env=environment) == "Ruler(per=3, unit='environment', words=('file',))"
    line = ("--set", "ruler:per=4")
    assert said(tmp_path, ruler, *file, *line, env=environment) == "Ruler(per=4, unit='environment', words=('file',))"
    flag = ("--ruler-per", "5")
    assert said(tmp_path, ruler, *file, *flag, env=environment) == "Ruler(per=5, unit='environment', words=('file',))"
    assert said(tmp_path, ruler, *file, *line, *flag).startswith("Ruler(per=5, unit='file'")
    assert said(tmp_path, ruler, *file, *flag, *line).startswith("Ruler(per=4, unit='file'")
    assert said(tmp_path, ruler, *line, env={"TORCH2GRID_RULER_PER": "6"}).startswith("Ruler(per=4,")
    shown = torch2grid("config", *file, *line, cwd=tmp_path, path=[ruler], env=environment).stdout
    assert re.search(r"^ruler_per +4 +command line$", shown, flags=re.MULTILINE)
    assert re.search(r"^ruler_unit +environment +environment, TORCH2GRID_SET$", shown, flags=re.MULTILINE)
    assert re.search(r"^ruler_words +file +s\.yaml:1$", shown, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "layers: true\nruler: {pre: 1}\n",
            "s.yaml:2: ruler: settings 'ruler' has no option 'pre'; its options: per, unit, words",
        ),
        ("ruler: {per: many}\n", "s.yaml:1: ruler: settings 'ruler': option per='many': expected a whole number"),
        ("ruler_per: 1\nruler: {unit: a, per: 2}\n", "s.yaml:2: ruler: per is set already on line 1"),
        ("ruler: {per: 2}\nset: ruler:per=3\n", "s.yaml:2: ruler: per is set already on line 1"),
        ("set: {rulr: {per: 2}}\n", "s.yaml:1: set: unknown settings 'rulr'; did you mean 'ruler'"),
        ("rulr: {per: 2}\n", "s.yaml:1: unknown key 'rulr'; did you mean 'ruler'"),
        ("ruler: many\n", "s.yaml:1: ruler: expected true or false, not 'many'"),
    ],
)
def test_a_wrong_section_is_told_with_its_line(text: str, told: str, ruler: Path, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    for words in ((DIGITS, "--stats"), ("check", DIGITS)):
        run = torch2grid(*words, "--config", "s.yaml", cwd=tmp_path, path=[ruler])
        assert (run.returncode, run.stdout) == (2, "")
        assert told in run.stderr


def test_a_wrong_value_of_the_line_is_told(ruler: Path, tmp_path: Path) -> None:
    for words, env, told in (
        (("--set", "ruler:pre=1"), {}, "Invalid value for '--set': settings 'ruler' has no option 'pre'"),
        (("--set", "nothing:per=1"), {}, "unknown settings 'nothing'"),
        ((), {"TORCH2GRID_SET": "ruler:per=x"}, "Invalid value for TORCH2GRID_SET: settings 'ruler': option per='x'"),
    ):
        run = torch2grid(DIGITS, *words, cwd=tmp_path, path=[ruler], env=env)
        assert (run.returncode, run.stdout) == (2, "")
        assert told in run.stderr
    run = torch2grid(DIGITS, "--set", "ruler:per=1", cwd=tmp_path)
    assert run.returncode == 2
    assert "unknown settings 'ruler'; none is installed (a plugin brings one)" in run.stderr


def test_a_section_is_not_there_without_its_plugin_and_needs_a_mapping(tmp_path: Path) -> None:
    alone = RULER.replace("return [View1]", "return []")
    folder = distribution(tmp_path / "site", "t2g-ruler", alone)
    (tmp_path / "s.yaml").write_text("ruler: 7\n", encoding="utf-8")
    run = torch2grid(DIGITS, "--stats", "--config", "s.yaml", cwd=tmp_path, path=[folder])
    assert "s.yaml:1: ruler: expected its options, as in {key: value}, not 7" in run.stderr
    run = torch2grid(DIGITS, "--stats", "--config", "s.yaml", cwd=tmp_path)
    assert "s.yaml:1: unknown key 'ruler'" in run.stderr


def test_a_field_without_a_flag_is_still_set(tmp_path: Path) -> None:
    """A view that was there first keeps ``--ruler-per``."""
    taker = RULER.replace('name, default_format = "ruler"', 'name, default_format = "ruler_per"').replace("[Ruler]", "[]")
    (tmp_path / "site").mkdir()
    distribution(tmp_path / "site", "t2g-a-first", taker)
    distribution(tmp_path / "site", "t2g-ruler", RULER)
    (tmp_path / "s.yaml").write_text("ruler: {per: 5}\n", encoding="utf-8")
    for words in (("--set", "ruler:per=5"), ("--config", "s.yaml")):
        run = torch2grid(DIGITS, "--ruler", "-q", *words, cwd=tmp_path, path=[tmp_path / "site"])
        assert "Ruler(per=5, " in run.stdout, run.stderr


def test_rules_have_options_in_every_way(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rule: {exploding: {limit: 0.1}, nan: }\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text('rule: ["exploding:limit=0.1"]\n', encoding="utf-8")
    ways: list[tuple[tuple[str, ...], dict[str, str]]] = [
        (("--rule", "exploding:limit=0.1"), {}),
        (("--config", "a.yaml"), {}),
        (("--config", "b.yaml"), {}),
        ((), {"TORCH2GRID_RULE": "exploding:limit=0.1"}),
    ]
    assert torch2grid("check", DIGITS, cwd=tmp_path).stdout == ""
    reports = [torch2grid("check", DIGITS, *words, cwd=tmp_path, env=env).stdout for words, env in ways]
    assert len(set(reports)) == 1
    assert "exploding" in reports[0]
    for words, env in ways[1:]:
        shown = torch2grid("config", *words, cwd=tmp_path, env=env).stdout
        assert re.search(r"^rule +exploding:limit=0\.1", shown, flags=re.MULTILINE), shown
    drawn = torch2grid(DIGITS, "--stats", "--config", "a.yaml", cwd=tmp_path)
    assert drawn.returncode == 0  # it has no use for them
    assert "--rule" not in torch2grid("--help-all", cwd=tmp_path).stdout
    (tmp_path / "a.yaml").write_text("rule: {exploding: {limits: 1}}\n", encoding="utf-8")
    for command in ("check", "compare"):
        run = torch2grid(command, DIGITS, DIGITS, "--config", "a.yaml", cwd=tmp_path)
        assert run.returncode == 2
        assert "a.yaml:1: rule: rule 'exploding' has no option 'limits'; its options: limit" in run.stderr


def test_one_mapping_names_several(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("view: {layers: {sheet: 3}, histogram: {bars: 20}, stats: }\n", encoding="utf-8")
    run = torch2grid(DIGITS, "--config", "s.yaml", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "grids/histogram_overview.png" in run.stdout
    assert "conv1.weight" in run.stdout
    (tmp_path / "s.yaml").write_text("filter: {largest: {count: 2}, min_size: {weights: 4200}}\n", encoding="utf-8")
    for words in ((DIGITS, "--stats"), ("check", DIGITS), ("compare", DIGITS, DIGITS)):
        run = torch2grid(*words, "--config", "s.yaml", cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        assert "1 of 8 tensors shown" in run.stderr
    assert list(t2g.stats(str(DIGITS), filter={"largest": {"count": 2}, "floating": {}}).checkpoint) == [
        "conv2.weight",
        "fc1.weight",
    ]


def test_one_file_serves_every_command_and_each_key_is_checked(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "layers: true\nformat: [png]\nrule: exploding:limit=9\nfilter: floating\n", encoding="utf-8"
    )
    for words in ((DIGITS,), ("check", DIGITS), ("compare", DIGITS, DIGITS)):
        run = torch2grid(*words, "--config", "s.yaml", cwd=tmp_path)
        assert run.returncode == 0, run.stderr
    (tmp_path / "s.yaml").write_text("layers: perhaps\n", encoding="utf-8")
    for words in (("check", DIGITS), ("compare", DIGITS, DIGITS)):
        run = torch2grid(*words, "--config", "s.yaml", cwd=tmp_path)
        assert (run.returncode, "s.yaml:1: layers: expected true or false" in run.stderr) == (2, True)


FLAGS = """
    import re
    from dataclasses import dataclass, field
    from typing import Any
    from torch2grid_core import Lazy, TensorFilter, hookimpl

    @dataclass(frozen=True)
    class Match(TensorFilter):
        "the tensors whose names match an expression"
        name, flag = "match", "REGEX"
        patterns: tuple[str, ...] = field(default=(), metadata={"help": "regular expressions"})
        def keep(self, tensor):
            return any(re.fullmatch(each, tensor.name) for each in self.patterns)

    @dataclass(frozen=True)
    class Matrices(TensorFilter):
        "matrices"
        name, flag = "matrices", True
        least: int = field(default=2, metadata={"help": "dimensions"})
        def keep(self, tensor):
            return tensor.ndim == self.least

    @dataclass(frozen=True)
    class Vectors(TensorFilter):
        "vectors, or all but them"
        name, flag, flag_field = "vectors", True, "not_them"
        length: int = field(default=0, metadata={"help": "the shortest"})
        not_them: bool = field(default=False, metadata={"help": "all but them"})
        def keep(self, tensor):
            return (tensor.ndim == 1 and tensor.size >= self.length) != self.not_them

    @dataclass(frozen=True)
    class Dims(TensorFilter):
        "the tensors of some numbers of dimensions"
        name, flag, flag_field = "dims", "N,…", "counts"
        invert: bool = field(default=False, metadata={"help": "all but them"})
        counts: tuple[int, ...] = field(default=(2,), metadata={"help": "numbers of dimensions"})
        def keep(self, tensor):
            return (tensor.ndim in self.counts) != self.invert

    @hookimpl
    def torch2grid_filters():
        here = __name__
        return [
            Lazy(f"{here}:Match", "match", "the tensors whose names match", flag="REGEX"),
            Lazy(f"{here}:Matrices", "matrices", "matrices", flag=True),
            Vectors,
            Dims,
        ]
    """

ALL = ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distribution(tmp_path_factory.mktemp("flags"), "t2g-flags", FLAGS)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--match", r"conv\d{1,2}\.bias", "--match", r"fc1\..*"], ["conv1.bias", "conv2.bias", "fc1.weight", "fc1.bias"]),
        (["--match", r"fc1\..*"], ["fc1.weight", "fc1.bias"]),
        (["--filter", r'match:patterns="fc1.weight,fc2.weight"'], ["fc1.weight", "fc2.weight"]),
        (["--matrices"], ["fc1.weight", "fc2.weight"]),
        (["--matrices", "--no-matrices"], ALL),
        (["--filter", "matrices:least=4"], ["conv1.weight", "conv2.weight"]),
        (["--vectors"], [name for name in ALL if name.endswith("weight")]),
        (["--filter", "vectors:length=32"], ["conv2.bias", "fc1.bias"]),
        (["--dims", "4"], ["conv1.weight", "conv2.weight"]),
        (["--dims", "4,1"], [name for name in ALL if name[:2] != "fc" or name.endswith("bias")]),
        (["--dims", "4", "--dims", "1"], [name for name in ALL if name[:2] != "fc" or name.endswith("bias")]),
    ],
)
def test_flags_of_filters(words: list[str], kept: list[str], flags: Path, tmp_path: Path) -> None:
    run = torch2grid(DIGITS, "--view", "stats", "--format", "json", "-o", "-", "-q", *words, cwd=tmp_path, path=[flags])
    assert run.returncode == 0, run.stderr
    assert [name for name in ALL if f'"{name}"' in run.stdout] == kept
    checked = torch2grid("check", DIGITS, *words, cwd=tmp_path, path=[flags])
    assert (f"{len(kept)} of 8 tensors shown" if kept != ALL else "8 tensors") in checked.stderr


def test_flags_of_filters_in_a_file_and_in_python(flags: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.yaml").write_text("matrices: true\nmatch: ['fc\\d{1,2}.*']\n", encoding="utf-8")
    run = torch2grid("check", DIGITS, "--config", "s.yaml", cwd=tmp_path, path=[flags])
    assert "2 of 8 tensors shown" in run.stderr, run.stderr
    run = torch2grid("check", DIGITS, "--config", "s.yaml", "--no-matrices", cwd=tmp_path, path=[flags])
    assert "4 of 8 tensors shown" in run.stderr, run.stderr
    run = torch2grid("check", DIGITS, cwd=tmp_path, path=[flags], env={"TORCH2GRID_VECTORS": "yes"})
    assert "4 of 8 tensors shown" in run.stderr, run.stderr
    text = torch2grid("check", "--help", cwd=tmp_path, path=[flags]).stdout
    assert re.search(r"^ +--matrices +keep matrices", text, flags=re.MULTILINE)
    assert re.search(r"^ +--match REGEX +keep the tensors whose names match", text, flags=re.MULTILINE)

    monkeypatch.syspath_prepend(str(flags))
    manager = PluginManager.discover()
    made = [manager.create("filter", spec) for spec in settings_from(manager, {"match": ["a,b", "c"], "vectors": True}).filter]
    assert (made[0].patterns, made[1].not_them) == (("a,b", "c"), True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            ('flag_field = "vectors", True, "not_them"', 'flag_field = "vectors", True, "not_there"'),
            "its flag_field 'not_there' is",
        ),
        (
            ('flag_field = "vectors", True, "not_them"', 'flag_field = "vectors", 7, ""'),
            "the flag of Vectors is 7; it is the text of",
        ),
        (("flag=True)", "flag=None)"), "the flag of 'matrices' is None; it is the text of its value, or True for none"),
    ],
)
def test_a_flag_that_cannot_be_is_one_line(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    assert change[0] in FLAGS
    folder = distribution(tmp_path / "site", "t2g-flags", FLAGS.replace(*change))
    words = ("--vectors",) if "not_there" in change[1] else ()
    run = torch2grid("check", DIGITS, *words, cwd=tmp_path, path=[folder])
    assert [told in line for line in run.stderr.splitlines()].count(True) == 1, run.stderr


def test_values_of_a_flag_stay_apart_or_are_joined_by_the_type_of_the_option() -> None:
    assert flag_value(("a,b", "c"), tuple[str, ...]) == ("a,b", "c")
    assert flag_value("a,b", tuple[str, ...] | None) == ("a,b",)
    assert flag_value(("1,2", "3"), list[int]) == ("1", "2", "3")
    assert flag_value("3,4", tuple[int, int]) == "3,4"
    assert flag_value(("a", "b"), str) == ("a", "b")  # which build joins
    assert flag_value("a", str) == "a"


def test_a_keep_that_forgets_to_return_is_told(tmp_path: Path) -> None:
    (tmp_path / "forgets.py").write_text(
        "from torch2grid_core import TensorFilter\n"
        "class Forgets(TensorFilter):\n    name = 'forgets'\n    def keep(self, tensor):\n        tensor.ndim == 2\n"
    )
    for words in ((DIGITS,), ("check", DIGITS)):
        run = torch2grid(*words, "--load-plugin", "forgets.py", "--filter", "forgets", cwd=tmp_path)
        assert run.returncode != 0
        (line,) = run.stderr.splitlines()
        assert line == "torch2grid: filter 'forgets': keep returned None, not True or False; is a 'return' missing?"
    assert TensorFilter.flag == TensorFilter.flag_field == ""
