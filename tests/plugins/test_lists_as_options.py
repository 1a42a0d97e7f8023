"""Lists as options of plugins: in a settings file and from Python they mean what the command line's commas mean."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

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
    assert "expected text" in run.stderr
    assert not (tmp_path / "grids").exists()


def test_what_is_no_value_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("reduce: rms\nfilter:\n- skip: {pattern: {a: b}}\n", encoding="utf-8")
    run = torch2grid(DIGITS, "--config", "s.yaml", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("torch2grid: s.yaml:2: filter: filter 'skip': option pattern={'a': 'b'}: expected text")


SHARED = """
    from dataclasses import dataclass
    from torch2grid_core import Page, PluginSettings, TensorFilter, View
    from torch2grid_core.pages import Table

    @dataclass(frozen=True)
    class Of(PluginSettings):
        "of all"
        name = "tagged"
        tags: tuple[str, ...] = ()

    @dataclass(frozen=True)
    class Numbers(View):
        "its numbers"
        name = "numbered"
        default_format = "text"
        nums: tuple[int, ...] = ()
        def pages(self, checkpoint, results, run):
            told = f"{self.nums} {run.options(Of).tags} {run.filter}"
            yield Page("n", "n", (Table(("told",), ((told,),)),), kind="table")

    @dataclass(frozen=True)
    class Named(TensorFilter):
        "named so"
        name = "so"
        parts: tuple[str, ...] = ()
        def keep(self, tensor):
            print("parts", self.parts)
            return True
    """


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tagged: {tags: VALUE}", "settings 'tagged': option tags="),
        ("view: {numbered: {nums: VALUE}}", "view 'numbered': option nums="),
        ("filter: {so: {parts: VALUE}}", "filter 'so': option parts="),
    ],
)
def test_one_value_is_a_list_of_one_and_nothing_is_refused(line: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text(textwrap.dedent(SHARED), encoding="utf-8")
    views = "" if "view" in line else "view: [numbered]\n"
    words = (DIGITS, "--config", "s.yaml", "--load-plugin", "shared.py")
    (tmp_path / "s.yaml").write_text(f"{views}{line.replace('VALUE', '3')}\n", encoding="utf-8")
    run = torch2grid(*words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "(3,)" in run.stdout or "('3',)" in run.stdout
    (tmp_path / "s.yaml").write_text(f"reduce: rms\n{line.replace('VALUE', 'null')}\n", encoding="utf-8")
    run = torch2grid(*words, cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith(f"torch2grid: s.yaml:2: {line.partition(':')[0]}: {told}None: expected ")
    assert run.stderr.count("\n") == 1


def test_options_of_python_are_checked_as_those_of_files(tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-shared", SHARED)
    script = """
        import numpy, torch2grid as t2g
        from torch2grid_core import UsageError
        model = {"a": numpy.eye(3, dtype="f4")}
        t2g.draw(model, tagged={"tags": 3}, filter={"so": {"parts": 4}})
        for given in ({"tagged": {"tags": None}}, {"filter": {"so": {"parts": None}}}):
            try:
                t2g.draw(model, **given)
            except UsageError as error:
                print(error)
        """
    words = [sys.executable, "-c", textwrap.dedent(script)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    run = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "parts ('4',)" in run.stdout, run.stderr
    assert "settings 'tagged': option tags=None: expected text" in run.stdout
    assert "filter 'so': option parts=None: expected text" in run.stdout
