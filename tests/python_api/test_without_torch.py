"""Nothing needs torch but live modules: the command, files and arrays work where it is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from tests.support.tools import DIGITS, PROJECT

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def blocked(script: str, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED + script, *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_works_without_torch(tmp_path: Path) -> None:
    script = "from torch2grid.__main__ import main\nmain(sys.argv[1:])"
    for words in (
        ("--help",),
        (DIGITS, "--layers", "--stats", "--conv", "--histogram"),
        ("check", DIGITS),
        ("compare", DIGITS, DIGITS.with_name("digits_untrained.pth"), "--stats"),
    ):
        run = blocked(script, *words, cwd=tmp_path)
        assert run.returncode == (words[0] == "compare"), run.stderr
        assert "torch" not in [line for line in run.stderr.splitlines() if "No module" in line]
    assert (tmp_path / "grids/layers/conv1.weight.png").is_file()


def test_python_works_without_torch(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", weight=np.ones((3, 4), np.float32))
    script = """
import numpy as np
import torch2grid as t2g
print(t2g.load("model.npz")["weight"].shape)
print(t2g.grid({"weight": np.ones((3, 4), np.float32)}, jobs=1).grid.shape)
print(*t2g.layers("model.npz", jobs=1, only="weight").save("out"))
assert "torch" not in sys.modules
"""
    run = blocked(script, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0] == "(3, 4)"
    assert "out/layers/weight.png" in run.stdout


def test_the_distribution_brings_the_command_and_asks_for_no_torch() -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"torch2grid": "torch2grid.__main__:main"}
    assert not any(each.startswith("torch>") for each in project["dependencies"])
    assert [each.partition(">")[0] for each in project["optional-dependencies"]["torch"]] == ["torch"]
    core = tomllib.loads((PROJECT / "torch2grid_core/pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "scripts" not in core
    assert ".[torch]" in (PROJECT / "requirements.txt").read_text(encoding="utf-8").split()


def test_the_core_runs_as_a_module(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "torch2grid_core", str(DIGITS), "--stats", "-q"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "Layer Statistics Comparison" in run.stdout
