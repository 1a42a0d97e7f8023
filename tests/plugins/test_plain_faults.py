"""What authors and users get wrong is told in plain words: hooks, flags, names in files, requirements, and names in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

from torch2grid_core import View
from torch2grid_core.testing import bound_checks, conformance

NUM = """
from dataclasses import dataclass
from torch2grid_core import TensorFilter, View

@dataclass
class Num(TensorFilter):
    "so many"
    name, flag = "num", "N"
    n: int = 1
    def keep(self, tensor):
        return True

class Forgets(View):
    "forgets"
    name = "forgets"
    def needs(self, checkpoint, run):
        {}
"""


def told(folder: Path, *words: str) -> str:
    done = torch2grid(DIGITS, *words, cwd=folder)
    assert done.returncode != 0
    return done.stderr


def test_a_flag_of_one_value_and_needs_without_a_return(tmp_path: Path) -> None:
    (tmp_path / "num.py").write_text(NUM, encoding="utf-8")
    assert "--num takes one value, and 2 are given" in told(tmp_path, "--load-plugin", "num.py", "--num", "1", "--num", "2")
    assert "needs returned None, not a mapping of key to need; is a 'return' missing?" in told(
        tmp_path, "--load-plugin", "num.py", "--view", "forgets"
    )


def test_a_misspelt_hook_suggests_the_nearest(tmp_path: Path) -> None:
    source = "from torch2grid_core import hookimpl\n\n\n@hookimpl\ndef torch2grid_view():\n    return []\n"
    (tmp_path / "hook.py").write_text(source, encoding="utf-8")
    assert "unknown hook 'torch2grid_view'; did you mean 'torch2grid_views'" in told(tmp_path, "--load-plugin", "hook.py")


def test_names_in_yaml_are_texts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rule: {off: {limit: 3}}\n", encoding="utf-8")
    assert "a.yaml:1: rule: unknown rule 'off'" in told(tmp_path, "--config", "a.yaml")
    (tmp_path / "b.yaml").write_text("rule: off\n", encoding="utf-8")
    assert "expected text, not False; a name such as off is put into quotes" in told(tmp_path, "--config", "b.yaml")


@pytest.mark.parametrize("line", ["torch2grid-core >>= banana", "torch2grid-core>=0.2; python is new"])
def test_a_broken_requirement_is_told(tmp_path: Path, line: str) -> None:
    site = distribution(tmp_path / "site", "t2g-broken", NUM)
    with next(site.glob("*.dist-info/METADATA")).open("a", encoding="utf-8") as metadata:
        metadata.write(f"Requires-Dist: {line}\n")
    done = torch2grid(DIGITS, "--stats", cwd=tmp_path, path=[site])
    assert done.returncode == 0
    assert f"plugin 't2g_broken' of t2g-broken 1.0: its metadata have 'Requires-Dist: {line}'" in done.stderr


class Plain(View):
    """plain"""

    name = "plain"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"samples": {"plian": []}}, "samples: nothing that is checked is called 'plian'; there are view-plain, plain, view"),
        ({"declines": ["views"]}, "declines: nothing that is checked is called 'views'"),
        ({"declines": "pla"}, "declines: nothing that is checked is called 'pla'"),
    ],
)
def test_the_kit_knows_the_names_that_it_is_given(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bound_checks(Plain, **given)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (5, "samples= gives 5, not checkpoints"),
        (lambda folder: None, "samples= returned None, not checkpoints; is a 'return' missing"),
    ],
)
def test_the_kit_says_what_samples_are_not(samples: Any, words: str) -> None:
    (check,) = [each for each in bound_checks(Plain, samples=samples) if each.check.name == "does_something"]
    with pytest.raises(AssertionError, match=words):
        _ = check.subject.meant_for


def test_an_id_of_another_test_is_refused() -> None:
    def test_conforms(check: Any) -> None:
        check()

    wrong = {"tests/test_x.py::test_other[view-plain-metadata]": "not yet"}
    with pytest.raises(ValueError, match=r"is the id of a test of test_other, and this is test_conforms"):
        conformance(Plain, expected_failures=wrong)(test_conforms)
    conformance(Plain, expected_failures={"test_x.py::test_conforms[view-plain-metadata]": "not yet"})(test_conforms)


FAILING = """
from torch2grid_core import Rule, View

class One(View):
    "one"
    name = "v1"
    def pages(self, checkpoint, results, run): raise ValueError("one")

class Two(View):
    "two"
    name = "v2"
    def pages(self, checkpoint, results, run): raise ValueError("two")

class Ruled(Rule):
    "ruled"
    name, code = "ruled_NAME", "XX101"
    def findings(self, checkpoint, results, run): return ()
"""


def test_each_view_that_fails_has_a_line_of_the_same_form(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING, encoding="utf-8")
    run = torch2grid(DIGITS, "--view", "v1", "--view", "v2", "--load-plugin", "failing.py", "-q", cwd=tmp_path)
    assert run.returncode == 1
    told = [line for line in run.stderr.splitlines() if "ValueError" in line]
    assert len(told) == 2
    assert all(line.startswith("torch2grid: view 'v") for line in told)


def test_two_rules_of_one_code_are_told_with_their_plugins(tmp_path: Path) -> None:
    folders = [distribution(tmp_path / each, f"t2g-{each}", FAILING.replace("NAME", each)) for each in ("a", "b")]
    run = torch2grid("check", DIGITS, cwd=tmp_path, path=folders)
    assert run.returncode == 2
    assert "the rules ruled_a of t2g-a and ruled_b of t2g-b share the code XX101" in run.stderr
