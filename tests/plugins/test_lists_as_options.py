"""Lists as options of plugins: in a settings file and from Python they mean what the command line's commas mean."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from tests.tools import DIGITS, distribution, torch2grid

from torch2grid_core import UsageError
from torch2grid_core._plugins.options import quoted, split_spec

SIZES = """
    import numpy as np
    from dataclasses import dataclass
    from torch2grid_core import GridTransformer, hookimpl

    @dataclass(frozen=True)
    class Sizes(GridTransformer):
        "zeros"
        name = "sizes"
        shape: tuple[int, int] = (1, 1)
        labels: tuple[str, ...] = ()
        def transform(self, tensors):
            print(self.shape, self.labels)
            return np.zeros(self.shape)

    @hookimpl
    def torch2grid_transformers():
        return [Sizes]
    """
SETTINGS = {
    "yaml": "filter: [{skip: {pattern: ['*.bias', conv*]}}]\nview: [layers]\n",
    "json": '{"filter": [{"skip": {"pattern": ["*.bias", "conv*"]}}], "view": ["layers"]}',
    "toml": 'filter = [{skip = {pattern = ["*.bias", "conv*"]}}]\nview = ["layers"]\n',
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_patterns_in_a_list_are_patterns(kind: str, tmp_path: Path) -> None:
    (tmp_path / f"s.{kind}").write_text(SETTINGS[kind], encoding="utf-8")
    typed = torch2grid(DIGITS, "--layers", "--filter", 'skip:pattern="*.bias,conv*"', cwd=tmp_path)
    run = torch2grid(DIGITS, "--config", f"s.{kind}", cwd=tmp_path)
    assert (typed.returncode, run.returncode) == (0, 0), run.stderr
    assert run.stdout == typed.stdout
    assert "fc1.weight" in run.stdout
    assert "bias" not in run.stdout


def test_a_tuple_in_a_list_keeps_its_types(tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-sizes", SIZES)
    (tmp_path / "s.yaml").write_text("plugin: {sizes: {shape: [2, 3], labels: [a, b c]}}\n", encoding="utf-8")
    run = torch2grid(DIGITS, "--config", "s.yaml", "--format", "csv", cwd=tmp_path, path=[folder])
    assert run.returncode == 0, run.stderr
    assert "(2, 3) ('a', 'b c')" in run.stdout


@pytest.mark.parametrize("value", ["{skip: {pattern: {a: b}}}", "{skip: {pattern: [[a], b]}}"])
def test_what_is_no_option_is_refused(value: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"filter: [{value}]\n", encoding="utf-8")
    run = torch2grid(DIGITS, "--config", "s.yaml", cwd=tmp_path)
    assert run.returncode == 2
    assert "is no value of an option: a text, a number, true or false, or a list of these" in run.stderr
    assert not (tmp_path / "grids").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["*.bias", "*.norm"], "*.bias,*.norm"),
        ((1, 2.5, True), "1,2.5,true"),
        ([], ""),
        (False, "false"),
        (None, "None"),
        (date(2026, 1, 2), "2026-01-02"),
        (Path("a") / "b", str(Path("a") / "b")),
    ],
)
def test_what_the_grammar_reads_of_a_value(value: Any, text: str) -> None:
    assert split_spec(f"x:a={quoted(value)},b=1") == ("x", {"a": text, "b": "1"})


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=20), max_size=4))
def test_quoting_carries_any_text(pairs: dict[str, str]) -> None:
    spec = "name:" + ",".join(f"{key}={quoted(value)}" for key, value in pairs.items())
    assert split_spec(spec) == ("name", pairs)


def test_a_mapping_is_refused() -> None:
    with pytest.raises(UsageError, match="a mapping is no value of an option"):
        quoted({"a": 1})
    with pytest.raises(UsageError, match="a list in a list is no value of an option"):
        quoted([1, (2, 3)])


def test_what_is_no_value_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("reduce: rms\nfilter:\n- skip: {pattern: {a: b}}\n", encoding="utf-8")
    run = torch2grid(DIGITS, "--config", "s.yaml", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("torch2grid: s.yaml:2: filter: a mapping is no value of an option")
