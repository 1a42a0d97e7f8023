"""What the command does when its surroundings are not what it hoped for: streams, flags that meet, a real bash."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pexpect
import pytest
from tests.support.tools import COMMAND, DIGITS, distribution, torch2grid


def shell(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], cwd=cwd, capture_output=True, text=True, check=False)


def test_a_reader_that_leaves_costs_no_picture(tmp_path: Path) -> None:
    run = shell(f"{COMMAND} {DIGITS} --layers | head -1", tmp_path)
    assert run.returncode == 0
    assert len(list((tmp_path / "grids/layers").glob("*.png"))) == 8
    assert (tmp_path / "grids/layer_overview.png").is_file()
    assert "8 tensors" in run.stderr  # the summary line is there


def test_closed_and_full_streams_are_no_traceback(tmp_path: Path) -> None:
    for script in (f"{COMMAND} {DIGITS} >&-", f"{COMMAND} {DIGITS} 2>&-", f"{COMMAND} {DIGITS} -i <&-"):
        run = shell(script, tmp_path)
        assert run.returncode == 0, (script, run.stderr)
        assert "Traceback" not in run.stderr
    for words in (f"{DIGITS}", "--version", "plugins"):
        run = shell(f"{COMMAND} {words} >/dev/full", tmp_path)
        assert run.returncode == 1
        (line,) = run.stderr.splitlines()
        assert line == "torch2grid: stdout cannot be written: No space left on device"


COLLIDING = """
from typing import ClassVar
from dataclasses import dataclass
from torch2grid_core import TensorFilter, View, hookimpl

@dataclass(frozen=True)
class Layers(TensorFilter):
    "takes a view's flag"
    name = "layers"
    flag = "X"
    value: str = ""

class Dead(View):
    "takes another's flag"
    name = "dead-neurons"

class Version(View):
    "takes a flag of the core"
    name = "version"

@hookimpl
def torch2grid_filters(): return [Layers]
@hookimpl
def torch2grid_views(): return [Dead, Version]
"""


def test_the_flags_of_the_builtins_cannot_be_taken(tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-colliding", COLLIDING)
    run = torch2grid(DIGITS, "--layers", "-o", "out", cwd=tmp_path, path=[folder])
    assert run.returncode == 0, run.stderr
    assert "out/layer_overview.png" in run.stdout
    told = [line for line in run.stderr.splitlines() if "gets no flag" in line]
    assert len(told) == 3
    assert all("t2g-colliding" in line for line in told)
    assert "--dead-neurons is taken; use --view dead-neurons" in run.stderr
    assert torch2grid("--version", cwd=tmp_path, path=[folder]).stdout.startswith("torch2grid 0.")


def test_outputs_that_nothing_is_written_to_are_errors(tmp_path: Path) -> None:
    for words, told in [
        (("-o", "s.png", "--stats"), "nothing was drawn as png"),
        (("-o", "out.bmp"), "no renderer writes bmp"),
        (("-o", "a.html,a.png"), "a.html,a.png is one file; for several formats give a folder and --format html,png"),
        (("-o", ""), "--output is empty"),
        (("--plugin", ""), "a name comes first"),
        (("--threshold", "nan"), "expected a number from 0"),
        (("--limits=-inf,inf",), "finite"),
    ]:
        run = torch2grid(DIGITS, *words, cwd=tmp_path)
        assert run.returncode == 2, (words, run.stderr)
        assert told in run.stderr
    assert not list(tmp_path.glob("*.png"))
    assert not (tmp_path / "out.bmp").exists()


def test_the_environment_and_a_file_set_what_the_line_can_take_back(tmp_path: Path) -> None:
    env = {"TORCH2GRID_FILTER": 'only:pattern="conv1.*, fc2.*"', "TORCH2GRID_LAYERS": "1"}
    run = torch2grid(DIGITS, "--no-layers", "--stats", cwd=tmp_path, env=env)
    assert run.returncode == 0, run.stderr
    assert "4 of 8 tensors shown; not shown: filtered out (4);" in run.stderr
    assert "grids" not in run.stdout
    (tmp_path / "s.yaml").write_text("stats: true\ndebug: true\nplugin: spirla\n", encoding="utf-8")
    run = torch2grid(DIGITS, cwd=tmp_path, env={"TORCH2GRID_CONFIG": "s.yaml"})
    assert run.returncode == 2
    assert "s.yaml:3: plugin: unknown transformer 'spirla'; did you mean 'spiral'?" in run.stderr
    assert "Traceback" in run.stderr  # debug, as the file says
    run = torch2grid("--list-plugins", "--disable-plugin", "no-such-thing", cwd=tmp_path)
    assert run.returncode == 0
    assert "--disable-plugin no-such-thing: no plugin" in run.stderr


def test_completion_in_a_real_bash(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    environment = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}", "PS1": "$ ", "TERM": "dumb"}
    child = pexpect.spawn(
        "bash", ["--norc", "--noprofile"], cwd=tmp_path, env=environment, encoding="utf-8", timeout=30, dimensions=(24, 200)
    )
    try:
        child.sendline('eval "$(torch2grid completion bash)"; echo re""ady')
        child.expect("ready")
        for typed, completed in [
            ("torch2grid plug", "plugins "),
            ("torch2grid --dead", "--dead-neurons "),
            ("torch2grid m.pth --plugin spir", "spiral "),
            ("torch2grid m.pth --plugin spiral:cl", "spiral:clockwise="),
            ("torch2grid m.pth --plugin=hil", "--plugin=hilbert "),
            ("torch2grid m.pth -o wei", "weights/"),
            ("torch2grid wei", "weights/"),
            ("torch2grid plugins fla", "flatten "),
        ]:
            child.send(typed + "\t")
            child.expect_exact(completed)
            child.send("\x15")  # kill the line
    finally:
        child.close(force=True)


def test_completion_imports_no_disabled_plugin(tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-trace", "open('imported', 'w').close()")
    env = {"_TORCH2GRID_COMPLETE": "bash_complete", "COMP_WORDS": "torch2grid --disable-plugin t2g-trace m.pth --plu"}
    run = torch2grid(cwd=tmp_path, path=[folder], env={**env, "COMP_CWORD": "4"})
    assert run.stdout == "plain,--plugin\n"
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("quoting", ['x: a = "b" , c = d', "x:a=b,c=d"])
def test_blanks_around_quotes(quoting: str) -> None:
    from torch2grid_core._plugins.options import split_spec

    assert split_spec(quoting) == ("x", {"a": "b", "c": "d"})
